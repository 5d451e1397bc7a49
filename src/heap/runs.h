/* runs.h -- free runs of pages: found, cut, merged, lent
 *
 * PURPOSE    What pages.c takes spans from and gives them back to.  A run is found best fit within a
 *            bounded look (bins.h), cut where the caller says, and merged with both neighbours when it
 *            comes back.
 * LOCKING    HEAP, held by the caller.
 * INVARIANT  (runs_check) no two free runs touch; the page map names a free run at its first and last
 *            page only.
 */
#ifndef GCALLOC_HEAP_RUNS_H
#define GCALLOC_HEAP_RUNS_H

#include "heap/bins.h"
#include "heap/chunk.h"

/* Headers for what a cut leaves over on either side: a cut cannot fail. */
struct run_spares {
    struct span *run[2];        /* NULL: used */
};

INLINE size_t page_index(uintptr_t address)
{
    return heap_offset(address) >> PAGE_SHIFT;
}

INLINE struct span *page_span(size_t page)
{
    return entry_span(load_relaxed(&arena.pagemap[page]));
}

/* Pages get a span, or none (NULL), in the page map. */
void map_pages(size_t page, size_t pages, const struct span *span);

/* False: there is no memory for them. */
bool run_spares_take(struct run_spares *spares);
/* Those that were not used. */
void run_spares_return(struct run_spares *spares);

/* Pages become free that were not: in no span, and in no page map entry.  The header is consumed: it stands
 * for the run, whatever its bitmap has room for. */
void runs_add(struct span *run, uintptr_t base, size_t pages);
/* Takes exactly [base, base + pages) out of a free run that contains it.  How many of the pages hold
 * memory. */
size_t runs_cut(struct span *run, uintptr_t base, size_t pages, struct run_spares *spares);
/* The heap gets at least so many pages more, which are free.  False: there is no memory. */
bool runs_grow(size_t pages);

/* The free run that begins at the page; NULL: there is none. */
struct span *runs_at(size_t page);

/* Takes [page, page + pages), all of one free run, out of it, so that HEAP can be let go of while
 * its memory is returned.  The header that stands for it, or NULL: no memory. */
struct span *runs_borrow(size_t page, size_t pages);
void runs_give_back(struct span *borrowed);

/* Dies when the invariant does not hold.  How many pages are free. */
size_t runs_check(void);

#endif
