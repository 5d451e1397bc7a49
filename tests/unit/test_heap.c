/* test_heap.c -- the heap alone: arena, spans, pages, magazines; no world, no collector
 *
 * PURPOSE  Runs of pages split, merge and come back; spans go where they are found
 *          again; a magazine gives out neighbours in address order; frees from several
 *          threads lose nothing; double frees die.
 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/check.h"
#include "base/options.h"
#include "heap/mcache.h"
#include "heap/pages.h"

enum { GENERATION = 2, CLASS_64 = 6 };

static struct mcache *new_cache(void)
{
    struct mcache *cache = meta_alloc(sizeof *cache);

    assert_non_null(cache);
    mcache_init(cache);
    return cache;
}

static void *pop(struct mcache *cache, unsigned class)
{
    struct magazine *magazine = &cache->magazines[class];

    while (magazine->fill == 0) {
        if (mcache_refill(cache, class) != 0 ||
            (mcache_take_central(cache, class) && mcache_refill(cache, class) != 0))
            break;
        mcache_adopt(cache, class, pages_alloc_small(class, GENERATION));
    }
    struct cached entry = magazine->entries[--magazine->fill];

    *entry.state = SLOT_OUT;
    return entry.slot;
}

static void push(struct mcache *cache, unsigned class, void *slot)
{
    struct magazine *magazine = &cache->magazines[class];
    struct span *span = span_of((uintptr_t)slot);
    uint32_t index = span_slot_of(span, (uintptr_t)slot - span->base);

    if (magazine->fill >= magazine->limit)
        mcache_flush(cache, class, (magazine->limit + 1) / 2);
    span->slot_state[index] = SLOT_IN;
    magazine->entries[magazine->fill++] =
        (struct cached){ .slot = slot, .state = &span->slot_state[index] };
}

static bool heap_is_sound(void)
{
    for (uint32_t id = 0; id < span_table_size(); id++)
        if (!span_check(span_by_id(id)))
            return false;
    return pages_check();
}

static void every_size_has_the_smallest_class(void **state)
{
    (void)state;
    for (size_t bytes = 0; bytes <= SMALL_MAX; bytes++) {
        const struct size_class *class = &size_classes[sizeclass_of(bytes)];
        assert_true(class->slot_bytes >= bytes && class->slot_bytes % 16 == 0);
        if (bytes > 128)
            assert_true((class->slot_bytes - bytes) * 8 <= class->slot_bytes);
    }
    assert_int_equal(size_classes[sizeclass_of_gc(8)].slot_bytes, 8);
    assert_int_equal(size_classes[sizeclass_of_gc(24)].slot_bytes, 24);
}

static void every_offset_finds_its_slot(void **state)
{
    (void)state;
    for (unsigned c = 1; c < SIZE_CLASSES; c++) {
        struct span span = { .divider = size_classes[c].divider };
        size_t bytes = size_classes[c].slot_bytes;
        for (size_t offset = 0; offset < (size_t)size_classes[c].pages << PAGE_SHIFT; offset++) {
            assert_int_equal(span_slot_of(&span, offset), offset / bytes);
            assert_int_equal(offset * span.divider < span.divider, offset % bytes == 0);
        }
    }
}

static void free_runs_merge(void **state)
{
    struct pages_stats before, after;
    struct span *spans[32];
    bool zeroed;

    (void)state;
    pages_stats_read(&before);
    for (int i = 0; i < 32; i++)
        spans[i] = pages_alloc_large(KIND_MALLOC, 200000, 0, GENERATION, &zeroed);
    for (int round = 0; round < 2; round++)
        for (int i = round; i < 32; i += 2) {
            spans[i]->claimed = 1;
            spans[i]->live = 0;
            pages_free(spans[i]);
        }
    assert_true(pages_check());
    pages_stats_read(&after);
    assert_int_equal(after.large_spans, before.large_spans);
    assert_true(after.free_runs <= before.free_runs + 1);
}

static void released_pages_read_as_zero(void **state)
{
    bool zeroed;
    struct span *span = pages_alloc_large(KIND_MALLOC, 1 << 20, 0, GENERATION, &zeroed);

    (void)state;
    memset((void *)span->base, 7, 1 << 20);
    span->claimed = 1;
    span->live = 0;
    pages_free(span);
    assert_true(pages_release_idle(0, SIZE_MAX) >= 128);
    span = pages_alloc_large(KIND_MALLOC, 1 << 20, 0, GENERATION, &zeroed);
    assert_true(zeroed);
    assert_int_equal(*(char *)span->base, 0);
}

static void alignment_is_kept(void **state)
{
    bool zeroed;

    (void)state;
    for (size_t align = PAGE_BYTES; align <= 32 * MIB; align *= 2) {
        struct span *span = pages_alloc_large(KIND_MALLOC, 5000, align, GENERATION, &zeroed);
        assert_int_equal(span->base % align, 0);
    }
    assert_true(pages_check());
}

static void large_objects_resize_in_place(void **state)
{
    bool zeroed;
    struct span *span = pages_alloc_large(KIND_MALLOC, 40 * PAGE_BYTES, 0, GENERATION, &zeroed);

    (void)state;
    assert_true(pages_resize_large(span, 10 * PAGE_BYTES));
    assert_int_equal(span->slot_bytes, 10 * PAGE_BYTES);
    assert_true(pages_resize_large(span, 30 * PAGE_BYTES));
    assert_false(pages_resize_large(span, (size_t)1 << 50));
    assert_true(pages_check());
}

static void slots_come_in_address_order(void **state)
{
    struct mcache *cache = new_cache();
    uintptr_t last = (uintptr_t)pop(cache, CLASS_64);

    (void)state;
    for (int i = 1; i < 64; i++) {
        uintptr_t next = (uintptr_t)pop(cache, CLASS_64);
        assert_int_equal(next, last + 64);
        last = next;
    }
}

static void freed_spans_are_found_again(void **state)
{
    enum { BLOCKS = 20000 };
    static void *blocks[BLOCKS];
    struct mcache *cache = new_cache();
    struct pages_stats first, second;

    (void)state;
    for (int round = 0; round < 4; round++) {
        for (int i = 0; i < BLOCKS; i++)
            blocks[i] = pop(cache, CLASS_64);
        pages_stats_read(round == 0 ? &first : &second);
        for (int i = 0; i < BLOCKS; i++)
            push(cache, CLASS_64, blocks[i * 7919 % BLOCKS]);
        assert_true(heap_is_sound());
    }
    assert_int_equal(second.heap_pages, first.heap_pages);
    mcache_abandon(cache);
    assert_true(heap_is_sound());
}

static void an_abandoned_cache_leaves_nothing(void **state)
{
    struct pages_stats before, after;

    (void)state;
    pages_stats_read(&before);
    for (int i = 0; i < 200; i++) {
        struct mcache *cache = new_cache();
        push(cache, CLASS_64, pop(cache, CLASS_64));
        mcache_abandon(cache);
    }
    pages_stats_read(&after);
    assert_true(after.small_spans <= before.small_spans + 8);
}

/* --- several threads: each frees what the others allocated ------------------------- */

