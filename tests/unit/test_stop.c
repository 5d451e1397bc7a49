/* test_stop.c -- stopping the world under every kind of thread
 *
 * The stopper is the main thread, parked, or one of our own tasks.  "Stopped" is tested
 * by counters that the threads increment all the time: they must stand still.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/park.h"
#include "world/fork.h"
#include "world/stop.h"
#include "world/task.h"

enum { MAX_WORKERS = 512 };

static struct worker {
    uint64_t counter ALIGNED(CACHE_LINE);       /* atomic */
    uint32_t tid;                               /* atomic; set when it runs */
    uint32_t done;
    int pipe[2];
    uintptr_t stack;                            /* an address on its stack */
    pthread_t thread;
} workers[MAX_WORKERS];
static uint32_t quit;                           /* atomic */

static int set_up(void **state)
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

static bool stop(const char **why)
{
    thread_park(thread_self, main_registers);
    if (world_stop(why))
        return true;
    thread_unpark(thread_self);
    return false;
}

static void start(void)
{
    world_start();
    thread_unpark(thread_self);
}

static void stop_surely(void)
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
static bool stands_still(uint64_t microseconds)
{
    uint64_t before = sum_counters();
    struct timespec time = { 0, (long)microseconds * 1000 };

    sys_call2(SYS_nanosleep, (long)&time, 0);
    return sum_counters() == before;
}

static const struct stopped_task *shown(int tid)
{
    size_t count;
    const struct stopped_task *tasks = world_tasks(&count);

    for (size_t i = 0; i < count; i++)
        if (tasks[i].tid == tid)
            return &tasks[i];
    return NULL;
}

static void start_worker(int i, void *(*body)(void *))
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

static void run_worker(struct worker *worker)
{
    worker->stack = (uintptr_t)__builtin_frame_address(0);
    store_release(&worker->tid, (uint32_t)gettid());
}

static void join_worker(int i)
{
    store_relaxed(&quit, 1);
    pthread_join(workers[i].thread, NULL);
    close(workers[i].pipe[0]);
    close(workers[i].pipe[1]);
    workers[i].tid = 0;
}

/* ------------------------------------------------------------- one kind at a time */

static void *compute(void *argument)
{
    struct worker *worker = argument;

    run_worker(worker);
    while (load_relaxed(&quit) == 0)
        fetch_add_relaxed(&worker->counter, 1);
    return NULL;
}

static void *compute_with_all_blocked(void *argument)
{
    sigset_t all;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, NULL);
    return compute(argument);
}

/* In the runtime most of the time, or parked, or neither. */
static void *compute_in_all_states(void *argument)
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

static void stop_often(void *(*body)(void *), int count, int stops)
{
    for (int i = 0; i < count; i++)
        start_worker(i, body);
    for (int n = 0; n < stops; n++) {
        stop_surely();
        bool still = stands_still(n % 20 == 0 ? 2000 : 20);
        int missing = 0;
        for (int i = 0; i < count; i++) {
            const struct stopped_task *task = shown((int)workers[i].tid);

            missing += task == NULL || task->sp > workers[i].stack ||
                       workers[i].stack - task->sp > 65536 ||
                       (task->thread != NULL && task->thread->in_runtime != 0);
        }
        start();
        assert_true(still);
        assert_int_equal(missing, 0);
    }
    uint64_t before = sum_counters();
    usleep(20000);
    assert_true(sum_counters() > before);
    for (int i = 0; i < count; i++)
        join_worker(i);
}

static void those_that_compute(void **state)
{
    (void)state;
    stop_often(compute, 1, 300);
    stop_often(compute, 5, 200);
}

static void those_that_block_all_signals(void **state)
{
    (void)state;
    stop_often(compute_with_all_blocked, 3, 200);
}

static void those_that_enter_and_park(void **state)
{
    (void)state;
    stop_often(compute_in_all_states, 1, 1000);
    stop_often(compute_in_all_states, 4, 500);
}

static void hundreds(void **state)
{
    (void)state;
    stop_often(compute_in_all_states, 300, 20);
    stop_often(compute, 300, 20);
}

static void *read_pipe(void *argument)
{
    struct worker *worker = argument;
    char c;

    run_worker(worker);
    worker->done = read(worker->pipe[0], &c, 1) == 1 && c == 'x' ? 1 : 2;
    return NULL;
}

