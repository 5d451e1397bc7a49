/* mark.c -- see mark.h
 *
 * Jobs.  The leader opens a job by changing `round`; helpers sleep on that word.
 * Whoever joins counts itself busy first, then claims chunks of span ids by adding
 * to `cursor`, whose upper half names the job: a helper that comes late finds no ids left
 * there, or those of the next job, and does that one's walk.  The leader
 * counts as busy until it has found the cursor at its end, so `outstanding` (worklist.h)
 * is not 0 before every chunk is done.  When it is, the job is over.
 *
 * Whoever takes part counts as busy on the keepers' worklist as well: which job it is it learns from the
 * first chunk only.  The two are worked off one after the other, so that nobody waits for keepers while
 * there are roots to trace from.
 *
 * Assists.  A thread that allocates joins as a busy worker for a while.  It takes work from the
 * shared stack only, and what it has left goes back there before it leaves, so the job cannot
 * end while it has some; and it is in the runtime, so stop 2 waits for it.
 */
#include "gc/mark.h"

#include <string.h>

#include "base/check.h"
#include "base/options.h"
#include "base/park.h"
#include "gc/keep.h"
#include "gc/trace.h"
#include "os/host.h"

enum {
    CHUNK_SPANS = HOSTILE(64, 1),           /* ids claimed at a time */
    PREFETCH_SPANS = 4,         /* headers fetched ahead in a walk */
    ASSIST_SLOTS = 16,          /* threads that may assist at a time */
    BEG_SPINS = 200,            /* how long work is waited for that is not shared yet: 10 us or so */
};

struct worker {
    struct tracer tracer;
    struct tracer *keeper;      /* NULL: an assist's */
    uint64_t cpu_ns;
    uint32_t claimed;           /* atomic: an assist's */
};

/* Written by the leader, except as stated. */
static struct {
    struct worklist list;
    uint64_t cursor;            /* atomic: [job | walk: 32 bits][next span id: 32 bits] */
    uint32_t spans;             /* atomic: ids below it are walked */
    uint32_t wanted;            /* atomic: workers of the job; the others sleep on */
    uint32_t round;             /* atomic, futex: changes when a job opens and at the release */
    uint32_t released;          /* atomic: helpers go; pairs with round */
    uint32_t workers;           /* atomic: entries of `worker` in use; the leader's is 0 */
    uint32_t gone;              /* atomic, futex: helpers that have left */
    uint32_t given_up;          /* atomic, seq_cst: see mark_is_given_up */
    uint64_t cached;
    uint64_t rescans;
    uint64_t shaded[KINDS];     /* atomic: bytes of slots that mark_shade marked */
    struct worker *worker[MARK_WORKERS];        /* atomic; from meta_alloc, kept for ever */
    struct worker *assist_slot[ASSIST_SLOTS];       /* atomic; the same */
} mark = { .list.max_blocks = UINT32_MAX };

/* --- workers ------------------------------------------------------------------ */

/* Makes entry `index`, which is zeroed, ready for a cycle; false: no memory. */
static bool worker_open(uint32_t index)
{
    struct worker *worker = mark.worker[index];

    if (worker == NULL)
        worker = meta_alloc(sizeof *worker);
    if (worker == NULL)
        return false;
    store_release(&mark.worker[index], worker);         /* others look at its counters */
    worker->tracer.list = &mark.list;
    worker->keeper = keep_open(index);
    if (worker->keeper == NULL)
        return false;
    if (work_local_open(&mark.list, &worker->tracer.local))
        return true;
    keep_close(worker->keeper);
    return false;
}

static void worker_close(struct worker *worker, uint64_t cpu_start_ns)
{
    /* Work is left when the cycle was abandoned. */
    work_local_surrender(&mark.list, &worker->tracer.local, true);
    keep_close(worker->keeper);
    worker->cpu_ns = host_thread_cpu_ns() - cpu_start_ns;
}

static struct worker *leader(void)
{
    return mark.worker[0];
}

static void forget_workers(struct worker **workers, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        if (workers[i] != NULL)
            memset(workers[i], 0, sizeof *workers[i]);
}

