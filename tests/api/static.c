/* static.c -- a wholly static program with the archive: no second malloc, and it works */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <gcalloc.h>

int main(void)
{
    char *block = malloc(100), *text = strdup("from libc.a");

    if (gc_size(block) != 112 || gc_base(text) != text)
        return puts("static: malloc is not ours"), 1;
    for (int i = 0; i < 100000; i++)
        block = realloc(block, (size_t)i % 5000 + 1);
    free(block);
    free(text);
    if (!gc_collect())
        return puts("static: the cycle was abandoned"), 1;
    puts("static: ok");
    return 0;
}
