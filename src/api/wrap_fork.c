/* wrap_fork.c -- new processes that fork() does not make
 *
 * fork() runs handlers of ours, from pthread_atfork (start.c).  _Fork, clone() without CLONE_VM, and the same
 * by syscall() run nobody's, so ours are run here: or the child would have the locks of tasks that it
 * does not have, and a cycle that never ends.
 *
 * Not in the child of vfork, whose thread structure is its parent's.  Nor where the caller waits until the
 * child has exec'ed (CLONE_VFORK): its other threads could not allocate meanwhile.  That child gets the heap
 * as it is.
 */
#define _GNU_SOURCE
#include <linux/sched.h>
#include <sched.h>
#include <stdarg.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "api/wrap.h"
#include "world/fork.h"

static uint64_t begin(void)
{
    uint64_t mask = signals_block_all();

    world_fork_prepare();
    return mask;
}

static void end(long child, uint64_t mask)
{
    if (child == 0)
        wrap_fork_child();
    else
        world_fork_parent();
    signals_restore(mask);
}

static bool is_borrowed(void)
{
    return thread_self != &thread_none && wrap_is_stranger(thread_self);
}

static bool would_hold_up(uint64_t flags)
{
    return (flags & CLONE_VFORK) != 0 && (load_relaxed(&heap_shared) & SHARED_BY_THREADS) != 0;
}

static uint64_t flags_of(long nr, long argument)
{
    if (nr == SYS_clone3)
        return ((const struct clone_args *)argument)->flags;
    return nr == SYS_clone ? (uint64_t)argument : 0;
}

EXPORT pid_t _Fork(void)
{
    static void *cache;
    pid_t (*real)(void) = (pid_t (*)(void))wrap_next(&cache, "_Fork");
    uint64_t mask = begin();
    pid_t child = real();

    end(child, mask);
    return child;
}

long wrap_fork_by_number(long nr, long a, long b, long c, long d, long e, long f)
{
    if (is_borrowed() || would_hold_up(flags_of(nr, a)))
        return sys_call6(nr, a, b, c, d, e, f);
    uint64_t mask = begin();
    long child = sys_call6(nr, a, b, c, d, e, f);

    end(child, mask);
    return child;
}

/* What the child of clone() is to do, on a stack of its own. */
struct first_step {
    int (*run)(void *argument);
    void *argument;
    uint64_t mask;
};

static int take_first_step(void *pointer)
{
    const struct first_step step = *(const struct first_step *)pointer;

    end(0, step.mask);
    return step.run(step.argument);
}

/* libc's, which it exports, too. */
int __clone(int (*run)(void *argument), void *stack, int flags, void *argument, ...);

EXPORT int clone(int (*run)(void *argument), void *stack, int flags, void *argument, ...)
{
    struct first_step step = { .run = run, .argument = argument };
    va_list arguments;
    void *more[3];

    va_start(arguments, argument);
    for (int i = 0; i < 3; i++)
        more[i] = va_arg(arguments, void *);
    va_end(arguments);
    if ((flags & CLONE_VM) != 0 || run == NULL || is_borrowed() || would_hold_up((unsigned)flags))
        return __clone(run, stack, flags, argument, more[0], more[1], more[2]);
    step.mask = begin();
    int child = __clone(take_first_step, stack, flags, &step, more[0], more[1], more[2]);

    end(child, step.mask);
    return child;
}
