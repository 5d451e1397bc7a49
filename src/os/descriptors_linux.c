/* descriptors_linux.c -- see descriptors.h */
#include "os/descriptors.h"

#include <linux/close_range.h>

#include "base/atomics.h"
#include "base/sys.h"

static uint32_t stay_shared;        /* atomic, relaxed */

void descriptors_stay_shared(void)
{
    store_relaxed(&stay_shared, 1);
}

/* Descriptors 0 to 2 are taken, lest something of ours gets a number that is written to. */
bool descriptors_unshare(void)
{
    if (load_relaxed(&stay_shared) != 0 ||
        sys_call3(SYS_close_range, 0, 0xffffffffl, CLOSE_RANGE_UNSHARE) != 0)
        return false;
    for (int i = 0; i < 3; i++)
        sys_call2(SYS_pidfd_open, sys_getpid(), 0);
    return true;
}
