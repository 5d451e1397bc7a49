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
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/check.h"
#include "base/options.h"
#include "heap/ready.h"
#include "heap/pages.h"
#include "os/vm.h"

enum { GENERATION = 2, CLASS_64 = 6, CLASS_512 = 26, CLASS_1024 = 34 };

static struct mcache *new_cache(void)
{
    struct {
        struct mcache cache;
        struct cached entries[MCACHE_ENTRIES];
    } *with_entries = meta_alloc(sizeof *with_entries);

    assert_non_null(with_entries);
    mcache_init(&with_entries->cache, with_entries->entries);
    return &with_entries->cache;
}

static void *pop(struct mcache *cache, unsigned class)
{
    while (magazine_fill(cache, class) == 0) {
        if (mcache_refill(cache, class) != 0 ||
            (mcache_take_central(cache, class) && mcache_refill(cache, class) != 0))
            break;
        mcache_adopt(cache, class, pages_alloc_small(class, mcache_fresh_pages(cache, class), GENERATION));
    }
    uint32_t newest = magazine_fill(cache, class) - 1;
    struct cached entry = *magazine_entry(cache, class, newest);

    magazine_set_fill(cache, class, newest);
    *entry.state = SLOT_OUT;
    return entry.slot;
}

static void push(struct mcache *cache, void *slot)
{
    struct span *span = span_of((uintptr_t)slot);
    uint32_t index = span_slot_of(span, (uintptr_t)slot - span->base);

    span->slot_state[index] = SLOT_IN;
    mcache_push(cache, span, (struct cached){ .slot = slot, .state = &span->slot_state[index] });
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

/* arena.base is a word of our own data, and such data is searched: an object that it named would never
 * die.  To be the first test, for only the first memory is at stake. */
static void nothing_lies_where_the_heap_begins(void **state)
{
    struct span *first = pages_alloc_small(CLASS_64, size_classes[CLASS_64].pages, GENERATION);

    (void)state;
    assert_non_null(first);
    assert_null(span_of(arena.base));
    pages_free(first);
    assert_null(span_of(arena.base));
    assert_true(heap_is_sound());
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
    pages_release_idle(0, 0);           /* files what was kept whole */
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

/* --- magazines ------------------------------------------------------------------------- */

/* All classes at their largest, twice: there is room for the arrays that were outgrown, too, and the next
 * thread finds it again. */
static void every_magazine_may_grow(void **state)
{
    static void *slots[2000];
    struct mcache *cache = new_cache();

    (void)state;
    for (int round = 0; round < 2; round++) {
        for (unsigned class = 0; class < SPAN_CLASSES; class++) {
            uint32_t most = mcache_limit(class);

            for (uint32_t i = 0; i < most; i++)
                slots[i] = pop(cache, class);
            assert_true(most == 0 || cache->classes[class].room <= 128);
            for (uint32_t i = 0; i < most; i++)
                push(cache, slots[i]);
            assert_true(cache->classes[class].room >= most && cache->classes[class].room <= 1024);
            assert_true(magazine_fill(cache, class) >= most / 2);
        }
        mcache_abandon(cache);
        assert_int_equal(cache->classes[CLASS_64].room, 0);
    }
    assert_true(heap_is_sound());
}

/* What was freed first is at the bottom, whatever array it is in; a slot is taken out once. */
static void a_magazine_keeps_its_order_as_it_grows(void **state)
{
    static void *slots[1000];
    struct mcache *cache = new_cache();

    (void)state;
    for (int i = 0; i < 1000; i++)
        slots[i] = pop(cache, CLASS_64);
    uint32_t before = magazine_fill(cache, CLASS_64);

    assert_true(before + 500 <= mcache_limit(CLASS_64));
    for (int i = 0; i < 500; i++)
        push(cache, slots[i]);
    assert_int_equal(magazine_fill(cache, CLASS_64), before + 500);
    assert_null(magazine_entry(cache, CLASS_64, 0)[-1].slot);
    for (int i = 499; i >= 0; i--)
        assert_ptr_equal(pop(cache, CLASS_64), slots[i]);
    for (int i = 0; i < 1000; i++)
        push(cache, slots[i]);
    mcache_abandon(cache);
    assert_true(heap_is_sound());
}

/* --- back to the OS ------------------------------------------------------------------ */

static struct span *new_large(size_t bytes)
{
    bool zeroed;
    struct span *span = pages_alloc_large(KIND_MALLOC, bytes, 0, GENERATION, &zeroed);

    memset((void *)span->base, 7, bytes);
    return span;
}

static void drop(struct span *span)
{
    span->claimed = 1;
    span->live = 0;
    pages_free(span);
}

static struct pages_stats stats_now(void)
{
    struct pages_stats stats;

    pages_stats_read(&stats);
    return stats;
}

static size_t idle_bytes(void)
{
    struct pages_stats stats = stats_now();

    return (stats.free_pages - stats.released_pages) << PAGE_SHIFT;
}

static size_t held_bytes(void)
{
    struct pages_stats stats = stats_now();

    return (stats.heap_pages - stats.released_pages) << PAGE_SHIFT;
}

/* Steps with a clock of our own until there is nothing to do, or `most` ms have passed. */
static uint64_t scavenge(uint64_t now, uint64_t most, uint64_t retain)
{
    uint64_t end = now + most;

    while (now < end) {
        uint64_t wait = pages_scavenge(now, retain);
        assert_true(wait > 0);
        if (wait == UINT64_MAX)
            break;
        now += wait;
    }
    return now;
}

static void nobody_wakes(void)
{
}

static void a_large_object_is_kept_for_the_next_of_its_size(void **state)
{
    enum { BYTES = 600 << 10 };         /* not worth a scavenger */
    bool zeroed;

    (void)state;
    pages_release_idle(0, SIZE_MAX);
    pages_set_scavenger(nobody_wakes);
    assert_true(pages_scavenge(host_clock_coarse_ms(), 0) == UINT64_MAX);       /* no idle checks from now on */
    struct span *first = new_large(BYTES), *other;
    uintptr_t base = first->base;

    drop(first);
    assert_true(pages_check());
    assert_false(span_in_use(span_of(base)));
    assert_ptr_equal(pages_alloc_large(KIND_MALLOC, BYTES - 1, 0, GENERATION, &zeroed), first);
    assert_true(first->base == base && !zeroed && first->slots == 1 && first->bits[0].alloc == 1);
    assert_true(heap_is_sound());
    drop(first);
    other = pages_alloc_large(KIND_GC, BYTES, 0, GENERATION, &zeroed);  /* another kind */
    assert_int_equal(span_of(other->base)->kind, KIND_GC);
    assert_true(heap_is_sound());
    drop(other);
    other = new_large(2 * BYTES);               /* another size: nothing is kept any more */
    assert_int_not_equal(first->state, SPAN_KEPT);
    assert_true(heap_is_sound());
    drop(other);
    pages_set_scavenger(NULL);
    pages_release_idle(0, SIZE_MAX);
    assert_int_equal(idle_bytes(), 0);
    assert_true(pages_check());
}

static void the_last_large_object_grows_where_it_is(void **state)
{
    size_t bytes = (stats_now().largest_free_run + 128) << PAGE_SHIFT;
    struct span *span = new_large(bytes);       /* fits nowhere but at the end */
    uintptr_t base = span->base;

    (void)state;
    assert_true(pages_resize_large(span, 4 * bytes));
    assert_true(span->base == base && span->slot_bytes >= 4 * bytes);
    memset((void *)base, 7, span->slot_bytes);
    assert_true(span_check(span) && heap_is_sound());
    drop(span);
    pages_release_idle(0, SIZE_MAX);
    assert_true(pages_check());
}

static void what_is_kept_is_idle_and_goes_with_it(void **state)
{
    struct span *span = new_large(64 * MIB);

    (void)state;
    pages_release_idle(0, SIZE_MAX);
    drop(span);
    assert_int_equal(idle_bytes(), 64 * MIB);
    scavenge(host_clock_coarse_ms() + 1100, 20000, 0);
    assert_int_equal(idle_bytes(), 0);
    assert_true(pages_check());
}

static void large_objects_lie_at_steps(void **state)
{
    enum { STEP = 64 << 10 };
    struct span *spans[8];

    (void)state;
    for (unsigned i = 0; i < 8; i++) {
        spans[i] = new_large(MIB + i * 3 * PAGE_BYTES + 1);
        assert_true(spans[i]->base % STEP == 0 && spans[i]->slot_bytes % STEP == 0);
    }
    for (unsigned i = 0; i < 8; i++)
        drop(spans[i]);
    assert_true(pages_check());
}

static void the_scavenger_keeps_what_the_goal_needs(void **state)
{
    struct span *small = new_large(80 * MIB), *large = new_large(100 * MIB);

    (void)state;
    pages_release_idle(0, SIZE_MAX);
    size_t before = held_bytes();
    drop(large);
    uint64_t now = host_clock_coarse_ms();
    struct pages_stats start = stats_now();

    scavenge(now, 400, 0);                      /* still hot */
    assert_int_equal(idle_bytes(), 100 * MIB);
    now = scavenge(now + 1100, 5000, before - 60 * MIB);
    assert_true(held_bytes() <= before - 60 * MIB && held_bytes() > before - 61 * MIB);
    scavenge(now + 9000, 60000, before - 60 * MIB);     /* settled */
    assert_true(idle_bytes() < 2 * MIB);
    struct pages_stats end = stats_now();

    assert_true(end.background_bytes - start.background_bytes >= 98 * MIB);
    assert_int_equal(end.demand_bytes, start.demand_bytes);
    assert_true(pages_check());
    drop(small);
}

static void the_scavenger_is_in_no_hurry(void **state)
{
    struct span *span = new_large(200 * MIB);
    size_t most = 0;
    uint64_t waited = 0;

    (void)state;
    pages_release_idle(0, SIZE_MAX);
    drop(span);
    uint64_t now = host_clock_coarse_ms() + 1100;

    while (idle_bytes() > 2 * MIB) {
        size_t before = idle_bytes();
        uint64_t wait = pages_scavenge(now, 0);
        most = max_size(most, before - idle_bytes());
        assert_true(wait > 0 && wait <= 60000);
        waited += wait;
        now += wait;
    }
    assert_true(most <= 4 * MIB);
    assert_true(waited >= 50);                  /* at least 1 ms a step */
}

static uint32_t woken;

static void wake(void)
{
    woken++;
}

static void the_scavenger_sleeps_until_memory_is_freed(void **state)
{
    struct span *span = new_large(8 * MIB), *little = new_large(100000);

    (void)state;
    pages_set_scavenger(wake);
    pages_release_idle(0, SIZE_MAX);
    assert_true(pages_scavenge(host_clock_coarse_ms(), 0) == UINT64_MAX);
    drop(little);
    assert_int_equal(woken, 0);
    drop(span);
    assert_int_equal(woken, 1);
    drop(new_large(8 * MIB));
    assert_int_equal(woken, 1);
    assert_true(pages_scavenge(host_clock_coarse_ms(), 0) <= 1000);
    pages_set_scavenger(NULL);
}

static void a_scavenger_is_started_for_much_memory(void **state)
{
    struct span *little = new_large(2 * MIB), *much = new_large(8 * MIB);

    (void)state;
    woken = 0;
    pages_set_scavenger(wake);                  /* it is not there yet */
    pages_release_idle(0, SIZE_MAX);
    drop(little);
    assert_int_equal(woken, 0);
    drop(much);
    assert_int_equal(woken, 1);
    pages_release_idle(0, SIZE_MAX);
    pages_scavenge(host_clock_coarse_ms(), 0);
    pages_scavenger_left();
    drop(new_large(2 * MIB));
    assert_int_equal(woken, 1);
    drop(new_large(8 * MIB));
    assert_int_equal(woken, 2);
    pages_set_scavenger(NULL);
}

/* Whatever the goal would need: what a program that freed nearly everything had is not wanted soon. */
static void a_collapsed_heap_is_not_kept_for_its_goal(void **state)
{
    (void)state;
    pages_release_idle(0, SIZE_MAX);
    drop(new_large(4 * held_bytes()));
    uint64_t now = host_clock_coarse_ms();

    scavenge(now + 600, 5000, UINT64_MAX);
    assert_true(idle_bytes() <= held_bytes() / 4 * 3);
    assert_true(pages_check());
}

static void pages_beside_busy_ones_stay(void **state)
{
    struct span *cold = new_large(64 * MIB);

    (void)state;
    pages_release_idle(0, SIZE_MAX);
    drop(cold);
    uint64_t now = host_clock_coarse_ms();

    usleep(100000);
    struct span *hot = new_large(64 * KIB);     /* from the low end of that run */

    assert_true(idle_bytes() >= 63 * MIB);
    uintptr_t low = hot->base;
    drop(hot);
    for (int i = 0; i < 200; i++)
        pages_scavenge(now + 550, 0);           /* the hot end is 50 ms too young */
    size_t left = idle_bytes();

    assert_true(left >= 64 * KIB && left <= 2 * MIB);
    assert_int_equal(*(char *)low, 7);
    assert_true(pages_check());
}

static void growth_stays_below_the_limit(void **state)
{
    struct span *spans[20], *fillers[64];
    int fill = 0;

    (void)state;
    while (stats_now().largest_free_run > 64)   /* so that nothing fits into what will be free */
        fillers[fill++] = new_large((stats_now().largest_free_run - 16) << PAGE_SHIFT);
    for (int i = 0; i < 20; i++)
        spans[i] = new_large(8 * MIB);
    pages_release_idle(0, SIZE_MAX);
    struct pages_stats start = stats_now();

    options.memory_limit = (int64_t)(held_bytes() + meta_bytes() + 30 * MIB);
    for (int i = 0; i < 16; i += 2)
        drop(spans[i]);                         /* idle now, and hot */
    assert_int_equal(stats_now().demand_bytes, start.demand_bytes);
    struct span *large = new_large(90 * MIB);

    assert_true(held_bytes() + meta_bytes() <= (size_t)options.memory_limit + 20 * MIB);
    size_t released = stats_now().demand_bytes - start.demand_bytes;

    assert_true(released >= 56 * MIB && released <= 64 * MIB);
    options.memory_limit = INT64_MAX;
    drop(large);
    for (int i = 0; i < 20; i++)
        if (i % 2 == 1 || i >= 16)
            drop(spans[i]);
    while (fill > 0)
        drop(fillers[--fill]);
    assert_true(pages_check());
}

static void the_goal_is_scaled(void **state)
{
    (void)state;
    assert_true(pages_retain_bytes(100, 300, 0) == UINT64_MAX);
    assert_true(pages_retain_bytes(100, UINT64_MAX, 50) == UINT64_MAX);
    assert_int_equal(pages_retain_bytes(100, 300, 150), 220);
    assert_int_equal(pages_retain_bytes((uint64_t)1 << 40, (uint64_t)1 << 40, (uint64_t)1 << 41),
                     ((uint64_t)1 << 39) * 110 / 100);
}

enum { CHURNERS = 3, CHURNS = 3000 };

static void *churn(void *seed)
{
    struct span *spans[16] = { NULL };
    uint32_t random = (uint32_t)(uintptr_t)seed;

    for (int i = 0; i < CHURNS; i++) {
        random = random * 1664525u + 1013904223u;
        struct span **slot = &spans[(random >> 8) % 16];
        if (*slot != NULL) {
            CHECK(*(char *)(*slot)->base == (char)((*slot)->base >> PAGE_SHIFT));
            drop(*slot);
        }
        bool zeroed;
        size_t bytes = (random >> 12) % 100 * PAGE_BYTES + 1;
        *slot = pages_alloc_large(KIND_MALLOC, bytes, 0, GENERATION, &zeroed);
        CHECK(!zeroed || *(char *)(*slot)->base == 0);
        *(char *)(*slot)->base = (char)((*slot)->base >> PAGE_SHIFT);
        if (i % 64 == 0)
            pages_release_idle(0, 100);
    }
    for (int i = 0; i < 16; i++)
        if (spans[i] != NULL)
            drop(spans[i]);
    return NULL;
}

/* Memory that is not there stays so; all of the range, and nothing beyond it, reads as zero. */
static void clearing_leaves_absent_pages_absent(void **state)
{
    enum { PAGES = 600, USED = 7, BYTES = PAGES * 4096 - 100 };
    static const unsigned used[USED] = { 0, 1, 255, 256, 300, 598, PAGES - 1 };
    static unsigned char resident[PAGES];
    char *memory = mmap(NULL, PAGES * VM_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    unsigned there = 0;

    (void)state;
    assert_ptr_not_equal(memory, MAP_FAILED);
    for (unsigned i = 0; i < USED; i++)
        memset(memory + used[i] * VM_PAGE, 0x5a, VM_PAGE);
    vm_clear(memory, BYTES);
    assert_true(vm_resident(memory, PAGES * VM_PAGE, resident));
    for (unsigned page = 0; page < PAGES; page++)
        there += resident[page] & 1;
    assert_int_equal(there, USED);
    for (size_t i = 0; i < PAGES * VM_PAGE; i++)
        assert_int_equal(memory[i], i < BYTES ? 0 : 0x5a);
    munmap(memory, PAGES * VM_PAGE);
}

static void pages_can_be_used_while_others_are_returned(void **state)
{
    pthread_t threads[CHURNERS];

    (void)state;
    for (uintptr_t i = 0; i < CHURNERS; i++)
        pthread_create(&threads[i], NULL, churn, (void *)(i + 1));
    for (int i = 0; i < 200; i++) {
        pages_release_idle(0, SIZE_MAX);
        pages_scavenge(host_clock_coarse_ms() + 20000, 0);
        assert_true(pages_check());
    }
    for (int i = 0; i < CHURNERS; i++)
        pthread_join(threads[i], NULL);
    assert_true(heap_is_sound());
    assert_int_equal(stats_now().borrowed_pages, 0);
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

/* Blocks of 1 KiB, a thousand of them back and forth: the magazine holds 64 KiB at first, then all. */
static void a_swinging_thread_keeps_what_it_will_want(void **state)
{
    enum { SLOTS = 1000 };
    unsigned class = sizeclass_of(1024);
    static void *slots[SLOTS];
    struct mcache *cache = new_cache();
    uint64_t refills = 0, flushes = 0;

    (void)state;
    for (int round = 0; round < 8; round++) {
        refills = cache->refills;
        flushes = cache->flushes;
        for (int i = 0; i < SLOTS; i++)
            slots[i] = pop(cache, class);
        for (int i = 0; i < SLOTS; i++)
            push(cache, slots[i]);
        assert_true(round != 0 || cache->classes[class].room == 64);
    }
    assert_int_equal(cache->classes[class].room, 1024);
    assert_int_equal(cache->refills, refills);
    assert_int_equal(cache->flushes, flushes);
    mcache_abandon(cache);
    assert_int_equal(cache->swing_bytes, 0);
    assert_true(heap_is_sound());
}

/* All classes, in many threads: one has no more than 4 MiB, all have no more than 16 MiB. */
static void swinging_threads_keep_little(void **state)
{
    enum { SLOTS = 200, THREADS = 8 };
    static void *slots[SLOTS];
    struct mcache *caches[THREADS];
    size_t all = 0;

    (void)state;
    for (int t = 0; t < THREADS; t++) {
        struct mcache *cache = caches[t] = new_cache();
        for (unsigned class = sizeclass_of(1024); class < SIZE_CLASSES; class++)
            for (int round = 0; round < 4; round++) {
                for (int i = 0; i < SLOTS; i++)
                    slots[i] = pop(cache, class);
                for (int i = 0; i < SLOTS; i++)
                    push(cache, slots[i]);
            }
        assert_true(cache->swing_bytes <= 4 * MIB && (t != 0 || cache->swing_bytes > MIB));
        all += cache->swing_bytes;
    }
    assert_true(all > 8 * MIB && all <= 16 * MIB);
    for (int t = 0; t < THREADS; t++)
        mcache_abandon(caches[t]);
    assert_true(heap_is_sound());
}

/* A thread that takes and gives back many gets several words at a time, in address order from
 * where the span was left, round to its start. */
static void large_refills_come_in_address_order(void **state)
{
    enum { SLOTS = 4096 };
    static void *slots[SLOTS];
    struct mcache *cache = new_cache();
    uint32_t largest = 0;
    int falls = 0;

    (void)state;
    for (int i = 0; i < SLOTS; i++)
        slots[i] = pop(cache, CLASS_64);
    assert_int_equal(cache->classes[CLASS_64].last_refill, 64);
    for (int i = 0; i < SLOTS; i++)
        push(cache, slots[i]);
    mcache_flush(cache, CLASS_64, UINT32_MAX);
    for (int i = 0; i < SLOTS; i++) {
        bool refilled = magazine_fill(cache, CLASS_64) == 0;
        slots[i] = pop(cache, CLASS_64);
        falls = refilled ? 0 : falls + (slots[i] < slots[i - 1]);
        assert_true(falls <= 1);
        largest = (uint32_t)max_size(largest, cache->classes[CLASS_64].last_refill);
    }
    assert_int_equal(largest, 256);
    for (int i = 0; i < SLOTS; i++)
        push(cache, slots[i]);
    mcache_abandon(cache);
    assert_true(heap_is_sound());
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
            push(cache, blocks[i * 7919 % BLOCKS]);
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
        push(cache, pop(cache, CLASS_64));
        mcache_abandon(cache);
    }
    pages_stats_read(&after);
    assert_true(after.small_spans <= before.small_spans + 8);
}

/* Those that end together, too. */
static void abandoned_caches_leave_little(void **state)
{
    enum { CACHES = 100 };
    struct mcache *caches[CACHES];
    struct pages_stats before, after;

    (void)state;
    pages_stats_read(&before);
    for (int i = 0; i < CACHES; i++) {
        caches[i] = new_cache();
        push(caches[i], pop(caches[i], CLASS_64 + 7));
    }
    for (int i = 0; i < CACHES; i++)
        mcache_abandon(caches[i]);
    pages_stats_read(&after);
    assert_true(after.small_spans <= before.small_spans + 4);
    assert_true(heap_is_sound());
}

/* Many threads that use a little of a class have a short span each; one that uses more has long ones. */
static void among_many_threads_first_spans_are_short(void **state)
{
    enum { CACHES = 40 };
    struct mcache *caches[CACHES];

    (void)state;
    for (int i = 0; i < CACHES; i++) {
        caches[i] = new_cache();
        pop(caches[i], CLASS_1024 + 1);
    }
    const struct mcache *last = caches[CACHES - 1];

    assert_true(last->classes[CLASS_1024 + 1].current->pages < size_classes[CLASS_1024 + 1].pages);
    for (int i = 0; i < 1000; i++)
        pop(caches[CACHES - 1], CLASS_1024 + 1);
    assert_int_equal(last->classes[CLASS_1024 + 1].current->slots, size_classes[CLASS_1024 + 1].slots);
    for (int i = 0; i < CACHES; i++)
        mcache_abandon(caches[i]);
    struct mcache *alone = new_cache();

    assert_int_equal(mcache_fresh_pages(alone, CLASS_1024), size_classes[CLASS_1024].pages);
    assert_true(heap_is_sound());
}

static uint32_t chain_length(const struct span *span)
{
    uint32_t length = 0;

    for (; span != NULL; span = span->next)
        length++;
    return length;
}

/* `blocks` of `spans` spans, the first of each: all of them are filed afterwards. */
static void file_spans(struct mcache *cache, unsigned class, void **blocks, uint32_t spans)
{
    uint32_t slots = size_classes[class].slots;

    for (uint32_t i = 0; i < spans * slots; i++)
        blocks[i] = pop(cache, class);
    for (uint32_t i = 0; i < spans; i++)
        push(cache, blocks[i * slots]);
    mcache_flush(cache, class, UINT32_MAX);
}

/* What a thread has taken is not given back when it comes free. */
static void a_thread_takes_few_of_its_ready_spans(void **state)
{
    enum { SPANS = 200, MOST = 32 };
    static void *blocks[SPANS * 64];
    struct mcache *cache = new_cache();
    const struct class_cache *class = &cache->classes[CLASS_1024];

    (void)state;
    file_spans(cache, CLASS_1024, blocks, SPANS);
    uint64_t filed = chain_length(class->ready.head) + cache->filed;

    assert_true(chain_length(class->ready.head) >= SPANS - 1);
    for (int i = 0; i < SPANS / 2; i++) {
        pop(cache, CLASS_1024);
        assert_true(chain_length(class->taken) <= MOST);
        assert_int_equal(chain_length(class->taken) + chain_length(class->ready.head) + cache->filed, filed);
    }
    assert_non_null(class->taken);
    mcache_abandon(cache);
    assert_true(heap_is_sound());
}

/* An eighth of them: they go back although the list is long. */
static void wholly_free_spans_are_found_among_others(void **state)
{
    enum { SPANS = 512 };
    static void *blocks[SPANS * 64];
    uint32_t slots = size_classes[CLASS_512].slots;
    struct mcache *cache = new_cache();
    struct pages_stats before, after;

    (void)state;
    file_spans(cache, CLASS_512, blocks, SPANS);
    pages_stats_read(&before);
    for (uint32_t i = 0; i < SPANS * slots; i++)
        if (i % slots != 0 && i / slots % 8 == 0)
            push(cache, blocks[i]);
    mcache_flush(cache, CLASS_512, UINT32_MAX);
    pages_stats_read(&after);
    assert_true(after.small_spans <= before.small_spans - SPANS / 16);
    mcache_abandon(cache);
    assert_true(heap_is_sound());
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
        push(cache, other);
    }
    mcache_abandon(cache);
    return NULL;
}

static void frees_across_threads_lose_nothing(void **state)
{
    pthread_t threads[SWAPPERS];
    struct mcache *cache = new_cache();

    (void)state;
    heap_shared = 1;
    for (uintptr_t i = 0; i < SWAPPERS; i++)
        pthread_create(&threads[i], NULL, swap_blocks, (void *)(i + 1));
    for (int i = 0; i < SWAPPERS; i++)
        pthread_join(threads[i], NULL);
    for (int i = 0; i < BOXES; i++)
        if (boxes[i] != NULL)
            push(cache, boxes[i]);
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

/* The thread that frees them gets none of them, holds few of them, and the one that allocated them gets them. */
static void slots_of_others_go_home(void **state)
{
    enum { SLOTS = 20000, MOST = 2048 };
    static void *slots[SLOTS];
    struct mcache *owner = new_cache(), *freer = new_cache();
    struct pages_stats before, after;

    (void)state;
    for (int i = 0; i < SLOTS; i++)
        slots[i] = pop(owner, i % 2 == 0 ? CLASS_64 : CLASS_64 + 5);
    pages_stats_read(&before);
    for (int i = 0; i < SLOTS; i++)
        push(freer, slots[i * 7919 % SLOTS]);
    assert_true(outbox_fill(freer) <= MOST && freer->outbox.room <= MOST);
    assert_int_equal(freer->foreign_frees + outbox_fill(freer), SLOTS);
    for (int i = 0; i < 1000; i++)
        assert_ptr_equal(span_of((uintptr_t)pop(freer, CLASS_64))->home, freer);
    outbox_flush(freer);
    assert_int_equal(outbox_fill(freer), 0);
    assert_int_equal(freer->freed_count, SLOTS);
    uint64_t refilled = owner->allocated_count;

    for (int i = 0; i < SLOTS; i++)
        pop(owner, i % 2 == 0 ? CLASS_64 : CLASS_64 + 5);
    pages_stats_read(&after);
    assert_true(owner->allocated_count > refilled);
    assert_true(after.small_spans <= before.small_spans + 1000 / size_classes[CLASS_64].slots + 2);
    mcache_abandon(owner);
    mcache_abandon(freer);
    assert_true(heap_is_sound());
}

/* So large that few of them are much. */
static void an_outbox_holds_few_large_slots(void **state)
{
    enum { SLOTS = 200 };
    unsigned class = sizeclass_of(SMALL_MAX);
    static void *slots[SLOTS];
    struct mcache *owner = new_cache(), *freer = new_cache();

    (void)state;
    for (int i = 0; i < SLOTS; i++)
        slots[i] = pop(owner, class);
    for (int i = 0; i < SLOTS; i++) {
        push(freer, slots[i]);
        assert_true(outbox_fill(freer) * (size_t)SMALL_MAX <= MIB);
    }
    mcache_abandon(owner);
    mcache_abandon(freer);
    assert_true(heap_is_sound());
}

/* Whoever frees first into the span of a thread that is gone has inherited it. */
static void inherited_slots_are_used_again(void **state)
{
    enum { SLOTS = 200 };
    void *slots[SLOTS];
    struct mcache *dead = new_cache(), *heir = new_cache(), *third = new_cache();

    (void)state;
    for (int i = 0; i < SLOTS; i++)
        slots[i] = pop(dead, CLASS_64);
    mcache_abandon(dead);
    for (int i = 0; i < SLOTS - 1; i++)
        push(heir, slots[i]);
    assert_int_equal(outbox_fill(heir), 0);
    assert_int_equal(magazine_fill(heir, CLASS_64), SLOTS - 1);
    assert_ptr_equal(pop(heir, CLASS_64), slots[SLOTS - 2]);
    mcache_flush(heir, CLASS_64, 10);           /* for others: the heir takes none from spans */
    assert_null(heir->classes[CLASS_64].ready.head);
    push(third, slots[SLOTS - 1]);
    assert_int_equal(outbox_fill(third), 1);
    pop(dead, CLASS_64);                        /* its structure is used again */
    push(third, pop(dead, CLASS_64));
    assert_int_equal(outbox_fill(third), 2);
    mcache_abandon(dead);
    mcache_abandon(heir);
    mcache_abandon(third);
    assert_true(heap_is_sound());
}

/* The magazine of a class that the thread does not allocate of stays small. */
static void who_only_frees_holds_little(void **state)
{
    enum { SLOTS = 1000, MOST_BYTES = 16 << 10 };
    static void *slots[SLOTS];
    struct mcache *dead = new_cache(), *heir = new_cache();

    (void)state;
    for (int i = 0; i < SLOTS; i++)
        slots[i] = pop(dead, CLASS_1024);
    mcache_abandon(dead);
    for (int i = 0; i < SLOTS; i++) {
        push(heir, slots[i]);
        assert_true(magazine_fill(heir, CLASS_1024) * (size_t)1024 <= MOST_BYTES);
    }
    for (int i = 0; i < SLOTS; i++)
        slots[i] = pop(heir, CLASS_1024);
    for (int i = 0; i < SLOTS; i++)
        push(heir, slots[i]);
    assert_true(magazine_fill(heir, CLASS_1024) * (size_t)1024 > MOST_BYTES);
    mcache_abandon(heir);
    assert_true(heap_is_sound());
}

static void free_twice(struct mcache *one, struct mcache *two, void *block)
{
    pid_t child = fork();
    int status;

    if (child == 0) {
        close(2);
        push(one, block);
        push(two, block);
        mcache_abandon(one);
        mcache_abandon(two);
        _exit(0);
    }
    waitpid(child, &status, 0);
    assert_true(WIFSIGNALED(status));
}

static void freed_twice_at_the_same_moment_dies(void **state)
{
    struct mcache *home = new_cache(), *one = new_cache(), *two = new_cache();
    void *block = pop(home, CLASS_64);

    (void)state;
    free_twice(home, one, block);
    free_twice(one, home, block);
    free_twice(one, two, block);
    free_twice(one, one, block);
    free_twice(home, home, block);
    mcache_abandon(home);
}

/* The arena is reserved by the first metadata, in a program by the first thread. */
static int reserve(void **state)
{
    (void)state;
    return meta_alloc(64) == NULL;
}

/* --- slots of gc_alloc -------------------------------------------------------------- */

static bool is_zero(const void *slot, size_t bytes)
{
    static const char zeroes[CLEAN_MOST];

    return memcmp(slot, zeroes, bytes) == 0;
}

static void give_back(void *slot)
{
    struct span *span = span_of((uintptr_t)slot);
    uint32_t index = span_slot_of(span, (uintptr_t)slot - span->base);

    span->slot_state[index] = SLOT_IN;
    span_release_slot(span, index);
}

/* From fresh spans, from full words and from words with holes. */
static void cached_slots_of_gc_classes_read_as_zero(void **state)
{
    static const size_t sizes[] = { 8, 24, 48, 112, 320, CLEAN_MOST };
    enum { SLOTS = 1500, ROUNDS = 8 };
    static void *slots[SLOTS];

    (void)state;
    for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++) {
        struct mcache *cache = new_cache();
        unsigned class = span_class_of(KIND_GC, sizeclass_of_gc(sizes[s]));
        uint32_t random = 1;
        memset(slots, 0, sizeof slots);
        for (int round = 0; round < ROUNDS; round++) {
            for (int i = 0; i < SLOTS; i++) {
                if (slots[i] != NULL)
                    continue;
                slots[i] = pop(cache, class);
                assert_true(is_zero(slots[i], sizes[s]));
                memset(slots[i], 0xff, sizes[s]);
            }
            for (int i = 0; i < SLOTS; i++) {
                random = random * 1664525 + 1013904223;
                if (round % 2 != 0 && random >> 31 != 0)
                    continue;
                give_back(slots[i]);
                slots[i] = NULL;
            }
        }
        assert_true(heap_is_sound());
    }
}

static bool is_resident(uintptr_t address)
{
    unsigned char resident;

    assert_true(vm_resident((void *)align_down(address, VM_PAGE), VM_PAGE, &resident));
    return resident & 1;
}

/* Of small slots the pages that they are about to fill, and few others; of larger ones none. */
static void fresh_memory_of_gc_classes_is_brought_in(void **state)
{
    enum { SLOTS = 500, AHEAD_PAGES = 4, LARGE = 8 << 10 };
    static const size_t sizes[] = { 24, 320, 1024 };

    (void)state;
    for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++) {
        struct mcache *cache = new_cache();
        unsigned class = span_class_of(KIND_GC, sizeclass_of_gc(sizes[s]));

        for (int i = 0; i < SLOTS; i++) {
            uintptr_t slot = (uintptr_t)pop(cache, class);
            assert_true(is_resident(slot) && is_resident(slot + sizes[s] - 1));
        }
    }
    struct mcache *cache = new_cache();
    const struct span *span = span_of((uintptr_t)pop(cache, span_class_of(KIND_GC, sizeclass_of_gc(24))));

    assert_false(is_resident(span->base + AHEAD_PAGES * VM_PAGE));
    assert_false(is_resident((uintptr_t)pop(cache, span_class_of(KIND_GC, sizeclass_of_gc(LARGE)))));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fresh_memory_of_gc_classes_is_brought_in),     /* while all memory is fresh */
        cmocka_unit_test(nothing_lies_where_the_heap_begins),
        cmocka_unit_test(cached_slots_of_gc_classes_read_as_zero),
        cmocka_unit_test(every_size_has_the_smallest_class),
        cmocka_unit_test(every_offset_finds_its_slot),
        cmocka_unit_test(free_runs_merge),
        cmocka_unit_test(released_pages_read_as_zero),
        cmocka_unit_test(alignment_is_kept),
        cmocka_unit_test(large_objects_resize_in_place),
        cmocka_unit_test(every_magazine_may_grow),
        cmocka_unit_test(a_magazine_keeps_its_order_as_it_grows),
        cmocka_unit_test(a_large_object_is_kept_for_the_next_of_its_size),
        cmocka_unit_test(the_last_large_object_grows_where_it_is),
        cmocka_unit_test(what_is_kept_is_idle_and_goes_with_it),
        cmocka_unit_test(large_objects_lie_at_steps),
        cmocka_unit_test(the_scavenger_keeps_what_the_goal_needs),
        cmocka_unit_test(the_scavenger_is_in_no_hurry),
        cmocka_unit_test(the_scavenger_sleeps_until_memory_is_freed),
        cmocka_unit_test(a_scavenger_is_started_for_much_memory),
        cmocka_unit_test(a_collapsed_heap_is_not_kept_for_its_goal),
        cmocka_unit_test(pages_beside_busy_ones_stay),
        cmocka_unit_test(growth_stays_below_the_limit),
        cmocka_unit_test(the_goal_is_scaled),
        cmocka_unit_test(clearing_leaves_absent_pages_absent),
        cmocka_unit_test(pages_can_be_used_while_others_are_returned),
        cmocka_unit_test(slots_come_in_address_order),
        cmocka_unit_test(a_swinging_thread_keeps_what_it_will_want),
        cmocka_unit_test(swinging_threads_keep_little),
        cmocka_unit_test(large_refills_come_in_address_order),
        cmocka_unit_test(freed_spans_are_found_again),
        cmocka_unit_test(an_abandoned_cache_leaves_nothing),
        cmocka_unit_test(abandoned_caches_leave_little),
        cmocka_unit_test(among_many_threads_first_spans_are_short),
        cmocka_unit_test(a_thread_takes_few_of_its_ready_spans),
        cmocka_unit_test(wholly_free_spans_are_found_among_others),
        cmocka_unit_test(frees_across_threads_lose_nothing),
        cmocka_unit_test(slots_of_others_go_home),
        cmocka_unit_test(an_outbox_holds_few_large_slots),
        cmocka_unit_test(inherited_slots_are_used_again),
        cmocka_unit_test(who_only_frees_holds_little),
        cmocka_unit_test(freed_twice_at_the_same_moment_dies),
    };

    return cmocka_run_group_tests(tests, reserve, NULL);
}
