/* wrap_block_io.c -- descriptors as blocked regions; see wrap.h
 *
 * All of them are always parked: which read may wait or which write is large enough
 * to be cut short cannot be told from the arguments, and a park and unpark
 * costs less than a tenth of the cheapest system call.
 * Not here: pread, pwrite and their like, for files are not interruptible.
 */
#define _GNU_SOURCE
#undef _FORTIFY_SOURCE
#include <sys/file.h>
#include <sys/random.h>
#include <sys/sendfile.h>
#include <sys/uio.h>
#include <unistd.h>

#include "api/wrap_rows.h"

BLOCKING3(ssize_t, read, int, void *, size_t)
BLOCKING3(ssize_t, readv, int, const struct iovec *, int)
BLOCKING3(ssize_t, write, int, const void *, size_t)
BLOCKING3(ssize_t, writev, int, const struct iovec *, int)
BLOCKING4(ssize_t, sendfile, int, int, off_t *, size_t)
BLOCKING4(ssize_t, sendfile64, int, int, __off64_t *, size_t)
BLOCKING6(ssize_t, splice, int, __off64_t *, int, __off64_t *, size_t, unsigned)
BLOCKING3(ssize_t, getrandom, void *, size_t, unsigned)
BLOCKING2(int, flock, int, int)

/* What read becomes under _FORTIFY_SOURCE. */
ssize_t __read_chk(int fd, void *data, size_t bytes, size_t room);
BLOCKING4(ssize_t, __read_chk, int, void *, size_t, size_t)
