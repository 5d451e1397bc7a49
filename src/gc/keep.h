/* keep.h -- the second colour: what unreachable malloc blocks reach
 *
 * PURPOSE    The two-cycle rule keeps a malloc block that no root reaches for one more cycle, so
 *            what it reaches must stay as well.  The keeper is one tracer with a worklist of
 *            its own; it sets kept bits where there is no mark bit.
 * OWNER      The leader of the marking (mark.h).
 * INVARIANT  A kept object holds addresses of marked or kept objects only, but for what is on the
 *            keeper's worklist or on a page that counts as written.  Marks only grow, and what
 *            comes into being is marked, so blocks without a mark at the end are all kept.
 */
#ifndef GCALLOC_GC_KEEP_H
#define GCALLOC_GC_KEEP_H

#include "heap/span.h"

/* Memory for a cycle; false: none. */
bool keep_prepare(void);
void keep_end(void);
/* Keeps all malloc blocks that are allocated and not marked, and traces. */
void keep_unmarked(void);
/* Scans what of the kept slots lies in [low, high). */
void keep_rescan(const struct span *span, uint32_t word, uint64_t slots, uintptr_t low,
                 uintptr_t high);
/* Traces to closure. */
void keep_trace(void);
/* Bytes kept, bytes looked at. */
uint64_t keep_bytes(void);
uint64_t keep_scanned(void);
/* At most so many blocks of worklist, as in mark.h. */
void keep_limit_blocks(uint32_t blocks);
void keep_fork_child(void);

#endif
