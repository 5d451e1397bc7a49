/* test_pages.c -- the page heap alone; no world, no collector
 *
 * PURPOSE  Runs of pages split, merge and come back; large objects are kept for the next of their size and
 *          resized where they are; idle memory goes back to the OS when it should, and no sooner.
 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/check.h"
#include "base/options.h"
#include "heap_alone.h"
#include "os/host.h"
#include "os/vm.h"

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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_lies_where_the_heap_begins),
        cmocka_unit_test(free_runs_merge),
        cmocka_unit_test(released_pages_read_as_zero),
        cmocka_unit_test(alignment_is_kept),
        cmocka_unit_test(large_objects_resize_in_place),
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
    };

    return cmocka_run_group_tests(tests, reserve, NULL);
}
