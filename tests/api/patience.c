/* patience.c -- a program that only grows: after a cycle that has found nothing the next one waits
 *
 * PURPOSE  That the pacer is told the processor time of the program and of its cycles: the rule
 *          itself is tested in tests/model.  With a minimum heap of 32 MiB the second cycle is due
 *          between three and ten times the size of the first, and to be worth its price before,
 *          the program would have to use 50 times as much time as it costs.
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <gcalloc.h>

#define MIB ((size_t)1 << 20)
#define BLOCK ((size_t)1008)     /* of 1024 bytes, with the byte more that malloc gives */

struct block {
    struct block *next;
};

static struct block *blocks;
static size_t bytes;
static struct gc_memstats stats;

static void grow_to(size_t target)
{
    for (; bytes < target; bytes += BLOCK) {
        struct block *block = malloc(BLOCK);

        memset(block, 1, BLOCK);
        block->next = blocks;
        blocks = block;
    }
}

static unsigned cycles(void)
{
    const struct timespec ms100 = { 0, 100000000 };

    nanosleep(&ms100, NULL);
    gc_read_memstats(&stats);
    return stats.num_gc;
}

int main(void)
{
    grow_to(36 * MIB);
    while (cycles() < 1)
        ;
    grow_to(200 * MIB);
    cycles();
    if (cycles() != 1) {
        printf("%u cycles at 200 MiB\n", stats.num_gc);
        return 1;
    }
    grow_to(360 * MIB);
    while (cycles() < 2)
        ;
    return 0;
}
