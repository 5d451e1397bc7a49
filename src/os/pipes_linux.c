/* pipes_linux.c -- see pipes.h
 *
 * tee(2) copies references to the pages, not the bytes, and leaves the pipe as it is.  A descriptor of the
 * process, seen from a task with a table of its own, is doubled by pidfd_getfd (Linux 5.6): to open it anew
 * by way of /proc would count as a reader, and is refused once the program has changed its user.
 *
 * The lock of a pipe cannot be tried, only waited for.  Who reads or writes holds it for a moment, but a
 * splice(2) that waits for its other side, a socket, holds it all the while.  So in a program that splices
 * pipes are left alone.
 */
#define _GNU_SOURCE
#include "os/pipes.h"

#include <fcntl.h>
#include <limits.h>
#include <sys/ioctl.h>

#include "base/atomics.h"
#include "base/sys.h"

static uint32_t avoided;        /* atomic, relaxed */

void pipes_avoid(void)
{
    store_relaxed(&avoided, 1);
}

void pipes_begin(struct pipes *pipes, bool own_table)
{
    *pipes = (struct pipes){ .own_table = own_table, .process = -1, .from = -1, .to = -1 };
}

void pipes_close(struct pipes *pipes)
{
    const int open[] = { pipes->process, pipes->from, pipes->to };

    for (size_t i = 0; i < sizeof open / sizeof open[0]; i++)
        if (open[i] >= 0)
            sys_close(open[i]);
    pipes_begin(pipes, pipes->own_table);
}

static int borrow(struct pipes *pipes, int number)
{
    if (pipes->own_table)
        return number;
    if (pipes->process < 0)
        pipes->process = (int)sys_call2(SYS_pidfd_open, sys_getpid(), 0);
    return pipes->process < 0 ? -1 : (int)sys_call3(SYS_pidfd_getfd, pipes->process, number, 0);
}

static bool make_room(struct pipes *pipes, long bytes)
{
    int ends[2];

    if (pipes->to < 0) {
        if (sys_call2(SYS_pipe2, (long)ends, O_CLOEXEC | O_NONBLOCK) != 0)
            return false;
        pipes->from = ends[0];
        pipes->to = ends[1];
        pipes->room = sys_call3(SYS_fcntl, pipes->to, F_GETPIPE_SZ, 0);
    }
    if (bytes > pipes->room) {
        long room = sys_call3(SYS_fcntl, pipes->to, F_SETPIPE_SZ, bytes);

        if (room > 0)
            pipes->room = room;
    }
    return true;
}

static long copy(struct pipes *pipes, int pipe)
{
    int waiting = 0;

    if (sys_call3(SYS_ioctl, pipe, FIONREAD, (long)&waiting) != 0 ||
        waiting < (int)sizeof(uintptr_t) ||
        !make_room(pipes, sys_call3(SYS_fcntl, pipe, F_GETPIPE_SZ, 0)))
        return 0;
    return sys_call4(SYS_tee, pipe, pipes->to, INT_MAX, SPLICE_F_NONBLOCK);
}

size_t pipes_copy(struct pipes *pipes, int number)
{
    int pipe = load_relaxed(&avoided) != 0 ? -1 : borrow(pipes, number);

    if (pipe < 0)
        return 0;
    long copied = copy(pipes, pipe);

    if (!pipes->own_table)
        sys_close(pipe);
    return copied > 0 ? (size_t)copied : 0;
}

size_t pipes_read(struct pipes *pipes, void *to, size_t bytes)
{
    long got = sys_read(pipes->from, to, bytes);

    return got > 0 ? (size_t)got : 0;
}
