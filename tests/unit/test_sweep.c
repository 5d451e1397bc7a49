/* test_sweep.c -- from mark bits to free slots, by one and by many sweepers */
#include <sched.h>
#include <stdio.h>
#include <unistd.h>

#include "fake_world.h"

static int setup(void **state)
{
    (void)state;
    fake_clear_roots();
    options.poison = 0;
    options.mode = MODE_COLLECT;
    fake_kernel_hides = false;
    fake_open_magazines();
    return 0;
}

static int teardown(void **state)
{
    setup(state);
    for (int i = 0; i < 3; i++)
        fake_collect();
    fake_flush_all();
    check_all_spans();
    return 0;
}

static struct span *span_at(const void *object)
{
    return span_of((uintptr_t)object);
}

/* A wholly dead span goes back to the page heap. */
static void test_dead_span_returns_its_pages(void **state)
{
    struct pages_stats before, after;
    void *objects[100];

    (void)state;
    for (int i = 0; i < 100; i++)
        objects[i] = fake_alloc_on(&fake_threads[3], KIND_GC, 3000);
    mcache_abandon(&fake_threads[3].cache);
    pages_stats_read(&before);
    fake_mark();
    assert_int_equal(sweep_totals().swept_spans, 0);
    sweep_all();
    pages_stats_read(&after);
    assert_true(before.small_bytes - after.small_bytes >= 90 * 3072);
    assert_int_equal(sweep_totals().freed_slots, 100);
    assert_int_equal(sweep_totals().freed_bytes, 100 * 3072);
    for (int i = 0; i < 100; i++)
        assert_false(is_object(objects[i]));
}

/* Where something lives, the dead slots are found by the next refill. */
static void test_dead_slots_are_handed_out_again(void **state)
{
    enum { COUNT = 4000 };
    static void *objects[COUNT];
    struct pages_stats before, after;

    (void)state;
    for (int i = 0; i < COUNT; i++)
        objects[i] = fake_alloc(KIND_GC, 256);
    for (int i = 0; i < COUNT; i += 10)
        fake_roots[i] = (uintptr_t)objects[i];
    fake_mark();
    pages_stats_read(&before);
    for (int i = 0; i < COUNT / 2; i++)         /* refills sweep what they need */
        fake_alloc(KIND_GC, 256);
    pages_stats_read(&after);
    /* Spans that were full have no owner and are filed only when somebody sweeps them. */
    sweep_all();
    for (int i = 0; i < COUNT / 2 - 500; i++)
        fake_alloc(KIND_GC, 256);
    pages_stats_read(&after);
    assert_true(after.small_bytes <= before.small_bytes + COUNT / 2 * 256 + (64 << 10));
    for (int i = 0; i < COUNT; i += 10) {
        struct object object = object_at((uintptr_t)objects[i]);
        assert_non_null(object.span);
        assert_int_equal(object.span->slot_state[object.slot], SLOT_OUT);
    }
}

static void test_states_and_counts(void **state)
{
    void *dead = fake_alloc(KIND_GC, 96), *live = fake_alloc(KIND_GC, 96);
    struct object at = object_at((uintptr_t)dead);

    (void)state;
    fake_roots[0] = (uintptr_t)live;
    fake_mark();
    assert_int_equal(at.span->slot_state[at.slot], SLOT_OUT);
    sweep_span(at.span);
    assert_int_equal(load_relaxed(&at.span->sweepgen), sweep_generation);
    assert_int_equal(at.span->slot_state[at.slot], SLOT_IN);
    assert_false(is_object(dead));
    assert_true(is_object(live));
    assert_false(is_marked(live));
    assert_true(span_check(at.span));
    uint64_t swept = sweep_totals().swept_spans;

    sweep_span(at.span);
    assert_int_equal(sweep_totals().swept_spans, swept);
    assert_false(sweep_is_done());
    assert_int_equal(gc_phase, GC_SWEEPING);
    sweep_all();
    assert_int_equal(gc_phase, GC_OFF);
    assert_false(sweep_some(1));
}

static void count_live(struct span *span)
{
    uint32_t live = 0;

    for (uint32_t w = 0; w * 64 < span->slots; w++)
        live += count_bits(span_objects(span, w));
    assert_int_equal(live, load_relaxed(&span->live));
}

