/* wrap_block_poll.c -- waits with a relative timeout; see wrap.h
 *
 * A repeated call waits for what is left, not for the whole length again.
 */
#define _GNU_SOURCE
#undef _FORTIFY_SOURCE
#include <aio.h>
#include <poll.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/sem.h>

#include "api/wrap_rows.h"

enum { MS_PER_SECOND = 1000, NS_PER_MS = 1000000 };

/* Timeouts in milliseconds, as poll and epoll_wait have them: negative is for ever. */
static void limit_start_ms(struct wait_limit *limit, int ms)
{
    struct timespec length = { ms / MS_PER_SECOND, ms % MS_PER_SECOND * NS_PER_MS };

    wait_limit_start(limit, ms < 0 ? NULL : &length);
}

/* Rounded up: never early. */
static int limit_left_ms(const struct wait_limit *limit, int ms)
{
    struct timespec left;

    if (!limit->timed)
        return ms;
    wait_limit_left(limit, &left);
    return (int)(left.tv_sec * MS_PER_SECOND + (left.tv_nsec + NS_PER_MS - 1) / NS_PER_MS);
}

/* Of those with a timespec: what to wait for when the call is repeated. */
static const struct timespec *limit_left(const struct wait_limit *limit, struct timespec *left,
                                         const struct timespec *timeout)
{
    wait_limit_left(limit, left);
    return limit->timed ? left : timeout;
}

#define UNTIL(start, call, next)                         \
    struct wait_limit limit;                             \
    struct blocked blocked;                              \
    int result;                                          \
                                                         \
    for (start;; next) {                                 \
        blocked_enter(&blocked);                         \
        PARKED_FRAME();                                  \
        result = call;                                   \
        if (!blocked_again(&blocked, result == -1))      \
            return result;                               \
    }

/* The two shapes.  `call` uses the variable `ms` or `timeout` of the function. */
#define UNTIL_MS(call) UNTIL(limit_start_ms(&limit, ms), call, ms = limit_left_ms(&limit, ms))
#define UNTIL_LEFT(call)  \
    struct timespec left; \
    UNTIL(wait_limit_start(&limit, timeout), call, timeout = limit_left(&limit, &left, timeout))

EXPORT int poll(struct pollfd *fds, nfds_t count, int ms)
{
    static void *cache;
    __typeof__(&poll) real = WRAP_REAL(cache, poll);

    UNTIL_MS(real(fds, count, ms))
}

/* What poll and ppoll become under _FORTIFY_SOURCE. */
int __poll_chk(struct pollfd *fds, nfds_t count, int ms, size_t room);
int __ppoll_chk(struct pollfd *fds, nfds_t count, const struct timespec *timeout,
                const sigset_t *mask, size_t room);

EXPORT int __poll_chk(struct pollfd *fds, nfds_t count, int ms, size_t room)
{
    static void *cache;
    __typeof__(&__poll_chk) real = WRAP_REAL(cache, __poll_chk);

    UNTIL_MS(real(fds, count, ms, room))
}

EXPORT int ppoll(struct pollfd *fds, nfds_t count, const struct timespec *timeout,
                 const sigset_t *mask)
{
    static void *cache;
    __typeof__(&ppoll) real = WRAP_REAL(cache, ppoll);

    UNTIL_LEFT(real(fds, count, timeout, mask))
}

EXPORT int __ppoll_chk(struct pollfd *fds, nfds_t count, const struct timespec *timeout,
                       const sigset_t *mask, size_t room)
{
    static void *cache;
    __typeof__(&__ppoll_chk) real = WRAP_REAL(cache, __ppoll_chk);

    UNTIL_LEFT(real(fds, count, timeout, mask, room))
}

/* The kernel itself writes what is left into *timeout. */
BLOCKING5(int, select, int, fd_set *, fd_set *, fd_set *, struct timeval *)

EXPORT int pselect(int count, fd_set *in, fd_set *out, fd_set *except,
                   const struct timespec *timeout, const sigset_t *mask)
{
    static void *cache;
    __typeof__(&pselect) real = WRAP_REAL(cache, pselect);

    UNTIL_LEFT(real(count, in, out, except, timeout, mask))
}

EXPORT int epoll_wait(int fd, struct epoll_event *events, int count, int ms)
{
    static void *cache;
    __typeof__(&epoll_wait) real = WRAP_REAL(cache, epoll_wait);

    UNTIL_MS(real(fd, events, count, ms))
}

EXPORT int epoll_pwait(int fd, struct epoll_event *events, int count, int ms, const sigset_t *mask)
{
    static void *cache;
    __typeof__(&epoll_pwait) real = WRAP_REAL(cache, epoll_pwait);

    UNTIL_MS(real(fd, events, count, ms, mask))
}

EXPORT int epoll_pwait2(int fd, struct epoll_event *events, int count,
                        const struct timespec *timeout, const sigset_t *mask)
{
    static void *cache;
    __typeof__(&epoll_pwait2) real = WRAP_REAL(cache, epoll_pwait2);

    UNTIL_LEFT(real(fd, events, count, timeout, mask))
}

EXPORT int sigtimedwait(const sigset_t *set, siginfo_t *info, const struct timespec *timeout)
{
    static void *cache;
    __typeof__(&sigtimedwait) real = WRAP_REAL(cache, sigtimedwait);

    UNTIL_LEFT(real(set, info, timeout))
}

EXPORT int semtimedop(int id, struct sembuf *operations, size_t count,
                      const struct timespec *timeout)
{
    static void *cache;
    __typeof__(&semtimedop) real = WRAP_REAL(cache, semtimedop);

    UNTIL_LEFT(real(id, operations, count, timeout))
}

EXPORT int aio_suspend(const struct aiocb *const list[], int count,
                       const struct timespec *timeout)
{
    static void *cache;
    __typeof__(&aio_suspend) real = WRAP_REAL(cache, aio_suspend);

    UNTIL_LEFT(real(list, count, timeout))
}

/* libaio's, not libc's: returns -errno.  A program that opened libaio privately
 * finds ours all the same, and no real one behind it: then the system call. */
struct io_event;
int io_getevents(void *context, long min, long count, struct io_event *events,
                 struct timespec *timeout);

EXPORT int io_getevents(void *context, long min, long count, struct io_event *events,
                        struct timespec *timeout)
{
    static void *cache;
    __typeof__(&io_getevents) real = load_relaxed(&cache);
    struct wait_limit limit;
    struct timespec left;
    struct blocked blocked;

    if (real == NULL)
        real = wrap_find(&cache, "io_getevents");
    wait_limit_start(&limit, timeout);
    for (;;) {
        blocked_enter(&blocked);
        PARKED_FRAME();
        int result = real != NULL ? real(context, min, count, events, timeout)
                                  : (int)sys_call6(SYS_io_getevents, (long)context, min, count,
                                                   (long)events, (long)timeout, 0);
        blocked_leave(&blocked);
        if (result != -EINTR || !blocked_cut_short(&blocked))
            return result;
        timeout = (struct timespec *)limit_left(&limit, &left, timeout);
    }
}
