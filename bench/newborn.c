/*
 * newborn -- what does a new object of a collected heap cost the thread that asks for it?
 *
 * new_N: an object of N bytes that may hold pointers, cleared; bytes_N: one that never will (it is
 * not cleared). Nothing keeps them: with times, the collections that this brings are counted in;
 * with --count=N, the instructions of N objects, refills of the thread's cache included, too few
 * for a collection.
 */
#include "gcheap.h"
#include "harness.h"

struct newborn_case {
    const char *name;
    size_t size;
    bool is_bytes;
};

static const struct newborn_case cases[] = {
    {"new_16", 16, false},   {"new_64", 64, false},     {"new_256", 256, false},
    {"new_1024", 1024, false}, {"bytes_64", 64, true}, {"bytes_1024", 1024, true},
};

static void objects_make(void *argument, uint64_t count)
{
    const struct newborn_case *one = argument;
    if (one->is_bytes)
        for (uint64_t i = 0; i < count; i++)
            HEAP_DROP(harness_use(HEAP_NEW_BYTES(one->size)));
    else
        for (uint64_t i = 0; i < count; i++)
            HEAP_DROP(harness_use(HEAP_NEW(one->size)));
}

int main(int argc, char **argv)
{
    HEAP_INIT();
    harness_start(argc, argv);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        harness_time(cases[i].name, objects_make, (void *)&cases[i], 1000000, 1);
    harness_finish();
    return 0;
}
