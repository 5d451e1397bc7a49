/* test_watch.c -- the gctrace line and the recount, from inside
 *
 * PURPOSE  Linked with the library's objects, not with the library: looks at functions that are
 *          not exported.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "api_test.h"
#undef NOINLINE

#include "watch/gctrace.h"
#include "watch/stats.h"

static void assert_ms(uint64_t ns, const char *expected)
{
    char text[32];
    size_t length = gctrace_format_ms(text, sizeof text, ns);

    assert_string_equal(text, expected);
    assert_int_equal(length, strlen(expected));
}

/* Go's fmtNSAsMS, case by case. */
static void test_milliseconds(void **state)
{
    (void)state;
    assert_ms(0, "0");
    assert_ms(999, "0");
    assert_ms(1000, "0.001");
    assert_ms(30000, "0.030");
    assert_ms(99999, "0.099");
    assert_ms(100000, "0.10");
    assert_ms(129999, "0.12");
    assert_ms(999999, "0.99");
    assert_ms(1000000, "1.0");
    assert_ms(1290000, "1.2");
    assert_ms(9999999, "9.9");
    assert_ms(10000000, "10");
    assert_ms(14700000, "14");
    assert_ms(123456000000, "123456");
}

static struct cycle_report example_report(void)
{
    return (struct cycle_report){
        .number = 12,
        .start_ns = 5104000000,
        .method = METHOD_USERFAULT,
        .setup_ns = 30000,
        .concurrent_ns = 14000000,
        .termination_ns = 50000,
        .mark_cpu_ns = 28000000,
        .heap_before = (64ull << 20) + 1,
        .heap_after_mark = 71ull << 20,
        .heap_live = (41ull << 20) - 1,
        .goal = 80ull << 20,
        .stack_bytes = 1 << 20,
        .root_bytes = 2 << 20,
    };
}

static void assert_line(const struct cycle_report *report, const char *expected)
{
    struct gctrace_context context = { .start_ns = 2000000000, .cpu_percent = 2, .cpus = 2 };
    char line[512];
    size_t length = gctrace_format(line, sizeof line, report, &context);

    assert_string_equal(line, expected);
    assert_int_equal(length, strlen(expected));
}

static void test_line(void **state)
{
    struct cycle_report report = example_report();

    (void)state;
    assert_line(&report,
                "gc 12 @3.104s 2%: 0.030+14+0.050 ms clock, 0.060+0/28/0+0.10 ms cpu, "
                "64->71->40 MB, 80 MB goal, 1 MB stacks, 2 MB globals, 2 P "
                "[userfaultfd]\n");
    report.forced = true;
    report.goal = UINT64_MAX;
    report.method = METHOD_STOPPED;
    assert_line(&report,
                "gc 12 @3.104s 2%: 0.030+14+0.050 ms clock, 0.060+0/28/0+0.10 ms cpu, "
                "64->71->40 MB, 17592186044415 MB goal, 1 MB stacks, 2 MB globals, 2 P "
                "(forced) [stopped]\n");
    report.abandoned = "thread 17 could not be stopped";
    assert_line(&report, "gc: cycle abandoned: thread 17 could not be stopped\n");
}

/* A line that does not fit ends where the buffer does. */
static void test_short_buffer(void **state)
{
    struct cycle_report report = example_report();
    struct gctrace_context context = { .cpus = 2 };
    char line[520];

    (void)state;
    for (size_t bytes = 1; bytes < 200; bytes++) {
        memset(line, '#', sizeof line);
        size_t length = gctrace_format(line, bytes, &report, &context);
        assert_true(length < bytes);
        assert_int_equal(line[length], 0);
        assert_int_equal(line[bytes], '#');
    }
}

static void assert_recount(const char *when)
{
    const char *what;

    if (!stats_recount(&what))
        fail_msg("%s: %s", when, what);
}

static void *allocate_and_leave_some(void *unused)
{
    void **kept = calloc(1000, sizeof *kept);

    (void)unused;
    for (size_t i = 0; i < 20000; i++) {
        void **slot = &kept[i * 7919 % 1000];
        free(*slot);
        *slot = malloc(i * 31 % 5000);
    }
    free(kept[3]);
    kept[3] = malloc(3 << 20);
    return kept;
}

/* Before any cycle, so that blocks allocated less blocks freed are the blocks. */
static void test_recount(void **state)
{
    void *kept[5];

    (void)state;
    assert_recount("at the start");
    for (int i = 0; i < 4; i++) {
        pthread_t thread;
        assert_int_equal(pthread_create(&thread, NULL, allocate_and_leave_some, NULL), 0);
        assert_int_equal(pthread_join(thread, &kept[i]), 0);
    }
    kept[4] = allocate_and_leave_some(NULL);
    assert_recount("after threads");
    for (int i = 0; i < 5; i++) {
        for (int n = 0; n < 1000; n++)
            free(((void **)kept[i])[n]);
        free(kept[i]);
    }
    assert_recount("after all was freed");
    for (int i = 0; i < 2000; i++)
        assert_non_null(gc_alloc((size_t)i * 231 % 300000));
    assert_recount("after gc_alloc");
    assert_true(gc_collect());
    assert_recount("after a cycle");
    assert_true(collect_twice());
    assert_recount("after three cycles");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_recount),
        cmocka_unit_test(test_milliseconds),
        cmocka_unit_test(test_line),
        cmocka_unit_test(test_short_buffer),
    };

    return cmocka_run_group_tests_name("watch", tests, NULL, NULL);
}
