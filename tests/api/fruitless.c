/* fruitless.c -- the first cycle of a program that frees what it allocates ends early, and no harm is done
 *
 * PURPOSE  With a minimum heap of 16 MiB and gctrace, of which tests/api/run.sh counts the lines: the first cycle
 *          finds that all is reachable, and frees nothing.  Then three quarters are lost: marks that the first
 *          cycle left would keep them.  What lives must be whole, and after a sweep no cycle ends
 *          early.
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <gcalloc.h>

#define MIB ((size_t)1 << 20)
#define BLOCK ((size_t)1008)     /* of 1024 bytes, with the byte more that malloc gives */
#define KEPT 4                   /* the program loses all but every fourth */

struct block {
    struct block *next;
    unsigned char text[BLOCK - sizeof(struct block *)];
};

static struct block *blocks;
static size_t count;
static struct gc_memstats stats;

static void grow_to(size_t bytes)
{
    for (; count < bytes / BLOCK; count++) {
        struct block *block = malloc(sizeof *block);

        memset(block->text, (int)(count % 251), sizeof block->text);
        block->next = blocks;
        blocks = block;
    }
}

static void lose_most(void)
{
    for (struct block *block = blocks; block != NULL; block = block->next)
        for (int i = 1; i < KEPT && block->next != NULL; i++)
            block->next = block->next->next;
    count = (count + KEPT - 1) / KEPT;
}

static size_t whole(void)
{
    size_t found = 0;

    for (struct block *block = blocks; block != NULL; block = block->next) {
        for (size_t i = 1; i < sizeof block->text; i++)
            if (block->text[i] != block->text[0])
                return 0;
        found++;
    }
    return found;
}

static unsigned cycles(void)
{
    const struct timespec ms10 = { 0, 10000000 };

    nanosleep(&ms10, NULL);
    gc_read_memstats(&stats);
    return stats.num_gc;
}

int main(void)
{
    grow_to(20 * MIB);
    while (cycles() < 1)
        ;
    if (stats.heap_alloc < 20 * MIB || whole() != count)
        return 1;
    lose_most();
    gc_collect();
    gc_collect();
    cycles();
    if (stats.heap_alloc > 10 * MIB || whole() != count) {
        printf("%zu of %zu blocks, %zu bytes\n", whole(), count, (size_t)stats.heap_alloc);
        return 1;
    }
    grow_to(80 * MIB);
    while (cycles() < 4)
        ;
    return whole() == count ? 0 : 1;
}
