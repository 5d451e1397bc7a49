/*
 * metadata -- how much memory do our own tables need beside blocks of one size?
 *
 * 64 MiB of blocks, kept; linked with the library, which is asked what it has.
 * metadata_SIZE: percent of the heap in use that span headers (bits and a state byte for each slot, in
 * them) and the page map are.  Thread caches are not counted: they do not grow with the heap.
 */
#include "gcalloc.h"
#include "harness.h"

#include <stdio.h>
#include <stdlib.h>

enum { HEAP_BYTES = 64 << 20 };

static const unsigned sizes[] = {16, 24, 32, 48, 64, 80, 96, 128, 192, 256, 512, 1024, 4096, 16384};

static void size_run(unsigned size)
{
    size_t count = HEAP_BYTES / size;
    void **blocks = malloc(count * sizeof *blocks);
    struct gc_memstats before, after;
    char name[32];

    if (blocks == NULL)
        harness_die("out of memory");
    gc_read_memstats(&before);
    for (size_t i = 0; i < count; i++)
        if ((blocks[i] = malloc(size)) == NULL)
            harness_die("out of memory");
    gc_read_memstats(&after);
    uint64_t headers = after.mspan_inuse - before.mspan_inuse, tables = after.gc_sys - before.gc_sys;

    snprintf(name, sizeof name, "metadata_%u", size);
    harness_report(name, "percent",
                   100.0 * (double)(headers + tables) / (double)(after.heap_inuse - before.heap_inuse));
    for (size_t i = 0; i < count; i++)
        free(blocks[i]);
    free(blocks);
}

int main(int argc, char **argv)
{
    harness_start(argc, argv);
    for (unsigned i = 0; i < sizeof sizes / sizeof *sizes; i++)
        size_run(sizes[i]);
    harness_finish();
    return 0;
}
