/* blocking_calls.h -- every blocking call form that a stop signal could cut short
 *
 * PURPOSE  A table for eintr.c: how to set a call up, make it, let it end, and what it
 *          must return when undisturbed; and what a signal handler of the
 *          program does to it, with and without SA_RESTART.  The table describes Linux and
 *          glibc: eintr.c passes without the library too.
 */
#ifndef TESTS_STRESS_BLOCKING_CALLS_H
#define TESTS_STRESS_BLOCKING_CALLS_H

#include "blocking_setup.h"

/* ------------------------------------------------------------------ making them */

#define CALL(name, expression)                          \
    static long name(struct run *run __attribute__((unused))) \
    {                                                   \
        return (long)(expression);                      \
    }

/* With `limit` wait_ms long. */
#define TIMED_CALL(name, expression)                    \
    static long name(struct run *run __attribute__((unused))) \
    {                                                   \
        struct timespec limit = ms_time(wait_ms);       \
                                                        \
        return (long)(expression);                      \
    }

/* Closes its end, which lets drain() end. */
#define BIG_CALL(name, expression)                      \
    static long name(struct run *run)                   \
    {                                                   \
        struct iovec part = { run->data, BIG };         \
        struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1 }; \
        long result = (long)(expression);               \
        int saved = errno;                              \
                                                        \
        (void)message;                                  \
        close(run->fd[1]);                              \
        run->fd[1] = -1;                                \
        errno = saved;                                  \
        return result;                                  \
    }

static long make_sleep(struct run *run __attribute__((unused)))
{
    unsigned left = sleep((unsigned)wait_ms / 1000 + 2);

    errno = EINTR;
    return left == 0 ? 0 : -1;
}

CALL(make_usleep, usleep((useconds_t)wait_ms * 1000))
TIMED_CALL(make_nanosleep, nanosleep(&limit, NULL))
TIMED_CALL(make_nanosleep_left, nanosleep(&limit, &limit))
TIMED_CALL(make_clock_nanosleep, as_errno(clock_nanosleep(CLOCK_MONOTONIC, 0, &limit, NULL)))

static long make_clock_nanosleep_until(struct run *run __attribute__((unused)))
{
    struct timespec limit = ms_from_now(CLOCK_MONOTONIC, wait_ms);

    return as_errno(clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &limit, NULL));
}

static long make_thrd_sleep(struct run *run __attribute__((unused)))
{
    struct timespec limit = ms_time(wait_ms);
    int result = thrd_sleep(&limit, NULL);

    return as_errno(result == -1 ? EINTR : -result);
}

static long poll_it(struct run *run, int ms)
{
    struct pollfd one = { run->fd[0], POLLIN, 0 };

    return poll(&one, 1, ms);
}

static long ppoll_it(struct run *run, const struct timespec *limit)
{
    struct pollfd one = { run->fd[0], POLLIN, 0 };

    return ppoll(&one, 1, limit, NULL);
}

static long select_it(struct run *run, struct timeval *limit)
{
    fd_set set;

    FD_ZERO(&set);
    FD_SET(run->fd[0], &set);
    return select(run->fd[0] + 1, &set, NULL, NULL, limit);
}

static long pselect_it(struct run *run, const struct timespec *limit)
{
    fd_set set;

    FD_ZERO(&set);
    FD_SET(run->fd[0], &set);
    return pselect(run->fd[0] + 1, &set, NULL, NULL, limit, NULL);
}

static long make_select(struct run *run)
{
    struct timeval limit = { wait_ms / 1000, wait_ms % 1000 * 1000 };

    return select_it(run, &limit);
}

CALL(make_poll, poll_it(run, wait_ms))
CALL(make_poll_event, poll_it(run, -1))
TIMED_CALL(make_ppoll, ppoll_it(run, &limit))
CALL(make_ppoll_event, ppoll_it(run, NULL))
CALL(make_select_event, select_it(run, NULL))
TIMED_CALL(make_pselect, pselect_it(run, &limit))
CALL(make_pselect_event, pselect_it(run, NULL))

static struct epoll_event epoll_out;
CALL(make_epoll, epoll_wait(run->fd[2], &epoll_out, 1, wait_ms))
CALL(make_epoll_event, epoll_wait(run->fd[2], &epoll_out, 1, -1))
CALL(make_epoll_pwait, epoll_pwait(run->fd[2], &epoll_out, 1, wait_ms, NULL))
TIMED_CALL(make_epoll_pwait2, epoll_pwait2(run->fd[2], &epoll_out, 1, &limit, NULL))

