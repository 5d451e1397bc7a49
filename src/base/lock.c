/* lock.c -- see lock.h */
#include "base/lock.h"

#include "base/atomics.h"
#include "base/check.h"
#include "base/park.h"

enum { SPINS = 100 };

static uint64_t waits[LOCK_RANKS];      /* atomic, relaxed */
/* MODE=debug: the task that holds the lock of a rank, 0: none.  Atomic, relaxed: a task looks for its own
 * number, which nobody else stores. */
static int holder[LOCK_RANKS];

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

static void check_order(const struct lock *lock)
{
    int self = sys_gettid();

    for (uint32_t rank = lock->rank; rank < LOCK_RANKS; rank++)
        if (load_relaxed(&holder[rank]) == self)
            die("internal error: lock %s wanted by thread %d, which holds %s", lock_name(lock->rank),
                self, lock_name(rank));
}

static bool take(struct lock *lock)
{
    uint32_t expected = 0;

    return cas_acquire(&lock->word, &expected, 1);
}

static COLD void wait_for(struct lock *lock)
{
    fetch_add_relaxed(&waits[lock->rank], 1);
    for (int i = 0; i < SPINS; i++) {
        if (load_relaxed(&lock->word) == 0 && take(lock))
            return;
        CPU_RELAX();
    }
    while (exchange_acquire(&lock->word, 2) != 0)
        park_wait(&lock->word, 2, PARK_FOREVER);
}

void lock_acquire(struct lock *lock)
{
    if (CHECKED)
        check_order(lock);
    if (UNLIKELY(!take(lock)))
        wait_for(lock);
    if (CHECKED)
        store_relaxed(&holder[lock->rank], sys_gettid());
}

bool lock_try(struct lock *lock)
{
    bool taken = take(lock);

    if (CHECKED && taken)
        store_relaxed(&holder[lock->rank], sys_gettid());
    return taken;
}

void lock_release(struct lock *lock)
{
    ASSERT(lock_is_held(lock));
    if (CHECKED)
        store_relaxed(&holder[lock->rank], 0);
    if (exchange_acq_rel(&lock->word, 0) == 2)
        park_wake(&lock->word, 1);
}

void lock_reset(struct lock *lock)
{
    store_relaxed(&lock->word, 0);
    if (CHECKED)
        store_relaxed(&holder[lock->rank], 0);
}

bool lock_is_held(const struct lock *lock)
{
    return load_relaxed(&lock->word) != 0;
}
