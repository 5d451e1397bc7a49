/* stop.c -- see stop.h and, for the protocol, stop_protocol.h
 *
 * PURPOSE    The side of the stopper.
 * LOCKING    WORLD, from world_stop to world_start.  The stopper takes THREADS only to grow
 *            the table, before anybody is stopped; and no lock while somebody is.
 * INVARIANT  (I7) From the first signal to world_start nothing is allocated.
 *            (I8) Whoever does not answer ends the stop: everybody is released, false.
 */
#include "world/stop_protocol.h"

#include <errno.h>
#include <signal.h>

#include "base/check.h"
#include "base/fmt.h"
#include "base/lock.h"
#include "base/park.h"
#include "os/host.h"
#include "world/task.h"
#include "world/tasklist.h"

enum {
    FIRST_CAPACITY = 512,       /* tasks */
    MAX_EXEMPT = 128,
    MAX_ROUNDS = 2000,          /* listings in one stop */
    MAX_TROUBLE = 8,
    BAD_CHECKS = 3,             /* so often in a row blocked or in the kernel: give up */
};

#define MS ((uint64_t)1000000)
#define FIRST_CHECK_NS (MS / 5)
#define CHECK_NS (20 * MS)
#define GIVE_UP_NS (2000 * MS)
#define DEAF_CPU_NS (10 * MS)   /* ran for so long and the signal is still blocked */

static struct {
    struct lock lock;           /* WORLD */
    int exempt[MAX_EXEMPT];     /* atomic: 0 free */
    bool first_ended;           /* atomic: the first thread, by pthread_exit; it is listed all the same */

    /* Under WORLD. */
    bool stopped;
    bool overflow;              /* the table is too small for the listing in progress */
    uint32_t fresh;             /* slots of the listing in progress that are new */
    int caller;                 /* tid of the stopper */
    uint64_t caller_mask;       /* its signals before, unless it is exempt */
    bool caller_blocked;
    size_t task_count;
    int trouble[MAX_TROUBLE];   /* tids that made a stop fail, while they stay as they were */
    char why[96];
} world = { .lock = LOCK_INIT(WORLD) };

/* --------------------------------------------------------------------- the table */

static struct slot *add_slot(struct table *table, int tid)
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
    return slot;
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

static long send_stop(int tid)
{
    siginfo_t info = { .si_code = SI_QUEUE };
    int pid = sys_getpid();

    info.si_signo = STOP_SIGNAL;
    info.si_pid = pid;
    info.si_value.sival_ptr = (void *)STOP_COOKIE;
    return sys_call4(SYS_rt_tgsigqueueinfo, pid, tid, STOP_SIGNAL, (long)&info);
}

static bool settle(struct slot *slot, uint64_t word)
{
    uint64_t expected = token(protocol.generation);

    if (!cas_acq_rel(&slot->word, &expected, word))
        return false;
    count_answer(protocol.generation);
    return true;
}

/* Holds the slot's thread if it is parked.  The slot has its token.  See Note [HOLD].  It may have become
 * known since it was listed, and wait in a call that a signal would cut short. */
