/* model_pacer.c -- the pacer against simulated programs: no heap, no clock
 *
 * A program allocates in steps of 64 KiB, frees some of it, and loses some.  What a cycle finds
 * unreachable of malloc memory is condemned, and freed by the next (the two-cycle
 * rule); of gc_alloc memory it is freed at once.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/bits.h"
#include "gc/pacer.h"

#define STEP (64 * KIB)

struct program {
    struct pacer pacer;
    struct pacer_knobs knobs;
    uint64_t malloc_live, garbage, condemned;   /* malloc memory */
    uint64_t gc_live, gc_garbage;
    uint64_t roots, overhead;
    uint64_t cycles, marked, allocated, peak;   /* what it cost */
};

static struct program start(bool collect, int64_t percent)
{
    struct program p = {
        .knobs = { .percent = percent, .memory_limit = INT64_MAX, .heap_min = 64 * MIB,
                   .malloc_collected = collect },
    };

    pacer_init(&p.pacer, &p.knobs);
    return p;
}

static uint64_t heap(const struct program *p)
{
    return p->malloc_live + p->garbage + p->condemned + p->gc_live + p->gc_garbage;
}

static void collect(struct program *p)
{
    struct pacer_input input = {
        .malloc_live = p->malloc_live, .gc_live = p->gc_live, .roots = p->roots,
        .malloc_reclaimed = p->knobs.malloc_collected ? p->condemned : 0,
        .malloc_condemned = p->knobs.malloc_collected ? p->garbage : 0,
        .overhead = p->overhead,
    };

    p->cycles++;
    p->marked += p->malloc_live + p->gc_live + p->garbage;
    if (p->knobs.malloc_collected) {
        p->condemned = p->garbage;
        p->garbage = 0;
        input.kept = p->condemned;
    }
    p->gc_garbage = 0;
    pacer_update(&p->pacer, &p->knobs, &input);
}

static bool goal_reached(const struct program *p)
{
    return heap(p) >= p->pacer.goal || p->gc_live + p->gc_garbage >= p->pacer.gc_goal;
}

/* One step of allocation was made. */
static void step(struct program *p)
{
    p->allocated += STEP;
    p->peak = heap(p) > p->peak ? heap(p) : p->peak;
    for (int i = 0; goal_reached(p); i++) {
        assert_true(i < 3);             /* a cycle must make room, two at the latest */
        collect(p);
    }
}

static void leak(struct program *p, uint64_t bytes)
{
    for (uint64_t done = 0; done < bytes; done += STEP) {
        p->garbage += STEP;
        step(p);
    }
}

static void grow(struct program *p, uint64_t bytes)
{
    for (uint64_t done = 0; done < bytes; done += STEP) {
        p->malloc_live += STEP;
        step(p);
    }
}

/* Allocates and frees, so that live stays. */
static void churn(struct program *p, uint64_t bytes)
{
    for (uint64_t done = 0; done < bytes; done += STEP) {
        p->malloc_live += STEP;
        step(p);
        p->malloc_live -= STEP;
    }
}

static void gc_churn(struct program *p, uint64_t bytes)
{
    for (uint64_t done = 0; done < bytes; done += STEP) {
        p->gc_garbage += STEP;
        step(p);
    }
}

/* --- a program that frees must not pay ------------------------------------- */

static void test_small_programs_never_collect(void **state)
{
    struct program p = start(true, 100);

    (void)state;
    grow(&p, 60 * MIB);
    churn(&p, 100 * GIB);
    assert_int_equal(p.cycles, 0);
}

static void test_steady_program_without_garbage(void **state)
{
    struct program p = start(true, 100);

    (void)state;
    grow(&p, GIB);
    assert_true(p.cycles <= 6);         /* doubling, and stretched */
    uint64_t cycles = p.cycles;

    churn(&p, 100 * GIB);
    assert_true(p.cycles - cycles <= 1);
    assert_true(p.marked <= 4 * GIB);
}

/* Live goes up and down between 100 MiB and 1 GiB, always by free. */
static void test_spikes_without_garbage(void **state)
{
    struct program p = start(true, 100);

    (void)state;
    grow(&p, 100 * MIB);
    for (int spike = 0; spike < 200; spike++) {
        grow(&p, 900 * MIB);
        p.malloc_live -= 900 * MIB;
    }
    assert_true(p.cycles <= 12);
}

