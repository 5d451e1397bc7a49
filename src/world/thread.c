/* thread.c -- see thread.h
 *
 * PURPOSE    Attaching, detaching, entering and leaving the runtime, parking.
 * LOCKING    THREADS: taking a structure, freeing it, reaping.  It is only held with
 *            all signals blocked, or by fork.c, so its holder is never stopped.
 * INVARIANT  A structure changes hands only under THREADS or by its owner, and never
 *            in state HELD; whoever finds one by tid and then makes it HELD looks at
 *            the tid again (stop.c).
 *            (I2, I3) The caches of a thread are touched by others only when the kernel says
 *            that the thread is gone (ESRCH; of the first one: a zombie), or in a forked child.
 *            (I4) in_runtime and state are written by the owner alone, but for HELD.
 *
 * Note [GATE]  runtime_enter stores in_runtime, then loads the gate; the closer stores
 * the gate, then loads every in_runtime; all four seq_cst.  So either the closer sees the
 * thread inside and waits, or the thread sees the gate closed and backs out.  A handler
 * of the program that interrupts runtime_enter and allocates enters and leaves in
 * balance, and in_runtime is its own nesting count: the interrupted store is still right.
 *
 * Note [ALONE]  While one thread alone touches the heap, heap/ready.c does without bus locks.
 * heap_shared says that there are more.  Whoever comes second sets its bit first: another thread in
 * thread_attach, for ever; a task of ours before a cycle, until all spans are swept
 * (alloc/collector.c).  The first thread may have loaded 0 just before, and be about to change a word: only
 * in the runtime.  So a second thread waits until it has seen nobody there; who enters later sees the bit,
 * by the argument of Note [GATE].
 *
 * But the first thread does without the bus lock at runtime_enter, too, for it would wait there for all
 * that the program has just written: a plain store, which others may see after the loads that follow.
 *   - When the first thread makes the second, it sets the bit itself, before (thread_share).
 *   - A thread that comes another way sleeps between its store and its look: a plain store waits for a
 *     cache line, not for so long.
 *   - Where it gives up waiting (end_alone), there is left one instruction that would have to meet another
 *     thread's at the same word and moment.
 *   - A task of ours changes those words only when it sweeps, and a stop comes before that, in which the
 *     thread itself says whether it is in the runtime (stop_answer.c).  One that only returns idle memory
 *     never does.
 * Whoever sees the bit gone sees all that was swept.
 */
#include "world/thread.h"

#include <elf.h>
#include <errno.h>
#include <signal.h>
#include <sys/auxv.h>

#include "base/check.h"
#include "base/lock.h"
#include "base/park.h"
#include "os/proc.h"
#include "os/vm.h"
#include "world/stop.h"

enum {
    REAP_PROBES = 64,           /* structures looked at per thread_reap_dead: 0.2 us each */
    REAP_CACHES = 4,            /* caches given back per call: tens of us each */
    SURE_STACK = 1 << 20,
    GATE_SLEEP_NS = 50000,
    GATE_SLICE_NS = 10000000,
    GATE_PATIENCE_NS = 500000000,
    CLOSE_LOOKS = 250,          /* 10 to 20 ms: nobody at the gate may run out of patience meanwhile */
};

struct thread thread_none;
TLS_INITIAL_EXEC struct thread *thread_self = &thread_none;

static AT_START ALIGNED(CACHE_LINE) struct {
    struct lock lock;           /* THREADS */
    struct thread *head;        /* atomic: pairs release in link_thread / acquire in thread_list */
    struct thread *reap_cursor; /* THREADS: where the next reaping goes on */
    uint32_t process;           /* counts forks; written in the child, alone */
    uint32_t attached;          /* atomic, relaxed */
    uint32_t told;              /* atomic: heap_shared was stored by the first thread itself; Note [ALONE] */
} threads = { .lock = LOCK_INIT(THREADS) };

/* Closed in two steps: new tasks first, for those inside may mark for a while, then threads. */
static AT_START ALIGNED(CACHE_LINE) struct {
    uint32_t closed_to_tasks;   /* atomic: number of closers; futex */
    uint32_t closed;            /* the same for threads */
    uint32_t tasks;             /* atomic: tasks inside; see Note [GATE] */
} gate;

/* ------------------------------------------------------------------ the list */

struct thread *thread_list(void)
{
    return load_acquire(&threads.head);
}

