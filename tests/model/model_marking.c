/* model_marking.c -- the pacer and the limiter against simulated programs that run while marking
 * goes on: a model of time, no heap, no clock
 *
 * Time passes in ticks.  In each, mark workers scan at mark_rate, and the program's threads, on
 * the processors that are left, allocate at alloc_rate and assist as they are told.  What
 * is allocated while marking survives the cycle.  malloc garbage is condemned by
 * one cycle and freed by the next (the two-cycle rule).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/bits.h"
#include "gc/limiter.h"
#include "gc/pacer.h"

#define SECOND 1e9

/* What the program has lost. */
struct lost {
    uint64_t before, during;    /* the running cycle's start, if one is running */
};

struct sim {
    /* The machine and the program; set by the test. */
    struct pacer_knobs knobs;
    unsigned cpus, threads;
    bool stops;                 /* marks with the world stopped, on all processors */
    double tick;                /* ns */
    double alloc_rate, mark_rate;   /* bytes per ns of processor time */
    double noise;               /* alloc_rate varies up to so many times, up and down */
    double gc_share;            /* of what is allocated */
    double leak;                /* of malloc memory that is not for growth: the rest is freed */
    uint64_t malloc_target, gc_target;  /* live memory the program wants to have */
    uint64_t roots, overhead;

    struct pacer pacer;
    struct limiter limiter;
    uint64_t random;
    uint64_t malloc_live, gc_live, condemned;
    struct lost malloc_lost, gc_lost;

    bool marking;
    uint64_t work, scanned;     /* of this cycle */
    double worker_ns, assist_ns, mutator_ns;
    uint64_t goal, hard, gc_goal, gc_hard;  /* when it started */

    /* What it cost. */
    double now, gc_ns, program_ns, assist_total;
    uint64_t cycles, allocated, peak, gc_peak, marked;
    uint64_t end, gc_end;       /* heap at the end of the last marking */
    double worst_end, least_end;        /* that by its goal, since the last forget() */
    double gc_worst_end, gc_least_end;
    double worst_hard, gc_worst_hard;   /* that by its hard goal */
};

static uint64_t heap(const struct sim *s)
{
    return s->malloc_live + s->condemned + s->malloc_lost.before + s->malloc_lost.during +
           s->gc_live + s->gc_lost.before + s->gc_lost.during;
}

static uint64_t gc_heap(const struct sim *s)
{
    return s->gc_live + s->gc_lost.before + s->gc_lost.during;
}

static struct pacer_heap heaps(const struct sim *s)
{
    return (struct pacer_heap){ .total = heap(s), .gc = gc_heap(s) };
}

/* Starts measuring anew. */
static void forget(struct sim *s)
{
    s->cycles = s->allocated = s->marked = s->peak = s->gc_peak = 0;
    s->now = s->gc_ns = s->assist_total = 0;
    s->worst_end = s->gc_worst_end = s->worst_hard = s->gc_worst_hard = 0;
    s->least_end = s->gc_least_end = 1e9;
    s->program_ns = 0;
    limiter_init(&s->limiter, s->cpus, (struct limiter_times){ 0 });
}

static void begin(struct sim *s)
{
    s->random = 88172645463325252u;
    pacer_init(&s->pacer, &s->knobs);
    forget(s);
}

/* One thread on two processors: it allocates 500 MB/s, marking does 1 GB/s. */
static struct sim usual(void)
{
    return (struct sim){
        .knobs = { .percent = 100, .memory_limit = INT64_MAX, .heap_min = 64 * MIB,
                   .malloc_collected = true },
        .cpus = 2, .threads = 1, .tick = 20e3, .alloc_rate = 0.5, .mark_rate = 1,
    };
}

static struct sim go_program(void)
{
    struct sim s = usual();

    s.gc_share = 1;
    s.gc_target = 100 * MIB;
    return s;
}

static struct sim leaking(void)
{
    struct sim s = usual();

    s.malloc_target = 200 * MIB;
    s.leak = 1;
    return s;
}

/* --- the collector ----------------------------------------------------------- */

static double ratio(uint64_t a, uint64_t b)
{
    return b == UINT64_MAX ? 0 : (double)a / (double)b;
}