/* --- a program that leaks is bounded --------------------------------------- */

static void test_leak_only(void **state)
{
    static const uint64_t lives[] = { 0, MIB, 30 * MIB, 64 * MIB, 200 * MIB, 2 * GIB };

    (void)state;
    for (size_t i = 0; i < sizeof lives / sizeof lives[0]; i++) {
        struct program p = start(true, 100);
        grow(&p, lives[i]);
        leak(&p, 100 * GIB);
        /* Growing without garbage has stretched the distance: see test_late_leak. */
        assert_true(p.peak <= 9 * lives[i] + 128 * MIB);
        /* Tracing garbage is part of the price, each byte once: condemned, then gone. */
        assert_true(p.marked <= 3 * p.allocated);
        uint64_t before = p.peak;

        p.peak = 0;
        leak(&p, 100 * GIB);
        assert_true(p.peak <= before);
        assert_true(p.peak <= 3 * lives[i] + 66 * MIB);
    }
}

/* A quarter of what is allocated is lost, the rest freed. */
static void test_partial_leak(void **state)
{
    struct program p = start(true, 100);

    (void)state;
    grow(&p, 500 * MIB);
    for (int i = 0; i < 4000; i++) {
        leak(&p, 10 * MIB);
        churn(&p, 30 * MIB);
    }
    assert_true(p.peak <= 4 * 500 * MIB);
    assert_true(p.marked <= 3 * p.allocated);
}

/* A leak that begins after a long clean life is seen at the stretched distance, then at the
 * normal one. */
static void test_late_leak(void **state)
{
    struct program p = start(true, 100);

    (void)state;
    grow(&p, 500 * MIB);
    for (int i = 0; i < 10; i++)
        collect(&p);
    assert_int_equal(p.pacer.stretch, 8);
    leak(&p, 50 * GIB);
    assert_int_equal(p.pacer.stretch, 1);
    assert_true(p.peak <= 10 * 500 * MIB);
    p.peak = 0;
    leak(&p, 50 * GIB);
    assert_true(p.peak <= 3 * 500 * MIB + MIB);
}

static void test_slow_leak_is_neither_ignored_nor_hunted(void **state)
{
    struct program p = start(true, 100);

    (void)state;
    grow(&p, 500 * MIB);
    for (int i = 0; i < 20000; i++) {
        leak(&p, MIB);
        churn(&p, 9 * MIB);
    }
    assert_true(p.peak <= 9 * 500 * MIB + MIB);
    assert_true(p.cycles >= 5 && p.cycles <= 60);
    assert_true(p.marked <= p.allocated / 2);
}

static void test_shrinking_program(void **state)
{
    struct program p = start(true, 100);

    (void)state;
    grow(&p, 2 * GIB);
    p.malloc_live = 100 * MIB;
    leak(&p, 50 * GIB);         /* one cycle at the old goal, then small ones */
    p.peak = 0;
    leak(&p, 10 * GIB);
    assert_true(p.peak <= 400 * MIB);
}

static void test_heap_min_is_respected(void **state)
{
    (void)state;
    for (uint64_t heap_min = 0; heap_min <= 256 * MIB; heap_min = heap_min * 2 + MIB) {
        struct program p = start(true, 100);
        p.knobs.heap_min = heap_min;
        pacer_init(&p.pacer, &p.knobs);
        assert_true(p.pacer.goal >= heap_min);
        leak(&p, heap_min > STEP ? heap_min - STEP : 0);
        assert_true(p.cycles == 0 || heap_min == 0);
        leak(&p, 10 * GIB);
        assert_true(p.pacer.goal >= heap_min);
        assert_true(p.peak <= heap_min + heap_min / 2 + 2 * MIB);
    }
}

/* --- gc_alloc memory, as Go ------------------------------------------------ */

