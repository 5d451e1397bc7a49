/*
 * fragment -- how much memory does a heap hold whose blocks change their sizes over time?
 *
 * Eight phases, each with sizes of its own, from 16 to 63 bytes up to 4 to 16 KiB and back down,
 * then mixed. In each phase a random 90 % of the old bytes is freed while new blocks are allocated,
 * such that 64 MiB are alive throughout: pages of one size class have to become pages of another
 * one around the blocks that stay. RSS and live bytes are sampled ten times a phase, after 20 ms
 * of sleep each time, so that memory may also be given back by the clock.
 * frag_mean, frag_worst: the mean and the largest RSS over live bytes of the samples behind the
 *   first phase. frag_last: that of the last sample, a second after it.
 * frag_step: ns per block (one malloc and one free; page faults included).
 * The samples stand in lines "# sample NUMBER LIVE-MIB RSS-MIB".
 */
#include "harness.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    MIB = 1024 * 1024,
    LIVE_MIB = 64,
    SAMPLES_PER_PHASE = 10,
    SAMPLE_MS = 20,
    MOST_BLOCKS = 4 * MIB,
    STAY_PERCENT = 10,
};

struct phase {
    uint32_t low, high;
};

static const struct phase phases[] = {{16, 64},   {64, 256},    {256, 1024}, {1024, 4096},
                                      {4096, 16384}, {256, 1024}, {32, 128},   {16, 16384}};

enum { PHASES = sizeof phases / sizeof phases[0] };

struct block {
    void *start;
    uint32_t size;
};

/* Static so that a collector sees the blocks; dense: blocks[0..count) are alive. */
static struct block blocks[MOST_BLOCKS];
static uint32_t block_count;

static struct {
    uint64_t random;
    uint64_t live_bytes, target_bytes;
    uint64_t baseline_bytes;
    uint64_t steps, busy_ns;
    double worst, sum, last;
    unsigned samples, counted;
} heap = {.random = 88172645463325252};

static void block_add(const struct phase *phase)
{
    if (block_count == MOST_BLOCKS)
        harness_die("too many blocks");
    size_t size = harness_random_size(&heap.random, phase->low, phase->high);
    struct block block = {harness_use(malloc(size)), (uint32_t)size};
    memset(block.start, 1, size);
    blocks[block_count++] = block;
    heap.live_bytes += size;
    heap.steps++;
}

/* Frees the block at a place and closes the gap with the last one. */
static void block_remove(uint32_t at)
{
    free(blocks[at].start);
    heap.live_bytes -= blocks[at].size;
    blocks[at] = blocks[--block_count];
    blocks[block_count].start = NULL;
}

static void sample_take(bool is_counted)
{
    uint64_t rss_bytes = harness_rss_bytes() - heap.baseline_bytes;
    heap.last = (double)rss_bytes / (double)heap.live_bytes;
    printf("# sample %u %.1f %.1f\n", heap.samples++, (double)heap.live_bytes / MIB,
           (double)rss_bytes / MIB);
    if (!is_counted)
        return;
    heap.worst = heap.last > heap.worst ? heap.last : heap.worst;
    heap.sum += heap.last;
    heap.counted++;
}

/* So that the blocks which a phase leaves alive are random ones. */
static void blocks_shuffle(void)
{
    for (uint32_t i = block_count; i > 1; i--) {
        uint32_t other = harness_random_below(&heap.random, i);
        struct block moved = blocks[i - 1];
        blocks[i - 1] = blocks[other];
        blocks[other] = moved;
    }
}

/*
 * phase_part -- replaces old blocks until so many bytes of them are left. The old ones lie in
 * front, *old_count of them; the newest block moves into the place of each that goes.
 */
static void phase_part(const struct phase *phase, uint32_t *old_count, uint64_t *old_bytes,
                       uint64_t stay_bytes)
{
    uint64_t start_ns = harness_cpu_ns();
    while (*old_count > 0 && *old_bytes > stay_bytes) {
        uint32_t last = --*old_count;
        *old_bytes -= blocks[last].size;
        block_remove(last);
        while (heap.live_bytes < heap.target_bytes)
            block_add(phase);
    }
    while (heap.live_bytes < heap.target_bytes)
        block_add(phase);
    heap.busy_ns += harness_cpu_ns() - start_ns;
}

static void phase_run(const struct phase *phase, bool is_first)
{
    uint32_t old_count = block_count;
    uint64_t old_bytes = heap.live_bytes;
    uint64_t stay_bytes = old_bytes * STAY_PERCENT / 100;
    uint64_t part_bytes = (old_bytes - stay_bytes) / SAMPLES_PER_PHASE;
    blocks_shuffle();
    for (unsigned part = 1; part <= SAMPLES_PER_PHASE; part++) {
        uint64_t left_bytes = stay_bytes + part_bytes * (SAMPLES_PER_PHASE - part);
        phase_part(phase, &old_count, &old_bytes, left_bytes);
        harness_sleep_ms(SAMPLE_MS);
        sample_take(!is_first);
    }
}

int main(int argc, char **argv)
{
    harness_start(argc, argv);
    memset(blocks, 0, sizeof blocks);
    heap.target_bytes = harness_scaled((uint64_t)LIVE_MIB * MIB);
    heap.target_bytes = heap.target_bytes > LIVE_MIB * MIB ? LIVE_MIB * MIB : heap.target_bytes;
    heap.baseline_bytes = harness_rss_bytes();
    for (unsigned i = 0; i < PHASES; i++)
        phase_run(&phases[i], i == 0);
    harness_report("frag_step", "ns", (double)heap.busy_ns / (double)heap.steps);
    harness_report("frag_mean", "x", heap.sum / heap.counted);
    harness_report("frag_worst", "x", heap.worst);
    harness_sleep_ms(1000);
    sample_take(false);
    harness_report("frag_last", "x", heap.last);
    harness_finish();
    return 0;
}
