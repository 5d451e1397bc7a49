/*
 * sweep -- does the cost of a block grow with its size, or does it jump somewhere?
 *
 * Sizes from 1 byte to 64 MiB, four in each doubling.
 * touch_N: malloc(N), write one byte in every 4 KiB, free. ns per block.
 * grow_N: two buffers of N/2 bytes, touched like that; realloc makes one and then the other N bytes
 *   large, its last byte is written; both are freed. Two, because a single one may lie at the end
 *   of the heap, where growing is free. ns per buffer.
 * A step between neighbours of more than the 1.19 of the sizes wants an explanation: a size class
 * boundary costs little, the change to another way of serving a block may cost a cliff.
 * The fastest of several repetitions counts, as everywhere.
 */
#include "harness.h"

#include <stdio.h>
#include <stdlib.h>

enum {
    MIB = 1024 * 1024,
    LARGEST = 64 * MIB,
    PAGE = 4096,
    MOST_SIZES = 128,
    CASE_NS = 1500000, /* how long one repetition of a size should last, about */
};

static size_t sizes[MOST_SIZES];
static unsigned size_count;

static void sizes_fill(void)
{
    for (size_t doubling = 1; doubling <= LARGEST; doubling *= 2)
        for (size_t quarter = 4; quarter < 8; quarter++) {
            size_t size = doubling * quarter / 4;
            bool is_new = size_count == 0 || size > sizes[size_count - 1];
            if (is_new && size <= LARGEST)
                sizes[size_count++] = size;
        }
}

static void report(const char *what, size_t size, double ns)
{
    char name[40];
    snprintf(name, sizeof name, "%s_%zu", what, size);
    harness_report(name, "sweep-ns", ns);
}

typedef void sweep_body(size_t size, uint64_t iterations);

static void pages_touch(char *block, size_t size)
{
    for (size_t at = PAGE; at < size; at += PAGE)
        harness_touch(block + at);
}

static void touch_body(size_t size, uint64_t iterations)
{
    for (uint64_t i = 0; i < iterations; i++) {
        char *block = harness_use(malloc(size));
        pages_touch(block, size);
        free(block);
    }
}

static void grow_body(size_t size, uint64_t iterations)
{
    for (uint64_t i = 0; i < iterations; i++) {
        char *buffers[2];
        for (int b = 0; b < 2; b++) {
            buffers[b] = harness_use(malloc(size / 2 + 1));
            pages_touch(buffers[b], size / 2 + 1);
        }
        for (int b = 0; b < 2; b++) {
            buffers[b] = harness_use(realloc(buffers[b], size));
            harness_touch(buffers[b] + size - 1);
        }
        free(buffers[0]);
        free(buffers[1]);
    }
}

static uint64_t body_time(sweep_body *body, size_t size, uint64_t iterations)
{
    uint64_t start_ns = harness_cpu_ns();
    body(size, iterations);
    return harness_cpu_ns() - start_ns;
}

static void size_measure(const char *what, sweep_body *body, size_t size, unsigned blocks)
{
    body(size, 1);
    uint64_t once_ns = body_time(body, size, 1) + 1;
    uint64_t iterations = harness_scaled(CASE_NS) / once_ns + 1;
    uint64_t best_ns = UINT64_MAX;
    for (unsigned i = 0; i < harness_repetitions(); i++) {
        uint64_t elapsed_ns = body_time(body, size, iterations);
        best_ns = elapsed_ns < best_ns ? elapsed_ns : best_ns;
    }
    report(what, size, (double)best_ns / (double)iterations / blocks);
}

int main(int argc, char **argv)
{
    harness_start(argc, argv);
    sizes_fill();
    for (unsigned i = 0; i < size_count; i++)
        size_measure("touch", touch_body, sizes[i], 1);
    for (unsigned i = 0; i < size_count; i++)
        size_measure("grow", grow_body, sizes[i], 2);
    harness_finish();
    return 0;
}
