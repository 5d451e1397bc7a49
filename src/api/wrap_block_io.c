/* wrap_block_io.c -- descriptors as blocked regions; see wrap.h
 *
 * What may be cut short in the middle of a transfer is in wrap_block_transfer.c.
 *
 * All of them are always parked: which read may wait, or which write is large enough to be
 * cut short, cannot be told from the arguments.  It costs 17 ns; a write of a byte to
 * /dev/null takes 92 ns, and less does no system call.
 * Not here: pread, pwrite and their like, for files are not interruptible.
 */
#define _GNU_SOURCE
#undef _FORTIFY_SOURCE
#include <fcntl.h>
#include <stdarg.h>
#include <sys/file.h>
#include <sys/uio.h>
#include <unistd.h>

#include "api/wrap_rows.h"
#include "os/pipes.h"

BLOCKING3(ssize_t, read, int, void *, size_t)
BLOCKING3(ssize_t, readv, int, const struct iovec *, int)
BLOCKING2(int, flock, int, int)
BLOCKING3(int, lockf, int, int, off_t)
BLOCKING3(int, lockf64, int, int, __off64_t)

/* What read becomes under _FORTIFY_SOURCE. */
ssize_t __read_chk(int fd, void *data, size_t bytes, size_t room);
BLOCKING4(ssize_t, __read_chk, int, void *, size_t, size_t)

/* From the first splice on no cycle looks into pipes, nor is one doing so now: it would wait for the pipe's
 * lock as long as the other side of the splice keeps it waiting, and whoever waits for the cycle with it. */
void wrap_before_splice(void)
{
    static uint32_t told;               /* atomic, relaxed */

    if (LIKELY(load_relaxed(&told) != 0))
        return;
    bool alone = wrap_alone_begin();

    pipes_avoid();
    wrap_alone_end(alone);
    store_relaxed(&told, alone);
}

EXPORT ssize_t splice(int in, __off64_t *in_at, int out, __off64_t *out_at, size_t bytes, unsigned flags)
{
    static void *cache;
    __typeof__(&splice) real = WRAP_REAL(cache, splice);
    struct blocked blocked;
    ssize_t result;

    wrap_before_splice();
    CALL_PARKED(blocked, result, real(in, in_at, out, out_at, bytes, flags));
    return result;
}

/* Only these commands of fcntl wait.  The third argument, if there is one, is a word. */
static bool fcntl_waits(int command)
{
    return command == F_SETLKW || command == F_OFD_SETLKW;
}

typedef int (*fcntl_function)(int, int, ...);

static int fcntl_parked(fcntl_function real, int fd, int command, long argument)
{
    struct blocked blocked;
    int result;

    CALL_PARKED(blocked, result, real(fd, command, argument));
    return result;
}

#define FCNTL(name)                                                             \
    EXPORT int name(int fd, int command, ...)                                   \
    {                                                                           \
        static void *cache;                                                     \
        fcntl_function real = WRAP_REAL(cache, name);                           \
        va_list arguments;                                                      \
                                                                                \
        va_start(arguments, command);                                           \
        long argument = va_arg(arguments, long);                                \
        va_end(arguments);                                                      \
        return fcntl_waits(command) ? fcntl_parked(real, fd, command, argument) \
                                    : real(fd, command, argument);              \
    }

FCNTL(fcntl)
FCNTL(fcntl64)
