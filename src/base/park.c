/* park.c -- see park.h */
#include "base/park.h"

#include <linux/futex.h>
#include <time.h>

enum { YIELDS = 50, SLEEP_NS = 50000 };

void park_wait(const uint32_t *word, uint32_t expected, uint64_t timeout_ns)
{
    struct timespec limit = {
        .tv_sec = (time_t)(timeout_ns / 1000000000u),
        .tv_nsec = (long)(timeout_ns % 1000000000u),
    };
    long timeout = timeout_ns == PARK_FOREVER ? 0 : (long)&limit;

    sys_call4(SYS_futex, (long)word, FUTEX_WAIT | FUTEX_PRIVATE_FLAG, expected, timeout);
}

void park_for(uint64_t ns)
{
    static const uint32_t never_woken;

    park_wait(&never_woken, 0, ns);
}

void park_between_looks(unsigned looks)
{
    if (looks < YIELDS)
        sys_yield();
    else
        park_for(SLEEP_NS);
}

void park_wake(const uint32_t *word, int count)
{
    sys_call3(SYS_futex, (long)word, FUTEX_WAKE | FUTEX_PRIVATE_FLAG, count);
}
