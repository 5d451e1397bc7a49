/* sweep.c -- see sweep.h */
#include "gc/sweep.h"

#include <string.h>

#include "base/check.h"
#include "base/options.h"
#include "base/park.h"
#include "gc/cycle.h"
#include "heap/ceded.h"
#include "heap/ready.h"
#include "heap/pages.h"

enum {
    FIRST_GENERATION = 2,
    SPINS = 200,                /* looks at a span that somebody else sweeps, without a system call */
    POISON = 0xdb,
};

AT_START uint32_t sweep_generation = FIRST_GENERATION;

/* The way through the span table.  Reset with the world stopped. */
static struct {
    uint32_t cursor;            /* atomic: ids below it are taken */
    uint32_t completed;         /* atomic: so many of them are dealt with */
    uint32_t limit;             /* atomic: number of ids */
    uint32_t done_generation;   /* atomic: the sweep of this generation is over */
    bool spare_malloc;          /* no malloc block is condemned, and none that was is any more */
    bool spare_all;             /* and nothing is dead: see sweep_begin_stopped */
} table = { .done_generation = FIRST_GENERATION, .spare_malloc = true };

/* Atomic, relaxed: statistics. */
static struct sweep_totals ever;
/* `ever` at the last sweep_begin_stopped; written with the world stopped. */
static struct sweep_totals before;

struct found {
    uint32_t dead, condemned;   /* slots */
};

static COLD void poison_slots(const struct span *span, uint32_t word, uint64_t slots)
{
    for (; slots != 0; slots &= slots - 1)
        memset((void *)span_slot_address(span, word * 64 + lowest_bit(slots)), POISON,
               span->slot_bytes);
}

/* Slots of one word are the program's no more. */
static void take_back(struct span *span, uint32_t word, uint64_t slots)
{
    if (UNLIKELY(options.poison))
        poison_slots(span, word, slots);
    if (slots == UINT64_MAX) {
        memset(span->slot_state + word * 64, SLOT_IN, 64);
        return;
    }
    for (; slots != 0; slots &= slots - 1)
        store_relaxed(&span->slot_state[word * 64 + lowest_bit(slots)], SLOT_IN);
}

/* Returns the slots that were in that state.  One that the program has just freed the fast way (its
 * pointer was in flight) is in a magazine, and left as it is.
 *
 * If it has been handed out again as well it looks like the block that it was, and is condemned at birth.
 * That costs it one of its two cycles of grace, no more: the next cycle marks it if it is where the program
 * can find it at any time while that cycle marks, and a marked one is condemned no more.  So it is lost only
 * if it is in flight itself, all through the next cycle.  To tell the two apart each malloc would have to
 * say when it was, or each free go the slow way until its span is swept. */
static uint64_t change_state(struct span *span, uint32_t word, uint64_t slots, uint8_t from,
                             uint8_t to)
{
    uint64_t changed = 0;

    for (; slots != 0; slots &= slots - 1) {
        uint8_t expected = from;
        if (cas_acq_rel(&span->slot_state[word * 64 + lowest_bit(slots)], &expected, to))
            changed |= slots & -slots;
    }
    return changed;
}

/* What becomes of the slots of one word; see sweep.h. */
struct verdict {
    uint64_t alloc, condemned;  /* afterwards */
    uint64_t dead;
};

/* Malloc blocks in mode collect. */
static struct verdict judge_malloc(struct span *span, uint32_t word, uint64_t alloc,
                                   uint64_t condemned, uint64_t marked, uint64_t kept)
{
    uint64_t fresh = alloc & ~marked, saved = condemned & marked;

    if (fresh != 0)
        fresh = change_state(span, word, fresh, SLOT_OUT, SLOT_CONDEMNED);
    if (saved != 0)
        change_state(span, word, saved, SLOT_CONDEMNED, SLOT_OUT);
    return (struct verdict){
        .alloc = (alloc & ~fresh) | saved,
        .condemned = fresh | (condemned & ~marked & kept),
        .dead = condemned & ~marked & ~kept,
    };
}

/* Memory that the program has protected or mapped over is not ours to hand out. */
static COLD void spare_ceded(const struct span *span, uint32_t word, struct verdict *verdict)
{
    for (uint64_t slots = verdict->dead; slots != 0; slots &= slots - 1) {
        uint64_t bit = slots & -slots;

        if (load_relaxed(&span->slot_state[word * 64 + lowest_bit(slots)]) != SLOT_CEDED)
            continue;
        verdict->dead &= ~bit;
        verdict->alloc |= bit;
    }
}

