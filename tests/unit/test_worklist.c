/* test_worklist.c -- order, sharing, overflow, and the end of work */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "gc/worklist.h"

static struct worklist list;

static void fresh_list(void)
{
    worklist_reset(&list);
    list.max_blocks = UINT32_MAX;
}

static void close_empty(struct work_local *local)
{
    assert_true(local->top->count == 0 && (local->under == NULL || local->under->count == 0));
    work_local_surrender(&list, local, true);
}

static void test_last_in_first_out(void **state)
{
    struct work_local local;
    struct work work = { 0, 0 };

    (void)state;
    fresh_list();
    worklist_enter(&list);
    assert_true(work_local_open(&list, &local));
    for (uintptr_t i = 1; i <= 100; i++)
        assert_true(work_push(&list, &local, i * 8, i));
    for (uintptr_t i = 100; i >= 1; i--) {
        assert_true(work_pop(&list, &local, &work));
        assert_int_equal(work.address, i * 8);
        assert_int_equal(work.bytes, i);
    }
    assert_false(work_pop(&list, &local, &work));
    assert_false(worklist_wait(&list, &local));
    assert_true(worklist_is_empty(&list));
    close_empty(&local);
}

/* Far more than a pair of blocks: everything comes back once. */
static void test_spills_and_returns_everything(void **state)
{
    enum { COUNT = 100000 };
    struct work_local local;
    struct work work = { 0, 0 };
    uint64_t sum = 0;

    (void)state;
    fresh_list();
    worklist_enter(&list);
    assert_true(work_local_open(&list, &local));
    for (uint64_t i = 1; i <= COUNT; i++)
        assert_true(work_push(&list, &local, i * 8, 8));
    while (work_pop(&list, &local, &work))
        sum += work.address / 8;
    assert_int_equal(sum, (uint64_t)COUNT * (COUNT + 1) / 2);
    assert_false(worklist_wait(&list, &local));
    close_empty(&local);
    uint32_t blocks = list.blocks;

    /* Again: no new memory. */
    worklist_enter(&list);
    assert_true(work_local_open(&list, &local));
    for (uint64_t i = 1; i <= COUNT; i++)
        assert_true(work_push(&list, &local, i * 8, 8));
    while (work_pop(&list, &local, &work))
        continue;
    assert_false(worklist_wait(&list, &local));
    close_empty(&local);
    assert_int_equal(list.blocks, blocks);
}

static void test_room_after_every_pop(void **state)
{
    struct work_local local;
    struct work work = { 0, 0 };

    (void)state;
    fresh_list();
    list.max_blocks = list.blocks;      /* those that exist, then refused */
    worklist_enter(&list);
    assert_true(work_local_open(&list, &local));
    for (uintptr_t i = 1; work_push(&list, &local, i * 8, 8); i++)
        continue;
    assert_int_equal(list.overflowed, 1);
    list.overflowed = 0;
    for (int i = 0; i < 5000; i++) {
        assert_true(work_pop(&list, &local, &work));
        assert_true(work_push(&list, &local, work.address, work.bytes));
    }
    assert_int_equal(list.overflowed, 0);
    while (work_pop(&list, &local, &work))
        continue;
    assert_false(worklist_wait(&list, &local));
    close_empty(&local);
}

static void test_share_gives_the_older_half(void **state)
{
    struct work_local local, other;
    struct work work = { 0, 0 };

    (void)state;
    fresh_list();
    worklist_enter(&list);
    assert_true(work_local_open(&list, &local));
    assert_true(work_local_open(&list, &other));
    for (uintptr_t i = 1; i <= 11; i++)
        work_push(&list, &local, i * 8, 8);
    work_share(&list, &local);
    assert_int_equal(local.top->count, 5);
    assert_int_equal(list.outstanding, 2);
    worklist_enter(&list);
    assert_true(worklist_wait(&list, &other));
    assert_int_equal(list.outstanding, 2);      /* two busy workers */
    assert_true(work_pop(&list, &other, &work));
    assert_int_equal(work.address, 6 * 8);
    while (work_pop(&list, &other, &work) || work_pop(&list, &local, &work))
        continue;
    assert_int_equal(list.outstanding, 2);
    /* The first to wait must not hang: only the last one sees the end. */
    list.outstanding = 1;
    assert_false(worklist_wait(&list, &local));
    close_empty(&local);
    close_empty(&other);
}

