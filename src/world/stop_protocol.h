/* stop_protocol.h -- what the stopper and the stopped share
 *
 * PURPOSE    The protocol that stops every task of the process: stop.c is the side of the
 *            stopper, stop_answer.c that of the tasks.
 *
 * The stopper, holding WORLD, raises the generation to an odd number and gives each thread
 * that is known a slot; then, for each:
 *
 *     a thread in state PARKED     is made HELD: no signal
 *     anybody else                 its slot's word becomes the generation's token, and it
 *                                  is sent the stop signal
 *
 * and waits until every token is answered.  Then it lists the tasks and does the same with
 * those that have no slot, until a listing is complete (tasklist.h) and shows nobody new.
 * A task that is stopped makes no threads, so that ends.
 *
 *     word of a slot       written by                 meaning
 *     token(generation)    stopper                    signalled, has not answered
 *     address of a record  the task, cas from token   stopped; the record is on its stack
 *     SLOT_HELD            stopper, cas from token    parked and held
 *     SLOT_ZOMBIE          stopper, cas from token    ended, but still listed
 *     SLOT_GONE            stopper, cas from token    ended
 *     SLOT_KERNELS         stopper, cas from token    the kernel's: takes no signal, runs no program
 *
 * A task answers in the handler, or, when the handler found it in the runtime and only left
 * a note, in world_park_self at the end of the slow path (I4).  Then it sleeps
 * until the generation is another.  The stopper never waits for tasks to wake up.
 *
 * Note [LATE]  A handler may be arbitrarily late: delivered after its stop was given up,
 * or still reading the table when the next stop fills it.  Nothing a late one does counts:
 * it answers by compare-and-swap from the token of the generation that it read
 * before it looked up its slot, tokens are never used twice, and it writes nothing else.
 * If the swap succeeds the stop of that generation is in progress and counts it.  Tables are
 * never unmapped, indices read from them are checked.  One that leaves its handler while
 * the next stop begins has the signal blocked until it is out: it is stopped then.
 *
 * Note [OURS]  The signal is glibc's own for setuid(), which no thread can block with libc
 * calls, and glibc's handler must go on working: we send with si_code SI_QUEUE and a
 * cookie, glibc with SI_TKILL, and what is not ours goes to the chained handler.
 * glibc installs its handler when the first thread is made (and after a fork): then
 * ours is put back and the signal sent again; glibc's handler ignores SI_QUEUE.
 * Which thread runs is decided by gettid, not by thread-local storage, which a raw clone
 * may share with its maker.
 *
 * Note [HOLD]  PARKED -> HELD comes first, then the slot.  The tid is looked at again after
 * the first, for the structure may have got another owner; a HELD thread cannot
 * detach.  If the slot's swap fails, the thread is stopped in the handler, which came in
 * between, and the hold is undone.
 *
 * LIFETIME   A record lives on its task's stack while the generation lasts.  Tables are never
 *            freed.
 */
#ifndef GCALLOC_WORLD_STOP_PROTOCOL_H
#define GCALLOC_WORLD_STOP_PROTOCOL_H

#include "world/stop.h"

enum {
    STOP_SIGNAL = 33,
};

#define STOP_COOKIE 0x67636d656d6f7279ull

#define SLOT_HELD ((uint64_t)2)
#define SLOT_ZOMBIE ((uint64_t)4)
#define SLOT_GONE ((uint64_t)6)
#define SLOT_KERNELS ((uint64_t)8)      /* the last that is no address */

struct slot {
    int tid;                    /* atomic, relaxed: late handlers read it */
    struct thread *thread;      /* atomic, relaxed; NULL: none that we know */
    uint64_t word;              /* atomic: see above */
    uint32_t fresh;             /* stopper: listed, nothing done yet */
    uint32_t resend;            /* stopper: the kernel's signal queue was full */
    uint32_t bad_checks;        /* stopper */
    uint64_t cpu_ns;            /* stopper: what it had at the first bad check */
};

/* Slots in the order of listing; index: open addressing by tid, slot number + 1, 0: free. */
struct table {
    uint32_t capacity, mask;    /* constant */
    uint32_t count;             /* stopper */
    uint32_t *index;            /* atomic, relaxed */
    struct slot *slots;
    struct stopped_task *tasks; /* stopper; what world_tasks shows */
};

struct stop_protocol {
    uint32_t generation;        /* atomic, futex: odd while a stop is in progress or done */
    /* generation << 32 | tokens not answered; the low half is the stopper's futex. */
    uint64_t unanswered;        /* atomic */
    struct table *table;        /* atomic; replaced under WORLD while generation is even */
};

extern struct stop_protocol protocol;

INLINE uint64_t token(uint32_t generation)
{
    return (uint64_t)generation << 32 | 1;
}

INLINE bool is_token(uint64_t word)
{
    return (word & 1) != 0;
}

/* Where the search for a tid begins. */
INLINE uint32_t first_place(const struct table *table, int tid)
{
    return ((uint32_t)tid * 0x9e3779b1u) >> 7 & table->mask;
}

/* The slot of a task, NULL when it has none.  Any task, any time: see Note [LATE]. */
struct slot *find_slot(const struct table *table, int tid);
/* One token of this generation less; wakes the stopper at the last. */
void count_answer(uint32_t generation);
/* Sees to it that ours is the handler of the stop signal; *replaced is set if it was not.
 * False: refused.  World running, or by the stopper. */
bool ensure_handler(bool *replaced);

#endif
