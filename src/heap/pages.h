/* pages.h -- the page heap: pages for spans
 *
 * PURPOSE    Spans of small slots and large objects get their pages here, from free runs
 *            (runs.h), and give them back; idle memory is returned to the OS
 *            (pages_release.c).
 * LOCKING    HEAP, taken inside.  Functions named _locked want it held.
 * INVARIANT  (pages_check) the page map names a span in use, or kept whole, at every page; what
 *            is neither lost nor lent is a span's or in a free run.
 */
#ifndef GCALLOC_HEAP_PAGES_H
#define GCALLOC_HEAP_PAGES_H

#include "heap/span.h"

struct pages_stats {
    size_t heap_pages;          /* ready pages of the heap */
    size_t free_pages;          /* in free runs, or kept whole */
    size_t released_pages;      /* of the free ones: hold no memory */
    size_t lost_pages;          /* retired after a failed vm_renew; the first page of the heap */
    size_t borrowed_pages;      /* being returned to the OS right now */
    size_t free_runs;
    size_t largest_free_run;    /* pages */
    size_t large_spans, large_bytes;
    size_t small_spans, small_bytes;
    /* Bytes ever returned to the OS: because they were idle; because somebody asked or the
     * memory limit was reached. */
    uint64_t background_bytes, demand_bytes;
};

/* A span of small slots, state SPAN_SMALL, claimed, sweepgen set by the caller's value.  As many pages as its
 * class has, or fewer.  NULL: no memory. */
struct span *pages_alloc_small(unsigned span_class, size_t pages, uint32_t sweepgen);
/* One large object; align_bytes is a power of two (PAGE_BYTES or less: none).  *zeroed: reads as zero. */
struct span *pages_alloc_large(enum kind kind, size_t bytes, size_t align_bytes, uint32_t sweepgen,
                               bool *zeroed);
/* The span is claimed by the caller and has no live slot. */
void pages_free(struct span *span);
/* Grows or shrinks a large span where it is; true when it now has room for bytes. */
bool pages_resize_large(struct span *span, size_t bytes);

/* Large objects up to so many bytes had better be copied than moved when they grow: one of that size whose
 * pages had been moved was freed since idle memory was last returned.  Atomic, relaxed. */
extern size_t pages_copy_most;

/* --- back to the OS.  All in the runtime (world/thread.h): a fork may not come between. --- */

/* Returns free pages to the OS near which nothing was allocated or freed for `idle_ms`; stops
 * after max_pages.  The number of pages that held memory. */
size_t pages_release_idle(uint64_t idle_ms, size_t max_pages);
/* Now and then, from slow paths: returns what has been idle for half a second.  Leaves it to
 * pages_scavenge while somebody calls that. */
void pages_idle_check(void);
/* One step of returning idle memory, 4 MiB at most, as the background scavenger of Go does it: while
 * more than retain_bytes are held, or three quarters are idle, what has been idle for half a second
 * goes; above 95 % of the memory limit, for an eighth of a second; of the rest, for ten seconds.
 * Returns after how many ms to call again, so that it costs 1 % of one processor at most, 10 % while
 * three quarters are idle; UINT64_MAX: when the function given to pages_set_scavenger is called. */
uint64_t pages_scavenge(uint64_t now_ms, uint64_t retain_bytes);
/* `wake` is called from slow paths when there is something to do (again): for a scavenger that is not
 * there, when it is worth starting one.  It must not wait. */
void pages_set_scavenger(void (*wake)(void));
/* It calls pages_scavenge no more. */
void pages_scavenger_left(void);
/* Go's rule for retain_bytes: 110 % of what the spans in use took at the end of the last marking,
 * scaled as the goal has changed since.  UINT64_MAX before the first cycle (last_goal 0) and
 * without a goal. */
uint64_t pages_retain_bytes(uint64_t in_use_bytes, uint64_t goal, uint64_t last_goal);
/* Bytes of pages that belong to spans. */
uint64_t pages_in_use_bytes(void);

void pages_stats_read(struct pages_stats *stats);
bool pages_check(void);
void pages_fork_child(void);

#endif