bool thread_is_alive(const struct thread *thread)
{
    return load_acquire(&thread->tid) != 0 && load_relaxed(&thread->process) == threads.process;
}

struct thread *thread_by_tid(int tid)
{
    for (struct thread *t = thread_list(); t != NULL; t = t->next)
        if (load_acquire(&t->tid) == tid && load_relaxed(&t->process) == threads.process)
            return t;
    return NULL;
}

bool threads_forked(void)
{
    return threads.process != 0;
}

unsigned thread_count(void)
{
    return load_relaxed(&threads.attached);
}

void threads_lock(void)
{
    lock_acquire(&threads.lock);
}

void threads_unlock(void)
{
    lock_release(&threads.lock);
}

/* ------------------------------------------------------------ taking and freeing */

/* Everything but the cache, the link and the tid. */
static void reset_thread(struct thread *thread)
{
    thread->in_runtime = 0;
    thread->stop_pending = 0;
    thread->announced = false;
    thread->parked_sp = 0;
    thread->stack_low = 0;
    thread->stack_high = 0;
    thread->own_low = 0;
    thread->alternate_stack = 0;
    thread->alternate_bytes = 0;
    thread->context_stack = 0;
    thread->copy_low = thread->copy_high = 0;
    thread->handled_rip = 0;
    thread->handled_rsp = 0;
    thread->rewound = (struct rewound){ 0 };
    store_release(&thread->state, THREAD_RUNNING);
}

/* Takes back what a thread left that is no more.  THREADS held. */
static void bury(struct thread *thread)
{
    mcache_abandon(&thread->cache);
    reset_thread(thread);
    if (load_relaxed(&thread->process) == threads.process)
        fetch_sub_relaxed(&threads.attached, 1);
    store_release(&thread->tid, 0);
}

/* Did the thread die without detaching?  THREADS held. */
static bool is_dead(const struct thread *thread)
{
    int tid = load_relaxed(&thread->tid);

    if (tid == 0)
        return false;
    if (load_relaxed(&thread->process) != threads.process)
        return true;
    if (world_first_has_ended() && tid == sys_getpid())
        return true;                    /* the kernel would say that it is there */
    return !thread->announced && sys_call3(SYS_tgkill, sys_getpid(), tid, 0) == -ESRCH;
}

/* Buries a few of the dead; returns one of them, NULL when there was none.  THREADS held. */
static struct thread *reap_some(void)
{
    struct thread *first = threads.reap_cursor != NULL ? threads.reap_cursor : threads.head;
    struct thread *t = first, *found = NULL;
    int probes = 0, caches = 0;

    if (first == NULL)
        return NULL;
    do {
        if (is_dead(t)) {
            bury(t);
            found = t;
            caches++;
        }
        t = t->next != NULL ? t->next : threads.head;
    } while (t != first && ++probes < REAP_PROBES && caches < REAP_CACHES);
    threads.reap_cursor = t;
    return found;
}

/* Not while the world is stopped. */
void thread_reap_dead(void)
{
    uint64_t mask = signals_block_all();

    lock_acquire(&threads.lock);
    reap_some();
    lock_release(&threads.lock);
    signals_restore(mask);
}

static struct thread *link_thread(void)
{
    struct thread *thread = meta_alloc(sizeof(*thread));

    if (thread == NULL)
        return NULL;
    mcache_init(&thread->cache, thread->entries);
    thread->next = threads.head;
    store_release(&threads.head, thread);
    return thread;
}

/* A structure for the task `tid`: one that bears its id already (its owner died and the
 * kernel used the id again), a free one, a dead one's, or a new one.  THREADS held. */
static struct thread *take_structure(int tid)
{
    struct thread *found = NULL;

    for (struct thread *t = threads.head; t != NULL; t = t->next) {
        int owner = load_relaxed(&t->tid);

        if (owner == tid && load_relaxed(&t->process) == threads.process) {
            bury(t);
            return t;
        }
        if (owner == 0)
            found = t;
    }
    if (found == NULL)
        found = reap_some();
    return found != NULL ? found : link_thread();
}

/* A cycle that marks in a copy has closed the magazines of all threads, but for those that were not
 * there.  Signals are blocked, so no stop begins or ends a marking meanwhile. */
static void close_if_copied(struct thread *thread)
{
    if (load_relaxed(&span_free_black))
        mcache_close(&thread->cache);
}

