/* limiter.c -- see limiter.h */
#include "gc/limiter.h"

#define CAPACITY_NS UINT64_C(1000000000)    /* of each processor */

static void settle(struct limiter *limiter, uint64_t fill)
{
    limiter->fill = fill;
    store_relaxed(&limiter->limiting, fill >= limiter->capacity);
}

void limiter_init(struct limiter *limiter, unsigned cpus, struct limiter_times now)
{
    *limiter = (struct limiter){
        .capacity = (cpus > 0 ? cpus : 1) * CAPACITY_NS, .cpus = cpus > 0 ? cpus : 1, .seen = now,
    };
}

void limiter_update(struct limiter *limiter, uint64_t gc_ns, uint64_t mutator_ns)
{
    uint64_t debt = gc_ns > limiter->capacity ? gc_ns : limiter->capacity;
    uint64_t ceiling, fill;

    if (__builtin_add_overflow(limiter->capacity, debt, &ceiling))
        ceiling = UINT64_MAX;
    if (ceiling < limiter->fill)
        ceiling = limiter->fill;
    if (__builtin_add_overflow(limiter->fill, gc_ns, &fill) || fill > ceiling)
        fill = ceiling;
    settle(limiter, fill > mutator_ns ? fill - mutator_ns : 0);
}

void limiter_advance(struct limiter *limiter, struct limiter_times now, bool idle_counts)
{
    const struct limiter_times *seen = &limiter->seen;

    if (now.clock_ns < seen->clock_ns || now.busy_ns < seen->busy_ns || now.gc_ns < seen->gc_ns)
        return;                 /* two callers' readings crossed: the next ones will tell all */
    uint64_t total = now.busy_ns - seen->busy_ns, used = now.gc_ns - seen->gc_ns;

    if (idle_counts && __builtin_mul_overflow(now.clock_ns - seen->clock_ns, limiter->cpus, &total))
        total = UINT64_MAX;
    limiter->seen = now;
    limiter_update(limiter, used, total > used ? total - used : 0);
}
