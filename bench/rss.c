/*
 * rss -- how much memory does the process hold for what it asked for?
 *
 * Two heaps: 10 million blocks of 24 bytes, and 1 million of 16 to 2,047 bytes (log-uniform).
 * NAME_full: RSS over requested bytes, all blocks alive and written. 1.00 is the limit.
 * NAME_after90: RSS over the bytes still requested after a random 90 % of the blocks was freed
 *   and a second has passed. Without moving blocks few pages become empty.
 * NAME_left: RSS in MiB still held after everything was freed and another second has passed.
 * RSS is counted from a baseline taken when the tables of this program were already in memory.
 * One heap per process (--only=rss24, the default, or --only=rssmix): the second one would find
 * the memory that the first one left.
 * The heap sleeps during that second: an allocator that returns memory only while it allocates
 * shows it here. NAME_alloc, NAME_free: ns per block, the first touch of the pages included.
 */
#include "harness.h"

#include <stdlib.h>
#include <string.h>

enum { MOST_BLOCKS = 10000000, MIXED_BLOCKS = 1000000, SETTLE_MS = 1000 };

/* Static so that a collector sees the blocks. */
static void *blocks[MOST_BLOCKS];
static uint16_t sizes[MOST_BLOCKS];

/* The names of one heap's rows. */
struct rss_names {
    const char *full, *after90, *left, *alloc, *free;
};

static double rss_above(uint64_t baseline_bytes)
{
    uint64_t now_bytes = harness_rss_bytes();
    return now_bytes > baseline_bytes ? (double)(now_bytes - baseline_bytes) : 0;
}

/* Returns the bytes requested. The whole block is written: all of its pages are in memory. */
static uint64_t blocks_fill(unsigned count)
{
    uint64_t requested_bytes = 0;
    for (unsigned i = 0; i < count; i++) {
        blocks[i] = harness_use(malloc(sizes[i]));
        memset(blocks[i], 1, sizes[i]);
        requested_bytes += sizes[i];
    }
    return requested_bytes;
}

/* Frees each block with a probability of percent; returns the bytes freed. */
static uint64_t blocks_free(unsigned count, unsigned percent)
{
    uint64_t random = 362436069, freed_bytes = 0;
    for (unsigned i = 0; i < count; i++) {
        if (blocks[i] == NULL || harness_random_below(&random, 100) >= percent)
            continue;
        free(blocks[i]);
        blocks[i] = NULL;
        freed_bytes += sizes[i];
    }
    return freed_bytes;
}

static void rss_run(const struct rss_names *names, unsigned count)
{
    memset(blocks, 0, count * sizeof blocks[0]);
    uint64_t baseline_bytes = harness_rss_bytes();

    uint64_t start_ns = harness_cpu_ns();
    uint64_t live_bytes = blocks_fill(count);
    harness_report(names->alloc, "ns", (double)(harness_cpu_ns() - start_ns) / count);
    harness_report(names->full, "x", rss_above(baseline_bytes) / (double)live_bytes);

    start_ns = harness_cpu_ns();
    live_bytes -= blocks_free(count, 90);
    harness_report(names->free, "ns", (double)(harness_cpu_ns() - start_ns) / (count * 0.9));
    harness_sleep_ms(SETTLE_MS);
    harness_report(names->after90, "x", rss_above(baseline_bytes) / (double)live_bytes);

    blocks_free(count, 100);
    harness_sleep_ms(SETTLE_MS);
    harness_report(names->left, "MiB", rss_above(baseline_bytes) / (1024 * 1024));
}

int main(int argc, char **argv)
{
    static const struct rss_names fixed = {"rss24_full", "rss24_after90", "rss24_left",
                                           "rss24_alloc", "rss24_free"};
    static const struct rss_names mixed = {"rssmix_full", "rssmix_after90", "rssmix_left",
                                           "rssmix_alloc", "rssmix_free"};
    harness_start(argc, argv);
    if (harness_wants("rss24")) {
        unsigned count = (unsigned)harness_scaled(MOST_BLOCKS);
        count = count > MOST_BLOCKS ? MOST_BLOCKS : count;
        for (unsigned i = 0; i < count; i++)
            sizes[i] = 24;
        rss_run(&fixed, count);
    } else if (harness_wants("rssmix")) {
        uint64_t random = 88172645463325252;
        unsigned count = (unsigned)harness_scaled(MIXED_BLOCKS);
        count = count > MOST_BLOCKS ? MOST_BLOCKS : count;
        for (unsigned i = 0; i < count; i++)
            sizes[i] = (uint16_t)harness_random_size(&random, 16, 2048);
        rss_run(&mixed, count);
    }
    harness_finish();
    return 0;
}
