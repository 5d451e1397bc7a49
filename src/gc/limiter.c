/* limiter.c -- see limiter.h */
#include "gc/limiter.h"

#define CAPACITY_NS UINT64_C(1000000000)    /* of each processor */

static void settle(struct limiter *limiter, uint64_t fill)
{
    limiter->fill = fill;
    store_relaxed(&limiter->limiting, fill >= limiter->capacity);
}

void limiter_init(struct limiter *limiter, unsigned cpus, uint64_t now_ns, uint64_t gc_ns)
{
    *limiter = (struct limiter){
        .capacity = (cpus > 0 ? cpus : 1) * CAPACITY_NS, .cpus = cpus > 0 ? cpus : 1,
        .seen_ns = now_ns, .seen_gc_ns = gc_ns,
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

void limiter_advance(struct limiter *limiter, uint64_t now_ns, uint64_t gc_ns)
{
    if (now_ns < limiter->seen_ns || gc_ns < limiter->seen_gc_ns)
        return;                 /* two callers' readings crossed: the next ones will tell all */
    uint64_t total, used = gc_ns - limiter->seen_gc_ns;

    if (__builtin_mul_overflow(now_ns - limiter->seen_ns, limiter->cpus, &total))
        total = UINT64_MAX;
    limiter->seen_ns = now_ns;
    limiter->seen_gc_ns = gc_ns;
    limiter_update(limiter, used, total > used ? total - used : 0);
}
