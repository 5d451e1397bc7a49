/* test_mark.c -- what is found alive, and what a cycle does with it
 *
 * Each test begins and ends with an empty heap: no roots, three cycles.
 */
#include "fake_world.h"
#include "gc/keep.h"
#include "gc/trace.h"

static int setup(void **state)
{
    (void)state;
    fake_clear_roots();
    fake_stop_fails = fake_roots_fail = false;
    fake_failing_stop = 0;
    fake_own_task = false;
    fake_running = fake_cleaning = NULL;
    fake_helpers_wanted = 0;
    options.mode = MODE_COLLECT;
    fake_open_magazines();
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    setup(state);
    for (int i = 0; i < 3; i++)
        fake_collect();
    fake_flush_all();
    check_all_spans();
    return 0;
}

static uintptr_t word_of(const void *object)
{
    return (uintptr_t)object;
}

/* --- the conservative test ------------------------------------------------- */

static void test_words_that_name_an_object(void **state)
{
    static const uint64_t tags[] = {
        0, 0xffff000000000000, 0x7ff8000000000000, 0x0001000000000000,
    };
    char *object = fake_alloc(KIND_GC, 48);

    (void)state;
    for (size_t t = 0; t < sizeof tags / sizeof tags[0]; t++) {
        for (int low = 0; low < 48; low++) {
            struct object found = object_of_word((word_of(object) + (uintptr_t)low) | tags[t]);
            assert_non_null(found.span);
            assert_ptr_equal(span_slot_address(found.span, found.slot), object);
        }
    }
    assert_null(object_of_word(0).span);
    assert_null(object_of_word(arena.base - 1).span);
    assert_null(object_of_word(arena.base + arena.bytes).span);
}

/* Every byte offset of a span of each class: the reciprocal must be exact, and the tail
 * names nothing. */
static void test_every_offset_of_every_class(void **state)
{
    (void)state;
    for (unsigned class = 1; class < SIZE_CLASSES; class++) {
        size_t bytes = size_classes[class].slot_bytes;
        struct span *span = object_at(word_of(fake_alloc(KIND_GC, bytes))).span;
        size_t step = bytes > 256 ? 61 : 1;
        assert_int_equal(span->slot_bytes, bytes);
        for (size_t offset = 0; offset < (size_t)span->pages << PAGE_SHIFT; offset += step) {
            uint32_t slot;
            bool found = object_in_span(span, span->base + offset, &slot);
            assert_int_equal(slot, offset / bytes);
            assert_int_equal(found, slot < span->slots &&
                                        (span_objects(span, slot / 64) >> slot % 64 & 1) != 0);
        }
    }
}

static void test_free_slots_name_nothing(void **state)
{
    char *object = fake_alloc(KIND_MALLOC, 64);
    struct object found = object_at(word_of(object));

    (void)state;
    span_release_slot(found.span, found.slot);
    assert_false(is_object(object));
    found.span->slot_state[found.slot] = SLOT_IN;
}

static void test_roots_interior_and_tagged(void **state)
{
    char *interior = fake_alloc(KIND_GC, 1000), *tagged = fake_alloc(KIND_GC, 32);
    char *boxed = fake_alloc(KIND_GC, 32), *dead = fake_alloc(KIND_GC, 32);

    (void)state;
    fake_roots[17] = word_of(interior) + 999;
    fake_roots[4095] = word_of(tagged) | 5;
    fake_roots[FAKE_ROOTS - 1] = word_of(boxed) | 0xfff9000000000000;
    fake_mark();
    assert_true(is_marked(interior) && is_marked(tagged) && is_marked(boxed));
    assert_false(is_marked(dead));
    sweep_all();
    assert_true(is_object(interior) && is_object(tagged) && is_object(boxed));
    assert_false(is_object(dead));
}

static void test_one_past_the_end_in_stacks_only(void **state)
{
    char *small = fake_alloc(KIND_GC, 128), *large = fake_alloc(KIND_GC, 256 << 10);
    char *by_data = fake_alloc(KIND_GC, 80), *tagged = fake_alloc(KIND_GC, 96);

    (void)state;
    /* The neighbours are not named by anything else. */
    fake_stack[0] = word_of(small) + 128;
    fake_stack[FAKE_STACK - 1] = word_of(large) + (256 << 10);
    fake_stack[5] = (word_of(tagged) + 96) | 0xabcd000000000000;
    fake_roots[0] = word_of(by_data) + 80;
    fake_mark();
    assert_true(is_marked(small) && is_marked(large) && is_marked(tagged));
    assert_false(is_marked(by_data));
    sweep_all();
}

/* --- graphs against an oracle ---------------------------------------------- */

enum { NODES = 20000, EDGES = 4 };

static struct node {
    uintptr_t *object;
    size_t words;
    enum kind kind;
    uint32_t edges[EDGES];
    bool reached, dropped;      /* dropped: by the roots */
} nodes[NODES];