static bool threads_inside(void)
{
    for (struct thread *t = thread_list(); t != NULL; t = t->next)
        if (t != thread_self && thread_is_alive(t) && load_seq_cst(&t->in_runtime) != 0)
            return true;
    return false;
}

/* Note [ALONE].  Not for ever, as at the gate: the thread inside may be in a handler of the program that
 * interrupted it and now waits for us. */
static void end_alone(void)
{
    static uint32_t over;               /* atomic */

    if (LIKELY(load_acquire(&over) != 0) || thread_list() == NULL)
        return;
    fetch_or_seq_cst(&heap_shared, SHARED_BY_THREADS);
    if (load_acquire(&threads.told) == 0)
        park_for(GATE_SLEEP_NS);
    for (uint64_t waited = 0; threads_inside() && waited < GATE_PATIENCE_NS; waited += GATE_SLEEP_NS)
        park_for(GATE_SLEEP_NS);
    store_release(&over, 1);
}

/* Only the first thread can be the one that finds nothing told here. */
void thread_share(void)
{
    if (load_acquire(&threads.told) != 0)
        return;
    vm_is_confined();           /* found out while nobody else can see the descriptor that this takes */
    fetch_or_seq_cst(&heap_shared, SHARED_BY_THREADS);
    store_release(&threads.told, 1);
}

struct thread *thread_attach(void)
{
    struct thread *thread = thread_self;

    if (thread != NULL && thread != &thread_none)
        return thread;
    end_alone();
    uint64_t mask = signals_block_all();
    int tid = sys_gettid();

    lock_acquire(&threads.lock);
    thread = take_structure(tid);
    if (thread != NULL) {
        reset_thread(thread);
        close_if_copied(thread);
        store_relaxed(&thread->process, threads.process);
        fetch_add_relaxed(&threads.attached, 1);
        store_release(&thread->tid, tid);
        thread_self = thread;
    }
    lock_release(&threads.lock);
    signals_restore(mask);
    return thread;
}

/* The next owner of the structure gets the spare alternate stack, so the kernel is not to use it any more for
 * this thread.  If the thread is on it, or may not ask (os/vm.h), it is lost. */
static void release_spare(struct thread *thread)
{
    stack_t used = { .ss_sp = NULL }, none = { .ss_flags = SS_DISABLE };

    if (thread->spare_alternate == 0)
        return;
    if (vm_is_confined() || sys_call2(SYS_sigaltstack, 0, (long)&used) != 0 ||
        ((uintptr_t)used.ss_sp == thread->spare_alternate && sys_call2(SYS_sigaltstack, (long)&none, 0) != 0))
        thread->spare_alternate = 0;
}

/* Gives the cache back inside the runtime (so no stop and no fork cuts it), then, with
 * signals blocked, the structure.  A stop that was noted on the way is answered last. */
void thread_detach(void)
{
    struct thread *thread = thread_self;

    if (thread == NULL || thread == &thread_none)
        return;
    runtime_enter();
    mcache_abandon(&thread->cache);

    uint64_t mask = signals_block_all();
    bool stop_pending = load_relaxed(&thread->stop_pending) != 0;

    thread_self = &thread_none;
    release_spare(thread);
    reset_thread(thread);
    fetch_sub_relaxed(&threads.attached, 1);
    store_release(&thread->tid, 0);
    signals_restore(mask);
    if (stop_pending)
        world_park_self(NULL);
}

/* ------------------------------------------------------------- announced threads */

bool thread_announce(uintptr_t stack_low, uintptr_t stack_high)
{
    struct thread *thread = thread_attach();

    if (thread == NULL)
        return false;
    thread->announced = true;
    thread->stack_low = stack_low;
    thread->stack_high = stack_high;
    /* The main thread's stack may grow further than this; then we ask for the thread's id. */
    thread->own_low = stack_low != 0 || stack_high < SURE_STACK ? stack_low : stack_high - SURE_STACK;
    return true;
}

/* The end of the mapping that holds the address, or 0. */
static uintptr_t mapping_end(uintptr_t address)
{
    struct mapping mapping;

    return proc_mappings_between(address, address + 1, &mapping, 1) != 0 ? mapping.high : 0;
}

/* One past the highest byte of the main thread's stack.  The kernel puts the name of the
 * executed file there, and 8 zero bytes; that saves start-up from reading the maps. */
