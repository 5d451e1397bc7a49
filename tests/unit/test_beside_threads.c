/* test_beside_threads.c -- threads that build and drop a shared graph, and free and assist, beside
 * cycles, sweepers and helpers
 *
 * Every object begins with a word that tells whether it is still what it was; what is freed
 * too early is poisoned, and gccheckmark finds what was missed.
 */
#include "beside.h"

/* A marker may look at a header whose span was freed and is being made anew.  What it finds then
 * may be a mixture, which is allowed for (object_in_span, object_range, rescan_span): whatever
 * slot it marks has its mark already, or is not handed out.  So the plain stores that make a
 * header are no bug, nor is the clearing of slots in what was a large object that a marker still
 * scans; a race between any other two places is. */
const char *__tsan_default_suppressions(void);

const char *__tsan_default_suppressions(void)
{
    return "race:span_format\nrace:insert_run\nrace:clean_slots\n";
}

enum {
    MUTATORS = 3, LOCALS = 16, SHARED_ROOTS = 64, FIELDS = 6, WINDOW = 300,
    CYCLES = 40,
    CYCLE_BYTES = 2 << 20,      /* what each allocates in a cycle, at most */
    WINDOW_AT = 1024,           /* in fake_roots, WINDOW words for each mutator */
};

#define HEADER(object) ((uintptr_t)(object) ^ 0x5eed5eed00000000)

static uint32_t over;           /* atomic: the mutators quit */
static uint32_t cycles;         /* atomic: begun */
static uint32_t broken;         /* atomic: an object was not what it should be */
static uint64_t assisted;       /* bytes, atomic */

struct mutator {
    struct thread *thread;
    uintptr_t *locals;          /* its part of fake_stack */
    uintptr_t *window;          /* of blocks that it frees itself */
    uint64_t random;
    uint32_t cycle;             /* the last that it has seen begin */
    size_t allocated;           /* bytes since */
};

static uint32_t dice(struct mutator *self, uint32_t below_this)
{
    self->random = self->random * 6364136223846793005ull + 1442695040888963407ull;
    return (uint32_t)((self->random >> 33) % below_this);
}

static void check_header(uintptr_t object)
{
    if (object != 0 && load_relaxed((uintptr_t *)object) != HEADER(object))
        store_relaxed(&broken, 1);
}

static void *new_object(struct mutator *self, enum kind kind)
{
    size_t bytes = 8 * (1 + FIELDS + dice(self, 40));
    bool large = dice(self, 300) == 0;
    uintptr_t *object = large ? fake_alloc_large(kind, bytes += SMALL_MAX)
                              : fake_alloc_on(self->thread, kind, bytes);

    self->allocated += bytes;
    store_relaxed(object, HEADER(object));
    if (load_relaxed(&gc_phase) == GC_MARKING && dice(self, 20) == 0) {
        uint64_t before = mark_totals().scanned;
        fetch_add_relaxed(&assisted, mark_assist(4096, false));
        if (mark_totals().scanned < before)     /* the pacer looks at these all the time */
            store_relaxed(&broken, 1);
    }
    return object;
}

static uintptr_t *any_local(struct mutator *self)
{
    return &self->locals[dice(self, LOCALS)];
}

static uintptr_t *any_shared(struct mutator *self)
{
    return &fake_roots[dice(self, SHARED_ROOTS)];
}

static void step(struct mutator *self)
{
    uintptr_t *local = any_local(self), *target = (uintptr_t *)*any_local(self);
    uintptr_t *slot = &self->window[dice(self, WINDOW)];

    switch (dice(self, 8)) {
    case 0:
    case 1:
        *local = word_of(new_object(self, dice(self, 3) ? KIND_GC : KIND_MALLOC));
        break;
    case 2:
        *local = target != NULL ? load_acquire(&target[1 + dice(self, FIELDS)]) : 0;
        check_header(*local);
        break;
    case 3:
    case 4:
        if (target != NULL)
            put(&target[1 + dice(self, FIELDS)], *local);
        break;
    case 5:
        *local = load_acquire(any_shared(self));
        check_header(*local);
        break;
    case 6:
        store_release(any_shared(self), dice(self, 4) ? *local : 0);
        break;
    default:
        if (*slot != 0) {
            uintptr_t block = *slot;
            check_header(block);
            store_relaxed(slot, 0);
            release(self->thread, (void *)block);
        }
        store_relaxed(slot, word_of(new_object(self, KIND_MALLOC)));
    }
    check_header(*local);
}

static void *mutate(void *argument)
{
    struct mutator *self = argument;

    fake_join(self->thread);
    while (!load_relaxed(&over)) {
        if (self->cycle != load_relaxed(&cycles)) {
            self->cycle = load_relaxed(&cycles);
            self->allocated = 0;
        }
        if (self->allocated < CYCLE_BYTES)
            step(self);
        else
            sys_yield();
        fake_poll();
    }
    fake_quit();
    return NULL;
}

static void *sweep_beside(void *unused)
{
    (void)unused;
    while (sweep_some(4))
        sys_yield();
    return NULL;
}

static uint64_t no_bytes(void)
{
    return 0;
}

static void collect_beside_threads(int cycle)
{
    static const struct cycle_hooks hooks = {
        .help = fake_help, .live_bytes = no_bytes, .gc_live_bytes = no_bytes, .late = fake_late,
    };
    struct cycle_report report = { .goal = 0 };
    pthread_t sweeper;

    fake_helpers_wanted = (unsigned)cycle % 3;
    bool stopped = cycle % 5 == 4;

    if (!cycle_run(true, !stopped, &hooks, &report))
        fail_msg("abandoned: %s", report.abandoned);
    assert_int_equal(report.method, stopped ? METHOD_STOPPED : METHOD_USERFAULT);
    pthread_create(&sweeper, NULL, sweep_beside, NULL);
    while (!sweep_is_done()) {
        sweep_some(4);
        sys_yield();
    }
    pthread_join(sweeper, NULL);
    assert_int_equal(load_relaxed(&broken), 0);
}

static void run_threads(bool checked)
{
    struct mutator mutators[MUTATORS];
    pthread_t threads[MUTATORS];

    options.poison = 1;
    options.gccheckmark = checked;
    fake_open_magazines();
    over = broken = 0;
    for (int i = 0; i < MUTATORS; i++) {
        mutators[i] = (struct mutator){
            .thread = &fake_threads[1 + i], .locals = &fake_stack[i * LOCALS],
            .window = &fake_roots[WINDOW_AT + i * WINDOW], .random = 77 + (uint64_t)i,
        };
        pthread_create(&threads[i], NULL, mutate, &mutators[i]);
    }
    for (int cycle = 0; cycle < CYCLES; cycle++) {
        fetch_add_relaxed(&cycles, 1);
        collect_beside_threads(cycle);
    }
    store_relaxed(&over, 1);
    for (int i = 0; i < MUTATORS; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(broken, 0);
}

static void test_threads_beside_cycles(void **state)
{
    (void)state;
    run_threads(false);
}

static void test_threads_beside_checked_cycles(void **state)
{
    (void)state;
    run_threads(true);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_threads_beside_cycles),
        TEST(test_threads_beside_checked_cycles),
    };

    fake_init();
    return can_mark_beside() ? cmocka_run_group_tests(tests, NULL, NULL) : 0;
}
