/* test_stop_signals.c -- stops next to signals and calls, threads that resist, tasks, forks */
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <linux/io_uring.h>
#include <linux/kvm.h>
#include <poll.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "base/park.h"
#include "stop_fixture.h"
#include "world/fork.h"
#include "world/task.h"
#include "world/tasklist.h"

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

/* sigsuspend returns as often as its signal comes: not for our signal, and always for its own.  (One of
 * ours right behind it is a matter of test_stop_handlers.c.) */
static void sigsuspend_waits_for_its_own_signal(void **state)
{
    struct sigaction action = { .sa_handler = count_signal };

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

/* The calls last so long, and are disturbed for so long: one that began again would end too late by more than
 * half of CALL_MS, which no busy machine takes from a thread. */
enum { CALL_MS = 2000, DISTURBED_MS = 1500 };

static long results[3];
static uint64_t took_ms[3];

static void *sleep_raw(void *argument)
{
    struct worker *worker = argument;
    struct timespec time = { CALL_MS / 1000, CALL_MS % 1000 * 1000000 }, left;
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
    results[1] = raw_poll(&fd, 1, CALL_MS);
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
    results[2] = raw_epoll_wait(fd, &event, 1, CALL_MS);
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
    end = now_ms() + DISTURBED_MS;
    while (now_ms() < end) {
        stop_surely();
        start();
        usleep(2000);
    }
    for (int i = 0; i < 3; i++)
        join_worker(i);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(results[i], 0);
        assert_true(took_ms[i] >= CALL_MS - 1);
    }
    /* The rest of a sleep is known; poll and epoll_wait begin again. */
    assert_true(took_ms[0] < DISTURBED_MS + CALL_MS - 200);
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
    assert_false(stop(&why));
    assert_non_null(strstr(why, "blocks the stop signal"));     /* not: did not answer in two seconds */
    assert_false(stop(&why));
    assert_non_null(strstr(why, "still"));      /* it is known, and nobody was disturbed */
    uint64_t before = load_relaxed(&workers[1].counter);
    while (load_relaxed(&workers[1].counter) == before)
        sched_yield();
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

/* The child stays until it is told to go. */
static void *fork_slowly(void *argument)
{
    struct worker *worker = argument;

    run_worker(worker);
    pid_t child = vfork();
    if (child == 0) {
        char byte;

        store_release(&worker->done, 1);
        sys_call3(SYS_read, worker->pipe[0], (long)&byte, 1);
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
    while (load_acquire(&workers[0].done) == 0)
        usleep(1000);
    assert_false(stop(&why));
    assert_non_null(strstr(why, "stuck in the kernel"));
    assert_int_equal(write(workers[0].pipe[1], "x", 1), 1);
    join_worker(0);
    stop_surely();
    start();
}

/* Deaf for longer than a stop waits, then not, so that handlers come late. */
static void *block_now_and_then(void *argument)
{
    struct worker *worker = argument;

    run_worker(worker);
    while (load_relaxed(&quit) == 0) {
        uint64_t mask = signals_block_all();
        struct timespec time = { 0, 100000000 };

        sys_call2(SYS_nanosleep, (long)&time, 0);
        signals_restore(mask);
        for (uint64_t end = now_ms() + 100; now_ms() < end;)
            fetch_add_relaxed(&worker->counter, 1);
    }
    return NULL;
}

static void late_handlers_do_not_count(void **state)
{
    uint64_t end = now_ms() + PATIENCE_MS;
    int stopped = 0, given_up = 0;

    (void)state;
    for (int i = 0; i < 2; i++)
        start_worker(i, block_now_and_then);
    start_worker(2, compute_in_all_states);
    while ((stopped < 20 || given_up < 10) && now_ms() < end) {
        if (!stop(NULL)) {
            given_up++;
            usleep(1000);
            continue;
        }
        bool still = stands_still(1000);
        start();
        assert_true(still);
        stopped++;
    }
    for (int i = 0; i < 3; i++)
        join_worker(i);
    if (stopped < 20 || given_up < 10)
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

/* ------------------------------------------------------- a thread of the kernel's */

/* Its tid; 0: there is none. */
static int find_kernels_thread(void)
{
    DIR *tasks = opendir("/proc/self/task");
    struct dirent *entry;
    int found = 0;

    while (tasks != NULL && (entry = readdir(tasks)) != NULL)
        if (atoi(entry->d_name) != 0 && task_is_kernels(atoi(entry->d_name)))
            found = atoi(entry->d_name);
    if (tasks != NULL)
        closedir(tasks);
    return found;
}

static unsigned long count_tasks(void)
{
    struct stat directory;

    return stat("/proc/self/task", &directory) == 0 ? directory.st_nlink : 0;
}

static void expect_stops_beside_it(void)
{
    start_worker(0, compute);
    assert_false(task_is_kernels(getpid()) || task_is_kernels((int)workers[0].tid));
    int tid = find_kernels_thread();

    assert_int_not_equal(tid, 0);
    for (int i = 0; i < 20; i++) {
        stop_surely();
        bool still = stands_still(50), listed = shown(tid) != NULL;
        start();
        assert_true(still);
        assert_false(listed);
    }
    join_worker(0);
}

static void a_worker_of_io_uring_is_no_obstacle(void **state)
{
    struct io_uring_params parameters = { .flags = IORING_SETUP_SQPOLL, .sq_thread_idle = 60000 };
    int fd = (int)syscall(SYS_io_uring_setup, 8, &parameters);

    (void)state;
    if (fd < 0) {
        print_message("SKIP a_worker_of_io_uring_is_no_obstacle: io_uring is refused (errno %d)\n", errno);
        skip();
    }
    expect_stops_beside_it();
    close(fd);
}

/* Since Linux 6.14 a virtual machine has one (of vhost since 6.4). */
static void a_worker_of_kvm_is_no_obstacle(void **state)
{
    int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
    int machine = kvm < 0 ? -1 : ioctl(kvm, KVM_CREATE_VM, 0);
    int processor = machine < 0 ? -1 : ioctl(machine, KVM_CREATE_VCPU, 0);
    unsigned long before = count_tasks();

    (void)state;
    if (processor >= 0)
        ioctl(processor, KVM_RUN, 0);           /* it fails, but starts the worker */
    if (processor < 0 || count_tasks() == before) {
        print_message("SKIP a_worker_of_kvm_is_no_obstacle: there is none (errno %d)\n", errno);
        skip();
    }
    expect_stops_beside_it();
    close(processor);
    close(machine);
    close(kvm);
}

/* ------------------------------------------------------- the first thread has ended */

/* "SigQ:", the queued signals of all processes of this user. */
static long queued_signals(void)
{
    FILE *file = fopen("/proc/thread-self/status", "r");
    char line[256];
    long queued = -1;

    while (queued < 0 && file != NULL && fgets(line, sizeof line, file) != NULL)
        sscanf(line, "SigQ: %ld/", &queued);
    if (file != NULL)
        fclose(file);
    return queued;
}

/* More stops than signals may be queued: before Linux 6.13 or so one for a thread that has ended stays in its
 * queue.  What the first thread had cached is buried with it. */
static void *stop_after_main(void *unused)
{
    struct spilled_registers save;
    struct rlimit limit;
    int bad = 0;

    (void)unused;
    thread_attach();
    while (task_status_read(getpid()).state != 'Z')
        usleep(1000);
    start_worker(0, compute);
    long queued = queued_signals();

    if (queued < 0 || getrlimit(RLIMIT_SIGPENDING, &limit) != 0)
        _exit(100);
    limit.rlim_cur = (rlim_t)queued + 20;
    if (setrlimit(RLIMIT_SIGPENDING, &limit) != 0)
        _exit(101);
    for (int i = 0; i < 60 && bad == 0; i++) {
        thread_park(thread_self, &save);
        if (world_stop(NULL))
            world_start();
        else
            bad++;
        thread_unpark(thread_self);
    }
    thread_reap_dead();
    _exit(bad != 0 ? 1 : thread_by_tid(getpid()) != NULL ? 2 : 0);
}

static void stop_without_first_thread(bool detached)
{
    int status;

    world_fork_prepare();
    pid_t child = fork();
    if (child == 0) {
        pthread_t thread;

        world_fork_child();
        if (detached)
            thread_detach();
        pthread_create(&thread, NULL, stop_after_main, NULL);
        pthread_exit(NULL);
    }
    world_fork_parent();
    waitpid(child, &status, 0);
    assert_int_equal(status, 0);
}

static void a_first_thread_that_ended_is_no_obstacle(void **state)
{
    (void)state;
    stop_without_first_thread(true);
    stop_without_first_thread(false);
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
            world_fork_child();
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
        cmocka_unit_test(setuid_goes_on_working),
        cmocka_unit_test(sigsuspend_waits_for_its_own_signal),
        cmocka_unit_test(raw_calls_are_not_cut_short),
        cmocka_unit_test(the_deaf_end_the_stop),
        cmocka_unit_test(a_vfork_in_progress_ends_the_stop),
        cmocka_unit_test(late_handlers_do_not_count),
        cmocka_unit_test(our_tasks_stop_everybody_but_each_other),
        cmocka_unit_test(tasks_come_and_go),
        cmocka_unit_test(a_worker_of_io_uring_is_no_obstacle),
        cmocka_unit_test(a_worker_of_kvm_is_no_obstacle),
        cmocka_unit_test(a_first_thread_that_ended_is_no_obstacle),
        cmocka_unit_test(fork_under_stops),
    };

    main_registers = &save;
    return cmocka_run_group_tests_name("stop_signals", tests, set_up, NULL);
}
