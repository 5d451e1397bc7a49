/* test_beside_distances.c -- words of malloc blocks that are distances to other malloc blocks (gc/distance.h) */
#include "beside.h"
#include "gc/distance.h"
#include "gc/trace.h"

enum how { STOPPED, BESIDE, COPIED };

/* Sanitizers do not live through a raw clone. */
#if defined __SANITIZE_ADDRESS__ || defined __SANITIZE_THREAD__
enum { WAYS = COPIED };
#else
enum { WAYS = COPIED + 1 };
#endif

static uintptr_t *holder, *hidden, *below;
static uint32_t calls;

static int begin(void **state)
{
    calls = 0;
    options.mark = 0;
    fake_keeps_distances = true;
    return setup(state);
}

static int end(void **state)
{
    begin(state);
    fake_keeps_distances = false;
    return teardown(state);
}

static struct cycle_report mark_in(enum how how)
{
    static const enum cycle_method methods[] = { METHOD_STOPPED, METHOD_USERFAULT, METHOD_SNAPSHOT };

    fake_own_task = how != STOPPED;
    options.mark = how == COPIED ? 2 : 0;
    struct cycle_report report = fake_mark();

    assert_int_equal(report.method, methods[how]);
    assert_false(report.spared);
    return report;
}

static uintptr_t distance(const void *from, const void *to)
{
    return word_of(to) - word_of(from);
}

static void make_hidden(size_t bytes)
{
    holder = fake_alloc(KIND_MALLOC, bytes);
    hidden = fake_alloc(KIND_MALLOC, 33);
    below = fake_alloc(KIND_GC, 50);
    hidden[0] = word_of(below);
}

/* --- what is a distance -------------------------------------------------------------- */

/* One word of a reachable block; is what it names found? */
static bool finds(enum kind kind, size_t bytes, size_t at, const void *to, uintptr_t beyond)
{
    char *from = fake_alloc(kind, bytes);
    uintptr_t word = distance(from, to) + beyond;

    memcpy(from + at, &word, sizeof word);
    fake_roots[7] = word_of(from);
    mark_in(STOPPED);
    bool found = is_marked(to);

    sweep_all();
    return found;
}

static void test_what_is_a_distance(void **state)
{
    static const size_t sizes[] = { 16, 80, 256, 304, 5000, SMALL_MAX + 8192 };
    void *const blocks[] = { fake_alloc(KIND_MALLOC, 33), fake_alloc(KIND_MALLOC, SMALL_MAX + 8192) };
    void *object = fake_alloc(KIND_GC, 48);

    (void)state;
    for (size_t b = 0; b < 2; b++) {
        void *block = blocks[b];

        for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++) {
            fake_roots[1] = word_of(blocks[0]), fake_roots[2] = word_of(blocks[1]);
            fake_roots[3] = word_of(object);
            fake_collect();                     /* condemned no more */
            fake_roots[1 + b] = fake_roots[3] = 0;
            assert_true(finds(KIND_MALLOC, sizes[s], 8, block, 0));
            assert_true(finds(KIND_MALLOC, sizes[s], sizes[s] - 8, block, 0));
            assert_false(finds(KIND_MALLOC, sizes[s], 0, block, 16));
            fake_roots[1 + b] = word_of(block);
        }
        fake_roots[1 + b] = 0;
        assert_false(finds(KIND_MALLOC, 80, 12, block, 0));
        assert_false(finds(KIND_GC, 80, 8, block, 0));
        fake_roots[1 + b] = word_of(block);
    }
    assert_false(finds(KIND_MALLOC, 80, 8, object, 0));
    fake_roots[1] = 0;
    fake_keeps_distances = false;
    assert_false(finds(KIND_MALLOC, 80, 8, blocks[0], 0));
}

/* --- everywhere where words are looked at --------------------------------------------- */

static void test_lists(void **state)
{
    enum { LENGTH = 20000 };
    uintptr_t **nodes = malloc(LENGTH * sizeof *nodes);

    for (int how = 0; how < WAYS; how++) {
        for (int i = 0; i < LENGTH; i++) {
            nodes[i] = fake_alloc(KIND_MALLOC, 16 + (size_t)i * 7919 % 600);
            if (i > 0)
                nodes[i - 1][i % 2] = distance(nodes[i - 1], nodes[i]);
        }
        fake_roots[1] = word_of(nodes[0]);
        fake_helpers_wanted = how == COPIED ? 0 : 2;
        mark_in((enum how)how);
        for (int i = 0; i < LENGTH; i++)
            assert_true(is_marked(nodes[i]));
        sweep_all();
        end(state);
        begin(state);
    }
    free(nodes);
}

/* Around the ends of the pieces. */
static void test_large_blocks(void **state)
{
    enum { WORDS = (3 * TRACE_PIECE_BYTES + SMALL_MAX + 8192) / 8, PIECE = TRACE_PIECE_BYTES / 8 };
    static const size_t at[] = { 0, PIECE - 1, PIECE, 2 * PIECE + 1, WORDS - 1 };
    enum { COUNT = sizeof at / sizeof at[0] };
    void *blocks[COUNT];

    for (int how = 0; how < WAYS; how++) {
        uintptr_t *large = fake_alloc(KIND_MALLOC, WORDS * 8);

        for (size_t i = 0; i < COUNT; i++) {
            blocks[i] = fake_alloc(KIND_MALLOC, 33);
            large[at[i]] = distance(large, blocks[i]);
        }
        fake_roots[1] = word_of(large) + 100;
        mark_in((enum how)how);
        for (size_t i = 0; i < COUNT; i++)
            assert_true(is_marked(blocks[i]));
        sweep_all();
        end(state);
        begin(state);
    }
}

