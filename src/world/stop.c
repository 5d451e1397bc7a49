/* stop.c -- see stop.h
 *
 * PURPOSE    The protocol that stops every task of the process.
 *
 * The stopper, holding WORLD, raises the generation to an odd number, lists the tasks
 * and gives each a slot; then, for each:
 *
 *     a thread in state PARKED     is made HELD: no signal
 *     anybody else                 its slot's word becomes the generation's token, and it
 *                                  is sent the stop signal
 *
 * and waits until every token is answered.  Then it lists again, until a listing is complete
 * (tasklist.h) and shows nobody new.  A task that is stopped makes no threads, so that ends.
 *
 *     word of a slot       written by                 meaning
 *     token(generation)    stopper                    signalled, has not answered
 *     address of a record  the task, cas from token   stopped; the record is on its stack
 *     SLOT_HELD            stopper, cas from token    parked and held
 *     SLOT_ZOMBIE          stopper, cas from token    ended, but still listed
 *     SLOT_GONE            stopper, cas from token    ended
 *
 * A task answers in the handler, or, when the handler found it in the runtime and only left
 * a note, in world_park_self at the end of the slow path (I4).  Then it sleeps
 * until the generation is another.  The stopper never waits for tasks to wake up.
 *
 * Note [LATE]  A handler may be arbitrarily late: delivered after its stop was given up,
 * or still reading the table when the next stop fills it.  Nothing a late one does counts:
 * it answers by compare-and-swap from the token of the generation that it read
 * before it looked up its slot, tokens are never used twice, and it writes nothing else.
 * If the swap succeeds the stop of that generation is in progress and counts it.  Tables are
 * never unmapped, indices read from them are checked.  One that leaves its handler while
 * the next stop begins has the signal blocked until it is out: it is stopped then.
 *
 * Note [OURS]  The signal is glibc's own for setuid(), which no thread can block with libc
 * calls, and glibc's handler must go on working: we send with si_code SI_QUEUE and a
 * cookie, glibc with SI_TKILL, and what is not ours goes to the chained handler.
 * glibc installs its handler when the first thread is made (and after a fork): then
 * ours is put back and the signal sent again; glibc's handler ignores SI_QUEUE.
 * Which thread runs is decided by gettid, not by thread-local storage, which a raw clone
 * may share with its maker.
 *
 * Note [HOLD]  PARKED -> HELD comes first, then the slot.  The tid is looked at again after
 * the first, for the structure may have got another owner; a HELD thread cannot
 * detach.  If the slot's swap fails, the thread is stopped in the handler, which came in
 * between, and the hold is undone.
 *
 * LOCKING    WORLD, from world_stop to world_start.  The stopper takes THREADS only to grow
 *            the table, before anybody is stopped; and no lock while somebody is.
 * LIFETIME   A record lives on its task's stack while the generation lasts.
 * INVARIANT  (I7) From the first signal to world_start nothing is allocated.
 *            (I8) Whoever does not answer ends the stop: everybody is released, false.
 */
#define _GNU_SOURCE             /* the registers of a ucontext */
#include "world/stop.h"

#include <errno.h>
#include <signal.h>
#include <time.h>
#include <ucontext.h>

#include "base/check.h"
#include "base/fmt.h"
#include "base/lock.h"
#include "base/park.h"
#include "world/rewind.h"
#include "world/task.h"
#include "world/tasklist.h"

enum {
    STOP_SIGNAL = 33,
    FIRST_CAPACITY = 512,       /* tasks */
    MAX_EXEMPT = 128,
    MAX_ROUNDS = 2000,          /* listings in one stop */
    MAX_TROUBLE = 8,
    BAD_CHECKS = 3,             /* so often in a row blocked or in the kernel: give up */
};

#define STOP_COOKIE 0x67636d656d6f7279ull
#define MS ((uint64_t)1000000)
#define FIRST_CHECK_NS (MS / 5)
#define CHECK_NS (20 * MS)
#define GIVE_UP_NS (2000 * MS)

#define SLOT_HELD ((uint64_t)2)
#define SLOT_ZOMBIE ((uint64_t)4)
#define SLOT_GONE ((uint64_t)6)