static uint64_t seed;

static uint32_t random_below(uint32_t n)
{
    seed = seed * 6364136223846793005ull + 1442695040888963407ull;
    return (uint32_t)((seed >> 33) % n);
}

static size_t random_size(void)
{
    uint32_t dice = random_below(1000);

    if (dice < 3)
        return SMALL_MAX + 1 + random_below(600000);
    return dice < 50 ? 1 + random_below(20000) : 8 + random_below(200);
}

static void make_graph(void)
{
    for (uint32_t i = 0; i < NODES; i++) {
        size_t bytes = max_size(random_size(), EDGES * 8);
        enum kind kind = (enum kind)random_below(KINDS);
        nodes[i] = (struct node){
            .object = fake_alloc(kind, bytes), .words = bytes / 8, .kind = kind,
        };
    }
    for (uint32_t i = 0; i < NODES; i++) {
        for (uint32_t e = 0; e < EDGES; e++) {
            size_t part = nodes[i].words / EDGES;
            nodes[i].edges[e] = random_below(3) != 0 ? random_below(NODES) : NODES;
            if (nodes[i].edges[e] != NODES)
                nodes[i].object[e * part + random_below((uint32_t)part)] =
                    word_of(nodes[nodes[i].edges[e]].object) + random_below(8);
        }
    }
}

/* Everything reachable from a node, by an explicit stack. */
static void reach(uint32_t from)
{
    static uint32_t stack[NODES * EDGES + 1];
    uint32_t top = 0;

    stack[top++] = from;
    while (top != 0) {
        struct node *node = &nodes[stack[--top]];
        if (node->reached)
            continue;
        node->reached = true;
        if (node->kind == KIND_NOSCAN)
            continue;
        for (uint32_t e = 0; e < EDGES; e++)
            if (node->edges[e] != NODES)
                stack[top++] = node->edges[e];
    }
}

static void random_roots(void)
{
    for (int i = 0; i < 40; i++) {
        uint32_t node = random_below(NODES);
        fake_roots[random_below(FAKE_ROOTS)] = word_of(nodes[node].object);
        reach(node);
    }
}

/* In mode collect the malloc blocks that no root reaches, and what they reach, are kept. */
static void check_graph(void)
{
    for (uint32_t i = 0; i < NODES; i++) {
        assert_int_equal(is_marked(nodes[i].object), nodes[i].reached);
        assert_false(nodes[i].reached && is_kept(nodes[i].object));
        nodes[i].dropped = !nodes[i].reached;
    }
    for (uint32_t i = 0; i < NODES; i++)
        if (nodes[i].kind == KIND_MALLOC && nodes[i].dropped)
            reach(i);
    for (uint32_t i = 0; i < NODES; i++)
        assert_int_equal(is_marked(nodes[i].object) || is_kept(nodes[i].object),
                         nodes[i].reached);
}

static void check_swept_graph(void)
{
    for (uint32_t i = 0; i < NODES; i++) {
        assert_int_equal(is_object(nodes[i].object), nodes[i].reached);
        assert_int_equal(is_condemned(nodes[i].object),
                         nodes[i].kind == KIND_MALLOC && nodes[i].dropped);
    }
}

static struct cycle_report run_graph(uint64_t with_seed, unsigned helpers)
{
    seed = with_seed;
    fake_helpers_wanted = helpers;
    make_graph();
    fake_clear_roots();
    random_roots();
    struct cycle_report report = fake_mark();

    check_graph();
    sweep_all();
    check_swept_graph();
    return report;
}

static void test_random_graphs_alone(void **state)
{
    (void)state;
    for (uint64_t i = 1; i <= 3; i++) {
        run_graph(i, 0);
        teardown(state);
    }
}

static void test_random_graphs_with_helpers(void **state)
{
    (void)state;
    for (uint64_t i = 1; i <= 12; i++) {
        struct cycle_report report = run_graph(i, 1 + i % 3);
        assert_int_equal(report.workers, 2 + i % 3);
        teardown(state);
    }
}

/* The only words of its part of the node. */
static void set_edge(struct node *node, uint32_t e, uint32_t to)
{
    size_t part = node->words / EDGES;

    memset(&node->object[e * part], 0, part * 8);
    node->edges[e] = to;
    node->object[e * part] = word_of(nodes[to].object);
}

/* Some of the blocks that no root reached become known to others, and then no root reaches those either. */
static void tell_of_condemned(void)
{
    for (uint32_t i = 0; i < NODES; i++) {
        uint32_t to = random_below(NODES);

        if (nodes[i].kind == KIND_MALLOC && !nodes[i].dropped && nodes[to].kind == KIND_MALLOC &&
            nodes[to].dropped && random_below(2) == 0)
            set_edge(&nodes[i], random_below(EDGES), to);
    }
    fake_clear_roots();
}