bool mark_prepare(void)
{
    store_relaxed(&mark.round, 0);
    store_relaxed(&mark.released, 0);
    store_relaxed(&mark.gone, 0);
    store_relaxed(&mark.given_up, 0);
    mark.rescans = mark.cached = 0;
    memset(mark.shaded, 0, sizeof mark.shaded);
    worklist_reset(&mark.list);
    forget_workers(mark.worker, MARK_WORKERS);
    forget_workers(mark.assist_slot, ASSIST_SLOTS);
    keep_prepare();
    if (!worker_open(0))
        return false;
    leader()->tracer.role = TRACER_LEADING;
    leader()->cpu_ns = host_thread_cpu_ns();
    store_release(&mark.workers, 1);
    return true;
}

/* --- the walks ------------------------------------------------------------------ */

/* One after the other, and each to the end: so the stack has room for what is left of
 * an object, and a rescan that overflows again has marked something new. */
static void scan_slots(struct worker *worker, const struct span *span, uint32_t word,
                       uint64_t slots)
{
    for (; slots != 0; slots &= slots - 1) {
        trace_object(&worker->tracer, span, word * 64 + lowest_bit(slots));
        trace_own(&worker->tracer);
    }
}

static void mark_malloc_word(struct worker *worker, struct span *span, uint32_t word)
{
    struct slot_bits *bits = &span->bits[word];
    uint64_t slots = span_objects(span, word) & ~span_marks(span, word);

    if (slots == 0)
        return;
    if (worker == leader())
        store_relaxed(&bits->mark, bits->mark | slots);
    else
        slots &= ~fetch_or_relaxed(&bits->black, slots);
    tracer_count(&worker->tracer.marked[KIND_MALLOC], count_bits(slots) * span->slot_bytes);
    scan_slots(worker, span, word, slots);
}

static uint64_t marked_objects(const struct span *span, uint32_t word, uint64_t among)
{
    return slots_without_cached(span, word, among & span_objects(span, word) &
                                                span_marks(span, word));
}

static void walk_word(struct worker *worker, enum mark_walk walk, struct span *span, uint32_t word)
{
    switch (walk) {
    case WALK_NONE:
        break;
    case WALK_MALLOC_ROOTS:
        if (span_kind(span) == KIND_MALLOC)
            mark_malloc_word(worker, span, word);
        break;
    case WALK_RESCAN:
        if (span_kind(span) != KIND_NOSCAN)
            scan_slots(worker, span, word, marked_objects(span, word, ~0ull));
        break;
    case WALK_KEEP:
        if (span_kind(span) == KIND_MALLOC)
            keep_word(worker->keeper, span, word);
        break;
    case WALK_KEPT:
        if (span_kind(span) == KIND_MALLOC)
            keep_scan_word(worker->keeper, span, word);
        break;
    }
}

static void walk_span(struct worker *worker, enum mark_walk walk, struct span *span)
{
    if (!span_in_use(span))
        return;
    for (uint32_t word = 0; word * 64 < span->slots; word++)
        walk_word(worker, walk, span, word);
}

static void walk_chunk(struct worker *worker, enum mark_walk walk, uint32_t id)
{
    uint32_t end = (uint32_t)min_size((size_t)id + CHUNK_SPANS, load_relaxed(&mark.spans));

    for (; id < end; id++) {
        if (id + PREFETCH_SPANS < end) {
            const struct span *ahead = span_by_id(id + PREFETCH_SPANS);
            PREFETCH(ahead);
            PREFETCH(ahead->bits);
        }
        walk_span(worker, walk, span_by_id(id));
    }
}

/* --- jobs --------------------------------------------------------------------------- */

/* The low bits of the cursor's upper half name the walk. */
enum { WALK_BITS = 3 };

