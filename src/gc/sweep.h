/* sweep.h -- turning mark bits into free slots
 *
 * PURPOSE  After a cycle every span in use is swept once: alloc := alloc & mark,
 *          condemned handled, mark := 0.  Lazily by whoever needs the span
 *          (refill, slow free) and by a background task that goes through the
 *          span table.
 * LOCKING  None.  A sweeper claims a span by its sweepgen, compare-and-swap:
 *
 *              sweep_generation - 2   needs sweeping
 *              sweep_generation - 1   being swept
 *              sweep_generation       swept, or came into use since the cycle
 *
 *          sweep_generation grows by 2 with the world stopped and no thread in
 *          the runtime, when every span has been swept.
 *
 *          A span goes back to the page heap (pages_free) only when it is swept: whoever
 *          frees a large object, or trims, sweeps first.  gc_phase (cycle.h) goes from
 *          GC_SWEEPING to GC_OFF before sweep_is_done says so.
 *
 *          The rule.  First `freed` is taken in.  Then, of what is left:
 *
 *              malloc block, mode collect             gc_alloc object, or mode manual
 *              alloc, marked        stays             marked or kept       stays
 *              alloc, not marked    condemned now     neither              dead
 *              condemned, marked    alloc again
 *              condemned, kept      stays condemned
 *              condemned, neither   dead
 *
 *          A malloc block is freed when two cycles in a row do not reach it: its pointer may be in
 *          flight, in a socket.  What it reaches is kept meanwhile (keep.h).
 *          While the program hides pointers for long (roots_hide), none is condemned.  The first cycle that
 *          spares them frees nothing: blocks that were condemned before it stay, and nobody has looked what
 *          they reach.
 */
#ifndef GCALLOC_GC_SWEEP_H
#define GCALLOC_GC_SWEEP_H

#include "heap/span.h"

/* Even.  Written with the world stopped. */
extern uint32_t sweep_generation;

/* Sweeps the span unless somebody did; on return it is swept, and may be gone (span_in_use) if the
 * caller neither owns it nor has an object in it.  A span_sweeper. */
void sweep_span(struct span *span);
/* Sweeps up to count unswept spans of the table; false when none was left (others
 * may still be at theirs). */
bool sweep_some(uint32_t count);
/* The cycle's sweep is over: every span of the table has been swept. */
bool sweep_is_done(void);
/* Stopped world, gc_phase is GC_SWEEPING: all spans now need sweeping.  spare_malloc: every malloc block
 * counts as marked; and everything does, where the last sweep has spared none. */
void sweep_begin_stopped(bool spare_malloc);
/* In a forked child: spans caught half swept become swept, and lose nothing. */
void sweep_fork_child(void);

struct sweep_totals {
    uint64_t swept_spans;
    uint64_t freed_slots, freed_bytes;          /* found dead, large objects included */
    uint64_t freed_malloc_bytes;                /* of them */
    uint64_t condemned_slots, condemned_bytes;  /* newly condemned */
};
/* Since the last sweep_begin_stopped. */
struct sweep_totals sweep_totals(void);
/* Since the process began; grows as spans are swept. */
struct sweep_totals sweep_totals_ever(void);

#endif
