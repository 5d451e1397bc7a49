/*
 * sweep -- does the cost of a block grow with its size, or does it jump somewhere?
 *
 * Sizes from 1 byte to 64 MiB, four in each doubling.
 * touch_N: malloc(N), write one byte in every 4 KiB, free. ns per block.
 * grow_N: two buffers grown in turn by realloc through all of these sizes; the step that makes a
 *   buffer N bytes large, its last byte written. ns per step, the reading of the clock included.
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

static void touch_loop(size_t size, uint64_t iterations)
{
    for (uint64_t i = 0; i < iterations; i++) {
        char *block = harness_use(malloc(size));
        for (size_t at = PAGE; at < size; at += PAGE)
            harness_touch(block + at);
        free(block);
    }
}

static uint64_t touch_time(size_t size, uint64_t iterations)
{
    uint64_t start_ns = harness_now_ns();
    touch_loop(size, iterations);
    return harness_now_ns() - start_ns;
}

static void touch_measure(size_t size)
{
    touch_loop(size, 1);
    uint64_t once_ns = touch_time(size, 1) + 1;
    uint64_t iterations = harness_scaled(CASE_NS) / once_ns + 1;
    uint64_t best_ns = UINT64_MAX;
    for (unsigned i = 0; i < harness_repetitions(); i++) {
        uint64_t elapsed_ns = touch_time(size, iterations);
        best_ns = elapsed_ns < best_ns ? elapsed_ns : best_ns;
    }
    report("touch", size, (double)best_ns / (double)iterations);
}

static uint64_t grow_step(char **buffer, size_t size)
{
    uint64_t start_ns = harness_now_ns();
    char *grown = realloc(*buffer, size);
    if (grown == NULL)
        harness_die("out of memory");
    harness_touch(grown + size - 1);
    *buffer = grown;
    return harness_now_ns() - start_ns;
}

static void grow_measure(void)
{
    static uint64_t best_ns[MOST_SIZES];
    for (unsigned chain = 0; chain < harness_repetitions(); chain++) {
        char *buffers[2] = {NULL, NULL};
        for (unsigned i = 0; i < size_count; i++) {
            uint64_t ns = grow_step(&buffers[0], sizes[i]);
            uint64_t other_ns = grow_step(&buffers[1], sizes[i]);
            ns = other_ns < ns ? other_ns : ns;
            best_ns[i] = chain == 0 || ns < best_ns[i] ? ns : best_ns[i];
        }
        free(buffers[0]);
        free(buffers[1]);
    }
    for (unsigned i = 0; i < size_count; i++)
        report("grow", sizes[i], (double)best_ns[i]);
}

int main(int argc, char **argv)
{
    harness_start(argc, argv);
    sizes_fill();
    for (unsigned i = 0; i < size_count; i++)
        touch_measure(sizes[i]);
    grow_measure();
    harness_finish();
    return 0;
}