/* I6: a block freed elsewhere between the marking and the sweep is freed once. */
static void test_freed_elsewhere_is_taken_in_first(void **state)
{
    void *freed = fake_alloc(KIND_MALLOC, 48), *live = fake_alloc(KIND_MALLOC, 48);
    struct object at = object_at((uintptr_t)freed);

    (void)state;
    fake_roots[0] = (uintptr_t)freed;
    fake_roots[1] = (uintptr_t)live;
    fake_mark();
    at.span->slot_state[at.slot] = SLOT_IN;
    span_release_slot(at.span, at.slot);
    sweep_span(at.span);
    assert_false(is_object(freed));
    assert_int_equal(sweep_totals().freed_slots, 0);
    count_live(at.span);
    sweep_all();
    assert_true(is_object(live));
    check_all_spans();
}

static void test_large(void **state)
{
    struct pages_stats before, after;
    void *gc = fake_alloc(KIND_GC, SMALL_MAX + 1), *block = fake_alloc(KIND_MALLOC, 200000);
    void *live = fake_alloc(KIND_MALLOC, 300000);

    (void)state;
    fake_roots[0] = (uintptr_t)live;
    pages_stats_read(&before);
    fake_collect();
    pages_stats_read(&after);
    assert_int_equal(before.large_spans - after.large_spans, 1);
    assert_false(is_object(gc));
    assert_true(is_condemned(block));
    fake_collect();
    pages_stats_read(&after);
    assert_int_equal(before.large_spans - after.large_spans, 2);
    assert_false(is_object(block));
    assert_true(is_object(live));
}

static void test_poison(void **state)
{
    unsigned char *dead = fake_alloc(KIND_GC, 96);

    (void)state;
    fake_alloc(KIND_GC, 96);
    fake_roots[0] = (uintptr_t)fake_alloc(KIND_GC, 96);         /* keeps the span */
    options.poison = 1;
    fake_collect();
    for (int i = 0; i < 96; i++)
        assert_int_equal(dead[i], 0xdb);
}

/* A span that came into use after the marking is not swept, and loses nothing. */
static void test_fresh_spans_are_left_alone(void **state)
{
    void *objects[300];

    (void)state;
    fake_alloc(KIND_GC, 16);
    fake_mark();
    for (int i = 0; i < 300; i++)
        objects[i] = fake_alloc_on(&fake_threads[3], KIND_GC, 4096);
    void *large = fake_alloc(KIND_GC, SMALL_MAX + 50000);

    sweep_all();
    for (int i = 0; i < 300; i++)
        assert_true(is_object(objects[i]));
    assert_true(is_object(large));
    count_live(span_at(objects[0]));
}

/* --- the two-cycle rule, line by line (sweep.h) ---------------------------------------- */

/* Before: allocated or condemned, marked, kept.  After: allocated, condemned, or neither. */
static const struct row {
    bool condemned, marked, kept;
    char after, after_manual;   /* 'a', 'c' or 'd' for dead */
} rows[] = {
    { false, true, false, 'a', 'a' },  { false, true, true, 'a', 'a' },
    { false, false, true, 'c', 'a' },  { false, false, false, 'c', 'd' },
    { true, true, false, 'a', 0 },     { true, true, true, 'a', 0 },
    { true, false, true, 'c', 0 },     { true, false, false, 'd', 0 },
};

static void set_row(struct object at, const struct row *row)
{
    struct slot_bits *bits = &at.span->bits[at.slot / 64];
    uint64_t bit = 1ull << at.slot % 64;

    bits->alloc = row->condemned ? bits->alloc & ~bit : bits->alloc | bit;
    bits->condemned = row->condemned ? bits->condemned | bit : bits->condemned & ~bit;
    at.span->slot_state[at.slot] = row->condemned ? SLOT_CONDEMNED : SLOT_OUT;
    bits->mark &= ~bit;
    bits->black &= ~bit;
    if (row->marked)            /* by the leader, or by somebody else */
        *(at.slot % 2 == 0 ? &bits->mark : &bits->black) |= bit;
    at.span->bits[at.slot / 64].kept &= ~bit;
    if (row->kept)
        at.span->bits[at.slot / 64].kept |= bit;
}

static void check_row(struct object at, char after)
{
    const struct slot_bits *bits = &at.span->bits[at.slot / 64];
    static const uint8_t states[] = { ['a'] = SLOT_OUT, ['c'] = SLOT_CONDEMNED, ['d'] = SLOT_IN };

    assert_int_equal(bits->alloc >> at.slot % 64 & 1, after == 'a');
    assert_int_equal(bits->condemned >> at.slot % 64 & 1, after == 'c');
    assert_int_equal(at.span->slot_state[at.slot], states[(unsigned char)after]);
    assert_int_equal((bits->mark | bits->black) >> at.slot % 64 & 1, 0);
    assert_int_equal(at.span->bits[at.slot / 64].kept >> at.slot % 64 & 1, 0);
}

