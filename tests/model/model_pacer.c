/* model_pacer.c -- the pacer against simulated programs: no heap, no clock, and cycles that take
 * no time (model_marking.c has those that do)
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
#define MS UINT64_C(1000000)

struct program {
    struct pacer pacer;
    struct pacer_knobs knobs;
    uint64_t malloc_live, garbage, condemned;   /* malloc memory */
    uint64_t gc_live, gc_garbage;
    uint64_t roots, overhead;
    uint64_t step_ns;           /* processor time of the program for a step */
    uint64_t cycle_ns_per_kib;  /* ... and of the collector */
    uint64_t since_ns;          /* used since the last cycle */
    uint64_t cycles, marked, allocated, peak;   /* what it cost */
    uint64_t cpu_ns, gc_ns;
};

static struct program start(bool collect, int64_t percent)
{
    struct program p = {
        .knobs = { .percent = percent, .memory_limit = INT64_MAX, .heap_min = 64 * MIB,
                   .malloc_collected = collect },
        .step_ns = 10 * MS,     /* cycles cost nothing beside it */
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
    uint64_t work = p->malloc_live + p->gc_live + p->garbage;

    input.scan_work = p->cycle_ns_per_kib != 0 ? work : 0;
    input.cost_ns = work / KIB * p->cycle_ns_per_kib;
    p->gc_ns += input.cost_ns;
    p->since_ns = 0;
    p->cycles++;
    p->marked += work;
    if (p->knobs.malloc_collected) {
        p->condemned = p->garbage;
        p->garbage = 0;
        input.kept = p->condemned;
    }
    p->gc_garbage = 0;
    pacer_update(&p->pacer, &p->knobs, &input);
}

static bool goal_reached(struct program *p)
{
    struct pacer_heap now = { .total = heap(p), .gc = p->gc_live + p->gc_garbage };

    return (now.total >= p->pacer.trigger || now.gc >= p->pacer.gc_trigger) &&
           pacer_weigh(&p->pacer, now, p->since_ns);
}

/* One step of allocation was made. */
static void step(struct program *p)
{
    p->allocated += STEP;
    p->cpu_ns += p->step_ns;
    p->since_ns += p->step_ns;
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
        assert_true(p.pacer.trigger >= p.condemned + 24 * MIB);
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
        assert_true(p.pacer.trigger >= heap_min && p.pacer.goal >= p.pacer.trigger);
        leak(&p, heap_min > STEP ? heap_min - STEP : 0);
        assert_true(p.cycles == 0 || heap_min == 0);
        leak(&p, 10 * GIB);
        assert_true(p.pacer.trigger >= heap_min);
        assert_true(p.peak <= heap_min + heap_min / 2 + 2 * MIB);
    }
}

/* --- what a cycle may cost -------------------------------------------------- */

/* A step takes the program so long, and marking as long a heap of three steps. */
static struct program paying(uint64_t step_ns)
{
    struct program p = start(true, 100);

    p.step_ns = step_ns;
    p.cycle_ns_per_kib = 500;
    return p;
}

/* Grows without garbage, fast or slowly, and goes on with what it has. */
static void test_growth_costs_little(void **state)
{
    static const uint64_t speeds[] = { MS / 100, MS / 20, MS / 4, MS, 5 * MS, 50 * MS };

    (void)state;
    for (size_t i = 0; i < sizeof speeds / sizeof speeds[0]; i++) {
        struct program p = paying(speeds[i]);
        grow(&p, 300 * MIB);
        /* The first one, of 64 MiB, is on credit. */
        assert_true(p.gc_ns <= 34 * MS + p.cpu_ns * 2 / 100);
        assert_true(p.cycles <= 3);
        grow(&p, 4 * GIB);
        uint64_t cycles = p.cycles;

        assert_true(cycles <= 7);
        /* However fast it grows: nearly all of it is marked once, at the most. */
        assert_true(p.gc_ns <= 34 * MS + p.cpu_ns * 2 / 100 + 4 * GIB / KIB * 500);
        p.gc_ns = p.cpu_ns = 0;
        churn(&p, 100 * GIB);
        assert_true(p.cycles - cycles <= 1);
        assert_true(p.gc_ns <= p.cpu_ns * 3 / 100 || p.gc_ns == 0);
    }
}