static void advance_limiter(struct sim *s)
{
    uint64_t gc_ns = (uint64_t)s->gc_ns;

    limiter_advance(&s->limiter, (struct limiter_times){ (uint64_t)s->now,
                                                         (uint64_t)s->program_ns + gc_ns, gc_ns },
                    !s->pacer.cramped);
    s->pacer.limiting = limiter_limiting(&s->limiter);
}

static void start_cycle(struct sim *s)
{
    s->marking = true;
    s->scanned = 0;
    s->work = s->malloc_live + s->gc_live + s->malloc_lost.before + s->roots;
    s->worker_ns = s->assist_ns = s->mutator_ns = 0;
    if (!s->stops)
        pacer_start_cycle(&s->pacer, heaps(s));
    s->goal = s->pacer.limiting ? s->pacer.free_goal : s->pacer.goal;
    s->hard = s->pacer.way.hard;
    s->gc_goal = s->pacer.gc_goal;
    s->gc_hard = s->pacer.gc_way.hard;
}

static void note_end(struct sim *s)
{
    s->cycles++;
    s->marked += s->scanned;
    s->end = heap(s);
    s->gc_end = gc_heap(s);
    double end = ratio(s->end, s->goal), gc_end = ratio(s->gc_end, s->gc_goal);

    s->worst_end = end > s->worst_end ? end : s->worst_end;
    s->least_end = end < s->least_end ? end : s->least_end;
    s->gc_worst_end = gc_end > s->gc_worst_end ? gc_end : s->gc_worst_end;
    s->gc_least_end = gc_end < s->gc_least_end ? gc_end : s->gc_least_end;
    double hard = ratio(s->end, s->hard), gc_hard = ratio(s->gc_end, s->gc_hard);

    s->worst_hard = hard > s->worst_hard ? hard : s->worst_hard;
    s->gc_worst_hard = gc_hard > s->gc_worst_hard ? gc_hard : s->gc_worst_hard;
}

static void end_cycle(struct sim *s)
{
    struct pacer_input input = {
        .malloc_live = s->malloc_live + s->malloc_lost.during,
        .gc_live = s->gc_live + s->gc_lost.during,
        .kept = s->malloc_lost.before, .roots = s->roots, .overhead = s->overhead,
        .malloc_condemned = s->malloc_lost.before, .malloc_reclaimed = s->condemned,
        .at_end = heaps(s), .scan_work = s->scanned,
        .worker_cpu_ns = (uint64_t)s->worker_ns, .assist_cpu_ns = (uint64_t)s->assist_ns,
        .mutator_cpu_ns = (uint64_t)s->mutator_ns,
    };

    note_end(s);
    s->condemned = s->malloc_lost.before;
    s->malloc_lost = (struct lost){ .before = s->malloc_lost.during };
    s->gc_lost = (struct lost){ .before = s->gc_lost.during };
    s->marking = false;
    pacer_update(&s->pacer, &s->knobs, &input);
    advance_limiter(s);
}

static void collector_tick(struct sim *s)
{
    if (s->marking && s->scanned >= s->work)
        end_cycle(s);
    if (s->marking)
        return;
    advance_limiter(s);
    if (heap(s) >= pacer_trigger(&s->pacer) ||
        gc_heap(s) >= s->pacer.gc_trigger)
        start_cycle(s);
}

/* --- the program ---------------------------------------------------------------- */

static void lose(struct sim *s, struct lost *lost, uint64_t bytes)
{
    *(s->marking ? &lost->during : &lost->before) += bytes;
}

static void allocate_malloc(struct sim *s, uint64_t bytes)
{
    if (s->malloc_live > s->malloc_target)
        s->malloc_live = s->malloc_target;  /* freed */
    if (s->malloc_live < s->malloc_target)
        s->malloc_live += bytes;
    else
        lose(s, &s->malloc_lost, (uint64_t)((double)bytes * s->leak));
}

static void allocate_gc(struct sim *s, uint64_t bytes)
{
    if (s->gc_live > s->gc_target + bytes) {
        lose(s, &s->gc_lost, s->gc_live - s->gc_target);
        s->gc_live = s->gc_target;
    }
    if (s->gc_live < s->gc_target)
        s->gc_live += bytes;
    else
        lose(s, &s->gc_lost, bytes);
}