static void those_that_sleep_in_a_read(void **state)
{
    (void)state;
    start_worker(0, read_pipe);
    for (int i = 0; i < 50; i++) {
        stop_surely();
        bool seen = shown((int)workers[0].tid) != NULL;
        start();
        assert_true(seen);
    }
    assert_int_equal(workers[0].done, 0);
    assert_int_equal(write(workers[0].pipe[1], "x", 1), 1);
    join_worker(0);
    assert_int_equal(workers[0].done, 1);
}

/* --------------------------------------------------------------------- registers */

#define SECRET 0x5ec4e700d00dfeedul

static void *keep_in_registers(void *argument)
{
    struct worker *worker = argument;
    uint64_t one = 1;

    run_worker(worker);
    __asm__ volatile("movq %2, %%r11\n\t"
                     "movq %%r11, %%xmm7\n\t"
                     "notq %%r11\n\t"
                     "movq %%r11, %%r14\n\t"
                     "xorl %%r11d, %%r11d\n\t"
                     "1: lock addq %1, (%0)\n\t"
                     "cmpl $0, (%3)\n\t"
                     "je 1b\n\t"
                     :
                     : "r"(&worker->counter), "r"(one), "i"(SECRET), "r"(&quit)
                     : "r11", "r14", "xmm7", "memory", "cc");
    return NULL;
}

static int count_words(const struct stopped_task *task, uint64_t word)
{
    int found = 0;

    for (uintptr_t at = task->frame_low & ~7ul; at + 8 <= task->frame_high; at += 8)
        found += *(const uint64_t *)at == word;
    return found;
}

static void all_registers_are_shown(void **state)
{
    (void)state;
    start_worker(0, keep_in_registers);
    while (load_relaxed(&workers[0].counter) == 0)
        sched_yield();
    stop_surely();
    const struct stopped_task *task = shown((int)workers[0].tid);
    int vector = task == NULL ? 0 : count_words(task, SECRET);
    int general = task == NULL ? 0 : count_words(task, ~SECRET);
    start();
    join_worker(0);
    assert_int_not_equal(vector, 0);
    assert_int_not_equal(general, 0);
}

/* ------------------------------------------------------------------ parked threads */

static void *park_in_read(void *argument)
{
    struct worker *worker = argument;
    struct spilled_registers save;
    struct thread *thread = thread_attach();
    char c;

    thread_park(thread, &save);
    run_worker(worker);
    long got = read(worker->pipe[0], &c, 1);
    store_release(&worker->counter, 1);
    thread_unpark(thread);
    store_release(&worker->counter, 2);
    worker->done = got == 1 ? 1 : 2;
    thread_detach();
    return NULL;
}

static void the_parked_are_held_without_a_signal(void **state)
{
    (void)state;
    start_worker(0, park_in_read);
    stop_surely();
    const struct stopped_task *task = shown((int)workers[0].tid);
    bool held = task != NULL && task->thread != NULL && task->frame_high == 0 &&
                load_acquire(&task->thread->state) == THREAD_HELD &&
                task->sp == task->thread->parked_sp;
    /* It comes out of its read and must wait. */
    sys_write(workers[0].pipe[1], "x", 1);
    struct timespec time = { 0, 20000000 };
    sys_call2(SYS_nanosleep, (long)&time, 0);
    uint64_t waited = load_acquire(&workers[0].counter);
    start();
    join_worker(0);
    assert_true(held);
    assert_int_equal(waited, 1);
    assert_int_equal(workers[0].counter, 2);
    assert_int_equal(workers[0].done, 1);
}

static void *stay_in_runtime(void *argument)
{
    struct worker *worker = argument;
    struct thread *thread = runtime_enter();

    run_worker(worker);
    usleep(50000);
    fetch_add_relaxed(&worker->counter, 1);
    runtime_leave(thread);
    fetch_add_relaxed(&worker->counter, 1);
    thread_detach();
    return NULL;
}

static void a_stop_waits_for_the_runtime(void **state)
{
    (void)state;
    start_worker(0, stay_in_runtime);
    stop_surely();
    uint64_t counter = workers[0].counter;
    bool seen = shown((int)workers[0].tid) != NULL;
    start();
    join_worker(0);
    assert_int_equal(counter, 1);
    assert_true(seen);
}

