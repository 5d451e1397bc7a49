/* verify.c -- see verify.h
 *
 *   1  threads: each cached slot is the program's no more, and in one magazine or strip; each span of a
 *      cache or a ready list is on one list
 *   2  spans: numbers, page map, bits, state bytes against bits and against what 1 found
 *   3  pages: the page map, the totals, the free runs (pages_check)
 */
#include "gc/verify.h"

#include "base/check.h"
#include "gc/slotmap.h"
#include "gc/sweep.h"
#include "heap/pages.h"
#include "heap/ready.h"
#include "world/thread.h"

struct verify {
    bool marking;
    struct slotmap cached;      /* slots in magazines */
    struct slotmap in_flight;   /* slots that may be on their way in or out of one */
    struct slotmap filed;       /* bit 0: the span is somebody's, or on a list */
    struct pages_stats totals;  /* found by walking */
};

/* Whoever runs the cycle. */
static struct verify verify;

/* --- the messages ------------------------------------------------------------------ */

static COLD NORETURN void die_span(const struct span *span, const char *what)
{
    die("verify: span %u at %p (class %u, %u slots of %zu bytes, %u live): %s", span->id,
        (void *)span->base, (unsigned)span->span_class, span->slots, span->slot_bytes,
        load_relaxed(&span->live), what);
}

static COLD NORETURN void die_slot(const struct span *span, uint32_t slot, const char *what)
{
    die("verify: span %u at %p (class %u, %u slots of %zu bytes), slot %u at %p (state %u): %s",
        span->id, (void *)span->base, (unsigned)span->span_class, span->slots, span->slot_bytes,
        slot, (void *)span_slot_address(span, slot),
        slot < span->words * 64u ? (unsigned)span->slot_state[slot] : 0, what);
}

/* A magazine, or a thread's outbox. */
struct cached_slots {
    struct thread *thread;
    unsigned span_class;        /* OUTBOX: of any class */
    struct cached *entries;
    uint32_t fill;
};

enum { OUTBOX = SPAN_CLASSES };

static COLD NORETURN void die_entry(const struct cached_slots *slots, uint32_t entry, const char *what)
{
    die("verify: thread %d, %s %u, entry %u of %u (slot %p): %s", slots->thread->tid,
        slots->span_class == OUTBOX ? "outbox" : "magazine", slots->span_class, entry, slots->fill,
        slots->entries[entry].slot, what);
}

static void want_span(const struct span *span, bool holds, const char *what)
{
    if (UNLIKELY(!holds))
        die_span(span, what);
}

/* No slot of the word may be in `wrong`. */
static void want_none(const struct span *span, uint32_t word, uint64_t wrong, const char *what)
{
    if (UNLIKELY(wrong != 0))
        die_slot(span, word * 64 + lowest_bit(wrong), what);
}

/* Slots of a word in a state; one that is no state at all is nowhere. */
static uint64_t slots_in_state(const struct span *span, uint32_t word, enum slot_state state)
{
    uint64_t slots = 0;

    for (uint32_t i = 0; i < 64; i++)
        slots |= (uint64_t)(load_relaxed(&span->slot_state[word * 64 + i]) == state) << i;
    return slots;
}

/* --- magazines ----------------------------------------------------------------------- */

/* The span and slot of an entry that names the start of a slot of the class; else NULL. */
static struct span *span_of_entry(const struct cached *entry, unsigned span_class, uint32_t *slot)
{
    uintptr_t address = (uintptr_t)entry->slot;
    struct span *span = heap_contains(address) ? span_of(address) : NULL;

    if (span == NULL || load_relaxed(&span->state) != SPAN_SMALL)
        return NULL;
    if (span_class != OUTBOX && span->span_class != span_class)
        return NULL;
    *slot = span_slot_of(span, address - span->base);
    if (*slot >= span->slots || span_slot_address(span, *slot) != address)
        return NULL;
    return entry->state == &span->slot_state[*slot] ? span : NULL;
}

