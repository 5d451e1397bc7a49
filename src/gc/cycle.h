/* cycle.h -- the story of one collection
 *
 * PURPOSE  Runs one cycle on the calling task (the collector's own, or a parked thread) and
 *          returns a report; prints nothing, starts nothing.
 * LOCKING  One cycle at a time: alloc/collector.c sees to it.  Not inside the runtime gate: the cycle
 *          enters it for each stop, so that forks wait for stops, not for cycles.
 */
#ifndef GCALLOC_GC_CYCLE_H
#define GCALLOC_GC_CYCLE_H

#include "gc/sweep.h"

/* Written with the world stopped, or while nobody is in a slow path; read by slow paths, which no stop
 * interrupts; back to GC_OFF by whoever ends the sweep. */
enum gc_phase { GC_OFF, GC_MARKING, GC_SWEEPING };
extern uint32_t gc_phase;       /* atomic, relaxed */

enum { CYCLE_STOPS = 12 };      /* in one cycle, at most */

/* How the objects were marked; the first two beside the running program. */
enum cycle_method { METHOD_USERFAULT, METHOD_SNAPSHOT, METHOD_STOPPED };

/* Bytes are whole slots; those cached in magazines are not counted, except in cached_bytes. */
struct cycle_report {
    uint64_t number;            /* from 1; 0: abandoned */
    const char *abandoned;      /* NULL, or why; then nothing was freed */
    bool forced;
    bool fruitless;             /* ended after the first look: next to everything was reached */
    bool spared;                /* no malloc block dies: the pointer to it may be hidden */
    enum cycle_method method;
    uint64_t start_ns;          /* monotonic time at the beginning */
    /* Wall clock.  setup: from the first stop signal of stop 1 until the world ran again.
     * termination: stop 2, all attempts at it.  concurrent: the rest.  With METHOD_STOPPED there is one
     * stop: setup is the time it took to stop, and termination all the rest. */
    uint64_t setup_ns, concurrent_ns, termination_ns;
    uint64_t stop_ns[CYCLE_STOPS];      /* each of them */
    uint64_t longest_pause_ns;  /* of all stops */
    uint64_t pause_ns;          /* sum of all stops */
    uint64_t mark_cpu_ns;       /* all markers but the program's threads */
    uint64_t assist_bytes;      /* what those looked at */
    uint32_t workers;
    uint32_t stops;             /* 1, 2, or more: stop 2 found too much to do, and was tried again */
    uint32_t pressure_ns;       /* the most that cycle_pressure_ns was */
    uint64_t precleaned_pages, stopped_pages;   /* dirty heap pages rescanned: running, in stop 2 */
    uint64_t unarmed_pages;     /* of the former: nothing was armed yet, and no write to them had a fault */
    uint64_t heap_before;       /* all objects at the start */
    uint64_t heap_after_mark;   /* ... and at the end of marking */
    uint64_t gc_after_mark;     /* of them, gc_alloc objects */
    uint64_t heap_live;         /* reached, or came into being meanwhile */
    uint64_t malloc_live, gc_live;      /* reached from the roots */
    uint64_t kept_bytes;        /* unreachable malloc blocks and what only they reach */
    uint64_t cached_bytes;      /* free slots in magazines at stop 1: allocated, as spans count */
    uint64_t scanned_bytes;     /* roots and objects looked at */
    uint64_t goal;              /* the goal this cycle was started for: the caller's, left alone */
    uint64_t rescans;           /* walks because the worklist could not grow */
    size_t stack_bytes, root_bytes;
    /* Of the sweep, which is over later: the caller's. */
    uint64_t reclaim_bytes, malloc_reclaim_bytes, condemned_bytes;
};

/* While the program writes faster than pre-cleaning cleans: each refill should make way for so many
 * ns, or stop 2 would be long.  Atomic, relaxed; 0 mostly. */
extern uint32_t cycle_pressure_ns;

/* What the caller does for a cycle. */
struct cycle_hooks {
    /* Called with the world running, with the number of extra markers wanted, and perhaps again
     * later in the cycle; it starts tasks that call cycle_help_mark(), and returns how many. */
    unsigned (*help)(unsigned wanted);
    /* Bytes of all objects now. */
    uint64_t (*live_bytes)(void);
    uint64_t (*gc_live_bytes)(void);    /* of gc_alloc objects */
    /* The cycle cannot end soon: nobody should wait for it any longer. */
    void (*late)(void);
};

/* own_task: the caller is a task of ours with a table of descriptors of its own.  False: abandoned,
 * see report->abandoned.  On success spans wait to be swept, unless it was fruitless. */
bool cycle_run(bool forced, bool own_task, const struct cycle_hooks *hooks,
               struct cycle_report *report);
/* Some marker may load from objects.  In the runtime, where that does not begin. */
bool cycle_is_looking(void);
/* The body of an extra marking task: waits for work, marks until the cycle's marking ends. */
void cycle_help_mark(void *unused);
/* The task that ran cycles ends: gives its descriptors up. */
void cycle_close(void);
/* The program uses userfaultfd itself: never again.  There is no task that runs cycles. */
void cycle_avoid_userfault(void);

void cycle_fork_child(void);

#endif