/* SIGUSR2, blocked in this thread. */
static sigset_t block_usr2(void)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGUSR2);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    return set;
}

static long make_sigtimedwait(struct run *run __attribute__((unused)))
{
    struct timespec limit = ms_time(wait_ms);
    sigset_t set = block_usr2();

    return sigtimedwait(&set, NULL, &limit);
}

static long make_sigwaitinfo(struct run *run __attribute__((unused)))
{
    sigset_t set = block_usr2();

    return sigwaitinfo(&set, NULL);
}

static long make_sigwait(struct run *run __attribute__((unused)))
{
    sigset_t set = block_usr2();
    int got;

    return as_errno(sigwait(&set, &got));
}

static long make_sigsuspend(struct run *run __attribute__((unused)))
{
    sigset_t none;

    block_usr2();
    sigemptyset(&none);
    return sigsuspend(&none);
}

CALL(make_pause, pause())

static long make_sem_timedwait(struct run *run)
{
    struct timespec limit = ms_from_now(CLOCK_REALTIME, wait_ms);

    return sem_timedwait(&run->semaphore, &limit);
}

static long make_sem_clockwait(struct run *run)
{
    struct timespec limit = ms_from_now(CLOCK_MONOTONIC, wait_ms);

    return sem_clockwait(&run->semaphore, CLOCK_MONOTONIC, &limit);
}

CALL(make_sem_wait, sem_wait(&run->semaphore))

static struct sembuf sem_down = { 0, -1, 0 };
CALL(make_semop, semop(run->id, &sem_down, 1))
TIMED_CALL(make_semtimedop, semtimedop(run->id, &sem_down, 1, &limit))

static long make_msgrcv(struct run *run)
{
    struct message message;

    return msgrcv(run->id, &message, sizeof(message.text), 0, 0);
}

static long make_msgsnd(struct run *run)
{
    struct message message = { .type = 1 };

    return msgsnd(run->id, &message, sizeof(message.text), 0);
}

static long make_mq_timedreceive(struct run *run)
{
    struct timespec limit = ms_from_now(CLOCK_REALTIME, wait_ms);

    return mq_timedreceive(run->fd[0], run->data, BIG, NULL, &limit);
}

static long make_cond_timedwait(struct run *run __attribute__((unused)))
{
    pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
    pthread_cond_t condition = PTHREAD_COND_INITIALIZER;
    struct timespec limit = ms_from_now(CLOCK_REALTIME, wait_ms);
    int error = 0;

    pthread_mutex_lock(&mutex);
    while (error == 0)
        error = pthread_cond_timedwait(&condition, &mutex, &limit);
    pthread_mutex_unlock(&mutex);
    return as_errno(error);
}

CALL(make_read, read(run->fd[0], run->data, 8))

static long scatter(struct run *run, int how)
{
    struct iovec part = { run->data, 8 };
    struct msghdr header = { .msg_iov = &part, .msg_iovlen = 1 };
    struct mmsghdr several = { .msg_hdr = header };

    return how == 0 ? readv(run->fd[0], &part, 1) :
           how == 1 ? recvmsg(run->fd[0], &header, 0) :
                      recvmmsg(run->fd[0], &several, 1, 0, NULL);
}

CALL(make_readv, scatter(run, 0))
CALL(make_recvmsg, scatter(run, 1))
CALL(make_recvmmsg, scatter(run, 2))
CALL(make_recv, recv(run->fd[0], run->data, 8, 0))
CALL(make_recvfrom, recvfrom(run->fd[0], run->data, 8, 0, NULL, NULL))
CALL(make_write_full, write(run->fd[1], run->data, 8))
CALL(make_send_full, send(run->fd[1], run->data, 8, 0))
CALL(make_sendto_full, sendto(run->fd[1], run->data, 8, 0, NULL, 0))
CALL(make_accept, accept(run->fd[2], NULL, NULL) >= 0 ? 0 : -1)
CALL(make_accept4, accept4(run->fd[2], NULL, NULL, SOCK_CLOEXEC) >= 0 ? 0 : -1)

static long make_connect(struct run *run)
{
    struct sockaddr_un address;
    socklen_t length = sizeof(address);

    getsockname(run->fd[2], (struct sockaddr *)&address, &length);
    return connect(run->fd[3], (struct sockaddr *)&address, length);
}

