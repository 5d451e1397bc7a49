/* pacer.c -- see pacer.h
 *
 * Garbage of malloc is freed one cycle after it was found (the two-cycle rule), so in
 * a program that only leaks, what the last cycle condemned fills part of the room up to
 * the next goal.  The distance therefore counts from live + kept; it is
 * never less than half of heap_min, so that a small leaking program does not run
 * two cycles where one would do.
 *
 * Assists.  While marking, the way from the heap at the start to the goal and the
 * work expected are two roads of the same length; nobody pays as long as marking is
 * ahead, by the workers alone as a rule.  When it has fallen behind, each byte
 * allocated costs what work remains per byte that remains, until it is ahead again.  gc_alloc
 * memory is free of that for the first eighth of its way, malloc memory for the first
 * half: Go's programs expect such a tax, C's do not, and one that frees as much as it
 * allocates never comes that far.
 */
#include "gc/pacer.h"

#include "base/bits.h"

enum {
    STRETCH_MAX = 8,
    /* Yield is judged as garbage / live.  Below the first, cycles are a waste; above the
     * second, they pay. */
    POOR_YIELD_SHARE = 16,
    GOOD_YIELD_SHARE = 4,
    /* The trigger lies between these 64ths of the way from what remains to the goal.  Lower: a
     * program that fast must assist anyway.  Higher: nothing is left for a sudden change.  What
     * gc_alloc gives out while a cycle marks stays until the next, so its way is short, and assists
     * begin early. */
    TRIGGER_LEAST = 45, GC_TRIGGER_LEAST = 52,
    TRIGGER_MOST = 61,
    /* Parts of the way for which nobody assists. */
    GC_GRACE = 8,
    MALLOC_GRACE = 2,
    OVERHEAD_SHARE = 4,         /* of a distance is given up for what is no object, at most */
    HELD_SHARE = 256,           /* by which the heap that was held may shrink in a cycle */
    WAITED_SHARE = 8,           /* of what marking may be late by, after a cycle that has waited */
    /* Once behind the goal, this many hundredths of it are left to finish in. */
    OVERSHOOT = 110,
    /* More than this a byte never costs: by then marking ends within a 64th of the heap. */
    RATIO_MAX = 64 * PACER_RATIO_ONE,
    /* Marking is never known to be over: who aims a little high misses by little. */
    WORK_LEAST = 1000,
    RATE_BITS = 16,             /* fraction of pacer->rate */
    /* A cycle may cost this many hundredths of the program's processor time since the last one: what
     * is not counted, such as caches that marking has emptied, comes on top. */
    COST_PERCENT = 2,
    FIRST_NS_PER_KIB = 250,     /* what marking costs before it is known */
    NS_BITS = 10,               /* processor time counts by 1024 ns */
    SLOWED_MAX = 64,            /* assists have slowed allocation by this much at most */
    /* Hundredths of the room under the limit that stay free: pacing is not exact, and memory holds
     * some MiB that nobody counts, such as free pages not yet returned. Go: 3. */
    HEADROOM_PERCENT = 5,
    /* Live memory that the limit leaves no room for may still grow by this share of it between two
     * cycles, which that headroom covers; then the limiter (limiter.h) sees to it that the program
     * gets on. */
    CRAMPED_SHARE = 32,
};

#define GC_HEAP_MIN (11 * MIB)   /* at 100 percent; less is not worth a cycle's fixed costs */
#define RUNWAY_ENOUGH (4 * MIB) /* a trigger this near to the goal is not too near */
#define DISTANCE_LEAST (64 * KIB)
#define PATIENCE_ENOUGH GIB     /* what a cycle may be put off by beyond a second distance */
#define HEADROOM_LEAST MIB
#define CRAMPED_LEAST MIB
/* What the first cycle may cost beyond its share: one of 64 MiB need not wait. */
#define FIRST_CREDIT_NS UINT64_C(20000000)

