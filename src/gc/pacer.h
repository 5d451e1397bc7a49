/* pacer.h -- when to start a cycle, and how hard to mark: pure arithmetic
 *
 * PURPOSE  From the result of a cycle to the heap size at which the next one starts and the one at
 *          which its marking should be over; while it marks, to the work that those who allocate
 *          must do.  No clock, no heap, no globals, no floating point: parts of it run in the
 *          program's malloc; and it is tested by simulation.
 * LOCKING  None: one caller at a time.  Who wants a number without the caller's lock reads a copy.
 *
 *          gc_alloc memory follows Go: goal = live + (live + roots) * percent / 100, less what memory
 *          it takes beside its objects (a quarter of that distance, and where it is above 16.5 MiB),
 *          at least 11 MiB * percent / 100 (Go: 4), and up to as much more where the heap has been
 *          larger, for its cycles cost more than that memory; malloc blocks count as roots.  malloc memory in
 *          mode collect: no cycle below heap_min, and the distance is stretched, up to 8 times, while
 *          cycles find next to no garbage, for a program that frees what it
 *          allocates must not pay.  The memory limit overrides both.
 *
 *          While it is not known that malloc memory yields garbage, a cycle must be worth its price
 *          as well: from the trigger on it waits until it costs a small share of the processor time
 *          that the program has used since the last one.  The first one has credit, for it tells what the
 *          yield is, and waits no farther than twice the distance; those after poor ones no farther
 *          than the longest stretch would go (a large heap no farther than twice the distance, or a GiB
 *          more): a heap that only grows, fast, pays once.
 *
 *          Marking takes time, so a cycle starts at a trigger before the goal: as many
 *          bytes before it as will be allocated meanwhile, by the rates of the last five cycles.
 *          If that was too late, allocations pay by marking (assists), so much
 *          that marking ends at the goal.
 *
 *          All amounts are bytes as the heap counts them: whole slots.  Work is bytes scanned:
 *          roots, rescans, and unreachable malloc blocks that are traced to keep what they hold.
 */
#ifndef GCALLOC_GC_PACER_H
#define GCALLOC_GC_PACER_H

#include "base/bits.h"

struct pacer_knobs {
    int64_t percent;            /* GOGC; -1: off */
    int64_t memory_limit;       /* bytes; INT64_MAX: none */
    uint64_t heap_min;          /* of malloc memory */
    bool malloc_collected;      /* mode collect */
};

/* The heap as it is now: not free, or not yet known to be. */
struct pacer_heap {
    uint64_t total;             /* both kinds of memory */
    uint64_t gc;                /* gc_alloc memory */
};

struct pacer_input {
    uint64_t malloc_live, gc_live;          /* reached from the roots by the cycle, or allocated
                                               while it marked */
    uint64_t kept;              /* heap bytes that are not live and that the sweep will not free
                                   either: newly condemned, what only they reach, cached slots */
    uint64_t gc_kept;           /* those of them that are gc_alloc memory */
    uint64_t roots;
    uint64_t malloc_condemned;  /* by the cycle: garbage found */
    uint64_t malloc_reclaimed;  /* by the cycle: garbage found by the one before */
    uint64_t overhead;          /* bytes that count against the limit and are not heap objects */
    uint64_t cost_ns;           /* processor time that the cycle cost, its faults and its sweep, too */

    /* Of the marking; all 0 if the world stood still. */
    struct pacer_heap at_end;   /* before the sweep: what was there at the start, and what came
                                   (less what the program freed) */
    uint64_t scan_work;         /* 0: as much as is live, and the roots */
    uint64_t worker_cpu_ns, assist_cpu_ns;  /* spent on it by our tasks, by allocating threads */
    uint64_t mutator_cpu_ns;    /* that the program had meanwhile, assists not counted */
    uint64_t napped_ns;         /* that its threads were kept waiting because marking was behind */
};

enum {
    PACER_RUNS = 4,             /* cycles whose rate is remembered, beside the last one's */
    PACER_RATIO_ONE = 256,      /* an assist ratio of one byte of work for each byte allocated */
};

/* The way from where a cycle started to where it should end, for one kind of heap. */
struct pacer_way {
    uint64_t start, goal, hard;
};