BIG_CALL(make_write_big, write(run->fd[1], run->data, BIG))
BIG_CALL(make_writev_big, writev(run->fd[1], &part, 1))
BIG_CALL(make_send_big, send(run->fd[1], run->data, BIG, 0))
BIG_CALL(make_sendmsg_big, sendmsg(run->fd[1], &message, 0))
BIG_CALL(make_sendfile_big, sendfile(run->fd[1], run->fd[2], NULL, BIG))

static long make_splice(struct run *run)
{
    int other[2];

    if (pipe2(other, O_CLOEXEC) != 0)
        return -1;
    run->fd[2] = other[0];
    run->fd[3] = other[1];
    return splice(run->fd[0], NULL, other[1], NULL, 8, 0);
}

CALL(make_getrandom, getrandom(run->data, BIG, 0))
CALL(make_flock, flock(run->fd[1], LOCK_EX))
CALL(make_fcntl, ofd_lock(run->fd[1], F_WRLCK, F_OFD_SETLKW))

static long child_status(struct run *run, pid_t got, int status)
{
    if (got == run->child)
        run->child = 0;
    return got < 0 ? -1 : WIFEXITED(status) ? WEXITSTATUS(status) : -2;
}

static long make_waitpid(struct run *run)
{
    int status;
    pid_t got = waitpid(run->child, &status, 0);

    return child_status(run, got, status);
}

static long make_wait4(struct run *run)
{
    int status;
    pid_t got = wait4(run->child, &status, 0, NULL);

    return child_status(run, got, status);
}

static long make_waitid(struct run *run)
{
    siginfo_t info;
    int result = waitid(P_PID, (id_t)run->child, &info, WEXITED);

    if (result == 0)
        run->child = 0;
    return result == 0 ? info.si_status : -1;
}


static long make_system(struct run *run __attribute__((unused)))
{
    char command[64];

    snprintf(command, sizeof(command), "sleep %d.%03d; exit 3", wait_ms / 1000, wait_ms % 1000);
    return system(command) >> 8;
}

static long make_aio_suspend(struct run *run)
{
    const struct aiocb *list[] = { &run->aio };
    struct timespec limit = ms_time(wait_ms);

    return aio_suspend(list, 1, &limit);
}

TIMED_CALL(make_syscall_nanosleep, syscall(SYS_nanosleep, &limit, NULL))
CALL(make_syscall_read, syscall(SYS_read, run->fd[0], run->data, 8))
TIMED_CALL(make_syscall_futex, syscall(SYS_futex, &run->word, FUTEX_WAIT, 0, &limit, NULL, 0))
CALL(make_syscall_futex_event, syscall(SYS_futex, &run->word, FUTEX_WAIT, 0, NULL, NULL, 0))

static long make_syscall_futex_until(struct run *run)
{
    struct timespec limit = ms_from_now(CLOCK_MONOTONIC, wait_ms);

    return syscall(SYS_futex, &run->word, FUTEX_WAIT_BITSET, 0, &limit, NULL,
                   FUTEX_BITSET_MATCH_ANY);
}

/* io_getevents has no header here: struct io_event is 32 bytes. */
TIMED_CALL(make_syscall_getevents,
           syscall(SYS_io_getevents, run->aio_context, 1L, 1L, run->data, &limit))

static long make_syscall_uring(struct run *run)
{
    struct timespec limit = ms_time(wait_ms);
    struct io_uring_getevents_arg argument = { .ts = (uint64_t)(uintptr_t)&limit };

    return syscall(SYS_io_uring_enter, run->fd[0], 0, 1,
                   IORING_ENTER_GETEVENTS | IORING_ENTER_EXT_ARG, &argument, sizeof(argument));
}

/* -------------------------------------------------------------------- the table */

