/* header.c -- gcalloc.h alone, twice, in strict C */
#include <gcalloc.h>
#include <gcalloc.h>

struct pair {
    struct pair *next;
    const char *name;
    void *volatile any;
};

struct pair *header_use(struct pair *a, struct pair *b);

struct pair *header_use(struct pair *a, struct pair *b)
{
    GC_WRITE(&a->next, b);
    GC_WRITE(&a->name, "constant");
    GC_WRITE(&a->any, NULL);
    if (gc_compare_exchange(&a->next, b, NULL))
        return GC_SWAP(&b->next, a);
    return gc_memmove(a, b, sizeof *a);
}
