/* heap_alone.h -- for tests of the heap without world and collector */
#ifndef GCALLOC_TESTS_HEAP_ALONE_H
#define GCALLOC_TESTS_HEAP_ALONE_H

#include "heap/pages.h"

enum { GENERATION = 2, CLASS_64 = 6 };

INLINE bool heap_is_sound(void)
{
    for (uint32_t id = 0; id < span_table_size(); id++)
        if (!span_check(span_by_id(id)))
            return false;
    return pages_check();
}

/* The arena is reserved by the first metadata, in a program by the first thread. */
INLINE int reserve(void **state)
{
    (void)state;
    return meta_alloc(64) == NULL;
}

#endif