static const struct call calls[] = {
    { "sleep", NULL, make_sleep, NULL, 2000, 0, 0, 'E', 'E', 'C' },
    { "usleep", NULL, make_usleep, NULL, -1, 0, 0, 'E', 'E', 'C' },
    { "nanosleep", NULL, make_nanosleep, NULL, -1, 0, 0, 'E', 'E', 'C' },
    { "nanosleep-left", NULL, make_nanosleep_left, NULL, -1, 0, 0, 'E', 'E', 'C' },
    { "clock_nanosleep", NULL, make_clock_nanosleep, NULL, -1, 0, 0, 'E', 'E', 'C' },
    { "clock_nanosleep-abs", NULL, make_clock_nanosleep_until, NULL, -1, 0, 0,
      'E', 'E', 'C' },
    { "thrd_sleep", NULL, make_thrd_sleep, NULL, -1, 0, 0, 'E', 'E', '-' },
    { "poll", set_pipe, make_poll, NULL, -1, 0, 0, 'E', 'E', 'C' },
    { "poll-event", set_pipe, make_poll_event, put_byte, -1, 1, 0, 'E', 'E', 'C' },
    { "ppoll", set_pipe, make_ppoll, NULL, -1, 0, 0, 'E', 'E', 'C' },
    { "ppoll-event", set_pipe, make_ppoll_event, put_byte, -1, 1, 0, 'E', 'E', 'C' },
    { "select", set_pipe, make_select, NULL, -1, 0, 0, 'E', 'E', 'C' },
    { "select-event", set_pipe, make_select_event, put_byte, -1, 1, 0, 'E', 'E', 'C' },
    { "pselect", set_pipe, make_pselect, NULL, -1, 0, 0, 'E', 'E', 'C' },
    { "pselect-event", set_pipe, make_pselect_event, put_byte, -1, 1, 0, 'E', 'E', 'C' },
    { "epoll_wait", set_epoll, make_epoll, NULL, -1, 0, 0, 'E', 'E', 'C' },
    { "epoll_wait-event", set_epoll, make_epoll_event, put_byte, -1, 1, 0, 'E', 'E', 'C' },
    { "epoll_pwait", set_epoll, make_epoll_pwait, NULL, -1, 0, 0, 'E', 'E', 'C' },
    { "epoll_pwait2", set_epoll, make_epoll_pwait2, NULL, -1, 0, 0, 'E', 'E', 'C' },
    { "pause", NULL, make_pause, signal_it, -1, -1, EINTR, 'E', 'E', 'C' },
    { "sigsuspend", NULL, make_sigsuspend, signal_it, -1, -1, EINTR, 'E', 'E', 'C' },
    { "sigtimedwait", NULL, make_sigtimedwait, NULL, -1, -1, EAGAIN, 'E', 'E', 'C' },
    { "sigwaitinfo", NULL, make_sigwaitinfo, signal_it, -1, SIGUSR2, 0, 'E', 'E', 'C' },
    { "sigwait", NULL, make_sigwait, signal_it, -1, 0, 0, 'N', 'N', 'C' },
    { "sem_wait", set_semaphore, make_sem_wait, post, -1, 0, 0, 'E', 'N', 'C' },
    { "sem_timedwait", set_semaphore, make_sem_timedwait, NULL, -1, -1, ETIMEDOUT,
      'E', 'E', 'C' },
    { "sem_clockwait", set_semaphore, make_sem_clockwait, NULL, -1, -1, ETIMEDOUT,
      'E', 'E', 'C' },
    { "semop", set_semaphore_set, make_semop, raise_semaphore, -1, 0, 0, 'E', 'E', '-' },
    { "semtimedop", set_semaphore_set, make_semtimedop, NULL, -1, -1, EAGAIN,
      'E', 'E', '-' },
    { "msgrcv", set_queue, make_msgrcv, send_message, -1, 1, 0, 'E', 'E', 'C' },
    { "msgsnd", set_queue_full, make_msgsnd, take_message, -1, 0, 0, 'E', 'E', 'C' },
    { "mq_timedreceive", set_message_queue, make_mq_timedreceive, NULL, -1, -1, ETIMEDOUT,
      'E', 'N', 'C' },
    { "cond_timedwait", NULL, make_cond_timedwait, NULL, -1, -1, ETIMEDOUT, 'N', 'N', 'C' },
    { "read", set_pipe, make_read, put_byte, -1, 1, 0, 'E', 'N', 'C' },
    { "read-eventfd", set_eventfd, make_read, put_event, -1, 8, 0, 'E', 'N', 'C' },
    { "read-timeo", set_sockets_in, make_read, NULL, -1, -1, EAGAIN, 'E', 'E', 'C' },
    { "readv", set_pipe, make_readv, put_byte, -1, 1, 0, 'E', 'N', 'C' },
    { "recv", set_sockets, make_recv, put_byte, -1, 1, 0, 'E', 'N', 'C' },
    { "recv-timeo", set_sockets_in, make_recv, NULL, -1, -1, EAGAIN, 'E', 'E', 'C' },
    { "recvfrom-timeo", set_sockets_in, make_recvfrom, NULL, -1, -1, EAGAIN,
      'E', 'E', 'C' },
    { "recvmsg-timeo", set_sockets_in, make_recvmsg, NULL, -1, -1, EAGAIN, 'E', 'E', 'C' },
    { "recvmmsg-timeo", set_sockets_in, make_recvmmsg, NULL, -1, -1, EAGAIN,
      'E', 'E', 'C' },
    { "write-timeo", set_sockets_full, make_write_full, NULL, -1, -1, EAGAIN,
      'E', 'E', 'C' },
    { "send-timeo", set_sockets_full, make_send_full, NULL, -1, -1, EAGAIN, 'E', 'E', 'C' },
    { "sendto-timeo", set_sockets_full, make_sendto_full, NULL, -1, -1, EAGAIN,
      'E', 'E', 'C' },
    { "accept", set_listener_idle, make_accept, connect_to_it, -1, 0, 0, 'E', 'N', 'C' },
    { "accept4", set_listener_idle, make_accept4, connect_to_it, -1, 0, 0, 'E', 'N', 'C' },
    { "accept-timeo", set_listener_in, make_accept, NULL, -1, -1, EAGAIN, 'E', 'E', 'C' },
    { "connect", set_listener_full, make_connect, accept_one, -1, 0, 0, 'E', 'N', 'C' },
    { "connect-timeo", set_listener_full_out, make_connect, NULL, -1, -1, EAGAIN,
      'E', 'E', 'C' },
    { "write-1MiB", set_pipe, make_write_big, drain, -1, BIG, 0, 'P', 'P', 'C' },
    { "writev-1MiB", set_pipe, make_writev_big, drain, -1, BIG, 0, 'P', 'P', 'C' },
    { "send-1MiB", set_sockets, make_send_big, drain, -1, BIG, 0, 'P', 'P', 'C' },
    { "sendmsg-1MiB", set_sockets, make_sendmsg_big, drain, -1, BIG, 0, 'P', 'P', 'C' },
    { "sendfile-1MiB", set_file_and_sockets, make_sendfile_big, drain, -1, BIG, 0,
      'P', 'P', '-' },
    { "splice", set_pipe, make_splice, put_byte, -1, 1, 0, 'E', 'N', 'C' },
    { "getrandom-1MiB", NULL, make_getrandom, NULL, 0, BIG, 0, '-', '-', '-' },
    { "flock", set_locked_file, make_flock, unlock_file, -1, 0, 0, 'E', 'N', '-' },
    { "fcntl-lock", set_locked_range, make_fcntl, unlock_range, -1, 0, 0, 'E', 'N', 'C' },
    { "waitpid", set_child, make_waitpid, end_child, -1, 7, 0, 'E', 'N', 'C' },
    { "wait4", set_child, make_wait4, end_child, -1, 7, 0, 'E', 'N', 'C' },
    { "waitid", set_child, make_waitid, end_child, -1, 7, 0, 'E', 'N', 'C' },
    { "system", NULL, make_system, NULL, -1, 3, 0, 'N', 'N', 'C' },
    { "aio_suspend", set_aio, make_aio_suspend, NULL, -1, -1, EAGAIN, 'E', 'E', 'C' },
    { "syscall-nanosleep", NULL, make_syscall_nanosleep, NULL, -1, 0, 0, 'E', 'E', '-' },
    { "syscall-read", set_pipe, make_syscall_read, put_byte, -1, 1, 0, 'E', 'N', '-' },
    { "syscall-futex", NULL, make_syscall_futex, NULL, -1, -1, ETIMEDOUT, 'E', 'E', '-' },
    { "syscall-futex-abs", NULL, make_syscall_futex_until, NULL, -1, -1, ETIMEDOUT,
      'E', 'E', '-' },
    { "syscall-futex-event", NULL, make_syscall_futex_event, wake_word, -1, 0, 0,
      'E', 'N', '-' },
    { "syscall-io_getevents", set_kernel_aio, make_syscall_getevents, NULL, -1, 0, 0,
      'E', 'E', '-' },
    { "syscall-io_uring_enter", set_uring, make_syscall_uring, NULL, -1, -1, ETIME,
      'E', 'E', '-' },
};

enum { CALLS = sizeof(calls) / sizeof(calls[0]) };

#endif