static bool is_one(const uint64_t *bits, uint32_t slot)
{
    return load_relaxed(bits) >> (slot & 63) & 1;
}

static void check_entry(const struct cached_slots *slots, uint32_t index)
{
    bool newest = index + 1 == slots->fill;
    uint32_t slot;
    struct span *span = span_of_entry(&slots->entries[index], slots->span_class, &slot);

    if (span == NULL)
        die_entry(slots, index, "names no slot of its class");
    const struct slot_bits *bits = &span->bits[slot >> 6];

    if (load_relaxed(&span->slot_state[slot]) != SLOT_IN && !newest)
        die_slot(span, slot, "is in a magazine, but in the program's hands");
    if (!is_one(&bits->alloc, slot))
        die_slot(span, slot, is_one(&bits->condemned, slot)
                                 ? "is in a magazine, but condemned"
                                 : "is in a magazine, but free in its span");
    if (is_one(&bits->freed, slot))
        die_slot(span, slot, "is in a magazine, but its freed bit is set");
    if (!slotmap_set(&verify.cached, span, slot))
        die_slot(span, slot, "is in two magazines");
}

/* One past the fill there may be a slot that is not counted any more, or not yet; or an old
 * one that is somebody else's by now, which says nothing. */
static void check_entries(const struct cached_slots *slots)
{
    uint32_t slot;

    for (uint32_t i = 0; i < slots->fill; i++)
        check_entry(slots, i);
    struct span *span = span_of_entry(&slots->entries[slots->fill], slots->span_class, &slot);

    if (span != NULL)
        slotmap_set(&verify.in_flight, span, slot);
}

static void check_limits(const struct cached_slots *slots, uint32_t bottom, uint32_t room, uint32_t top,
                         uint32_t limit)
{
    uint32_t most = bottom + room * (uint32_t)sizeof(struct cached);
    const char *name = slots->span_class == OUTBOX ? "outbox" : "magazine";

    if (top < bottom || top > most || limit > most)
        die("verify: thread %d, %s %u: top %u, limit %u, bottom %u, room %u", slots->thread->tid, name,
            slots->span_class, top, limit, bottom, room);
    if (load_relaxed(&span_free_black) && limit != 0 && load_relaxed(&slots->thread->tid) != 0)
        die("verify: thread %d, %s %u: open for frees while a copy marks", slots->thread->tid, name,
            slots->span_class);
}

static void check_magazine(struct thread *thread, unsigned span_class)
{
    struct mcache *cache = &thread->cache;
    const struct magazine *magazine = &cache->magazines[span_class];
    const struct class_cache *class = &cache->classes[span_class];

    if (magazine->top == 0 && magazine->limit == 0)     /* never used */
        return;
    struct cached_slots slots = { thread, span_class, magazine_entry(cache, span_class, 0),
                                  magazine_fill(cache, span_class) };

    check_limits(&slots, class->bottom, class->room, magazine->top, magazine->limit);
    if (slots.entries[-1].slot != NULL)
        die("verify: thread %d, magazine %u: its empty entry is not empty", thread->tid, span_class);
    check_entries(&slots);
}

static void check_strip_slot(const struct span *span, uint32_t slot)
{
    const struct slot_bits *bits = &span->bits[slot >> 6];

    if (load_relaxed(&span->slot_state[slot]) != SLOT_IN)
        die_slot(span, slot, "is in a strip, but in the program's hands");
    if (!is_one(&bits->alloc, slot))
        die_slot(span, slot, "is in a strip, but free in its span");
    if (is_one(&bits->freed, slot))
        die_slot(span, slot, "is in a strip, but its freed bit is set");
    if (!slotmap_set(&verify.cached, span, slot))
        die_slot(span, slot, "is in two strips");
}

/* The span of which the strip is a word, of the class; else NULL. */
static struct span *span_of_strip(const struct strip *strip, unsigned span_class, uint32_t *word)
{
    struct span *span = heap_contains(strip->first) ? span_of(strip->first) : NULL;

