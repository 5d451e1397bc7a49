/* collect.h -- who starts a cycle, who sweeps, who waits
 *
 * PURPOSE  The policy above the mechanism of gc/cycle: counts allocation,
 *          starts the collector's task when the pacer's goal is reached, runs the
 *          background sweeper, prints the report.
 */
#ifndef GCALLOC_ALLOC_COLLECT_H
#define GCALLOC_ALLOC_COLLECT_H

#include "gc/cycle.h"
#include "world/thread.h"

/* Bytes of slots and large objects that are not free, as known at refills and flushes. */
uint64_t heap_live_bytes(void);
/* Slow paths, in the runtime: tells the pacer what the thread's cache took and gave back. */
void collect_account(struct thread *thread);
/* The same for a large object. */
void collect_account_large(struct thread *thread, int64_t bytes);
/* After the runtime was left: starts the cycle that the goal asks for, in the background,
 * or here when no task can be had. */
void collect_start_wanted(void);
/* Runs a whole new cycle, mark and sweep; returns when both are done.  Not in the runtime.
 * False: the cycle was abandoned. */
bool collect_now(void);
/* Out of memory: a cycle may help.  In the runtime (left and re-entered inside). True: try again. */
bool collect_for_memory(struct thread *thread);
/* A gc_alloc object exists: from now on cycles make sense in mode manual too. */
void collect_enable_gc(void);
/* Recomputes the goal after a knob changed. */
void collect_knobs_changed(void);
/* Waits until no cycle runs and no task of ours exists, and keeps it so until collect_resume. Parks. */
void collect_suspend(void);
void collect_resume(void);
/* No cycle starts while it is false, not in forked children either.  The previous value. */
bool collect_set_ready(bool ready);
void collect_fork_child(void);
void collect_init(void);

#endif