static void the_parked_stopper_is_shown(void **state)
{
    (void)state;
    stop_surely();
    const struct stopped_task *self = shown(gettid());
    uintptr_t sp = self == NULL ? 0 : self->sp;
    bool stopped = world_is_stopped();
    start();
    assert_true(stopped);
    assert_false(world_is_stopped());
    assert_true(sp != 0 && sp < (uintptr_t)&sp && (uintptr_t)&sp - sp < 4096);
}

/* ---------------------------------------------------------------- unknown to libc */

static int compute_as_clone(void *argument)
{
    struct worker *worker = argument;

    worker->stack = (uintptr_t)__builtin_frame_address(0);
    store_release(&worker->tid, (uint32_t)sys_gettid());
    while (load_relaxed(&quit) == 0)
        fetch_add_relaxed(&worker->counter, 1);
    store_release(&worker->done, 1);
    sys_call1(SYS_exit, 0);
    return 0;
}

static void raw_clones(void **state)
{
    enum { STACK = 65536 };
    char *stack = mmap(NULL, STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    (void)state;
    store_relaxed(&quit, 0);
    memset(&workers[0], 0, sizeof(workers[0]));
    assert_true(clone(compute_as_clone, stack + STACK,
                      CLONE_VM | CLONE_THREAD | CLONE_SIGHAND | CLONE_FS | CLONE_FILES,
                      &workers[0]) > 0);
    while (load_acquire(&workers[0].tid) == 0)
        sched_yield();
    for (int i = 0; i < 100; i++) {
        stop_surely();
        const struct stopped_task *task = shown((int)workers[0].tid);
        bool seen = task != NULL && task->thread == NULL &&
                    task->sp - (uintptr_t)stack < STACK;
        bool still = stands_still(200);
        start();
        assert_true(seen);
        assert_true(still);
    }
    store_relaxed(&quit, 1);
    while (load_acquire(&workers[0].done) == 0)
        sched_yield();
}

/* ---------------------------------------------------------------- coming and going */

static void *live_shortly(void *argument)
{
    struct worker *worker = argument;
    bool attach = (load_relaxed(&worker->counter) & 1) != 0;

    if (attach && runtime_enter() != NULL)
        runtime_leave(thread_self);
    for (int i = 0; i < 200; i++)
        fetch_add_relaxed(&worker->counter, 1);
    if (attach && (load_relaxed(&worker->counter) & 2) != 0)
        thread_detach();                /* others die without a word */
    return NULL;
}

static void *make_threads(void *argument)
{
    struct worker *worker = argument;
    pthread_t threads[4];

    run_worker(worker);
    while (load_relaxed(&quit) == 0) {
        for (int i = 0; i < 4; i++)
            if (pthread_create(&threads[i], NULL, live_shortly, worker) != 0)
                abort();
        for (int i = 0; i < 4; i++)
            pthread_join(threads[i], NULL);
        fetch_add_relaxed(&worker->counter, 1);
        worker->done++;
    }
    return NULL;
}

static void threads_that_come_and_go(void **state)
{
    uint64_t end = now_ms() + 4000;
    int stops = 0;

    (void)state;
    for (int i = 0; i < 3; i++)
        start_worker(i, make_threads);
    while (now_ms() < end) {
        stop_surely();
        bool still = stands_still(stops % 10 == 0 ? 1000 : 20);
        start();
        assert_true(still);
        thread_reap_dead();
        stops++;
        if (stops % 4 == 0)
            usleep(1000);
    }
    for (int i = 0; i < 3; i++)
        join_worker(i);
    uint32_t made = 4 * (workers[0].done + workers[1].done + workers[2].done);
    if (stops < 100 || made < 300)
        fail_msg("%d stops, %u threads", stops, made);
    unsigned structures = 0;
    for (struct thread *t = thread_list(); t != NULL; t = t->next)
        structures++;
    assert_true(structures < 400);
}

/* ------------------------------------------------------------------- other signals */

static void *change_ids(void *argument)
{
    struct worker *worker = argument;

    run_worker(worker);
    while (load_relaxed(&quit) == 0) {
        if (seteuid(geteuid()) != 0)
            abort();
        fetch_add_relaxed(&worker->counter, 1);
        worker->done++;
    }
    return NULL;
}

static void setuid_goes_on_working(void **state)
{
    (void)state;
    start_worker(0, change_ids);
    start_worker(1, compute);
    start_worker(2, compute_with_all_blocked);
    for (int i = 0; i < 500; i++) {
        stop_surely();
        bool still = stands_still(50);
        start();
        assert_true(still);
        uint32_t done = load_relaxed(&workers[0].done);
        for (int n = 0; n < 5000 && i % 10 == 0 && load_relaxed(&workers[0].done) < done + 2; n++)
            usleep(1000);
        assert_true(i % 10 != 0 || load_relaxed(&workers[0].done) >= done + 2);
    }
    for (int i = 0; i < 3; i++)
        join_worker(i);
}

static uint32_t handled;

static void on_usr1(int signal)
{
    (void)signal;
    fetch_add_relaxed(&handled, 1);
}

static void *suspend(void *argument)
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

/* sigsuspend returns as often as its signal comes: not for our signal, and always for its own. */
static void sigsuspend_waits_for_its_own_signal(void **state)
{
    struct sigaction action = { .sa_handler = on_usr1 };

    (void)state;
    sigaction(SIGUSR1, &action, NULL);
    handled = 0;
    start_worker(0, suspend);
    for (uint32_t i = 1; i <= 200; i++) {
        if (i == 200)
            store_relaxed(&quit, 1);
        stop_surely();
        start();
        assert_int_equal(workers[0].done, i - 1);
        pthread_kill(workers[0].thread, SIGUSR1);
        stop_surely();
        start();
        uint64_t end = now_ms() + 5000;
        while (load_acquire(&workers[0].counter) != i && now_ms() < end)
            sched_yield();
        assert_int_equal(workers[0].counter, i);
    }
    join_worker(0);
}

/* ---------------------------------------------------------------- interrupted calls */

INLINE long raw_nanosleep(const struct timespec *time, struct timespec *left)
{
    long result;

    __asm__ volatile("movl $35, %%eax\n\tsyscall"
                     : "=a"(result) : "D"(time), "S"(left) : "rcx", "r11", "memory");
    return result;
}

INLINE long raw_poll(struct pollfd *fds, unsigned long count, long timeout)
{
    long result;

    __asm__ volatile("movl $7, %%eax\n\tsyscall"
                     : "=a"(result) : "D"(fds), "S"(count), "d"(timeout)
                     : "rcx", "r11", "memory");
    return result;
}

INLINE long raw_epoll_wait(int fd, struct epoll_event *events, int count, int timeout)
{
    register long r10 __asm__("r10") = timeout;
    long result;

    __asm__ volatile("movl $232, %%eax\n\tsyscall"
                     : "=a"(result) : "D"(fd), "S"(events), "d"(count), "r"(r10)
                     : "rcx", "r11", "memory");
    return result;
}

static long results[3];
static uint64_t took_ms[3];

static void *sleep_raw(void *argument)
{
    struct worker *worker = argument;
    struct timespec time = { 0, 200000000 }, left;
    uint64_t begin = now_ms();

    run_worker(worker);
    results[0] = raw_nanosleep(&time, &left);
    took_ms[0] = now_ms() - begin;
    return NULL;
}

static void *poll_raw(void *argument)
{
    struct worker *worker = argument;
    struct pollfd fd = { .fd = worker->pipe[0], .events = POLLIN };
    uint64_t begin = now_ms();

    run_worker(worker);
    results[1] = raw_poll(&fd, 1, 200);
    took_ms[1] = now_ms() - begin;
    return NULL;
}

static void *epoll_raw(void *argument)
{
    struct worker *worker = argument;
    struct epoll_event event = { .events = EPOLLIN };
    int fd = epoll_create1(0);
    uint64_t begin = now_ms();

    epoll_ctl(fd, EPOLL_CTL_ADD, worker->pipe[0], &event);
    run_worker(worker);
    results[2] = raw_epoll_wait(fd, &event, 1, 200);
    took_ms[2] = now_ms() - begin;
    close(fd);
    return NULL;
}

static void raw_calls_are_not_cut_short(void **state)
{
    void *(*const bodies[])(void *) = { sleep_raw, poll_raw, epoll_raw };
    uint64_t end;

    (void)state;
    for (int i = 0; i < 3; i++)
        start_worker(i, bodies[i]);
    end = now_ms() + 100;
    while (now_ms() < end) {
        stop_surely();
        start();
        usleep(2000);
    }
    for (int i = 0; i < 3; i++)
        join_worker(i);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(results[i], 0);
        assert_true(took_ms[i] >= 199);
    }
    /* The rest of a sleep is known; poll and epoll_wait begin again. */
    assert_true(took_ms[0] < 290);
    assert_true(took_ms[1] < 600 && took_ms[2] < 600);
}

