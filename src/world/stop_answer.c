/* stop_answer.c -- see stop_protocol.h
 *
 * PURPOSE    What a task does that is stopped: in the handler, at the end of a slow path, or
 *            when it wants to leave a blocked region.
 * LOCKING    None.
 * INVARIANT  (I4) A task in the runtime is only left a note.  (I7) Nothing here allocates, uses
 *            libc or thread-local storage.
 */
#define _GNU_SOURCE             /* the registers of a ucontext */
#include "world/stop_protocol.h"

#include <signal.h>
#include <ucontext.h>

#include "base/park.h"
#include "world/rewind.h"

/* What the kernel takes and gives. */
struct kernel_action {
    void (*handler)(int, siginfo_t *, void *);
    uint64_t flags;
    void (*restorer)(void);
    uint64_t mask;
};

struct stop_protocol protocol;

/* Written under WORLD, or before there are threads; read by the handler. */
static AT_START struct {
    struct kernel_action action;    /* what was installed before us */
    uint32_t valid;                 /* atomic: pairs release in ensure_handler / acquire */
} chain;

struct slot *find_slot(const struct table *table, int tid)
{
    if (table == NULL)
        return NULL;
    uint32_t place = first_place(table, tid);

    for (uint32_t i = 0; i <= table->mask; i++, place = (place + 1) & table->mask) {
        uint32_t number = load_acquire(&table->index[place]);

        if (number == 0 || number > table->capacity)
            return NULL;
        if (load_relaxed(&table->slots[number - 1].tid) == tid)
            return &table->slots[number - 1];
    }
    return NULL;
}

/* A task that did not get round to it before its stop was given up must not count for the next. */
void count_answer(uint32_t generation)
{
    uint64_t before = load_relaxed(&protocol.unanswered);

    do {
        if (before >> 32 != generation)
            return;
    } while (!cas_acq_rel(&protocol.unanswered, &before, before - 1));
    if ((uint32_t)before == 1)
        park_wake((const uint32_t *)&protocol.unanswered, 1);
}

/* The task that runs tells that it is stopped, and sleeps while that lasts.  Returns at once
 * when it was not asked. */
static void answer_stop(struct stopped_task *record)
{
    uint32_t generation = load_acquire(&protocol.generation);

    if ((generation & 1) == 0)
        return;
    struct slot *slot = find_slot(load_acquire(&protocol.table), record->tid);
    uint64_t expected = token(generation);

    if (slot == NULL || !cas_acq_rel(&slot->word, &expected, (uint64_t)record))
        return;
    count_answer(generation);
    while (load_acquire(&protocol.generation) == generation)
        park_wait(&protocol.generation, generation, PARK_FOREVER);
}

NOINLINE void world_park_self(struct thread *thread)
{
    struct { struct stopped_task task; uintptr_t registers[6]; } record;
    uint64_t mask = signals_block_all();
    uintptr_t sp;

    __asm__ volatile("movq %%rbx, 0(%1)\n\tmovq %%rbp, 8(%1)\n\tmovq %%r12, 16(%1)\n\t"
                     "movq %%r13, 24(%1)\n\tmovq %%r14, 32(%1)\n\tmovq %%r15, 40(%1)\n\t"
                     "movq %%rsp, %0"
                     : "=&r"(sp)
                     : "r"(record.registers)
                     : "memory");
    if (thread != NULL)
        store_relaxed(&thread->stop_pending, 0);
    record.task = (struct stopped_task){ .tid = sys_gettid(), .thread = thread, .sp = sp - RED_ZONE };
    answer_stop(&record.task);
    signals_restore(mask);
}

/* Signals are blocked meanwhile: their handlers would run program code in a stopped world. */
void world_wait_held(struct thread *thread)
{
    uint64_t mask = signals_block_all();

    while (load_acquire(&thread->state) == THREAD_HELD) {
        uint32_t generation = load_acquire(&protocol.generation);

        if (generation & 1)
            park_wait(&protocol.generation, generation, PARK_FOREVER);
    }
    signals_restore(mask);
}

