/* cycle.h -- the story of one collection
 *
 * PURPOSE  Runs one cycle on the calling task (one of the collector's own, or a
 *          parked thread) and returns a report; prints nothing, starts nothing.
 * LOCKING  One cycle at a time: alloc/collect.c sees to it.
 */
#ifndef GCALLOC_GC_CYCLE_H
#define GCALLOC_GC_CYCLE_H

#include "gc/sweep.h"

/* Written with the world stopped, read by slow paths (which no stop interrupts); back to GC_OFF by
 * whoever ends the sweep. */
enum gc_phase { GC_OFF, GC_MARKING, GC_SWEEPING };
extern uint32_t gc_phase;       /* atomic, relaxed */

/* Bytes are whole slots; those cached in magazines are not counted, except in cached_bytes. */
struct cycle_report {
    uint64_t number;            /* from 1; 0: abandoned */
    const char *abandoned;      /* NULL, or why; then nothing was freed */
    bool forced;
    uint64_t start_ns;          /* monotonic time at the beginning */
    /* Wall clock: from the first stop signal until the world stood still, marking, restarting. */
    uint64_t stop_ns, mark_ns, restart_ns;
    uint64_t pause_ns;          /* what a thread feels: first stop signal to restart */
    uint64_t mark_cpu_ns;       /* all markers */
    uint32_t workers;
    uint64_t heap_before;       /* all objects when the world stopped */
    uint64_t heap_after_mark;   /* the same, for nothing is allocated meanwhile */
    uint64_t heap_live;         /* what remains after the sweep, condemned blocks included */
    uint64_t malloc_live, gc_live;      /* reached from the roots; heap_live less these is what
                                           only condemned blocks reach, and they themselves */
    uint64_t condemned_bytes;   /* malloc memory found unreachable for the first time */
    uint64_t cached_bytes;      /* free slots in magazines: allocated, as spans count */
    uint64_t reclaim_bytes;     /* what the sweep of this cycle will free */
    uint64_t malloc_reclaim_bytes;
    uint64_t goal;              /* the goal this cycle was started for: the caller's, left alone */
    uint64_t rescans;           /* walks because the worklist could not grow */
    size_t stack_bytes, root_bytes;
};

/* `help` is called once, with the world running, with the number of extra markers wanted; it
 * starts tasks that call cycle_help_mark(), and returns how many it started. */
typedef unsigned (*cycle_helpers)(unsigned wanted);
/* False: abandoned, see report->abandoned.  On success spans wait to be swept. */
bool cycle_run(bool forced, cycle_helpers help, struct cycle_report *report);
/* The body of an extra marking task: waits for work, marks until the cycle's marking ends. */
void cycle_help_mark(void *unused);

void cycle_fork_child(void);

#endif
