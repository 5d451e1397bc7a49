/* realloc_large -- large blocks grow, shrink and move while cycles run
 *
 * Their pages are handed on by mremap, which sees mappings that are registered for dirty tracking,
 * mappings made afresh and mappings that were moved, in one range; since Linux 6.17 such a move may
 * stop half-way.  Every page of every block says whose it is.  Once a moved block was freed the next ones
 * are copied, until idle memory is returned: which it is now and then, so that both happen.
 */
#include <malloc.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gcalloc.h"

enum { BLOCKS = 24, STEPS = 6000, LEAST = 1 << 17, SPREAD = 1 << 19, STRIDE = 64 };

static uint64_t *blocks[BLOCKS];
static size_t words[BLOCKS];

static uint32_t random_below(uint32_t limit)
{
    static uint64_t state = 88172645463325252ull;

    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (uint32_t)(state >> 33) % limit;
}

static uint64_t content(int block, size_t word)
{
    return (uint64_t)block * 1000003 + word;
}

static void check(int block, const uint64_t *data, size_t count)
{
    for (size_t i = 0; i < count; i += STRIDE)
        if (data[i] != content(block, i)) {
            fprintf(stderr, "block %d lost word %zu of %zu\n", block, i, count);
            exit(1);
        }
}

static void resize(int block)
{
    size_t wanted = LEAST + random_below(SPREAD);
    uint64_t *data = realloc(blocks[block], wanted * sizeof(uint64_t));

    if (data == NULL)
        return;                 /* injected: the old one is intact */
    check(block, data, words[block] < wanted ? words[block] : wanted);
    for (size_t i = 0; i < wanted; i += STRIDE)
        data[i] = content(block, i);
    blocks[block] = data;
    words[block] = wanted;
}

/* Some garbage, so that cycles start by themselves. */
static void litter(void)
{
    for (int i = 0; i < 20; i++) {
        char *block = malloc(100 + random_below(3000));

        if (block != NULL)
            block[0] = 1;
    }
}

int main(void)
{
    for (int step = 0; step < STEPS; step++) {
        int block = (int)random_below(BLOCKS);

        if (random_below(4) == 0) {
            free(blocks[block]);
            blocks[block] = NULL;
            words[block] = 0;
        } else {
            resize(block);
        }
        if (random_below(4) == 0)
            malloc_trim(0);
        litter();
        if (step % 500 == 0)
            gc_collect();
    }
    for (int block = 0; block < BLOCKS; block++)
        check(block, blocks[block], words[block]);
    struct gc_memstats stats;

    gc_read_memstats(&stats);
    if (stats.num_gc == 0)
        return 2;
    puts("ok");
    return 0;
}
