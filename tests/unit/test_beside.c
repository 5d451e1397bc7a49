/* test_beside.c -- marking while the program runs: what it hides, allocates, frees and assists
 *
 * "The program" is a function that the marker calls at a known moment (fake_world.h).
 */
#include "beside.h"

static uintptr_t *holder, *hidden, *below, *other;
static uint32_t calls;

/* Counts what the hooks do. */
static int begin(void **state)
{
    calls = 0;
    return setup(state);
}

/* What the tests hide is not reached from any root: a holder, and two objects that it may be
 * told of. */
static void make_hidden(enum kind holders, enum kind kind)
{
    holder = fake_alloc(holders, 200);
    hidden = fake_alloc(kind, 100);
    below = fake_alloc(KIND_GC, 50);
    other = fake_alloc(kind, 100);
    hidden[0] = word_of(below);
}

/* The holder was scanned in the meantime. */
static void hide_in_marked(void)
{
    if (calls++ != 0)
        return;
    assert_true(is_marked(holder));
    assert_false(is_marked(hidden));
    put(&holder[20], word_of(hidden));
}

static void test_written_after_it_was_marked(void **state)
{
    for (int holders = KIND_MALLOC; holders <= KIND_GC; holders++) {
        for (int kind = KIND_MALLOC; kind <= KIND_GC; kind++) {
            begin(state);
            make_hidden((enum kind)holders, (enum kind)kind);
            fake_roots[1] = word_of(holder);
            fake_cleaning = hide_in_marked;
            struct cycle_report report = mark_beside();

            assert_true(calls > 0 && is_marked(hidden) && is_marked(below));
            assert_false(is_marked(other));
            assert_int_equal(report.stops, 2);
            assert_true(report.setup_ns + report.termination_ns == report.pause_ns);
            assert_true(report.concurrent_ns > 0);
            assert_true(report.longest_pause_ns < report.pause_ns);
            sweep_all();
            assert_true(is_object(hidden) && is_object(below));
        }
    }
}

/* The same without what should catch it: so the test above can fail. */
static void test_broken_barrier_loses_it(void **state)
{
    (void)state;
#ifdef REAL_DIRTY               /* small gaps between malloc memory are tracked too */
    make_hidden(KIND_MALLOC, KIND_GC);
    options.mutate = 2;
#else
    make_hidden(KIND_GC, KIND_GC);
    options.mutate = 1;
#endif
    fake_roots[1] = word_of(holder);
    fake_cleaning = hide_in_marked;
    mark_beside();
    assert_false(is_marked(hidden));
    sweep_all();
}

/* Yuasa's half: the only pointer goes from the heap to a stack that was scanned, here to one
 * that forgets it before stop 2, when the value is in the buffer only. */
static void move_and_forget(void)
{
    if (calls++ == 0)
        put(&holder[3], 0);
}

static void test_overwritten_value_is_marked(void **state)
{
    (void)state;
    make_hidden(KIND_GC, KIND_GC);
    fake_roots[1] = word_of(holder);
    holder[3] = word_of(hidden);
    fake_running = move_and_forget;     /* before the roots are read */
    mark_beside();
    assert_true(is_marked(hidden) && is_marked(below));
    sweep_all();
}

/* The second colour. */
static void hide_in_kept(void)
{
    if (!is_kept(holder) || calls++ != 0)
        return;
    assert_false(is_kept(hidden) || is_kept(below));
    put(&holder[20], word_of(hidden));
}

static void test_written_after_it_was_kept(void **state)
{
    (void)state;
    make_hidden(KIND_MALLOC, KIND_GC);
    fake_cleaning = hide_in_kept;
    mark_beside();
    assert_true(calls > 0);
    assert_true(is_kept(holder) && is_kept(hidden) && is_kept(below));
    assert_false(is_marked(holder) || is_marked(hidden) || is_kept(other));
    sweep_all();
    assert_true(is_condemned(holder) && is_object(hidden) && is_object(below));
    assert_false(is_object(other));
}