/* It waits as long as the longest stretch would, and only as long as it must. */
static void test_cycle_waits_for_its_price(void **state)
{
    struct program p = paying(MS / 100);

    (void)state;
    grow(&p, 64 * MIB);
    assert_int_equal(p.cycles, 1);      /* 32 ms */
    assert_int_equal(p.pacer.stretch, 2);
    assert_in_range(p.pacer.trigger, 180 * MIB, 192 * MIB);
    assert_int_equal(p.pacer.late_trigger, 64 * MIB + 4 * (p.pacer.trigger - 64 * MIB));
    struct program slow = p;

    grow(&p, p.pacer.late_trigger - 64 * MIB - STEP);
    assert_int_equal(p.cycles, 1);
    grow(&p, STEP);
    assert_int_equal(p.cycles, 2);
    grow(&slow, slow.pacer.trigger - 64 * MIB);
    /* 50 times as much as the last one cost for each byte. */
    uint64_t price = 50 * 500 * (heap(&slow) / KIB);

    slow.step_ns = (price - slow.since_ns) / 100;
    churn(&slow, 90 * STEP);
    assert_int_equal(slow.cycles, 1);
    churn(&slow, 12 * STEP);
    assert_int_equal(slow.cycles, 2);
    p = slow;
    assert_int_equal(p.pacer.stretch, 4);
    uint64_t live = p.pacer.last.malloc_live;

    assert_int_equal(p.pacer.late_trigger - live, 2 * (p.pacer.trigger - live));
    while (p.pacer.stretch < 8)
        collect(&p);
    assert_int_equal(p.pacer.late_trigger, p.pacer.trigger);
}

/* Until it is known what a cycle finds, a heap that only grows pays for one: the next ones have to be
 * worth it up to 8 times of what is alive. */
static void test_fast_growth_pays_once(void **state)
{
    static const uint64_t ends[] = { 70 * MIB, 200 * MIB, 440 * MIB };

    (void)state;
    for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++) {
        struct program p = paying(MS / 100);

        grow(&p, ends[i]);
        assert_int_equal(p.cycles, 1);
        p.malloc_live = 0;
        churn(&p, GIB);
        assert_int_equal(p.cycles, 1);
    }
}

/* A large one does not wait until it is several times as large. */
static void test_patience_of_large_heaps(void **state)
{
    static const uint64_t lives[] = { 100 * MIB, 200 * MIB, 2 * GIB, 10 * GIB };

    (void)state;
    for (size_t i = 0; i < sizeof lives / sizeof lives[0]; i++) {
        struct program p = paying(MS / 1000);

        p.malloc_live = lives[i];
        collect(&p);
        uint64_t distance = p.pacer.trigger - lives[i];
        uint64_t later = p.pacer.late_trigger - p.pacer.trigger;

        assert_int_equal(p.pacer.stretch, 2);
        assert_int_equal(later, lives[i] < GIB / 4 ? min_size(3 * distance, GIB) : distance);
        assert_true(later > distance || lives[i] >= GIB);
    }
}

static void test_unknown_yield_doubles_at_most(void **state)
{
    static const uint64_t lives[] = { 32 * MIB, 100 * MIB, 130 * MIB, 600 * MIB };

    (void)state;
    for (size_t i = 0; i < sizeof lives / sizeof lives[0]; i++) {
        struct program p = paying(MS / 1000);
        p.knobs.heap_min = 256 * MIB;
        pacer_init(&p.pacer, &p.knobs);
        assert_int_equal(p.pacer.trigger, 256 * MIB);
        assert_int_equal(p.pacer.late_trigger, 512 * MIB);
        grow(&p, lives[i]);
        assert_int_equal(p.cycles, lives[i] >= 512 * MIB ? 1 : 0);
        leak(&p, 20 * GIB);
        assert_true(p.cycles >= 20);
        p.peak = 0;
        leak(&p, 20 * GIB);
        assert_true(p.peak <= 3 * lives[i] + 400 * MIB);
    }
}

