/* hiding.h -- a list that markers have to follow, and a block whose pages a program hides from them
 *
 * PURPOSE  What deaf.c and no_memory.c work on.  The first word of each page of the block is the list.
 */
#ifndef GCALLOC_TESTS_HIDING_H
#define GCALLOC_TESTS_HIDING_H

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { PAGE = 4096, NODE = 64 };

static void **nodes;
static char *block;
static size_t block_bytes;

static void make_heap(int count, size_t pages)
{
    for (int i = 0; i < count; i++) {
        void **node = malloc(NODE);

        memset(node, 0, NODE);
        node[0] = nodes;
        nodes = node;
    }
    block_bytes = pages * PAGE;
    if (posix_memalign((void **)&block, PAGE, block_bytes) != 0)
        exit(2);
    memset(block, 0x11, block_bytes);
    for (size_t at = 0; at < block_bytes; at += PAGE)
        *(void **)(block + at) = nodes;
}

/* All pages of the block but the first and the last. */
static inline bool hide(void)
{
    return mprotect(block + PAGE, block_bytes - 2 * PAGE, PROT_NONE) == 0;
}

static inline bool show(void)
{
    return mprotect(block + PAGE, block_bytes - 2 * PAGE, PROT_READ | PROT_WRITE) == 0;
}

#endif