/* What mutators give does not count until the leader, being busy, takes it. */
static void test_shaded_blocks_wait(void **state)
{
    struct work_local shader, other, leader;
    struct work work = { 0, 0 };

    (void)state;
    fresh_list();
    assert_true(work_local_open(&list, &shader) && work_local_open(&list, &other));
    for (uintptr_t i = 1; i <= WORK_ENTRIES + 1; i++)   /* two blocks */
        assert_true(work_push(&list, &shader, i * 8, 8));
    assert_true(work_push(&list, &other, 9999, 8));
    work_local_surrender(&list, &shader, true);
    work_local_surrender(&list, &other, true);
    assert_null(shader.top);
    assert_true(worklist_is_empty(&list));
    assert_false(worklist_has_shared(&list));
    worklist_enter(&list);
    assert_true(work_local_open(&list, &leader));
    assert_false(work_pop(&list, &leader, &work));
    assert_true(worklist_take_shaded(&list));
    assert_false(worklist_take_shaded(&list));
    assert_true(worklist_has_shared(&list));
    assert_int_equal(list.outstanding, 4);
    uint32_t count = 0;
    while (work_pop(&list, &leader, &work))
        count++;
    assert_int_equal(count, WORK_ENTRIES + 2);
    assert_false(worklist_wait(&list, &leader));
    close_empty(&leader);
}

/* A worker that leaves early gives all it has to the others, and is not waited for. */
static void test_leaving_early(void **state)
{
    struct work_local early, late;
    struct work work = { 0, 0 };

    (void)state;
    fresh_list();
    worklist_enter(&list);
    worklist_enter(&list);
    assert_true(work_local_open(&list, &early) && work_local_open(&list, &late));
    for (uintptr_t i = 1; i <= WORK_ENTRIES + 7; i++)
        assert_true(work_push(&list, &early, i * 8, 8));
    assert_true(work_pop_own(&early, &work));
    assert_int_equal(work.address, (WORK_ENTRIES + 7) * 8);
    work_local_surrender(&list, &early, false);
    assert_int_equal(list.outstanding, 4);
    worklist_leave(&list);
    assert_int_equal(list.outstanding, 3);
    assert_false(work_pop_own(&late, &work));
    uint32_t count = 0;
    do
        while (work_pop(&list, &late, &work))
            count++;
    while (worklist_wait(&list, &late));
    assert_int_equal(count, WORK_ENTRIES + 6);
    assert_true(worklist_is_empty(&list));
    close_empty(&late);
}

/* --- the end of work: a random tree is walked by several workers ------------------- */

enum { WORKERS = 4, ROUNDS = 300 };

static uint64_t expected, done_total;   /* nodes; atomic */
static pthread_barrier_t barrier;

static uint32_t mix(uint64_t x)
{
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
    return (uint32_t)(x >> 33);
}

/* A node is a number and the size of its subtree, itself included. */
static void push_children(struct work_local *local, uint64_t node, size_t size)
{
    size_t left = size - 1;

    for (uint64_t child = node * 3; left > 0; child++) {
        size_t part = left < 3 ? left : 1 + mix(child) % left;
        assert_true(work_push(&list, local, child | 1, part));
        left -= part;
    }
}

static void work_until_done(struct work_local *local)
{
    struct work work = { 0, 0 };
    uint64_t done = 0;

    do {
        while (work_pop(&list, local, &work)) {
            done++;
            push_children(local, work.address, work.bytes);
            if (worklist_is_hungry(&list) && local->top->count > 1)
                work_share(&list, local);
        }
        fetch_add_relaxed(&done_total, done);
        done = 0;
    } while (worklist_wait(&list, local));
}

static void *worker(void *argument)
{
    bool first = argument != NULL;
    struct work_local local;

    assert_true(work_local_open(&list, &local));
    for (int round = 0; round < ROUNDS; round++) {
        if (first) {
            done_total = 0;
            expected = 1 + mix((uint64_t)round) % 20000;
            worklist_enter(&list);
            assert_true(work_push(&list, &local, 1, expected));
        }
        pthread_barrier_wait(&barrier);
        if (!first)
            worklist_enter(&list);
        work_until_done(&local);
        /* Nobody may be told "done" before everything is; the count is complete here. */
        if (first)
            assert_int_equal(load_acquire(&done_total), expected);
        pthread_barrier_wait(&barrier);
    }
    close_empty(&local);
    return NULL;
}

static void test_ends_when_all_is_done(void **state)
{
    pthread_t threads[WORKERS];

    (void)state;
    fresh_list();
    pthread_barrier_init(&barrier, NULL, WORKERS);
    for (uintptr_t i = 0; i < WORKERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, worker, i == 0 ? &list : NULL), 0);
    for (int i = 0; i < WORKERS; i++)
        pthread_join(threads[i], NULL);
    assert_true(worklist_is_empty(&list));
    pthread_barrier_destroy(&barrier);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_last_in_first_out),
        cmocka_unit_test(test_spills_and_returns_everything),
        cmocka_unit_test(test_room_after_every_pop),
        cmocka_unit_test(test_share_gives_the_older_half),
        cmocka_unit_test(test_shaded_blocks_wait),
        cmocka_unit_test(test_leaving_early),
        cmocka_unit_test(test_ends_when_all_is_done),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