static uintptr_t main_stack_high(void)
{
    uintptr_t here = (uintptr_t)__builtin_frame_address(0);
    uintptr_t name = getauxval(AT_EXECFN);

    if (name - here < 64 * MIB) {
        const char *end = (const char *)name;

        while (*end != 0)
            end++;
        uintptr_t high = align_up((uintptr_t)end + 1, 4096);
        if (high - (uintptr_t)end == 9)
            return high;
    }
    return mapping_end(here);
}

bool thread_announce_main(void)
{
    if (sys_gettid() != sys_getpid())
        return thread_attach() != NULL;
    return thread_announce(0, main_stack_high());
}

/* ------------------------------------------------------------------- the runtime */

/* The gate is closed: steps out, waits, steps in again.
 *
 * Not for ever: with the gate closed, fork waits for libc's list of stdio files; another thread may
 * hold that list and wait for a file that the thread at the gate has locked.  No
 * fork holds the gate for long but in that knot, so whoever has waited
 * GATE_PATIENCE_NS walks through and unties it.  A child cut at that very moment gets the
 * heap as it is, as in a fork from a signal handler inside malloc. */
static COLD void wait_at_gate(struct thread *thread)
{
    uint64_t waited = 0;

    do {
        store_seq_cst(&thread->in_runtime, 0);
        if (load_relaxed(&thread->stop_pending) != 0)
            world_park_self(thread);
        uint32_t closed = load_seq_cst(&gate.closed);
        if (closed != 0) {
            park_wait(&gate.closed, closed, GATE_SLICE_NS);
            waited += GATE_SLICE_NS;
        }
        store_seq_cst(&thread->in_runtime, 1);
    } while (load_seq_cst(&gate.closed) != 0 && waited < GATE_PATIENCE_NS);
}

struct thread *runtime_enter(void)
{
    struct thread *thread = thread_self;

    if (UNLIKELY(thread == NULL || thread == &thread_none)) {
        thread = thread_attach();
        if (thread == NULL)
            return NULL;
    }
    ASSERT(load_relaxed(&thread->state) == THREAD_RUNNING);
    uint32_t depth = thread->in_runtime;

    if (LIKELY(load_relaxed(&heap_shared) == 0))        /* nobody can close the gate: Note [ALONE] */
        store_relaxed(&thread->in_runtime, depth + 1);
    else
        store_seq_cst(&thread->in_runtime, depth + 1);
    COMPILER_BARRIER();
    if (UNLIKELY(load_seq_cst(&gate.closed) != 0) && depth == 0)
        wait_at_gate(thread);
    return thread;
}

void runtime_leave(struct thread *thread)
{
    ASSERT(thread == thread_self && thread->in_runtime > 0);
    uint32_t depth = thread->in_runtime - 1;

    store_release(&thread->in_runtime, depth);
    COMPILER_BARRIER();
    if (UNLIKELY(load_relaxed(&thread->stop_pending) != 0) && depth == 0)
        world_park_self(thread);
}

/* A thread may wait for the collector while it holds the stdio lock that the fork waits for. */
bool runtime_enter_task(void)
{
    for (uint64_t waited = 0; waited < GATE_PATIENCE_NS; waited += GATE_SLICE_NS) {
        fetch_add_seq_cst(&gate.tasks, 1);
        uint32_t closed = load_seq_cst(&gate.closed_to_tasks);
        if (LIKELY(closed == 0))
            return true;
        fetch_sub_acq_rel(&gate.tasks, 1);
        park_wait(&gate.closed_to_tasks, closed, GATE_SLICE_NS);
    }
    return false;
}

void runtime_leave_task(void)
{
    fetch_sub_acq_rel(&gate.tasks, 1);
}

static bool tasks_inside(void)
{
    return load_seq_cst(&gate.tasks) != 0;
}

/* Nobody wakes us: who leaves the runtime has better things to do. */
static void wait_while(bool (*inside)(void))
{
    for (unsigned looks = 0; inside(); looks++)
        park_between_looks(looks);
}

void runtime_gate_close(void)
{
    fetch_add_seq_cst(&gate.closed_to_tasks, 1);
    wait_while(tasks_inside);
    fetch_add_seq_cst(&gate.closed, 1);
    wait_while(threads_inside);
}

void runtime_gate_open(void)
{
    fetch_sub_acq_rel(&gate.closed, 1);
    park_wake_all(&gate.closed);
    fetch_sub_acq_rel(&gate.closed_to_tasks, 1);
    park_wake_all(&gate.closed_to_tasks);
}