/* What was kept is found by the program after all. */
static void find_kept(void)
{
    if (is_kept(holder) && calls++ == 0)
        store_relaxed(&fake_roots[1], word_of(holder));
}

static void test_kept_and_marked_later(void **state)
{
    (void)state;
    make_hidden(KIND_MALLOC, KIND_GC);
    holder[0] = word_of(hidden);
    fake_cleaning = find_kept;
    mark_beside();
    assert_true(is_marked(holder) && is_marked(hidden) && is_marked(below));
    sweep_all();
    assert_true(is_object(holder) && !is_condemned(holder) && is_object(below));
}

/* --- the first cycle ---------------------------------------------------------------- */

static struct cycle_report run_unforced(void)
{
    struct cycle_report report = { .goal = 0 };

    if (!cycle_run(false, true, &fake_hooks, &report))
        fail_msg("abandoned: %s", report.abandoned);
    return report;
}

/* It arms nothing.  It ends early if all is reached; if not, what was written while it traced is found all
 * the same, for what was never armed counts as written. */
static void test_first_cycle_arms_late(void **state)
{
    (void)state;
    holder = fake_alloc(KIND_MALLOC, 200);
    hidden = fake_alloc(KIND_MALLOC, 100);
    other = fake_alloc(KIND_MALLOC, SMALL_MAX + 1);     /* most of the heap */
    fake_roots[1] = word_of(holder);
    fake_roots[2] = word_of(hidden);
    fake_roots[3] = word_of(other);
    assert_true(run_unforced().fruitless);
    assert_true(is_object(holder) && is_object(hidden) && !is_condemned(other));
    fake_roots[2] = fake_roots[3] = 0;
    fake_cleaning = hide_in_marked;
    struct cycle_report report = run_unforced();

    assert_true(!report.fruitless && report.unarmed_pages > 0);
    assert_true(calls > 0 && is_marked(hidden));
    assert_false(is_marked(other));
#ifndef REAL_DIRTY
    assert_int_equal(armings, 0);
#endif
    sweep_all();
    assert_true(is_object(hidden) && is_condemned(other));
#ifndef REAL_DIRTY              /* from then on all do, before they trace */
    fake_cleaning = NULL;
    assert_int_equal(run_unforced().unarmed_pages, 0);
    sweep_all();
    assert_int_equal(armings, 1);
#endif
}

/* --- mark_rescan itself ------------------------------------------------------------ */

static uintptr_t *large, *cached, *noscan, *plain, *at[4];

static void rescan_all_kinds(void)
{
    uintptr_t low = align_down(word_of(plain), 4096);

    if (calls++ != 0)
        return;
    /* Not told to anybody: only mark_rescan finds them. */
    noscan[1] = word_of(at[0]);
    cached[1] = word_of(at[1]);
    plain[1] = word_of(at[2]);
    large[70000] = word_of(at[3]);
    for (size_t i = 0; i < 2; i++) {
        mark_rescan(align_down(word_of(noscan), 4096), align_down(word_of(noscan), 4096) + 4096);
        mark_rescan(align_down(word_of(cached), 4096), align_down(word_of(cached), 4096) + 4096);
    }
    mark_rescan(low, low + 4096);
    mark_rescan(word_of(large), word_of(large) + 4096);         /* not there */
    mark_rescan(word_of(&large[70000]), word_of(&large[70001]));
    mark_rescan(arena.base, arena.base + 8192);                 /* whatever is there */
    mark_rescan_end(true);
}

/* Each of a block's words alone, at multiples of 4, with tags; and the last ones of an odd number of roots. */
static char *holders[64 / 4];
static void *helds[64 / 4], *last[2];