static void test_the_rule(void **state)
{
    static const struct { enum mode mode; enum kind kind; bool hidden; } whose[] = {
        { MODE_COLLECT, KIND_MALLOC, false }, { MODE_COLLECT, KIND_GC, false },
        { MODE_COLLECT, KIND_NOSCAN, false }, { MODE_MANUAL, KIND_MALLOC, false },
        { MODE_MANUAL, KIND_GC, false },
        { MODE_COLLECT, KIND_MALLOC, true }, { MODE_COLLECT, KIND_GC, true },
    };
    enum { COUNT = sizeof rows / sizeof rows[0] };

    (void)state;
    for (size_t w = 0; w < sizeof whose / sizeof whose[0]; w++) {
        bool rule = whose[w].mode == MODE_COLLECT && whose[w].kind == KIND_MALLOC;
        size_t count = rule ? COUNT : COUNT / 2;        /* the others are never condemned */
        struct object at[COUNT];

        options.mode = whose[w].mode;
        fake_kernel_hides = whose[w].hidden;
        if (whose[w].hidden)
            fake_collect();         /* the first one frees nothing */
        for (size_t i = 0; i < count; i++) {
            at[i] = object_at((uintptr_t)fake_alloc(whose[w].kind, 160));
            fake_roots[i] = span_slot_address(at[i].span, at[i].slot);
        }
        fake_mark();
        for (size_t i = 0; i < count; i++)
            set_row(at[i], &rows[i]);
        for (size_t i = 0; i < count; i++)
            sweep_span(at[i].span);
        for (size_t i = 0; i < count; i++)
            check_row(at[i], !rule             ? rows[i].after_manual
                             : whose[w].hidden ? 'a'
                                               : rows[i].after);
        sweep_all();
        check_all_spans();
        teardown(state);
    }
}

/* new -> between -> old: the old block was condemned by the last cycle, the new one is by this. */
static void test_old_condemned_below_new(void **state)
{
    uintptr_t *old = fake_alloc(KIND_MALLOC, 64), *fresh = fake_alloc(KIND_MALLOC, 64);
    uintptr_t *between = fake_alloc(KIND_GC, 64), *alone = fake_alloc(KIND_MALLOC, 64);
    uintptr_t *of_alone = fake_alloc(KIND_GC, 64);

    (void)state;
    alone[0] = (uintptr_t)of_alone;
    fake_roots[0] = (uintptr_t)fresh;
    fresh[0] = (uintptr_t)between;
    fake_collect();
    assert_true(is_condemned(old) && is_condemned(alone) && !is_condemned(fresh));
    assert_true(is_object(of_alone));
    between[3] = (uintptr_t)old;
    fake_roots[0] = 0;
    fake_mark();
    assert_true(is_kept(fresh) && is_kept(between) && is_kept(old));
    assert_false(is_kept(alone) || is_kept(of_alone));
    sweep_all();
    assert_true(is_condemned(fresh) && is_condemned(old) && is_object(between));
    assert_false(is_object(alone) || is_object(of_alone));
    fake_collect();
    assert_false(is_object(fresh) || is_object(old) || is_object(between));
}

/* A block was condemned, and then the program turns out to hide pointers: it stays, and so does what only it
 * reaches. */
static void test_condemned_before_it_was_spared(void **state)
{
    uintptr_t *block = fake_alloc(KIND_MALLOC, 64), *below = fake_alloc(KIND_GC, 64);
    void *large = fake_alloc(KIND_GC, SMALL_MAX + 1);

    (void)state;
    block[0] = (uintptr_t)below;
    block[1] = (uintptr_t)large;
    fake_collect();
    assert_true(is_condemned(block) && is_object(below) && is_object(large));
    fake_kernel_hides = true;
    for (int i = 0; i < 3; i++) {
        void *garbage = fake_alloc(KIND_GC, 64);
        fake_collect();
        assert_true(is_object(block) && !is_condemned(block) && is_object(below) && is_object(large));
        assert_int_equal(is_object(garbage), i == 0);
    }
    fake_kernel_hides = false;
    fake_collect();
    assert_true(is_condemned(block) && is_object(below));
    fake_collect();
    assert_false(is_object(block) || is_object(below) || is_object(large));
}

/* Found again: by a root, and what it reaches with it; and a large one. */
static void test_saved(void **state)
{
    uintptr_t *block = fake_alloc(KIND_MALLOC, 64), *next = fake_alloc(KIND_MALLOC, 300000);

    (void)state;
    block[0] = (uintptr_t)next;
    fake_collect();
    assert_true(is_condemned(block) && is_condemned(next));
    fake_roots[5] = (uintptr_t)block;
    for (int i = 0; i < 3; i++) {
        fake_collect();
        assert_true(is_object(block) && is_object(next));
        assert_false(is_condemned(block) || is_condemned(next));
        assert_int_equal(span_at(next)->slot_state[0], SLOT_OUT);
    }
}

