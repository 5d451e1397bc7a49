/* clock.c -- a library that stands in front of libc's clock, as libfaketime does
 *
 * It looks for the real one at the first call, which allocates (the loader's message about a name that is
 * not there), and tells a time of its own.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <time.h>

int clock_gettime(clockid_t clock, struct timespec *time)
{
    static int (*real)(clockid_t, struct timespec *);

    if (real == NULL) {
        (void)!dlsym(RTLD_NEXT, "no_such_clock");
        real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    }
    free(malloc(100));
    int result = real(clock, time);

    if (result == 0)
        time->tv_sec -= 100000;
    return result;
}