static double noisy(struct sim *s)
{
    s->random ^= s->random << 13;
    s->random ^= s->random >> 7;
    s->random ^= s->random << 17;
    double part = (double)(s->random >> 11) / 9007199254740992.0;

    return s->noise == 0 ? 1 : 1 / s->noise + part * (s->noise - 1 / s->noise);
}

/* The program has so much processor time. */
static void run_program(struct sim *s, double ns)
{
    uint64_t assist = s->pacer.assist, gc_assist = s->pacer.gc_assist;
    double each = ((double)assist * (1 - s->gc_share) + (double)gc_assist * s->gc_share) /
                  PACER_RATIO_ONE;
    double bytes = ns / (1 / (s->alloc_rate * noisy(s)) + each / s->mark_rate);
    uint64_t gc = (uint64_t)(bytes * s->gc_share), plain = (uint64_t)bytes - gc;
    uint64_t paid = pacer_assist_work(assist, plain) + pacer_assist_work(gc_assist, gc);
    double paid_ns = (double)paid / s->mark_rate;

    allocate_malloc(s, plain);
    allocate_gc(s, gc);
    s->allocated += (uint64_t)bytes;
    s->scanned += paid;
    s->assist_ns += paid_ns;
    s->assist_total += paid_ns;
    s->gc_ns += paid_ns;
    s->mutator_ns += ns - paid_ns;
    s->program_ns += ns - paid_ns;
}

static double smaller(double a, double b)
{
    return a < b ? a : b;
}

static void tick(struct sim *s)
{
    double cpus = s->cpus, markers = 0;

    if (s->marking)
        markers = s->stops ? cpus : s->cpus == 1 ? 0.5 : pacer_workers(s->cpus);
    double idle = cpus - markers;

    s->scanned += (uint64_t)(markers * s->tick * s->mark_rate);
    s->worker_ns += markers * s->tick;
    s->gc_ns += markers * s->tick;
    run_program(s, smaller(idle, s->threads) * s->tick);
    s->now += s->tick;
    s->peak = heap(s) > s->peak ? heap(s) : s->peak;
    s->gc_peak = gc_heap(s) > s->gc_peak ? gc_heap(s) : s->gc_peak;
    if (s->marking && !s->stops)
        pacer_revise(&s->pacer, heaps(s), s->scanned);
    collector_tick(s);
}

static void run_seconds(struct sim *s, double seconds)
{
    for (double end = s->now + seconds * SECOND; s->now < end;)
        tick(s);
}

static void run_cycles(struct sim *s, uint64_t cycles)
{
    uint64_t end = s->cycles + cycles;

    for (double limit = s->now + 3600 * SECOND; s->cycles < end; tick(s))
        assert_true(s->now < limit);
}

/* Share of all processor time. */
static double gc_part(const struct sim *s)
{
    return s->gc_ns / (s->now * s->cpus);
}

static void show(const char *name, const struct sim *s)
{
    print_message("  %-28s %4lu cycles, %5.1f %% cpu, %5.2f %% assists, end/goal %.3f..%.3f"
                  " gc %.3f..%.3f, peak %lu MiB\n", name, (unsigned long)s->cycles,
                  100 * gc_part(s), 100 * s->assist_total / (s->now * s->cpus), s->least_end,
                  s->worst_end, s->gc_least_end, s->gc_worst_end, (unsigned long)(s->peak / MIB));
}

/* --- gc_alloc memory at Go's pace ------------------------------------------------- */

/* Marking ends at the goal, on any machine, and by the workers alone when they can. */
static void test_steady_gc_program_ends_at_the_goal(void **state)
{
    static const unsigned cpus[] = { 1, 2, 4, 8, 16, 64 };

    (void)state;
    for (size_t i = 0; i < sizeof cpus / sizeof cpus[0]; i++) {
        struct sim s = go_program();
        s.cpus = cpus[i];
        s.threads = (cpus[i] + 3) / 4;
        s.alloc_rate = 0.2;
        begin(&s);
        run_cycles(&s, 10);
        assert_int_equal(s.gc_live / MIB, 100);
        forget(&s);
        run_cycles(&s, 50);
        show("steady gc", &s);
        assert_true(s.gc_worst_end <= 1.05 && s.gc_least_end >= 0.95);
        assert_true(s.assist_total <= s.gc_ns / 50);
        assert_true(s.marked <= s.allocated + s.allocated / 4);
    }
}