static void store_alone(void)
{
    uintptr_t roots[2][3] = { { 0 }, { 0 } };

    if (calls++ != 0)
        return;
    memcpy((char *)roots[0] + 12, &last[0], sizeof last[0]);
    memcpy((char *)roots[1] + 16, &last[1], sizeof last[1]);
    mark_root_range(NULL, ROOT_DATA, roots[0], roots[0] + 3);
    mark_root_words(NULL, ROOT_DATA, roots[1], roots[1] + 3);
    for (size_t i = 0; i * 4 + 8 <= 64; i++) {
        uintptr_t word = word_of(helds[i]) | (uintptr_t)(0xfff8 + i) << 48;

        memcpy(holders[i] + i * 4, &word, sizeof word);
        mark_rescan(align_down(word_of(holders[i]), 4096), align_down(word_of(holders[i]), 4096) + 4096);
    }
    mark_rescan_end(true);
}

static void test_rescan_of_lone_words(void **state)
{
    (void)state;
    for (size_t i = 0; i * 4 + 8 <= 64; i++) {
        holders[i] = fake_alloc(KIND_MALLOC, 64);
        memset(holders[i], 0x55, 64);
        fake_roots[i] = word_of(holders[i]);
        helds[i] = fake_alloc(KIND_GC, 208);
    }
    for (size_t i = 0; i < 2; i++)
        last[i] = fake_alloc(KIND_GC, 16);
    fake_cleaning = store_alone;
    mark_beside();
    assert_true(is_marked(last[0]) && is_marked(last[1]));
    for (size_t i = 0; i * 4 + 8 <= 64; i++)
        assert_true(is_marked(helds[i]));
    sweep_all();
}

static void test_rescan_of_parts(void **state)
{
    (void)state;
    noscan = fake_alloc(KIND_NOSCAN, 64);
    plain = fake_alloc(KIND_GC, 64);
    cached = fake_alloc(KIND_MALLOC, 1500);
    large = fake_alloc(KIND_GC, 1 << 20);
    for (int i = 0; i < 4; i++)
        at[i] = fake_alloc(KIND_GC, 208);
    fake_roots[0] = word_of(noscan);
    fake_roots[1] = word_of(plain);
    fake_roots[2] = word_of(large);
    assert_true(fast_push(&fake_threads[0].cache, cached));
    fake_cleaning = rescan_all_kinds;
    mark_beside();
    assert_true(is_marked(noscan) && is_marked(cached) && is_marked(plain) && is_marked(large));
    assert_false(is_marked(at[0]) || is_marked(at[1]));
    assert_true(is_marked(at[2]) && is_marked(at[3]));
    sweep_all();
}

/* --- the barrier's buffer --------------------------------------------------------------- */

enum { WORDS = BARRIER_WORDS + 40 };
static uintptr_t *many[WORDS * 12];

static void record_many(void)
{
    struct thread *thread = &fake_threads[0];

    if (calls++ != 0)
        return;
    barrier_record(0);
    barrier_record(word_of(fake_roots));        /* not ours: not recorded */
    assert_int_equal(thread->barrier_fill, 0);
    for (int i = 0; i < BARRIER_WORDS; i++)
        barrier_record(word_of(many[i]) + 5);
    assert_int_equal(thread->barrier_fill, BARRIER_WORDS);
    assert_int_equal(thread->barrier_flushes, 0);
    assert_false(is_marked(many[0]));
    for (int i = BARRIER_WORDS; i < WORDS; i++)
        barrier_record(word_of(many[i]));
    assert_int_equal(thread->barrier_flushes, 1);
    assert_int_equal(thread->barrier_fill, WORDS - BARRIER_WORDS - 1);
    for (int i = 0; i <= BARRIER_WORDS; i++)
        assert_true(is_marked(many[i]));
    assert_false(is_marked((void *)many[0][0]));        /* waits until the leader takes it */
    thread_self = &thread_none;                 /* before its first slow path */
    barrier_record(word_of(hidden));
    assert_true(is_marked(hidden));
    fake_no_memory = true;                      /* and none to be had */
    barrier_record(word_of(other));
    assert_true(is_marked(other));
    fake_no_memory = false;
    thread_self = thread;
}

