/*
 * large -- what does a large block cost that is used page by page and freed again?
 *
 * touch_N: malloc(N), write one byte in every 4 KiB, free. An allocator that gives the pages back
 *   at once pays a page fault for each of them the next time; one that keeps them pays in memory
 *   (see rss). ns per block.
 * large_mix: 20 slots replaced at random with blocks of 5 to 25 MiB, each touched at its first
 *   and last byte and every 64 KiB. ns per replacement.
 */
#include "harness.h"

#include <stdlib.h>

enum { KIB = 1024, MIB = 1024 * 1024, SLOTS = 20, PAGE = 4096 };

static void *slots[SLOTS];

static void stride_touch(char *block, size_t size, size_t stride)
{
    for (size_t at = 0; at < size; at += stride)
        harness_touch(block + at);
    harness_touch(block + size - 1);
}

static void touch_loop(void *argument, uint64_t iterations)
{
    size_t size = *(size_t *)argument;
    for (uint64_t i = 0; i < iterations; i++) {
        char *block = harness_use(malloc(size));
        stride_touch(block, size, PAGE);
        free(block);
    }
}

static void mix_loop(void *argument, uint64_t iterations)
{
    uint64_t *random = argument;
    for (uint64_t i = 0; i < iterations; i++) {
        unsigned at = harness_random_below(random, SLOTS);
        size_t size = (size_t)5 * MIB + harness_random_below(random, 20 * MIB);
        free(slots[at]);
        slots[at] = harness_use(malloc(size));
        stride_touch(slots[at], size, (size_t)64 * KIB);
    }
}

int main(int argc, char **argv)
{
    size_t touch_64k = 64 * KIB, touch_1m = MIB, touch_32m = 32 * (size_t)MIB;
    uint64_t random = 88172645463325252;
    harness_start(argc, argv);
    harness_time("touch_64K", touch_loop, &touch_64k, 50000, 1);
    harness_time("touch_1M", touch_loop, &touch_1m, 1000, 1);
    harness_time("touch_32M", touch_loop, &touch_32m, 4, 1);
    harness_time("large_mix", mix_loop, &random, 40, 1);
    for (int i = 0; i < SLOTS; i++)
        free(slots[i]);
    harness_finish();
    return 0;
}