struct slot {
    int tid;                    /* atomic, relaxed: late handlers read it */
    struct thread *thread;      /* atomic, relaxed; NULL: none that we know */
    uint64_t word;              /* atomic: see above */
    uint32_t fresh;             /* stopper: listed, nothing done yet */
    uint32_t resend;            /* stopper: the kernel's signal queue was full */
    uint32_t bad_checks;        /* stopper */
};

/* Slots in the order of listing; index: open addressing by tid, slot number + 1, 0: free. */
struct table {
    uint32_t capacity, mask;    /* constant */
    uint32_t count;             /* stopper */
    uint32_t *index;            /* atomic, relaxed */
    struct slot *slots;
    struct stopped_task *tasks; /* stopper; what world_tasks shows */
};

/* What the kernel takes and gives. */
struct kernel_action {
    void (*handler)(int, siginfo_t *, void *);
    uint64_t flags;
    void (*restorer)(void);
    uint64_t mask;
};

static struct {
    struct lock lock;           /* WORLD */
    uint32_t generation;        /* atomic, futex: odd while a stop is in progress or done */
    /* generation << 32 | tokens not answered; the low half is the stopper's futex. */
    uint64_t unanswered;        /* atomic */
    struct table *table;        /* atomic; replaced under WORLD while generation is even */
    struct kernel_action chain; /* what was installed before us; under WORLD, world running */
    uint32_t chained;           /* atomic: chain is valid */
    int exempt[MAX_EXEMPT];     /* atomic: 0 free */

    /* Under WORLD. */
    bool stopped;
    bool overflow, refused;     /* of the listing in progress */
    uint32_t fresh;             /* slots of the listing in progress that are new */
    int caller;                 /* tid of the stopper */
    uint64_t caller_mask;       /* its signals before, unless it is exempt */
    bool caller_blocked;
    size_t task_count;
    int trouble[MAX_TROUBLE];   /* tids that made a stop fail, while they stay as they were */
    char why[96];
} world = { .lock = LOCK_INIT(WORLD) };

static uint64_t token(uint32_t generation)
{
    return (uint64_t)generation << 32 | 1;
}

static bool is_token(uint64_t word)
{
    return (word & 1) != 0;
}

