/* wrap_block_transfer.c -- blocking calls that a signal ends with a part done; see wrap.h
 *
 * A write of 1 MiB to a pipe returns 65536 when a signal comes, with SA_RESTART or
 * without, and few programs look.  Parked, it gets no signal of ours, but for one that was
 * on its way when the thread parked.  The rest is then transferred here.  If that fails, the part
 * that was done is the result, as it would be after any short transfer, and the
 * program meets the error at its next call.  A signal of the program ends it, as it would have
 * ended the whole: see wrap_goes_on.
 * Without _GNU_SOURCE, for there <sys/socket.h> makes addresses a transparent union.
 */
#define _DEFAULT_SOURCE
#undef _FORTIFY_SOURCE
#include <sys/random.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "api/wrap.h"

/* Of a variable that handlers on this thread leave as it is. */
static uint32_t exchange_own(uint32_t *word, uint32_t value)
{
    uint32_t before = load_relaxed(word);

    store_relaxed(word, value);
    return before;
}

/* `call` transfers bytes - done bytes, from `done` on.  wrap_goes_on is set around nothing but the
 * call: a system call of our own must not be ended. */
#define TRANSFER(name, call)                                    \
    {                                                           \
        static void *cache;                                     \
        uint32_t goes_on = exchange_own(&wrap_goes_on, 0);      \
        uint32_t handlers = wrap_handlers_run;                  \
        __typeof__(&name) real = WRAP_REAL(cache, name);        \
        struct blocked blocked;                                 \
        size_t done = 0;                                        \
        ssize_t result;                                         \
                                                                \
        do {                                                    \
            blocked_enter(&blocked);                            \
            PARKED_FRAME();                                     \
            store_relaxed(&wrap_goes_on, goes_on | (done != 0)); \
            result = call;                                      \
            store_relaxed(&wrap_goes_on, 0);                    \
        } while (blocked_transfer(&blocked, result, bytes, &done) && \
                 handlers == *(volatile uint32_t *)&wrap_handlers_run); \
        return done != 0 ? (ssize_t)done : result;              \
    }

EXPORT ssize_t write(int fd, const void *data, size_t bytes)
TRANSFER(write, real(fd, (const char *)data + done, bytes - done))

EXPORT ssize_t send(int fd, const void *data, size_t bytes, int flags)
TRANSFER(send, real(fd, (const char *)data + done, bytes - done, flags))

EXPORT ssize_t sendto(int fd, const void *data, size_t bytes, int flags,
                      const struct sockaddr *address, socklen_t length)
TRANSFER(sendto, real(fd, (const char *)data + done, bytes - done, flags, address, length))

/* A file that has no more gives 0; `offset` is moved by the kernel. */
EXPORT ssize_t sendfile(int out, int in, off_t *offset, size_t bytes)
TRANSFER(sendfile, real(out, in, offset, bytes - done))

ssize_t sendfile64(int out, int in, __off64_t *offset, size_t bytes);
EXPORT ssize_t sendfile64(int out, int in, __off64_t *offset, size_t bytes)
TRANSFER(sendfile64, real(out, in, offset, bytes - done))

EXPORT ssize_t getrandom(void *data, size_t bytes, unsigned flags)
TRANSFER(getrandom, real((char *)data + done, bytes - done, flags))

/* Only MSG_WAITALL means to fill the buffer. */
static ssize_t recv_all(int fd, void *data, size_t bytes, int flags)
TRANSFER(recv, real(fd, (char *)data + done, bytes - done, flags))

/* A datagram shorter than the buffer is whole: to go on would append the next one. */
static bool is_stream(int fd)
{
    int type = 0;
    socklen_t length = sizeof type;

    return sys_call6(SYS_getsockopt, fd, SOL_SOCKET, SO_TYPE, (long)&type, (long)&length, 0) == 0 &&
           type == SOCK_STREAM;
}

EXPORT ssize_t recv(int fd, void *data, size_t bytes, int flags)
{
    static void *cache;
    __typeof__(&recv) real = WRAP_REAL(cache, recv);
    struct blocked blocked;
    ssize_t result;

    if (UNLIKELY((flags & (MSG_WAITALL | MSG_PEEK | MSG_DONTWAIT)) == MSG_WAITALL) && is_stream(fd))
        return recv_all(fd, data, bytes, flags);
    CALL_PARKED(blocked, result, real(fd, data, bytes, flags));
    return result;
}

/* ------------------------------------------------------------- several pieces */

static size_t total_bytes(const struct iovec *parts, size_t count)
{
    size_t bytes = 0;

    for (size_t i = 0; i < count; i++)
        bytes += parts[i].iov_len;
    return bytes;
}

/* What is left of `parts` after `done` bytes, piece by piece.  Returns all that was done. */
static COLD ssize_t finish_parts(int fd, const struct iovec *parts, size_t count, size_t done,
                                 bool is_socket, int flags)
{
    size_t skip = done;

    for (size_t i = 0; i < count; i++) {
        if (skip >= parts[i].iov_len) {
            skip -= parts[i].iov_len;
            continue;
        }
        const char *data = (const char *)parts[i].iov_base + skip;
        size_t bytes = parts[i].iov_len - skip;
        store_relaxed(&wrap_goes_on, 1);
        ssize_t result = is_socket ? send(fd, data, bytes, flags) : write(fd, data, bytes);

        done += result > 0 ? (size_t)result : 0;
        if (result != (ssize_t)bytes)
            break;
        skip = 0;
    }
    return (ssize_t)done;
}

EXPORT ssize_t writev(int fd, const struct iovec *parts, int count)
{
    static void *cache;
    __typeof__(&writev) real = WRAP_REAL(cache, writev);
    struct blocked blocked;
    ssize_t result;

    CALL_PARKED(blocked, result, real(fd, parts, count));
    if (result > 0 && UNLIKELY(blocked_cut_short(&blocked)) &&
        (size_t)result < total_bytes(parts, (size_t)count))
        return finish_parts(fd, parts, (size_t)count, (size_t)result, false, 0);
    return result;
}

EXPORT ssize_t sendmsg(int fd, const struct msghdr *message, int flags)
{
    static void *cache;
    __typeof__(&sendmsg) real = WRAP_REAL(cache, sendmsg);
    struct blocked blocked;
    ssize_t result;

    CALL_PARKED(blocked, result, real(fd, message, flags));
    if (result > 0 && UNLIKELY(blocked_cut_short(&blocked)) &&
        (size_t)result < total_bytes(message->msg_iov, message->msg_iovlen))
        return finish_parts(fd, message->msg_iov, message->msg_iovlen, (size_t)result, true,
                            flags);
    return result;
}
