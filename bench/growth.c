/*
 * growth -- what do cleared blocks and growing blocks cost?
 *
 * calloc_N: calloc(N), touch, free. Small ones must be cleared; large ones may come from pages
 *   the kernel has just cleared, or be a reused range that has to be cleared by hand.
 * realloc_step64: two buffers grown in turn by 64 bytes at a time to 64 KiB each, a byte written
 *   each time, as careless string builders do. Two, because a single one may sit at the end of the
 *   heap, where growing is free, which it rarely is in a program. ns per step.
 * realloc_double: a buffer doubled from 16 bytes to 1 MiB, each new half written. ns per chain.
 * realloc_big: two buffers grown in turn by 1 MiB at a time to 16 MiB each, one byte written in
 *   each step: does the allocator copy, or move pages? ns per step.
 */
#include "harness.h"

#include <stdlib.h>
#include <string.h>

enum { KIB = 1024, MIB = 1024 * 1024 };

static void calloc_loop(void *argument, uint64_t iterations)
{
    size_t size = *(size_t *)argument;
    for (uint64_t i = 0; i < iterations; i++) {
        void *block = calloc(1, size);
        harness_touch(block);
        free(block);
    }
}

static char *grow(char *buffer, size_t size)
{
    char *grown = realloc(buffer, size);
    if (grown == NULL)
        harness_die("out of memory");
    return grown;
}

/* Two buffers grown in turn. */
struct growth {
    size_t step_bytes;
    size_t steps;
};

static void step_loop(void *argument, uint64_t iterations)
{
    const struct growth *growth = argument;
    for (uint64_t i = 0; i < iterations; i++) {
        char *buffers[2] = {NULL, NULL};
        for (size_t n = 1; n <= growth->steps; n++)
            for (int b = 0; b < 2; b++) {
                buffers[b] = grow(buffers[b], n * growth->step_bytes);
                harness_touch(buffers[b] + n * growth->step_bytes - 1);
            }
        free(buffers[0]);
        free(buffers[1]);
    }
}

static void double_loop(void *argument, uint64_t iterations)
{
    size_t limit = *(size_t *)argument;
    for (uint64_t i = 0; i < iterations; i++) {
        char *buffer = harness_use(malloc(16));
        for (size_t size = 32; size <= limit; size *= 2) {
            buffer = grow(buffer, size);
            memset(buffer + size / 2, 1, size / 2);
        }
        free(buffer);
    }
}

int main(int argc, char **argv)
{
    size_t calloc_64 = 64, calloc_1024 = 1024, calloc_64k = 64 * KIB, calloc_1m = MIB;
    size_t limit = MIB;
    struct growth small = {64, 1024}, big = {MIB, 16};
    harness_start(argc, argv);
    harness_time("calloc_64", calloc_loop, &calloc_64, 1000000, 1);
    harness_time("calloc_1024", calloc_loop, &calloc_1024, 500000, 1);
    harness_time("calloc_64K", calloc_loop, &calloc_64k, 10000, 1);
    harness_time("calloc_1M", calloc_loop, &calloc_1m, 500, 1);
    harness_time("realloc_step64", step_loop, &small, 100, 2 * small.steps);
    harness_time("realloc_double", double_loop, &limit, 60, 1);
    harness_time("realloc_big", step_loop, &big, 2, 2 * big.steps);
    harness_finish();
    return 0;
}