static void take_part(struct worker *worker)
{
    for (;;) {
        uint64_t claim = fetch_add_acq_rel(&mark.cursor, CHUNK_SPANS);
        enum mark_walk walk = (enum mark_walk)(claim >> 32 & ((1 << WALK_BITS) - 1));
        /* `spans` only grows during a cycle, so a late look at it is right. */
        if (walk == WALK_NONE || (uint32_t)claim >= load_relaxed(&mark.spans))
            break;
        walk_chunk(worker, walk, (uint32_t)claim);
    }
    trace_to_closure(&worker->tracer);
    keep_to_closure(worker->keeper);
}

static void job_open(enum mark_walk walk, uint32_t workers)
{
    uint32_t round = load_relaxed(&mark.round) + 1;

    worklist_enter(&mark.list);
    keep_enter();
    worklist_take_shaded(&mark.list);
    store_relaxed(&mark.spans, span_table_size());
    store_relaxed(&mark.wanted, workers);
    store_release(&mark.cursor, (uint64_t)(round << WALK_BITS | walk) << 32);
    store_release(&mark.round, round);
    if (workers > 1)
        park_wake_all(&mark.round);
}

/* The overflow's end: each further walk has marked at least one more object. */
static void job_finish(uint32_t workers)
{
    take_part(leader());
    while (load_relaxed(&mark.list.overflowed)) {
        store_relaxed(&mark.list.overflowed, 0);
        mark.rescans++;
        job_open(WALK_RESCAN, workers);
        take_part(leader());
    }
}

/* Waits for a job; false: the cycle's marking is over. */
static bool await_job(uint32_t index, uint32_t *seen)
{
    uint32_t round;

    do {
        while ((round = load_acquire(&mark.round)) == *seen)
            park_wait(&mark.round, *seen, PARK_FOREVER);
        if (load_acquire(&mark.released))
            return false;
        *seen = round;
    } while (index >= load_relaxed(&mark.wanted));
    return true;
}

void mark_help(void)
{
    uint64_t cpu_start_ns = host_thread_cpu_ns();
    uint32_t index = fetch_add_acq_rel(&mark.workers, 1);
    bool open = index < MARK_WORKERS && worker_open(index);
    uint32_t seen = 0;

    while (open && await_job(index, &seen)) {
        if (HOSTILE(false, true))       /* late */
            park_for(100000 * (1 + seen % 8));
        worklist_enter(&mark.list);
        keep_enter();
        take_part(mark.worker[index]);
    }
    if (open)
        worker_close(mark.worker[index], cpu_start_ns);
    fetch_add_acq_rel(&mark.gone, 1);
    park_wake_all(&mark.gone);
}

void mark_open_job(uint32_t workers)
{
    job_open(WALK_NONE, workers);
}

void mark_close_job(void)
{
    job_finish(load_relaxed(&mark.wanted));
}

void mark_walk(enum mark_walk walk, uint32_t workers)
{
    job_open(walk, workers);
    job_finish(workers);
}

bool mark_finish_stopped(uint64_t bytes)
{
    struct tracer *tracer = &leader()->tracer;

    worklist_enter(&mark.list);
    worklist_take_shaded(&mark.list);
    bool complete = trace_at_most(tracer, bytes);

    worklist_leave(&mark.list);
    /* A helper that came late to the last job may have taken a block. */
    return complete && worklist_is_empty(&mark.list) && !load_relaxed(&mark.list.overflowed);
}

void mark_release(void)
{
    store_relaxed(&mark.released, 1);
    fetch_add_acq_rel(&mark.round, 1);
    park_wake_all(&mark.round);
}

uint64_t mark_join(uint32_t helpers)
{
    uint64_t cpu_ns = 0;
    uint32_t gone;

    while ((gone = load_acquire(&mark.gone)) < helpers)
        park_wait(&mark.gone, gone, PARK_FOREVER);
    worker_close(leader(), leader()->cpu_ns);
    for (uint32_t i = 0; i < min_size(load_relaxed(&mark.workers), MARK_WORKERS); i++)
        if (mark.worker[i] != NULL)
            cpu_ns += mark.worker[i]->cpu_ns;
    return cpu_ns;
}