struct pacer {
    /* A cycle starts when both kinds of memory together have reached `trigger`, or gc_alloc memory
     * alone gc_trigger, lest the room that is left for malloc be filled with gc_alloc garbage.
     * UINT64_MAX: never. */
    uint64_t trigger, gc_trigger;
    /* Between `trigger` and this only if it is worth it: pacer_weigh. */
    uint64_t late_trigger;
    bool worth_it;              /* the next cycle: it need not wait any longer */
    /* Where its marking should be over. */
    uint64_t goal, gc_goal;
    /* The same without a memory limit: what counts while the limiter (limiter.h) is full. */
    uint64_t free_trigger, free_goal;
    bool limiting;              /* ... which the caller says here, at any time */
    bool cramped;               /* live memory fills the limit: it cannot be kept */
    /* What allocating a byte costs while marking, in work * PACER_RATIO_ONE: a byte of malloc
     * memory, of gc_alloc memory.  0: nothing, for marking is fast enough. */
    uint64_t assist, gc_assist;
    uint32_t stretch;           /* 1 to 8: by how much the malloc share of the distance grows */
    bool yields;                /* the last cycle found malloc garbage enough to pay */

    /* The pacer's own. */
    bool marking;
    uint64_t hard_goal, gc_hard_goal, free_hard_goal;   /* no extrapolation goes beyond */
    /* Of the running cycle. */
    struct pacer_way way, gc_way;
    uint64_t expected_work, most_work;
    uint64_t start_malloc_work; /* malloc memory that it must trace, live or not */
    uint64_t malloc_work;       /* the same of the last cycle */
    uint64_t gc_held;           /* gc_alloc memory at its largest, less a little for each cycle since */
    uint64_t rate[PACER_RUNS + 1];      /* bytes allocated for a byte of work, in 1/65536 */
    uint64_t gc_rate[PACER_RUNS + 1];
    struct pacer_input last;    /* of the last cycle; zeroes before the first */
};

/* The goals before the first cycle. */
void pacer_init(struct pacer *pacer, const struct pacer_knobs *knobs);
/* After a change of knobs: the goals anew, from what the last cycle found.  Also while marking. */
void pacer_retune(struct pacer *pacer, const struct pacer_knobs *knobs);

/* The program has used so much processor time since the last cycle was over, or since it began:
 * may the next cycle, which the trigger asks for, start?  The answer true stands until it does. */
bool pacer_weigh(struct pacer *pacer, struct pacer_heap now, uint64_t cpu_ns);
/* A cycle begins (not one that marks with the world stopped). */
void pacer_start_cycle(struct pacer *pacer, struct pacer_heap now);
/* The assist ratios anew.  `scanned`: work done by this cycle up to now. */
void pacer_revise(struct pacer *pacer, struct pacer_heap now, uint64_t scanned);
/* After a cycle. */
void pacer_update(struct pacer *pacer, const struct pacer_knobs *knobs,
                  const struct pacer_input *input);
/* Instead, when it was abandoned. */
void pacer_abandon_cycle(struct pacer *pacer);

/* Of a heap of so many bytes a cycle has reached so many: whatever the rest is, is its yield a poor one? */
bool pacer_is_fruitless(uint64_t heap, uint64_t reached);

/* How many of `cpus` processors mark in the background: a quarter, but at least one. */
INLINE unsigned pacer_workers(unsigned cpus)
{
    return cpus < 6 ? 1 : (cpus + 2) / 4;
}

/* Where the next cycle may start. */
INLINE uint64_t pacer_trigger(const struct pacer *pacer)
{
    return pacer->limiting ? pacer->free_trigger : pacer->trigger;
}

/* Where it must, whatever it costs. */
INLINE uint64_t pacer_late_trigger(const struct pacer *pacer)
{
    return pacer->worth_it ? pacer_trigger(pacer)
                           : max_size(pacer_trigger(pacer), pacer->late_trigger);
}

/* What allocating `bytes` costs at an assist ratio. */
INLINE uint64_t pacer_assist_work(uint64_t ratio, uint64_t bytes)
{
    return (uint64_t)((unsigned __int128)bytes * ratio / PACER_RATIO_ONE);
}

#endif