static void open_to_task(void)
{
    fetch_sub_acq_rel(&gate.closed, 1);
    park_wake_all(&gate.closed);
    runtime_leave_task();
}

/* Whoever has no structure does its slow paths under THREADS. */
bool runtime_close(void)
{
    if (!runtime_enter_task())
        return false;
    fetch_add_seq_cst(&gate.closed, 1);
    for (unsigned i = 0; threads_inside(); i++) {
        if (i == CLOSE_LOOKS) {
            open_to_task();
            return false;
        }
        park_between_looks(i);
    }
    threads_lock();
    return true;
}

void runtime_open(void)
{
    threads_unlock();
    open_to_task();
}

/* ----------------------------------------------------------------------- parking */

/* The second half of thread_park, below. */
void thread_park_publish(struct thread *thread, struct spilled_registers *save, uintptr_t sp);

void thread_park_publish(struct thread *thread, struct spilled_registers *save, uintptr_t sp)
{
    ASSERT(thread == thread_self && thread->in_runtime == 0);
    ASSERT(load_relaxed(&thread->state) == THREAD_RUNNING);
    ASSERT(sp <= (uintptr_t)save);
    (void)save;
    store_relaxed(&thread->parked_sp, sp);
    store_release(&thread->state, THREAD_PARKED);
}

/* thread_park is not C: a compiler's prologue would move the caller's registers into a
 * frame that is gone when the thread sleeps.  At the call, what the caller still needs
 * is in the six registers or in its frame, above the stack pointer. */
__asm__(".text\n"
        ".globl thread_park\n"
        ".hidden thread_park\n"
        ".type thread_park, @function\n"
        "thread_park:\n"
        "    .cfi_startproc\n"
        "    movq %rbx, 0(%rsi)\n"
        "    movq %rbp, 8(%rsi)\n"
        "    movq %r12, 16(%rsi)\n"
        "    movq %r13, 24(%rsi)\n"
        "    movq %r14, 32(%rsi)\n"
        "    movq %r15, 40(%rsi)\n"
        "    movq $0, 48(%rsi)\n"
        "    movq $0, 56(%rsi)\n"
        "    leaq -128(%rsp), %rdx\n"
        "    jmp thread_park_publish\n"
        "    .cfi_endproc\n"
        ".size thread_park, . - thread_park\n");

void thread_unpark(struct thread *thread)
{
    uint32_t expected = THREAD_PARKED;

    ASSERT(thread == thread_self);
    while (UNLIKELY(!cas_acq_rel(&thread->state, &expected, THREAD_RUNNING))) {
        CHECK(expected == THREAD_HELD);
        world_wait_held(thread);
        expected = THREAD_PARKED;
    }
}

uintptr_t thread_signal_begin(struct thread *thread, uintptr_t rip, uintptr_t rsp)
{
    uintptr_t parked_sp = 0;

    if (thread == NULL || thread == &thread_none)
        return 0;
    if (load_relaxed(&thread->state) != THREAD_RUNNING) {
        parked_sp = thread->parked_sp;
        thread_unpark(thread);
    }
    thread->handled_rip = rip;
    thread->handled_rsp = rsp;
    return parked_sp;
}

/* A handler that interrupted this one has left its own place. */
void thread_signal_end(struct thread *thread, uintptr_t parked_sp, uintptr_t rip, uintptr_t rsp)
{
    thread->handled_rip = rip;
    thread->handled_rsp = rsp;
    if (parked_sp == 0)
        return;
    store_relaxed(&thread->parked_sp, parked_sp);
    store_release(&thread->state, THREAD_PARKED);
}

/* -------------------------------------------------------------------------- fork */

/* The other threads' structures are recognised as dead by their process number: their
 * pages, shared with the parent, are not written until somebody needs a structure. */
void thread_fork_child(void)
{
    struct thread *self = thread_self;

    lock_reset(&threads.lock);
    threads.process++;
    store_relaxed(&gate.closed, 0);
    store_relaxed(&gate.closed_to_tasks, 0);
    store_relaxed(&gate.tasks, 0);
    store_relaxed(&threads.attached, 0);
    if (self == NULL || self == &thread_none)
        return;
    if (load_relaxed(&self->state) == THREAD_HELD)      /* the stopped world was the parent's */
        store_relaxed(&self->state, THREAD_PARKED);
    self->process = threads.process;
    self->stop_pending = 0;
    store_relaxed(&threads.attached, 1);
    store_release(&self->tid, sys_gettid());
}