static void add_totals(struct mark_totals *sum, const struct worker *worker)
{
    if (worker == NULL)
        return;
    for (unsigned kind = 0; kind < KINDS; kind++)
        sum->marked[kind] += load_relaxed(&worker->tracer.marked[kind]);
    sum->scanned += load_relaxed(&worker->tracer.scanned);
}

struct mark_totals mark_totals(void)
{
    struct keep_totals keepers = keep_totals();
    struct mark_totals sum = {
        .rescans = mark.rescans, .cached = mark.cached, .kept = keepers.kept,
        .scanned = keepers.scanned,
    };

    for (unsigned kind = 0; kind < KINDS; kind++)
        sum.marked[kind] = load_relaxed(&mark.shaded[kind]);
    for (uint32_t i = 0; i < min_size(load_acquire(&mark.workers), MARK_WORKERS); i++)
        add_totals(&sum, load_acquire(&mark.worker[i]));
    uint64_t own = sum.scanned;

    for (uint32_t i = 0; i < ASSIST_SLOTS; i++)
        add_totals(&sum, load_acquire(&mark.assist_slot[i]));
    sum.assisted = sum.scanned - own;
    return sum;
}

void mark_clear(void)
{
    for (uint32_t id = 0; id < span_table_size(); id++) {
        struct span *span = span_by_id(id);
        if (!span_in_use(span))
            continue;
        for (uint32_t word = 0; word * 64 < span->slots; word++) {
            store_relaxed(&span->bits[word].mark, 0);
            store_relaxed(&span->bits[word].black, 0);
            store_relaxed(&span->bits[word].kept, 0);
        }
    }
}

void mark_limit_blocks(uint32_t blocks)
{
    mark.list.max_blocks = blocks;
    keep_limit_blocks(blocks);
}

void mark_fork_child(void)
{
    worklist_reset(&mark.list);
    keep_fork_child();
    store_relaxed(&mark.workers, 0);
    store_relaxed(&mark.round, 0);
    store_relaxed(&mark.released, 0);
    store_relaxed(&mark.gone, 0);
    for (uint32_t i = 0; i < ASSIST_SLOTS; i++)
        if (mark.assist_slot[i] != NULL)
            store_relaxed(&mark.assist_slot[i]->claimed, 0);
}

/* --- what the program does ------------------------------------------------------------- */

static struct worker *claim_assist_slot(void)
{
    for (uint32_t i = 0; i < ASSIST_SLOTS; i++) {
        struct worker *worker = load_acquire(&mark.assist_slot[i]), *none = NULL;
        uint32_t free = 0;

        if (worker == NULL && (worker = meta_alloc(sizeof *worker)) != NULL &&
            !cas_acq_rel(&mark.assist_slot[i], &none, worker))
            worker = none;
        if (worker != NULL && cas_acq_rel(&worker->claimed, &free, 1))
            return worker;
    }
    return NULL;
}

/* The workers keep to themselves what nobody asks for.  False: nothing came, for they have next to
 * nothing, or no processor. */
static bool beg(void)
{
    fetch_add_relaxed(&mark.list.hungry, 1);
    for (int i = 0; i < BEG_SPINS && !worklist_has_shared(&mark.list); i++)
        CPU_RELAX();
    fetch_sub_relaxed(&mark.list.hungry, 1);
    return worklist_has_shared(&mark.list);
}

uint64_t mark_assist(uint64_t bytes, bool begs)
{
    struct worker *worker;
    uint64_t scanned = 0;

    if (!worklist_has_shared(&mark.list) &&
        (!begs || worklist_is_empty(&mark.list) || !beg()))
        return 0;
    if ((worker = claim_assist_slot()) == NULL)
        return 0;
    worklist_enter(&mark.list);
    worker->tracer.list = &mark.list;
    if (load_seq_cst(&mark.given_up) == 0 && work_local_open(&mark.list, &worker->tracer.local)) {
        scanned = worker->tracer.scanned;
        trace_some(&worker->tracer, bytes);
        scanned = worker->tracer.scanned - scanned;
    }
    worklist_leave(&mark.list);
    store_release(&worker->claimed, 0);
    return scanned;
}

void mark_give_up(void)
{
    store_seq_cst(&mark.given_up, 1);
}

