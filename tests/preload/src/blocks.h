/* PURPOSE: heap blocks that notice when somebody else got their memory, and garbage that makes
 * the collector run and makes reclaimed memory be used again. For the C programs of the cases. */
#ifndef BLOCKS_H
#define BLOCKS_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* One block: its length and seed, then bytes that follow from both. */
struct block {
    size_t length;
    unsigned seed;
    unsigned char bytes[];
};

static unsigned char block_byte(unsigned seed, size_t i)
{
    return (unsigned char)(seed * 31 + i * 7 + 1);
}

static inline size_t block_length(unsigned seed)
{
    return 24 + (size_t)(seed * 37u) % 1000;
}

static inline struct block *block_make(unsigned seed)
{
    size_t length = block_length(seed);
    struct block *b = malloc(sizeof *b + length);

    if (!b) {
        fprintf(stderr, "malloc failed\n");
        abort();
    }
    b->length = length;
    b->seed = seed;
    for (size_t i = 0; i < length; i++)
        b->bytes[i] = block_byte(seed, i);
    return b;
}

/* block_check -- 1 if the block is still what block_make(seed) made */
static inline int block_check(const struct block *b, unsigned seed)
{
    if (b->seed != seed || b->length != block_length(seed))
        return 0;
    for (size_t i = 0; i < b->length; i++)
        if (b->bytes[i] != block_byte(seed, i))
            return 0;
    return 1;
}

/* churn -- allocates, overwrites and frees or forgets `kib` KiB in blocks of the same sizes */
static inline void churn(size_t kib)
{
    for (size_t done = 0; done < kib << 10;) {
        unsigned n = (unsigned)(done / 512);
        size_t length = sizeof(struct block) + block_length(n);
        volatile unsigned char *p = malloc(length);

        memset((void *)p, 0xa5, length);
        if (n % 8)
            free((void *)p);
        done += length;
    }
}

#endif