/* The cycle after one of run_graph: what is condemned already stays if what is condemned now reaches it. */
static void run_next_cycle(void)
{
    static bool was_there[NODES];
    uint32_t saved = 0, lost = 0;

    tell_of_condemned();
    for (uint32_t i = 0; i < NODES; i++) {
        was_there[i] = nodes[i].reached;
        nodes[i].reached = false;
    }
    for (uint32_t i = 0; i < NODES; i++)
        if (nodes[i].kind == KIND_MALLOC && !nodes[i].dropped)
            reach(i);
    fake_mark();
    for (uint32_t i = 0; i < NODES; i++)
        if (was_there[i])
            assert_int_equal(is_kept(nodes[i].object), nodes[i].reached);
    sweep_all();
    for (uint32_t i = 0; i < NODES; i++) {
        if (!was_there[i])
            continue;
        assert_int_equal(is_object(nodes[i].object), nodes[i].reached);
        saved += nodes[i].dropped && nodes[i].reached;
        lost += !nodes[i].reached;
    }
    assert_true(saved > 0 && lost > 0);
}

static void test_kept_below_newly_condemned(void **state)
{
    for (uint64_t i = 1; i <= 8; i++) {
        run_graph(100 + i, i % 4);
        run_next_cycle();
        teardown(state);
    }
}

/* Sanitizers do not live through a raw clone. */
#if !defined __SANITIZE_ADDRESS__ && !defined __SANITIZE_THREAD__

static void test_random_graphs_in_a_copy(void **state)
{
    options.mark = 2;
    for (uint64_t i = 1; i <= 3; i++) {
        fake_own_task = true;
        struct cycle_report report = run_graph(i, 0);
        assert_int_equal(report.method, METHOD_SNAPSHOT);
        assert_int_equal(report.stops, 2);
        assert_true(report.malloc_live > 0 && report.gc_live > 0 && report.kept_bytes > 0);
        teardown(state);
    }
    options.mark = 0;
}

#endif

static void test_manual_mode_keeps_malloc_blocks(void **state)
{
    seed = 7;
    fake_helpers_wanted = 1;
    options.mode = MODE_MANUAL;
    make_graph();
    random_roots();
    for (uint32_t i = 0; i < NODES; i++)
        if (nodes[i].kind == KIND_MALLOC)
            reach(i);
    fake_mark();
    for (uint32_t i = 0; i < NODES; i++)
        assert_int_equal(is_marked(nodes[i].object), nodes[i].reached);
    sweep_all();
    for (uint32_t i = 0; i < NODES; i++)
        assert_false(is_condemned(nodes[i].object));
    assert_int_equal(sweep_totals().condemned_bytes, 0);
    assert_int_equal(sweep_totals().freed_malloc_bytes, 0);
    assert_true(sweep_totals().freed_bytes > 0);
    teardown(state);
}

/* A wide array, and lists below it, with a single block of worklist: it overflows, and nothing
 * is missed. */
static void test_overflow_is_caught(void **state)
{
    enum { WIDTH = 60000, DEPTH = 3 };
    uintptr_t *wide = fake_alloc(KIND_GC, WIDTH * 8);
    uint64_t rescans = 0;

    (void)state;
    for (int i = 0; i < WIDTH; i++) {
        uintptr_t *node = (uintptr_t *)(wide[i] = word_of(fake_alloc(KIND_GC, 2048)));
        for (int depth = 0; depth < DEPTH; depth++) {
            uintptr_t next = word_of(fake_alloc(KIND_GC, 16));
            for (int w = 0; w < 100 && depth == 0; w++)
                node[w] = word_of(fake_alloc(KIND_GC, 8));
            node[depth == 0 ? 200 : 0] = next;
            node = (uintptr_t *)next;
        }
        i += 20;
    }
    /* Roots in quick succession fill the stack: each is pushed, not scanned. */
    for (int i = 0; i < WIDTH; i++)
        fake_roots[i] = wide[i];
    struct cycle_report report = fake_mark();
    rescans = report.rescans;
    sweep_all();
    assert_true(rescans > 0);
    for (int i = 0; i < WIDTH; i += 21) {
        const uintptr_t *node = (const uintptr_t *)wide[i];
        for (int w = 0; w < 100; w++)
            assert_true(is_object((void *)node[w]));
        for (int depth = 0; depth < DEPTH; depth++) {
            node = (const uintptr_t *)node[depth == 0 ? 200 : 0];
            assert_true(is_object(node));
        }
    }
}

