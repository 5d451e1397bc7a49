/* test_roots_tasks.c -- stacks, thread-local data, and what only the kernel holds
 *
 * See needles.h for how, and what to link with.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/park.h"
#include "needles.h"

/* ------------------------------------------------------------------- stacks */

static void only_the_live_part_of_a_stack(void **state)
{
    volatile uintptr_t above[4] = { 0 };
    uintptr_t sp = (uintptr_t)__builtin_frame_address(0) - 32 * 1024;

    (void)state;
    plant((void *)(sp - 64), 30);
    plant((void *)(sp + 64), 31);
    plant(above, 32);
    assert_true(visit_with(sp));
    assert_int_equal(times_seen(30), 0);
    assert_int_equal(seen_as[ROOT_STACK][31], 1);
    assert_int_equal(seen_as[ROOT_STACK][32], 1);
    assert_int_equal(seen_as[ROOT_DATA][32], 0);
    tasks[0].thread = NULL;             /* not known: but [stack] is recognised */
    assert_true(visit_with(sp));
    assert_int_equal(times_seen(30), 0);
    assert_int_equal(seen_as[ROOT_STACK][31], 1);
    tasks[0].thread = &threads[0];
    uproot(above);
    uproot((void *)(sp - 64));
    uproot((void *)(sp + 64));
}

/* Known, mapped like a thread's; sp in its middle. */
static void a_stack_pointer_elsewhere(void **state)
{
    char *stack = map_pages(16, MAP_PRIVATE), *coroutine = map_pages(16, MAP_PRIVATE);
    struct stopped_task *task;

    (void)state;
    assert_true(found(0) == false);
    task = add_task((uintptr_t)stack + 8 * 4096, false);
    task->thread->stack_low = (uintptr_t)stack;
    task->thread->stack_high = (uintptr_t)stack + 15 * 4096;
    plant(stack + 4096, 33);
    plant(stack + 9 * 4096, 34);
    plant(stack + 15 * 4096, 35);
    assert_true(found(34));
    assert_int_equal(times_seen(33), 0);
    assert_int_equal(seen_as[ROOT_STACK][34], 1);
    assert_int_equal(seen_as[ROOT_DATA][35], 1);
    task->sp = (uintptr_t)coroutine + 8 * 4096;
    plant(coroutine + 4096, 36);
    assert_true(found(34));
    assert_int_equal(seen_as[ROOT_STACK][33], 1);
    assert_int_equal(seen_as[ROOT_STACK][36], 1);
    task->thread = NULL;                            /* never announced */
    assert_true(found(36));
    task->sp = (uintptr_t)coroutine - 100;          /* its red zone hangs out */
    assert_true(found(36));
    task->sp = 4096;
    assert_false(visit());
    assert_non_null(why);
    task_count = 1;
    munmap(stack, 16 * 4096);
    munmap(coroutine, 16 * 4096);
}

/* A coroutine that runs on what is the dead part of another thread's stack. */
static void stacks_that_overlap_are_live(void **state)
{
    char *stack = map_pages(16, MAP_PRIVATE);

    (void)state;
    plant(stack + 4096, 37);
    assert_true(found(37));
    struct stopped_task *task = add_task((uintptr_t)stack + 8 * 4096, false);

    task->thread->stack_low = (uintptr_t)stack;
    task->thread->stack_high = (uintptr_t)stack + 16 * 4096;
    assert_false(found(37));
    task = add_task((uintptr_t)stack + 2 * 4096, false);
    assert_true(found(37));
    task_count = 1;
    munmap(stack, 16 * 4096);
}

