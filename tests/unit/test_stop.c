/* test_stop.c -- stopping the world under every kind of thread */
#define _GNU_SOURCE
#include <sys/mman.h>

#include "stop_fixture.h"

/* ------------------------------------------------------------- one kind at a time */

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
    uint64_t before = sum_counters(), end = now_ms() + PATIENCE_MS;
    while (sum_counters() == before && now_ms() < end)
        usleep(1000);
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

/* Every other one is parked while it sleeps. */
static void *sleep_mostly(void *argument)
{
    struct worker *worker = argument;
    struct spilled_registers save;
    struct thread *thread = (worker - workers) % 2 == 0 ? thread_attach() : NULL;

    run_worker(worker);
    while (load_relaxed(&quit) == 0) {
        fetch_add_relaxed(&worker->counter, 1);
        if (thread != NULL)
            thread_park(thread, &save);
        usleep(10000);
        if (thread != NULL)
            thread_unpark(thread);
    }
    thread_detach();
    return NULL;
}

static void hundreds(void **state)
{
    (void)state;
    stop_often(sleep_mostly, 300, 40);
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

static char alternate_stack[65536] ALIGNED(16);

static void *keep_with_alternate_stack(void *argument)
{
    stack_t stack = { .ss_sp = alternate_stack, .ss_size = sizeof(alternate_stack) };

    if (sigaltstack(&stack, NULL) != 0)
        abort();
    return keep_in_registers(argument);
}

static void find_registers(void *(*body)(void *), bool elsewhere)
{
    start_worker(0, body);
    while (load_relaxed(&workers[0].counter) == 0)
        sched_yield();
    stop_surely();
    const struct stopped_task *task = shown((int)workers[0].tid);
    int vector = task == NULL ? 0 : count_words(task, SECRET);
    int general = task == NULL ? 0 : count_words(task, ~SECRET);
    uintptr_t offset = task == NULL ? 0 : task->frame_low - (uintptr_t)alternate_stack;
    uintptr_t depth = task == NULL ? 0 : workers[0].stack - task->sp;
    start();
    join_worker(0);
    assert_int_not_equal(vector, 0);
    assert_int_not_equal(general, 0);
    assert_int_equal(offset < sizeof(alternate_stack), elsewhere);
    assert_true(depth > 0 && depth < 4096);
}

static void all_registers_are_shown(void **state)
{
    (void)state;
    find_registers(keep_in_registers, false);
    find_registers(keep_with_alternate_stack, true);
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
    start();
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
    uint64_t end = now_ms() + PATIENCE_MS;
    uint32_t made = 0;
    int stops = 0;

    (void)state;
    for (int i = 0; i < 3; i++)
        start_worker(i, make_threads);
    while ((stops < 1000 || made < 1000) && now_ms() < end) {
        stop_surely();
        bool still = stands_still(stops % 10 == 0 ? 1000 : 20);
        start();
        assert_true(still);
        thread_reap_dead();
        stops++;
        if (stops % 4 == 0)
            usleep(1000);
        made = 4 * (workers[0].done + workers[1].done + workers[2].done);
    }
    for (int i = 0; i < 3; i++)
        join_worker(i);
    if (stops < 1000 || made < 1000)
        fail_msg("%d stops, %u threads", stops, made);
    unsigned structures = 0;
    for (struct thread *t = thread_list(); t != NULL; t = t->next)
        structures++;
    assert_true(structures < 400);
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
    };

    main_registers = &save;
    return cmocka_run_group_tests_name("stop", tests, set_up, NULL);
}
