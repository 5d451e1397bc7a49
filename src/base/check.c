/* check.c -- see check.h */
#include "base/check.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/syscall.h>

#include "base/fmt.h"
#include "base/sys.h"

void error_write(const char *text, size_t bytes)
{
    if (sys_write(2, text, bytes) != -EINVAL)
        return;
    /* Ours is a pidfd (os/descriptors.h): a descriptor of the program can be had by it. */
    int fd = (int)sys_call3(438 /* pidfd_getfd */, 2, 2, 0);

    if (fd < 0)
        return;
    sys_write(fd, text, bytes);
    sys_close(fd);
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