static void test_large_objects_in_pieces(void **state)
{
    enum { WORDS = 6 << 20 };       /* 48 MiB */
    uintptr_t *large = fake_alloc(KIND_GC, (size_t)WORDS * 8);
    void *at[3] = { fake_alloc(KIND_GC, 16), fake_alloc(KIND_GC, 16), fake_alloc(KIND_GC, 16) };

    (void)state;
    large[0] = word_of(at[0]);
    large[WORDS / 2 + 1] = word_of(at[1]);
    large[WORDS - 1] = word_of(at[2]);
    fake_roots[3] = word_of(large) + 12345;
    for (fake_helpers_wanted = 0; fake_helpers_wanted < 3; fake_helpers_wanted++) {
        fake_collect();
        assert_true(is_object(large) && is_object(at[0]) && is_object(at[1]) && is_object(at[2]));
    }
    /* Beyond what was asked for there is room that malloc_usable_size invites to use. */
    void *beyond = fake_alloc(KIND_GC, 16);
    uintptr_t *odd = fake_alloc(KIND_GC, SMALL_MAX + 1);

    odd[(SMALL_MAX + PAGE_BYTES) / 8 - 1] = word_of(beyond);
    fake_roots[4] = word_of(odd);
    fake_collect();
    assert_true(is_object(odd) && is_object(beyond));
}

static void put_packed(char *at, const void *object)
{
    memcpy(at, &object, sizeof object);
}

static uintptr_t digits_of(const void *object)
{
    return word_of(object) >> DIGIT_BITS << 32 | (word_of(object) & ((1u << DIGIT_BITS) - 1));
}

/* At every odd multiple of 4 of a block, and around the ends of the pieces of a large one. */
static void test_packed_words(void **state)
{
    enum { SMALL = 304, LARGE = 3 * TRACE_PIECE_BYTES + SMALL_MAX + 8192, AROUND = 5 };
    char *small = fake_alloc(KIND_MALLOC, SMALL), *large = fake_alloc(KIND_MALLOC, LARGE);
    char *unpacked = fake_alloc(KIND_GC, 64), *hidden = fake_alloc(KIND_GC, 16);
    void *objects[SMALL / 8 + 4 * AROUND], *by_root = fake_alloc(KIND_GC, 16);
    size_t count = 0;

    (void)state;
    for (size_t at = 4; at + 8 <= SMALL; at += 16)
        put_packed(small + at, objects[count++] = fake_alloc(KIND_GC, 16));
    for (size_t piece = 1; piece <= 3; piece++)
        for (size_t i = 0; i < AROUND; i++)
            put_packed(large + piece * TRACE_PIECE_BYTES - 36 + 16 * i,
                       objects[count++] = fake_alloc(KIND_GC, 16));
    put_packed(large + LARGE - 12, objects[count++] = fake_alloc(KIND_GC, 16));
    put_packed(unpacked + 4, hidden);   /* gc_alloc memory: nothing is looked for there */
    fake_roots[1] = word_of(small);
    fake_roots[2] = word_of(large);
    fake_roots[3] = word_of(unpacked);
    put_packed((char *)&fake_roots[100] + 4, by_root);
    for (fake_helpers_wanted = 0; fake_helpers_wanted < 3; fake_helpers_wanted++) {
        fake_collect();
        for (size_t i = 0; i < count; i++)
            assert_true(is_object(objects[i]));
        assert_true(is_object(by_root) && !is_object(hidden));
    }
}

/* Python's integers, in memory of its own and in blocks; not in gc_alloc memory, nor with more in a digit. */
static void test_addresses_in_digits(void **state)
{
    enum { ODD_BYTES = 80 };            /* no multiple of what is looked at together */
    uintptr_t *block = fake_alloc(KIND_MALLOC, ODD_BYTES), *hidden = fake_alloc(KIND_GC, 64);
    void *objects[ODD_BYTES / 8], *by_root = fake_alloc(KIND_GC, 16), *lost = fake_alloc(KIND_GC, 16);
    void *too_large = fake_alloc(KIND_GC, 16);

    (void)state;
    for (size_t i = 0; i < ODD_BYTES / 8; i++)
        block[i] = digits_of(objects[i] = fake_alloc(KIND_GC, 16));
    hidden[0] = digits_of(lost);
    fake_roots[1] = word_of(block);
    fake_roots[2] = word_of(hidden);
    fake_roots[100] = digits_of(by_root);
    fake_roots[102] = digits_of(too_large) | (uintptr_t)1 << DIGIT_BITS;
    fake_collect();
    for (size_t i = 0; i < ODD_BYTES / 8; i++)
        assert_true(is_object(objects[i]));
    assert_true(is_object(by_root) && !is_object(lost) && !is_object(too_large));
}

/* Each word that a block has room for, with nothing like an address beside it, and tags. */
static void test_lone_words(void **state)
{
    enum { BYTES = 80, PLACES = (BYTES - 8) / 4 + 1 };
    void *objects[PLACES];

    (void)state;
    for (size_t i = 0; i < PLACES; i++) {
        char *block = fake_alloc(KIND_MALLOC, BYTES);
        objects[i] = fake_alloc(KIND_GC, 16);
        uintptr_t word = word_of(objects[i]) | (uintptr_t)(0xfff8 + i) << 48;

        memset(block, 0x55, BYTES);
        memcpy(block + i * 4, &word, sizeof word);
        fake_roots[i] = word_of(block);
    }
    fake_collect();
    for (size_t i = 0; i < PLACES; i++)
        assert_true(is_object(objects[i]));
}