/* ------------------------------------------------------------------------ giving up */

static void *block_the_stop_signal(void *argument)
{
    struct worker *worker = argument;
    uint64_t mask = signals_block_all();

    run_worker(worker);
    while (load_relaxed(&quit) == 0) {
        fetch_add_relaxed(&worker->counter, 1);
        if (load_relaxed(&worker->done) == 1) {
            signals_restore(mask);
            store_relaxed(&worker->done, 2);
        }
    }
    return NULL;
}

static void the_deaf_end_the_stop(void **state)
{
    const char *why = NULL;

    (void)state;
    start_worker(0, block_the_stop_signal);
    start_worker(1, compute);
    uint64_t begin = now_ms();
    assert_false(stop(&why));
    assert_non_null(strstr(why, "blocks the stop signal"));
    assert_true(now_ms() - begin < 1500);
    begin = now_ms();
    assert_false(stop(&why));           /* and now it is known */
    assert_non_null(strstr(why, "still"));
    assert_true(now_ms() - begin < 50);
    uint64_t before = load_relaxed(&workers[1].counter);
    usleep(20000);
    assert_true(load_relaxed(&workers[1].counter) > before);
    /* The late signal of the first try must do no harm. */
    store_relaxed(&workers[0].done, 1);
    while (load_relaxed(&workers[0].done) != 2)
        sched_yield();
    for (int i = 0; i < 50; i++) {
        stop_surely();
        bool still = stands_still(100);
        start();
        assert_true(still);
    }
    join_worker(0);
    join_worker(1);
}

