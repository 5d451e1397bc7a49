/* test_dirty_userfault.c -- dirty tracking where the kernel's answer is not the whole truth
 *
 * Memory that it registers no more: a block's pages are moved to another block, which is registered as they come, and back.  The kernel makes
 * one mapping of them and their neighbours again, which is not registered any more, and leaves what it has
 * noted of the neighbours' pages.
 *
 * Pages that are not there, and so were not armed: the stop's question lists them, too.
 */
#define _GNU_SOURCE
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/mman.h>

#define REAL_DIRTY
#include "beside.h"
#include "os/pagemap.h"
#include "os/vm.h"

enum { BLOCK = 2 << 20, FAR = 1 << 20, WIDE = 24 << 20, YOUNG = 8 << 20, PAGE = 4096 };

/* The first three are neighbours; `far` is in a run of pages of its own. */
static char *neighbour, *block, *wide, *far, *apart, *away;
static char *young;                     /* came after the arming, which has not seen it; nothing in it was touched */
static uintptr_t *hidden[3];
static uint32_t calls;

static uintptr_t *word_in(char *base, size_t page)
{
    return (uintptr_t *)(base + page * PAGE);
}

/* As the program does it, unseen by us. */
static void move_back(void)
{
    assert_ptr_equal(mremap(away, BLOCK, BLOCK, MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP, block), block);
}

static bool is_lost(const void *page)
{
    static struct pagemap pagemap = { .fd = -1 };

    if (pagemap.fd < 0)
        assert_true(pagemap_open(&pagemap, false, NULL, 0));
    return !pagemap_is_registered(&pagemap, word_of(page), word_of(page) + PAGE);
}

static void make_blocks(void)
{
    char *low = fake_alloc(KIND_MALLOC, FAR + WIDE + 4 * BLOCK);        /* room for all, one after the other */
    struct span *span = span_of(word_of(low));

    store_relaxed(&span->slot_state[0], SLOT_IN);
    store_relaxed(&span->live, 0);
    pages_free(span);
    far = fake_alloc(KIND_MALLOC, FAR);
    apart = fake_alloc(KIND_NOSCAN, BLOCK);
    neighbour = fake_alloc(KIND_MALLOC, BLOCK);
    block = fake_alloc(KIND_MALLOC, BLOCK);
    wide = fake_alloc(KIND_MALLOC, WIDE);
    away = fake_alloc(KIND_NOSCAN, BLOCK);
    assert_true(far == low && wide == block + BLOCK && away == wide + WIDE);
    memset(low, 0, FAR + 3 * BLOCK);
    memset(away, 0, BLOCK);
}

/* Each test has the blocks of the one before. */
static int begin(void **state)
{
    setup(state);
    if (block == NULL)
        make_blocks();
    char *blocks[] = { far, apart, neighbour, block, away, wide };

    for (int i = 0; i < 6; i++)
        fake_roots[i] = word_of(blocks[i]);
    for (int i = 0; i < 3; i++)
        hidden[i] = fake_alloc(KIND_MALLOC, 100);
    assert_true(vm_move(block, away, BLOCK));
    calls = 0;
    return 0;
}

/* Before the program's data is read, and so before the blocks are scanned, or in a round after it. */
static void lose_registration(void)
{
    if (calls++ != 0)
        return;
    move_back();
    assert_true(is_lost(neighbour) && is_lost(far));
    put(word_in(neighbour, 5), 0);      /* nobody notes that */
    put(word_in(far, 5), 0);
}

static void hide(void)
{
    if (calls++ != 1)
        return;
    assert_true(is_marked(neighbour) && is_marked(far));
    put(word_in(neighbour, 5), word_of(hidden[0]));
    put(word_in(far, 5), word_of(hidden[1]));
    put(word_in(block, 5), word_of(hidden[2]));
}

static void expect_marked(void)
{
    assert_true(calls > 1);
    for (int i = 0; i < 3; i++)
        assert_true(is_marked(hidden[i]));
    sweep_all();
}

/* The next round finds it out, and registers it again. */
static void test_lost_while_marking(void **state)
{
    (void)state;
    fake_running = lose_registration;
    fake_cleaning = hide;
    mark_beside();
    expect_marked();
}