/* A fast leak is as bounded as one that has time: each cycle yields. */
static void test_yield_ends_the_waiting(void **state)
{
    struct program fast = paying(MS / 1000), slow = paying(50 * MS);

    (void)state;
    leak(&fast, 10 * GIB);
    leak(&slow, 10 * GIB);
    assert_true(fast.pacer.yields);
    assert_int_equal(fast.pacer.late_trigger, fast.pacer.trigger);
    assert_int_equal(fast.cycles, slow.cycles);
    assert_int_equal(fast.peak, slow.peak);
    /* Some of it is lost, the rest freed. */
    struct program some = paying(MS / 1000);

    grow(&some, 500 * MIB);
    for (int i = 0; i < 4000; i++) {
        leak(&some, 10 * MIB);
        churn(&some, 30 * MIB);
    }
    assert_true(some.peak <= 9 * 500 * MIB);
    some.peak = 0;
    leak(&some, 10 * GIB);
    assert_true(some.peak <= 3 * 500 * MIB + MIB);
}

/* The leak begins when the yield is known to be poor, and cycles wait. */
static void test_late_fast_leak(void **state)
{
    struct program p = paying(MS / 1000);

    (void)state;
    grow(&p, 65 * MIB);
    assert_int_equal(p.cycles, 1);
    leak(&p, 10 * GIB);
    /* What was found at 9 times the live size is freed later. */
    assert_true(p.peak <= 10 * 64 * MIB + MIB);
    assert_true(p.peak >= 8 * 64 * MIB);
    p.peak = 0;
    leak(&p, 10 * GIB);
    assert_true(p.peak <= 3 * 65 * MIB + MIB);
}

static void test_gc_memory_never_waits(void **state)
{
    struct program p = paying(MS / 1000);

    (void)state;
    p.gc_live = 10 * MIB;
    grow(&p, 400 * MIB);
    p.marked = p.allocated = p.peak = 0;
    gc_churn(&p, 20 * GIB);
    assert_true(p.peak <= 2 * 410 * MIB);
    struct program manual = paying(MS / 1000);

    manual.knobs.malloc_collected = false;
    pacer_init(&manual.pacer, &manual.knobs);
    assert_int_equal(manual.pacer.late_trigger, manual.pacer.trigger);
    manual.gc_live = manual.malloc_live = 50 * MIB;
    gc_churn(&manual, 10 * GIB);
    assert_true(manual.peak <= 202 * MIB);
}

/* However dear its cycles are. */
static void test_limit_does_not_wait(void **state)
{
    struct program empty = paying(MS / 1000);

    empty.knobs.memory_limit = (int64_t)(200 * MIB);
    pacer_init(&empty.pacer, &empty.knobs);
    assert_int_equal(empty.pacer.goal, 68 * MIB);
    assert_int_equal(empty.pacer.late_trigger, 95 * MIB - 4 * MIB);     /* its way fits as well */
    for (uint64_t limit = 80 * MIB; limit <= 2 * GIB; limit += limit / 8) {
        struct program p = paying(MS / 1000);

        (void)state;
        p.knobs.memory_limit = (int64_t)limit;
        p.overhead = 2 * MIB;
        pacer_init(&p.pacer, &p.knobs);
        grow(&p, limit / 2);
        leak(&p, 10 * GIB);
        assert_true(p.peak + p.overhead <= limit + STEP);
    }
}

/* Nobody assists for a goal that was passed while the cycle waited. */
static void test_waiting_moves_the_goal(void **state)
{
    struct program p = paying(MS / 1000);
    uint64_t way = p.pacer.goal - p.pacer.trigger;

    (void)state;
    for (uint64_t at = 64 * MIB; at <= 128 * MIB; at += 16 * MIB) {
        pacer_start_cycle(&p.pacer, (struct pacer_heap){ .total = at });
        assert_int_equal(p.pacer.way.goal, at + way);
        pacer_revise(&p.pacer, (struct pacer_heap){ .total = at + way / 2 }, 0);
        assert_int_equal(p.pacer.assist, 0);
        pacer_revise(&p.pacer, (struct pacer_heap){ .total = at + way * 3 / 4 }, 0);
        assert_true(p.pacer.assist > 0);
    }
    pacer_start_cycle(&p.pacer, (struct pacer_heap){ .total = GIB });
    assert_true(p.pacer.way.goal < GIB + MIB);
}