/* What a flush leaves to a rescan. */
static uint64_t rescans_of_full_buffer(void)
{
    for (int i = 0; i < WORDS; i++) {
        many[i] = fake_alloc(i % 2 ? KIND_GC : KIND_MALLOC, 48);
        many[i][0] = word_of(fake_alloc(KIND_GC, 32));
    }
    make_hidden(KIND_GC, KIND_NOSCAN);
    fake_threads[0].barrier_flushes = 0;
    fake_cleaning = record_many;
    struct cycle_report report = mark_beside();

    for (int i = 0; i < WORDS; i++)
        assert_true(is_marked(many[i]) && is_marked((void *)many[i][0]));
    assert_int_equal(fake_threads[0].barrier_fill, 0);
    assert_int_equal(report.malloc_live + report.gc_live, WORDS * (48 + 32) + 2 * 112);
    sweep_all();
    return report.rescans;
}

static void test_full_buffer_is_marked_from(void **state)
{
    (void)state;
    assert_int_equal(rescans_of_full_buffer(), 0);
}

/* A handler that has interrupted a slow path, which may hold what an allocation would wait for. */
static void test_full_buffer_in_a_slow_path(void **state)
{
    (void)state;
    fake_threads[0].in_runtime = 1;
    assert_true(rescans_of_full_buffer() > 0);
    fake_threads[0].in_runtime = 0;
}

static bool may_allocate;

static void shade_many(void)
{
    if (calls++ == 0)
        mark_shade((const uintptr_t *)many, WORDS * 12, may_allocate);
}

static void check_shaded(void)
{
    uintptr_t *chain;

    for (int i = 0; i < WORDS * 12; i++) {
        many[i] = chain = fake_alloc(KIND_GC, 16);
        for (int depth = 0; depth < 3; depth++, chain = (uintptr_t *)chain[0])
            chain[0] = word_of(fake_alloc(KIND_GC, 16));
    }
    fake_cleaning = shade_many;
    struct cycle_report report = mark_beside();

    assert_true(report.rescans > 0);
    for (int i = 0; i < WORDS * 12; i++) {
        chain = many[i];
        for (int depth = 0; depth < 3; depth++, chain = (uintptr_t *)chain[0])
            assert_true(is_marked(chain));
    }
    sweep_all();
}

/* More than the worklist holds: nothing is lost.  main() has limited it. */
static void test_shading_overflows(void **state)
{
    (void)state;
    may_allocate = true;
    check_shaded();
}

/* A handler that has interrupted a slow path. */
static void test_shading_without_the_worklist(void **state)
{
    (void)state;
    may_allocate = false;
    check_shaded();
}

static void test_no_memory_for_the_worklist(void **state)
{
    struct cycle_report report = { .goal = 1 };

    (void)state;
    assert_false(cycle_run(true, true, &fake_hooks, &report));
    assert_string_equal(report.abandoned, "no memory to mark with");
    assert_int_equal(gc_phase, GC_OFF);
}

/* gc_memmove was stopped in the middle. */
static void begin_copy(void)
{
    if (calls++ != 0)
        return;
    holder[10] = word_of(hidden);       /* not recorded yet */
    fake_threads[1].copy_low = word_of(&holder[9]) + 3;
    fake_threads[1].copy_high = word_of(&holder[12]);
}

static void test_half_a_copy(void **state)
{
    (void)state;
    make_hidden(KIND_GC, KIND_GC);
    fake_roots[1] = word_of(holder);
    fake_cleaning = begin_copy;
    mark_beside();
    fake_threads[1].copy_low = 0;
    assert_true(is_marked(hidden) && is_marked(below));
    sweep_all();
}

/* --- allocating and freeing meanwhile ------------------------------------------------------ */

enum { NEW = 3000 };
static void *fresh[NEW], *fresh_large[KINDS], *freed[200];