static void lose_registration_and_hide(void)
{
    if (calls++ != 0)
        return;
    assert_true(is_marked(neighbour) && is_marked(far));
    move_back();
    put(word_in(neighbour, 5), word_of(hidden[0]));
    put(word_in(far, 5), word_of(hidden[1]));
    put(word_in(block, 5), word_of(hidden[2]));
}

/* After the last round.  The stop asks about all of a run at once, however long it is. */
static void lose_registration_in_the_end(void)
{
    if (calls++ != 1)
        return;
    move_back();
    assert_true(is_lost(wide));
    put(word_in(wide, 5), word_of(hidden[0]));
    put(word_in(wide, WIDE / PAGE - 5), word_of(hidden[1]));
    put(word_in(block, 5), word_of(hidden[2]));
}

static void test_lost_before_the_stop(void **state)
{
    (void)state;
    fake_cleaning = lose_registration_in_the_end;
    mark_beside();
    expect_marked();
}

/* What one run registers again is not another's. */
static void test_written_while_it_was_lost(void **state)
{
    (void)state;
    fake_cleaning = lose_registration_and_hide;
    mark_beside();
    calls++;
    expect_marked();
}

/* And it is written to. */
static void lose_what_is_armed(void)
{
    assert_true(dirty_open() && dirty_arm());
    move_back();
    put(word_in(neighbour, 5), 0);
    put(word_in(far, 5), 0);
}

/* Between the end of a cycle and its disarming. */
static void test_lost_between_cycles(void **state)
{
    (void)state;
    lose_what_is_armed();
    dirty_disarm();
    assert_true(is_lost(neighbour));
    calls = 1;
    fake_cleaning = hide;
    mark_beside();
    assert_false(is_lost(neighbour));
    expect_marked();
}

/* The descriptor was given up meanwhile. */
static void test_lost_and_closed(void **state)
{
    (void)state;
    lose_what_is_armed();
    dirty_close();
    calls = 1;
    fake_cleaning = hide;
    mark_beside();
    expect_marked();
}

static void make_young(void)
{
    young = fake_alloc(KIND_MALLOC, YOUNG);
    store_relaxed(&fake_roots[6], word_of(young));
}

/* Seen by the stop alone. */
static void hide_among_absent_pages(void)
{
    if (calls++ != 1)
        return;
    assert_true(is_marked(young));
    put(word_in(young, 700), word_of(hidden[0]));
    for (size_t page = 1100; page < 1120; page++)
        put(word_in(young, page), word_of(hidden[1]));
    put(word_in(neighbour, 5), word_of(hidden[2]));
}

static void test_written_among_absent_pages(void **state)
{
    (void)state;
    move_back();
    fake_running = make_young;
    fake_cleaning = hide_among_absent_pages;
    struct cycle_report report = mark_beside();

    assert_in_range(report.stopped_pages, 22, 100);
    expect_marked();
}

/* One page of eight, in memory that was not there when the heap was armed, is armed now.  To look at it again
 * touches the pages beside it; the five between them are not there. */
static void count_in_the_longer_way(void)
{
    enum { TOUCHED = 200, APART = 8, BUDGET = 512 };

    if (calls++ != 1)
        return;
    assert_true(is_marked(young));
    for (size_t i = 0; i < TOUCHED; i++)
        put(word_in(young, i * APART), word_of(hidden[i % 3]));
    assert_true(dirty_rescan(true, LONG_MAX) >= TOUCHED);
    assert_in_range(dirty_rescan(false, BUDGET), 0, BUDGET);
}

static void test_many_short_gaps(void **state)
{
    (void)state;
    move_back();
    fake_running = make_young;
    fake_cleaning = count_in_the_longer_way;
    mark_beside();
    expect_marked();
}

static long page_table_kib(void)
{
    char line[200];
    long kib = -1;
    FILE *status = fopen("/proc/self/status", "re");

    assert_non_null(status);
    while (fgets(line, sizeof line, status) != NULL)
        if (strncmp(line, "VmPTE:", 6) == 0)
            kib = strtol(line + 6, NULL, 10);
    fclose(status);
    assert_true(kib >= 0);
    return kib;
}

