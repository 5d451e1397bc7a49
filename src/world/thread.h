/* thread.h -- the threads of the process, as far as we know them
 *
 * PURPOSE    One struct thread per thread that ever allocated or was announced by
 *            pthread_create; reached through one initial-exec TLS pointer.
 * OWNER      The thread; fields say otherwise.
 * LIFETIME   Structures are type-stable and on a list that only grows; a dead
 *            thread's structure is reused.
 *
 * States of a thread (word `state`, atomic):
 *
 *     RUNNING       executes program code or ours
 *     PARKED        inside a blocked region, or waiting in the runtime: promises
 *                   to touch neither heap nor roots; published parked_sp
 *     HELD          PARKED, and a stopped world has taken note: the thread may not
 *                   leave before the world restarts (state goes HELD -> PARKED)
 *
 *     RUNNING -> PARKED   by the thread (thread_park)
 *     PARKED -> RUNNING   by the thread, compare-and-swap (thread_unpark)
 *     PARKED -> HELD      by the stopper, compare-and-swap
 *     HELD -> PARKED      by the stopper, before the generation of stop.c moves on,
 *                         which is what a held thread sleeps on
 *
 * in_runtime: the depth of slow paths (runtime_enter).  A stop signal that finds
 * it set only sets stop_pending; runtime_leave parks.  So no thread is ever
 * stopped in the middle of a slow path, and no lock is held in a stopped world
 * by a mutator.  The gate makes fork wait for slow paths to end (see fork.c).
 */
#ifndef GCALLOC_WORLD_THREAD_H
#define GCALLOC_WORLD_THREAD_H

#include "base/sys.h"
#include "heap/mcache.h"

enum { BARRIER_WORDS = HOSTILE(256, 2) };

/* The last call of a thread that was wound back, as it will be made again; see rewind.h. */
struct rewound { uintptr_t rip, rsp, number, arguments[3]; };

enum thread_state { THREAD_RUNNING, THREAD_PARKED, THREAD_HELD };

struct thread {
    struct mcache cache;        /* first: the fast paths use the TLS pointer as an mcache */

    int tid;                    /* kernel id; 0: the structure is free.  Atomic. */
    uint32_t state;             /* enum thread_state, atomic */
    uint32_t in_runtime;        /* depth of runtime_enter; owner writes (seq_cst), handler and fork read */
    uint32_t stop_pending;      /* handler sets, owner clears */
    bool announced;             /* made by pthread_create: detaches by itself */
    uintptr_t parked_sp;        /* valid while PARKED/HELD: scan from here up */
    uintptr_t stack_low;        /* lowest byte of the known stack, 0 when unknown */
    uintptr_t stack_high;       /* one past its highest byte */
    uintptr_t own_low;          /* from here to stack_high it is surely this thread's stack */
    uintptr_t alternate_stack;  /* what sigaltstack was told last, 0 when none; owner */
    size_t alternate_bytes;
    uintptr_t spare_alternate;  /* a mapping for when that is too small for any handler; 0: none; for ever */
    uintptr_t context_stack;    /* the lowest one inside its own that makecontext was told; owner */
    uint32_t stop_signals;      /* owner: how many stop signals it has answered */
    struct thread *next;        /* in the list of all structures; constant once linked */
    uint32_t process;           /* number of the process it was attached in (fork); THREADS */
    uintptr_t handled_rip;      /* owner: where the program's last signal handler came in; */
    uintptr_t handled_rsp;      /* see rewind.h */
    struct rewound rewound;     /* owner */
    uint64_t rewound_end_ns;    /* owner: when its timeout will have gone by */

    /* Owner only; see alloc/collect.c. */
    int64_t accounted;          /* bytes of cache.allocated_bytes - freed_bytes already told */
    int64_t gc_accounted;       /* of cache.gc_bytes */
    uint64_t allocation_seen;   /* of cache.allocated_bytes */
    bool wants_cycle;           /* the goal was reached while in the runtime */
    uint32_t nap_ns;            /* marking is behind, and the thread cannot help: it should wait */
    /* What the write barrier recorded; see gc/barrier.c. */
    uint32_t barrier_fill;      /* owner; reset in stops */
    uint32_t barrier_flushes;   /* owner, and the collector in stops */
    /* Addresses of slots that its last refill took while the running cycle marked: black, all of them.
     * Owner; 0 bytes at stop 1. */
    uintptr_t born_low;
    size_t born_bytes;
    uintptr_t copy_low, copy_high;  /* owner: where gc_memmove is writing to; 0, 0: nowhere */
    uint64_t assist_debt;       /* owner: work for the marking that allocation has cost and that is
                                 * not done yet; 0 at stop 1 */
    uint64_t begged_debt;       /* owner: of which so much when it last asked for work in vain */
    uint64_t assist_seen;       /* owner: of cache.allocated_bytes */
    int64_t assist_gc_seen;     /* owner: of cache.gc_bytes */
    /* The tiny allocator's block, and the sweep generation it belongs to. */
    uintptr_t tiny;
    uint32_t tiny_used, tiny_generation;
    uintptr_t barrier[BARRIER_WORDS];   /* the first barrier_fill words; the collector reads them in stops */

