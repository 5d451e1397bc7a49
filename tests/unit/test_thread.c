/* test_thread.c -- thread structures, the runtime, the gate, fork, and the decoder of rewind.c */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/park.h"
#include "os/host.h"
#include "world/fork.h"
#include "world/rewind.h"
#include "world/stop.h"
#include "world/task.h"

static int set_up(void **state)
{
    (void)state;
    return thread_announce_main() && world_init() ? 0 : -1;
}

static void wait_for(uint32_t *word, uint32_t value)
{
    uint32_t now;

    while ((now = load_acquire(word)) != value)
        park_wait(word, now, 1000000);
}

static void run_thread(void *(*body)(void *), void *argument)
{
    pthread_t thread;

    assert_int_equal(pthread_create(&thread, NULL, body, argument), 0);
    pthread_join(thread, NULL);
}

/* ------------------------------------------------------------------- structures */

static void *attach_and_detach(void *seen)
{
    struct thread *thread = thread_attach();

    *(struct thread **)seen = thread;
    if (thread->tid != gettid() || thread_self != thread || thread_by_tid(gettid()) != thread)
        *(struct thread **)seen = NULL;
    thread_detach();
    if (thread_self != &thread_none || thread->tid != 0)
        *(struct thread **)seen = NULL;
    return NULL;
}

static void a_detached_structure_is_used_again(void **state)
{
    struct thread *first = NULL, *second = NULL;
    unsigned before = thread_count();

    (void)state;
    run_thread(attach_and_detach, &first);
    run_thread(attach_and_detach, &second);
    assert_non_null(first);
    assert_ptr_equal(first, second);
    assert_int_equal(thread_count(), before);
}

static void *attach_and_die(void *seen)
{
    *(struct thread **)seen = thread_attach();
    return NULL;
}

static void the_dead_are_reaped(void **state)
{
    struct thread *dead = NULL;
    unsigned before = thread_count();

    (void)state;
    run_thread(attach_and_die, &dead);
    assert_non_null(dead);
    assert_int_not_equal(dead->tid, 0);
    assert_int_equal(thread_count(), before + 1);
    /* The kernel may still be taking the thread apart when the join returns. */
    for (int i = 0; i < 1000 && load_acquire(&dead->tid) != 0; i++) {
        thread_reap_dead();
        usleep(1000);
    }
    assert_int_equal(dead->tid, 0);
    assert_int_equal(thread_count(), before);
}

static void *announce_and_die(void *seen)
{
    if (thread_announce(4096, 8192))
        *(struct thread **)seen = thread_self;
    return NULL;
}

static void the_announced_are_left_alone(void **state)
{
    struct thread *announced = NULL;

    (void)state;
    run_thread(announce_and_die, &announced);
    assert_non_null(announced);
    assert_true(announced->announced);
    assert_int_equal(announced->stack_high, 8192);
    usleep(20000);
    for (int i = 0; i < 10; i++)
        thread_reap_dead();
    assert_int_not_equal(announced->tid, 0);
    announced->announced = false;       /* for the tests after this one */
    thread_reap_dead();
}

static void the_main_stack_is_known(void **state)
{
    extern char **environ;
    char line[512];
    uintptr_t low = 0, high = 0;
    FILE *maps = fopen("/proc/self/maps", "r");

    (void)state;
    assert_non_null(maps);
    while (fgets(line, sizeof(line), maps) != NULL)
        if (strstr(line, "[stack]") != NULL)
            sscanf(line, "%lx-%lx", &low, &high);
    fclose(maps);
    assert_int_equal(thread_self->stack_high, high);
    assert_true((uintptr_t)&low < high && (uintptr_t)&low >= low);
}

/* ------------------------------------------------------------------ the runtime */

static void the_runtime_nests(void **state)
{
    (void)state;
    struct thread *thread = runtime_enter();

    assert_ptr_equal(thread, thread_self);
    assert_ptr_equal(runtime_enter(), thread);
    assert_int_equal(thread->in_runtime, 2);
    runtime_leave(thread);
    assert_int_equal(thread->in_runtime, 1);
    runtime_leave(thread);
    assert_int_equal(thread->in_runtime, 0);
}

static uint32_t step;

static void *enter_in_steps(void *unused)
{
    struct thread *thread = runtime_enter();

    (void)unused;
    store_release(&step, 1);
    wait_for(&step, 2);
    usleep(20000);
    runtime_enter();                    /* nested: the gate is closed, and lets it pass */
    runtime_leave(thread);
    store_release(&step, 3);
    runtime_leave(thread);
    runtime_enter();                    /* waits for the gate */
    store_release(&step, 4);
    runtime_leave(thread);
    thread_detach();
    return NULL;
}

