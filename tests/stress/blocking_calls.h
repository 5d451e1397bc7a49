/* blocking_calls.h -- every blocking call form that a stop signal could cut short
 *
 * PURPOSE  A table for eintr.c: how to set a call up, make it, let it end, and what it
 *          must return when undisturbed; and what a signal handler of the
 *          program does to it, with and without SA_RESTART.  The table describes Linux and
 *          glibc: eintr.c passes without the library too.
 */
#ifndef TESTS_STRESS_BLOCKING_CALLS_H
#define TESTS_STRESS_BLOCKING_CALLS_H

#include <aio.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <linux/io_uring.h>
#include <mqueue.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/msg.h>
#include <sys/random.h>
#include <sys/select.h>
#include <sys/sem.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <threads.h>
#include <time.h>
#include <unistd.h>

enum { BIG = 1 << 20 };

/* How long a call waits when nothing disturbs it.  Written between phases. */
static int wait_ms = 200;

struct call;

/* One run of one call. */
struct run {
    const struct call *call;
    pthread_t thread;
    int fd[4];                  /* -1: none */
    int id;                     /* System V object */
    pid_t child;
    sem_t semaphore;
    uint32_t word;
    unsigned long aio_context;
    struct aiocb aio;
    char *data;                 /* BIG bytes */
    long result;
    int error;
    double begin, end;          /* ms */
    int skipped;
    int entered, cleaned;       /* atomic */
};

struct call {
    const char *name;
    int (*set_up)(struct run *run);     /* 0: not available here; may be NULL */
    long (*make)(struct run *run);
    void (*finish)(struct run *run);    /* after wait_ms; NULL: it ends by itself */
    int ms;                             /* how long it takes at least; -1: wait_ms */
    long result;
    int error;
    /* On a handler without and with SA_RESTART: 'E' EINTR, 'N' no effect, 'P' a part is
     * transferred, '-' not tried.  Then: 'C' a cancellation point, '-' not. */
    char plain, restart, cancel;
};

static inline struct timespec ms_time(int ms)
{
    return (struct timespec){ ms / 1000, (long)(ms % 1000) * 1000000 };
}

static inline struct timespec ms_from_now(clockid_t clock, int ms)
{
    struct timespec t;

    clock_gettime(clock, &t);
    t.tv_sec += ms / 1000;
    t.tv_nsec += (long)(ms % 1000) * 1000000;
    if (t.tv_nsec >= 1000000000) {
        t.tv_nsec -= 1000000000;
        t.tv_sec++;
    }
    return t;
}

/* For functions that return an error number. */
static inline long as_errno(int error)
{
    errno = error;
    return error == 0 ? 0 : -1;
}

/* ------------------------------------------------------------------ setting up */

static int set_pipe(struct run *run)
{
    return pipe2(run->fd, O_CLOEXEC) == 0;
}

static int set_sockets(struct run *run)
{
    return socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, run->fd) == 0;
}

static int set_timeout(int fd, int option)
{
    struct timeval limit = { wait_ms / 1000, wait_ms % 1000 * 1000 };

    return setsockopt(fd, SOL_SOCKET, option, &limit, sizeof(limit)) == 0;
}

static int set_sockets_in(struct run *run)
{
    return set_sockets(run) && set_timeout(run->fd[0], SO_RCVTIMEO);
}

static int set_sockets_full(struct run *run)
{
    if (!set_sockets(run))
        return 0;
    while (send(run->fd[1], run->data, 4096, MSG_DONTWAIT) > 0)
        continue;
    return set_timeout(run->fd[1], SO_SNDTIMEO);
}

/* fd[2] listens; its queue of one is full when `full`. */
static int set_listener(struct run *run, int full)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    socklen_t length = sizeof(sa_family_t);

    run->fd[2] = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    run->fd[3] = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (bind(run->fd[2], (struct sockaddr *)&address, length) != 0 || listen(run->fd[2], 0) != 0)
        return 0;
    if (!full)
        return 1;
    length = sizeof(address);
    run->fd[0] = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    return getsockname(run->fd[2], (struct sockaddr *)&address, &length) == 0 &&
           connect(run->fd[0], (struct sockaddr *)&address, length) == 0;
}

static int set_listener_idle(struct run *run)
{
    return set_listener(run, 0);
}

static int set_listener_in(struct run *run)
{
    return set_listener(run, 0) && set_timeout(run->fd[2], SO_RCVTIMEO);
}

static int set_listener_full(struct run *run)
{
    return set_listener(run, 1);
}

static int set_listener_full_out(struct run *run)
{
    return set_listener(run, 1) && set_timeout(run->fd[3], SO_SNDTIMEO);
}

static int set_epoll(struct run *run)
{
    struct epoll_event event = { .events = EPOLLIN };

    run->fd[2] = epoll_create1(EPOLL_CLOEXEC);
    return set_pipe(run) && epoll_ctl(run->fd[2], EPOLL_CTL_ADD, run->fd[0], &event) == 0;
}

static int set_eventfd(struct run *run)
{
    run->fd[0] = eventfd(0, EFD_CLOEXEC);
    return run->fd[0] >= 0;
}

static int set_semaphore(struct run *run)
{
    return sem_init(&run->semaphore, 0, 0) == 0;
}

