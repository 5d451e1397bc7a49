/* copy_linux.c -- see copy.h */
#define _GNU_SOURCE
#include "os/copy.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "base/sys.h"

/* The lowest byte, the signal at its end, is 0. */
long copy_start(void)
{
    return sys_call6(SYS_clone, CLONE_FILES | CLONE_FS, 0, 0, 0, 0, 0);
}

/* The parent may have gone before the request was made.  A limit of 1 byte also keeps a program
 * that the kernel would pipe the core to from being started. */
void copy_settle(int parent)
{
    static const struct rlimit no_core = { 1, 1 };

    sys_call2(SYS_prctl, PR_SET_PDEATHSIG, SIGKILL);
    sys_call2(SYS_setrlimit, RLIMIT_CORE, (long)&no_core);
    if (sys_call0(SYS_getppid) != parent)
        copy_exit();
}

void copy_exit(void)
{
    for (;;)
        sys_call1(SYS_exit_group, 0);
}

static uint64_t nanoseconds(const struct timeval *time)
{
    return (uint64_t)time->tv_sec * 1000000000 + (uint64_t)time->tv_usec * 1000;
}

struct copy_end copy_await(long copy)
{
    struct rusage usage;
    int status = 0;
    long result;

    do
        result = sys_call4(SYS_wait4, copy, (long)&status, __WALL, (long)&usage);
    while (result == -EINTR);
    if (result < 0)
        return (struct copy_end){ .exited = true };
    return (struct copy_end){
        .exited = WIFEXITED(status),
        .cpu_ns = nanoseconds(&usage.ru_utime) + nanoseconds(&usage.ru_stime),
    };
}

static bool map_over(void *address, size_t bytes, int flags)
{
    return sys_call6(SYS_mmap, (long)address, (long)bytes, PROT_READ | PROT_WRITE,
                     MAP_FIXED | MAP_ANONYMOUS | MAP_NORESERVE | flags, -1, 0) == (long)address;
}

bool copy_share(void *address, size_t bytes)
{
    return map_over(address, bytes, MAP_SHARED);
}

/* Refused for want of memory, it stays shared, and at least holds nothing any more. */
void copy_unshare(void *address, size_t bytes)
{
    if (!map_over(address, bytes, MAP_PRIVATE))
        sys_call3(SYS_madvise, (long)address, (long)bytes, MADV_REMOVE);
}