    struct cached entries[MCACHE_ENTRIES];      /* of the cache */
};

/* The current thread's structure, or thread_none before the first slow path.
 * It is never NULL: thread_none has only empty magazines with limit 0. */
extern TLS_INITIAL_EXEC struct thread *thread_self;
extern struct thread thread_none;

/* The calling thread is about to make another one. */
void thread_share(void);
/* Attaches the calling thread when it has no structure yet.  NULL when there is
 * no memory for one.  Async-signal-safe with respect to our stop signal. */
struct thread *thread_attach(void);
/* The same for a thread made by pthread_create: it will detach by itself.  The bounds
 * may be 0 when they are not known.  False: no memory. */
bool thread_announce(uintptr_t stack_low, uintptr_t stack_high);
/* The same for the main thread, whose stack it looks up.  From the constructor. */
bool thread_announce_main(void);
/* Gives the caches back and frees the structure; thread_self becomes thread_none. */
void thread_detach(void);
/* First of all structures; follow ->next.  Includes free ones (tid == 0). */
struct thread *thread_list(void);
/* Frees structures of threads that died without saying so. */
void thread_reap_dead(void);
struct thread *thread_by_tid(int tid);
/* Is the structure in use by a thread of this process?  Racy but for the thread itself. */
bool thread_is_alive(const struct thread *thread);

/* Slow paths.  runtime_enter returns the thread, attached; NULL: no memory. */
struct thread *runtime_enter(void);
void runtime_leave(struct thread *thread);
/* The same for the collector's own tasks (and parked threads that do their work): around
 * what takes heap locks.  Inside: no world_stop, no waiting but for those locks.  False: a fork has
 * kept the gate closed for too long (wait_at_gate tells why), and the caller gives up what it was going
 * to do. */
bool runtime_enter_task(void);
void runtime_leave_task(void);

/* Declares the calling thread parked.  Spills the callee-saved registers into
 * `save`, which must stay alive, on the stack, until thread_unpark. */
struct spilled_registers { uintptr_t words[8]; };
void thread_park(struct thread *thread, struct spilled_registers *save);
void thread_unpark(struct thread *thread);
/* A handler of the program interrupted the thread, which may be parked: before program
 * code runs, thread_signal_begin makes it RUNNING (it waits while a world is stopped)
 * and returns what thread_signal_end needs to park it again: 0 when it was not parked.
 * rip and rsp are those of the interrupted context.  A handler that jumps out
 * leaves the thread RUNNING, which is right. */
uintptr_t thread_signal_begin(struct thread *thread, uintptr_t rip, uintptr_t rsp);
/* With the place that it returns to. */
void thread_signal_end(struct thread *thread, uintptr_t parked_sp, uintptr_t rip, uintptr_t rsp);

/* A task, until runtime_open: no thread is in the runtime, and none enters.  For a moment only, and not while
 * the world is stopped.  False: some thread does not leave, or a fork is under way. */
bool runtime_close(void);
void runtime_open(void);

/* In the forked child: the calling thread is the only one left. */
void thread_fork_child(void);
/* The lock on the list, for fork.c and for what must not be cut by a fork; see fork.h. */
void threads_lock(void);
void threads_unlock(void);
/* fork: closes the gate and waits until no other thread is in the runtime. */
void runtime_gate_close(void);
void runtime_gate_open(void);

/* All 64 signals of the calling task, without libc.  Returns the old mask. */
INLINE uint64_t signals_block_all(void)
{
    uint64_t all = ~0ull, old = 0;

    sys_call4(SYS_rt_sigprocmask, 2 /* SIG_SETMASK */, (long)&all, (long)&old, sizeof(all));
    return old;
}

INLINE void signals_restore(uint64_t mask)
{
    sys_call4(SYS_rt_sigprocmask, 2 /* SIG_SETMASK */, (long)&mask, 0, sizeof(mask));
}

/* This process is the child of a fork, or that of one. */
bool threads_forked(void);
/* Number of attached threads. */
unsigned thread_count(void);

#endif