static void allocate_many(void)
{
    if (calls++ != 0)
        return;
    for (int i = 0; i < NEW; i++)
        fresh[i] = fake_alloc_on(&fake_threads[2], (enum kind)(i % KINDS), 24 + (size_t)i % 90);
    for (int kind = 0; kind < KINDS; kind++)
        fresh_large[kind] = fake_alloc((enum kind)kind, SMALL_MAX + 1);
}

static void test_new_objects_stay(void **state)
{
    (void)state;
    for (int when = 0; when < 2; when++) {
        begin(state);
        fake_running = when == 0 ? allocate_many : NULL;
        fake_cleaning = when == 1 ? allocate_many : NULL;
        struct cycle_report report = mark_beside();

        for (int i = 0; i < NEW; i++)
            assert_true(is_marked(fresh[i]));
        for (int kind = 0; kind < KINDS; kind++)
            assert_true(is_marked(fresh_large[kind]));
        /* They are not what the marker found. */
        assert_int_equal(report.malloc_live + report.gc_live, 0);
        assert_true(report.heap_live >= NEW * 24 + KINDS * SMALL_MAX);
        sweep_all();
        for (int i = 0; i < NEW; i++)
            assert_true(is_object(fresh[i]) && !is_condemned(fresh[i]));
        for (int kind = 0; kind < KINDS; kind++)
            assert_true(is_object(fresh_large[kind]));
        fake_running = fake_cleaning = NULL;
        fake_open_magazines();
        fake_flush_all();
        mark_beside();
        sweep_all();
        for (int i = 0; i < NEW; i++)
            assert_int_equal(is_object(fresh[i]), i % KINDS == KIND_MALLOC);
        for (int kind = 0; kind < KINDS; kind++)
            assert_int_equal(is_object(fresh_large[kind]), kind == KIND_MALLOC);
        teardown(state);
    }
}

static void free_many(void)
{
    if (calls++ == 0)
        for (int i = 0; i < 200; i++)
            release(&fake_threads[1], freed[i]);
}

/* Freed while a cycle marks: in a magazine, which stop 2 marks, or in its span; not condemned, and what
 * it holds is not followed. */
static void test_freed_meanwhile(void **state)
{
    (void)state;
    for (int i = 0; i < 200; i++) {
        freed[i] = fake_alloc_on(&fake_threads[1], KIND_MALLOC, 176);
        *(uintptr_t *)freed[i] = word_of(fake_alloc(KIND_GC, 24));
    }
    fake_running = free_many;
    mark_beside();
    assert_true(calls > 0);
    for (int i = 0; i < 200; i++)
        assert_true(is_marked(freed[i]) || !is_object(freed[i]));
    for (int i = 0; i < 200; i++)
        assert_false(is_kept(*(void **)freed[i]) || is_marked(*(void **)freed[i]));
    sweep_all();
    for (int i = 0; i < 200; i++)
        assert_false(is_condemned(freed[i]));
    fake_open_magazines();
    for (int i = 0; i < 200; i++)
        assert_non_null(fake_alloc_on(&fake_threads[1], KIND_MALLOC, 176));
    check_all_spans();
}

/* A block that nobody can find is freed, the fast way, while a cycle marks, and its slot handed out again. */
static uintptr_t *reborn;
static enum { BEFORE_STOP_2, IN_A_ROOT, AFTER_STOP_2 } reborn_when;

static void free_one(void)
{
    assert_true(fast_push(&fake_threads[0].cache, reborn));
    assert_false(is_marked(reborn));
}

static void bear(void)
{
    assert_ptr_equal(fake_alloc(KIND_MALLOC, 720), reborn);
}

/* After the keep pass has met the slot in its magazine. */
static void bear_kept(void)
{
    if (!is_kept(reborn) || calls++ != 0)
        return;
    assert_false(is_marked(reborn));
    if (reborn_when == AFTER_STOP_2)
        return;
    bear();
    put(&reborn[9], word_of(hidden));
    if (reborn_when == IN_A_ROOT)
        store_relaxed(&fake_roots[1], word_of(reborn));
}