static int set_semaphore_set(struct run *run)
{
    run->id = semget(IPC_PRIVATE, 1, 0600);
    return run->id >= 0;
}

static int set_queue(struct run *run)
{
    run->id = msgget(IPC_PRIVATE, 0600);
    return run->id >= 0;
}

struct message {
    long type;
    char text[4096];
};

static int set_queue_full(struct run *run)
{
    static const struct message message = { .type = 1 };

    if (!set_queue(run))
        return 0;
    while (msgsnd(run->id, &message, sizeof(message.text), IPC_NOWAIT) == 0)
        continue;
    return 1;
}

static int set_message_queue(struct run *run)
{
    char name[64];

    snprintf(name, sizeof(name), "/eintr-%d", getpid());
    run->fd[0] = mq_open(name, O_RDWR | O_CREAT | O_CLOEXEC, 0600, NULL);
    mq_unlink(name);
    return run->fd[0] >= 0;
}

/* A child that lives until fd[1] is closed.  It must not keep the others' pipes open. */
static int set_child(struct run *run)
{
    if (!set_pipe(run))
        return 0;
    run->child = fork();
    if (run->child == 0) {
        char byte;

        syscall(SYS_close_range, 0, run->fd[0] - 1, 0);
        syscall(SYS_close_range, run->fd[0] + 1, ~0u, 0);
        _exit(read(run->fd[0], &byte, 1) == 0 ? 7 : 1);
    }
    return run->child > 0;
}

static int set_locked_file(struct run *run)
{
    char name[] = "/tmp/eintr-XXXXXX";

    run->fd[0] = mkostemp(name, O_CLOEXEC);
    run->fd[1] = open(name, O_RDWR | O_CLOEXEC);
    unlink(name);
    return run->fd[0] >= 0 && flock(run->fd[0], LOCK_EX) == 0;
}

static int set_file_and_sockets(struct run *run)
{
    char name[] = "/tmp/eintr-XXXXXX";

    run->fd[2] = mkostemp(name, O_CLOEXEC);
    unlink(name);
    return set_sockets(run) && ftruncate(run->fd[2], BIG) == 0;
}

static int set_aio(struct run *run)
{
    if (!set_pipe(run))
        return 0;
    run->aio = (struct aiocb){ .aio_fildes = run->fd[0], .aio_buf = run->data, .aio_nbytes = 1 };
    return aio_read(&run->aio) == 0;
}

static int set_kernel_aio(struct run *run)
{
    return syscall(SYS_io_setup, 4, &run->aio_context) == 0;
}

static int set_uring(struct run *run)
{
    struct io_uring_params parameters = { 0 };

    run->fd[0] = (int)syscall(SYS_io_uring_setup, 4, &parameters);
    return run->fd[0] >= 0;
}

/* ------------------------------------------------------------------- ending them */

static void put_byte(struct run *run)
{
    if (write(run->fd[1], "x", 1) != 1)
        perror("put_byte");
}

static void put_event(struct run *run)
{
    eventfd_write(run->fd[0], 1);
}

/* The call closes fd[1] when it is done. */
static void drain(struct run *run)
{
    char block[4096];

    while (read(run->fd[0], block, sizeof(block)) > 0)
        continue;
}

static void connect_to_it(struct run *run)
{
    struct sockaddr_un address;
    socklen_t length = sizeof(address);

    if (getsockname(run->fd[2], (struct sockaddr *)&address, &length) != 0 ||
        connect(run->fd[3], (struct sockaddr *)&address, length) != 0)
        perror("connect_to_it");
}

static void accept_one(struct run *run)
{
    run->fd[1] = accept(run->fd[2], NULL, NULL);
}

static void post(struct run *run)
{
    sem_post(&run->semaphore);
}

static void raise_semaphore(struct run *run)
{
    struct sembuf up = { 0, 1, 0 };

    semop(run->id, &up, 1);
}

static void send_message(struct run *run)
{
    static const struct message message = { .type = 1 };

    msgsnd(run->id, &message, 1, 0);
}

static void take_message(struct run *run)
{
    struct message message;

    if (msgrcv(run->id, &message, sizeof(message.text), 0, 0) < 0)
        perror("take_message");
}

static void signal_it(struct run *run)
{
    pthread_kill(run->thread, SIGUSR2);
}

static void end_child(struct run *run)
{
    close(run->fd[1]);
    run->fd[1] = -1;
}

/* The lock belongs to a description, so that threads exclude each other. */
static int ofd_lock(int fd, short kind, int command)
{
    struct flock lock = { .l_type = kind, .l_whence = SEEK_SET, .l_len = 1 };

    return fcntl(fd, command, &lock);
}

static int set_locked_range(struct run *run)
{
    return set_locked_file(run) && ofd_lock(run->fd[0], F_WRLCK, F_OFD_SETLK) == 0;
}

static void unlock_range(struct run *run)
{
    ofd_lock(run->fd[0], F_UNLCK, F_OFD_SETLK);
}

static void unlock_file(struct run *run)
{
    flock(run->fd[0], LOCK_UN);
}

static void wake_word(struct run *run)
{
    __atomic_store_n(&run->word, 1, __ATOMIC_SEQ_CST);
    syscall(SYS_futex, &run->word, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

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
