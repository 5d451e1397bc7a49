/* wrap.h -- functions of libc that we stand in front of
 *
 * PURPOSE    The library is found before libc, so its exported functions are called
 *            in place of libc's of the same name, and call these in turn.  Three
 *            reasons to: a thread's beginning and end (wrap_pthread.c), calls
 *            that a stop signal would cut short (wrap_block*.c), and calls that
 *            change the rules for us (wrap_signal.c, wrap_context.c, wrap_exec.c, wrap_fork.c,
 *            wrap_kernel.c, wrap_memory.c, wrap_mremap.c).  wrap_syscall.c has all of them again, for those
 *            who call the kernel by number.
 *
 * Blocked regions.  A call that may wait is made PARKED (world/thread.h): a stop then
 * needs no signal, and the call is neither cut short nor fails with EINTR.  While
 * it is parked the thread promises to touch neither heap nor roots.  What the
 * call itself writes there (the kernel into a read buffer, libc into a semaphore)
 * is bytes, or a pointer that so far only a pipe held: the rule that a malloc block must be
 * found unreachable in two cycles covers a pointer in flight.  The arguments stay visible:
 * across thread_park they live in this frame or in callee-saved registers, and
 * those are spilled into `save`.
 *
 * Ways out of a blocked region other than by returning:
 *   a signal handler of the program runs: wrap_signal.c unparks around it;
 *   cancellation, or an exception: see PARKED_FRAME below;
 *   siglongjmp from a handler: the thread was unparked for the handler and stays so.
 *
 * errno is libc's affair: nothing of ours between the real call and the return
 * sets it (base/sys.h).
 */
#ifndef GCALLOC_API_WRAP_H
#define GCALLOC_API_WRAP_H

#include <errno.h>
#include <sys/types.h>
#include <time.h>

#include "base/atomics.h"
#include "base/sys.h"
#include "world/thread.h"

/* Looks up every wrapped function at once; before the first thread and the first dlopen. */
void wrap_find_all(void);

/* The next function of that name after ours, remembered in *cache.  Looked up at the first
 * call: a hundred look-ups at the start would cost every little program 50 us.
 * In a fully static program there is none: NULL, or the end. */
COLD void *wrap_find(void **cache, const char *name);
COLD void *wrap_find_or_die(void **cache, const char *name);

INLINE void *wrap_next(void **cache, const char *name)
{
    void *found = load_relaxed(cache);  /* every writer stores the same value */

    return LIKELY(found != NULL) ? found : wrap_find_or_die(cache, name);
}

/* The real `name`; `cache` is a static void *, NULL at first. */
#define WRAP_REAL(cache, name) ((__typeof__(&name))wrap_next(&(cache), #name))

/* The result of a system call by libc's convention. */
INLINE long wrap_result(long result)
{
    if (LIKELY(!sys_failed(result)))
        return result;
    errno = (int)-result;
    return -1;
}

/* One blocking call of one thread. */
struct blocked {
    struct thread *thread;          /* NULL: the call is made unparked */
    uint32_t handlers;              /* wrap_handlers_run at the beginning */
    uint32_t stops;                 /* thread->stop_signals at the beginning */
    struct spilled_registers save;
};

/* How many handlers of the program ran on this thread.  Written by wrap_signal.c. */
extern TLS_INITIAL_EXEC uint32_t wrap_handlers_run;

/* A part of a transfer is done, and the rest is being transferred: it ends when a handler of the program has
 * run, like the whole would, also where the kernel would restart the rest (SA_RESTART). */
extern TLS_INITIAL_EXEC uint32_t wrap_goes_on;

/* The calling task is not the thread that thread_self names: a raw clone or a
 * child of vfork that shares its thread-local storage with the thread. */
INLINE bool wrap_is_stranger(const struct thread *thread)
{
    return load_relaxed(&thread->tid) != sys_gettid();
}

COLD struct thread *blocked_thread_slow(struct thread *thread);

/* The thread to park: attached if it has never allocated, or else the stop would
 * have to signal it.  On a foreign stack we make sure that it is the thread. */
INLINE struct thread *blocked_thread(uintptr_t here)
{
    struct thread *thread = thread_self;

    if (LIKELY(here - thread->own_low < thread->stack_high - thread->own_low))
        return thread;
    return blocked_thread_slow(thread);
}

INLINE void blocked_enter(struct blocked *blocked)
{
    blocked->thread = blocked_thread((uintptr_t)blocked);
    /* A handler that interrupted one of our slow paths: nobody may take the thread for parked
     * while its structures are in the middle of something; the stop waits.  Or a handler
     * that was installed past us, in a blocked region already. */
    if (UNLIKELY(blocked->thread != NULL &&
                 (blocked->thread->in_runtime != 0 ||
                  load_relaxed(&blocked->thread->state) != THREAD_RUNNING)))
        blocked->thread = NULL;
    blocked->handlers = wrap_handlers_run;
    if (LIKELY(blocked->thread != NULL)) {
        blocked->stops = *(volatile uint32_t *)&blocked->thread->stop_signals;
        thread_park(blocked->thread, &blocked->save);
    }
}

