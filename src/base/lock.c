/* lock.c -- see lock.h */
#include "base/lock.h"

#include "base/atomics.h"
#include "base/check.h"
#include "base/park.h"

enum { SPINS = 100 };

bool lock_try(struct lock *lock)
{
    uint32_t expected = 0;

    return cas_acquire(&lock->word, &expected, 1);
}

static uint64_t waits[LOCK_RANKS];      /* atomic, relaxed */

uint64_t lock_waits(enum lock_rank rank)
{
    return load_relaxed(&waits[rank]);
}

const char *lock_name(enum lock_rank rank)
{
    static const char *const names[] = {
#define LOCK_RANK(name, guards) #name,
#include "base/lock_ranks.def"
#undef LOCK_RANK
    };

    return names[rank];
}

static COLD void wait_for(struct lock *lock)
{
    fetch_add_relaxed(&waits[lock->rank], 1);
    for (int i = 0; i < SPINS; i++) {
        if (load_relaxed(&lock->word) == 0 && lock_try(lock))
            return;
        CPU_RELAX();
    }
    while (exchange_acquire(&lock->word, 2) != 0)
        park_wait(&lock->word, 2, PARK_FOREVER);
}

void lock_acquire(struct lock *lock)
{
    if (UNLIKELY(!lock_try(lock)))
        wait_for(lock);
}

void lock_release(struct lock *lock)
{
    ASSERT(lock_is_held(lock));
    if (exchange_acq_rel(&lock->word, 0) == 2)
        park_wake(&lock->word, 1);
}

void lock_reset(struct lock *lock)
{
    store_relaxed(&lock->word, 0);
}

bool lock_is_held(const struct lock *lock)
{
    return load_relaxed(&lock->word) != 0;
}