    if (span == NULL || load_relaxed(&span->state) != SPAN_SMALL || span->span_class != span_class)
        return NULL;
    *word = span_slot_of(span, strip->first - span->base) / 64;
    bool same = *word < span->words && strip->first == span_slot_address(span, *word * 64) &&
                strip->states == &span->slot_state[*word * 64] && strip->slot_bytes == span->slot_bytes;

    return same ? span : NULL;
}

/* The slot that was taken last may not be the program's yet.  An empty strip may be a word of anybody's by
 * now, which says nothing. */
static void check_strip(struct thread *thread, unsigned span_class, const struct strip *strip)
{
    uint64_t free = strip->free;
    uint32_t word;
    struct span *span = span_of_strip(strip, span_class, &word);

    if (span == NULL && free != 0)
        die("verify: thread %d, strip %u (slot %p of %zu bytes): no word of a span of its class",
            thread->tid, span_class, (void *)strip->first, strip->slot_bytes);
    if (span == NULL)
        return;
    for (uint64_t slots = free; slots != 0; slots &= slots - 1)
        check_strip_slot(span, word * 64 + lowest_bit(slots));
    uint64_t taken = span_objects(span, word) & slots_in_state(span, word, SLOT_IN) &
                     (free != 0 ? (free & -free) - 1 : ~0ull);

    if (taken != 0)
        slotmap_set(&verify.in_flight, span, word * 64 + log2_floor(taken));
}

static void check_outbox(struct thread *thread)
{
    struct mcache *cache = &thread->cache;
    const struct outbox *outbox = &cache->outbox;

    for (uint32_t i = 0; i < BUNDLES; i++)
        if (cache->bundles[i].span != NULL)
            die("verify: thread %d: bundle %u is not empty", thread->tid, i);
    if (outbox->top == 0 && outbox->limit == 0)
        return;
    struct cached_slots slots = { thread, OUTBOX, outbox_entry(cache, 0), outbox_fill(cache) };

    check_limits(&slots, cache->entries_end, outbox->room, outbox->top, outbox->limit);
    check_entries(&slots);
}

/* --- who has a span -------------------------------------------------------------------- */

static void check_filed(struct span *span, unsigned span_class)
{
    if (!arena_owns((uintptr_t)span) || span->id >= span_table_size() ||
        span_by_id(span->id) != span)
        die("verify: %p on a list of class %u is no span", (void *)span, span_class);
    want_span(span, load_relaxed(&span->state) == SPAN_SMALL, "on a list, but not in use");
    want_span(span, span->span_class == span_class, "on a list of another class");
    want_span(span, load_relaxed(&span->claimed) == 1, "on a list, but idle");
    want_span(span, slotmap_set(&verify.filed, span, 0), "on two lists");
}

/* A circle ends here too: its first span would be on two lists. */
static void check_list(struct span *span, unsigned span_class)
{
    for (; span != NULL; span = span->next)
        check_filed(span, span_class);
}

static void check_thread(struct thread *thread)
{
    const struct mcache *cache = &thread->cache;

    check_outbox(thread);
    for (unsigned c = 0; c < SPAN_CLASSES; c++) {
        const struct strip *strip = mcache_strip(&thread->cache, c);
        check_magazine(thread, c);
        if (strip != NULL)
            check_strip(thread, c, strip);
        if (cache->classes[c].current != NULL)
            check_filed(cache->classes[c].current, c);
        check_list(cache->classes[c].taken, c);
        check_list(load_acquire(&cache->classes[c].ready.head), c);
    }
}

static void check_threads(void)
{
    for (struct thread *thread = thread_list(); thread != NULL; thread = thread->next)
        check_thread(thread);
    for (unsigned c = 0; c < SPAN_CLASSES; c++)
        check_list(load_acquire(&central[c].head), c);
}

/* --- spans ----------------------------------------------------------------------------- */