static bool hold_parked(struct slot *slot)
{
    struct thread *thread = load_relaxed(&slot->thread);
    uint32_t expected = THREAD_PARKED;

    if (thread == NULL) {
        thread = thread_by_tid(slot->tid);
        store_relaxed(&slot->thread, thread);
    }
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

static bool is_first(int tid)
{
    return tid == sys_getpid();
}

bool world_first_has_ended(void)
{
    return load_relaxed(&world.first_ended);
}

/* Of the first thread.  A signal for one that has ended would stay in its queue, and all such signals of a
 * user are limited together (RLIMIT_SIGPENDING): so it gets one at most. */
static bool first_has_ended(const struct slot *slot)
{
    if (!world.first_ended && slot->thread == NULL)
        store_relaxed(&world.first_ended, is_ended(task_status_read(slot->tid)));
    return world.first_ended;
}

/* The first thing that happens to a slot. */
static bool catch_task(struct slot *slot)
{
    slot->fresh = 0;
    slot->bad_checks = 0;
    slot->resend = 0;
    fetch_add_acq_rel(&protocol.unanswered, 1);
    store_release(&slot->word, token(protocol.generation));
    if (is_first(slot->tid) && first_has_ended(slot))
        return settle(slot, SLOT_ZOMBIE);
    if (hold_parked(slot))
        return true;
    if (slot->thread == NULL && task_is_kernels(slot->tid))
        return settle(slot, SLOT_KERNELS);
    return signal_slot(slot);
}

/* Looks at a task that has not answered for a while.  False: it will not in useful time.
 * A task that is ready to run and has the signal blocked may be on its way out of
 * the handler of the last stop and get no CPU: it is only deaf when it had its share. */
static bool will_answer(struct slot *slot, struct task_status status)
{
    bool in_kernel = status.state == 'D' || status.state == 'T' || status.state == 't';

    if (!is_stuck(status)) {
        slot->bad_checks = 0;
        return true;
    }
    if (slot->bad_checks++ == 0)
        slot->cpu_ns = task_cpu_ns(slot->tid);
    if (slot->bad_checks < BAD_CHECKS ||
        (status.state == 'R' && task_cpu_ns(slot->tid) - slot->cpu_ns < DEAF_CPU_NS) ||
        !is_token(load_acquire(&slot->word)))
        return true;
    remember_trouble(slot->tid);
    return fail(in_kernel ? "thread %d is stuck in the kernel"
                          : "thread %d blocks the stop signal", slot->tid);
}

/* Somebody has not answered for a while: why?  False: give up. */
static bool check_laggard(struct slot *slot, uint64_t waited_ns, bool send_again)
{
    if (is_exempt(slot->tid) ||
        sys_call3(SYS_tgkill, sys_getpid(), slot->tid, 0) == -ESRCH) {
        settle(slot, SLOT_GONE);
        return true;
    }
    if (hold_parked(slot))
        return true;
    struct task_status status = task_status_read(slot->tid);

    if (is_ended(status)) {
        if (is_first(slot->tid))
            store_relaxed(&world.first_ended, true);
        settle(slot, SLOT_ZOMBIE);
        return true;
    }
    if (waited_ns >= CHECK_NS && !will_answer(slot, status))
        return false;
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
    uint64_t interval = FIRST_CHECK_NS, next_check = host_clock_ns() + interval;
    uint32_t waiting;

    while ((waiting = (uint32_t)load_acquire(&protocol.unanswered)) != 0) {
        uint64_t now = host_clock_ns();

        if (now < next_check) {
            park_wait((const uint32_t *)&protocol.unanswered, waiting, next_check - now);
            continue;
        }
        if (!check_laggards(table, now - start))
            return false;
        interval = min_size(interval * 2, CHECK_NS);
        next_check = host_clock_ns() + interval;
    }
    return true;
}

/* --------------------------------------------------------------- stopping them all */

/* Sees to it that a task has a slot, and that something will be done about it if need be. */
static struct slot *note_task(struct table *table, int tid)
{
    struct slot *slot = find_slot(table, tid);

    if (slot == NULL) {
        if (table->count == table->capacity) {
            world.overflow = true;
            return NULL;
        }
        slot = add_slot(table, tid);
        world.fresh++;
    } else if (load_relaxed(&slot->word) == SLOT_GONE ||
               (load_relaxed(&slot->word) == SLOT_ZOMBIE &&
                !is_ended(task_status_read(tid)))) {
        slot->fresh = 1;        /* still on its way out, or a new task with an old number */
        world.fresh++;
    }
    return slot;
}

static void list_one(void *table, int tid)
{
    if (tid != world.caller && !is_exempt(tid))
        note_task(table, tid);
}

/* All threads that we know.  They are caught before the first listing, which usually has
 * nothing to add: then no descriptor of ours exists while the program runs (one might
 * take a number that the program counts on), and one listing will do. */
static void note_known_threads(struct table *table)
{
    for (struct thread *t = thread_list(); t != NULL; t = t->next) {
        int tid = load_acquire(&t->tid);
        struct slot *slot = NULL;

        if (thread_is_alive(t) && tid != 0 && tid != world.caller)
            slot = note_task(table, tid);
        if (slot != NULL)
            store_relaxed(&slot->thread, t);
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
    fetch_add_acq_rel(&protocol.unanswered, 1);
    for (uint32_t i = 0; i < table->count; i++)
        if (table->slots[i].fresh && !catch_task(&table->slots[i]))
            return false;
    count_answer(protocol.generation);
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
    uint64_t start = host_clock_ns();

    note_known_threads(table);
    if (world.overflow || !catch_fresh(table) || !await_answers(table, start))
        return false;
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
        if (host_clock_ns() - start > 2 * GIVE_UP_NS)
            break;
        find_threads(table);
        if (!catch_fresh(table) || !await_answers(table, host_clock_ns()))
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
    store_seq_cst(&protocol.generation, protocol.generation + 1);
    park_wake_all(&protocol.generation);
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
        if (word > SLOT_KERNELS)
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
    struct table *table = protocol.table;

    if (table != NULL && !world.overflow)
        return true;
    table = make_table(table == NULL ? FIRST_CAPACITY : table->capacity * 2);
    if (table == NULL)
        return fail("no memory for the table of threads", 0);
    store_release(&protocol.table, table);
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
        clear_table(protocol.table);
        store_seq_cst(&protocol.unanswered, (uint64_t)(protocol.generation + 1) << 32);
        store_seq_cst(&protocol.generation, protocol.generation + 1);
        if (stop_tasks(protocol.table))
            return true;
        release_all(protocol.table);
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
        show_tasks(protocol.table);
        world.stopped = true;
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

    world.stopped = false;
    world.task_count = 0;
    release_all(protocol.table);
    lock_release(&world.lock);
    if (blocked)
        signals_restore(mask);
}

const struct stopped_task *world_tasks(size_t *count)
{
    ASSERT(world.stopped);
    *count = world.task_count;
    return protocol.table->tasks;
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
    return ensure_handler(&replaced);
}

void stop_fork_child(void)
{
    lock_reset(&world.lock);
    store_relaxed(&protocol.generation, (protocol.generation + 1) & ~1u);
    store_relaxed(&protocol.unanswered, 0);
    world.stopped = false;
    world.overflow = false;
    world.first_ended = false;
    for (unsigned i = 0; i < MAX_EXEMPT; i++)
        store_relaxed(&world.exempt[i], 0);
    for (unsigned i = 0; i < MAX_TROUBLE; i++)
        world.trouble[i] = 0;
}
