/* check.c -- see check.h */
#define _GNU_SOURCE
#include "base/check.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include "base/fmt.h"
#include "base/sys.h"

enum { PATIENCE_MS = 1000 };

static bool is_regular(int fd)
{
    struct stat status;

    return sys_call2(SYS_fstat, fd, (long)&status) == 0 && S_ISREG(status.st_mode);
}

/* Room in a pipe may be gone again when we write, for others write to it too: so the write itself is
 * told not to wait.  What does not know that (terminals; pipes before Linux 6.4) has been asked. */
static bool write_within(int fd, const char *text, size_t bytes, int ms)
{
    struct pollfd one = { fd, POLLOUT, 0 };
    struct iovec part = { (void *)text, bytes };

    if (sys_call3(SYS_poll, (long)&one, 1, ms) != 1 || (one.revents & POLLOUT) == 0 ||
        (one.revents & POLLERR) != 0)
        return false;
    if (is_regular(fd))
        return sys_write(fd, text, bytes) > 0;
    long written = sys_call6(SYS_pwritev2, fd, (long)&part, 1, -1, 0, RWF_NOWAIT);

    if (written == -EOPNOTSUPP || written == -ENOSYS || written == -EINVAL)
        written = sys_write(fd, text, bytes);
    return written > 0;
}

/* The program's standard error, open in the calling task.  Descriptor 2 of a task of ours is a pidfd
 * (os/descriptors.h), by which a duplicate can be had; then *own. */
static int open_error(bool *own)
{
    int fd = (int)sys_call3(SYS_pidfd_getfd, 2, 2, 0);

    *own = fd >= 0;
    return *own ? fd : 2;
}

bool error_try_write(const char *text, size_t bytes, int ms)
{
    bool own;
    int fd = open_error(&own);
    bool written = write_within(fd, text, bytes, ms);

    if (own)
        sys_close(fd);
    return written;
}

/* A thread of the program waits as it would in a write of its own.  A task of ours does not: whoever
 * waits for it would, too. */
static void error_write(const char *text, size_t bytes)
{
    if (sys_write(2, text, bytes) == -EINVAL)
        error_try_write(text, bytes, PATIENCE_MS);
}

static void print_line(const char *format, va_list args)
{
    char line[1024];
    size_t length = fmt_format(line, sizeof line, "libgcalloc: ");

    length += fmt_vformat(line + length, sizeof line - length - 1, format, args);
    line[length++] = '\n';
    error_write(line, length);
}

void warn(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    print_line(format, args);
    va_end(args);
}

/* abort() takes locks and runs in libc; the signal is raised directly so that a
 * corrupted process dies here.  A handler of SIGABRT still runs, once. */
static NORETURN void abort_process(void)
{
    static const struct {
        void *handler;
        unsigned long flags;
        void *restorer;
        unsigned long mask;
    } default_action;
    unsigned long abort_only = 1ul << (SIGABRT - 1);

    sys_call4(SYS_rt_sigprocmask, SIG_UNBLOCK, (long)&abort_only, 0, 8);
    sys_call3(SYS_tgkill, sys_getpid(), sys_gettid(), SIGABRT);
    sys_call4(SYS_rt_sigaction, SIGABRT, (long)&default_action, 0, 8);
    sys_call3(SYS_tgkill, sys_getpid(), sys_gettid(), SIGABRT);
    for (;;)
        sys_call1(SYS_exit_group, 127);
}

void die(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    print_line(format, args);
    va_end(args);
    abort_process();
}

void check_failed(const char *file, int line, const char *condition)
{
    die("internal error at %s:%d: %s", file, line, condition);
}
