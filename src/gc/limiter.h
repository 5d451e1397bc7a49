/* limiter.h -- may the collector have more processor time: pure arithmetic
 *
 * PURPOSE  Under a memory limit that live memory does not leave room for, cycles would follow each
 *          other and the program would stand still.  Here is a leaky bucket, as Go's: the
 *          collector's time fills it, the program's drains it.  While it is full, cycles
 *          start, and allocations assist, as if there were no limit: the collector gets half of
 *          the processors' time, and the limit is exceeded.  Without a limit it has no say:
 *          the distance between cycles is in proportion to their cost then.
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

struct limiter {
    uint64_t capacity;          /* ns of processor time */
    uint64_t fill;              /* above capacity: debt */
    uint64_t cpus;
    uint64_t seen_ns, seen_gc_ns;   /* at the last limiter_advance */
    uint32_t limiting;          /* atomic, relaxed */
};

/* `now_ns` is any clock that goes on; gc_ns the collector's processor time up to now. */
void limiter_init(struct limiter *limiter, unsigned cpus, uint64_t now_ns, uint64_t gc_ns);
/* The collector has had gc_ns of processor time, and the program (or nobody) mutator_ns. */
void limiter_update(struct limiter *limiter, uint64_t gc_ns, uint64_t mutator_ns);
/* The same from the clock and the sum of the collector's processor time: all other time of all
 * processors was the program's.  gc_ns must be up to date, not missing a running cycle's share. */
void limiter_advance(struct limiter *limiter, uint64_t now_ns, uint64_t gc_ns);

INLINE bool limiter_limiting(const struct limiter *limiter)
{
    return load_relaxed(&limiter->limiting) != 0;
}

#endif