/* After a poor cycle marking may be late, but by little once it has waited for its start. */
static void test_waiting_ends_the_lenience(void **state)
{
    struct program p = paying(MS / 1000);

    (void)state;
    grow(&p, 65 * MIB);
    assert_int_equal(p.pacer.stretch, 2);
    uint64_t waited = p.pacer.late_trigger - p.pacer.trigger;

    assert_true(waited > 64 * MIB);
    pacer_start_cycle(&p.pacer, (struct pacer_heap){ .total = p.pacer.trigger });
    assert_int_equal(p.pacer.way.goal, p.pacer.hard_goal);
    pacer_start_cycle(&p.pacer, (struct pacer_heap){ .total = p.pacer.late_trigger });
    assert_in_range(p.pacer.way.goal, p.pacer.goal + waited,
                    p.pacer.goal + waited + (p.pacer.hard_goal - p.pacer.goal) / 8);
}

/* Who has been told to start a cycle may ask again. */
static void test_answer_stands(void **state)
{
    struct program p = paying(MS / 1000);

    (void)state;
    p.knobs.heap_min = 256 * MIB;
    pacer_init(&p.pacer, &p.knobs);
    struct pacer_heap now = { .total = 300 * MIB };

    assert_false(pacer_weigh(&p.pacer, now, 0));
    assert_int_equal(pacer_late_trigger(&p.pacer), 512 * MIB);
    assert_true(pacer_weigh(&p.pacer, now, 10000 * MS));
    assert_true(pacer_weigh(&p.pacer, now, 0));
    assert_int_equal(pacer_late_trigger(&p.pacer), 256 * MIB);
    p.malloc_live = 300 * MIB;
    collect(&p);
    assert_int_equal(pacer_late_trigger(&p.pacer), p.pacer.trigger + GIB);
    assert_false(pacer_weigh(&p.pacer, (struct pacer_heap){ .total = p.pacer.trigger }, 0));
}

/* --- gc_alloc memory, as Go ------------------------------------------------ */