static void test_kept(void **state)
{
    static const size_t sizes[] = { 48, 304, TRACE_PIECE_BYTES * 2 };

    for (int how = 0; how < WAYS; how++)
        for (size_t s = 0; s < 3; s++) {
            make_hidden(sizes[s]);
            fake_roots[1] = word_of(hidden);
            fake_collect();
            fake_roots[1] = 0;
            fake_collect();             /* condemned, and the holder in its second cycle */
            holder = fake_alloc(KIND_MALLOC, sizes[s]);
            holder[sizes[s] / 8 - 1] = distance(holder, hidden);
            mark_in((enum how)how);
            assert_true(is_kept(holder) && is_kept(hidden) && is_kept(below));
            assert_false(is_marked(hidden));
            sweep_all();
            assert_true(is_condemned(holder) && is_condemned(hidden) && is_object(below));
            end(state);
            begin(state);
        }
}

/* The holder was scanned in the meantime; it lies on several pages. */
static void hide_in_marked(void)
{
    if (calls++ != 0)
        return;
    assert_true(is_marked(holder));
    assert_false(is_marked(hidden));
    put(&holder[700], distance(holder, hidden));
}

static void hide_in_kept(void)
{
    if (!is_kept(holder) || calls++ != 0)
        return;
    put(&holder[700], distance(holder, hidden));
}

static void test_written_after_it_was_marked(void **state)
{
    (void)state;
    make_hidden(8000);
    fake_roots[1] = word_of(holder);
    fake_cleaning = hide_in_marked;
    mark_in(BESIDE);
    assert_true(calls > 0 && is_marked(hidden) && is_marked(below));
    sweep_all();
}

static void test_written_after_it_was_kept(void **state)
{
    (void)state;
    make_hidden(8000);
    fake_collect();
    assert_true(is_condemned(hidden));
    holder = fake_alloc(KIND_MALLOC, 8000);
    fake_cleaning = hide_in_kept;
    mark_in(BESIDE);
    assert_true(calls > 0 && is_kept(hidden) && is_kept(below));
    assert_false(is_marked(hidden));
    sweep_all();
    assert_true(is_condemned(hidden) && is_object(below));
}

/* --- the library comes in the middle of a cycle ----------------------------------------- */

static void load_library(void)
{
    if (calls++ == 0)
        fake_keeps_distances = true;
}

static void test_loaded_while_a_cycle_marks(void **state)
{
    void *garbage = fake_alloc(KIND_MALLOC, 64);

    (void)state;
    fake_keeps_distances = false;
    make_hidden(300);
    holder[20] = distance(holder, hidden);
    fake_roots[1] = word_of(holder);
    fake_collect();
    assert_true(is_condemned(hidden) && is_condemned(garbage));
    fake_own_task = true;
    fake_cleaning = load_library;
    struct cycle_report report = fake_mark();

    sweep_all();
    assert_true(calls > 0 && report.spared);
    assert_true(is_object(hidden) && is_object(below) && is_object(garbage));
    for (int i = 0; i < 3; i++) {
        mark_in(BESIDE);
        sweep_all();
        assert_true(is_object(hidden) && !is_condemned(hidden) && is_object(below));
    }
    assert_false(is_object(garbage));
}

/* --- a stop, an assist and a hungry worker wait for the end of a turn ---------------------- */

static void test_a_turn_ends(void **state)
{
    enum { BLOCKS = 10000, TURN_BYTES = 4096 };
    static struct worklist list = { .max_blocks = UINT32_MAX };
    static struct tracer tracer = { .list = &list, .role = TRACER_HELPING };
    uintptr_t *first = NULL;

    (void)state;
    for (int i = 0; i < BLOCKS; i++) {
        uintptr_t *block = fake_alloc(KIND_MALLOC, 48);

        block[0] = word_of(first);
        first = block;
    }
    store_relaxed(&distance_followed, 1);
    assert_true(work_local_open(&list, &tracer.local));
    worklist_enter(&list);
    trace_word(&tracer, word_of(first));
    assert_false(trace_at_most(&tracer, TURN_BYTES));
    assert_in_range(tracer.scanned, TURN_BYTES, 2 * TURN_BYTES);
    trace_to_closure(&tracer);
    assert_true(tracer.scanned >= BLOCKS * 48);
    work_local_surrender(&list, &tracer.local, false);
    store_relaxed(&distance_followed, 0);
    mark_clear();
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_what_is_a_distance),
        TEST(test_lists),
        TEST(test_large_blocks),
        TEST(test_kept),
        TEST(test_written_after_it_was_marked),
        TEST(test_written_after_it_was_kept),
        TEST(test_loaded_while_a_cycle_marks),
        TEST(test_a_turn_ends),
    };

    fake_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
