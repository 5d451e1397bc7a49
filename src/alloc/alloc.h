/* alloc.h -- what the api floor calls
 *
 * PURPOSE  The allocator as a whole: fast paths inline, everything else behind
 *          alloc_*_slow.  No function here touches errno.
 */
#ifndef GCALLOC_ALLOC_ALLOC_H
#define GCALLOC_ALLOC_ALLOC_H

#include "alloc/fast.h"

NOINLINE void *alloc_malloc_slow(size_t bytes);
NOINLINE void alloc_free_slow(void *block);

/* Uninitialised malloc block, 16-byte aligned; 0 bytes count as 1.  NULL: no memory, or more
 * than PTRDIFF_MAX. */
INLINE void *alloc_malloc(size_t bytes)
{
    if (LIKELY(bytes <= SMALL_MAX)) {
        void *block = fast_pop(&thread_self->cache, sizeclass_of_malloc(bytes));
        if (LIKELY(block != NULL))
            return block;
    }
    return alloc_malloc_slow(bytes);
}

/* Anything a program may hand to free: NULL, ours, foreign (ignored, one warning); misuse dies. */
INLINE void alloc_free(void *block)
{
    if (UNLIKELY(!fast_push(&thread_self->cache, block)))
        alloc_free_slow(block);
}

NOINLINE void *alloc_gc_slow(size_t bytes, enum kind kind);

/* KIND_GC or KIND_NOSCAN; zeroed.  KIND_NOSCAN below 16 bytes shares blocks (the tiny allocator). */
INLINE void *alloc_gc(size_t bytes, enum kind kind)
{
    size_t least = kind == KIND_NOSCAN ? 16 : 0;

    if (LIKELY(bytes - least <= CLEAN_MOST - least)) {
        void *block = fast_tear(&thread_self->cache, span_class_of(kind, sizeclass_of_gc(bytes)));
        if (LIKELY(block != NULL))
            return block;
    }
    return alloc_gc_slow(bytes, kind);
}

/* alignment is a power of two. */
void *alloc_malloc_aligned(size_t alignment, size_t bytes);
/* Zeroed malloc block. */
void *alloc_calloc(size_t bytes);
/* block != NULL; keeps the kind.  NULL: no memory, the old block is intact. */
void *alloc_realloc(void *block, size_t bytes);
/* Bytes that may be written at block; 0 for NULL and foreign pointers. */
size_t alloc_usable_size(const void *block);
/* The object that contains the address, or NULL. */
void *alloc_base(const void *address);
/* Gives idle memory back to the OS; bytes. */
size_t alloc_trim(void);

#endif
