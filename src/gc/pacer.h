/* pacer.h -- when to start the next cycle: pure arithmetic
 *
 * PURPOSE  From the result of a cycle to the heap size at which the next one
 *          starts.  No clock, no heap, no globals: tested by simulation.
 *
 *          gc_alloc memory follows Go: goal = live + (live + roots) * percent / 100, at least
 *          4 MiB * percent / 100.  malloc memory in mode collect: no cycle below
 *          heap_min, and the distance is stretched, up to 8 times, while
 *          cycles find next to no garbage, for a program that frees what it
 *          allocates must not pay.  The memory limit overrides both.
 *
 *          All amounts are bytes as the heap counts them: whole slots.
 */
#ifndef GCALLOC_GC_PACER_H
#define GCALLOC_GC_PACER_H

#include "base/compiler.h"

struct pacer_knobs {
    int64_t percent;            /* GOGC; -1: off */
    int64_t memory_limit;       /* bytes; INT64_MAX: none */
    uint64_t heap_min;          /* of malloc memory */
    bool malloc_collected;      /* mode collect */
};

struct pacer_input {
    uint64_t malloc_live, gc_live;          /* reached from the roots by the cycle */
    uint64_t kept;              /* heap bytes that are not live and that the sweep will not free
                                   either: newly condemned, what only they reach, cached slots */
    uint64_t roots;
    uint64_t malloc_condemned;  /* by the cycle: garbage found */
    uint64_t malloc_reclaimed;  /* by the cycle: garbage found by the one before */
    uint64_t overhead;          /* bytes that count against the limit and are not heap objects */
};

struct pacer {
    /* Bytes of both kinds of memory at which the next cycle starts; UINT64_MAX: never. */
    uint64_t goal;
    /* A cycle may also start when gc_alloc memory alone has reached this much, so that the room
     * left for malloc is not filled with gc_alloc garbage.  UINT64_MAX: none. */
    uint64_t gc_goal;
    uint32_t stretch;           /* 1 to 8: by how much the malloc share of the distance grows */
    struct pacer_input last;    /* of the last cycle; zeroes before the first */
};

/* The goal before the first cycle. */
void pacer_init(struct pacer *pacer, const struct pacer_knobs *knobs);
/* After a cycle. */
void pacer_update(struct pacer *pacer, const struct pacer_knobs *knobs,
                  const struct pacer_input *input);
/* After a change of knobs: the goal anew, from what the last cycle found. */
void pacer_retune(struct pacer *pacer, const struct pacer_knobs *knobs);

#endif