static void test_gc_goal_is_gos(void **state)
{
    struct program p = start(false, 100);

    (void)state;
    assert_int_equal(p.pacer.goal, 11 * MIB);   /* Go: 4 */
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
    assert_int_equal(p.pacer.goal, 22 * MIB);
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

/* Beside a malloc heap whose distance is stretched, gc_alloc garbage is still held to what a heap
 * of that size may have in Go; and it is not collected more often than there, either. */
static void test_gc_garbage_does_not_fill_mallocs_room(void **state)
{
    struct program p = start(true, 100);

    (void)state;
    p.gc_live = 10 * MIB;
    grow(&p, 400 * MIB);
    while (p.pacer.stretch < 8)
        collect(&p);
    assert_true(p.pacer.trigger > 8 * 400 * MIB);
    p.marked = p.allocated = 0;
    gc_churn(&p, 20 * GIB);
    assert_true(p.peak <= 2 * 410 * MIB);
    assert_true(p.marked <= p.allocated + p.allocated / 10);
}

/* A cycle that ends early knows nothing but that its yield would have been poor, and is told of as one that
 * found nothing; so a leak is found as late as after one of those, and no later. */
static void test_fruitless_is_what_would_yield_little(void **state)
{
    struct pacer_knobs knobs = start(true, 100).knobs;
    struct pacer_input input = { .malloc_live = 60 * MIB, .malloc_condemned = 4 * MIB };
    struct pacer pacer;

    (void)state;
    pacer_init(&pacer, &knobs);
    pacer_update(&pacer, &knobs, &input);
    assert_true(pacer.yields);
    assert_false(pacer_is_fruitless(64 * MIB, 60 * MIB));
    input.malloc_condemned = 3 * MIB;
    pacer_update(&pacer, &knobs, &input);
    assert_false(pacer.yields);
    assert_true(pacer_is_fruitless(63 * MIB, 60 * MIB));
    /* What was born meanwhile was reached, too. */
    assert_true(pacer_is_fruitless(63 * MIB, 70 * MIB));
    assert_false(pacer_is_fruitless(63 * MIB, 0));
}

/* What only condemned blocks reach is not garbage yet, and not a reason to collect. */
static void test_kept_gc_memory_counts_as_there(void **state)
{
    struct pacer_knobs knobs = start(true, 100).knobs;
    struct pacer_input input = { .gc_live = 10 * MIB, .kept = 50 * MIB, .gc_kept = 50 * MIB };
    struct pacer pacer;

    (void)state;
    pacer_init(&pacer, &knobs);
    pacer_update(&pacer, &knobs, &input);
    assert_int_equal(pacer.gc_goal, 70 * MIB);
    assert_in_range(pacer.gc_trigger, 67 * MIB, 70 * MIB);
}

/* --- triggers -------------------------------------------------------------- */

/* A cycle that started at the trigger, and while it did `work` so much was allocated. */
static void mark_once(struct pacer *pacer, const struct pacer_knobs *knobs, uint64_t live,
                      uint64_t came)
{
    struct pacer_heap at = { .total = pacer->gc_trigger, .gc = pacer->gc_trigger };
    struct pacer_input input = {
        .gc_live = live, .scan_work = live,
        .at_end = { .total = at.total + came, .gc = at.gc + came },
    };

    pacer_start_cycle(pacer, at);
    pacer_update(pacer, knobs, &input);
}

static void test_trigger_leaves_a_runway(void **state)
{
    struct pacer_knobs knobs = start(true, 100).knobs;
    struct pacer pacer;

    (void)state;
    pacer_init(&pacer, &knobs);
    mark_once(&pacer, &knobs, 100 * MIB, 15 * MIB);
    assert_int_equal(pacer.gc_goal, 200 * MIB);
    assert_in_range(pacer.gc_trigger, 185 * MIB - 64 * KIB, 185 * MIB + 64 * KIB);
    /* The worst of the last five counts, also for a heap of another size; then it is forgotten. */
    for (int i = 0; i < 4; i++) {
        mark_once(&pacer, &knobs, 200 * MIB, MIB);
        assert_in_range(pacer.gc_trigger, 370 * MIB - 64 * KIB, 370 * MIB + 64 * KIB);
    }
    mark_once(&pacer, &knobs, 200 * MIB, MIB);
    assert_int_equal(pacer.gc_trigger, 396 * MIB);      /* nearer makes no sense */
    mark_once(&pacer, &knobs, 200 * MIB, GIB);
    assert_in_range(pacer.gc_trigger, 362 * MIB, 363 * MIB);    /* nor farther */
    mark_once(&pacer, &knobs, 16 * MIB, 0);
    assert_int_equal(pacer.gc_goal, 43 * MIB);
    assert_in_range(pacer.gc_trigger, 37 * MIB, 38 * MIB);
}

/* A heap that becomes smaller keeps a little of its room for a while: 11 MiB at most, nothing that it
 * never had, and nothing that was past a goal. */
static void test_what_was_held_is_used_again(void **state)
{
    struct pacer_knobs knobs = start(false, 100).knobs;
    struct pacer pacer;

    (void)state;
    pacer_init(&pacer, &knobs);
    mark_once(&pacer, &knobs, 8 * MIB, 100 * MIB);      /* to a goal of 11 MiB */
    assert_int_equal(pacer.gc_goal, 16 * MIB);
    mark_once(&pacer, &knobs, MIB, 100 * MIB);
    assert_int_equal(pacer.gc_goal, 16 * MIB);
    for (int i = 0; i < 256; i++)
        mark_once(&pacer, &knobs, MIB, 0);
    assert_int_equal(pacer.gc_goal, 11 * MIB);
    mark_once(&pacer, &knobs, 30 * MIB, 100 * MIB);
    assert_int_equal(pacer.gc_goal, 60 * MIB);
    mark_once(&pacer, &knobs, MIB, 30 * MIB);
    assert_int_equal(pacer.gc_goal, 22 * MIB);
    knobs.percent = 0;
    pacer_retune(&pacer, &knobs);
    assert_int_equal(pacer.gc_goal, MIB);
}

static void test_assists_do_not_count_as_slowness(void **state)
{
    struct pacer_knobs knobs = start(true, 100).knobs;
    struct pacer_input input = {
        .gc_live = 100 * MIB, .scan_work = 100 * MIB, .worker_cpu_ns = 30000000,
        .assist_cpu_ns = 10000000, .mutator_cpu_ns = 20000000,
    };
    struct pacer pacer;

    (void)state;
    pacer_init(&pacer, &knobs);
    pacer_start_cycle(&pacer, (struct pacer_heap){ .total = 100 * MIB, .gc = 100 * MIB });
    input.at_end.gc = 107 * MIB;
    pacer_update(&pacer, &knobs, &input);
    /* Without, 30 ms of the program for 30 of the workers: 10.5 MiB for 75 MiB of work. */
    assert_in_range(pacer.gc_trigger, 186 * MIB - 128 * KIB, 186 * MIB + 128 * KIB);
}

/* Nor does waiting, or a program that waits for each cycle would start it ever later. */
static void test_naps_do_not_count_as_slowness(void **state)
{
    struct pacer_knobs knobs = start(true, 100).knobs;
    struct pacer_input input = {
        .gc_live = 100 * MIB, .scan_work = 100 * MIB, .worker_cpu_ns = 30000000,
        .napped_ns = 10000000, .mutator_cpu_ns = 20000000,
    };
    struct pacer pacer;

    (void)state;
    pacer_init(&pacer, &knobs);
    pacer_start_cycle(&pacer, (struct pacer_heap){ .total = 100 * MIB, .gc = 100 * MIB });
    input.at_end.gc = 110 * MIB;
    pacer_update(&pacer, &knobs, &input);
    /* 30 ms of the program: 15 MiB for 100 MiB of work. */
    assert_in_range(pacer.gc_trigger, 185 * MIB - 256 * KIB, 185 * MIB + 256 * KIB);
}

static void test_abandoned_cycle_changes_nothing(void **state)
{
    struct pacer_knobs knobs = start(true, 100).knobs;
    struct pacer pacer;

    (void)state;
    pacer_init(&pacer, &knobs);
    mark_once(&pacer, &knobs, 100 * MIB, 20 * MIB);
    struct pacer before = pacer;

    pacer_start_cycle(&pacer, (struct pacer_heap){ .total = 190 * MIB, .gc = 190 * MIB });
    pacer_revise(&pacer, (struct pacer_heap){ .total = 199 * MIB, .gc = 199 * MIB }, 0);
    assert_true(pacer.gc_assist > 0);
    pacer_abandon_cycle(&pacer);
    assert_int_equal(pacer.gc_assist, 0);
    pacer_retune(&pacer, &knobs);
    assert_int_equal(pacer.trigger, before.trigger);
    assert_int_equal(pacer.gc_trigger, before.gc_trigger);
    pacer_revise(&pacer, (struct pacer_heap){ .total = GIB, .gc = GIB }, 0);
    assert_int_equal(pacer.gc_assist, 0);
}

/* Go's arithmetic: work that remains by bytes that remain. */
static void test_assist_ratio(void **state)
{
    struct pacer_knobs knobs = start(true, 100).knobs;
    struct pacer pacer;

    (void)state;
    pacer_init(&pacer, &knobs);
    mark_once(&pacer, &knobs, 100 * MIB, 20 * MIB);
    pacer_start_cycle(&pacer, (struct pacer_heap){ .total = 180 * MIB, .gc = 180 * MIB });
    assert_int_equal(pacer.gc_assist, 0);
    struct pacer_heap now = { .total = 190 * MIB, .gc = 190 * MIB };

    pacer_revise(&pacer, now, 51 * MIB);
    assert_int_equal(pacer.gc_assist, 0);               /* ahead */
    pacer_revise(&pacer, now, 40 * MIB);
    assert_int_equal(pacer.gc_assist, 6 * PACER_RATIO_ONE);
    assert_int_equal(pacer.assist, 0);                  /* malloc's goal is farther */
    assert_int_equal(pacer_assist_work(pacer.gc_assist, 4096), 6 * 4096);
    assert_int_equal(pacer.gc_way.hard, 400 * MIB);
    /* Twice as much is live as was expected: the goal moves with it. */
    now.gc = now.total = 205 * MIB;
    pacer_revise(&pacer, now, 140 * MIB);
    assert_int_equal(pacer.gc_assist, 0);
    pacer_revise(&pacer, now, 101 * MIB);
    assert_in_range(pacer.gc_assist, 7 * PACER_RATIO_ONE, 8 * PACER_RATIO_ONE);
    now.gc = now.total = 4 * GIB;
    pacer_revise(&pacer, now, 140 * MIB);
    assert_int_equal(pacer.gc_assist, 64 * PACER_RATIO_ONE);
    pacer_revise(&pacer, now, 8 * GIB);                 /* rescans: it is not over yet */
    assert_int_equal(pacer.gc_assist, 64 * PACER_RATIO_ONE);
}

/* Malloc memory pays nothing for the first half of its way, however late marking is. */
static void test_malloc_has_half_of_the_way_free(void **state)
{
    struct pacer_knobs knobs = start(true, 100).knobs;
    struct pacer_input input = {
        .malloc_live = 200 * MIB, .malloc_condemned = 100 * MIB, .kept = 100 * MIB,
    };
    struct pacer pacer;

    (void)state;
    pacer_init(&pacer, &knobs);
    pacer_update(&pacer, &knobs, &input);
    assert_int_equal(pacer.goal, 500 * MIB);
    pacer_start_cycle(&pacer, (struct pacer_heap){ .total = 440 * MIB });
    /* 300 MiB of work when there were 300 to trace; 100 of the 440 are condemned. */
    assert_int_equal(pacer.expected_work, 240 * MIB);
    pacer_revise(&pacer, (struct pacer_heap){ .total = 469 * MIB }, 0);
    assert_int_equal(pacer.assist, 0);
    pacer_revise(&pacer, (struct pacer_heap){ .total = 480 * MIB }, 0);
    assert_int_equal(pacer.assist, 12 * PACER_RATIO_ONE);
    pacer_revise(&pacer, (struct pacer_heap){ .total = 480 * MIB }, 200 * MIB);
    assert_int_equal(pacer.assist, 0);
}

/* One large block took the heap beyond the goal before the cycle began. */
static void test_start_beyond_the_goal(void **state)
{
    struct pacer_knobs knobs = start(true, 100).knobs;
    struct pacer pacer;

    (void)state;
    pacer_init(&pacer, &knobs);
    mark_once(&pacer, &knobs, 100 * MIB, 20 * MIB);
    pacer_start_cycle(&pacer, (struct pacer_heap){ .total = GIB, .gc = GIB });
    assert_int_equal(pacer.gc_assist, 0);
    pacer_revise(&pacer, (struct pacer_heap){ .total = GIB + 48 * KIB, .gc = GIB + 48 * KIB }, 0);
    assert_true(pacer.gc_assist > 0);
    pacer_revise(&pacer, (struct pacer_heap){ .total = GIB + 32 * KIB, .gc = GIB + 32 * KIB },
                 pacer.expected_work * 3 / 4);
    assert_int_equal(pacer.gc_assist, 0);
}

static void test_workers_are_a_quarter(void **state)
{
    static const unsigned char workers[] = { 1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4 };

    (void)state;
    for (unsigned cpus = 0; cpus < sizeof workers; cpus++)
        assert_int_equal(pacer_workers(cpus), workers[cpus]);
    assert_int_equal(pacer_workers(256), 64);
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
        assert_false(p.pacer.cramped);
    }
}