enum { SWAPPERS = 4, SWAPS = 60000, BOXES = 512 };

static void *boxes[BOXES];

static void *swap_blocks(void *seed)
{
    struct mcache *cache = new_cache();
    uint32_t random = (uint32_t)(uintptr_t)seed;

    for (int i = 0; i < SWAPS; i++) {
        random = random * 1664525u + 1013904223u;
        uint64_t *block = pop(cache, CLASS_64);
        block[0] = block[7] = ~(uintptr_t)block;
        uint64_t *other =
            __atomic_exchange_n(&boxes[(random >> 8) % BOXES], (void *)block, __ATOMIC_ACQ_REL);
        if (other == NULL)
            continue;
        CHECK(other[0] == ~(uintptr_t)other && other[7] == other[0]);
        push(cache, CLASS_64, other);
    }
    mcache_abandon(cache);
    return NULL;
}

static void frees_across_threads_lose_nothing(void **state)
{
    pthread_t threads[SWAPPERS];
    struct mcache *cache = new_cache();

    (void)state;
    for (uintptr_t i = 0; i < SWAPPERS; i++)
        pthread_create(&threads[i], NULL, swap_blocks, (void *)(i + 1));
    for (int i = 0; i < SWAPPERS; i++)
        pthread_join(threads[i], NULL);
    for (int i = 0; i < BOXES; i++)
        if (boxes[i] != NULL)
            push(cache, CLASS_64, boxes[i]);
    mcache_abandon(cache);
    assert_true(heap_is_sound());
    for (uint32_t id = 0; id < span_table_size(); id++) {
        struct span *span = span_by_id(id);
        uint32_t used = 0;
        if (!span_in_use(span) || span->span_class != CLASS_64)
            continue;
        for (uint32_t w = 0; w * 64 < span->slots; w++)
            used += count_bits(span_objects(span, w));
        assert_int_equal(used, span->live);
    }
}

static void freed_twice_in_two_caches_dies(void **state)
{
    pid_t child = fork();
    int status;

    (void)state;
    if (child == 0) {
        struct mcache *one = new_cache(), *two = new_cache();
        void *block = pop(one, CLASS_64);
        close(2);
        push(one, CLASS_64, block);
        push(two, CLASS_64, block);
        mcache_abandon(one);
        mcache_abandon(two);
        _exit(0);
    }
    waitpid(child, &status, 0);
    assert_true(WIFSIGNALED(status));
}

/* The arena is reserved by the first metadata, in a program by the first thread. */
static int reserve(void **state)
{
    (void)state;
    return meta_alloc(64) == NULL;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_size_has_the_smallest_class),
        cmocka_unit_test(every_offset_finds_its_slot),
        cmocka_unit_test(free_runs_merge),
        cmocka_unit_test(released_pages_read_as_zero),
        cmocka_unit_test(alignment_is_kept),
        cmocka_unit_test(large_objects_resize_in_place),
        cmocka_unit_test(slots_come_in_address_order),
        cmocka_unit_test(freed_spans_are_found_again),
        cmocka_unit_test(an_abandoned_cache_leaves_nothing),
        cmocka_unit_test(frees_across_threads_lose_nothing),
        cmocka_unit_test(freed_twice_in_two_caches_dies),
    };

    return cmocka_run_group_tests(tests, reserve, NULL);
}
