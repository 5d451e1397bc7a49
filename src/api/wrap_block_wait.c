/* wrap_block_wait.c -- waiting for children, signals and other processes; see wrap.h
 *
 * Some of them the kernel would restart after our signal.  But a signal of the program
 * that comes meanwhile would then be handled outside the call and not interrupt it, which
 * alarm() as a timeout relies on.
 * sigtimedwait and semtimedop, with their relative timeouts, are in wrap_block_poll.c.
 */
#define _GNU_SOURCE
#include <mqueue.h>
#include <semaphore.h>
#include <signal.h>
#include <sys/msg.h>
#include <sys/resource.h>
#include <sys/sem.h>
#include <sys/wait.h>
#include <unistd.h>

#include "api/wrap_rows.h"

BLOCKING1(pid_t, wait, int *)
BLOCKING3(pid_t, waitpid, pid_t, int *, int)
BLOCKING4(int, waitid, idtype_t, id_t, siginfo_t *, int)
BLOCKING3(pid_t, wait3, int *, int, struct rusage *)
BLOCKING4(pid_t, wait4, pid_t, int *, int, struct rusage *)

BLOCKING0(int, pause)
BLOCKING1(int, sigsuspend, const sigset_t *)
/* What sigpause is under any standard of this century. */
int __xpg_sigpause(int signal);
BLOCKING1(int, __xpg_sigpause, int)
BLOCKING2(int, sigwaitinfo, const sigset_t *, siginfo_t *)
/* Returns the error; libc repeats it on EINTR itself. */
BLOCKING_ONCE2(int, sigwait, const sigset_t *, int *)

BLOCKING1(int, sem_wait, sem_t *)
BLOCKING2(int, sem_timedwait, sem_t *, const struct timespec *)
BLOCKING3(int, sem_clockwait, sem_t *, clockid_t, const struct timespec *)

BLOCKING4(int, msgsnd, int, const void *, size_t, int)
BLOCKING5(ssize_t, msgrcv, int, void *, size_t, long, int)
BLOCKING3(int, semop, int, struct sembuf *, size_t)

BLOCKING4(int, mq_send, mqd_t, const char *, size_t, unsigned)
BLOCKING4(ssize_t, mq_receive, mqd_t, char *, size_t, unsigned *)
BLOCKING5(int, mq_timedsend, mqd_t, const char *, size_t, unsigned, const struct timespec *)
BLOCKING5(ssize_t, mq_timedreceive, mqd_t, char *, size_t, unsigned *, const struct timespec *)
