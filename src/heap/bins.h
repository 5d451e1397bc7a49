/* bins.h -- free runs of pages by their length
 *
 * PURPOSE  Finds a run that is long enough, best fit within a bounded look.
 * LOCKING  HEAP, held by the caller.
 */
#ifndef GCALLOC_HEAP_BINS_H
#define GCALLOC_HEAP_BINS_H

#include "heap/span.h"

void bins_insert(struct span *run);
void bins_remove(struct span *run);
/* A run that has room for so many pages at a multiple of align_bytes, or NULL. */
struct span *bins_find(size_t pages, size_t align_bytes);
size_t bins_largest(void);
void bins_each(void (*visit)(const struct span *run, void *argument), void *argument);

/* Where the pages would lie in a free run; 0: they do not fit. */
INLINE uintptr_t run_place(const struct span *run, size_t pages, size_t align_bytes)
{
    uintptr_t base = align_up(run->base, align_bytes);

    return base + (pages << PAGE_SHIFT) <= run->base + ((size_t)run->pages << PAGE_SHIFT) ? base : 0;
}

#endif