/* Who assists has counted itself busy before it looked: so either it is seen here, or it has seen that there
 * is nothing to be done.  A helper that came late to the last job ends once nobody gives it more. */
bool mark_is_given_up(void)
{
    if (load_seq_cst(&mark.given_up) == 0)
        return false;
    worklist_drop(&mark.list);
    return worklist_is_empty(&mark.list) && keep_is_given_up();
}

void mark_shade(const uintptr_t *words, uint32_t count, bool may_allocate)
{
    struct work_local local = { NULL, NULL };

    for (uint32_t i = 0; i < count; i++) {
        struct object object = object_of_word(words[i]);

        if (object.span == NULL || !span_mark(object.span, object.slot))
            continue;
        fetch_add_relaxed(&mark.shaded[span_kind(object.span)], object.span->slot_bytes);
        if (span_kind(object.span) == KIND_NOSCAN)
            continue;
        if (!may_allocate || (local.top == NULL && !work_local_open(&mark.list, &local)))
            store_relaxed(&mark.list.overflowed, 1);
        else
            trace_push_object(&mark.list, &local, object.span, object.slot);
    }
    work_local_surrender(&mark.list, &local, true);
}

/* --- roots, and memory that was written to ---------------------------------------------- */

void mark_root_range(void *unused, enum root_kind kind, const uintptr_t *low,
                     const uintptr_t *high)
{
    (void)unused;
    trace_root_range(&leader()->tracer, kind, low, high, true);
}

void mark_root_words(void *unused, enum root_kind kind, const uintptr_t *low,
                     const uintptr_t *high)
{
    (void)unused;
    trace_root_range(&leader()->tracer, kind, low, high, false);
}

bool mark_is_unreached(uintptr_t word)
{
    struct object object = object_of_word(word);

    return object.span != NULL && !span_is_marked(object.span, object.slot);
}

/* Slots of one word of which something lies in [first, last]. */
static uint64_t slots_between(uint32_t word, uint32_t first, uint32_t last)
{
    uint64_t slots = ~0ull;

    if (first > word * 64)
        slots &= ~0ull << (first - word * 64);
    if (last < word * 64 + 63)
        slots &= ~0ull >> (word * 64 + 63 - last);
    return slots;
}

static void rescan_span(struct span *span, uintptr_t low, uintptr_t high)
{
    struct tracer *tracer = &leader()->tracer;
    uintptr_t base = span->base;

    if (low < base || high > base + ((size_t)span->pages << PAGE_SHIFT) || span->slots == 0)
        return;                 /* formatted anew, just now: everything in it is newer than the write */
    uint32_t first = span_slot_of(span, low - base);
    uint32_t last = (uint32_t)min_size(span_slot_of(span, high - 1 - base), span->slots - 1);

    for (uint32_t word = first >> 6; word <= last >> 6 && word < span->words; word++) {
        uint64_t among = slots_between(word, first, last);
        uint64_t kept = load_relaxed(&span->bits[word].kept) & among;

        for (uint64_t slots = marked_objects(span, word, among); slots != 0; slots &= slots - 1)
            trace_again(tracer, span, word * 64 + lowest_bit(slots), low, high);
        if (UNLIKELY(kept != 0))
            keep_rescan(leader()->keeper, span, word, kept & ~span_marks(span, word), low, high);
    }
}

void mark_rescan(uintptr_t low, uintptr_t high)
{
    while (low < high) {
        uintptr_t end = min_size(align_down(low, PAGE_BYTES) + PAGE_BYTES, high);
        struct span *span = heap_contains(low) ? span_of(low) : NULL;

        if (span != NULL && span_in_use(span) && span_kind(span) != KIND_NOSCAN)
            rescan_span(span, low, end);
        low = end;
    }
}

void mark_rescan_end(bool running)
{
    trace_again_end(&leader()->tracer);
    if (running)
        trace_own(&leader()->tracer);
    keep_rescan_end(leader()->keeper, running);
}

