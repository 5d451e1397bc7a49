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

BLOCKING3(ssize_t, read, int, void *, size_t)
BLOCKING3(ssize_t, readv, int, const struct iovec *, int)
BLOCKING6(ssize_t, splice, int, __off64_t *, int, __off64_t *, size_t, unsigned)
BLOCKING2(int, flock, int, int)
BLOCKING3(int, lockf, int, int, off_t)
BLOCKING3(int, lockf64, int, int, __off64_t)

/* What read becomes under _FORTIFY_SOURCE. */
ssize_t __read_chk(int fd, void *data, size_t bytes, size_t room);
BLOCKING4(ssize_t, __read_chk, int, void *, size_t, size_t)

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
