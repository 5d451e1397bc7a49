/* wrap_block_net.c -- sockets as blocked regions; see wrap.h
 *
 * Any of them may have SO_RCVTIMEO or SO_SNDTIMEO, which makes EINTR final.
 * What may be cut short in the middle of a transfer is in wrap_block_transfer.c.
 * Without _GNU_SOURCE, for there <sys/socket.h> makes addresses a transparent union.
 */
#define _DEFAULT_SOURCE
#undef _FORTIFY_SOURCE
#include <sys/socket.h>
#include <unistd.h>

#include "api/wrap_rows.h"

struct mmsghdr;

int accept4(int fd, struct sockaddr *address, socklen_t *length, int flags);
int recvmmsg(int fd, struct mmsghdr *messages, unsigned count, int flags, struct timespec *timeout);
int sendmmsg(int fd, struct mmsghdr *messages, unsigned count, int flags);

BLOCKING3(int, accept, int, struct sockaddr *, socklen_t *)
BLOCKING4(int, accept4, int, struct sockaddr *, socklen_t *, int)
BLOCKING3(int, connect, int, const struct sockaddr *, socklen_t)
BLOCKING3(ssize_t, recvmsg, int, struct msghdr *, int)
BLOCKING5(int, recvmmsg, int, struct mmsghdr *, unsigned, int, struct timespec *)
BLOCKING6(ssize_t, recvfrom, int, void *, size_t, int, struct sockaddr *, socklen_t *)
BLOCKING4(int, sendmmsg, int, struct mmsghdr *, unsigned, int)

/* What recv and recvfrom become under _FORTIFY_SOURCE. */
ssize_t __recv_chk(int fd, void *data, size_t bytes, size_t room, int flags);
ssize_t __recvfrom_chk(int fd, void *data, size_t bytes, size_t room, int flags,
                       struct sockaddr *address, socklen_t *length);
BLOCKING5(ssize_t, __recv_chk, int, void *, size_t, size_t, int)
BLOCKING7(ssize_t, __recvfrom_chk, int, void *, size_t, size_t, int, struct sockaddr *,
          socklen_t *)
