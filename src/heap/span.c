/* span.c -- see span.h */
#include "heap/span.h"

#include <string.h>

#include "base/check.h"

enum { MAX_WORDS = SPAN_MAX_SLOTS / 64 + 1, TABLE_STEP = 16 << 10 };

AT_START uint32_t span_allocate_black;
AT_START uint32_t span_free_black;
AT_START uint32_t heap_shared;

static AT_START struct span *free_headers[MAX_WORDS + 1];        /* HEAP; by bitmap words */
static AT_START uint32_t table_size;                    /* atomic; grows under HEAP */

static struct span **table(void)
{
    return (struct span **)arena.table.base;
}

uint32_t span_table_size(void)
{
    return load_acquire(&table_size);
}

struct span *span_by_id(uint32_t id)
{
    return table()[id];
}

static struct span *header_create(uint32_t words)
{
    if (!region_ensure(&arena.table, (table_size + 1) * sizeof(struct span *), TABLE_STEP))
        return NULL;
    struct span *span = meta_alloc(span_header_bytes(words));

    if (span == NULL)
        return NULL;
    span->words = (uint8_t)words;
    span->slot_state = (uint8_t *)&span->bits[words];
    span->id = table_size;
    table()[table_size] = span;
    store_release(&table_size, table_size + 1);
    return span;
}

struct span *span_header_alloc(uint32_t words)
{
    struct span *span = free_headers[words];

    if (span == NULL)
        return header_create(words);
    free_headers[words] = span->next;
    span->next = NULL;
    return span;
}

void span_header_free(struct span *span)
{
    store_release(&span->state, SPAN_UNUSED);
    span->divider = 0;
    span->next = free_headers[span->words];
    free_headers[span->words] = span;
}

void span_format(struct span *span, unsigned span_class)
{
    const struct size_class *class = &size_classes[span_class_size_class(span_class)];
    bool large = span_class_size_class(span_class) == 0;

    memset(span->bits, 0, span_header_bytes(span->words) - sizeof *span);
    span->span_class = (uint16_t)span_class;
    span->kind = (uint8_t)span_class_kind(span_class);
    span->slot_bytes = large ? (size_t)span->pages << PAGE_SHIFT : class->slot_bytes;
    span->slots = large ? 1 : span_slots(class, span->pages);
    span->divider = large ? 0 : class->divider;
    span->live = 0;
    span->claimed = 1;
    span->moved = 0;
    span->next_word = 0;
    span->virgin = 0;
    span->home = NULL;
    span->next = NULL;
    span->requested = 0;
    store_release(&span->state, large ? SPAN_LARGE : SPAN_SMALL);
}

bool span_check(const struct span *span)
{
    if (!span_in_use(span))
        return true;
    CHECK(span->slots <= span->words * 64u);
    CHECK(span->slots * span->slot_bytes <= (size_t)span->pages << PAGE_SHIFT);
    for (uint32_t w = 0; w < span->words; w++) {
        const struct slot_bits *bits = &span->bits[w];
        uint64_t valid = span->slots >= (w + 1) * 64 ? ~0ull
                         : span->slots <= w * 64    ? 0
                                                    : (1ull << (span->slots - w * 64)) - 1;
        CHECK((bits->alloc & bits->condemned) == 0);
        CHECK((load_relaxed(&bits->freed) & ~(bits->alloc | bits->condemned)) == 0);
        CHECK(((bits->alloc | bits->condemned) & ~valid) == 0);
        for (uint32_t i = 0; i < 64; i++)
            CHECK(span->slot_state[w * 64 + i] == SLOT_IN ||
                  ((bits->alloc | bits->condemned) >> i & 1) != 0);
    }
    for (uint32_t page = 0; page < span->pages; page++)
        CHECK(span_of(span->base + ((uintptr_t)page << PAGE_SHIFT)) == span);
    return true;
}