static void check_small_shape(const struct span *span)
{
    const struct size_class *class = &size_classes[span_class_size_class(span->span_class)];

    want_span(span, span_class_size_class(span->span_class) != 0, "small, with a large class");
    want_span(span, span->slot_bytes == class->slot_bytes && span->slots == span_slots(class, span->pages) &&
                        span->divider == class->divider && span->pages <= class->pages,
              "not as its class says");
    want_span(span, load_relaxed(&span->claimed) <= 1, "neither claimed nor idle");
}

static void check_large_shape(const struct span *span)
{
    want_span(span, span_class_size_class(span->span_class) == 0, "large, with a small class");
    want_span(span, span->slots == 1 && span->divider == 0 &&
                        span->slot_bytes == (size_t)span->pages << PAGE_SHIFT,
              "not as a large object should be");
    want_span(span, span->requested <= span->slot_bytes, "larger than its pages");
    want_span(span, load_relaxed(&span->claimed) == 1, "large, but idle");
}

static void check_place(const struct span *span)
{
    size_t bytes = (size_t)span->pages << PAGE_SHIFT;

    want_span(span, span->base % PAGE_BYTES == 0 && bytes != 0 && heap_contains(span->base) &&
                        heap_contains(span->base + bytes - 1),
              "not in the heap");
    for (size_t at = 0; at < bytes; at += PAGE_BYTES) {
        uint64_t entry = pagemap_entry(span->base + at);
        want_span(span, entry_span(entry) == span, "a page of it maps to another span");
        want_span(span, entry_span_class(entry) == span->span_class,
                  "a page of it maps to another class");
    }
}

static uint64_t valid_slots(const struct span *span, uint32_t word)
{
    if (span->slots >= (word + 1) * 64)
        return ~0ull;
    return span->slots <= word * 64 ? 0 : (1ull << (span->slots - word * 64)) - 1;
}

static void check_bits(const struct span *span, uint32_t word)
{
    const struct slot_bits *bits = &span->bits[word];
    uint64_t used = bits->alloc | bits->condemned;
    uint64_t freed = load_relaxed(&bits->freed), mark = span_marks(span, word);
    uint64_t kept = load_relaxed(&bits->kept);

    want_none(span, word, (used | freed | mark | kept) & ~valid_slots(span, word),
              "has bits, but is past the last slot");
    want_none(span, word, bits->alloc & bits->condemned, "is both allocated and condemned");
    want_none(span, word, freed & ~used, "is freed, but was not allocated");
    want_none(span, word, span_kind(span) != KIND_MALLOC ? bits->condemned : 0,
              "is condemned, but no malloc block");
    want_none(span, word, verify.marking ? 0 : mark, "has a mark bit, but no cycle marks");
    want_none(span, word, verify.marking ? 0 : kept, "has a kept bit, but no cycle marks");
}

static void check_states(const struct span *span, uint32_t word)
{
    const struct slot_bits *bits = &span->bits[word];
    uint64_t objects = span_objects(span, word);
    uint64_t in = slots_in_state(span, word, SLOT_IN), out = slots_in_state(span, word, SLOT_OUT);
    uint64_t condemned = slots_in_state(span, word, SLOT_CONDEMNED);
    uint64_t ceded = slots_in_state(span, word, SLOT_CEDED);
    uint64_t cached = slotmap_word(&verify.cached, span, word);

    want_none(span, word, ~(in | out | condemned | ceded), "its state byte is none");
    want_none(span, word, ~in & ~(bits->alloc | bits->condemned),
              "in the program's hands, but free in its span");
    want_none(span, word, ~in & load_relaxed(&bits->freed),
              "in the program's hands, but its freed bit is set");
    want_none(span, word, condemned & ~bits->condemned,
              "its state says condemned, its bits do not");
    want_none(span, word, objects & bits->condemned & out,
              "condemned, but can be freed the fast way");
    /* A fork may cut other threads off in the middle of a fast path: the child loses that slot. */
    want_none(span, word,
              threads_forked() ? 0
                               : objects & in & ~cached &
                                     ~slotmap_word(&verify.in_flight, span, word),
              "lost: allocated, but neither the program's nor in a magazine");
    want_none(span, word, verify.marking ? cached & ~span_marks(span, word) : 0,
              "in a magazine, but not marked");
}

