/* task.c -- see task.h
 *
 * LOCKING    A task's block is claimed by compare-and-swap of `state`.  Its memory comes from
 *            meta_alloc under THREADS (see fork.h) with signals blocked.
 * LIFETIME   Blocks are never given back.  A block is used again only when the kernel has
 *            cleared its tid word (CLONE_CHILD_CLEARTID), which it does when the task
 *            no longer runs on the stack.
 *
 *     state       tid word
 *     FREE        0           never used, or a clone that failed
 *     CLAIMED     any         somebody is starting a task in it
 *     USED        not 0       a task exists (-1: almost)
 *     USED        0           the task has ended; may be claimed
 *
 * INVARIANT  (I8) A task makes itself exempt from stops before it does anything else, and
 *            ends the exemption itself, while its number cannot belong to another.
 */
#include "world/task.h"

#include <linux/futex.h>
#include <linux/sched.h>
#include <sys/prctl.h>
#include <time.h>

#include "base/park.h"
#include "os/vm.h"
#include "world/stop.h"

enum {
    MAX_TASKS = 64,
    STACK_BYTES = 256 << 10,
    GUARD_BYTES = 4096,
    TLS_BYTES = 4096,           /* below and above the thread pointer */
    BLOCK_BYTES = GUARD_BYTES + STACK_BYTES + 2 * TLS_BYTES,
    UNLISTED_LOOKS = 2500,      /* at a task that is about to leave the process, ... */
    UNLISTED_NS = 20000,        /* ... so far apart: 50 ms */
};

enum task_state { TASK_FREE, TASK_CLAIMED, TASK_USED };

struct task {
    uint32_t state;             /* atomic: enum task_state */
    uint32_t tid;               /* atomic: the kernel writes and clears it; futex, not private */
    char *memory;               /* claimer only; guard, stack, thread-local area */
    void (*run)(void *argument);
    void *argument;
    int number;                 /* atomic: of the last task; 0: none, or surely gone */
};

static struct task tasks[MAX_TASKS];
static uint32_t starting;       /* atomic: clones that are not exempt yet */

#define TASK_FLAGS (CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | \
                    CLONE_SYSVSEM | CLONE_SETTLS | CLONE_PARENT_SETTID | CLONE_CHILD_CLEARTID)

NORETURN void task_main(struct task *task);
long task_clone(unsigned long flags, void *stack, uint32_t *parent_tid, uint32_t *child_tid,
                void *thread_pointer);

/* The child finds its argument on the top of its stack. */
__asm__(".text\n"
        ".globl task_clone\n"
        ".hidden task_clone\n"
        ".type task_clone, @function\n"
        "task_clone:\n"
        "    movq %rcx, %r10\n"
        "    movl $56, %eax\n"
        "    syscall\n"
        "    testq %rax, %rax\n"
        "    jnz 1f\n"
        "    xorl %ebp, %ebp\n"
        "    popq %rdi\n"
        "    call task_main\n"
        "    hlt\n"
        "1:  ret\n"
        ".size task_clone, . - task_clone\n");

/* The thread that happened to start us may be bound to a processor, a real-time thread or an idle one:
 * of its class we take nothing, for we may have to stop threads of any other. */
static void take_class_of_process(void)
{
    static const int no_priority = 0;
    uint64_t cpus[1024 / 8];
    int process = sys_getpid();
    long class = sys_call1(SYS_sched_getscheduler, process);
    long bytes = sys_call3(SYS_sched_getaffinity, process, sizeof cpus, (long)cpus);

    if (class != SCHED_NORMAL && class != SCHED_BATCH && class != SCHED_IDLE)
        class = SCHED_NORMAL;
    sys_call3(SYS_sched_setscheduler, 0, class, (long)&no_priority);
    if (bytes > 0)
        sys_call3(SYS_sched_setaffinity, 0, bytes, (long)cpus);
}

/* The body of every task.  Nothing here or below may use thread-local storage. */
NORETURN void task_main(struct task *task)
{
    int tid = sys_gettid();

    world_exempt(tid);
    store_relaxed(&task->number, tid);
    fetch_sub_acq_rel(&starting, 1);
    sys_call2(SYS_prctl, PR_SET_NAME, (long)"gcalloc");
    take_class_of_process();
    task->run(task->argument);
    world_unexempt(tid);
    for (;;)
        sys_call1(SYS_exit, 0);
}

