/* test_memstats.c -- gc_read_memstats
 *
 * PURPOSE  The equations between the fields that gcalloc.h states, and that the numbers follow
 *          what the program does: allocation, frees, cycles, pauses.
 */
#define _GNU_SOURCE
#include <malloc.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "api_test.h"

/* Large: not on the stack. */
static struct gc_memstats before, after;

static void assert_consistent(const struct gc_memstats *m)
{
    uint64_t by_size_live = 0;

    assert_int_equal(m->sys,
                     m->heap_sys + m->mspan_sys + m->mcache_sys + m->gc_sys + m->other_sys);
    assert_int_equal(m->heap_sys, m->heap_inuse + m->heap_idle);
    assert_true(m->heap_released <= m->heap_idle);
    assert_int_equal(m->heap_objects, m->mallocs - m->frees);
    assert_int_equal(m->alloc, m->heap_alloc);
    assert_true(m->heap_alloc <= m->heap_inuse);
    assert_true(m->heap_alloc <= m->total_alloc);
    assert_true(m->heap_cached_objects <= m->heap_objects);
    assert_true(m->heap_cached_bytes <= m->heap_alloc);
    assert_true(m->mspan_inuse <= m->mspan_sys);
    assert_true(m->mcache_inuse <= m->mcache_sys && m->mcache_inuse != 0);
    assert_true(m->num_forced_gc <= m->num_gc);
    assert_true(m->gc_cpu_fraction >= 0 && m->gc_cpu_fraction <= 1);
    for (int i = 0; i < GC_SIZE_CLASSES; i++) {
        assert_true(m->by_size[i].frees <= m->by_size[i].mallocs);
        by_size_live += m->by_size[i].mallocs - m->by_size[i].frees;
        if (i > 1 && m->by_size[i].size != 0)
            assert_true(m->by_size[i].size > m->by_size[i - 1].size);
    }
    assert_int_equal(by_size_live, m->heap_objects);
    assert_int_equal(m->by_size[0].size, 0);
    assert_int_equal(m->by_size[1].size, 8);
}

static void test_equations(void **state)
{
    (void)state;
    gc_read_memstats(&before);
    assert_consistent(&before);
    void *blocks[100];

    for (int round = 0; round < 50; round++) {
        for (int i = 0; i < 100; i++)
            blocks[i] = malloc((size_t)(round * 100 + i) * 37 % 180000);
        gc_read_memstats(&after);
        assert_consistent(&after);
        for (int i = 0; i < 100; i++)
            free(blocks[i]);
    }
}

static int class_of(size_t bytes)
{
    for (int i = 1; i < GC_SIZE_CLASSES; i++)
        if (before.by_size[i].size >= bytes)
            return i;
    return 0;
}

static void test_blocks_are_counted(void **state)
{
    /* At most CACHED blocks of a class are in a cache, or missing because they were. */
    enum { COUNT = 10000, BYTES = 208, CACHED = 1024 };
    static void *blocks[COUNT];

    (void)state;
    gc_read_memstats(&before);
    for (int i = 0; i < COUNT; i++)
        blocks[i] = malloc(BYTES - 1);
    gc_read_memstats(&after);
    int class = class_of(BYTES);
    uint64_t in_use_before = before.heap_objects - before.heap_cached_objects;
    uint64_t in_use_after = after.heap_objects - after.heap_cached_objects;

    assert_int_equal(after.by_size[class].size, BYTES);
    assert_in_range(after.by_size[class].mallocs - before.by_size[class].mallocs, COUNT - CACHED,
                    COUNT + CACHED);
    assert_int_equal(in_use_after - in_use_before, COUNT);
    assert_int_equal(after.heap_alloc - after.heap_cached_bytes,
                     before.heap_alloc - before.heap_cached_bytes + (uint64_t)COUNT * BYTES);
    for (int i = 0; i < COUNT; i++)
        free(blocks[i]);
    memset(blocks, 0, sizeof blocks);   /* or they would hold whatever comes there next */
    gc_read_memstats(&after);
    assert_true(after.by_size[class].frees - before.by_size[class].frees >= COUNT - CACHED);
    assert_consistent(&after);
}

/* Beside its bits each slot has a byte in the header of its span. */
static void test_headers_are_counted(void **state)
{
    enum { COUNT = 200000, BYTES = 10 };
    static void *blocks[COUNT];

    (void)state;
    gc_read_memstats(&before);
    for (int i = 0; i < COUNT; i++)
        blocks[i] = malloc(BYTES);
    gc_read_memstats(&after);
    assert_in_range(after.mspan_inuse - before.mspan_inuse, COUNT * 3 / 2, COUNT * 3);
    for (int i = 0; i < COUNT; i++)
        free(blocks[i]);
}