static void check_owner(const struct span *span)
{
    bool filed = (slotmap_word(&verify.filed, span, 0) & 1) != 0;

    if (load_relaxed(&span->claimed) != 0)
        want_span(span, filed, "claimed, but nobody has it and it is on no list");
    else
        want_span(span, load_relaxed(&span->live) == span->slots,
                  "idle, but a slot of it is free");
}

static void check_span(const struct span *span)
{
    uint32_t live = 0;
    bool large = load_relaxed(&span->state) == SPAN_LARGE;

    if (large)
        check_large_shape(span);
    else
        check_small_shape(span);
    want_span(span, span->slots <= span->words * 64u, "more slots than bits");
    want_span(span, load_relaxed(&span->sweepgen) == load_relaxed(&sweep_generation),
              "not swept");
    check_place(span);
    for (uint32_t word = 0; word < span->words; word++) {
        check_bits(span, word);
        check_states(span, word);
        live += count_bits(span_objects(span, word));
    }
    want_span(span, load_relaxed(&span->live) == live, "its live count is not what its bits say");
    if (!large)
        check_owner(span);
    CHECK(span_check(span));
}

static void count_span(const struct span *span)
{
    size_t bytes = (size_t)span->pages << PAGE_SHIFT;

    switch ((enum span_state)load_relaxed(&span->state)) {
    case SPAN_UNUSED:
    case SPAN_FREE:
    case SPAN_KEPT:             /* for pages_check: a task of ours may be at them even now */
        break;
    case SPAN_SMALL:
        verify.totals.small_spans++;
        verify.totals.small_bytes += bytes;
        break;
    case SPAN_LARGE:
        verify.totals.large_spans++;
        verify.totals.large_bytes += bytes;
        break;
    default:
        die_span(span, "its state is none");
    }
}

static void check_spans(void)
{
    for (uint32_t id = 0; id < span_table_size(); id++) {
        const struct span *span = span_by_id(id);
        if (span->id != id)
            die("verify: span %u says that it is span %u", id, span->id);
        count_span(span);
        if (span_in_use(span))
            check_span(span);
    }
}

/* --- pages ------------------------------------------------------------------------------- */

static void check_page_map(void)
{
    size_t bytes = load_relaxed(&arena.bytes);

    for (size_t offset = 0; offset < bytes; offset += PAGE_BYTES) {
        const struct span *span = span_of(arena.base + offset);
        if (span == NULL || !span_in_use(span))
            continue;
        if (arena.base + offset - span->base >= (size_t)span->pages << PAGE_SHIFT)
            die("verify: page %zu of the heap maps to span %u, which is not there",
                offset >> PAGE_SHIFT, span->id);
    }
}

static void want_total(const char *what, size_t counter, size_t found)
{
    if (counter != found)
        die("verify: the page heap counts %zu %s, there are %zu", counter, what, found);
}

static void check_totals(void)
{
    struct pages_stats stats;

    pages_stats_read(&stats);
    want_total("small spans", stats.small_spans, verify.totals.small_spans);
    want_total("bytes of small spans", stats.small_bytes, verify.totals.small_bytes);
    want_total("large spans", stats.large_spans, verify.totals.large_spans);
    want_total("bytes of large spans", stats.large_bytes, verify.totals.large_bytes);
    want_total("pages", stats.heap_pages, load_relaxed(&arena.bytes) >> PAGE_SHIFT);
    CHECK(pages_check());
}

void verify_stopped(bool marking)
{
    verify.marking = marking;
    verify.totals = (struct pages_stats){ 0 };
    if (!slotmap_clear_stopped(&verify.cached) || !slotmap_clear_stopped(&verify.in_flight) ||
        !slotmap_clear_stopped(&verify.filed)) {
        warn("verify: this cycle is not verified: no memory");
        return;
    }
    check_threads();
    check_spans();
    check_page_map();
    check_totals();
}