static void the_gate_waits_and_keeps_out(void **state)
{
    pthread_t thread;

    (void)state;
    step = 0;
    pthread_create(&thread, NULL, enter_in_steps, NULL);
    wait_for(&step, 1);
    store_release(&step, 2);
    runtime_gate_close();
    uint64_t closed_ns = host_clock_ns();
    assert_int_equal(load_acquire(&step), 3);
    usleep(20000);
    uint32_t seen = load_acquire(&step);
    /* Who has waited for half a second goes through. */
    assert_true(seen == 3 || host_clock_ns() - closed_ns > 400000000);
    runtime_gate_open();
    wait_for(&step, 4);
    pthread_join(thread, NULL);
}

static uint32_t task_step;

static void enter_as_task(void *unused)
{
    (void)unused;
    runtime_enter_task();
    store_release(&task_step, 1);
    wait_for(&task_step, 2);
    runtime_leave_task();
}

static void *open_later(void *unused)
{
    (void)unused;
    usleep(20000);
    store_release(&task_step, 2);
    return NULL;
}

static void the_gate_waits_for_tasks(void **state)
{
    pthread_t thread;

    (void)state;
    task_step = 0;
    assert_true(task_spawn(enter_as_task, NULL));
    wait_for(&task_step, 1);
    pthread_create(&thread, NULL, open_later, NULL);
    runtime_gate_close();
    assert_int_equal(load_acquire(&task_step), 2);
    runtime_gate_open();
    pthread_join(thread, NULL);
    task_wait_all();
}

static void *enter_once(void *unused)
{
    struct thread *thread = runtime_enter();

    store_release(&step, 1);
    wait_for(&step, 2);
    runtime_leave(thread);
    thread_detach();
    return unused;
}

static void a_task_closes_when_nobody_is_inside(void **state)
{
    pthread_t thread;

    (void)state;
    step = 0;
    pthread_create(&thread, NULL, enter_once, NULL);
    wait_for(&step, 1);
    assert_false(runtime_close());
    store_release(&step, 2);
    pthread_join(thread, NULL);
    assert_true(runtime_close());
    runtime_open();
    runtime_gate_close();               /* a fork is under way */
    assert_false(runtime_close());
    runtime_gate_open();
    runtime_leave(runtime_enter());
}

/* ---------------------------------------------------------------------- parking */

static void parking_saves_the_registers(void **state)
{
    struct spilled_registers save = { { 0 } };
    uintptr_t after_rbx, after_r12, sp;

    (void)state;
    __asm__ volatile("movq %4, %%rdi\n\t"
                     "leaq %3, %%rsi\n\t"
                     "movq $0x1111, %%rbx\n\t"
                     "movq $0x2222, %%r12\n\t"
                     "movq $0x3333, %%r15\n\t"
                     "movq %%rsp, %%r13\n\t"
                     "andq $-16, %%rsp\n\t"
                     "call thread_park\n\t"
                     "movq %%rsp, %2\n\t"
                     "movq %%r13, %%rsp\n\t"
                     "movq %%rbx, %0\n\t"
                     "movq %%r12, %1\n\t"
                     : "=&a"(after_rbx), "=&d"(after_r12), "=&c"(sp), "+m"(save)
                     : "r"(thread_self)
                     : "rbx", "r12", "r13", "r15", "rsi", "rdi", "r8", "r9", "r10", "r11",
                       "memory", "cc");
    assert_int_equal(thread_self->state, THREAD_PARKED);
    assert_true(thread_self->parked_sp < sp && thread_self->parked_sp + 256 > sp);
    assert_int_equal(save.words[0], 0x1111);
    assert_int_equal(save.words[2], 0x2222);
    assert_int_equal(save.words[5], 0x3333);
    assert_int_equal(after_rbx, 0x1111);
    assert_int_equal(after_r12, 0x2222);

    uintptr_t parked_sp = thread_self->parked_sp;
    uintptr_t again = thread_signal_begin(thread_self, 1, 2);
    assert_int_equal(again, parked_sp);
    assert_int_equal(thread_self->state, THREAD_RUNNING);
    assert_int_equal(thread_signal_begin(thread_self, 1, 2), 0);
    thread_signal_end(thread_self, 0, 1, 2);
    assert_int_equal(thread_self->state, THREAD_RUNNING);
    thread_signal_end(thread_self, again, 1, 2);
    assert_int_equal(thread_self->state, THREAD_PARKED);
    assert_int_equal(thread_self->parked_sp, parked_sp);
    thread_unpark(thread_self);
    assert_int_equal(thread_self->state, THREAD_RUNNING);
}

/* ------------------------------------------------------------------------- fork */

static uint32_t stay;

static void *stay_attached(void *seen)
{
    *(struct thread **)seen = thread_attach();
    store_release(&stay, 1);
    wait_for(&stay, 2);
    thread_detach();
    return NULL;
}

static void touch(void *word)
{
    store_release((uint32_t *)word, 7);
}

