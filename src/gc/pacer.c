/* pacer.c -- see pacer.h
 *
 * Garbage of malloc is freed one cycle after it was found (the two-cycle rule), so in
 * a program that only leaks, what the last cycle condemned fills part of the room up to
 * the next goal.  The distance therefore counts from live + kept; it is
 * never less than half of heap_min, so that a small leaking program does not run
 * two cycles where one would do.
 */
#include "gc/pacer.h"

#include "base/bits.h"

enum {
    STRETCH_MAX = 8,
    /* Yield is judged as garbage / live.  Below the first, cycles are a waste; above the
     * second, they pay. */
    POOR_YIELD_SHARE = 16,
    GOOD_YIELD_SHARE = 4,
};

#define GC_HEAP_MIN (4 * MIB)   /* at 100 percent, as in Go */
#define DISTANCE_LEAST (64 * KIB)
/* Room above live memory that the limit cannot take away, or the program would do nothing but
 * collect: 1/20 and a bit. */
#define HEADROOM_SHARE 20
#define HEADROOM_LEAST MIB

static uint64_t add(uint64_t a, uint64_t b)
{
    uint64_t sum;

    return __builtin_add_overflow(a, b, &sum) ? UINT64_MAX : sum;
}

/* bytes * percent / 100 */
static uint64_t share(uint64_t bytes, uint64_t percent)
{
    unsigned __int128 product = (unsigned __int128)bytes * percent / 100;

    return product > UINT64_MAX ? UINT64_MAX : (uint64_t)product;
}

static uint64_t max_u64(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

static uint64_t min_u64(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* How far gc_alloc memory may grow.  Where malloc blocks are roots, tracing them is
 * part of the cost that the distance must earn. */
static uint64_t gc_distance(const struct pacer_knobs *knobs, const struct pacer_input *input)
{
    uint64_t percent = (uint64_t)knobs->percent;
    uint64_t traced = add(input->gc_live, input->roots);

    if (!knobs->malloc_collected)
        traced = add(traced, input->malloc_live);
    uint64_t distance = share(traced, percent);
    uint64_t least = share(GC_HEAP_MIN, percent);

    return add(input->gc_live, distance) < least ? least - input->gc_live : distance;
}

static uint64_t malloc_distance(const struct pacer *pacer, const struct pacer_knobs *knobs,
                                const struct pacer_input *input)
{
    uint64_t percent = (uint64_t)knobs->percent;
    uint64_t distance = share(input->malloc_live, percent * pacer->stretch);
    uint64_t base = add(input->malloc_live, input->kept);
    uint64_t least = max_u64(share(knobs->heap_min / 2, min_u64(percent, 100)), DISTANCE_LEAST);

    distance = max_u64(distance, least);
    return base < knobs->heap_min ? max_u64(distance, knobs->heap_min - base) : distance;
}

/* The limit's say.  Malloc garbage is there twice: what this cycle condemned, and what
 * is lost until the next; so each may have half of the room above live. */
static uint64_t limited(uint64_t goal, const struct pacer_knobs *knobs,
                        const struct pacer_input *input)
{
    if (knobs->memory_limit == INT64_MAX)
        return goal;
    uint64_t limit = (uint64_t)knobs->memory_limit;
    uint64_t live = add(input->malloc_live, input->gc_live);
    uint64_t remains = add(live, input->kept);
    uint64_t least = add(remains, add(remains / HEADROOM_SHARE, HEADROOM_LEAST));
    uint64_t room = limit > input->overhead ? limit - input->overhead : 0;

    if (knobs->malloc_collected && room > live)
        room = min_u64(room, add(remains, (room - live) / 2));
    return max_u64(min_u64(goal, room), least);
}

void pacer_retune(struct pacer *pacer, const struct pacer_knobs *knobs)
{
    const struct pacer_input *input = &pacer->last;
    uint64_t remains = add(add(input->malloc_live, input->gc_live), input->kept);

    pacer->goal = pacer->gc_goal = UINT64_MAX;
    if (knobs->percent >= 0) {
        uint64_t gc = gc_distance(knobs, input);
        pacer->gc_goal = add(input->gc_live, gc);
        /* A heap without gc_alloc objects leaves them no room to fill. */
        if (knobs->malloc_collected && input->gc_live == 0)
            gc = 0;
        pacer->goal = add(remains, gc);
        if (knobs->malloc_collected)
            pacer->goal = add(pacer->goal, malloc_distance(pacer, knobs, input));
    }
    pacer->goal = limited(pacer->goal, knobs, input);
}

void pacer_init(struct pacer *pacer, const struct pacer_knobs *knobs)
{
    *pacer = (struct pacer){ .stretch = 1 };
    pacer_retune(pacer, knobs);
}

static void judge_yield(struct pacer *pacer, const struct pacer_input *input)
{
    uint64_t garbage = max_u64(input->malloc_condemned, input->malloc_reclaimed);

    if (garbage < input->malloc_live / POOR_YIELD_SHARE)
        pacer->stretch = (uint32_t)min_size((size_t)pacer->stretch * 2, STRETCH_MAX);
    else if (garbage > input->malloc_live / GOOD_YIELD_SHARE)
        pacer->stretch = 1;
    else
        pacer->stretch = (uint32_t)max_size(pacer->stretch / 2, 1);
}

void pacer_update(struct pacer *pacer, const struct pacer_knobs *knobs,
                  const struct pacer_input *input)
{
    if (knobs->malloc_collected)
        judge_yield(pacer, input);
    pacer->last = *input;
    pacer_retune(pacer, knobs);
}