/* The freed bits are cleared last, and only those taken in: a task that vanishes in between
 * (fork) loses nothing, see sweep_fork_child. */
static void sweep_word(struct span *span, uint32_t word, bool collected, struct found *found)
{
    struct slot_bits *bits = &span->bits[word];
    uint64_t freed = load_acquire(&bits->freed);
    uint64_t alloc = bits->alloc & ~freed;
    uint64_t condemned = bits->condemned & ~freed;
    uint64_t marked = span_marks(span, word);
    uint64_t kept = load_relaxed(&bits->kept);
    struct verdict verdict;

    if (table.spare_all || (table.spare_malloc && collected))
        marked |= alloc | condemned;
    if (collected)
        verdict = judge_malloc(span, word, alloc, condemned, marked, kept);
    else
        verdict = (struct verdict){ .alloc = alloc & (marked | kept),
                                    .dead = alloc & ~(marked | kept) };
    if (verdict.dead != 0 && UNLIKELY(load_relaxed(&ceded_count) != 0))
        spare_ceded(span, word, &verdict);
    if (verdict.dead != 0)
        take_back(span, word, verdict.dead);
    found->dead += count_bits(verdict.dead);
    found->condemned += count_bits(verdict.condemned & ~condemned);
    store_relaxed(&bits->condemned, verdict.condemned);
    store_relaxed(&bits->alloc, verdict.alloc);
    store_relaxed(&bits->mark, 0);
    store_relaxed(&bits->black, 0);
    store_relaxed(&bits->kept, 0);
    if (freed != 0)
        fetch_and_acq_rel(&bits->freed, ~freed);
}

static void count_found(const struct span *span, const struct found *found)
{
    fetch_add_relaxed(&ever.swept_spans, 1);
    if (found->dead != 0) {
        fetch_add_relaxed(&ever.freed_slots, found->dead);
        fetch_add_relaxed(&ever.freed_bytes, found->dead * span->slot_bytes);
        if (span_kind(span) == KIND_MALLOC)
            fetch_add_relaxed(&ever.freed_malloc_bytes, found->dead * span->slot_bytes);
    }
    if (found->condemned != 0) {
        fetch_add_relaxed(&ever.condemned_slots, found->condemned);
        fetch_add_relaxed(&ever.condemned_bytes, found->condemned * span->slot_bytes);
    }
}

/* A swept span with free slots that nobody owns: to the page heap, or where a refill
 * finds it.  Who flips `claimed` owns it, as in ready.c. */
static void file_span(struct span *span)
{
    if (load_relaxed(&span->claimed) != 0 || exchange_seq_cst(&span->claimed, 1) != 0)
        return;
    if (load_acquire(&span->live) == 0)
        pages_free(span);
    else
        span_disown(span);
}

/* The span is ours, by its sweepgen, until the generation is stored. */
static void sweep_claimed(struct span *span, uint32_t generation)
{
    struct found found = { 0, 0 };
    bool large = load_relaxed(&span->state) == SPAN_LARGE;
    bool collected = options.mode == MODE_COLLECT && span_kind(span) == KIND_MALLOC;

    for (uint32_t word = 0; word * 64 < span->slots; word++)
        sweep_word(span, word, collected, &found);
    count_found(span, &found);
    if (found.dead != 0)
        fetch_sub_acq_rel(&span->live, found.dead);
    store_release(&span->sweepgen, generation);
    if (found.dead == 0)
        return;
    if (large)                  /* nobody else has a dead large object */
        pages_free(span);
    else
        file_span(span);
}

void sweep_span(struct span *span)
{
    uint32_t generation = load_relaxed(&sweep_generation);

    for (uint32_t i = 0;; i++) {
        uint32_t seen = load_acquire(&span->sweepgen);
        if (seen == generation - 2 && cas_acq_rel(&span->sweepgen, &seen, generation - 1)) {
            sweep_claimed(span, generation);
            return;
        }
        if (seen != generation - 1)
            return;
        if (i < SPINS)
            CPU_RELAX();
        else
            park_between_looks(i - SPINS);
    }
}

