/* stop_fixture.h -- worker threads for the tests that stop the world
 *
 * The stopper is the main thread, parked, or one of our own tasks.  "Stopped" is tested
 * by counters that the workers increment all the time: they must stand still.
 */
#ifndef GCALLOC_TESTS_STOP_FIXTURE_H
#define GCALLOC_TESTS_STOP_FIXTURE_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "world/stop.h"

enum {
    MAX_WORKERS = 512,
    PATIENCE_MS = 60000,        /* until something has happened often enough, on a busy machine */
};

static struct worker {
    uint64_t counter ALIGNED(CACHE_LINE);       /* atomic */
    uint32_t tid;                               /* atomic; set when it runs */
    uint32_t done;
    int pipe[2];
    uintptr_t stack;                            /* an address on its stack */
    pthread_t thread;
} workers[MAX_WORKERS];
static uint32_t quit;                           /* atomic */
static uint32_t handled;                        /* atomic: by count_signal */

static inline int set_up(void **state)
{
    (void)state;
    return thread_announce_main() && world_init() ? 0 : -1;
}

static uint64_t now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static struct spilled_registers *main_registers;         /* on the stack of main */

static inline bool stop(const char **why)
{
    thread_park(thread_self, main_registers);
    if (world_stop(why))
        return true;
    thread_unpark(thread_self);
    return false;
}

static inline void start(void)
{
    world_start();
    thread_unpark(thread_self);
}

static inline void stop_surely(void)
{
    const char *why = "";

    if (!stop(&why))
        fail_msg("world_stop: %s", why);
}

static uint64_t sum_counters(void)
{
    uint64_t sum = 0;

    for (int i = 0; i < MAX_WORKERS; i++)
        sum += load_relaxed(&workers[i].counter);
    return sum;
}

/* Looks for a while whether anything moves.  No libc call: the world is stopped. */
static inline bool stands_still(uint64_t microseconds)
{
    uint64_t before = sum_counters();
    struct timespec time = { 0, (long)microseconds * 1000 };

    sys_call2(SYS_nanosleep, (long)&time, 0);
    return sum_counters() == before;
}

static inline const struct stopped_task *shown(int tid)
{
    size_t count;
    const struct stopped_task *tasks = world_tasks(&count);

    for (size_t i = 0; i < count; i++)
        if (tasks[i].tid == tid)
            return &tasks[i];
    return NULL;
}

static inline void start_worker(int i, void *(*body)(void *))
{
    struct worker *worker = &workers[i];

    memset(worker, 0, sizeof(*worker));
    if (pipe(worker->pipe) != 0)
        fail_msg("pipe: %s", strerror(errno));
    store_relaxed(&quit, 0);
    assert_int_equal(pthread_create(&worker->thread, NULL, body, worker), 0);
    while (load_acquire(&worker->tid) == 0)
        sched_yield();
}

static inline void run_worker(struct worker *worker)
{
    worker->stack = (uintptr_t)__builtin_frame_address(0);
    store_release(&worker->tid, (uint32_t)gettid());
}

static inline void join_worker(int i)
{
    store_relaxed(&quit, 1);
    pthread_join(workers[i].thread, NULL);
    close(workers[i].pipe[0]);
    close(workers[i].pipe[1]);
    workers[i].tid = 0;
}

static inline void count_signal(int signal)
{
    (void)signal;
    fetch_add_relaxed(&handled, 1);
}

/* ------------------------------------------------------------- bodies of workers */

static inline void *compute(void *argument)
{
    struct worker *worker = argument;

    run_worker(worker);
    while (load_relaxed(&quit) == 0)
        fetch_add_relaxed(&worker->counter, 1);
    return NULL;
}

static inline void *compute_with_all_blocked(void *argument)
{
    sigset_t all;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, NULL);
    return compute(argument);
}

/* In the runtime most of the time, or parked, or neither. */
static inline void *compute_in_all_states(void *argument)
{
    struct worker *worker = argument;
    struct spilled_registers save;
    struct thread *thread = thread_attach();

    run_worker(worker);
    while (load_relaxed(&quit) == 0) {
        fetch_add_relaxed(&worker->counter, 1);
        runtime_enter();
        for (int i = 0; i < 100; i++)
            fetch_add_relaxed(&worker->counter, 1);
        runtime_leave(thread);
        fetch_add_relaxed(&worker->counter, 1);
        thread_park(thread, &save);
        for (int i = 0; i < 100; i++)
            CPU_RELAX();
        thread_unpark(thread);
    }
    thread_detach();
    return NULL;
}

/* SIGUSR1 is blocked but in the call.  `done` counts its returns; `counter` is how many handlers had run. */
static inline void *suspend(void *argument)
{
    struct worker *worker = argument;
    sigset_t usr1, none;

    sigemptyset(&none);
    sigemptyset(&usr1);
    sigaddset(&usr1, SIGUSR1);
    pthread_sigmask(SIG_BLOCK, &usr1, NULL);
    run_worker(worker);
    while (load_relaxed(&quit) == 0) {
        sigsuspend(&none);
        worker->done++;
        store_release(&worker->counter, load_relaxed(&handled));
    }
    return NULL;
}

#endif