void mark_keep(uint32_t workers)
{
    mark_walk(WALK_KEEP, workers);
    mark_walk(WALK_KEPT, workers);
    mark_keep_rest();
}

void mark_keep_rest(void)
{
    keep_rest(leader()->keeper);
}

/* What gc_memmove has written and not recorded yet. */
static void mark_copy(const struct thread *thread)
{
    uintptr_t low = align_up(thread->copy_low, sizeof(uintptr_t));
    uintptr_t high = align_down(thread->copy_high, sizeof(uintptr_t));

    if (thread->copy_low != 0 && low < high && heap_contains(low) && heap_contains(high - 1))
        mark_root_words(NULL, ROOT_DATA, (const uintptr_t *)low, (const uintptr_t *)high);
}

void mark_barrier_stopped(void)
{
    for (struct thread *thread = thread_list(); thread != NULL; thread = thread->next) {
        if (load_relaxed(&thread->tid) != 0)
            mark_copy(thread);
        uint32_t fill = (uint32_t)min_size(thread->barrier_fill, BARRIER_WORDS);

        for (uint32_t i = 0; i < fill; i++)
            trace_word(&leader()->tracer, thread->barrier[i]);
        thread->barrier_flushes++;      /* who has claimed a place and not filled it starts over */
        thread->barrier_fill = 0;
    }
}

/* A slot in a magazine survives the sweep (I2), but is no object: not scanned. */
static void premark_slot(uintptr_t address)
{
    struct object object = object_at(address);

    if (object.span == NULL || span_slot_address(object.span, object.slot) != address)
        return;
    if (span_mark(object.span, object.slot))
        mark.cached += object.span->slot_bytes;
}

/* One past the fill may be a slot on its way in or out (I3; it is in a register too): then it
 * is not the program's.  Mostly it is a stale pointer to an object of the program, which
 * lives or dies by the roots. */
static void premark_in_flight(uintptr_t address)
{
    struct object object = object_at(address);

    if (object.span != NULL && load_relaxed(&object.span->slot_state[object.slot]) == SLOT_IN)
        premark_slot(address);
}

/* The memory of a magazine that was not used is not touched: top 0. */
static void premark_entries(const struct cached *entries, uint32_t fill, uint32_t top)
{
    for (uint32_t i = 0; i < fill; i++)
        premark_slot((uintptr_t)entries[i].slot);
    if (top != 0)
        premark_in_flight((uintptr_t)entries[fill].slot);
}

static void premark_strip(const struct strip *strip)
{
    if (strip->free == 0)
        return;
    struct span *span = span_of(strip->first);
    uint32_t word = (uint32_t)(strip->states - span->slot_state) / 64;
    uint64_t fresh = strip->free & ~span_marks(span, word);

    fetch_or_relaxed(&span->bits[word].black, fresh);
    mark.cached += count_bits(fresh) * strip->slot_bytes;
}

static void premark_thread(struct thread *thread)
{
    struct mcache *cache = &thread->cache;

    for (unsigned c = 0; c < SPAN_CLASSES; c++) {
        const struct strip *strip = mcache_strip(cache, c);
        if (strip != NULL)
            premark_strip(strip);
        else
            premark_entries(magazine_entry(cache, c, 0), magazine_fill(cache, c),
                            cache->magazines[c].top);
    }
    premark_entries(outbox_entry(cache, 0), outbox_fill(cache), cache->outbox.top);
}

void mark_cached_stopped(void)
{
    for (struct thread *thread = thread_list(); thread != NULL; thread = thread->next)
        if (load_relaxed(&thread->tid) != 0)
            premark_thread(thread);
}

void mark_close_magazines_stopped(void)
{
    for (struct thread *thread = thread_list(); thread != NULL; thread = thread->next)
        if (load_relaxed(&thread->tid) != 0)
            mcache_close(&thread->cache);
}

void mark_setup_stopped(void)
{
    mark_cached_stopped();
    for (struct thread *thread = thread_list(); thread != NULL; thread = thread->next) {
        thread->barrier_fill = 0;
        thread->born_bytes = 0;
        thread->assist_debt = thread->begged_debt = 0;
    }
}
