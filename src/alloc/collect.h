/* collect.h -- who starts a cycle, who sweeps, who waits
 *
 * PURPOSE  The policy above the mechanism of gc/cycle.  collect.c counts allocation and keeps
 *          the pacer; collector.c is the collector's task: when it is started, what it does
 *          after a cycle, when it ends.
 * LOCKING  Inside: CYCLE in collector.c, atomics in collect.c.  Any thread, but where it says so.
 */
#ifndef GCALLOC_ALLOC_COLLECT_H
#define GCALLOC_ALLOC_COLLECT_H

#include "gc/cycle.h"
#include "world/thread.h"

/* Bytes of slots and large objects that are not free, as known at refills and flushes. */
uint64_t collect_live_bytes(void);
/* Slow paths, in the runtime: tells the pacer what the thread's cache took and gave back. */
void collect_account(struct thread *thread);
/* The same for a large object. */
void collect_account_large(struct thread *thread, enum kind kind, int64_t bytes);
/* Slow paths that allocated, in the runtime: while a cycle marks and is behind, helps it. */
void collect_assist(struct thread *thread);
/* After the runtime was left: waits for a moment, because marking has fallen behind. */
void collect_nap(struct thread *thread);
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
/* Parts of the heap will be missing in forked children: they do not collect. */
void collect_spare_children(void);
/* The program wants userfaultfd for itself.  Not in the runtime. */
void collect_avoid_userfaultfd(void);
void collect_fork_child(void);
void collect_init(void);

/* --- between collect.c and collector.c ------------------------------------------------ */

/* Should a cycle start now? */
bool collect_goal_reached(void);
/* Around a cycle, by whoever runs it. */
void collect_cycle_begins(struct cycle_report *report);
void collect_cycle_abandoned(void);
/* It is abandoned, but the world cannot be told yet: nobody assists any more. */
void collect_cycle_late(void);
/* Its marking is over. */
void collect_cycle_marked(const struct cycle_report *report);
/* Its sweep is over. */
void collect_cycle_swept(struct cycle_report *report);
/* A cycle runs: until it is over no other is due. */
bool collect_is_running(void);
/* Waits until the running cycle is over, or for so long.  Parked. */
void collect_wait_cycle(uint64_t ns);
/* What the scavenger leaves to the heap, bytes; see pages.h. */
uint64_t collect_retain_bytes(void);
/* Do cycles make sense: mode collect, or there are gc_alloc objects? */
bool collect_is_enabled(void);
/* collect_live_bytes of gc_alloc memory. */
uint64_t collect_gc_live_bytes(void);
/* The halves of collect_fork_child and collect_init that are in collect.c. */
void collect_policy_fork_child(void);
void collect_policy_init(void);

#endif