static void saved_registers_and_stacks_in_the_heap(void **state)
{
    uintptr_t *block = meta_alloc(8192);
    struct stopped_task *task;

    (void)state;
    plant(&block[500], 38);
    assert_false(found(38));
    task = add_task((uintptr_t)&block[100], false);
    key ^= 1;                                       /* the stack pointer itself is a root */
    uintptr_t saved = key;
    key = (uintptr_t)&block[100] ^ (BASE + 39);
    assert_true(found(39));
    assert_int_equal(seen_as[ROOT_STACK][39], 1);
    key = saved ^ 1;
    task->frame_low = (uintptr_t)&block[400];
    task->frame_high = (uintptr_t)&block[600];
    assert_true(found(38));
    assert_int_equal(seen_as[ROOT_STACK][38], 1);
    task->frame_low = task->frame_high = 0;
    task->thread->stack_low = (uintptr_t)&block[0];
    task->thread->stack_high = (uintptr_t)&block[1024];
    assert_true(found(38));
    task->sp = (uintptr_t)&block[501];
    assert_false(found(38));
    task_count = 1;
}

static void more_stacks_than_room(void **state)
{
    char *memory = map_pages(1, MAP_PRIVATE);

    (void)state;
    plant(memory, 56);
    while (task_count < MAX_TASKS)
        add_task((uintptr_t)memory + 2048, false);
    assert_true(found(56));
    assert_int_equal(times_seen(56), 1);
    task_count = 1;
    munmap(memory, 4096);
}

/* ------------------------------------------------------------------- threads */

static __thread volatile uintptr_t in_tls;
static uint32_t phase;          /* atomic; 1: planted, 2: end */

static void wait_phase(uint32_t wanted)
{
    uint32_t now;

    while ((now = load_acquire(&phase)) < wanted)
        park_wait(&phase, now, 10000000);
}

static void set_phase(uint32_t value)
{
    store_release(&phase, value);
    park_wake_all(&phase);
}

static void *hold_needles(void *unused)
{
    pthread_key_t first;
    volatile uintptr_t local;

    (void)unused;
    pthread_key_create(&first, NULL);
    plant(&in_tls, 40);
    plant(&local, 41);
    pthread_setspecific(first, (void *)(key ^ (BASE + 42)));
    add_task((uintptr_t)__builtin_frame_address(0) - 512, true);
    set_phase(1);
    wait_phase(2);
    uproot(&in_tls);
    uproot(&local);
    pthread_setspecific(first, NULL);
    set_phase(3);
    wait_phase(4);
    pthread_key_delete(first);
    return NULL;
}

static void thread_local_data(void **state)
{
    pthread_t thread;

    (void)state;
    assert_false(found(40));
    set_phase(0);
    assert_int_equal(pthread_create(&thread, NULL, hold_needles, NULL), 0);
    wait_phase(1);
    assert_true(found(40));
    assert_true(times_seen(41) > 0 && times_seen(42) > 0);
    set_phase(2);
    wait_phase(3);
    assert_false(found(40));
    assert_int_equal(times_seen(42), 0);
    set_phase(4);
    pthread_join(thread, NULL);
    task_count = 1;
    plant(&in_tls, 43);
    expect_at(&in_tls, 43);
}

/* A process whose first thread has ended: /proc/self/maps is empty there. */
static void *visit_after_leader(void *leader)
{
    char *memory = map_pages(1, MAP_PRIVATE);
    int epoll = epoll_create1(0), fds[2];
    struct epoll_event event = { .events = EPOLLIN };

    pthread_join(*(pthread_t *)leader, NULL);
    task_count = 0;
    plant(memory, 44);
    event.data.u64 = key ^ (BASE + 45);
    if (pipe(fds) != 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, fds[0], &event) != 0)
        _exit(3);
    event.data.u64 = 0;
    if (!visit())
        print_error("roots_visit: %s\n", why);
    _exit(times_seen(44) == 1 && times_seen(45) >= 1 ? 0 : 1);
}