static void test_noscan_hides_what_it_holds(void **state)
{
    void *object = fake_alloc(KIND_GC, 16);
    uintptr_t *holder = fake_alloc(KIND_NOSCAN, 64);

    (void)state;
    holder[0] = word_of(object);
    fake_roots[1] = word_of(holder);
    fake_collect();
    assert_true(is_object(holder));
    assert_false(is_object(object));
}

/* --- the two-cycle rule ---------------------------------------------------- */

static void test_malloc_dies_in_the_second_cycle(void **state)
{
    uintptr_t *block = fake_alloc(KIND_MALLOC, 100), *tail = fake_alloc(KIND_MALLOC, SMALL_MAX + 5);
    void *below = fake_alloc(KIND_GC, 24), *beside = fake_alloc(KIND_GC, 24);

    (void)state;
    block[0] = word_of(tail);
    tail[4000] = word_of(below);
    struct cycle_report report = fake_collect();

    assert_true(is_condemned(block) && is_condemned(tail));
    assert_true(is_object(below));
    assert_false(is_object(beside));
    assert_int_equal(report.condemned_bytes, 112 + SMALL_MAX + PAGE_BYTES);
    assert_int_equal(report.kept_bytes, 112 + SMALL_MAX + PAGE_BYTES + 24);
    assert_int_equal(report.malloc_reclaim_bytes, 0);
    assert_int_equal(report.malloc_live, 0);
    assert_int_equal(sweep_totals().condemned_slots, 2);
    report = fake_collect();
    assert_false(is_object(block) || is_object(tail) || is_object(below));
    assert_int_equal(report.malloc_reclaim_bytes, 112 + SMALL_MAX + PAGE_BYTES);
    assert_int_equal(report.condemned_bytes, 0);
}

static void test_found_again_is_saved(void **state)
{
    uintptr_t *block = fake_alloc(KIND_MALLOC, 100);

    (void)state;
    for (int i = 0; i < 4; i++) {
        fake_roots[9] = 0;
        fake_collect();
        assert_true(is_condemned(block));
        fake_roots[9] = word_of(block);
        fake_collect();
        assert_true(is_object(block));
        assert_false(is_condemned(block));
    }
}

/* Freed the fast way it would keep its condemned bit into its next life. */
static void test_condemned_is_not_freed_the_fast_way(void **state)
{
    uintptr_t *block = fake_alloc(KIND_MALLOC, 100);

    (void)state;
    fake_roots[9] = 0;
    fake_collect();
    fake_open_magazines();
    assert_true(is_condemned(block));
    assert_false(fast_push(&fake_threads[0].cache, block));
    fake_roots[9] = word_of(block);
    fake_collect();
    fake_open_magazines();
    fake_roots[9] = 0;
    assert_true(fast_push(&fake_threads[0].cache, block));
}

/* A condemned block that only a newly condemned one points to lives a cycle longer, no more. */
static void test_condemned_below_newly_condemned(void **state)
{
    uintptr_t *young = fake_alloc(KIND_MALLOC, 64), *old = fake_alloc(KIND_MALLOC, 64);

    (void)state;
    fake_roots[9] = word_of(young);
    fake_collect();
    assert_true(is_condemned(old));
    young[0] = word_of(old);            /* came out of a pipe */
    fake_roots[9] = 0;
    fake_collect();
    assert_true(is_condemned(young) && is_condemned(old));
    fake_collect();
    assert_false(is_object(young) || is_object(old));
}

static void test_freed_while_condemned(void **state)
{
    uintptr_t *block = fake_alloc(KIND_MALLOC, 64);
    struct object object = object_at(word_of(block));

    (void)state;
    fake_collect();
    assert_true(is_condemned(block));
    object.span->slot_state[object.slot] = SLOT_IN;
    span_release_slot(object.span, object.slot);
    struct cycle_report report = fake_collect();

    assert_int_equal(report.malloc_reclaim_bytes, 0);
    assert_false(is_object(block));
    assert_true(span_check(object.span));
}

/* --- magazines ------------------------------------------------------------- */

static void test_cached_slots_stay_and_hold_nothing(void **state)
{
    uintptr_t *block = fake_alloc_on(&fake_threads[1], KIND_MALLOC, 64);
    void *named = fake_alloc(KIND_GC, 32);

    (void)state;
    block[0] = word_of(named);
    assert_true(fast_push(&fake_threads[1].cache, block));
    fake_roots[2] = word_of(block);     /* a stale pointer to it changes nothing */
    struct cycle_report report = fake_collect();

    assert_false(fast_push(&fake_threads[1].cache, block));
    assert_true(is_object(block));      /* its alloc bit is set */
    assert_false(is_condemned(block));
    assert_false(is_object(named));
    assert_true(report.cached_bytes >= 64);
    fake_open_magazines();
    assert_ptr_equal(fake_alloc_on(&fake_threads[1], KIND_MALLOC, 64), block);
}