static void test_large_blocks_are_counted(void **state)
{
    void *blocks[20];

    (void)state;
    gc_read_memstats(&before);
    for (int i = 0; i < 20; i++)
        blocks[i] = malloc((1 << 20) - 1);
    gc_read_memstats(&after);
    assert_int_equal(after.by_size[0].mallocs - before.by_size[0].mallocs, 20);
    assert_int_equal(after.heap_alloc - after.heap_cached_bytes,
                     before.heap_alloc - before.heap_cached_bytes + (20 << 20));
    for (int i = 0; i < 20; i++)
        free(blocks[i]);
    gc_read_memstats(&after);
    assert_int_equal(after.by_size[0].frees - before.by_size[0].frees, 20);
}

static uint64_t unix_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static void test_cycles_are_counted(void **state)
{
    (void)state;
    gc_read_memstats(&before);
    uint64_t start = unix_ns();

    for (int i = 0; i < 3; i++)
        assert_true(gc_collect());
    uint64_t end = unix_ns();

    gc_read_memstats(&after);
    assert_consistent(&after);
    assert_true(after.num_gc >= before.num_gc + 3);
    assert_true(after.num_forced_gc >= before.num_forced_gc + 3);
    assert_in_range(after.last_gc, start, end);
    uint32_t latest = (after.num_gc + GC_PAUSES - 1) % GC_PAUSES;

    assert_int_equal(after.pause_end[latest], after.last_gc);
    assert_in_range(after.pause_ns[latest], 1, end - start);
    assert_true(after.pause_total_ns > before.pause_total_ns);
    assert_true(after.pause_total_ns - before.pause_total_ns <= end - start);
    assert_true(after.stack_scan > 0);
    assert_true(after.globals_scan > 0);
    assert_true(after.heap_live > 0 && after.heap_live <= after.heap_sys);
}

/* The ring goes round. */
static void test_pause_ring(void **state)
{
    (void)state;
    gc_read_memstats(&before);
    while (before.num_gc <= GC_PAUSES + 3) {
        assert_true(gc_collect());
        gc_read_memstats(&before);
    }
    for (int i = 0; i < GC_PAUSES; i++) {
        assert_true(before.pause_ns[i] > 0);
        assert_true(before.pause_end[i] <= before.last_gc);
    }
}

static void test_goal(void **state)
{
    (void)state;
    const char *mode = getenv("GCALLOC_MODE");
    const char *debug = getenv("GCALLOC_DEBUG");

    assert_non_null(gc_alloc(16));
    gc_collect();
    gc_read_memstats(&after);
    assert_true(after.next_gc != 0);
    if ((mode == NULL || strcmp(mode, "collect") == 0) && debug == NULL) {
        /* The default GCALLOC_HEAPMIN: no cycle below 64 MiB of malloc memory. */
        assert_true(after.next_gc >= 64 << 20 && after.next_gc < UINT64_MAX);
        assert_true(after.enable_gc);
    }
    int percent = gc_set_percent(-1);

    gc_read_memstats(&after);
    assert_true(after.next_gc == UINT64_MAX);
    assert_false(after.enable_gc);
    gc_set_percent(percent);
    gc_read_memstats(&after);
    assert_true(after.next_gc != UINT64_MAX);
}

static void *idle_thread(void *argument)
{
    pthread_barrier_t *barrier = argument;

    free(malloc(100));
    pthread_barrier_wait(barrier);
    pthread_barrier_wait(barrier);
    return NULL;
}

static void test_threads_are_counted(void **state)
{
    pthread_barrier_t barrier;
    pthread_t threads[8];

    (void)state;
    gc_read_memstats(&before);
    pthread_barrier_init(&barrier, NULL, 9);
    for (int i = 0; i < 8; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, idle_thread, &barrier), 0);
    pthread_barrier_wait(&barrier);
    gc_read_memstats(&after);
    assert_int_equal(after.threads, before.threads + 8);
    pthread_barrier_wait(&barrier);
    for (int i = 0; i < 8; i++)
        pthread_join(threads[i], NULL);
    gc_read_memstats(&after);
    assert_consistent(&after);
    pthread_barrier_destroy(&barrier);
}

enum { FOREIGN = 10000 };

static void *free_all(void *argument)
{
    void **blocks = argument;

    for (int i = 0; i < FOREIGN; i++)
        free(blocks[i]);
    memset(blocks, 0, FOREIGN * sizeof *blocks);
    return NULL;
}

