/* PURPOSE: threads in blocking calls while others allocate (and collect): no call may return early
 * or with EINTR because of the collector. Prints only what was wrong. */
#define _GNU_SOURCE
#include "blocks.h"
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/msg.h>
#include <sys/select.h>
#include <sys/sem.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { WAIT_MS = 400 };

static int pair[2], pipes[2], semaphores;
static const struct timespec WAIT = {0, WAIT_MS * 1000000L};

static void set_timeout(int fd, int option)
{
    struct timeval t = {0, WAIT_MS * 1000};

    setsockopt(fd, SOL_SOCKET, option, &t, sizeof t);
}

static int wait_nanosleep(void)
{
    return nanosleep(&WAIT, NULL);
}

static int wait_clock(void)
{
    errno = clock_nanosleep(CLOCK_MONOTONIC, 0, &WAIT, NULL);
    return errno ? -1 : 0;
}

static int wait_usleep(void)
{
    return usleep(WAIT_MS * 1000);
}

static int wait_poll(void)
{
    struct pollfd p = {pipes[0], POLLIN, 0};

    return poll(&p, 1, WAIT_MS);
}

static int wait_select(void)
{
    struct timeval t = {0, WAIT_MS * 1000};
    fd_set set;

    FD_ZERO(&set);
    FD_SET(pipes[0], &set);
    return select(pipes[0] + 1, &set, NULL, NULL, &t);
}

static int wait_epoll(void)
{
    struct epoll_event e;
    int fd = epoll_create1(0);
    int rc = epoll_wait(fd, &e, 1, WAIT_MS);

    close(fd);
    return rc;
}

static int wait_semtimedop(void)
{
    struct sembuf take = {0, -1, 0};
    int rc = semtimedop(semaphores, &take, 1, &WAIT);

    return rc < 0 && errno == EAGAIN ? 0 : -1;
}

static int wait_recv(void)
{
    char c;

    return recv(pair[0], &c, 1, 0) < 0 && errno == EAGAIN ? 0 : -1;
}

static int wait_sigtimedwait(void)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    return sigtimedwait(&set, NULL, &WAIT) < 0 && errno == EAGAIN ? 0 : -1;
}

static int wait_sem(void)
{
    struct timespec until;
    sem_t s;

    sem_init(&s, 0, 0);
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += WAIT.tv_nsec;
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    return sem_timedwait(&s, &until) < 0 && errno == ETIMEDOUT ? 0 : -1;
}

static int wait_cond(void)
{
    pthread_mutex_t m = PTHREAD_MUTEX_INITIALIZER;
    pthread_cond_t c = PTHREAD_COND_INITIALIZER;
    struct timespec until;

    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += WAIT.tv_nsec;
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    pthread_mutex_lock(&m);
    errno = pthread_cond_timedwait(&c, &m, &until);
    return errno == ETIMEDOUT ? 0 : -1;
}

static const struct call {
    const char *name;
    int (*wait)(void);
} calls[] = {
    {"nanosleep", wait_nanosleep}, {"clock_nanosleep", wait_clock}, {"usleep", wait_usleep},
    {"poll", wait_poll}, {"select", wait_select}, {"epoll_wait", wait_epoll},
    {"semtimedop", wait_semtimedop}, {"recv", wait_recv}, {"sigtimedwait", wait_sigtimedwait},
    {"sem_timedwait", wait_sem}, {"pthread_cond_timedwait", wait_cond},
};

enum { CALLS = sizeof calls / sizeof *calls };

static void *waiter(void *arg)
{
    const struct call *call = arg;
    struct timespec begin, end;

    for (int i = 0; i < 3; i++) {
        double ms;
        int rc;

        clock_gettime(CLOCK_MONOTONIC, &begin);
        rc = call->wait();
        clock_gettime(CLOCK_MONOTONIC, &end);
        ms = (double)(end.tv_sec - begin.tv_sec) * 1e3;
        ms += (double)(end.tv_nsec - begin.tv_nsec) / 1e6;
        if (rc != 0)
            printf("%s: %s\n", call->name, strerrorname_np(errno));
        else if (ms < WAIT_MS - 1)
            printf("%s: came back early\n", call->name);
    }
    return NULL;
}

static int running = 1;

static void *allocate(void *arg)
{
    while (__atomic_load_n(&running, __ATOMIC_RELAXED))
        churn(512);
    return arg;
}

int main(void)
{
    pthread_t waiters[CALLS], allocator;

    if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) || pipe(pipes))
        return 2;
    semaphores = semget(IPC_PRIVATE, 1, 0600);
    set_timeout(pair[0], SO_RCVTIMEO);
    pthread_create(&allocator, NULL, allocate, NULL);
    for (int i = 0; i < CALLS; i++)
        pthread_create(&waiters[i], NULL, waiter, (void *)&calls[i]);
    for (int i = 0; i < CALLS; i++)
        pthread_join(waiters[i], NULL);
    __atomic_store_n(&running, 0, __ATOMIC_RELAXED);
    pthread_join(allocator, NULL);
    semctl(semaphores, 0, IPC_RMID);
    printf("%d blocking calls tried\n", CALLS);
    return 0;
}