/* A cycle that does not mark beside the program closes the magazines, and while a copy marks they stay
 * so; then the first free of a class opens its own. */
static void test_closed_magazines(void **state)
{
    struct mcache *cache = &fake_threads[1].cache;
    struct cached entries[2];
    void *blocks[3];

    (void)state;
    for (int i = 0; i < 3; i++)
        fake_roots[i] = word_of(blocks[i] = fake_alloc_on(&fake_threads[1], KIND_MALLOC, 64));
    unsigned class = span_of(word_of(blocks[0]))->span_class;

    for (int i = 0; i < 2; i++) {
        struct object object = object_at(word_of(blocks[i]));
        entries[i] = (struct cached){ blocks[i], &object.span->slot_state[object.slot] };
    }
    fake_open_magazines();
    assert_true(cache->magazines[class].limit != 0);
    fake_collect();
    assert_false(fast_push(cache, blocks[2]));
    span_free_black = 1;
    *entries[0].state = SLOT_IN;
    mcache_push(cache, span_of(word_of(blocks[0])), entries[0]);
    assert_false(fast_push(cache, blocks[2]));
    span_free_black = 0;
    *entries[1].state = SLOT_IN;
    mcache_push(cache, span_of(word_of(blocks[1])), entries[1]);
    assert_true(fast_push(cache, blocks[2]));
}

/* Stopped between two instructions of free: stored, not yet counted.  And of malloc: counted,
 * not yet the program's.  A block that is merely one past the fill is nobody's root. */
static void test_one_past_the_fill(void **state)
{
    struct mcache *cache = &fake_threads[2].cache;
    unsigned class = span_class_of(KIND_GC, sizeclass_of(2048));

    (void)state;
    fake_alloc_on(&fake_threads[2], KIND_GC, 2048);
    uintptr_t *block = fake_alloc_on(&fake_threads[2], KIND_GC, 2048);
    void *named = fake_alloc(KIND_GC, 32);

    while (magazine_fill(cache, class) == 0)
        block = fake_alloc_on(&fake_threads[2], KIND_GC, 2048);
    block[7] = word_of(named);
    uint32_t fill = magazine_fill(cache, class);

    assert_ptr_equal(magazine_entry(cache, class, fill)->slot, block);
    *magazine_entry(cache, class, fill)->state = SLOT_IN;
    fake_mark();
    assert_true(is_marked(block));
    assert_false(is_marked(named));
    sweep_all();
    *magazine_entry(cache, class, fill)->state = SLOT_OUT;
    fake_collect();
    assert_false(is_object(block));
}

/* Stays, whoever takes it when; what of a strip is the program's lives or dies by the roots. */
static void test_strips_stay_and_hold_nothing(void **state)
{
    struct mcache *cache = &fake_threads[2].cache;
    unsigned class = span_class_of(KIND_GC, sizeclass_of_gc(640));
    uintptr_t *block = fake_alloc_on(&fake_threads[2], KIND_GC, 640);

    (void)state;
    while (mcache_cached(cache, class) < 2)
        block = fake_alloc_on(&fake_threads[2], KIND_GC, 640);
    const struct strip *strip = mcache_strip(cache, class);
    uint64_t free = strip->free;
    uintptr_t *next = (uintptr_t *)(strip->first + lowest_bit(free) * strip->slot_bytes);
    void *named = fake_alloc(KIND_GC, 32);

    next[7] = word_of(named);
    fake_roots[2] = word_of(next);      /* a stale pointer to it changes nothing */
    fake_mark();
    assert_true(is_marked(next));
    assert_false(is_marked(block));
    assert_false(is_marked(named));
    sweep_all();
    assert_int_equal(strip->free, free);
    assert_false(is_object(block));
    assert_ptr_equal(fake_alloc_on(&fake_threads[2], KIND_GC, 640), next);
}

/* Frees it where it is not at home. */
static void free_elsewhere(struct thread *thread, void *block)
{
    struct object object = object_at(word_of(block));

    object.span->slot_state[object.slot] = SLOT_IN;
    mcache_push(&thread->cache, object.span,
                (struct cached){ block, &object.span->slot_state[object.slot] });
}

