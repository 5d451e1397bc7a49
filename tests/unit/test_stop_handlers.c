/* test_stop_handlers.c -- stops next to handlers of the program that wrap_signal.c stands in front of */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>

#include "api/wrap.h"
#include "base/check.h"
#include "stop_fixture.h"

/* What wrap_signal.c asks wrap_block.c for. */
void *wrap_find_or_die(void **cache, const char *name)
{
    void *found = dlsym(RTLD_NEXT, name);

    if (found == NULL)
        die("no %s() behind ours", name);
    store_relaxed(cache, found);
    return found;
}

static long raw_pause(void)
{
    long result;

    __asm__ volatile("movl $34, %%eax\n\tsyscall" : "=a"(result) : : "rcx", "r11", "memory");
    return result;
}

static void *pause_for_ever(void *argument)
{
    struct worker *worker = argument;

    thread_attach();
    run_worker(worker);
    while (load_relaxed(&quit) == 0) {
        if (raw_pause() != -EINTR)
            abort();
        fetch_add_relaxed(&worker->done, 1);
    }
    thread_detach();
    return NULL;
}

/* In a system call of its own, that is in the pause: nothing else in the loop sleeps. */
static bool is_asleep(const struct worker *worker)
{
    char path[64], line[256] = "";

    snprintf(path, sizeof path, "/proc/self/task/%u/stat", load_relaxed(&worker->tid));
    FILE *file = fopen(path, "r");

    if (file == NULL || fgets(line, sizeof line, file) == NULL)
        fail_msg("%s", path);
    fclose(file);
    return strstr(line, ") S ") != NULL;
}

static bool wait_until_done(const struct worker *worker, uint32_t times)
{
    uint64_t end = now_ms() + 5000;

    while (load_relaxed(&worker->done) != times && now_ms() < end)
        sched_yield();
    return load_relaxed(&worker->done) == times;
}

/*
 * Our stop signal has cut the pause short, and the thread's context was wound back to make it again.  The
 * program's signal is pending when the stop ends: its handler runs between the two, and the pause that
 * it would have ended must not begin again.
 */
static void a_handler_ends_the_call_that_was_wound_back(void **state)
{
    struct sigaction action = { .sa_handler = count_signal };
    struct worker *worker = &workers[0];

    (void)state;
    sigaction(SIGUSR1, &action, NULL);
    start_worker(0, pause_for_ever);
    for (uint32_t i = 1; i <= 200; i++) {
        while (!is_asleep(worker))
            sched_yield();
        stop_surely();
        assert_int_equal(load_relaxed(&worker->done), i - 1);
        store_relaxed(&quit, i == 200);
        pthread_kill(worker->thread, SIGUSR1);
        start();
        if (!wait_until_done(worker, i))
            fail_msg("pause %u: %u handlers ran, and it waits", i, load_relaxed(&handled));
        assert_int_equal(load_relaxed(&handled), i);
    }
    join_worker(0);
}

/* Without a handler the call goes on. */
static void a_call_that_was_wound_back_goes_on(void **state)
{
    struct worker *worker = &workers[1];

    (void)state;
    store_relaxed(&quit, 0);
    start_worker(1, pause_for_ever);
    for (int i = 0; i < 200; i++) {
        while (!is_asleep(worker))
            sched_yield();
        stop_surely();
        start();
    }
    while (!is_asleep(worker))
        sched_yield();
    assert_int_equal(load_relaxed(&worker->done), 0);
    store_relaxed(&quit, 1);
    pthread_kill(worker->thread, SIGUSR1);
    join_worker(1);
    assert_int_equal(worker->done, 1);
}

/* Calls with a timeout of WAIT_MS by instructions of our own, as libc's resolver has them. */
enum { WAIT_MS = 200, WAITS = 3 };

static long raw_poll(void)
{
    long result;

    __asm__ volatile("movl $7, %%eax\n\tsyscall"
                     : "=a"(result) : "D"(0), "S"(0), "d"((long)WAIT_MS) : "rcx", "r11", "memory");
    return result;
}