static uint64_t add(uint64_t a, uint64_t b)
{
    uint64_t sum;

    return __builtin_add_overflow(a, b, &sum) ? UINT64_MAX : sum;
}

/* a - b, at least 0 */
static uint64_t less(uint64_t a, uint64_t b)
{
    return a > b ? a - b : 0;
}

/* a * b / c */
static uint64_t scale(uint64_t a, uint64_t b, uint64_t c)
{
    unsigned __int128 quotient = (unsigned __int128)a * b / c;

    return quotient > UINT64_MAX ? UINT64_MAX : (uint64_t)quotient;
}

static uint64_t max_u64(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

static uint64_t min_u64(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* --- goals ------------------------------------------------------------------- */

/* Metadata and what was free in spans have been paid for in memory already, and count as growth: gc_alloc's
 * share of them, but not so much that fragments would rule, nor where a heap is so small that its cycles
 * cost more than that memory. */
static uint64_t gc_overhead(const struct pacer_input *last, uint64_t distance)
{
    uint64_t live = add(last->malloc_live, last->gc_live);
    uint64_t share = live == 0 ? 0 : scale(last->overhead, last->gc_live, live);

    return min_u64(share, distance / OVERHEAD_SHARE);
}

/* How far gc_alloc memory may grow; malloc_live: if tracing it is part of the cost that this
 * distance must earn.  Memory that the heap has had lately costs nothing more, and saves a small
 * heap half of its cycles: up to the least heap's size is used again before it is given up. */
static uint64_t gc_distance(const struct pacer *pacer, const struct pacer_knobs *knobs,
                            uint64_t malloc_live)
{
    const struct pacer_input *last = &pacer->last;
    uint64_t percent = (uint64_t)knobs->percent;
    uint64_t traced = add(add(last->gc_live, last->roots), malloc_live);
    uint64_t distance = scale(traced, percent, 100);
    uint64_t least = scale(GC_HEAP_MIN, percent, 100);

    distance = max_u64(less(distance, gc_overhead(last, distance)),
                       min_u64(distance, add(least, least / 2)));
    distance = max_u64(distance, less(least, last->gc_live));
    return max_u64(distance, min_u64(less(pacer->gc_held, add(last->gc_live, last->gc_kept)),
                                     add(distance, least)));
}

static uint64_t malloc_distance(const struct pacer *pacer, const struct pacer_knobs *knobs,
                                const struct pacer_input *input)
{
    uint64_t percent = (uint64_t)knobs->percent;
    uint64_t distance = scale(input->malloc_live, percent * pacer->stretch, 100);
    uint64_t base = add(input->malloc_live, less(input->kept, input->gc_kept));
    uint64_t least = max_u64(scale(knobs->heap_min / 2, min_u64(percent, 100), 100),
                             DISTANCE_LEAST);

    distance = max_u64(distance, least);
    return base < knobs->heap_min ? max_u64(distance, knobs->heap_min - base) : distance;
}

/* What the limit leaves for the heap.  Malloc garbage is there twice: what this cycle
 * condemned, and what is lost until the next; so each may have half of the room above live. */
static uint64_t limit_goal(const struct pacer_knobs *knobs, const struct pacer_input *input)
{
    uint64_t live = add(input->malloc_live, input->gc_live);
    uint64_t remains = add(live, input->kept);
    uint64_t room = less((uint64_t)knobs->memory_limit, input->overhead);

    room = less(room, max_u64(scale(room, HEADROOM_PERCENT, 100), HEADROOM_LEAST));
    if (knobs->malloc_collected && room > live)
        room = min_u64(room, add(remains, (room - live) / 2));
    return max_u64(room, add(remains, max_u64(live / CRAMPED_SHARE, CRAMPED_LEAST)));
}

/* --- triggers ------------------------------------------------------------------ */

/* How much will be allocated while so much is marked.  The worst of the last cycles
 * counts: a trigger too early costs less than one too late. */
static uint64_t runway(const uint64_t *rate, uint64_t work)
{
    uint64_t worst = 0;

    for (int i = 0; i <= PACER_RUNS; i++)
        worst = max_u64(worst, rate[i]);
    return scale(worst, work, 1 << RATE_BITS);
}

/* In mode collect a cycle traces all malloc blocks, the unreachable ones too, except those
 * that it finds condemned. */
static uint64_t malloc_work(const struct pacer_input *last, uint64_t malloc_bytes)
{
    return less(malloc_bytes, last->malloc_condemned);
}

/* The work of a cycle that starts with so much malloc memory: as much as the last had, and for
 * what has changed in between. */
static uint64_t work_for(const struct pacer *pacer, uint64_t malloc_bytes)
{
    const struct pacer_input *last = &pacer->last;
    uint64_t work = add(last->scan_work, malloc_work(last, malloc_bytes));

    return max_u64(less(work, pacer->malloc_work), last->scan_work / 4);
}

static uint64_t trigger(uint64_t remains, uint64_t goal, uint64_t runway_bytes, unsigned least_64ths)
{
    uint64_t distance = less(goal, remains);
    uint64_t least = remains + scale(distance, least_64ths, 64);
    uint64_t most = max_u64(remains + scale(distance, TRIGGER_MOST, 64),
                            less(goal, RUNWAY_ENOUGH));

    if (goal == UINT64_MAX)
        return UINT64_MAX;
    return max_u64(least, min_u64(most, less(goal, runway_bytes)));
}

static void tune_gc(struct pacer *pacer, const struct pacer_knobs *knobs)
{
    const struct pacer_input *last = &pacer->last;
    uint64_t remains = add(last->gc_live, last->gc_kept);

    pacer->gc_goal = add(remains, gc_distance(pacer, knobs, last->malloc_live));
    pacer->gc_trigger = trigger(remains, pacer->gc_goal,
                                runway(pacer->gc_rate, last->scan_work), GC_TRIGGER_LEAST);
}

/* The trigger for pacer->goal. */
static void tune_trigger(struct pacer *pacer, const struct pacer_knobs *knobs, uint64_t gc_bytes)
{
    const struct pacer_input *last = &pacer->last;
    uint64_t remains = add(add(last->malloc_live, last->gc_live), last->kept);
    uint64_t way = runway(pacer->rate, last->scan_work);

    if (knobs->malloc_collected)
        way = runway(pacer->rate, work_for(pacer, less(pacer->goal, add(way, gc_bytes))));
    pacer->trigger = trigger(remains, pacer->goal, way, TRIGGER_LEAST);
}

/* heap_min is a promise not to collect, not a size to end at: moves the trigger up to it, and the
 * goal out of its way. */
static void respect_heap_min(struct pacer *pacer, const struct pacer_knobs *knobs)
{
    uint64_t floor = add(pacer->last.gc_live, knobs->heap_min);
    uint64_t way = runway(pacer->rate, pacer->last.scan_work);

    if (pacer->trigger >= floor)
        return;
    way = min_u64(max_u64(way, knobs->heap_min / 16), knobs->heap_min / 4);
    pacer->trigger = floor;
    pacer->goal = max_u64(pacer->goal, add(floor, way));
}

static void tune_total(struct pacer *pacer, const struct pacer_knobs *knobs)
{
    const struct pacer_input *last = &pacer->last;
    uint64_t gc = gc_distance(pacer, knobs, knobs->malloc_collected ? 0 : last->malloc_live);

    /* A heap without gc_alloc objects leaves them no room to fill. */
    if (knobs->malloc_collected && last->gc_live == 0)
        gc = 0;
    pacer->goal = add(add(add(last->malloc_live, last->gc_live), last->kept), gc);
    if (knobs->malloc_collected)
        pacer->goal = add(pacer->goal, malloc_distance(pacer, knobs, last));
    tune_trigger(pacer, knobs, add(add(last->gc_live, last->gc_kept), gc));
    if (knobs->malloc_collected)
        respect_heap_min(pacer, knobs);
}

/* How far a cycle may be put off.  Not known yet whether there is garbage: twice the distance.
 * There was next to none: as far as the longest stretch would go, but of a large heap not by several
 * times of what memory there is. */
static void tune_patience(struct pacer *pacer, const struct pacer_knobs *knobs)
{
    const struct pacer_input *last = &pacer->last;
    uint64_t remains = add(add(last->malloc_live, last->gc_live), last->kept);
    uint64_t times = pacer->stretch == 1 ? 2 : STRETCH_MAX / pacer->stretch;
    uint64_t distance = less(pacer->trigger, remains), later = scale(distance, times - 1, 1);

    pacer->worth_it = false;
    pacer->late_trigger = pacer->trigger;
    if (knobs->malloc_collected && !pacer->yields)
        pacer->late_trigger = add(pacer->trigger, min_u64(later, max_u64(distance, PATIENCE_ENOUGH)));
}

/* A goal for later: all that is live now may turn out to have grown by as much as the next goal
 * will allow for. */
static uint64_t hard_goal(const struct pacer_knobs *knobs, uint64_t goal)
{
    return knobs->percent < 0 ? goal : add(goal, scale(goal, (uint64_t)knobs->percent, 100));
}

static void obey_limit(struct pacer *pacer, const struct pacer_knobs *knobs)
{
    const struct pacer_input *last = &pacer->last;

    pacer->cramped = false;
    if (knobs->memory_limit == INT64_MAX)
        return;
    uint64_t goal = limit_goal(knobs, last);
    uint64_t room = less((uint64_t)knobs->memory_limit, last->overhead);
    uint64_t live = add(last->malloc_live, last->gc_live);

    pacer->cramped = add(live, live / CRAMPED_SHARE) > (uint64_t)knobs->memory_limit;
    if (goal < pacer->goal) {
        pacer->goal = goal;
        tune_trigger(pacer, knobs, add(last->gc_live, last->gc_kept));
    }
    uint64_t latest = less(goal, less(pacer->goal, pacer->trigger));

    pacer->late_trigger = max_u64(pacer->trigger, min_u64(pacer->late_trigger, latest));
    pacer->hard_goal = max_u64(pacer->goal, min_u64(pacer->hard_goal, room));
}

/* The way of the running cycle: at least a step, for the trigger may have been passed by a large
 * block, or the goal moved. */
static void set_way(struct pacer_way *way, uint64_t goal, uint64_t hard)
{
    way->goal = max_u64(goal, add(way->start, DISTANCE_LEAST));
    way->hard = max_u64(hard, way->goal);
}

/* While cycles find next to no malloc garbage, what is allocated is needed anyway: marking may be
 * late for the goal, unless the memory limit has set that.  Only a little late if the cycle has waited:
 * then a leak is large already, and as much again would be lost while it is marked. */
static void set_ways(struct pacer *pacer)
{
    bool limiting = pacer->limiting;
    bool lenient = pacer->stretch > 1 && (limiting || pacer->goal == pacer->free_goal);
    uint64_t goal = limiting ? pacer->free_goal : pacer->goal;
    uint64_t hard = limiting ? pacer->free_hard_goal : pacer->hard_goal;
    /* Who was told to wait has as long a way from there. */
    uint64_t waited = less(min_u64(pacer->way.start, pacer->late_trigger), pacer->trigger);
    uint64_t late = lenient ? less(hard, goal) / (waited == 0 ? 1 : WAITED_SHARE) : 0;

    set_way(&pacer->way, add(goal, add(late, waited)), add(hard, waited));
    set_way(&pacer->gc_way, pacer->gc_goal, pacer->gc_hard_goal);
}

void pacer_retune(struct pacer *pacer, const struct pacer_knobs *knobs)
{
    pacer->goal = pacer->gc_goal = pacer->trigger = pacer->gc_trigger = UINT64_MAX;
    if (knobs->percent >= 0) {
        tune_gc(pacer, knobs);
        tune_total(pacer, knobs);
    }
    tune_patience(pacer, knobs);
    pacer->free_goal = pacer->goal;
    pacer->free_trigger = pacer->trigger;
    pacer->hard_goal = pacer->free_hard_goal = hard_goal(knobs, pacer->goal);
    pacer->gc_hard_goal = hard_goal(knobs, pacer->gc_goal);
    obey_limit(pacer, knobs);
}

void pacer_init(struct pacer *pacer, const struct pacer_knobs *knobs)
{
    *pacer = (struct pacer){ .stretch = 1 };
    pacer_retune(pacer, knobs);
}

/* --- is it worth it ---------------------------------------------------------------- */

/* As much for each byte of work as in the last cycle. */
static uint64_t expected_cost_ns(const struct pacer *pacer, struct pacer_heap now)
{
    const struct pacer_input *last = &pacer->last;

    if (last->scan_work == 0)
        return scale(now.total, FIRST_NS_PER_KIB, KIB);
    return scale(last->cost_ns, work_for(pacer, less(now.total, now.gc)), last->scan_work);
}

bool pacer_weigh(struct pacer *pacer, struct pacer_heap now, uint64_t cpu_ns)
{
    uint64_t may_cost_ns = scale(cpu_ns, COST_PERCENT, 100);

    if (pacer->last.scan_work == 0)
        may_cost_ns = add(may_cost_ns, FIRST_CREDIT_NS);
    pacer->worth_it = now.gc >= pacer->gc_trigger || now.total >= pacer_late_trigger(pacer) ||
                      expected_cost_ns(pacer, now) <= may_cost_ns;
    return pacer->worth_it;
}

bool pacer_is_fruitless(uint64_t heap, uint64_t reached)
{
    return less(heap, reached) < reached / POOR_YIELD_SHARE;
}

/* --- while marking --------------------------------------------------------------- */

/* Where marking should end after all.  If it has done more than expected, more is live than at the
 * last cycle.  If all is, at this rate it ends there; the next goal will be higher still. */
static uint64_t moved_goal(const struct pacer *pacer, const struct pacer_way *way, uint64_t scanned)
{
    if (scanned <= pacer->expected_work)
        return way->goal;
    uint64_t length = scale(way->goal - way->start, pacer->most_work, pacer->expected_work);

    return min_u64(way->hard, add(way->start, length));
}

static uint64_t assist_ratio(const struct pacer *pacer, const struct pacer_way *way, uint64_t now,
                             uint64_t scanned, uint64_t grace)
{
    uint64_t work = scanned > pacer->expected_work ? pacer->most_work : pacer->expected_work;
    uint64_t goal = moved_goal(pacer, way, scanned);
    uint64_t gone = less(now, way->start), length = goal - way->start;

    if (goal == UINT64_MAX)
        return 0;
    if (now > goal) {
        goal = scale(goal, OVERSHOOT, 100);
        work = pacer->most_work;
    } else if (gone <= length / grace ||
               (unsigned __int128)gone * work <= (unsigned __int128)scanned * length) {
        return 0;               /* marking is ahead */
    }
    uint64_t work_left = max_u64(less(work, scanned), WORK_LEAST);

    return min_u64(RATIO_MAX, scale(work_left, PACER_RATIO_ONE, max_u64(less(goal, now), 1)));
}

void pacer_revise(struct pacer *pacer, struct pacer_heap now, uint64_t scanned)
{
    if (!pacer->marking)
        return;
    set_ways(pacer);  /* the knobs may have changed, too */
    pacer->assist = assist_ratio(pacer, &pacer->way, now.total, scanned, MALLOC_GRACE);
    /* gc_alloc memory is on both ways: with GOGC off and a limit, only on the first. */
    pacer->gc_assist = max_u64(pacer->assist, assist_ratio(pacer, &pacer->gc_way, now.gc, scanned,
                                                           GC_GRACE));
}

void pacer_start_cycle(struct pacer *pacer, struct pacer_heap now)
{
    uint64_t malloc_bytes = less(now.total, now.gc);

    pacer->marking = true;
    pacer->way.start = now.total;
    pacer->gc_way.start = now.gc;
    pacer->most_work = max_u64(add(now.total, pacer->last.roots), 1);
    pacer->expected_work = work_for(pacer, malloc_bytes);
    if (pacer->last.scan_work == 0)     /* the first: nothing is known */
        pacer->expected_work = pacer->most_work;
    pacer->most_work = max_u64(pacer->most_work, pacer->expected_work);
    pacer->start_malloc_work = malloc_work(&pacer->last, malloc_bytes);
    pacer_revise(pacer, now, 0);
}

/* --- after a cycle ----------------------------------------------------------------- */

static void judge_yield(struct pacer *pacer, const struct pacer_input *input)
{
    uint64_t garbage = max_u64(input->malloc_condemned, input->malloc_reclaimed);

    pacer->yields = garbage >= input->malloc_live / POOR_YIELD_SHARE;
    if (!pacer->yields)
        pacer->stretch = (uint32_t)min_size((size_t)pacer->stretch * 2, STRETCH_MAX);
    else if (garbage > input->malloc_live / GOOD_YIELD_SHARE)
        pacer->stretch = 1;
    else
        pacer->stretch = (uint32_t)max_size(pacer->stretch / 2, 1);
}

/* By how much more would have been allocated for the same work without assists, which take time from the
 * one and add it to the other, and without waiting, which only takes it.  In 1/65536. */
static uint64_t slowed(const struct pacer_input *input, uint64_t napped_ns)
{
    const uint64_t one = 1 << RATE_BITS;
    uint64_t worker = input->worker_cpu_ns >> NS_BITS, mutator = input->mutator_cpu_ns >> NS_BITS;
    uint64_t assist = input->assist_cpu_ns >> NS_BITS, napped = napped_ns >> NS_BITS;

    if (assist == 0 && napped == 0)
        return one;
    if (worker == 0 || mutator == 0)
        return one * SLOWED_MAX;
    uint64_t faster = scale(add(add(mutator, assist), napped), one, mutator);

    return min_u64(scale(faster, add(worker, assist), worker), one * SLOWED_MAX);
}

static void remember_rate(uint64_t *rate, uint64_t grown, const struct pacer_input *input,
                          uint64_t napped_ns)
{
    for (int i = PACER_RUNS; i > 0; i--)
        rate[i] = rate[i - 1];
    rate[0] = scale(grown, slowed(input, napped_ns), input->scan_work);
}

/* Not what went past the goal: that would raise the next one, and so on. */
static void remember_held(struct pacer *pacer, const struct pacer_input *input)
{
    uint64_t reached = min_u64(input->at_end.gc, pacer->gc_goal);

    pacer->gc_held = max_u64(reached, pacer->gc_held - pacer->gc_held / HELD_SHARE);
}

void pacer_update(struct pacer *pacer, const struct pacer_knobs *knobs,
                  const struct pacer_input *input)
{
    struct pacer_input *last = &pacer->last;

    if (knobs->malloc_collected)
        judge_yield(pacer, input);
    remember_held(pacer, input);
    *last = *input;
    if (last->scan_work == 0)
        last->scan_work = add(add(input->malloc_live, input->gc_live), input->roots);
    if (pacer->marking && last->scan_work != 0) {
        /* Those who allocate from malloc wait rather than have their cycles more often. */
        remember_rate(pacer->rate, less(input->at_end.total, pacer->way.start), last, 0);
        remember_rate(pacer->gc_rate, less(input->at_end.gc, pacer->gc_way.start), last,
                      input->napped_ns);
    }
    pacer->malloc_work = pacer->marking ? pacer->start_malloc_work
                                        : add(input->malloc_live, input->malloc_condemned);
    pacer_abandon_cycle(pacer);
    pacer_retune(pacer, knobs);
}

void pacer_abandon_cycle(struct pacer *pacer)
{
    pacer->marking = false;
    pacer->assist = pacer->gc_assist = 0;
}