static void test_slots_on_their_way_home_stay_and_hold_nothing(void **state)
{
    struct thread *freer = &fake_threads[2];
    uintptr_t *first = fake_alloc_on(&fake_threads[1], KIND_MALLOC, 64);
    uintptr_t *block = fake_alloc_on(&fake_threads[1], KIND_MALLOC, 64);
    uintptr_t *last = fake_alloc_on(&fake_threads[1], KIND_MALLOC, 64);
    void *named = fake_alloc(KIND_GC, 32);

    (void)state;
    block[0] = word_of(named);
    outbox_flush(&freer->cache);
    free_elsewhere(freer, first);
    assert_true(fast_push(&freer->cache, block));
    assert_int_equal(outbox_fill(&freer->cache), 2);
    fake_collect();
    assert_false(fast_push(&freer->cache, last));
    assert_true(is_object(first) && is_object(block));  /* their alloc bits are set */
    assert_false(is_condemned(first) || is_condemned(block));
    assert_false(is_object(named));
    fake_open_magazines();
    outbox_flush(&freer->cache);
    assert_false(is_object(first) || is_object(block));
}

/* As one past the fill of a magazine: stored, not yet counted. */
static void test_one_past_the_outbox(void **state)
{
    struct mcache *cache = &fake_threads[2].cache;
    uintptr_t *block = fake_alloc_on(&fake_threads[1], KIND_GC, 2048);
    void *named = fake_alloc(KIND_GC, 32);
    fake_alloc_on(&fake_threads[1], KIND_GC, 2048);      /* that one is past the fill of its magazine */
    struct object object = object_at(word_of(block));

    (void)state;
    block[7] = word_of(named);
    outbox_flush(cache);
    free_elsewhere(&fake_threads[2], block);
    cache->outbox.top -= sizeof(struct cached);
    fake_mark();
    assert_true(is_marked(block));
    assert_false(is_marked(named));
    sweep_all();
    object.span->slot_state[object.slot] = SLOT_OUT;
    fake_collect();
    assert_false(is_object(block));
}

/* --- cycles that fail, and reports ----------------------------------------- */

static uint64_t count_marks(void)
{
    uint64_t marks = 0;

    for (uint32_t id = 0; id < span_table_size(); id++)
        for (uint32_t w = 0; span_in_use(span_by_id(id)) && w * 64 < span_by_id(id)->slots; w++)
            marks += count_bits(span_marks(span_by_id(id), w));
    return marks;
}

static void test_abandoned_changes_nothing(void **state)
{
    struct cycle_report report = { .goal = 77 };
    uintptr_t *block = fake_alloc(KIND_MALLOC, 64);
    void *garbage = fake_alloc(KIND_GC, 64), *dropped = fake_alloc(KIND_GC, 64);
    uint32_t generation = sweep_generation;

    (void)state;
    fake_helpers_wanted = 2;
    fake_roots[0] = word_of(block);
    fake_stop_fails = true;
    assert_false(cycle_run(false, false, &fake_hooks, &report));
    assert_string_equal(report.abandoned, "told to fail");
    fake_stop_fails = false;
    fake_roots_fail = true;
    fake_roots[1] = word_of(dropped);
    assert_false(cycle_run(false, false, &fake_hooks, &report));
    assert_string_equal(report.abandoned, "told to fail");
    assert_int_equal(report.number, 0);
    assert_int_equal(report.goal, 77);
    assert_int_equal(gc_phase, GC_OFF);
    assert_int_equal(span_allocate_black, 0);
    assert_int_equal(sweep_generation, generation);
    assert_true(is_object(block) && is_object(garbage) && !is_condemned(block));
    /* Its marks are forgotten before the next. */
    assert_true(count_marks() > 0);
    fake_roots_fail = false;
    fake_roots[1] = 0;
    fake_collect();
    assert_int_equal(count_marks(), 0);
    assert_true(is_object(block));
    assert_false(is_object(garbage) || is_object(dropped));
}

static void test_report_adds_up(void **state)
{
    (void)state;
    void *live[2] = { fake_alloc(KIND_MALLOC, 1000), fake_alloc(KIND_GC, 2000) };

    fake_alloc(KIND_GC, 500);
    fake_alloc(KIND_MALLOC, 300);
    fake_roots[0] = word_of(live[0]);
    fake_roots[1] = word_of(live[1]);
    struct cycle_report report = fake_mark();

    assert_int_equal(gc_phase, GC_SWEEPING);
    assert_int_equal(report.malloc_live, 1024);
    assert_int_equal(report.gc_live, 2048);
    assert_int_equal(report.kept_bytes, 320);
    assert_int_equal(report.heap_live, 1024 + 2048);
    assert_int_equal(report.heap_before, 1024 + 2048 + 320 + 512);
    assert_int_equal(report.heap_after_mark, report.heap_before);
    assert_int_equal(report.gc_after_mark, 2048 + 512);
    assert_int_equal(report.scanned_bytes, 1024 + 2048 + 320);
    assert_int_equal(report.method, METHOD_STOPPED);
    assert_int_equal(report.stops, 1);
    assert_true(report.setup_ns + report.termination_ns == report.pause_ns);
    assert_true(report.termination_ns > 0 && report.concurrent_ns == 0);
    assert_int_equal(report.longest_pause_ns, report.pause_ns);
    assert_true(report.mark_cpu_ns > 0);
    assert_int_equal(report.workers, 1);
    assert_int_equal(fake_dead_bytes(), 512);
    sweep_all();
    assert_int_equal(gc_phase, GC_OFF);
    assert_int_equal(sweep_totals().freed_bytes, 512);
    assert_int_equal(sweep_totals().condemned_bytes, 320);
}