/* --- many sweepers, while threads allocate and free ------------------------------------ */

enum { SHARED = 60000 };

static void *shared_objects[SHARED];
static uint32_t stop_mutators;  /* atomic */

static void *sweeper_task(void *unused)
{
    (void)unused;
    while (sweep_some(3))
        continue;
    return NULL;
}

/* Keeps a window of blocks, each filled with its own number, and looks after them. */
static void *mutator_task(void *argument)
{
    enum { WINDOW = 2000 };
    struct thread *thread = argument;
    struct { uint64_t *block; uint64_t value; size_t words; } window[WINDOW];
    uint64_t random = (uint64_t)(uintptr_t)argument;
    uintptr_t broken = 0;

    memset(window, 0, sizeof window);
    for (uint64_t n = 1; !load_relaxed(&stop_mutators); n++) {
        random = random * 6364136223846793005ull + 1442695040888963407ull;
        uint32_t i = (uint32_t)(random >> 40) % WINDOW;
        if (window[i].block != NULL) {
            for (size_t w = 0; w < window[i].words; w++)
                broken += window[i].block[w] != window[i].value;
            if (!fast_push(&thread->cache, window[i].block)) {
                mcache_flush(&thread->cache, span_at(window[i].block)->span_class, 32);
                broken += !fast_push(&thread->cache, window[i].block);
            }
        }
        window[i].words = 1 + (random >> 33) % 60;
        window[i].block = fake_alloc_on(thread, KIND_MALLOC, window[i].words * 8);
        window[i].value = n;
        for (size_t w = 0; w < window[i].words; w++)
            window[i].block[w] = n;
    }
    return (void *)broken;
}

static void test_sweepers_and_mutators_together(void **state)
{
    for (int round = 0; round < 6; round++) {
        pthread_t sweepers[2], mutators[2];
        void *broken;

        setup(state);
        for (int i = 0; i < SHARED; i++) {
            shared_objects[i] = fake_alloc(i % 2 ? KIND_GC : KIND_MALLOC, 16 + (size_t)i % 500);
            if (i % 3 == 0)
                fake_roots[i % FAKE_ROOTS] = (uintptr_t)shared_objects[i];
        }
        fake_mark();
        uint64_t dead = fake_dead_bytes();

        fake_open_magazines();
        stop_mutators = 0;
        for (int i = 0; i < 2; i++)
            pthread_create(&mutators[i], NULL, mutator_task, &fake_threads[1 + i]);
        for (int i = 0; i < 2; i++)
            pthread_create(&sweepers[i], NULL, sweeper_task, NULL);
        for (int i = 0; i < 2; i++)
            pthread_join(sweepers[i], NULL);
        while (!sweep_is_done())
            sys_yield();
        store_relaxed(&stop_mutators, 1);
        for (int i = 0; i < 2; i++) {
            pthread_join(mutators[i], &broken);
            assert_null(broken);
        }
        assert_int_equal(gc_phase, GC_OFF);
        assert_int_equal(sweep_totals().freed_bytes, dead);
        for (int i = 0; i < SHARED; i += 3)
            assert_true(is_object(shared_objects[i]));
        teardown(state);
        for (uint32_t id = 0; id < span_table_size(); id++)
            if (span_by_id(id)->state == SPAN_SMALL)
                count_live(span_by_id(id));
    }
}

/* All sweepers at the same spans: each is swept by one of them, and by the time any of them
 * returns, it is swept. */
static pthread_barrier_t barrier;

static void *same_spans_task(void *unused)
{
    uintptr_t unswept = 0;

    (void)unused;
    for (uint32_t id = 0; id < span_table_size(); id++) {
        struct span *span = span_by_id(id);
        if (id % 64 == 0)
            pthread_barrier_wait(&barrier);
        if (span_in_use(span)) {
            sweep_span(span);
            unswept += load_acquire(&span->sweepgen) != sweep_generation && span_in_use(span);
        }
    }
    return (void *)unswept;
}