static uint64_t now_ns(void)
{
    struct timespec now;

    sys_call2(SYS_clock_gettime, CLOCK_MONOTONIC, (long)&now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* --------------------------------------------------------------------- the table */

static uint32_t first_place(const struct table *table, int tid)
{
    return ((uint32_t)tid * 0x9e3779b1u) >> 7 & table->mask;
}

/* Any task, any time: see Note [LATE]. */
static struct slot *find_slot(const struct table *table, int tid)
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

static void add_slot(struct table *table, int tid)
{
    uint32_t place = first_place(table, tid);
    struct slot *slot = &table->slots[table->count];

    store_relaxed(&slot->tid, tid);
    store_relaxed(&slot->thread, NULL);
    store_relaxed(&slot->word, SLOT_GONE);
    slot->fresh = 1;
    while (load_relaxed(&table->index[place]) != 0)
        place = (place + 1) & table->mask;
    store_release(&table->index[place], ++table->count);
}

static void clear_table(struct table *table)
{
    for (uint32_t i = 0; i <= table->mask; i++)
        store_relaxed(&table->index[i], 0);
    table->count = 0;
}

/* A fork must not cut meta_alloc, so it is called under THREADS, with signals blocked. */
static struct table *make_table(uint32_t capacity)
{
    uint64_t mask = signals_block_all();

    threads_lock();
    struct table *table = meta_alloc(sizeof(*table));
    uint32_t *index = meta_alloc((size_t)capacity * 2 * sizeof(index[0]));
    struct slot *slots = meta_alloc(capacity * sizeof(slots[0]));
    struct stopped_task *tasks = meta_alloc(capacity * sizeof(tasks[0]));
    threads_unlock();
    signals_restore(mask);
    if (table == NULL || index == NULL || slots == NULL || tasks == NULL)
        return NULL;
    *table = (struct table){ .capacity = capacity, .mask = capacity * 2 - 1,
                             .index = index, .slots = slots, .tasks = tasks };
    return table;
}

/* ------------------------------------------------------------- answering the stop */

/* One token of this generation less; wakes the stopper at the last.  A task that lost the
 * time to tell so before its stop was given up must not count for the next. */
static void count_answer(uint32_t generation)
{
    uint64_t before = load_relaxed(&world.unanswered);

    do {
        if (before >> 32 != generation)
            return;
    } while (!cas_acq_rel(&world.unanswered, &before, before - 1));
    if ((uint32_t)before == 1)
        park_wake((const uint32_t *)&world.unanswered, 1);
}

/* The task that runs tells that it is stopped, and sleeps while that lasts.  Returns at once
 * when it was not asked. */
static void answer_stop(struct stopped_task *record)
{
    uint32_t generation = load_acquire(&world.generation);

    if ((generation & 1) == 0)
        return;
    struct slot *slot = find_slot(load_acquire(&world.table), record->tid);
    uint64_t expected = token(generation);

    if (slot == NULL || !cas_acq_rel(&slot->word, &expected, (uint64_t)record))
        return;
    count_answer(generation);
    while (load_acquire(&world.generation) == generation)
        park_wait(&world.generation, generation, PARK_FOREVER);
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
    record.task = (struct stopped_task){ .tid = sys_gettid(), .thread = thread, .sp = sp - 128 };
    answer_stop(&record.task);
    signals_restore(mask);
}

/* Signals are blocked meanwhile: their handlers would run program code in a stopped world. */
void world_wait_held(struct thread *thread)
{
    uint64_t mask = signals_block_all();

    while (load_acquire(&thread->state) == THREAD_HELD) {
        uint32_t generation = load_acquire(&world.generation);

        if (generation & 1)
            park_wait(&world.generation, generation, PARK_FOREVER);
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
    struct slot *slot = find_slot(load_acquire(&world.table), tid);
    struct thread *thread = slot == NULL ? NULL : load_relaxed(&slot->thread);

    if (thread != NULL && load_acquire(&thread->tid) == tid && thread_is_alive(thread))
        return thread;
    return thread_by_tid(tid);
}

static void call_chained(int signal, siginfo_t *info, void *context)
{
    if (load_acquire(&world.chained) == 0 || (uintptr_t)world.chain.handler <= 1)
        return;
    world.chain.handler(signal, info, context);
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

    rewind_interrupted_call(context, thread == NULL ? 0 : thread->handled_rip,
                            thread == NULL ? 0 : thread->handled_rsp);
    if ((load_acquire(&world.generation) & 1) == 0)
        return;
    if (thread != NULL && load_relaxed(&thread->in_runtime) != 0) {
        store_relaxed(&thread->stop_pending, 1);
        return;
    }
    struct stopped_task record = {
        .tid = tid,
        .thread = thread,
        .sp = (uintptr_t)context->uc_mcontext.gregs[REG_RSP] - 128,
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

/* True when our handler was installed, or is now and *replaced is set.  False: refused. */
static bool ensure_handler(bool *replaced)
{
    const struct kernel_action ours = {
        .handler = on_stop_signal,
        .flags = SA_SIGINFO | SA_RESTART | SA_ONSTACK | 0x04000000u /* SA_RESTORER */,
        .restorer = world_restore_context,
        .mask = ~0ull,
    };
    struct kernel_action found;

    if (sys_call4(SYS_rt_sigaction, STOP_SIGNAL, 0, (long)&found, 8) != 0)
        return false;
    if (found.handler == on_stop_signal)
        return true;
    *replaced = true;
    world.chain = found;
    store_release(&world.chained, 1);
    return sys_call4(SYS_rt_sigaction, STOP_SIGNAL, (long)&ours, 0, 8) == 0;
}

static long send_stop(int tid)
{
    siginfo_t info = { .si_code = SI_QUEUE };
    int pid = sys_getpid();

    info.si_signo = STOP_SIGNAL;
    info.si_pid = pid;
    info.si_value.sival_ptr = (void *)STOP_COOKIE;
    return sys_call4(SYS_rt_tgsigqueueinfo, pid, tid, STOP_SIGNAL, (long)&info);
}

/* ------------------------------------------------------------------ exempt tasks */

void world_exempt(int tid)
{
    for (unsigned i = 0; i < MAX_EXEMPT; i++) {
        int expected = 0;

        if (cas_acq_rel(&world.exempt[i], &expected, tid))
            return;
    }
    die("more than %d tasks of the collector", MAX_EXEMPT);
}

void world_unexempt(int tid)
{
    for (unsigned i = 0; i < MAX_EXEMPT; i++) {
        int expected = tid;

        if (cas_acq_rel(&world.exempt[i], &expected, 0))
            return;
    }
}

static bool is_exempt(int tid)
{
    for (unsigned i = 0; i < MAX_EXEMPT; i++)
        if (load_acquire(&world.exempt[i]) == tid)
            return true;
    return false;
}

/* ------------------------------------------------------------- stopping one task */

static bool settle(struct slot *slot, uint64_t word)
{
    uint64_t expected = token(world.generation);

    if (!cas_acq_rel(&slot->word, &expected, word))
        return false;
    count_answer(world.generation);
    return true;
}

/* Holds the slot's thread if it is parked.  The slot has its token.  See Note [HOLD]. */
static bool hold_parked(struct slot *slot)
{
    struct thread *thread = load_relaxed(&slot->thread);
    uint32_t expected = THREAD_PARKED;

    if (thread == NULL || !cas_acq_rel(&thread->state, &expected, THREAD_HELD))
        return false;
    if (load_acquire(&thread->tid) == slot->tid && thread_is_alive(thread) &&
        settle(slot, SLOT_HELD))
        return true;
    store_release(&thread->state, THREAD_PARKED);
    return false;
}

static bool fail(const char *format, int tid)
{
    fmt_format(world.why, sizeof(world.why), format, tid);
    return false;
}

static void remember_trouble(int tid)
{
    for (unsigned i = 0; i < MAX_TROUBLE; i++) {
        if (world.trouble[i] == 0 || world.trouble[i] == tid) {
            world.trouble[i] = tid;
            return;
        }
    }
}

static bool is_stuck(struct task_status status)
{
    return (status.blocked >> (STOP_SIGNAL - 1) & 1) != 0 || status.state == 'D' ||
           status.state == 'T' || status.state == 't';
}

static bool is_ended(struct task_status status)
{
    return status.state == 'Z' || status.state == 'X';
}

/* Sends the signal.  The slot has its token. */
static bool signal_slot(struct slot *slot)
{
    long result = send_stop(slot->tid);

    slot->resend = result == -EAGAIN;
    if (result == 0 || result == -EAGAIN)
        return true;
    if (result == -ESRCH) {
        settle(slot, SLOT_GONE);
        return true;
    }
    return fail("thread %d cannot be sent the stop signal", slot->tid);
}

/* The first thing that happens to a slot. */
static bool catch_task(struct slot *slot)
{
    slot->fresh = 0;
    slot->bad_checks = 0;
    slot->resend = 0;
    fetch_add_acq_rel(&world.unanswered, 1);
    store_release(&slot->word, token(world.generation));
    /* A first thread that ended by pthread_exit is listed as long as the process lives. */
    if (slot->tid == sys_getpid() && slot->thread == NULL &&
        is_ended(task_status_read(slot->tid)))
        return settle(slot, SLOT_ZOMBIE);
    return hold_parked(slot) || signal_slot(slot);
}

/* Somebody has not answered for a while: why?  False: give up. */
static bool check_laggard(struct slot *slot, uint64_t waited_ns, bool send_again)
{
    if (is_exempt(slot->tid) ||
        sys_call3(SYS_tgkill, sys_getpid(), slot->tid, 0) == -ESRCH) {
        settle(slot, SLOT_GONE);
        return true;
    }
    if (load_relaxed(&slot->thread) == NULL)
        store_relaxed(&slot->thread, thread_by_tid(slot->tid));
    if (hold_parked(slot))
        return true;
    struct task_status status = task_status_read(slot->tid);

    if (is_ended(status)) {
        settle(slot, SLOT_ZOMBIE);
        return true;
    }
    if (waited_ns >= CHECK_NS && is_stuck(status)) {
        if (++slot->bad_checks >= BAD_CHECKS && is_token(load_acquire(&slot->word))) {
            remember_trouble(slot->tid);
            return fail(status.state == 'D' || status.state == 'T' || status.state == 't'
                            ? "thread %d is stuck in the kernel"
                            : "thread %d blocks the stop signal", slot->tid);
        }
    } else {
        slot->bad_checks = 0;
    }
    if (waited_ns >= GIVE_UP_NS && is_token(load_acquire(&slot->word)))
        return fail("thread %d did not answer the stop signal", slot->tid);
    return send_again || slot->resend ? signal_slot(slot) : true;
}

static bool check_laggards(struct table *table, uint64_t waited_ns)
{
    bool replaced = false;

    if (!ensure_handler(&replaced))
        return fail("the stop handler cannot be installed", 0);
    for (uint32_t i = 0; i < table->count; i++) {
        struct slot *slot = &table->slots[i];

        if (is_token(load_acquire(&slot->word)) && !check_laggard(slot, waited_ns, replaced))
            return false;
    }
    return true;
}

/* Waits until every token is answered. */
static bool await_answers(struct table *table, uint64_t start)
{
    uint64_t interval = FIRST_CHECK_NS, next_check = now_ns() + interval;
    uint32_t waiting;

    while ((waiting = (uint32_t)load_acquire(&world.unanswered)) != 0) {
        uint64_t now = now_ns();

        if (now < next_check) {
            park_wait((const uint32_t *)&world.unanswered, waiting, next_check - now);
            continue;
        }
        if (!check_laggards(table, now - start))
            return false;
        interval = min_size(interval * 2, CHECK_NS);
        next_check = now_ns() + interval;
    }
    return true;
}

/* --------------------------------------------------------------- stopping them all */

static void list_one(void *context, int tid)
{
    struct table *table = context;

    if (tid == world.caller || is_exempt(tid))
        return;
    struct slot *slot = find_slot(table, tid);

    if (slot == NULL) {
        if (table->count == table->capacity) {
            world.overflow = true;
            return;
        }
        add_slot(table, tid);
        world.fresh++;
    } else if (load_relaxed(&slot->word) == SLOT_GONE ||
               (load_relaxed(&slot->word) == SLOT_ZOMBIE &&
                !is_ended(task_status_read(tid)))) {
        slot->fresh = 1;        /* still on its way out, or a new task with an old number */
        world.fresh++;
    }
}

static void find_threads(const struct table *table)
{
    for (struct thread *t = thread_list(); t != NULL; t = t->next) {
        struct slot *slot = thread_is_alive(t) ? find_slot(table, load_acquire(&t->tid)) : NULL;

        if (slot != NULL && slot->fresh)
            store_relaxed(&slot->thread, t);
    }
}

/* One is added to the count meanwhile, so that nobody wakes us who are not asleep. */
static bool catch_fresh(struct table *table)
{
    fetch_add_acq_rel(&world.unanswered, 1);
    for (uint32_t i = 0; i < table->count; i++)
        if (table->slots[i].fresh && !catch_task(&table->slots[i]))
            return false;
    count_answer(world.generation);
    return true;
}

/* A task of ours between its clone and world_exempt would be taken for a program's thread. */
static void wait_for_starting_tasks(void)
{
    for (int i = 0; i < 1000 && task_starting() != 0; i++)
        sys_yield();
}

/* One after the other until nobody is left.  The world's generation is odd. */
static bool stop_tasks(struct table *table)
{
    uint64_t start = now_ns();

    for (unsigned round = 0; round < MAX_ROUNDS; round++) {
        wait_for_starting_tasks();
        world.fresh = 0;
        enum tasklist_result listed = tasklist_read(list_one, table);

        if (listed == TASKLIST_REFUSED)
            return fail("the list of threads cannot be read", 0);
        if (world.overflow)
            return false;
        if (world.fresh == 0 && listed == TASKLIST_COMPLETE)
            return true;
        if (now_ns() - start > 2 * GIVE_UP_NS)
            break;
        find_threads(table);
        if (!catch_fresh(table) || !await_answers(table, now_ns()))
            return false;
    }
    return fail("the list of threads does not come to rest", 0);
}

/* Lets everybody go. */
static void release_all(struct table *table)
{
    for (uint32_t i = 0; i < table->count; i++) {
        struct slot *slot = &table->slots[i];

        if (load_relaxed(&slot->word) == SLOT_HELD)
            store_release(&slot->thread->state, THREAD_PARKED);
    }
    store_seq_cst(&world.generation, world.generation + 1);
    park_wake_all(&world.generation);
}

/* Copies the records, which stay where they are until the generation changes. */
static void show_tasks(struct table *table)
{
    struct thread *self = thread_by_tid(world.caller);

    world.task_count = 0;
    if (self != NULL && load_acquire(&self->state) == THREAD_PARKED && world.caller_blocked)
        table->tasks[world.task_count++] = (struct stopped_task){
            .tid = world.caller, .thread = self, .sp = self->parked_sp };
    for (uint32_t i = 0; i < table->count; i++) {
        const struct slot *slot = &table->slots[i];
        uint64_t word = load_acquire(&slot->word);

        if (word == SLOT_HELD)
            table->tasks[world.task_count++] = (struct stopped_task){
                .tid = slot->tid, .thread = slot->thread, .sp = slot->thread->parked_sp };
        CHECK(!is_token(word));
        if (word > SLOT_GONE)
            table->tasks[world.task_count++] = *(const struct stopped_task *)word;
    }
}

/* Is one of those that made a stop fail still as it was?  Then nobody is disturbed, and no
 * more signals queue up for it. */
static bool trouble_lasts(void)
{
    for (unsigned i = 0; i < MAX_TROUBLE; i++) {
        if (world.trouble[i] == 0)
            continue;
        if (is_stuck(task_status_read(world.trouble[i])))
            return !fail("thread %d still cannot be stopped", world.trouble[i]);
        world.trouble[i] = 0;
    }
    return false;
}

/* Doubles the table after an overflow.  The old one stays: see Note [LATE]. */
static bool have_table(void)
{
    struct table *table = world.table;

    if (table != NULL && !world.overflow)
        return true;
    table = make_table(table == NULL ? FIRST_CAPACITY : table->capacity * 2);
    if (table == NULL)
        return fail("no memory for the table of threads", 0);
    store_release(&world.table, table);
    world.overflow = false;
    return true;
}

static bool stop_world(void)
{
    bool replaced;

    if (trouble_lasts())
        return false;
    for (;;) {
        if (!have_table())
            return false;
        if (!ensure_handler(&replaced))
            return fail("the stop handler cannot be installed", 0);
        clear_table(world.table);
        store_seq_cst(&world.unanswered, (uint64_t)(world.generation + 1) << 32);
        store_seq_cst(&world.generation, world.generation + 1);
        if (stop_tasks(world.table))
            return true;
        release_all(world.table);
        if (!world.overflow)
            return false;
    }
}

bool world_stop(const char **why)
{
    int caller = sys_gettid();
    bool exempt = is_exempt(caller);
    uint64_t mask = exempt ? 0 : signals_block_all();

    ASSERT(exempt || load_relaxed(&thread_self->state) == THREAD_PARKED);
    lock_acquire(&world.lock);
    world.caller = caller;
    world.caller_blocked = !exempt;
    world.caller_mask = mask;
    if (stop_world()) {
        show_tasks(world.table);
        store_release(&world.stopped, true);
        return true;
    }
    if (why != NULL)
        *why = world.why;
    lock_release(&world.lock);
    if (!exempt)
        signals_restore(mask);
    return false;
}

void world_start(void)
{
    CHECK(world.stopped);
    bool blocked = world.caller_blocked;
    uint64_t mask = world.caller_mask;

    store_release(&world.stopped, false);
    world.task_count = 0;
    release_all(world.table);
    lock_release(&world.lock);
    if (blocked)
        signals_restore(mask);
}

bool world_is_stopped(void)
{
    return load_acquire(&world.stopped);
}

const struct stopped_task *world_tasks(size_t *count)
{
    ASSERT(world.stopped);
    *count = world.task_count;
    return world.table->tasks;
}

/* ---------------------------------------------------------------- start and fork */

void world_lock(void)
{
    lock_acquire(&world.lock);
}

void world_unlock(void)
{
    lock_release(&world.lock);
}

/* The signal may have been blocked by whoever executed this program. */
bool world_init(void)
{
    uint64_t stop = 1ull << (STOP_SIGNAL - 1);
    bool replaced;

    sys_call4(SYS_rt_sigprocmask, 1 /* SIG_UNBLOCK */, (long)&stop, 0, sizeof(stop));
    return have_table() && ensure_handler(&replaced);
}

void stop_fork_child(void)
{
    lock_reset(&world.lock);
    store_relaxed(&world.generation, (world.generation + 1) & ~1u);
    store_relaxed(&world.unanswered, 0);
    store_relaxed(&world.stopped, false);
    world.overflow = false;
    for (unsigned i = 0; i < MAX_EXEMPT; i++)
        store_relaxed(&world.exempt[i], 0);
    for (unsigned i = 0; i < MAX_TROUBLE; i++)
        world.trouble[i] = 0;
}