enum { SHEET = 4096 / 8 };

/* An object of many words, all but the last of which name the same. */
static uintptr_t *make_sheet(const void *same, const void *last)
{
    uintptr_t *sheet = fake_alloc(KIND_GC, SHEET * 8);

    for (int i = 0; i < SHEET - 1; i++)
        sheet[i] = word_of(same);
    sheet[SHEET - 1] = word_of(last);
    return sheet;
}

/* The keeper's worklist overflows; and when everything kept is scanned again, that leads to more than fits into
 * the keeper's own blocks, but not to more than there is room for. */
static void test_kept_after_an_overflow(void **state)
{
    enum { WIDE = 1500, LESS_WIDE = 1000, DROPPED = 400 };
    static void *leaf[LESS_WIDE];
    void *same = fake_alloc(KIND_GC, 64);
    uintptr_t *top = fake_alloc(KIND_MALLOC, WIDE * 8), *below = fake_alloc(KIND_GC, LESS_WIDE * 8);

    (void)state;
    for (int i = 0; i < LESS_WIDE; i++)
        below[i] = word_of(make_sheet(same, leaf[i] = fake_alloc(KIND_GC, 16)));
    for (int i = 0; i < WIDE; i++)
        top[i] = word_of(make_sheet(same, i == DROPPED ? (void *)below : same));
    fake_mark();
    for (int i = 0; i < LESS_WIDE; i++)
        assert_true(is_kept(leaf[i]));
    sweep_all();
}

/* A helper that came late: it looks at objects as a marker or as a keeper. */
static void test_given_up_when_nobody_looks(void **state)
{
    (void)state;
    assert_true(mark_prepare());
    struct tracer *keeper = keep_open(1);

    assert_non_null(keeper);
    keep_enter();
    assert_false(mark_is_given_up());
    mark_give_up();
    assert_false(mark_is_given_up());
    keep_to_closure(keeper);
    assert_true(mark_is_given_up());
    keep_close(keeper);
    mark_release();
    mark_join(0);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

/* The overflow test comes first: it forbids the worklist to grow before it ever has. */
int main(void)
{
    const struct CMUnitTest small_worklist[] = {
        TEST(test_overflow_is_caught),
        TEST(test_random_graphs_alone),
        TEST(test_kept_below_newly_condemned),
    };
    const struct CMUnitTest tests[] = {
        TEST(test_words_that_name_an_object),
        TEST(test_every_offset_of_every_class),
        TEST(test_free_slots_name_nothing),
        TEST(test_roots_interior_and_tagged),
        TEST(test_one_past_the_end_in_stacks_only),
        TEST(test_random_graphs_alone),
        TEST(test_random_graphs_with_helpers),
        TEST(test_kept_below_newly_condemned),
#if !defined __SANITIZE_ADDRESS__ && !defined __SANITIZE_THREAD__
        TEST(test_random_graphs_in_a_copy),
#endif
        TEST(test_manual_mode_keeps_malloc_blocks),
        TEST(test_large_objects_in_pieces),
        TEST(test_packed_words),
        TEST(test_addresses_in_digits),
        TEST(test_lone_words),
        TEST(test_noscan_hides_what_it_holds),
        TEST(test_malloc_dies_in_the_second_cycle),
        TEST(test_found_again_is_saved),
        TEST(test_condemned_below_newly_condemned),
        TEST(test_condemned_is_not_freed_the_fast_way),
        TEST(test_freed_while_condemned),
        TEST(test_cached_slots_stay_and_hold_nothing),
        TEST(test_closed_magazines),
        TEST(test_strips_stay_and_hold_nothing),
        TEST(test_one_past_the_fill),
        TEST(test_slots_on_their_way_home_stay_and_hold_nothing),
        TEST(test_one_past_the_outbox),
        TEST(test_abandoned_changes_nothing),
        TEST(test_given_up_when_nobody_looks),
        TEST(test_report_adds_up),
    };

    fake_init();
    mark_limit_blocks(1);
    int failed = cmocka_run_group_tests(small_worklist, NULL, NULL);

    const struct CMUnitTest some_worklist[] = { TEST(test_kept_after_an_overflow) };

    mark_limit_blocks(3);
    failed += cmocka_run_group_tests(some_worklist, NULL, NULL);
    mark_limit_blocks(UINT32_MAX);
    return failed + cmocka_run_group_tests(tests, NULL, NULL);
}