static void a_process_without_its_first_thread(void **state)
{
    int status;
    pid_t child = fork();

    (void)state;
    if (child == 0) {
        static pthread_t leader;
        pthread_t thread;

        alarm(20);
        leader = pthread_self();
        if (pthread_create(&thread, NULL, visit_after_leader, &leader) != 0)
            _exit(2);
        pthread_exit(NULL);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

/* ------------------------------------------------------------------- a task without TLS */

static uint32_t bare_tid;       /* the kernel clears it when the task has ended */
static bool bare_result;

static void bare_body(void)
{
    bare_result = roots_visit(look, NULL, ROOTS_ALL, &why);
    sys_call1(SYS_exit, 0);
}

/* As world/task.c does it, but with a thread pointer that cannot be used at all. */
static long start_bare(void *stack_top)
{
    long flags = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM |
                 CLONE_SETTLS | CLONE_CHILD_CLEARTID | CLONE_PARENT_SETTID;
    register uint32_t *child_tid __asm__("r10") = &bare_tid;
    register long thread_pointer __asm__("r8") = 64;    /* nothing is mapped there */
    long result;

    __asm__ volatile("syscall\n\ttestq %%rax, %%rax\n\tjnz 1f\n\tcall *%[body]\n\thlt\n1:"
                     : "=a"(result)
                     : "a"(SYS_clone), "D"(flags), "S"(stack_top), "d"(&bare_tid), "r"(child_tid),
                       "r"(thread_pointer), [body] "r"(bare_body)
                     : "rcx", "r11", "memory");
    return result;
}

static void from_a_task_without_thread_local_storage(void **state)
{
    char *stack = meta_alloc(64 << 10), *memory = map_pages(4, MAP_PRIVATE);
    int epoll = epoll_create1(0);

    (void)state;
    assert_false(found(46));
    plant(memory, 46);
    memset(seen_as, 0, sizeof seen_as);
    assert_true(start_bare(stack + (64 << 10)) > 0);
    for (uint32_t tid; (tid = load_acquire(&bare_tid)) != 0;)
        sys_call6(SYS_futex, (long)&bare_tid, 0 /* FUTEX_WAIT */, tid, 0, 0, 0);
    assert_true(bare_result);
    assert_int_equal(times_seen(46), 1);
    munmap(memory, 4 * 4096);
    close(epoll);
}

/* ------------------------------------------------------------------- kernel */

static void epoll_data(void **state)
{
    int epoll = epoll_create1(0), copy, fds[2];
    struct epoll_event event = { .events = EPOLLIN };

    (void)state;
    assert_int_equal(pipe(fds), 0);
    assert_false(found(50));
    event.data.u64 = key ^ (BASE + 50);
    assert_int_equal(epoll_ctl(epoll, EPOLL_CTL_ADD, fds[0], &event), 0);
    event.data.u64 = 0;
    assert_true(found(50));
    assert_int_equal(seen_as[ROOT_DATA][50], 1);
    copy = fcntl(epoll, F_DUPFD, 777);      /* a high number, the only one left */
    close(epoll);
    assert_true(found(50));
    close(copy);
    assert_false(found(50));
    close(fds[0]);
    close(fds[1]);
}

static void timer_values(void **state)
{
    struct sigevent event = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1 };
    timer_t timer;

    (void)state;
    assert_false(found(51));
    event.sigev_value.sival_ptr = (void *)(key ^ (BASE + 51));
    assert_int_equal(timer_create(CLOCK_MONOTONIC, &event, &timer), 0);
    event.sigev_value.sival_ptr = NULL;
    assert_true(found(51));
    timer_delete(timer);
    assert_false(found(51));
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(only_the_live_part_of_a_stack),
    cmocka_unit_test(a_stack_pointer_elsewhere),
    cmocka_unit_test(stacks_that_overlap_are_live),
    cmocka_unit_test(saved_registers_and_stacks_in_the_heap),
    cmocka_unit_test(more_stacks_than_room),
    cmocka_unit_test(thread_local_data),
    cmocka_unit_test(a_process_without_its_first_thread),
    cmocka_unit_test(from_a_task_without_thread_local_storage),
    cmocka_unit_test(epoll_data),
    cmocka_unit_test(timer_values),
};

int main(void)
{
    return run_both_ways(tests, sizeof tests / sizeof tests[0]);
}
