/*
 * limit -- what does a memory limit do to a program that leaks, and to one whose live set grows?
 *
 * Usage: limit leak|grow LIVE_MIB TOTAL_MIB
 * One thread makes records, a node with a buffer of 256 bytes to 4 KiB (sizes log-uniform),
 * TOTAL_MIB of them.
 * leak: LIVE_MIB of records sit in a table from the start; every eighth new record replaces a
 *   random one of them, the others are dropped at once.
 * grow: the table is filled evenly over the whole run, up to LIVE_MIB at its end; what does not go
 *   there is dropped. With a LIVE_MIB above the limit, the limit cannot hold in the end: then the
 *   question is whether the program still gets on.
 * With BENCH_HEAP_LEAK nothing is ever freed. Every record that leaves the table, and at the end
 * every one in it, is checked: a lost one ends the program.
 * Results: base_rss (before the first record), wall, cpu_main (this thread), cpu_all (with the
 * collector's tasks), peak_rss.
 */
#define _GNU_SOURCE
#include "gcheap.h"
#include "harness.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { LEAST = 256, MOST = 4096, MEAN = 1385 + 32, REPLACE_SHARE = 8 };

struct record {
    unsigned char *buffer;
    uint64_t number;
    uint32_t bytes;
};

/* Static, so that the table is reachable. */
static struct record **table;
static uint64_t random_state = 88172645463325252u;

static struct record *record_make(uint64_t number)
{
    struct record *record = harness_use(HEAP_NEW(sizeof *record));
    record->buffer = NULL;
    record->number = number;
    record->bytes = (uint32_t)harness_random_size(&random_state, LEAST, MOST);
    HEAP_STORE(&record->buffer, harness_use(HEAP_NEW_BYTES(record->bytes)));
    memset(record->buffer, (int)(number & 0xff), record->bytes);
    return record;
}

static void record_check(const struct record *record)
{
    unsigned char expected = (unsigned char)record->number;
    if (record->buffer[0] != expected || record->buffer[record->bytes - 1] != expected)
        harness_die("limit: a record has changed");
}

static void record_drop(struct record *record)
{
    record_check(record);
    HEAP_DROP(record->buffer);
    HEAP_DROP(record);
}

static void leak_run(uint32_t live, uint64_t total)
{
    for (uint32_t i = 0; i < live; i++)
        HEAP_STORE(&table[i], record_make(i));
    for (uint64_t number = live; number < total; number++) {
        struct record *record = record_make(number);
        if (number % REPLACE_SHARE == 0) {
            uint32_t place = harness_random_below(&random_state, live);
            struct record *old = table[place];
            HEAP_STORE(&table[place], record);
            record = old;
        }
        record_drop(record);
    }
}

static void grow_run(uint32_t live, uint64_t total)
{
    uint32_t filled = 0;
    for (uint64_t number = 0; number < total; number++) {
        struct record *record = record_make(number);
        if (filled < live && (uint64_t)filled * total <= number * live)
            HEAP_STORE(&table[filled++], record);
        else
            record_drop(record);
    }
}

static double ms_of(clockid_t clock)
{
    struct timespec time;
    clock_gettime(clock, &time);
    return (double)time.tv_sec * 1e3 + (double)time.tv_nsec / 1e6;
}

int main(int argc, char **argv)
{
    if (argc != 4)
        harness_die("usage: limit leak|grow LIVE_MIB TOTAL_MIB");
    uint32_t live = (uint32_t)((strtoull(argv[2], NULL, 10) << 20) / MEAN);
    uint64_t total = (strtoull(argv[3], NULL, 10) << 20) / MEAN;
    HEAP_INIT();
    harness_start(1, argv);
    harness_report("base_rss", "MiB", (double)harness_rss_bytes() / (1 << 20));
    double began = ms_of(CLOCK_MONOTONIC);
    table = HEAP_NEW(live * sizeof *table);
    memset(harness_use(table), 0, live * sizeof *table);
    (strcmp(argv[1], "leak") == 0 ? leak_run : grow_run)(live, total);
    for (uint32_t i = 0; i < live; i++)
        if (table[i] != NULL)
            record_check(table[i]);
    harness_report("wall", "ms", ms_of(CLOCK_MONOTONIC) - began);
    harness_report("cpu_main", "ms", ms_of(CLOCK_THREAD_CPUTIME_ID));
    harness_report("cpu_all", "ms", ms_of(CLOCK_PROCESS_CPUTIME_ID));
    harness_finish();
    return 0;
}