/* Blocks of the main thread, freed by another one: they go home when it ends at the latest. */
static void test_traffic_is_counted(void **state)
{
    void **blocks = calloc(FOREIGN, sizeof *blocks);
    pthread_t thread;

    (void)state;
    gc_read_memstats(&before);
    for (int i = 0; i < FOREIGN; i++)
        blocks[i] = malloc(64);
    assert_int_equal(pthread_create(&thread, NULL, free_all, blocks), 0);
    pthread_join(thread, NULL);
    for (int i = 0; i < FOREIGN; i++)
        blocks[i] = malloc(64);
    gc_read_memstats(&after);
    assert_true(after.refills > before.refills);
    assert_true(after.merges > before.merges);
    if (strcmp(getenv("GCALLOC_DEBUG") ?: "", "hardened=1") != 0) {    /* there every free goes home at once */
        assert_true(after.flushes > before.flushes);
        assert_true(after.foreign_frees - before.foreign_frees >= FOREIGN);
    }
    free_all(blocks);
    free(blocks);
}

static NOINLINE void lose_blocks(void)
{
    for (int i = 0; i < 1000; i++)
        memset(malloc(1000), 0, 1000);
}

enum { SHARED_OBJECTS = 512 << 10, SHARED_BYTES = 64, SHARED_KEPT = 16 };

static void **kept;

static void *allocate_half(void *unused)
{
    for (int i = 0; i < SHARED_OBJECTS / 2; i++)
        assert_non_null(gc_alloc(SHARED_BYTES));
    return unused;
}

/* What one thread's garbage has left free in its spans serves another before the heap grows. */
static void test_threads_share_free_slots(void **state)
{
    int percent = gc_set_percent(-1);
    pthread_t thread;

    (void)state;
    kept = gc_alloc(SHARED_OBJECTS / SHARED_KEPT * sizeof *kept);
    for (int i = 0; i < SHARED_OBJECTS; i++) {
        void *object = gc_alloc(SHARED_BYTES);

        assert_non_null(object);
        if (i % SHARED_KEPT == 0)
            GC_WRITE(&kept[i / SHARED_KEPT], object);
    }
    gc_collect();
    gc_read_memstats(&before);
    assert_int_equal(pthread_create(&thread, NULL, allocate_half, NULL), 0);
    pthread_join(thread, NULL);
    gc_read_memstats(&after);
    assert_true(after.heap_inuse < before.heap_inuse + SHARED_OBJECTS * SHARED_BYTES / 8);
    kept = NULL;
    gc_set_percent(percent);
}

static void test_condemned_then_reclaimed(void **state)
{
    (void)state;
    const char *mode = getenv("GCALLOC_MODE");

    if (mode != NULL && strcmp(mode, "manual") == 0) {
        print_message("SKIP test_condemned_then_reclaimed: nothing is condemned in mode manual\n");
        skip();
    }
    assert_true(collect_twice());
    assert_true(collect_twice());
    gc_read_memstats(&before);
    lose_blocks();
    clear_stack();
    assert_true(gc_collect());
    gc_read_memstats(&after);
    uint64_t condemned = after.malloc_condemned;
    uint64_t reclaimed = after.malloc_reclaimed - before.malloc_reclaimed;

    assert_true(condemned + reclaimed >= 900 * 1024);
    assert_true(collect_twice());
    gc_read_memstats(&after);
    assert_true(after.malloc_reclaimed - before.malloc_reclaimed >= 900 * 1024);
}

static void test_free_os_memory(void **state)
{
    (void)state;
    void *block = malloc(64 << 20);

    memset(block, 1, 64 << 20);
    gc_read_memstats(&before);
    free(block);
    gc_free_os_memory();
    gc_read_memstats(&after);
    assert_consistent(&after);
    assert_true(after.heap_released >= 64 << 20);
    assert_true(after.heap_idle - after.heap_released <= before.heap_idle + (4 << 20));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_equations),
        cmocka_unit_test(test_blocks_are_counted),
        cmocka_unit_test(test_headers_are_counted),
        cmocka_unit_test(test_large_blocks_are_counted),
        cmocka_unit_test(test_cycles_are_counted),
        cmocka_unit_test(test_pause_ring),
        cmocka_unit_test(test_goal),
        cmocka_unit_test(test_threads_are_counted),
        cmocka_unit_test(test_traffic_is_counted),
        cmocka_unit_test(test_threads_share_free_slots),
        cmocka_unit_test(test_condemned_then_reclaimed),
        cmocka_unit_test(test_free_os_memory),
    };

    return cmocka_run_group_tests_name("memstats", tests, NULL, NULL);
}