/* What the child finds; its exit status says what was wrong. */
static int look_in_child(struct thread *other, struct thread *self)
{
    struct spilled_registers save;
    uint32_t word = 0;
    size_t count;

    world_fork_child();
    if (thread_self != self || self->tid != gettid() || thread_count() != 1)
        return 1;
    if (thread_is_alive(other) || other->tid == 0)
        return 2;
    if (runtime_enter() != self || self->in_runtime != 1)
        return 3;
    runtime_leave(self);
    thread_reap_dead();
    if (other->tid != 0)
        return 4;
    if (!task_spawn(touch, &word))
        return 5;
    task_wait_all();
    if (word != 7)
        return 6;
    thread_park(self, &save);
    if (!world_stop(NULL))
        return 7;
    world_tasks(&count);
    world_start();
    thread_unpark(self);
    return count == 1 ? 0 : 8;
}

static void the_child_is_alone(void **state)
{
    struct thread *other = NULL;
    pthread_t thread;
    int status;

    (void)state;
    stay = 0;
    pthread_create(&thread, NULL, stay_attached, &other);
    wait_for(&stay, 1);
    world_fork_prepare();
    assert_int_equal(thread_self->in_runtime, 1);
    pid_t child = fork();
    if (child == 0)
        _exit(look_in_child(other, thread_self));
    world_fork_parent();
    assert_int_equal(thread_self->in_runtime, 0);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_true(thread_is_alive(other));
    store_release(&stay, 2);
    pthread_join(thread, NULL);
}

static void a_fork_inside_the_runtime_does_not_wait(void **state)
{
    (void)state;
    struct thread *thread = runtime_enter();

    world_fork_prepare();
    assert_int_equal(thread->in_runtime, 2);
    world_fork_parent();
    assert_int_equal(thread->in_runtime, 1);
    runtime_leave(thread);
    world_fork_prepare();
    world_fork_parent();
    assert_int_equal(thread->in_runtime, 0);
}

/* ----------------------------------------------------------------------- rewind */

static int decode(const char *code, size_t bytes)
{
    const uint8_t *first = (const uint8_t *)code;

    return rewind_decode_number(first, first + bytes - 2);
}

#define DECODE(code) decode(code, sizeof(code) - 1)

static void the_number_is_decoded(void **state)
{
    (void)state;
    assert_int_equal(DECODE("\xb8\x07\x00\x00\x00\x0f\x05"), 7);
    assert_int_equal(DECODE("\x31\xc0\x0f\x05"), 0);
    /* rt_sigtimedwait as glibc 2.36 has it */
    assert_int_equal(DECODE("\x48\x89\xde\x41\x89\xc0\x41\xba\x08\x00\x00\x00"
                            "\xb8\x80\x00\x00\x00\x0f\x05"), 128);
    /* arguments between number and call */
    assert_int_equal(DECODE("\xb8\x0e\x00\x00\x00\x48\xc7\x04\x24\x20\x00\x00\x00\x0f\x05"), 14);
    assert_int_equal(DECODE("\xb8\x23\x00\x00\x00\x48\x8b\x7c\x24\x08\x31\xf6\x0f\x05"), 35);
}

static void what_is_unsure_is_not_decoded(void **state)
{
    (void)state;
    /* libc's syscall(): the number comes in a register */
    assert_int_equal(DECODE("\x48\x89\xf8\x48\x89\xf7\x48\x89\xd6\x48\x89\xca\x4d\x89\xc2"
                            "\x4d\x89\xc8\x4c\x8b\x4c\x24\x08\x0f\x05"), -1);
    /* eax is written again */
    assert_int_equal(DECODE("\x31\xc0\x31\xd2\x44\x89\xc0\x0f\x05"), -1);
    assert_int_equal(DECODE("\xb8\x07\x00\x00\x00\x8b\x07\x0f\x05"), -1);
    /* r8d, not eax */
    assert_int_equal(DECODE("\x41\xb8\x07\x00\x00\x00\x0f\x05"), -1);
    assert_int_equal(DECODE("\x45\x31\xc0\x0f\x05"), -1);
    /* one of two numbers */
    assert_int_equal(DECODE("\xb8\x07\x00\x00\x00\x74\x05\xb8\x08\x00\x00\x00\x0f\x05"), -1);
    /* a call in between */
    assert_int_equal(DECODE("\xb8\x07\x00\x00\x00\xe8\x00\x00\x00\x00\x0f\x05"), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_detached_structure_is_used_again),
        cmocka_unit_test(the_dead_are_reaped),
        cmocka_unit_test(the_announced_are_left_alone),
        cmocka_unit_test(the_main_stack_is_known),
        cmocka_unit_test(the_runtime_nests),
        cmocka_unit_test(the_gate_waits_and_keeps_out),
        cmocka_unit_test(the_gate_waits_for_tasks),
        cmocka_unit_test(a_task_closes_when_nobody_is_inside),
        cmocka_unit_test(parking_saves_the_registers),
        cmocka_unit_test(the_child_is_alone),
        cmocka_unit_test(a_fork_inside_the_runtime_does_not_wait),
        cmocka_unit_test(the_number_is_decoded),
        cmocka_unit_test(what_is_unsure_is_not_decoded),
    };

    return cmocka_run_group_tests_name("thread", tests, set_up, NULL);
}