/* To arm what is not there would take 2 MiB for each GiB of it. */
static void test_untouched_memory_gets_no_page_tables(void **state)
{
    (void)state;
    move_back();
    fake_roots[6] = word_of(fake_alloc(KIND_MALLOC, 512 << 20));
    long before = page_table_kib();

    mark_beside();
    assert_in_range(page_table_kib(), 0, before + 200);
    sweep_all();
}

/* After the first round, which has found next to nothing, so that the second one arms in another way. */
static void hide_early(void)
{
    if (calls++ != 0)
        return;
    assert_true(is_marked(young));
    put(word_in(young, 900), word_of(hidden[0]));
    for (size_t page = 1300; page < 1310; page++)
        put(word_in(young, page), word_of(hidden[1]));
    put(word_in(neighbour, 5), word_of(hidden[2]));
}

/* Armed again: the stop finds none of it. */
static void test_few_pages_are_written(void **state)
{
    (void)state;
    move_back();
    fake_running = make_young;
    fake_cleaning = hide_early;
    struct cycle_report report = mark_beside();

    assert_true(report.precleaned_pages >= 12 && report.stopped_pages < 8);
    calls++;
    expect_marked();
}

enum { STORED = 500, WRITES = 40000 };   /* as many as there is time for in a round */

static uintptr_t stored[STORED];
static uint32_t storing_ended, rounds;  /* atomic */

/* Each page is written to all the time until a round has begun, and some time in that comes the store that
 * matters, the last one. */
static void *store_here_and_there(void *unused)
{
    for (size_t i = 0; i < STORED; i++) {
        uintptr_t *page = word_in(neighbour, i);

        uint32_t seen = load_acquire(&rounds);

        while (load_acquire(&rounds) == seen)
            store_relaxed(page, i);
        for (size_t n = i * 7919 % WRITES; n > 0; n--)
            store_relaxed(page, n);
        store_relaxed(page + 1, stored[i]);
    }
    store_release(&storing_ended, 1);
    return unused;
}

/* Rounds and rounds that find one page or two. */
static void rescan_meanwhile(void)
{
    pthread_t thread;

    if (calls++ != 0)
        return;
    assert_true(is_marked(neighbour));
    assert_int_equal(pthread_create(&thread, NULL, store_here_and_there, NULL), 0);
    while (!load_acquire(&storing_ended)) {
        fetch_add_acq_rel(&rounds, 1);
        assert_true(dirty_rescan(true, LONG_MAX) >= 0);
    }
    pthread_join(thread, NULL);
}

/* What is stored while a page is armed again is seen, by that look at it or by a later one. */
static void test_stored_while_it_is_armed(void **state)
{
    (void)state;
    move_back();
    for (size_t i = 0; i < STORED; i++)
        stored[i] = word_of(fake_alloc(KIND_MALLOC, 100));
    fake_cleaning = rescan_meanwhile;
    mark_beside();
    for (size_t i = 0; i < STORED; i++)
        assert_true(is_marked((void *)stored[i]));
    sweep_all();
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test_setup_teardown(test_stored_while_it_is_armed, begin, setup),
    cmocka_unit_test_setup_teardown(test_few_pages_are_written, begin, setup),
    cmocka_unit_test_setup_teardown(test_written_among_absent_pages, begin, setup),
    cmocka_unit_test_setup_teardown(test_many_short_gaps, begin, setup),
    cmocka_unit_test_setup_teardown(test_untouched_memory_gets_no_page_tables, begin, setup),
    cmocka_unit_test_setup_teardown(test_lost_before_the_stop, begin, setup),
    cmocka_unit_test_setup_teardown(test_lost_while_marking, begin, setup),
    cmocka_unit_test_setup_teardown(test_written_while_it_was_lost, begin, setup),
    cmocka_unit_test_setup_teardown(test_lost_between_cycles, begin, setup),
    cmocka_unit_test_setup_teardown(test_lost_and_closed, begin, setup),
};

int main(void)
{
    fake_init();
    if (!can_mark_beside())
        return 0;
    dirty_close();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
