/* wrap_kernel.c -- what the kernel is given to keep, and what it is told about our memory
 *
 * epoll_ctl, timer_create: the kernel keeps a word of the program's, perhaps the only pointer to an
 * object.  A cycle reads the kernel's lists (world/roots_kernel.c) once; what comes into them
 * while it marks is shaded.  After the call, not before: a cycle that begins between the two
 * reads the list later, and what the kernel has not accepted need not be readable.
 *
 * mq_notify, sigqueue: what they give to the kernel it shows to nobody, so it is remembered, for ever; what
 * timers are given, too, where the kernel does not list them.
 *
 * userfaultfd: only one descriptor can watch a range, so ours lets go of all.
 *
 * Direct system calls where libc's function does no more: usable in signal handlers, and in a
 * static program.
 */
#define _GNU_SOURCE
#include <mqueue.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/syscall.h>

#include "alloc/collect.h"
#include "api/wrap.h"
#include "gc/barrier.h"
#include "os/descriptors.h"
#include "os/proc.h"
#include "os/vm.h"
#include "world/roots.h"

/* --- words in the kernel's keeping ----------------------------------------------------- */

/* A root, as all our data is: words that were given to the kernel, each once. */
static uintptr_t remembered[64];        /* atomic, from 0 to a word */

static void remember(uintptr_t word)
{
    size_t i = 0;

    if (!arena_owns(word << 16 >> 16))
        return;
    for (; i < sizeof remembered / sizeof remembered[0]; i++) {
        uintptr_t present = 0;

        if (cas_acq_rel(&remembered[i], &present, word) || present == word)
            return;
    }
    roots_will_hide();
}

static long add_to_epoll(long epoll, long operation, long fd, struct epoll_event *event)
{
    long result = sys_call4(SYS_epoll_ctl, epoll, operation, fd, (long)event);

    if (result == 0 && operation != EPOLL_CTL_DEL)
        barrier_shade((uintptr_t)event->data.u64);
    return result;
}

static void note_timer(const struct sigevent *event)
{
    if (event == NULL)
        return;
    barrier_shade((uintptr_t)event->sigev_value.sival_ptr);
    if (!vm_is_confined() && !proc_lists_timers())
        remember((uintptr_t)event->sigev_value.sival_ptr);
}

EXPORT int epoll_ctl(int epoll, int operation, int fd, struct epoll_event *event)
{
    return (int)wrap_result(add_to_epoll(epoll, operation, fd, event));
}

EXPORT int timer_create(clockid_t clock, struct sigevent *event, timer_t *timer)
{
    static void *cache;
    int result = WRAP_REAL(cache, timer_create)(clock, event, timer);

    if (result == 0)
        note_timer(event);
    return result;
}

/* The kernel forgets the request when the process closes any descriptor of the queue, also a task of ours its
 * copy (os/descriptors.h). */
static void share_descriptors(void)
{
    bool alone = wrap_alone_begin();

    descriptors_stay_shared();
    wrap_alone_end(alone);
}

/* libc makes a copy of a thread's attributes, of which it has the address in a message of the kernel only. */
EXPORT int mq_notify(mqd_t queue, const struct sigevent *event)
{
    static void *cache;

    if (event != NULL) {
        remember((uintptr_t)event->sigev_value.sival_ptr);
        if (event->sigev_notify == SIGEV_THREAD && event->sigev_notify_attributes != NULL)
            roots_will_hide();
        share_descriptors();
    }
    return WRAP_REAL(cache, mq_notify)(queue, event);
}

EXPORT int sigqueue(pid_t process, int signal, const union sigval value)
{
    siginfo_t info = { .si_signo = signal, .si_code = SI_QUEUE };

    info.si_pid = sys_getpid();
    info.si_uid = (uid_t)sys_call0(SYS_getuid);
    info.si_value = value;
    if (process == info.si_pid)
        remember((uintptr_t)value.sival_ptr);
    return (int)wrap_result(sys_call3(SYS_rt_sigqueueinfo, process, signal, (long)&info));
}

EXPORT int pthread_sigqueue(pthread_t thread, int signal, const union sigval value)
{
    static void *cache;

    remember((uintptr_t)value.sival_ptr);
    return WRAP_REAL(cache, pthread_sigqueue)(thread, signal, value);
}

/* --- the same by syscall() ----------------------------------------------------------------- */

/* A second task would make them fail, or keep what is given up. */
static bool changes_task(long nr, long a)
{
    return nr == SYS_unshare || nr == SYS_setns || nr == SYS_capset || nr == SYS_landlock_restrict_self ||
           (nr == SYS_prctl && wrap_prctl_is_of_task(a));
}

static long call_alone(long nr, long a, long b, long c, long d, long e)
{
    bool alone = wrap_alone_begin();
    long result = sys_call6(nr, a, b, c, d, e, 0);

    wrap_alone_end(alone);
    return result;
}

bool wrap_is_special(long nr, long a)
{
    return nr == SYS_epoll_ctl || nr == SYS_timer_create || nr == SYS_userfaultfd ||
           wrap_changes_memory(nr) || changes_task(nr, a) || wrap_installs_filter(nr, a);
}

long wrap_special(long nr, long a, long b, long c, long d, long e, long f)
{
    if (wrap_changes_memory(nr))
        return wrap_change_memory(nr, a, b, c, d, e, f);
    if (changes_task(nr, a))
        return call_alone(nr, a, b, c, d, e);
    switch (nr) {
    case SYS_epoll_ctl:
        return add_to_epoll(a, b, c, (struct epoll_event *)d);
    case SYS_seccomp:
    case SYS_prctl:
        return wrap_install_filter(nr, a, b, c, d, e, f);
    case SYS_userfaultfd:
        if (!wrap_is_stranger(thread_self))
            collect_avoid_userfaultfd();
        break;
    }
    long result = sys_call6(nr, a, b, c, d, e, f);

    if (nr == SYS_timer_create && result == 0)
        note_timer((const struct sigevent *)b);
    return result;
}
