/* wrap_block_sleep.c -- sleeps as blocked regions; see wrap.h
 *
 * sleep and usleep are made of nanosleep, as libc's are, for libc's would call
 * its own nanosleep inside, and its sleep forgets the fraction of a second that was left.
 */
#define _GNU_SOURCE
#include <threads.h>
#include <unistd.h>

#include "api/wrap.h"

enum { US_PER_SECOND = 1000000, NS_PER_US = 1000 };

EXPORT int nanosleep(const struct timespec *length, struct timespec *left)
{
    static void *cache;
    __typeof__(&nanosleep) real = WRAP_REAL(cache, nanosleep);
    struct timespec rest;
    struct blocked blocked;
    int result;

    for (;;) {
        blocked_enter(&blocked);
        PARKED_FRAME();
        result = real(length, &rest);
        if (!blocked_again(&blocked, result == -1))
            break;
        length = &rest;
    }
    if (result == -1 && errno == EINTR && left != NULL)
        *left = rest;
    return result;
}

/* Both below return an error number, or a code, instead of setting errno. */
EXPORT int clock_nanosleep(clockid_t clock, int flags, const struct timespec *length,
                           struct timespec *left)
{
    static void *cache;
    __typeof__(&clock_nanosleep) real = WRAP_REAL(cache, clock_nanosleep);
    bool relative = (flags & TIMER_ABSTIME) == 0;
    struct timespec rest;
    struct blocked blocked;
    int result;

    for (;;) {
        blocked_enter(&blocked);
        PARKED_FRAME();
        result = real(clock, flags, length, &rest);
        blocked_leave(&blocked);
        if (result != EINTR || !blocked_cut_short(&blocked))
            break;
        if (relative)
            length = &rest;
    }
    if (result == EINTR && relative && left != NULL)
        *left = rest;
    return result;
}

EXPORT int thrd_sleep(const struct timespec *length, struct timespec *left)
{
    int error = clock_nanosleep(CLOCK_REALTIME, 0, length, left);

    return error == 0 ? 0 : error == EINTR ? -1 : -2;
}

EXPORT unsigned sleep(unsigned seconds)
{
    struct timespec length = { seconds, 0 };
    int saved = errno;

    if (nanosleep(&length, &length) != 0)
        return (unsigned)length.tv_sec;
    errno = saved;
    return 0;
}

EXPORT int usleep(useconds_t us)
{
    struct timespec length = { us / US_PER_SECOND, (long)(us % US_PER_SECOND) * NS_PER_US };

    return nanosleep(&length, NULL);
}
