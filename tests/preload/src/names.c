/* A program whose runtime, a shared library, has functions of its own with names of ours: D's is one. */
#include <stdio.h>
#include <stdlib.h>

enum { BLOCKS = 10000, BLOCK_BYTES = 1000 };

int gc_collect(void);
void gc_free(void *object);
void *gc_realloc(void *object, unsigned long bytes, unsigned attributes);

static void *volatile blocks[BLOCKS];

int main(void)
{
    int object;

    for (int i = 0; i < BLOCKS; i++)
        blocks[i] = malloc(BLOCK_BYTES);
    gc_free(&object);
    printf("%d %d\n", gc_collect(), gc_realloc(&object, 1, 0) == &object);
    return 0;
}