static void test_gc_goal_is_gos(void **state)
{
    struct program p = start(false, 100);

    (void)state;
    assert_int_equal(p.pacer.goal, 4 * MIB);
    p.gc_live = 100 * MIB;
    p.roots = 10 * MIB;
    collect(&p);
    assert_int_equal(p.pacer.gc_goal, 210 * MIB);
    assert_int_equal(p.pacer.goal, 210 * MIB);
    p.knobs.percent = 50;
    pacer_retune(&p.pacer, &p.knobs);
    assert_int_equal(p.pacer.goal, 155 * MIB);
    p.knobs.percent = 200;
    p.gc_live = MIB;
    p.roots = 0;
    collect(&p);
    assert_int_equal(p.pacer.goal, 8 * MIB);
    p.knobs.percent = 0;
    collect(&p);
    assert_int_equal(p.pacer.goal, MIB);
    p.knobs.percent = -1;
    collect(&p);
    assert_int_equal(p.pacer.goal, UINT64_MAX);
    assert_int_equal(p.pacer.gc_goal, UINT64_MAX);
}

static void test_gc_churn_costs_as_much_as_it_allocates(void **state)
{
    struct program p = start(false, 100);

    (void)state;
    p.gc_live = 50 * MIB;
    gc_churn(&p, 10 * GIB);
    assert_true(p.marked <= p.allocated + p.allocated / 20);
    assert_true(p.peak <= 101 * MIB);
}

/* Beside a large malloc heap, gc_alloc garbage is still held to its own goal. */
static void test_gc_garbage_does_not_fill_mallocs_room(void **state)
{
    struct program p = start(true, 100);

    (void)state;
    p.gc_live = 10 * MIB;
    grow(&p, 40 * MIB);
    gc_churn(&p, 2 * GIB);
    assert_true(p.peak <= 40 * MIB + 21 * MIB);
}

/* --- the memory limit ------------------------------------------------------ */

static void test_limit_is_kept_when_it_can_be(void **state)
{
    (void)state;
    for (int off = 0; off < 2; off++) {
        struct program p = start(true, off ? -1 : 100);
        p.knobs.memory_limit = (int64_t)(600 * MIB);
        p.overhead = 20 * MIB;
        pacer_init(&p.pacer, &p.knobs);
        grow(&p, 400 * MIB);
        leak(&p, 20 * GIB);
        assert_true(p.peak + p.overhead <= 600 * MIB + STEP);
    }
}

/* Live above the limit: the program goes on, and does not spend all its time collecting. */
static void test_limit_below_live(void **state)
{
    struct program p = start(true, 100);

    (void)state;
    p.knobs.memory_limit = (int64_t)(100 * MIB);
    pacer_init(&p.pacer, &p.knobs);
    grow(&p, 400 * MIB);
    uint64_t cycles = p.cycles;

    leak(&p, GIB);
    assert_true(p.cycles - cycles <= 2 + GIB / (20 * MIB));
    assert_true(p.peak <= 400 * MIB + 3 * 22 * MIB + MIB);
}

static void test_no_overflow(void **state)
{
    struct program p = start(true, INT32_MAX);

    (void)state;
    p.malloc_live = (uint64_t)1 << 62;
    p.gc_live = (uint64_t)1 << 62;
    p.roots = (uint64_t)1 << 63;
    for (int i = 0; i < 5; i++)
        collect(&p);
    assert_int_equal(p.pacer.goal, UINT64_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_small_programs_never_collect),
        cmocka_unit_test(test_steady_program_without_garbage),
        cmocka_unit_test(test_spikes_without_garbage),
        cmocka_unit_test(test_leak_only),
        cmocka_unit_test(test_partial_leak),
        cmocka_unit_test(test_late_leak),
        cmocka_unit_test(test_slow_leak_is_neither_ignored_nor_hunted),
        cmocka_unit_test(test_shrinking_program),
        cmocka_unit_test(test_heap_min_is_respected),
        cmocka_unit_test(test_gc_goal_is_gos),
        cmocka_unit_test(test_gc_churn_costs_as_much_as_it_allocates),
        cmocka_unit_test(test_gc_garbage_does_not_fill_mallocs_room),
        cmocka_unit_test(test_limit_is_kept_when_it_can_be),
        cmocka_unit_test(test_limit_below_live),
        cmocka_unit_test(test_no_overflow),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