static void *fork_slowly(void *argument)
{
    struct worker *worker = argument;

    run_worker(worker);
    pid_t child = vfork();
    if (child == 0) {
        struct timespec time = { 0, 400000000 };
        sys_call2(SYS_nanosleep, (long)&time, 0);
        _exit(0);
    }
    waitpid(child, NULL, 0);
    return NULL;
}

static void a_vfork_in_progress_ends_the_stop(void **state)
{
    const char *why = NULL;

    (void)state;
    start_worker(0, fork_slowly);
    usleep(50000);
    uint64_t begin = now_ms();
    assert_false(stop(&why));
    assert_non_null(strstr(why, "stuck in the kernel"));
    assert_true(now_ms() - begin < 300);
    join_worker(0);
    stop_surely();
    start();
}

/* Sometimes deaf for longer than a stop waits, so that handlers come late. */
static void *block_now_and_then(void *argument)
{
    struct worker *worker = argument;

    run_worker(worker);
    for (uint32_t i = 0; load_relaxed(&quit) == 0; i++) {
        uint64_t mask = signals_block_all();
        struct timespec time = { 0, (long)(i % 4) * 40000000 };

        sys_call2(SYS_nanosleep, (long)&time, 0);
        signals_restore(mask);
        for (int n = 0; n < 200000; n++)
            fetch_add_relaxed(&worker->counter, 1);
    }
    return NULL;
}

static void late_handlers_do_not_count(void **state)
{
    uint64_t end = now_ms() + 4000;
    int stopped = 0, given_up = 0;

    (void)state;
    for (int i = 0; i < 3; i++)
        start_worker(i, block_now_and_then);
    start_worker(3, compute_in_all_states);
    while (now_ms() < end) {
        if (!stop(NULL)) {
            given_up++;
            continue;
        }
        bool still = stands_still(1000);
        start();
        assert_true(still);
        stopped++;
    }
    for (int i = 0; i < 4; i++)
        join_worker(i);
    if (stopped < 10 || given_up < 3)
        fail_msg("%d stops, %d given up", stopped, given_up);
}

/* ---------------------------------------------------------------- tasks as stoppers */

static struct { uint32_t stops, failed, moved; } by_task;

static void stop_from_task(void *count)
{
    for (int i = 0; i < *(int *)count; i++) {
        if (!world_stop(NULL)) {
            by_task.failed++;
            continue;
        }
        by_task.moved += !stands_still(100);
        world_start();
        by_task.stops++;
    }
}