/* What is no object counts as growth, gc_alloc's share of it, up to a quarter of the distance; a small heap
 * pays nothing. */
static void test_overhead_is_growth(void **state)
{
    struct program p = start(false, 100);

    (void)state;
    p.gc_live = 40 * MIB;
    p.overhead = 2 * MIB;
    collect(&p);
    assert_int_equal(p.pacer.gc_goal, 78 * MIB);
    p.overhead = 30 * MIB;
    collect(&p);
    assert_int_equal(p.pacer.gc_goal, 70 * MIB);
    p.gc_live = 20 * MIB;
    p.pacer.gc_held = 0;
    collect(&p);
    assert_int_equal(p.pacer.gc_goal, 20 * MIB + 33 * MIB / 2);
    p.gc_live = 12 * MIB;
    p.pacer.gc_held = 0;
    collect(&p);
    assert_int_equal(p.pacer.gc_goal, 24 * MIB);
}

/* As in Go, where malloc garbage is not concerned: 5 % of the room stay free, or 1 MiB. */
static void test_limit_leaves_headroom(void **state)
{
    struct program p = start(false, -1);

    (void)state;
    p.knobs.memory_limit = (int64_t)(1100 * MIB);
    p.gc_live = 10 * MIB;
    p.overhead = 100 * MIB;
    collect(&p);
    assert_int_equal(p.pacer.goal, 950 * MIB);
    assert_int_equal(p.pacer.hard_goal, 1000 * MIB);
    assert_int_equal(p.pacer.gc_trigger, UINT64_MAX);
    p.knobs.memory_limit = (int64_t)(120 * MIB);
    pacer_retune(&p.pacer, &p.knobs);
    assert_int_equal(p.pacer.goal, 19 * MIB);
    p.knobs.percent = 50;
    pacer_retune(&p.pacer, &p.knobs);
    assert_int_equal(p.pacer.goal, 15 * MIB);           /* the lower of the two */
    assert_int_equal(p.pacer.hard_goal, 20 * MIB);
}

