/* realloc_large -- large blocks grow, shrink and move while cycles run
 *
 * Their pages are handed on by mremap, which sees mappings that are registered for dirty tracking,
 * mappings made afresh and mappings that were moved, in one range; since Linux 6.17 such a move may
 * stop half-way.  Every page of every block says whose it is.  Once a moved block was freed the next ones
 * are copied, until idle memory is returned: which it is now and then, so that both happen.
 *
 * Then a buffer of one size comes and goes, and its memory with it, for it moves into huge pages step by step.
 * Every page of it holds the only pointer to a small block, and cycles must find each.
 */
#include <malloc.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gcalloc.h"

enum { BLOCKS = 24, STEPS = 6000, LEAST = 1 << 17, SPREAD = 1 << 19, STRIDE = 64 };
enum { USES = 100, PAGE = 4096, PAGES = 3072 };

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

/* Live while the buffer is: only it names them. */
static void use_buffer(int use)
{
    char *buffer = malloc((size_t)PAGES * PAGE);

    if (buffer == NULL)
        return;
    for (int page = 0; page < PAGES; page++) {
        uint64_t **word = (uint64_t **)(buffer + (size_t)page * PAGE);

        *word = malloc(sizeof(uint64_t) * 4);
        if (*word != NULL)
            **word = content(use, (size_t)page);
    }
    for (int cycle = 0; cycle < 3 && use % 16 == 15; cycle++) {
        gc_collect();
        litter();
    }
    for (int page = 0; page < PAGES; page++) {
        uint64_t *block = *(uint64_t **)(buffer + (size_t)page * PAGE);

        if (block != NULL && *block != content(use, (size_t)page)) {
            fprintf(stderr, "use %d: the block that page %d names is lost\n", use, page);
            exit(1);
        }
        free(block);
    }
    free(buffer);
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
    for (int use = 0; use < USES; use++)
        use_buffer(use);
    struct gc_memstats stats;

    gc_read_memstats(&stats);
    if (stats.num_gc == 0)
        return 2;
    puts("ok");
    return 0;
}
