/* sys.h -- system calls without libc
 *
 * PURPOSE  The stop handler, the collector's own tasks (which have no libc
 *          thread state) and the first malloc before libc is initialised must
 *          not touch errno or any other thread-local variable.  These return
 *          -errno instead.
 */
#ifndef GCALLOC_BASE_SYS_H
#define GCALLOC_BASE_SYS_H

#include <sys/syscall.h>

#include "base/compiler.h"

#ifndef SYS_landlock_restrict_self
#define SYS_landlock_restrict_self 446  /* headers have it since Linux 5.13 */
#endif

INLINE long sys_call6(long nr, long a, long b, long c, long d, long e, long f)
{
    register long r10 __asm__("r10") = d;
    register long r8 __asm__("r8") = e;
    register long r9 __asm__("r9") = f;
    long result;

    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(nr), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return result;
}

INLINE long sys_call4(long nr, long a, long b, long c, long d)
{
    register long r10 __asm__("r10") = d;
    long result;

    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(nr), "D"(a), "S"(b), "d"(c), "r"(r10)
                     : "rcx", "r11", "memory");
    return result;
}

INLINE long sys_call3(long nr, long a, long b, long c)
{
    long result;

    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(nr), "D"(a), "S"(b), "d"(c)
                     : "rcx", "r11", "memory");
    return result;
}

INLINE long sys_call2(long nr, long a, long b)
{
    return sys_call3(nr, a, b, 0);
}

INLINE long sys_call1(long nr, long a)
{
    return sys_call3(nr, a, 0, 0);
}

INLINE long sys_call0(long nr)
{
    return sys_call3(nr, 0, 0, 0);
}

/* Is the result -errno?  Of calls whose result may be any word: addresses. */
INLINE bool sys_failed(long result)
{
    return result < 0 && result > -4096;
}

INLINE int sys_gettid(void)
{
    return (int)sys_call0(SYS_gettid);
}

INLINE int sys_getpid(void)
{
    return (int)sys_call0(SYS_getpid);
}

INLINE long sys_write(int fd, const void *data, size_t bytes)
{
    return sys_call3(SYS_write, fd, (long)data, (long)bytes);
}

INLINE long sys_read(int fd, void *data, size_t bytes)
{
    return sys_call3(SYS_read, fd, (long)data, (long)bytes);
}

/* Opens read-only, close-on-exec. */
INLINE int sys_open_read(const char *path)
{
    return (int)sys_call4(SYS_openat, -100 /* AT_FDCWD */, (long)path, 02000000 /* O_CLOEXEC */, 0);
}

INLINE void sys_close(int fd)
{
    sys_call1(SYS_close, fd);
}

INLINE void sys_yield(void)
{
    sys_call0(SYS_sched_yield);
}

#endif