static void prepare_rebirth(void **state, int when)
{
    setup(state);
    calls = 0;
    reborn_when = when;
    make_hidden(KIND_MALLOC, KIND_GC);
    fake_alloc(KIND_MALLOC, 720);
    reborn = fake_alloc(KIND_MALLOC, 720);
    reborn[8] = word_of(other);         /* stale, soon */
    fake_open_magazines();
    fake_running = free_one;
    fake_cleaning = bear_kept;
}

static void test_freed_and_born_while_marking(void **state)
{
    for (int when = BEFORE_STOP_2; when <= IN_A_ROOT; when++) {
        prepare_rebirth(state, when);
        mark_beside();
        assert_int_equal(calls, 1);
        assert_int_equal(is_marked(reborn) && is_marked(hidden) && is_marked(below), when == IN_A_ROOT);
        assert_true(when == IN_A_ROOT || (is_kept(hidden) && is_kept(below)));
        assert_false(is_marked(other) || is_kept(other));
        sweep_all();
        assert_int_equal(is_condemned(reborn), when == BEFORE_STOP_2);
        assert_true(is_object(reborn) && is_object(hidden) && is_object(below));
        teardown(state);
    }
}

/* Stop 2 has marked it in its magazine, so the sweep takes it for what it is, neither dead nor condemned. */
static void test_freed_while_marking_born_while_sweeping(void **state)
{
    prepare_rebirth(state, AFTER_STOP_2);
    mark_beside();
    assert_int_equal(calls, 1);
    assert_true(is_marked(reborn));
    bear();
    sweep_all();
    assert_true(is_object(reborn) && !is_condemned(reborn));
}

/* --- assisting ---------------------------------------------------------------------------------- */

static uint64_t assisted;

static void assist_alone(void)
{
    if (calls++ != 0)
        return;
    assert_int_equal(mark_assist(1 << 20, true), 0);          /* nothing is shared */
    uint64_t scanned = mark_totals().scanned;
    /* Fills the leader's own two blocks, and more. */
    mark_root_words(NULL, ROOT_DATA, (const uintptr_t *)many, (const uintptr_t *)many + WORDS * 12);
    assert_true(mark_totals().scanned == scanned);      /* a stop has no time for it */
    assisted = mark_assist(4096, false);
    assert_in_range(assisted, 4096, 4096 + 1000);
    for (uint64_t done; (done = mark_assist(64 << 10, false)) != 0;)
        assisted += done;
    assert_true(mark_totals().assisted == assisted);
}

static void test_assist(void **state)
{
    (void)state;
    for (int i = 0; i < WORDS * 12; i++) {
        many[i] = fake_alloc(KIND_GC, 96);
        many[i][2] = word_of(fake_alloc(KIND_GC, 64));
    }
    fake_cleaning = assist_alone;
    struct cycle_report report = mark_beside();

    assert_int_equal(report.assist_bytes, assisted);
    assert_int_equal(report.scanned_bytes, WORDS * 12 * (96 + 64));
    for (int i = 0; i < WORDS * 12; i++)
        assert_true(is_marked(many[i]) && is_marked((void *)many[i][2]));
    sweep_all();
}

/* --- stop 2 -------------------------------------------------------------------------------------- */

static uintptr_t *trees[8][6 << 10];
static size_t tree_nodes;
static uint32_t late_words, late_seen;
static bool late_by_page;

/* The stack is not read before stop 2, nor is a page that was written after the last round. */
static void deepen(void)
{
    if (late_by_page && calls++ == 0)
        return;                 /* the round before the keep pass: another one follows */
    if (late_seen == late_words)
        return;
    if (late_by_page)
        for (int i = 0; i < 64; i++)    /* more than a marker would leave in its queue */
            put(&large[late_seen * 64 + i], word_of(trees[late_seen][i]));
    else
        fake_stack[late_seen] = word_of(trees[late_seen][0]);
    late_seen++;
}

