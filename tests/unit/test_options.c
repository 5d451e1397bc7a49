/* test_options.c -- base/options.h: what is taken, what is refused with one line, what is not read */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/bits.h"
#include "base/options.h"

static struct options defaults;
static char said[4096];

/* Reads one environment into fresh options; what was printed is in `said`. */
static void read_with(bool secure, char *const *environment)
{
    int saved = dup(2), file = memfd_create("stderr", 0);

    options = defaults;
    dup2(file, 2);
    options_read(environment, secure);
    dup2(saved, 2);
    ssize_t bytes = pread(file, said, sizeof said - 1, 0);

    said[bytes > 0 ? bytes : 0] = 0;
    close(saved);
    close(file);
}

static void read_one(const char *variable)
{
    char *environment[] = { "HOME=/", (char *)variable, "GCALLOCX=1", NULL };

    read_with(false, environment);
}

/* How many lines were printed. */
static int lines_said(void)
{
    int lines = 0;

    for (const char *c = said; *c != 0; c++)
        lines += *c == '\n';
    return lines;
}

static void nothing_set_is_the_defaults(void **state)
{
    (void)state;
    read_one("PATH=/");
    assert_memory_equal(&options, &defaults, sizeof options);
    assert_int_equal(lines_said(), 0);
    assert_int_equal(defaults.gogc, 100);
    assert_true(defaults.memory_limit == INT64_MAX && !defaults.memory_limit_auto);
    assert_true(defaults.heap_min == 64 * MIB && !defaults.barrier_pages);
    assert_int_equal(defaults.mode, MODE_COLLECT);
}

static void memory_limits_are_read_as_in_go(void **state)
{
    static const struct {
        const char *text;
        int64_t bytes;
    } good[] = {
        { "0", 0 }, { "1", 1 }, { "77B", 77 }, { "3KiB", 3 << 10 }, { "2MiB", 2 << 20 },
        { "4GiB", (int64_t)4 << 30 }, { "1TiB", (int64_t)1 << 40 }, { "off", INT64_MAX },
        { "", INT64_MAX }, { "9223372036854775807", INT64_MAX },
    };
    static const char *const bad[] = {
        "12MB", "12k", "1.5GiB", "-1", " 5", "5 ", "MiB", "B", "9223372036854775808", "99999999TiB",
        "Auto", "auto1", "unlimited",
    };
    char variable[80];

    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        snprintf(variable, sizeof variable, "GCALLOC_GOMEMLIMIT=%s", good[i].text);
        read_one(variable);
        assert_true(options.memory_limit == good[i].bytes && !options.memory_limit_auto);
        assert_int_equal(lines_said(), 0);
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        snprintf(variable, sizeof variable, "GCALLOC_GOMEMLIMIT=%s", bad[i]);
        read_one(variable);
        assert_true(options.memory_limit == INT64_MAX && !options.memory_limit_auto);
        assert_int_equal(lines_said(), 1);
        assert_non_null(strstr(said, bad[i]));
    }
}

static void auto_leaves_the_limit_to_be_found(void **state)
{
    char *twice[] = { "GCALLOC_GOMEMLIMIT=auto", "GCALLOC_GOMEMLIMIT=1GiB", NULL };

    (void)state;
    read_one("GCALLOC_GOMEMLIMIT=auto");
    assert_true(options.memory_limit_auto && options.memory_limit == INT64_MAX);
    assert_int_equal(lines_said(), 0);
    read_with(false, twice);            /* the last one counts */
    assert_true(!options.memory_limit_auto && options.memory_limit == (int64_t)GIB);
}

static void the_barrier_is_pages_or_writes(void **state)
{
    (void)state;
    read_one("GCALLOC_BARRIER=pages");
    assert_true(options.barrier_pages && lines_said() == 0);
    read_one("GCALLOC_BARRIER=writes");
    assert_true(!options.barrier_pages && lines_said() == 0);
    read_one("GCALLOC_BARRIER=page");
    assert_true(!options.barrier_pages && lines_said() == 1);
    read_one("GCALLOC_BARRIER=");
    assert_true(!options.barrier_pages && lines_said() == 1);
}

static void percent_mode_and_minimum(void **state)
{
    (void)state;
    read_one("GCALLOC_GOGC=off");
    assert_int_equal(options.gogc, -1);
    read_one("GCALLOC_GOGC=-5");
    assert_int_equal(options.gogc, -1);
    read_one("GCALLOC_GOGC=250");
    assert_int_equal(options.gogc, 250);
    read_one("GCALLOC_GOGC=many");
    assert_true(options.gogc == 100 && lines_said() == 1);
    read_one("GCALLOC_MODE=manual");
    assert_int_equal(options.mode, MODE_MANUAL);
    read_one("GCALLOC_MODE=MANUAL");
    assert_true(options.mode == MODE_COLLECT && lines_said() == 1);
    read_one("GCALLOC_HEAPMIN=8MiB");
    assert_int_equal(options.heap_min, 8 * MIB);
    read_one("GCALLOC_HEAPMIN=off");
    assert_true(options.heap_min == 64 * MIB && lines_said() == 1);
    read_one("GCALLOC_STATS=1");
    assert_true(options.stats_at_exit);
    read_one("GCALLOC_STATS=2");
    assert_true(!options.stats_at_exit && lines_said() == 1);
}

static void debug_keys_are_a_list(void **state)
{
    (void)state;
    read_one("GCALLOC_DEBUG=gctrace=1,,gcstress=64,");
    assert_true(options.gctrace == 1 && options.gcstress == 64 && lines_said() == 0);
    read_one("GCALLOC_DEBUG=gctrace=3,nosuchkey=1,poison,workers=3");
    assert_true(options.gctrace == 0 && options.workers == 3);
    assert_int_equal(lines_said(), 3);
}

static void a_privileged_program_reads_nothing(void **state)
{
    char *environment[] = { "GCALLOC_MODE=manual", "GCALLOC_GOMEMLIMIT=auto",
                            "GCALLOC_DEBUG=gctrace=1,bad", NULL };

    (void)state;
    read_with(true, environment);
    assert_memory_equal(&options, &defaults, sizeof options);
    assert_int_equal(lines_said(), 0);
    read_with(false, NULL);
    assert_memory_equal(&options, &defaults, sizeof options);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_set_is_the_defaults),
        cmocka_unit_test(memory_limits_are_read_as_in_go),
        cmocka_unit_test(auto_leaves_the_limit_to_be_found),
        cmocka_unit_test(the_barrier_is_pages_or_writes),
        cmocka_unit_test(percent_mode_and_minimum),
        cmocka_unit_test(debug_keys_are_a_list),
        cmocka_unit_test(a_privileged_program_reads_nothing),
    };

    defaults = options;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