static void test_sweepers_at_the_same_span(void **state)
{
    enum { SWEEPERS = 3 };
    pthread_t sweepers[SWEEPERS];
    void *unswept;

    pthread_barrier_init(&barrier, NULL, SWEEPERS);
    for (int round = 0; round < 4; round++) {
        for (int i = 0; i < SHARED * 4; i++) {
            void *object = fake_alloc(KIND_GC, 8 + (size_t)i % 9);
            if (i % 5 == 0)
                fake_roots[i / 5 % FAKE_ROOTS] = (uintptr_t)object;
        }
        fake_mark();
        uint64_t dead = fake_dead_bytes();

        for (int i = 0; i < SWEEPERS; i++)
            pthread_create(&sweepers[i], NULL, same_spans_task, NULL);
        for (int i = 0; i < SWEEPERS; i++) {
            pthread_join(sweepers[i], &unswept);
            assert_null(unswept);
        }
        sweep_all();
        assert_int_equal(sweep_totals().freed_bytes, dead);
        teardown(state);
    }
    pthread_barrier_destroy(&barrier);
}

static uint32_t returned;       /* atomic */
static int waiter_tid;          /* atomic */

static void *wait_task(void *span)
{
    store_release(&waiter_tid, sys_gettid());
    sweep_span(span);
    store_release(&returned, 1);
    return NULL;
}

/* Until the task is in a system call that sleeps; false: it does not come to that. */
static bool falls_asleep(int tid)
{
    char path[64], line[256];

    snprintf(path, sizeof path, "/proc/self/task/%d/stat", tid);
    for (int i = 0; i < 2000; i++) {
        FILE *file = fopen(path, "r");
        bool asleep = file != NULL && fgets(line, sizeof line, file) != NULL && strstr(line, ") S ") != NULL;

        if (file != NULL)
            fclose(file);
        if (asleep)
            return true;
        usleep(1000);
    }
    return false;
}

/* While somebody else is at it, sweep_span does not return.  It sleeps: the other may be of a lower class, and
 * need the processor. */
static void test_waits_for_the_other_sweeper(void **state)
{
    pthread_t waiter;

    (void)state;
    struct span *span = span_at(fake_alloc(KIND_GC, 512));

    fake_roots[0] = span->base;
    fake_mark();
    returned = 0;
    store_release(&span->sweepgen, sweep_generation - 1);
    waiter_tid = 0;
    pthread_create(&waiter, NULL, wait_task, span);
    while (load_acquire(&waiter_tid) == 0)
        sched_yield();
    bool slept = falls_asleep(load_relaxed(&waiter_tid));

    for (int i = 0; i < 20; i++) {
        usleep(1000);
        assert_int_equal(load_acquire(&returned), 0);
    }
    store_release(&span->sweepgen, sweep_generation);
    pthread_join(waiter, NULL);
    assert_true(slept);
    for (uint32_t w = 0; w * 64 < span->slots; w++)     /* what that other would have done */
        span->bits[w].mark = span->bits[w].black = 0;
    sweep_all();
}

/* --- a child of fork ---------------------------------------------------------------------- */

/* A sweeper that will never come back had claimed the span, and done some of its words. */
static void test_half_swept_span_loses_nothing(void **state)
{
    enum { COUNT = 512 };
    void *objects[COUNT];

    (void)state;
    for (int i = 0; i < COUNT; i++)
        fake_roots[i] = (uintptr_t)(objects[i] = fake_alloc(KIND_GC, 16));
    struct span *span = span_at(objects[COUNT / 2]);

    fake_mark();
    store_relaxed(&span->sweepgen, sweep_generation - 1);
    span->bits[0].mark = span->bits[0].black = 0;      /* done */
    span->bits[1].mark = span->bits[1].black = 0;
    sweep_fork_child();
    assert_int_equal(load_relaxed(&span->sweepgen), sweep_generation);
    sweep_all();
    assert_int_equal(gc_phase, GC_OFF);
    for (int i = 0; i < COUNT; i++)
        assert_true(is_object(objects[i]));
    check_all_spans();
    count_live(span);
    fake_collect();
    for (int i = 0; i < COUNT; i++)
        assert_true(is_object(objects[i]));
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_dead_span_returns_its_pages),
        TEST(test_dead_slots_are_handed_out_again),
        TEST(test_states_and_counts),
        TEST(test_freed_elsewhere_is_taken_in_first),
        TEST(test_large),
        TEST(test_poison),
        TEST(test_the_rule),
        TEST(test_old_condemned_below_new),
        TEST(test_condemned_before_it_was_spared),
        TEST(test_saved),
        TEST(test_fresh_spans_are_left_alone),
        TEST(test_sweepers_and_mutators_together),
        TEST(test_sweepers_at_the_same_span),
        TEST(test_waits_for_the_other_sweeper),
        TEST(test_half_swept_span_loses_nothing),
    };

    fake_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