static void finish(uint32_t generation)
{
    uint32_t sweeping = GC_SWEEPING;

    cas_acq_rel(&gc_phase, &sweeping, GC_OFF);
    store_release(&table.done_generation, generation);
}

/* An id to look at; false when there is none.  Until the id is counted as completed, the
 * sweep is not over, and the generation stands still. */
static bool take_id(uint32_t *id)
{
    if (load_relaxed(&table.cursor) >= load_relaxed(&table.limit))
        return false;
    *id = fetch_add_acq_rel(&table.cursor, 1);
    return *id < load_relaxed(&table.limit);
}

static bool needs_sweep(const struct span *span)
{
    return span_in_use(span) && load_relaxed(&span->sweepgen) != load_relaxed(&sweep_generation);
}

bool sweep_some(uint32_t count)
{
    uint32_t swept = 0, taken = 0, id;

    while (swept < count && take_id(&id)) {
        struct span *span = span_by_id(id);
        taken++;
        if (needs_sweep(span)) {
            sweep_span(span);
            swept++;
        }
    }
    if (taken != 0) {
        uint32_t generation = load_relaxed(&sweep_generation);
        uint32_t limit = load_relaxed(&table.limit);
        if (fetch_add_acq_rel(&table.completed, taken) + taken == limit)
            finish(generation);
    }
    return swept != 0;
}

bool sweep_is_done(void)
{
    return load_acquire(&table.done_generation) == load_relaxed(&sweep_generation);
}

static void restart_table(uint32_t generation)
{
    store_relaxed(&table.completed, 0);
    store_relaxed(&table.limit, span_table_size());
    store_release(&table.cursor, 0);
    if (load_relaxed(&table.limit) == 0)
        finish(generation);
}

void sweep_begin_stopped(bool spare_malloc)
{
    uint32_t generation = load_relaxed(&sweep_generation) + 2;

    before = sweep_totals_ever();
    table.spare_all = spare_malloc && !table.spare_malloc;
    table.spare_malloc = spare_malloc;
    store_release(&sweep_generation, generation);
    restart_table(generation);
}

/* Nobody else is alive.  Of a span caught half swept, some words are done (mark 0,
 * dead slots gone); the others are kept as they are, dead slots and all, for the
 * next cycle to find. */
static void repair(struct span *span, uint32_t generation)
{
    uint32_t live = 0;

    for (uint32_t word = 0; word * 64 < span->slots; word++) {
        struct slot_bits *bits = &span->bits[word];
        bits->condemned &= ~bits->alloc;
        bits->freed &= bits->alloc | bits->condemned;
        bits->mark = bits->black = bits->kept = 0;
        live += count_bits((bits->alloc | bits->condemned) & ~bits->freed);
    }
    store_relaxed(&span->live, live);
    store_relaxed(&span->sweepgen, generation);
}

void sweep_fork_child(void)
{
    uint32_t generation = load_relaxed(&sweep_generation);

    if (sweep_is_done())
        return;
    for (uint32_t id = 0; id < span_table_size(); id++) {
        struct span *span = span_by_id(id);
        if (span_in_use(span) && load_relaxed(&span->sweepgen) == generation - 1)
            repair(span, generation);
    }
    restart_table(generation);
}

struct sweep_totals sweep_totals_ever(void)
{
    return (struct sweep_totals){
        .swept_spans = load_relaxed(&ever.swept_spans),
        .freed_slots = load_relaxed(&ever.freed_slots),
        .freed_bytes = load_relaxed(&ever.freed_bytes),
        .freed_malloc_bytes = load_relaxed(&ever.freed_malloc_bytes),
        .condemned_slots = load_relaxed(&ever.condemned_slots),
        .condemned_bytes = load_relaxed(&ever.condemned_bytes),
    };
}

struct sweep_totals sweep_totals(void)
{
    struct sweep_totals now = sweep_totals_ever();

    return (struct sweep_totals){
        .swept_spans = now.swept_spans - before.swept_spans,
        .freed_slots = now.freed_slots - before.freed_slots,
        .freed_bytes = now.freed_bytes - before.freed_bytes,
        .freed_malloc_bytes = now.freed_malloc_bytes - before.freed_malloc_bytes,
        .condemned_slots = now.condemned_slots - before.condemned_slots,
        .condemned_bytes = now.condemned_bytes - before.condemned_bytes,
    };
}
