/* mark.h -- finding every object that is alive
 *
 * PURPOSE    Traces from the roots, conservatively, with several workers, while the program runs or
 *            while it is stopped.  One worker, the leader, is the task that runs the cycle:
 *            it starts jobs and takes part in them; helpers join the jobs that are meant
 *            for them; threads of the program assist.  A job is a walk over the span table
 *            (or none) and then a trace to closure.
 *
 *            Two colours.  An object with its mark bit is reached from the roots.  One with
 *            its kept bit is reached from malloc blocks that no root reaches: the
 *            two-cycle rule keeps those for one more cycle, so what they reach must stay.
 *            Keepers, each worker's second tracer, set kept bits (keep.h); sweep.c has the rule.
 *
 *            Mark bits lie in two words: the leader sets those of `mark`, by plain stores, for an
 *            atomic or per object takes a quarter of its time; everybody else sets those of
 *            `black`.  Both count.  Two may mark an object at the same time: it is scanned twice.
 * LOCKING    One cycle at a time.  The functions below are the leader's, except mark_help,
 *            mark_assist and mark_shade.
 * INVARIANT  (I1) A marked object that does not hold the address of a marked object only is on the
 *            worklist, or on a page that counts as written (dirty.h), or the barrier has
 *            recorded what it holds (barrier.h).
 *            (I2) When the sweep begins every cached slot is marked: a slot that leaves a magazine before
 *            its span is swept is then in the program's hands, and must be found neither dead nor
 *            condemned.  Until then a slot that was freed after stop 1 may be cached, and be handed out
 *            again, without a mark: it is as white as any object that was there before, reached as they
 *            are, by roots, written pages and the barrier, all looked at again in stop 2; and
 *            kept, from the keep pass on (mode manual: marked, from the walk on).  Nothing is handed
 *            out after that pass that is neither, for refills mark.  A copy (snapshot.h) cannot look again:
 *            while it marks, frees mark as well.
 */
#ifndef GCALLOC_GC_MARK_H
#define GCALLOC_GC_MARK_H

#include "heap/sizeclass.h"
#include "world/roots.h"

enum { MARK_WORKERS = 64 };

/* What is done to each span before tracing. */
enum mark_walk {
    WALK_NONE,
    WALK_MALLOC_ROOTS,          /* marks all malloc blocks */
    WALK_RESCAN,                /* scans every marked object: the worklist had overflowed */
    WALK_KEEP,                  /* the keep pass: malloc blocks without a mark get their kept bits; */
    WALK_KEPT,                  /* ... they are scanned */
};

/* Bytes of slots, by kind. */
struct mark_totals {
    uint64_t marked[KINDS];     /* by tracing; objects that came into being meanwhile are not counted */
    uint64_t cached;            /* marked in stops because they are in a magazine */
    uint64_t kept;              /* by keepers: unreachable malloc blocks and what they reach */
    uint64_t scanned;           /* bytes of objects looked at */
    uint64_t assisted;          /* of them, by threads of the program */
    uint64_t rescans;           /* times the worklist had overflowed */
};

/* Before the world is stopped: memory for the leader, and helpers may register.
 * False: no memory. */
bool mark_prepare(void);
/* The body of a helper: joins jobs until mark_release. */
void mark_help(void);

/* Stop 1: empties the barrier buffers; and mark_cached_stopped. */
void mark_setup_stopped(void);
/* Stops 1 and 2: marks the slots in all magazines and outboxes.  Before any root: a stale pointer
 * must not make an object of a cached slot. */
void mark_cached_stopped(void);
/* Stop 1 of a cycle that marks in a copy: no magazine or outbox takes a free. */
void mark_close_magazines_stopped(void);
/* Root_visitors; the context is unused.  They look at every word before they return.  The second one
 * leaves all tracing for later, in a stop that has a budget. */
void mark_root_range(void *unused, enum root_kind kind, const uintptr_t *low,
                     const uintptr_t *high);
void mark_root_words(void *unused, enum root_kind kind, const uintptr_t *low,
                     const uintptr_t *high);
/* Opens a job without a walk, for `workers` workers, so that they trace while the leader looks for
 * roots; mark_close_job ends it: traces to closure. */
void mark_open_job(uint32_t workers);
void mark_close_job(void);
/* A whole job. */
void mark_walk(enum mark_walk walk, uint32_t workers);
/* The marked objects in [low, high), which was written to, are looked at again there; so are those
 * kept.  Between mark_open_job and mark_close_job, or stopped. */
void mark_rescan(uintptr_t low, uintptr_t high);
/* After some calls of it, and before the pages may be armed again; running: and what they lead to, some at
 * least.  In a stop that is left to mark_finish_stopped, which has a budget. */
void mark_rescan_end(bool running);
/* Stop 2: what the barrier recorded. */
void mark_barrier_stopped(void);
/* Stop 2: the leader alone traces at most so many bytes.  True: to closure. */
bool mark_finish_stopped(uint64_t bytes);
/* Marking complete, stopped: the word names an object that was not reached. */
bool mark_is_unreached(uintptr_t word);
/* Marking complete so far, mode collect: keeps malloc blocks without a mark, and what they reach. */
void mark_keep(uint32_t workers);
/* The leader's keeper traces what mark_rescan gave it. */
void mark_keep_rest(void);

/* What the program does for the marking: traces at most about so many bytes; begs: waits a moment for
 * a worker to share what it has.  In the runtime.  Returns the bytes looked at. */
uint64_t mark_assist(uint64_t bytes, bool begs);
/* Marks what the words name.  In the runtime, while gc_phase is GC_MARKING.  may_allocate false: the
 * thread was in there already, and may hold a lock; what is marked is left to a rescan. */
void mark_shade(const uintptr_t *words, uint32_t count, bool may_allocate);

/* Sum over all workers; between jobs, or after mark_release; racy at other times. */
struct mark_totals mark_totals(void);
/* The marking has come to nothing: nobody begins to assist any more, until mark_prepare. */
void mark_give_up(void);
/* And nobody looks at an object any more.  Any thread. */
bool mark_is_given_up(void);
/* Forgets all marks, of a cycle that was abandoned; nobody marks. */
void mark_clear(void);
/* Helpers may go. */
void mark_release(void);
/* Waits until `helpers` of them have gone; returns the CPU time of all workers. */
uint64_t mark_join(uint32_t helpers);

/* At most so many 4 KiB blocks for grey objects; UINT32_MAX: no limit but memory. */
void mark_limit_blocks(uint32_t blocks);
void mark_fork_child(void);

#endif