static void make_tree(uint32_t n, size_t bytes)
{
    tree_nodes = bytes / 1024;
    for (size_t i = 0; i < tree_nodes; i++)
        trees[n][i] = fake_alloc(KIND_GC, 1024);
    for (size_t i = 1; i < tree_nodes; i++)
        trees[n][(i - 1) / 2][100 + i % 2] = word_of(trees[n][i]);
}

static void test_stop_2_has_a_budget(void **state)
{
    static const struct budget_case { size_t bytes; uint32_t words, stops, by_page; } cases[] = {
        { 400 << 10, 1, 2, 2 }, { 600 << 10, 1, 3, 3 }, { 6 << 20, 2, 3, 4 },
        { 6 << 20, 3, 4, 5 }, { 6 << 20, 4, 5, 6 }, { 6 << 20, 8, 6, 6 },
    };
    enum { COUNT = sizeof cases / sizeof cases[0] };

    for (size_t i = 0; i < 2 * COUNT; i++) {
        const struct budget_case *case_now = &cases[i % COUNT];

        begin(state);
        late_by_page = i >= COUNT;
        large = fake_alloc(KIND_MALLOC, 4096);
        fake_roots[0] = word_of(large);
        for (uint32_t n = 0; n < case_now->words; n++)
            make_tree(n, case_now->bytes);
        fake_help_asked = 0;
        late_words = case_now->words;
        late_seen = 0;
        fake_cleaning = deepen;
        struct cycle_report report = mark_beside();

        assert_int_equal(report.stops, late_by_page ? case_now->by_page : case_now->stops);
        /* Three beside the program; all CPUs, once there was too much to do in a stop.  (None comes.) */
        assert_int_equal(fake_help_asked, 3 + (report.stops - 2) * 15);
        for (uint32_t n = 0; n < late_seen; n++)
            for (size_t node = 0; node < tree_nodes; node++)
                assert_true(is_marked(trees[n][node]));
        assert_int_equal(report.gc_live, late_seen * case_now->bytes);
        assert_true(report.longest_pause_ns <= report.pause_ns);
        teardown(state);
    }
}

/* Each time anew, more pages than the first attempt takes (STOP_PAGES). */
static void write_pages(void)
{
    for (int i = 0; i < 1100; i++)
        put(&large[i * 512 + calls % 500], i == 77 ? word_of(many[calls % 100]) : 0);
    calls++;
}

static void test_stop_2_has_a_budget_of_pages(void **state)
{
    (void)state;
    large = fake_alloc(KIND_MALLOC, 1200 * 4096);
    fake_roots[0] = word_of(large);
    for (int i = 0; i < 100; i++)
        many[i] = fake_alloc(KIND_GC, 48);
    fake_cleaning = write_pages;
    struct cycle_report report = mark_beside();

    assert_int_equal(report.stops, 4);
    assert_in_range(report.stopped_pages, 1100, 1200);      /* some are not there, elsewhere */
    assert_true(report.precleaned_pages >= 1100);
    for (uint32_t i = 0; i < calls && i < 100; i++)
        assert_true(is_marked(many[i]));
    sweep_all();
}

static void check_forgotten(const struct cycle_report *report, const char *why)
{
    assert_string_equal(report->abandoned, why);
    assert_int_equal(report->number, 0);
    assert_int_equal(gc_phase, GC_OFF);
    assert_int_equal(gc_barrier_on, 0);
    assert_int_equal(span_allocate_black, 0);
    assert_true(is_object(hidden) && is_object(other) && is_object(holder));
    assert_false(is_condemned(holder));
}

static void stop_no_more(void)
{
    fake_stop_fails = true;
}

static void leave_no_more(void)
{
    fake_stop_fails = fake_gate_fails = true;
}