INLINE void blocked_leave(struct blocked *blocked)
{
    if (LIKELY(blocked->thread != NULL))
        thread_unpark(blocked->thread);
}

/* The call was cut short, if it was, by our stop signal and by nothing else.  That happens when
 * the stopper saw the thread running just before it parked, rarely.  The signal was
 * answered meanwhile, and no handler of the program ran, which would make the
 * interruption the program's own. */
INLINE bool blocked_cut_short(const struct blocked *blocked)
{
    return blocked->thread != NULL &&
           blocked->stops != *(volatile uint32_t *)&blocked->thread->stop_signals &&
           blocked->handlers == wrap_handlers_run;
}

/* Ends the region.  True: failed with EINTR because of us, make the call again. */
INLINE bool blocked_again(struct blocked *blocked, bool failed)
{
    blocked_leave(blocked);
    return UNLIKELY(failed) && errno == EINTR && blocked_cut_short(blocked);
}

/* The same for calls that transfer up to `bytes` bytes, of which *done were done before, and that a
 * signal ends with a part transferred.  True: call again for the rest. */
INLINE bool blocked_transfer(struct blocked *blocked, ssize_t result, size_t bytes, size_t *done)
{
    blocked_leave(blocked);
    if (result > 0)
        *done += (size_t)result;
    if (LIKELY(*done == bytes || result == 0))
        return false;
    return blocked_cut_short(blocked) && (result > 0 || errno == EINTR);
}

/* The unwinder's interface (Itanium C++ ABI, level I), as far as we use it. */
enum { UNWIND_CLEANUP_PHASE = 2, UNWIND_CONTINUE = 8 };
#define UNWIND_BY(personality) __asm__ volatile(".cfi_personality 0x1b, " #personality)

/* Names the unwinder's personality of the function it stands in, which must call the
 * blocking function from this frame.  Cancellation (and pthread_exit, and C++ exceptions
 * thrown by handlers) unwind frame by frame and ask each frame's personality; ours
 * unparks the thread before the program's clean-up handlers run.  No instruction is spent on it,
 * and nothing of libgcc is needed, unlike with pthread_cleanup_push. */
#define PARKED_FRAME() UNWIND_BY(gcalloc_unpark_personality)
int gcalloc_unpark_personality(int version, int actions, uint64_t class, void *exception,
                               void *context);

/* Makes the call parked, and again when it fails with -1 and EINTR and only our stop signal was the
 * reason. */
#define CALL_PARKED(blocked, result, call)              \
    do {                                                \
        blocked_enter(&(blocked));                      \
        PARKED_FRAME();                                 \
        (result) = (call);                              \
    } while (blocked_again(&(blocked), (result) == -1))

/* In a new process, what makes it whole (start.c); and a system call that makes one (wrap_fork.c): -errno or
 * the result. */
void wrap_fork_child(void);
long wrap_fork_by_number(long nr, long a, long b, long c, long d, long e, long f);
/* The program is about to splice (wrap_block_io.c). */
void wrap_before_splice(void);
/* From here to wrap_alone_end, which gets the result, the process has no task of ours and no cycle runs.
 * False: it cannot be (wrap_exec.c). */
bool wrap_alone_begin(void);
void wrap_alone_end(bool alone);
/* Does this operation of prctl change what only the calling task may do?  No task of ours should be
 * left behind with more. */
bool wrap_prctl_is_of_task(long operation);
/* A system call that puts a seccomp filter on the process, and how to make it (wrap_exec.c). */
bool wrap_installs_filter(long nr, long operation);
long wrap_install_filter(long nr, long a, long b, long c, long d, long e, long f);
/* A system call that is not made just so, and how to make it: -errno or its result
 * (wrap_kernel.c). */
bool wrap_is_special(long nr, long a);
long wrap_special(long nr, long a, long b, long c, long d, long e, long f);

/* The system calls that may change the program's mappings, made so that the collector knows of what they
 * do to the heap: -errno or the result (wrap_memory.c). */
bool wrap_changes_memory(long nr);
long wrap_change_memory(long nr, long a, long b, long c, long d, long e, long f);
/* mremap of what looks like one mapping and is several (wrap_mremap.c). */
long wrap_remap_pieces(uintptr_t old, size_t old_bytes, size_t bytes, int flags, uintptr_t target);

/* A relative timeout that survives a repeated call. */
struct wait_limit {
    bool timed;
    struct timespec end;            /* on CLOCK_MONOTONIC, if timed */
};

/* length NULL: no limit. */
void wait_limit_start(struct wait_limit *limit, const struct timespec *length);
/* What is left, zero at least; leaves *left alone when there is no limit. */
void wait_limit_left(const struct wait_limit *limit, struct timespec *left);

#endif