/* The end of the signal frame: the kernel puts vector registers above the context. */
static uintptr_t frame_end(const ucontext_t *context)
{
    uintptr_t end = (uintptr_t)(context + 1);
    uintptr_t state = (uintptr_t)context->uc_mcontext.fpregs;
    uint32_t magic, bytes;

    if (state == 0)
        return end;
    __builtin_memcpy(&magic, (const char *)state + 464, sizeof(magic));
    __builtin_memcpy(&bytes, (const char *)state + 468, sizeof(bytes));
    if (magic != 0x46505853u /* FP_XSTATE_MAGIC1 */ || bytes < 512 || bytes > 65536)
        bytes = 512;
    return max_size(end, state + bytes);
}

static struct thread *thread_of_task(int tid)
{
    struct slot *slot = find_slot(load_acquire(&protocol.table), tid);
    struct thread *thread = slot == NULL ? NULL : load_relaxed(&slot->thread);

    if (thread != NULL && load_acquire(&thread->tid) == tid && thread_is_alive(thread))
        return thread;
    return thread_by_tid(tid);
}

static void call_chained(int signal, siginfo_t *info, void *context)
{
    if (load_acquire(&chain.valid) == 0 || (uintptr_t)chain.action.handler <= 1)
        return;
    chain.action.handler(signal, info, context);
}

/* All signals are blocked in here (sa_mask). */
static void on_stop_signal(int signal, siginfo_t *info, void *raw)
{
    ucontext_t *context = raw;

    if (info->si_code != SI_QUEUE || (uint64_t)info->si_value.sival_ptr != STOP_COOKIE) {
        call_chained(signal, info, raw);
        return;
    }
    int tid = sys_gettid();
    struct thread *thread = thread_of_task(tid);

    rewind_interrupted_call(context, thread);
    /* One that comes late has interrupted a call all the same. */
    if (thread != NULL)
        thread->stop_signals++;
    if ((load_acquire(&protocol.generation) & 1) == 0)
        return;
    if (thread != NULL && load_relaxed(&thread->in_runtime) != 0) {
        store_relaxed(&thread->stop_pending, 1);
        return;
    }
    struct stopped_task record = {
        .tid = tid,
        .thread = thread,
        .sp = (uintptr_t)context->uc_mcontext.gregs[REG_RSP] - RED_ZONE,
        .frame_low = min_size((uintptr_t)context, (uintptr_t)info),
        .frame_high = frame_end(context),
    };
    answer_stop(&record);
}

/* ---------------------------------------------------------------- the stop signal */

void world_restore_context(void);

/* The return from the handler; the bytes are those by which unwinders know such a place. */
__asm__(".text\n"
        ".globl world_restore_context\n"
        ".hidden world_restore_context\n"
        ".type world_restore_context, @function\n"
        "    nop\n"
        "world_restore_context:\n"
        "    movq $15, %rax\n"
        "    syscall\n"
        ".size world_restore_context, . - world_restore_context\n");

static uint32_t own_stacks;     /* atomic, seq_cst: alternate ones are not to be used */

static bool install_handler(void)
{
    const struct kernel_action ours = {
        .handler = on_stop_signal,
        .flags = SA_SIGINFO | SA_RESTART | 0x04000000u /* SA_RESTORER */ |
                 (load_seq_cst(&own_stacks) != 0 ? 0u : SA_ONSTACK),
        .restorer = world_restore_context,
        .mask = ~0ull,
    };

    return sys_call4(SYS_rt_sigaction, STOP_SIGNAL, (long)&ours, 0, 8) == 0;
}

static bool find_handler(struct kernel_action *found)
{
    return sys_call4(SYS_rt_sigaction, STOP_SIGNAL, 0, (long)found, 8) == 0;
}

bool ensure_handler(bool *replaced)
{
    struct kernel_action found;

    if (!find_handler(&found))
        return false;
    if (found.handler == on_stop_signal)
        return true;
    *replaced = true;
    chain.action = found;
    store_release(&chain.valid, 1);
    return install_handler();
}

/* Whoever installs the handler meanwhile sees own_stacks, or is seen. */
void world_avoid_alternate_stacks(void)
{
    struct kernel_action found;

    store_seq_cst(&own_stacks, 1);
    if (find_handler(&found) && found.handler == on_stop_signal && (found.flags & SA_ONSTACK) != 0)
        install_handler();
}
