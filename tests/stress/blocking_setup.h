/* blocking_setup.h -- what the calls of blocking_calls.h wait for, and how it comes
 *
 * PURPOSE  Sets up descriptors, queues, children and locks so that a call on them waits, and
 *          ends the wait.  For eintr.c.
 */
#ifndef TESTS_STRESS_BLOCKING_SETUP_H
#define TESTS_STRESS_BLOCKING_SETUP_H

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
    double disturbed;           /* ms: when the first signal was sent to it; 0: never */
    int skipped;
    int tid;                    /* atomic: set when the thread is about to call */
    int ended, cleaned;         /* atomic */
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

#endif
