/* lock.h -- mutual exclusion on a futex, with a rank
 *
 * PURPOSE    Locks that need no libc, can be taken by the collector's own tasks,
 *            and can be reset in a forked child.
 * INVARIANT  Critical sections are bounded and never wait for the world, so a
 *            mutator that waits here keeps its in_runtime flag set (thread.h).
 */
#ifndef GCALLOC_BASE_LOCK_H
#define GCALLOC_BASE_LOCK_H

#include "base/compiler.h"

enum lock_rank {
#define LOCK_RANK(name, guards) RANK_##name,
#include "base/lock_ranks.def"
#undef LOCK_RANK
    LOCK_RANKS
};

struct lock {
    uint32_t word;      /* atomic: 0 free, 1 held, 2 held and somebody sleeps */
    uint32_t rank;      /* constant; enum lock_rank */
};

#define LOCK_INIT(name) { 0, RANK_##name }

/* None is recursive. */
void lock_acquire(struct lock *lock);
/* Without waiting.  True: it was free, and is the caller's. */
bool lock_try(struct lock *lock);
void lock_release(struct lock *lock);
/* By whomever: for assertions. */
bool lock_is_held(const struct lock *lock);
/* In a forked child, where the holder may not exist any more. */
void lock_reset(struct lock *lock);

/* How often somebody found a lock of this rank held. */
uint64_t lock_waits(enum lock_rank rank);
const char *lock_name(enum lock_rank rank);

#endif