/* Live above the limit: little is allocated between two cycles, for as long as the limiter allows
 * that; then as if there were no limit. */
static void test_limit_below_live(void **state)
{
    struct program p = start(true, 100);

    (void)state;
    p.knobs.memory_limit = (int64_t)(100 * MIB);
    pacer_init(&p.pacer, &p.knobs);
    grow(&p, 400 * MIB);
    uint64_t cycles = p.cycles;

    leak(&p, GIB);
    assert_in_range(p.cycles - cycles, 70, 100);        /* about one in a 32nd of what is live */
    assert_true(p.pacer.cramped);
    assert_true(p.peak <= 400 * MIB + 26 * MIB);        /* garbage is there for two of them */
    struct program same = p;

    same.knobs.memory_limit = INT64_MAX;
    pacer_retune(&same.pacer, &same.knobs);
    assert_true(same.pacer.trigger >= 600 * MIB);
    assert_true(pacer_trigger(&p.pacer) <= 426 * MIB);
    p.pacer.limiting = true;
    assert_int_equal(pacer_trigger(&p.pacer), same.pacer.trigger);
    /* And nobody assists for the limit's sake. */
    p.pacer.stretch = 1;
    pacer_start_cycle(&p.pacer, (struct pacer_heap){ .total = 425 * MIB });
    pacer_revise(&p.pacer, (struct pacer_heap){ .total = 440 * MIB }, 0);
    assert_int_equal(p.pacer.assist, 0);
    p.pacer.limiting = false;
    pacer_revise(&p.pacer, (struct pacer_heap){ .total = 440 * MIB }, 0);
    assert_true(p.pacer.assist > 0);
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
    pacer_start_cycle(&p.pacer, (struct pacer_heap){ .total = UINT64_MAX - 1, .gc = 1 });
    for (uint64_t at = 1; at != 0; at <<= 1)
        pacer_revise(&p.pacer, (struct pacer_heap){ .total = UINT64_MAX, .gc = at }, ~at);
    collect(&p);
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
        cmocka_unit_test(test_growth_costs_little),
        cmocka_unit_test(test_cycle_waits_for_its_price),
        cmocka_unit_test(test_fast_growth_pays_once),
        cmocka_unit_test(test_patience_of_large_heaps),
        cmocka_unit_test(test_unknown_yield_doubles_at_most),
        cmocka_unit_test(test_yield_ends_the_waiting),
        cmocka_unit_test(test_late_fast_leak),
        cmocka_unit_test(test_gc_memory_never_waits),
        cmocka_unit_test(test_limit_does_not_wait),
        cmocka_unit_test(test_waiting_moves_the_goal),
        cmocka_unit_test(test_waiting_ends_the_lenience),
        cmocka_unit_test(test_answer_stands),
        cmocka_unit_test(test_gc_goal_is_gos),
        cmocka_unit_test(test_gc_churn_costs_as_much_as_it_allocates),
        cmocka_unit_test(test_gc_garbage_does_not_fill_mallocs_room),
        cmocka_unit_test(test_fruitless_is_what_would_yield_little),
        cmocka_unit_test(test_kept_gc_memory_counts_as_there),
        cmocka_unit_test(test_trigger_leaves_a_runway),
        cmocka_unit_test(test_what_was_held_is_used_again),
        cmocka_unit_test(test_assists_do_not_count_as_slowness),
        cmocka_unit_test(test_naps_do_not_count_as_slowness),
        cmocka_unit_test(test_abandoned_cycle_changes_nothing),
        cmocka_unit_test(test_assist_ratio),
        cmocka_unit_test(test_malloc_has_half_of_the_way_free),
        cmocka_unit_test(test_start_beyond_the_goal),
        cmocka_unit_test(test_workers_are_a_quarter),
        cmocka_unit_test(test_limit_is_kept_when_it_can_be),
        cmocka_unit_test(test_overhead_is_growth),
        cmocka_unit_test(test_limit_leaves_headroom),
        cmocka_unit_test(test_limit_below_live),
        cmocka_unit_test(test_no_overflow),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
