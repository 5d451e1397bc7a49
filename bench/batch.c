/*
 * batch -- what do K mallocs followed by K frees cost, and does the order of the frees matter?
 *
 * Frees in reverse order (lifo), in order (fifo) or in random order (rand); K = 1,000 fits the
 * caches of the processor and exceeds the thread caches of most allocators, K = 100,000 and
 * 1,000,000 exceed both: there the addresses an allocator hands out again decide, and whether it
 * keeps the pages, not its instructions.
 * "mix" takes sizes of 8 to 511 bytes, log-uniform. ns per block (one malloc and one free).
 * batch1k_none: the loop alone with empty functions, for the instruction counts.
 */
#include "harness.h"

#include <stdlib.h>

enum { MOST_BLOCKS = 1000000, LARGE_BATCH = 100000, SMALL_BATCH = 1000 };

enum free_order { LIFO, FIFO, RANDOM };

struct batch_case {
    const char *name;
    unsigned blocks;
    enum free_order order;
    size_t size; /* 0: mixed */
    uint64_t iterations;
};

static const struct batch_case cases[] = {
    {"batch1k_lifo_16", SMALL_BATCH, LIFO, 16, 1500},
    {"batch1k_lifo_64", SMALL_BATCH, LIFO, 64, 1500},
    {"batch1k_fifo_64", SMALL_BATCH, FIFO, 64, 1500},
    {"batch1k_fifo_1024", SMALL_BATCH, FIFO, 1024, 500},
    {"batch1k_rand_64", SMALL_BATCH, RANDOM, 64, 1500},
    {"batch1k_rand_mix", SMALL_BATCH, RANDOM, 0, 1000},
    {"batch100k_lifo_64", LARGE_BATCH, LIFO, 64, 12},
    {"batch100k_fifo_64", LARGE_BATCH, FIFO, 64, 12},
    {"batch100k_rand_64", LARGE_BATCH, RANDOM, 64, 8},
    {"batch100k_rand_mix", LARGE_BATCH, RANDOM, 0, 4},
    {"batch1M_lifo_64", MOST_BLOCKS, LIFO, 64, 1},
    {"batch1M_fifo_64", MOST_BLOCKS, FIFO, 64, 1},
    {"batch1M_rand_64", MOST_BLOCKS, RANDOM, 64, 1},
};

/* Filled once per case, before its clock starts; static so that a collector sees the blocks. */
static void *blocks[MOST_BLOCKS];
static uint32_t free_at[MOST_BLOCKS];
static uint16_t size_of[MOST_BLOCKS];

struct batch_work {
    void *(*allocate)(size_t size);
    void (*release)(void *block);
    unsigned blocks;
};

static void *none_allocate(size_t size)
{
    static char block[16];
    (void)size;
    return block;
}

static void none_release(void *block)
{
    (void)block;
}

static void order_fill(enum free_order order, unsigned count)
{
    uint64_t random = 88172645463325252;
    for (unsigned i = 0; i < count; i++)
        free_at[i] = order == LIFO ? count - 1 - i : i;
    for (unsigned i = count - 1; order == RANDOM && i > 0; i--) {
        unsigned j = harness_random_below(&random, i + 1);
        uint32_t swapped = free_at[i];
        free_at[i] = free_at[j];
        free_at[j] = swapped;
    }
}

static void size_fill(size_t size, unsigned count)
{
    uint64_t random = 362436069;
    for (unsigned i = 0; i < count; i++)
        size_of[i] = (uint16_t)(size != 0 ? size : harness_random_size(&random, 8, 512));
}

static void batch_loop(void *argument, uint64_t iterations)
{
    const struct batch_work *work = argument;
    for (uint64_t lap = 0; lap < iterations; lap++) {
        for (unsigned i = 0; i < work->blocks; i++) {
            blocks[i] = work->allocate(size_of[i]);
            harness_touch(blocks[i]);
        }
        for (unsigned i = 0; i < work->blocks; i++)
            work->release(blocks[free_at[i]]);
    }
}

int main(int argc, char **argv)
{
    harness_start(argc, argv);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct batch_work work = {malloc, free, cases[i].blocks};
        if (!harness_wants(cases[i].name))
            continue;
        order_fill(cases[i].order, cases[i].blocks);
        size_fill(cases[i].size, cases[i].blocks);
        harness_time(cases[i].name, batch_loop, &work, cases[i].iterations, cases[i].blocks);
    }
    if (harness_wants_alone("batch1k_none")) {
        struct batch_work none = {none_allocate, none_release, SMALL_BATCH};
        order_fill(FIFO, SMALL_BATCH);
        size_fill(64, SMALL_BATCH);
        harness_time("batch1k_none", batch_loop, &none, 1000, SMALL_BATCH);
    }
    harness_finish();
    return 0;
}