static void test_failures_change_nothing(void **state)
{
    struct cycle_report report = { .goal = 3 };
    uint32_t generation = sweep_generation;

    (void)state;
    make_hidden(KIND_MALLOC, KIND_GC);
    holder[0] = word_of(hidden);
    fake_failing_stop = 1;
    assert_false(cycle_run(true, true, &fake_hooks, &report));
    check_forgotten(&report, "told to fail");
    fake_failing_stop = 2;
    assert_false(cycle_run(true, true, &fake_hooks, &report));
    check_forgotten(&report, "told to fail");
    fake_roots_fail = true;
    assert_false(cycle_run(true, true, &fake_hooks, &report));
    check_forgotten(&report, "told to fail");
    fake_roots_fail = false;
    assert_int_equal(fake_was_late, 0);
    fake_cleaning = stop_no_more;       /* also not to say that it is over: the slow paths will do */
    assert_false(cycle_run(true, true, &fake_hooks, &report));
    check_forgotten(&report, "told to fail");
    assert_int_equal(fake_was_late, 0);
    fake_stop_fails = false;
    fake_cleaning = leave_no_more;
    assert_false(cycle_run(true, true, &fake_hooks, &report));
    check_forgotten(&report, "told to fail");
    assert_int_equal(fake_was_late, 1);
    fake_cleaning = NULL;
#ifndef REAL_DIRTY
    tracking_is_lost = true;
    assert_false(cycle_run(true, true, &fake_hooks, &report));
    check_forgotten(&report, "dirty tracking was lost");
    tracking_is_lost = false;
#endif
    assert_int_equal(sweep_generation, generation);
    assert_int_equal(report.goal, 3);
    /* What was marked then, and what was kept, is not so now. */
    mark_beside();
    assert_true(is_kept(holder) && is_kept(hidden) && !is_kept(other));
    sweep_all();
    assert_true(is_object(hidden));
    assert_false(is_object(other));
}

/* In mode manual malloc blocks are roots. */
static void test_manual_mode(void **state)
{
    (void)state;
    options.mode = MODE_MANUAL;
    make_hidden(KIND_MALLOC, KIND_GC);
    fake_cleaning = hide_in_marked;
    mark_beside();
    assert_true(is_marked(holder) && is_marked(hidden) && is_marked(below));
    assert_false(is_marked(other) || is_kept(holder));
    sweep_all();
    assert_true(is_object(holder) && !is_condemned(holder));
    assert_false(is_object(other));
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, begin, teardown)

/* The first tests forbid the worklist to grow before it ever has. */
int main(void)
{
    const struct CMUnitTest no_worklist[] = {
        cmocka_unit_test_setup(test_no_memory_for_the_worklist, begin),
    };
    const struct CMUnitTest small_worklist[] = {
        TEST(test_first_cycle_arms_late),
        TEST(test_shading_overflows),
        TEST(test_shading_without_the_worklist),
    };
    const struct CMUnitTest tests[] = {
        TEST(test_written_after_it_was_marked),
        TEST(test_broken_barrier_loses_it),
        TEST(test_overwritten_value_is_marked),
        TEST(test_written_after_it_was_kept),
        TEST(test_kept_and_marked_later),
        TEST(test_rescan_of_parts),
        TEST(test_rescan_of_lone_words),
        TEST(test_full_buffer_is_marked_from),
        TEST(test_full_buffer_in_a_slow_path),
        TEST(test_half_a_copy),
        TEST(test_new_objects_stay),
        TEST(test_freed_meanwhile),
        TEST(test_freed_and_born_while_marking),
        TEST(test_freed_while_marking_born_while_sweeping),
        TEST(test_assist),
        TEST(test_stop_2_has_a_budget),
        TEST(test_stop_2_has_a_budget_of_pages),
        TEST(test_failures_change_nothing),
        TEST(test_manual_mode),
    };

    fake_init();
    if (!can_mark_beside())
        return 0;
    mark_limit_blocks(0);
    int failed = cmocka_run_group_tests(no_worklist, NULL, NULL);

    mark_limit_blocks(2);
    failed += cmocka_run_group_tests(small_worklist, NULL, NULL);
    mark_limit_blocks(UINT32_MAX);
    return failed + cmocka_run_group_tests(tests, NULL, NULL);
}