static void our_tasks_stop_everybody_but_each_other(void **state)
{
    int count = 200;

    (void)state;
    for (int i = 0; i < 3; i++)
        start_worker(i, compute_in_all_states);
    assert_true(task_spawn(stop_from_task, &count));
    assert_true(task_spawn(stop_from_task, &count));
    while (task_count() != 0)           /* this thread is stopped as well */
        fetch_add_relaxed(&workers[10].counter, 1);
    for (int i = 0; i < 3; i++)
        join_worker(i);
    assert_int_equal(by_task.moved, 0);
    assert_int_equal(by_task.failed, 0);
    assert_int_equal(by_task.stops, 400);
}

static void count_up(void *word)
{
    fetch_add_relaxed((uint32_t *)word, 1);
}

static void tasks_come_and_go(void **state)
{
    uint32_t ran = 0, started = 0;

    (void)state;
    for (int i = 0; i < 3000; i++) {
        started += task_spawn(count_up, &ran);
        if (i % 50 == 0) {
            stop_surely();
            start();
        }
    }
    task_wait_all();
    assert_int_equal(task_count(), 0);
    assert_int_equal(ran, started);
    assert_true(started > 1000);
}

/* ------------------------------------------------------- the first thread has ended */

static void *stop_after_main(void *unused)
{
    struct spilled_registers save;
    int bad = 0;

    (void)unused;
    thread_attach();
    usleep(50000);
    for (int i = 0; i < 20; i++) {
        thread_park(thread_self, &save);
        if (world_stop(NULL))
            world_start();
        else
            bad++;
        thread_unpark(thread_self);
    }
    _exit(bad);
}

static void a_first_thread_that_ended_is_no_obstacle(void **state)
{
    int status;

    (void)state;
    world_fork_prepare();
    pid_t child = fork();
    if (child == 0) {
        pthread_t thread;

        world_fork_child_all();
        thread_detach();
        pthread_create(&thread, NULL, stop_after_main, NULL);
        pthread_exit(NULL);
    }
    world_fork_parent();
    waitpid(child, &status, 0);
    assert_int_equal(status, 0);
}

/* ----------------------------------------------------------------- fork among stops */

static void fork_under_stops(void **state)
{
    int count = 300, status;

    (void)state;
    by_task.moved = by_task.failed = by_task.stops = 0;
    for (int i = 0; i < 2; i++)
        start_worker(i, compute_in_all_states);
    assert_true(task_spawn(stop_from_task, &count));
    for (int i = 0; i < 50; i++) {
        world_fork_prepare();
        pid_t child = fork();
        if (child == 0) {
            world_fork_child_all();
            for (int n = 0; n < 3; n++) {
                if (!stop(NULL))
                    _exit(1);
                start();
            }
            _exit(task_count() == 0 ? 0 : 2);
        }
        world_fork_parent();
        waitpid(child, &status, 0);
        assert_int_equal(status, 0);
    }
    task_wait_all();
    for (int i = 0; i < 2; i++)
        join_worker(i);
    assert_int_equal(by_task.moved, 0);
    assert_int_equal(by_task.failed, 0);
}

int main(void)
{
    struct spilled_registers save;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_parked_stopper_is_shown),
        cmocka_unit_test(those_that_compute),
        cmocka_unit_test(those_that_block_all_signals),
        cmocka_unit_test(those_that_enter_and_park),
        cmocka_unit_test(those_that_sleep_in_a_read),
        cmocka_unit_test(all_registers_are_shown),
        cmocka_unit_test(the_parked_are_held_without_a_signal),
        cmocka_unit_test(a_stop_waits_for_the_runtime),
        cmocka_unit_test(raw_clones),
        cmocka_unit_test(hundreds),
        cmocka_unit_test(threads_that_come_and_go),
        cmocka_unit_test(setuid_goes_on_working),
        cmocka_unit_test(sigsuspend_waits_for_its_own_signal),
        cmocka_unit_test(raw_calls_are_not_cut_short),
        cmocka_unit_test(the_deaf_end_the_stop),
        cmocka_unit_test(a_vfork_in_progress_ends_the_stop),
        cmocka_unit_test(late_handlers_do_not_count),
        cmocka_unit_test(our_tasks_stop_everybody_but_each_other),
        cmocka_unit_test(tasks_come_and_go),
        cmocka_unit_test(a_first_thread_that_ended_is_no_obstacle),
        cmocka_unit_test(fork_under_stops),
    };

    main_registers = &save;
    return cmocka_run_group_tests_name("stop", tests, set_up, NULL);
}