/* Memory for a block, with a guard page below the stack. */
static char *map_block(void)
{
    threads_lock();
    char *memory = meta_alloc(BLOCK_BYTES + VM_PAGE);
    threads_unlock();
    if (memory == NULL)
        return NULL;
    memory = (char *)align_up((uintptr_t)memory, VM_PAGE);
    sys_call3(SYS_mprotect, (long)memory, GUARD_BYTES, 0 /* PROT_NONE */);
    return memory;
}

/* Claims a block no task is in; NULL when all are in use. */
static struct task *claim(void)
{
    for (unsigned i = 0; i < MAX_TASKS; i++) {
        struct task *task = &tasks[i];
        uint32_t expected = TASK_USED;

        if (load_acquire(&task->tid) != 0)
            continue;
        if (cas_acquire(&task->state, &expected, TASK_CLAIMED)) {
            if (load_acquire(&task->tid) == 0)
                return task;
            store_release(&task->state, TASK_USED);     /* somebody was faster, twice */
        } else if (expected == TASK_FREE &&
                   cas_acquire(&task->state, &expected, TASK_CLAIMED)) {
            return task;
        }
    }
    return NULL;
}

/* What a stray look at thread-local storage finds: itself, zeros, and nobody's thread. */
static char *prepare_thread_pointer(struct task *task)
{
    char *pointer = task->memory + GUARD_BYTES + STACK_BYTES + TLS_BYTES;
    uintptr_t own;

    __asm__("movq %%fs:0, %0" : "=r"(own));
    ptrdiff_t offset = (char *)&thread_self - (char *)own;

    ((char **)(void *)pointer)[0] = pointer;
    ((char **)(void *)pointer)[2] = pointer;
    if (offset < 0 && offset >= -TLS_BYTES)
        *(struct thread **)(void *)(pointer + offset) = &thread_none;
    return pointer;
}

static bool start(struct task *task)
{
    if (task->memory == NULL)
        task->memory = map_block();
    if (task->memory == NULL) {
        store_release(&task->state, TASK_FREE);
        return false;
    }
    struct task **top = (struct task **)(void *)(task->memory + GUARD_BYTES + STACK_BYTES);

    top[-1] = task;
    store_relaxed(&task->tid, UINT32_MAX);
    store_release(&task->state, TASK_USED);
    fetch_add_acq_rel(&starting, 1);
    if (task_clone(TASK_FLAGS, top - 1, &task->tid, &task->tid,
                   prepare_thread_pointer(task)) > 0)
        return true;
    fetch_sub_acq_rel(&starting, 1);
    store_release(&task->tid, 0);
    return false;
}

bool task_spawn(void (*run)(void *argument), void *argument)
{
    struct task *task = claim();

    if (task == NULL)
        return false;
    task->run = run;
    task->argument = argument;
    /* The child inherits the mask and keeps it. */
    uint64_t mask = signals_block_all();
    bool started = start(task);

    signals_restore(mask);
    return started;
}

unsigned task_count(void)
{
    unsigned count = 0;

    for (unsigned i = 0; i < MAX_TASKS; i++)
        count += load_acquire(&tasks[i].tid) != 0;
    return count;
}

unsigned task_starting(void)
{
    return load_acquire(&starting);
}

/* The kernel clears the word when the task lets go of memory, some time before it leaves the process.
 * Not for ever: the number may be another thread's by now. */
static void wait_unlisted(struct task *task)
{
    int number = load_relaxed(&task->number);

    for (int i = 0; number != 0 && i < UNLISTED_LOOKS; i++) {
        if (sys_call3(SYS_tgkill, sys_getpid(), number, 0) != 0)
            break;
        park_for(UNLISTED_NS);
    }
    store_relaxed(&task->number, 0);
}

/* The kernel wakes the word as a shared futex, so park_wait does not do; and only one sleeper,
 * and none when a clone fails, so nobody sleeps for long. */
void task_wait_all(void)
{
    const struct timespec limit = { .tv_nsec = 5000000 };

    for (unsigned i = 0; i < MAX_TASKS; i++) {
        uint32_t tid;

        while ((tid = load_acquire(&tasks[i].tid)) != 0)
            sys_call4(SYS_futex, (long)&tasks[i].tid, FUTEX_WAIT, tid, (long)&limit);
        wait_unlisted(&tasks[i]);
    }
}

void task_fork_child(void)
{
    store_relaxed(&starting, 0);
    for (unsigned i = 0; i < MAX_TASKS; i++) {
        if (load_relaxed(&tasks[i].state) == TASK_FREE)
            continue;
        store_relaxed(&tasks[i].tid, 0);
        store_relaxed(&tasks[i].number, 0);
        store_relaxed(&tasks[i].state, TASK_USED);
    }
}