static void test_first_cycles_of_each_kind(void **state)
{
    (void)state;
    for (int gc = 0; gc < 2; gc++) {
        struct sim s = usual();
        s.tick = 1e3;
        s.gc_share = gc;
        s.leak = 1;
        begin(&s);
        while (!s.marking)
            tick(&s);
        uint64_t first = heap(&s);

        assert_in_range(first, gc ? 11 * MIB * 8 / 10 : 64 * MIB, (gc ? 11 : 65) * MIB);
    }
}

/* An allocator faster than marking pays, and stays below the goal it may extend. */
static void test_fast_gc_allocator_is_held(void **state)
{
    (void)state;
    for (double rate = 1; rate <= 64; rate *= 4) {
        struct sim s = go_program();
        s.cpus = s.threads = 8;
        s.alloc_rate = rate;
        s.tick = 5e3;
        begin(&s);
        run_cycles(&s, 30);
        show("fast gc", &s);
        assert_true(s.gc_worst_hard <= 1.05);
        forget(&s);
        run_cycles(&s, 30);
        show("fast gc, steady", &s);
        assert_true(s.gc_worst_end <= 1.10);
        assert_true(s.assist_total > 0);
    }
}

/* The live heap grows by half of all that is allocated, as long as it lasts. */
static void test_ramp(void **state)
{
    struct sim s = go_program();

    (void)state;
    s.cpus = 4;
    s.gc_target = 8 * MIB;
    begin(&s);
    run_cycles(&s, 10);
    forget(&s);
    while (s.gc_target < 4 * GIB) {
        s.gc_target = 8 * MIB + s.allocated / 2;
        tick(&s);
    }
    show("ramp", &s);
    assert_true(s.gc_worst_hard <= 1.02);
    assert_true(s.cycles >= 5 && s.cycles <= 20);   /* 2^9 */
}

/* What is live becomes four times as much in the middle of a cycle. */
static void test_spike(void **state)
{
    struct sim s = go_program();

    (void)state;
    s.cpus = s.threads = 4;
    s.alloc_rate = 8;
    begin(&s);
    run_cycles(&s, 10);
    forget(&s);
    while (!s.marking)
        tick(&s);
    s.gc_target = 400 * MIB;
    run_cycles(&s, 1);
    show("spike", &s);
    assert_true(s.gc_worst_hard <= 1.0);
    run_cycles(&s, 10);
    assert_int_equal(s.gc_live / MIB, 400);
    forget(&s);
    run_cycles(&s, 10);
    show("after spike", &s);
    assert_true(s.gc_worst_end <= 1.05 && s.gc_least_end >= 0.95);
}

static void test_shrinking(void **state)
{
    struct sim s = go_program();

    (void)state;
    s.gc_target = 2 * GIB;
    begin(&s);
    run_cycles(&s, 20);
    s.gc_target = 10 * MIB;
    run_cycles(&s, 3);
    assert_in_range(s.pacer.gc_goal, 20 * MIB, 51 * MIB);
    forget(&s);
    run_cycles(&s, 10);
    show("shrunk", &s);
    /* What comes while marking counts as live; and 11 MiB of what was held are used again. */
    assert_true(s.gc_peak <= 41 * MIB);
}

static void test_noisy_program(void **state)
{
    struct sim s = go_program();

    (void)state;
    s.cpus = 4;
    s.noise = 3;
    s.tick = 2e6;
    begin(&s);
    run_cycles(&s, 20);
    forget(&s);
    run_cycles(&s, 200);
    show("noise", &s);
    assert_true(s.gc_worst_end <= 1.10 && s.gc_worst_hard <= 1);
}