static long raw_nanosleep(void)
{
    const struct timespec length = { .tv_nsec = WAIT_MS * 1000000 };
    long result;

    __asm__ volatile("movl $35, %%eax\n\tsyscall"
                     : "=a"(result) : "D"(&length), "S"(0) : "rcx", "r11", "memory");
    return result;
}

static long raw_futex(void)
{
    const struct timespec length = { .tv_nsec = WAIT_MS * 1000000 };
    static const uint32_t word;
    register const struct timespec *timeout __asm__("r10") = &length;
    long result;

    __asm__ volatile("movl $202, %%eax\n\tsyscall"
                     : "=a"(result) : "r"(timeout), "D"(&word), "S"(0 /* FUTEX_WAIT */), "d"(0)
                     : "rcx", "r11", "memory");
    return result;
}

/* `counter` becomes 1 if a call ends too early, or with another result. */
static void *wait_with_timeouts(void *argument)
{
    static const struct { long (*call)(void); long result; } waits[WAITS] = {
        { raw_poll, 0 }, { raw_nanosleep, 0 }, { raw_futex, -ETIMEDOUT },
    };
    struct worker *worker = argument;

    thread_attach();
    run_worker(worker);
    for (uint32_t i = 0; i < WAITS; i++) {
        uint64_t start_ms = now_ms();

        if (waits[i].call() != waits[i].result || now_ms() - start_ms < WAIT_MS - 1)
            store_relaxed(&worker->counter, 1);
        store_release(&worker->done, i + 1);
    }
    thread_detach();
    return NULL;
}

/* Each is wound back, and begins anew, more often than its timeout. */
static void timeouts_end_however_often_a_call_is_wound_back(void **state)
{
    struct worker *worker = &workers[3];
    uint64_t end = now_ms() + 20000;

    (void)state;
    start_worker(3, wait_with_timeouts);
    while (load_acquire(&worker->done) != WAITS && now_ms() < end) {
        stop_surely();
        start();
        usleep(WAIT_MS * 1000 / 10);
    }
    assert_int_equal(load_relaxed(&worker->done), WAITS);
    assert_int_equal(load_relaxed(&worker->counter), 0);
    join_worker(3);
}

static void *suspend_attached(void *argument)
{
    thread_attach();
    suspend(argument);
    thread_detach();
    return NULL;
}

/* Our signal comes right behind the program's: perhaps when its handler has returned to the instruction
 * after the call, with EINTR, and that has not run yet.  The call must not be made again, for its signal
 * has been.  (It may return once more for nothing: world/rewind.c.) */
static void sigsuspend_is_not_made_again(void **state)
{
    struct sigaction action = { .sa_handler = count_signal };

    (void)state;
    sigaction(SIGUSR1, &action, NULL);
    store_relaxed(&handled, 0);
    store_relaxed(&quit, 0);
    start_worker(2, suspend_attached);
    for (uint32_t i = 1; i <= 500; i++) {
        pthread_kill(workers[2].thread, SIGUSR1);
        stop_surely();
        start();
        uint64_t end = now_ms() + 5000;
        while (load_acquire(&workers[2].counter) != i && now_ms() < end)
            sched_yield();
        assert_int_equal(workers[2].counter, i);
    }
    store_relaxed(&quit, 1);
    pthread_kill(workers[2].thread, SIGUSR1);
    join_worker(2);
}

int main(void)
{
    struct spilled_registers save;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_handler_ends_the_call_that_was_wound_back),
        cmocka_unit_test(a_call_that_was_wound_back_goes_on),
        cmocka_unit_test(timeouts_end_however_often_a_call_is_wound_back),
        cmocka_unit_test(sigsuspend_is_not_made_again),
    };

    main_registers = &save;
    return cmocka_run_group_tests_name("stop_handlers", tests, set_up, NULL);
}
