/* forks.c -- threads that fork while others allocate, print and collect
 *
 * PURPOSE  A child forked at any moment can allocate, free what the parent allocated, collect, and
 *          start threads; the parent's blocks stay intact; nothing hangs, also with
 *          stdio's locks in play.  One child is forked from a signal handler that interrupts
 *          malloc (it only execs or exits, as POSIX allows).
 */
#define _GNU_SOURCE
#include <gcalloc.h>
#include <linux/sched.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { ALLOCATORS = 3, FORKERS = 3, FORKS = 25, LIVE = 2000, STATUS = 7 };

/* Blocks that a child leaks: with a cycle for every few of them (gcstress), fewer. */
static int leaks = 20000;

static char *live[LIVE];
static _Atomic int quit;
static volatile sig_atomic_t handler_forks;

static void *allocate(void *unused)
{
    for (unsigned i = 0; !quit; i++) {
        char *block = malloc(16 + i * 7919 % 3000);
        memset(block, 1, 16);
        if (i % 7 != 0)
            free(block);
        if (i % 1000 == 0)
            fflush(NULL);
    }
    return unused;
}

static void *allocate_little(void *unused)
{
    for (int i = 0; i < 1000; i++)
        free(malloc(100));
    return unused;
}

static int live_is_intact(void)
{
    for (int i = 0; i < LIVE; i++)
        if (live[i][0] != (char)i || live[i][i] != (char)i)
            return 0;
    return 1;
}

static void child(int without_libc)
{
    pthread_t thread;

    if (!live_is_intact())
        _exit(1);
    for (int i = 0; i < LIVE; i += 2) {
        free(live[i]);
        live[i] = malloc((size_t)i + 1);
        memset(live[i], i, (size_t)i + 1);
    }
    gc_collect();
    if (!without_libc && (pthread_create(&thread, NULL, allocate_little, NULL) != 0 ||
                          pthread_join(thread, NULL) != 0))
        _exit(2);
    for (int i = 0; i < leaks; i++)
        if (malloc(500) == NULL)
            _exit(3);
    gc_collect();
    _exit(live_is_intact() ? STATUS : 4);
}

static void reap(pid_t pid, int expected)
{
    int status;

    while (waitpid(pid, &status, 0) < 0)
        continue;
    if (!WIFEXITED(status) || WEXITSTATUS(status) != expected) {
        fprintf(stderr, "child ended with status %x\n", (unsigned)status);
        exit(1);
    }
}

static void *fork_children(void *unused)
{
    for (int i = 0; i < FORKS; i++) {
        pid_t pid = fork();
        if (pid == 0)
            child(0);
        reap(pid, STATUS);
    }
    return unused;
}

static int cloned(void *unused)
{
    (void)unused;
    child(1);
    return 1;
}

/* Past libc's fork: no handler of pthread_atfork runs. */
static void *clone_children(void *unused)
{
    static char stack[256 << 10];

    for (int i = 0; i < FORKS; i++) {
        struct clone_args arguments = { .exit_signal = SIGCHLD };
        pid_t pid = i % 4 == 0   ? (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0)
                    : i % 4 == 1 ? (pid_t)syscall(SYS_clone3, &arguments, sizeof arguments)
                    : i % 4 == 2 ? clone(cloned, stack + sizeof stack, SIGCHLD, NULL)
                                 : -1;

        if (pid < 0)            /* also where clone3 is refused */
            pid = (pid_t)syscall(SYS_fork);
        if (pid == 0)
            child(1);
        reap(pid, STATUS);
    }
    return unused;
}

static void on_alarm(int signal)
{
    pid_t pid = fork();

    (void)signal;
    if (pid == 0)
        _exit(STATUS);
    if (pid > 0)
        reap(pid, STATUS);
    handler_forks++;
}

/* Forks in a handler that interrupts malloc and free. */
static void fork_from_handler(void)
{
    struct sigaction action = { .sa_handler = on_alarm };
    void *blocks[100] = { NULL };

    sigset_t blocked;

    /* Not inside this fork: libc's own list of fork handlers is locked then. */
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGUSR1);
    sigprocmask(SIG_BLOCK, &blocked, NULL);
    sigaction(SIGUSR1, &action, NULL);
    pid_t pid = fork();

    if (pid == 0) {
        pid_t parent = getppid();
        for (int i = 0; i < 50; i++) {
            kill(parent, SIGUSR1);
            usleep(2000);
        }
        _exit(STATUS);
    }
    sigprocmask(SIG_UNBLOCK, &blocked, NULL);
    for (unsigned i = 0; waitpid(pid, NULL, WNOHANG) == 0; i++) {
        for (int k = 0; k < 100; k++) {
            free(blocks[k]);
            blocks[k] = malloc(i * 31 % 100000);
        }
    }
    if (handler_forks == 0)
        exit(2);
    signal(SIGUSR1, SIG_IGN);
}

int main(void)
{
    pthread_t allocators[ALLOCATORS], forkers[FORKERS];
    const char *debug = getenv("GCALLOC_DEBUG");

    if (debug != NULL && strstr(debug, "gcstress") != NULL)
        leaks /= 20;
    for (int i = 0; i < LIVE; i++) {
        live[i] = malloc((size_t)i + 1);
        memset(live[i], i, (size_t)i + 1);
    }
    for (int i = 0; i < ALLOCATORS; i++)
        pthread_create(&allocators[i], NULL, allocate, NULL);
    for (int i = 0; i < FORKERS; i++)
        pthread_create(&forkers[i], NULL, i == 0 ? clone_children : fork_children, NULL);
    for (int i = 0; i < FORKERS; i++)
        pthread_join(forkers[i], NULL);
    quit = 1;
    for (int i = 0; i < ALLOCATORS; i++)
        pthread_join(allocators[i], NULL);
    fork_from_handler();
    puts(live_is_intact() ? "ok" : "FAIL");
    return !live_is_intact();
}