static void test_percent_changes_at_run_time(void **state)
{
    static const int64_t percents[] = { 100, 50, 400, 25, -1, 100 };
    struct sim s = go_program();

    (void)state;
    s.alloc_rate = 0.05;
    begin(&s);
    run_cycles(&s, 10);
    for (size_t i = 0; i < sizeof percents / sizeof percents[0]; i++) {
        while (!s.marking)
            tick(&s);
        s.knobs.percent = percents[i];
        pacer_retune(&s.pacer, &s.knobs);
        if (percents[i] < 0) {
            run_cycles(&s, 1);
            forget(&s);
            run_seconds(&s, 20);
            assert_int_equal(s.cycles, 0);
            s.knobs.percent = 100;
            pacer_retune(&s.pacer, &s.knobs);
            tick(&s);
            assert_true(s.marking);
            continue;
        }
        run_cycles(&s, 5);
        forget(&s);
        run_cycles(&s, 5);
        show("GOGC", &s);
        double goal = 100.0 * MIB * (1 + (double)percents[i] / 100);

        assert_true((double)s.gc_end <= 1.25 * goal && (double)s.gc_end >= 0.95 * goal);
    }
}

/* A smaller percentage in the middle of a cycle counts for that cycle: it is helped. */
static void test_percent_changes_while_marking(void **state)
{
    struct sim s = go_program();

    (void)state;
    s.knobs.percent = 400;
    begin(&s);
    run_cycles(&s, 10);
    while (!s.marking)
        tick(&s);
    tick(&s);
    assert_int_equal(s.pacer.gc_assist, 0);
    s.knobs.percent = 50;
    pacer_retune(&s.pacer, &s.knobs);
    tick(&s);
    assert_true(s.pacer.gc_assist > 0);
    run_cycles(&s, 1);
    assert_int_equal(s.pacer.gc_assist, 0);
}

/* --- malloc memory ------------------------------------------------------------------- */

static void test_program_that_frees_everything(void **state)
{
    static const uint64_t lives[] = { MIB, 60 * MIB, 500 * MIB, 4 * GIB };

    (void)state;
    for (size_t i = 0; i < sizeof lives / sizeof lives[0]; i++) {
        struct sim s = usual();
        s.malloc_target = lives[i];
        s.alloc_rate = 4;
        begin(&s);
        run_seconds(&s, 60);
        show("frees everything", &s);
        assert_true(s.cycles <= 7);     /* while it grew */
        assert_true(s.cycles == 0 || lives[i] > 64 * MIB);
        assert_true(gc_part(&s) < 0.10);
        forget(&s);
        run_seconds(&s, 60);
        assert_true(s.cycles <= 1 && s.assist_total == 0);
    }
}

/* Grows from nothing and loses nothing. */
static void test_growth_without_garbage(void **state)
{
    struct sim s = usual();

    (void)state;
    s.malloc_target = 16 * GIB;
    s.alloc_rate = 1;
    s.cpus = 4;
    begin(&s);
    while (s.malloc_live < s.malloc_target)
        tick(&s);
    show("growth", &s);
    assert_true(s.cycles <= 7);
    assert_true(s.assist_total <= s.now / 50);
    assert_true(s.worst_hard <= 1);
}

/* Nothing is ever freed: the heap ends its cycles at the goal, for leaks slow and fast. */
static void test_leaks_end_at_the_goal(void **state)
{
    (void)state;
    for (double rate = 0.05; rate <= 0.8; rate *= 2) {
        struct sim s = leaking();
        s.cpus = 4;
        s.alloc_rate = rate;
        begin(&s);
        run_cycles(&s, 12);
        forget(&s);
        run_cycles(&s, 40);
        show("leak", &s);
        assert_true(s.worst_end <= 1.05 && s.least_end >= 0.95);
        assert_true(s.peak <= 5 * 200 * MIB);
    }
}

static void test_fast_leak_is_held(void **state)
{
    (void)state;
    for (double rate = 1; rate <= 64; rate *= 4) {
        struct sim s = leaking();
        s.cpus = s.threads = 8;
        s.alloc_rate = rate;
        s.tick = 5e3;
        begin(&s);
        run_cycles(&s, 40);
        show("fast leak", &s);
        assert_true(s.worst_hard <= 1.1);
        forget(&s);
        run_cycles(&s, 20);
        show("fast leak, later", &s);
        assert_true(s.worst_end <= 1.15);
    }
}

/* A tenth of what is allocated is lost, by a program that allocates fast: no tax for that. */
static void test_slow_leak_is_not_taxed(void **state)
{
    struct sim s = leaking();

    (void)state;
    s.leak = 0.1;
    s.alloc_rate = 2;
    begin(&s);
    run_seconds(&s, 60);
    show("slow leak", &s);
    assert_true(s.assist_total <= s.now / 40);
    assert_true(gc_part(&s) <= 0.20);
    assert_true(s.peak <= 10 * 200 * MIB);
}

