/* limiter.h -- may the collector have more processor time: pure arithmetic
 *
 * PURPOSE  Under a memory limit that live memory does not leave room for, cycles would follow each
 *          other and the program would stand still.  Here is a leaky bucket, as Go's: the
 *          collector's time fills it, the program's drains it.  While it is full, cycles
 *          start, and allocations assist, as if there were no limit: the collector gets half of
 *          the processors' time, and the limit is exceeded.  Without a limit it has no say:
 *          the distance between cycles is in proportion to their cost then.
 *
 *          Time in which a processor is idle counts as the program's as long as the limit can be
 *          kept: nobody else wants it.  When live memory does not fit, it is spent for nothing, so
 *          the collector gets half of what the process uses, as in Go.
 *
 *          The bucket's size, a second of each processor, lets short bursts pass.  What a cycle
 *          takes beyond it is a debt and must be drained as well, for our cycles are not cut
 *          short when the bucket overflows: one with the world stopped has all processors.
 *          The debt is at most the last cycle's time, or the bucket once more: a program
 *          that asked for a minute of cycles is not left without any for another.
 * LOCKING  None: one caller at a time; limiter_limiting may be called by anybody.
 */
#ifndef GCALLOC_GC_LIMITER_H
#define GCALLOC_GC_LIMITER_H

#include "base/atomics.h"

/* Up to now, ns. */
struct limiter_times {
    uint64_t clock_ns;          /* any clock that goes on */
    uint64_t busy_ns;           /* processor time of the whole process */
    uint64_t gc_ns;             /* the collector's; not missing a running cycle's share */
};

struct limiter {
    uint64_t capacity;          /* ns of processor time */
    uint64_t fill;              /* above capacity: debt */
    uint64_t cpus;
    struct limiter_times seen;  /* at the last limiter_advance */
    uint32_t limiting;          /* atomic, relaxed */
};

void limiter_init(struct limiter *limiter, unsigned cpus, struct limiter_times now);
/* The collector has had gc_ns of processor time, and the program (or nobody) mutator_ns. */
void limiter_update(struct limiter *limiter, uint64_t gc_ns, uint64_t mutator_ns);
/* The same from what has passed since the last time: all other time of all processors was the program's
 * (idle_counts), or all other time of the process. */
void limiter_advance(struct limiter *limiter, struct limiter_times now, bool idle_counts);

INLINE bool limiter_limiting(const struct limiter *limiter)
{
    return load_relaxed(&limiter->limiting) != 0;
}

#endif
