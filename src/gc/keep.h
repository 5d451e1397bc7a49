/* keep.h -- the second colour: what unreachable malloc blocks reach
 *
 * PURPOSE    The two-cycle rule keeps a malloc block that no root reaches for one more cycle, so
 *            what it reaches must stay as well.  A keeper is a tracer that sets kept bits where
 *            there is no mark bit; each worker of the marking has one, and all have one worklist.
 *
 *            The pass takes two walks over the span table.  The first sets the bits of all malloc
 *            blocks without a mark; the second scans them.  So most of what it meets has its bit,
 *            and need not be traced: memory is read once, in address order.
 * OWNER      A keeper belongs to its worker (mark.h); what is written after the pass is scanned by
 *            the leader's.
 * LOCKING    A chunk of the walks is one worker's, and nobody traces during the first: it sets
 *            bits by plain stores.  During the second they are set by atomic or.
 * INVARIANT  When the pass is over, a kept object holds addresses of marked or kept objects only, but
 *            for what is on the keepers' worklist or on a page that counts as written.  Marks only grow, and
 *            what comes into being is marked, so blocks without a mark at the end are all kept.
 */
#ifndef GCALLOC_GC_KEEP_H
#define GCALLOC_GC_KEEP_H

#include "gc/trace.h"

/* Forgets the last cycle; none of its workers is left. */
void keep_prepare(void);
/* A worker's keeper for this cycle; NULL: no memory.  Its index is below MARK_WORKERS. */
struct tracer *keep_open(uint32_t index);
void keep_close(struct tracer *keeper);
/* The worker is busy; keep_to_closure ends that, when there is nothing left for any keeper. */
void keep_enter(void);
void keep_to_closure(struct tracer *keeper);
/* The marking has come to nothing: keepers get no more work.  True: none is at any.  Any thread. */
bool keep_is_given_up(void);
/* The first walk and the second: of the blocks of one word. */
void keep_word(struct tracer *keeper, struct span *span, uint32_t word);
void keep_scan_word(struct tracer *keeper, const struct span *span, uint32_t word);
/* The leader alone: traces to closure, and mends what the worklist had no room for. */
void keep_rest(struct tracer *keeper);
/* Scans what of the kept slots lies in [low, high); keep_rescan_end after some calls.  running: and what they
 * lead to, some at least. */
void keep_rescan(struct tracer *keeper, const struct span *span, uint32_t word, uint64_t slots,
                 uintptr_t low, uintptr_t high);
void keep_rescan_end(struct tracer *keeper, bool running);
/* Bytes kept, bytes looked at. */
struct keep_totals {
    uint64_t kept, scanned;
} keep_totals(void);
/* At most so many blocks of worklist, as in mark.h. */
void keep_limit_blocks(uint32_t blocks);
void keep_fork_child(void);

#endif