/* A malloc heap that is left alone beside gc_alloc garbage, and the other way round. */
static void test_mixed(void **state)
{
    (void)state;
    for (int i = 0; i <= 4; i++) {
        struct sim s = usual();
        s.cpus = 4;
        s.gc_share = i * 0.25;
        s.malloc_target = 300 * MIB;
        s.gc_target = i == 0 ? 0 : 100 * MIB;
        s.leak = 0.5;
        s.malloc_live = s.gc_share == 1 ? s.malloc_target : 0;
        begin(&s);
        run_cycles(&s, 20);
        forget(&s);
        run_cycles(&s, 40);
        show("mixed", &s);
        assert_true(s.worst_end <= 1.05 && s.gc_worst_end <= 1.05);
        assert_true(s.peak <= 4 * 400 * MIB);
        assert_true(s.marked <= 3 * s.allocated);
    }
}

/* --- the memory limit ------------------------------------------------------------------ */

static void test_limit_holds_when_live_fits(void **state)
{
    (void)state;
    for (int i = 0; i < 16; i++) {
        bool off = i & 1, gc = i & 2, fast = i & 4, tight = i & 8;
        struct sim s = gc ? go_program() : leaking();
        s.knobs.percent = off ? -1 : 100;
        s.knobs.memory_limit = (int64_t)(tight ? 130 * MIB : 180 * MIB);
        s.overhead = 10 * MIB;
        s.malloc_target = gc ? 0 : 100 * MIB;
        s.cpus = 4;
        s.alloc_rate = fast ? 1 : 0.1;
        s.tick = 2e3;
        begin(&s);
        run_cycles(&s, 40);
        show("limit", &s);
        if (!tight || !fast)
            assert_true(s.peak + s.overhead <= (uint64_t)s.knobs.memory_limit);
        forget(&s);
        run_cycles(&s, 5);
        assert_true(s.peak >= 100 * MIB);
    }
}

/* Live memory does not fit: half of the time is the program's, whatever marks, and of what the
 * process uses, too, idle processors or not. */
static void test_limit_below_live_is_no_death_spiral(void **state)
{
    (void)state;
    for (int i = 0; i < 12; i++) {
        struct sim s = i & 1 ? go_program() : leaking();
        s.knobs.memory_limit = (int64_t)(50 * MIB);
        s.cpus = 1u << (i >> 2);
        s.threads = i & 1 ? s.cpus : 1;
        s.stops = i & 2;
        s.alloc_rate = 0.1;
        s.tick = 200e3;
        begin(&s);
        run_seconds(&s, 10);
        forget(&s);
        /* The bucket was full once: what is measured begins with an empty one. */
        run_seconds(&s, 60);
        show("no room", &s);
        assert_true(gc_part(&s) <= 0.5 + 2.0 / 60);
        assert_true((double)s.allocated >= 0.4 * 0.1 * s.now);
        assert_true(s.gc_ns <= s.program_ns + 2.0 * s.cpus * SECOND);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_steady_gc_program_ends_at_the_goal),
        cmocka_unit_test(test_first_cycles_of_each_kind),
        cmocka_unit_test(test_fast_gc_allocator_is_held),
        cmocka_unit_test(test_ramp),
        cmocka_unit_test(test_spike),
        cmocka_unit_test(test_shrinking),
        cmocka_unit_test(test_noisy_program),
        cmocka_unit_test(test_percent_changes_at_run_time),
        cmocka_unit_test(test_percent_changes_while_marking),
        cmocka_unit_test(test_program_that_frees_everything),
        cmocka_unit_test(test_growth_without_garbage),
        cmocka_unit_test(test_leaks_end_at_the_goal),
        cmocka_unit_test(test_fast_leak_is_held),
        cmocka_unit_test(test_slow_leak_is_not_taxed),
        cmocka_unit_test(test_mixed),
        cmocka_unit_test(test_limit_holds_when_live_fits),
        cmocka_unit_test(test_limit_below_live_is_no_death_spiral),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
