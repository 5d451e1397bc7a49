/*
 * gcpairs -- what does one allocation of a collector cost when no collection happens?
 *
 * gc_N: HEAP_NEW(N), touch, and drop the one before. gc_bytes_N: the same for memory that never
 *   holds a pointer. For run.py's instruction counts, with collections turned off: all of it is
 *   fresh memory.
 * gc_none: the loop alone, with an empty function instead: the part of the counts that is not the
 *   heap's.
 */
#include "gcheap.h"
#include "harness.h"

static void *latest;

static void scanned_loop(void *argument, uint64_t iterations)
{
    size_t size = *(const size_t *)argument;
    for (uint64_t i = 0; i < iterations; i++) {
        HEAP_DROP(latest);
        latest = HEAP_NEW(size);
        harness_touch(latest);
    }
}

static void bytes_loop(void *argument, uint64_t iterations)
{
    size_t size = *(const size_t *)argument;
    for (uint64_t i = 0; i < iterations; i++) {
        HEAP_DROP(latest);
        latest = HEAP_NEW_BYTES(size);
        harness_touch(latest);
    }
}

static __attribute__((noinline)) void *none_new(size_t size)
{
    static char block[16];
    return harness_use(size == 0 ? NULL : block);
}

static void none_loop(void *argument, uint64_t iterations)
{
    size_t size = *(const size_t *)argument;
    for (uint64_t i = 0; i < iterations; i++) {
        latest = none_new(size);
        harness_touch(latest);
    }
}

int main(int argc, char **argv)
{
    static const size_t sizes[] = {16, 64, 512};
    HEAP_INIT();
    harness_start(argc, argv);
    harness_time("gc_16", scanned_loop, (void *)&sizes[0], 1000000, 1);
    harness_time("gc_64", scanned_loop, (void *)&sizes[1], 1000000, 1);
    harness_time("gc_512", scanned_loop, (void *)&sizes[2], 100000, 1);
    harness_time("gc_bytes_64", bytes_loop, (void *)&sizes[1], 1000000, 1);
    if (harness_wants_alone("gc_none"))
        harness_time("gc_none", none_loop, (void *)&sizes[1], 1000000, 1);
    harness_finish();
    return 0;
}
