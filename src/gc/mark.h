/* mark.h -- finding every object that is alive
 *
 * PURPOSE    Traces from the roots, conservatively, with several workers.  One worker,
 *            the leader, is the task that runs the cycle: it starts jobs and
 *            takes part in them; helpers join whatever job is open.  A job is a
 *            walk over the span table (or none) and then a trace to closure.
 * LOCKING    World stopped from mark_begin to mark_end; one cycle at a time.  The
 *            functions named below are the leader's, except mark_help.
 * INVARIANT  After a job returns, every object that a marked object or a root given so
 *            far names is marked, except what cached slots (which are marked,
 *            and hold no object) name.
 */
#ifndef GCALLOC_GC_MARK_H
#define GCALLOC_GC_MARK_H

#include "heap/sizeclass.h"
#include "world/roots.h"

enum { MARK_WORKERS = 64 };

/* What is done to each span before tracing. */
enum mark_walk {
    WALK_NONE,
    WALK_COUNT,                 /* counts objects */
    WALK_MALLOC_ROOTS,          /* counts objects, and marks all malloc blocks */
    WALK_CONDEMN,               /* counts objects, and applies the two-cycle rule: see mark.c */
    WALK_CONDEMNED,             /* scans the newly condemned */
    WALK_RESCAN,                /* scans every marked object: the worklist had overflowed */
    WALK_CLEAR,                 /* forgets the marks: the cycle is abandoned */
};

/* Bytes of slots, by kind. */
struct mark_totals {
    uint64_t objects[KINDS];    /* found by the counting walk, cached slots included */
    uint64_t marked[KINDS];     /* marked by tracing, or condemned now */
    uint64_t cached[KINDS];     /* marked because they are in a magazine */
    uint64_t condemned;         /* malloc blocks newly condemned */
    uint64_t condemned_slots;
    uint64_t rescans;           /* times the worklist had overflowed */
};

/* Before the world is stopped: memory for the leader, and helpers may register.
 * False: no memory. */
bool mark_prepare(void);
/* The body of a helper: joins jobs until mark_release. */
void mark_help(void);

/* Opens the first job, so that helpers trace while the leader visits roots.  Alone:
 * there are none. */
void mark_begin_stopped(bool alone);
/* Marks the slots in all magazines, and closes the magazines for frees.  Before any root: a
 * stale pointer must not make an object of a cached slot. */
void mark_magazines_stopped(void);
/* A root_visitor; the context is unused.  Looks at every word before it returns. */
void mark_root_range(void *unused, enum root_kind kind, const uintptr_t *low,
                     const uintptr_t *high);
/* Ends the first job: traces to closure. */
void mark_trace_stopped(void);
/* A whole job. */
void mark_walk_stopped(enum mark_walk walk);

/* Sum over all workers; between jobs, or after mark_release. */
struct mark_totals mark_totals(void);
/* Helpers may go.  The world may run again. */
void mark_release(void);
/* Waits until `helpers` of them have gone; returns the CPU time of all workers. */
uint64_t mark_join(uint32_t helpers);

/* At most so many 4 KiB blocks for grey objects; UINT32_MAX: no limit but memory. */
void mark_limit_blocks(uint32_t blocks);
void mark_fork_child(void);

#endif
