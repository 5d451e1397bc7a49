/* mark.c -- see mark.h
 *
 * Jobs.  The leader opens a job by changing `round`; helpers sleep on that word.
 * Whoever joins counts itself busy first, then claims chunks of span ids by adding
 * to `cursor`, whose upper half names the job: a helper that comes late finds no ids left
 * there, or those of the next job, and does that one's walk.  The leader
 * counts as busy until it has found the cursor at its end, so `outstanding` (worklist.h)
 * is not 0 before every chunk is done.  When it is, the job is over.
 *
 * The two-cycle rule (WALK_CONDEMN), when the closure of the roots is complete:
 *
 *     alloc, marked                stays
 *     alloc, not marked            condemned from now on, and marked
 *     condemned, marked            reachable again: back to alloc
 *     condemned, not marked        dead, unless the newly condemned lead to it
 *
 * WALK_CONDEMNED then scans the newly condemned and all they reach is kept.  An old
 * condemned block reached only from there stays condemned, and marked: it dies when
 * nothing marks it.  The sweep frees what is not marked; nothing else to know.
 */
#include "gc/mark.h"

#include <string.h>

#include "base/check.h"
#include "base/park.h"
#include "gc/trace.h"
#include "os/host.h"

enum {
    CHUNK_SPANS = 64,           /* ids claimed at a time */
    PREFETCH_SPANS = 4,         /* headers fetched ahead in a walk */
};

struct worker {
    struct tracer tracer;
    struct mark_totals walked;  /* `marked` is in the tracer */
    uint64_t cpu_ns;
};

/* Written by the leader, except as stated. */
static struct {
    struct worklist list;
    uint64_t cursor;            /* atomic: [job | walk: 32 bits][next span id: 32 bits] */
    uint32_t spans;             /* ids below it are walked; constant during a cycle */
    uint32_t round;             /* atomic, futex: changes when a job opens and at the release */
    uint32_t released;          /* atomic: helpers go; pairs with round */
    uint32_t workers;           /* atomic: entries of `worker` in use; the leader's is 0 */
    uint32_t gone;              /* atomic, futex: helpers that have left */
    uint64_t rescans;
    struct worker *worker[MARK_WORKERS];        /* from meta_alloc; kept for ever */
} mark = { .list.max_blocks = UINT32_MAX };

/* --- workers ------------------------------------------------------------------ */

/* Makes entry `index`, which is zeroed, ready for a cycle; false: no memory. */
static bool worker_open(uint32_t index)
{
    struct worker *worker = mark.worker[index];

    if (worker == NULL)
        worker = mark.worker[index] = meta_alloc(sizeof *worker);
    if (worker == NULL)
        return false;
    worker->tracer.list = &mark.list;
    return work_local_open(&mark.list, &worker->tracer.local);
}

static void worker_close(struct worker *worker, uint64_t cpu_start_ns)
{
    work_local_close(&mark.list, &worker->tracer.local);
    worker->cpu_ns = host_thread_cpu_ns() - cpu_start_ns;
}

static struct worker *leader(void)
{
    return mark.worker[0];
}

bool mark_prepare(void)
{
    store_relaxed(&mark.round, 0);
    store_relaxed(&mark.released, 0);
    store_relaxed(&mark.gone, 0);
    mark.rescans = 0;
    worklist_reset(&mark.list);
    for (uint32_t i = 0; i < MARK_WORKERS; i++)
        if (mark.worker[i] != NULL)
            memset(mark.worker[i], 0, sizeof *mark.worker[i]);
    if (!worker_open(0))
        return false;
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
    uint64_t *mark_bits = &span->bits[word].mark;
    uint64_t slots = span_objects(span, word) & ~load_relaxed(mark_bits);

    if (slots == 0)
        return;
    slots &= ~fetch_or_relaxed(mark_bits, slots);
    worker->tracer.marked[KIND_MALLOC] += count_bits(slots) * span->slot_bytes;
    scan_slots(worker, span, word, slots);
}

static void change_state(struct span *span, uint32_t word, uint64_t slots, uint8_t from, uint8_t to)
{
    for (; slots != 0; slots &= slots - 1) {
        uint8_t *state = &span->slot_state[word * 64 + lowest_bit(slots)];
        if (load_relaxed(state) == from)
            store_relaxed(state, to);
    }
}

/* See the table at the top.  Nobody marks during this walk, and a slot that is
 * in `freed` is the sweep's to deal with. */
static void condemn_word(struct worker *worker, struct span *span, uint32_t word)
{
    struct slot_bits *bits = &span->bits[word];
    uint64_t marked = load_relaxed(&bits->mark);
    uint64_t objects = span_objects(span, word);
    uint64_t saved = objects & bits->condemned & marked;
    uint64_t condemned = objects & bits->alloc & ~marked;

    if ((saved | condemned) == 0)
        return;
    store_relaxed(&bits->alloc, (bits->alloc | saved) & ~condemned);
    bits->condemned = (bits->condemned & ~saved) | condemned;
    store_relaxed(&bits->mark, marked | condemned);
    change_state(span, word, saved, SLOT_CONDEMNED, SLOT_OUT);
    change_state(span, word, condemned, SLOT_OUT, SLOT_CONDEMNED);
    worker->walked.condemned_slots += count_bits(condemned);
    worker->walked.condemned += count_bits(condemned) * span->slot_bytes;
    worker->tracer.marked[KIND_MALLOC] += count_bits(condemned) * span->slot_bytes;
}

/* Of the marked slots those that hold objects: a cached slot is the allocator's. */
static uint64_t marked_objects(const struct span *span, uint32_t word)
{
    uint64_t marked = span_objects(span, word) & load_relaxed(&span->bits[word].mark);
    uint64_t objects = 0;

    for (; marked != 0; marked &= marked - 1)
        if (load_relaxed(&span->slot_state[word * 64 + lowest_bit(marked)]) != SLOT_IN)
            objects |= marked & -marked;
    return objects;
}

static void walk_word(struct worker *worker, enum mark_walk walk, struct span *span, uint32_t word)
{
    switch (walk) {
    case WALK_NONE:
    case WALK_COUNT:
        break;
    case WALK_MALLOC_ROOTS:
        if (span_kind(span) == KIND_MALLOC)
            mark_malloc_word(worker, span, word);
        break;
    case WALK_CONDEMN:
        if (span_kind(span) == KIND_MALLOC)
            condemn_word(worker, span, word);
        break;
    case WALK_CONDEMNED:        /* those saved are not condemned any more: these are the new */
        scan_slots(worker, span, word, span->bits[word].condemned & span_objects(span, word) &
                                           load_relaxed(&span->bits[word].mark));
        break;
    case WALK_RESCAN:
        if (span_kind(span) != KIND_NOSCAN)
            scan_slots(worker, span, word, marked_objects(span, word));
        break;
    case WALK_CLEAR:
        store_relaxed(&span->bits[word].mark, 0);
        break;
    }
}

static bool walk_counts(enum mark_walk walk)
{
    return walk == WALK_COUNT || walk == WALK_MALLOC_ROOTS || walk == WALK_CONDEMN;
}

static void walk_span(struct worker *worker, enum mark_walk walk, struct span *span)
{
    uint64_t objects = 0;

    if (!span_in_use(span))
        return;
    for (uint32_t word = 0; word * 64 < span->slots; word++) {
        objects += count_bits(span_objects(span, word));
        walk_word(worker, walk, span, word);
    }
    if (walk_counts(walk))
        worker->walked.objects[span_kind(span)] += objects * span->slot_bytes;
}

static void walk_chunk(struct worker *worker, enum mark_walk walk, uint32_t id)
{
    uint32_t end = (uint32_t)min_size((size_t)id + CHUNK_SPANS, mark.spans);

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
        /* The cycle's walks all have the same end, so a late look at `spans` is right. */
        if (walk == WALK_NONE || (uint32_t)claim >= mark.spans)
            break;
        walk_chunk(worker, walk, (uint32_t)claim);
    }
    trace_to_closure(&worker->tracer);
}

static void job_open(enum mark_walk walk)
{
    uint32_t round = load_relaxed(&mark.round) + 1;

    worklist_enter(&mark.list);
    store_release(&mark.cursor, (uint64_t)(round << WALK_BITS | walk) << 32);
    store_release(&mark.round, round);
    if (!leader()->tracer.alone)
        park_wake_all(&mark.round);
}

/* The overflow's end: each further walk has marked at least one more object. */
static void job_finish(void)
{
    take_part(leader());
    while (load_relaxed(&mark.list.overflowed)) {
        store_relaxed(&mark.list.overflowed, 0);
        mark.rescans++;
        job_open(WALK_RESCAN);
        take_part(leader());
    }
}

void mark_help(void)
{
    uint64_t cpu_start_ns = host_thread_cpu_ns();
    uint32_t index = fetch_add_acq_rel(&mark.workers, 1);
    bool open = index < MARK_WORKERS && worker_open(index);
    uint32_t seen = 0, round;

    while (open) {
        while ((round = load_acquire(&mark.round)) == seen)
            park_wait(&mark.round, seen, PARK_FOREVER);
        if (load_acquire(&mark.released))
            break;
        seen = round;
        worklist_enter(&mark.list);
        take_part(mark.worker[index]);
    }
    if (open)
        worker_close(mark.worker[index], cpu_start_ns);
    fetch_add_acq_rel(&mark.gone, 1);
    park_wake_all(&mark.gone);
}

void mark_begin_stopped(bool alone)
{
    leader()->tracer.alone = alone;
    mark.spans = span_table_size();
    trace_absent_pages = host_swap_in_use();
    job_open(WALK_NONE);
}

void mark_trace_stopped(void)
{
    job_finish();
}

void mark_walk_stopped(enum mark_walk walk)
{
    job_open(walk);
    job_finish();
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

struct mark_totals mark_totals(void)
{
    struct mark_totals sum = { .rescans = mark.rescans };

    for (uint32_t i = 0; i < min_size(load_acquire(&mark.workers), MARK_WORKERS); i++) {
        const struct worker *worker = mark.worker[i];
        if (worker == NULL)
            continue;
        for (unsigned kind = 0; kind < KINDS; kind++) {
            sum.objects[kind] += worker->walked.objects[kind];
            sum.marked[kind] += worker->tracer.marked[kind];
            sum.cached[kind] += worker->walked.cached[kind];
        }
        sum.condemned += worker->walked.condemned;
        sum.condemned_slots += worker->walked.condemned_slots;
    }
    return sum;
}

void mark_limit_blocks(uint32_t blocks)
{
    mark.list.max_blocks = blocks;
}

void mark_fork_child(void)
{
    worklist_reset(&mark.list);
    store_relaxed(&mark.workers, 0);
    store_relaxed(&mark.round, 0);
    store_relaxed(&mark.released, 0);
    store_relaxed(&mark.gone, 0);
}

/* --- roots ----------------------------------------------------------------------------- */

void mark_root_range(void *unused, enum root_kind kind, const uintptr_t *low,
                     const uintptr_t *high)
{
    (void)unused;
    trace_root_range(&leader()->tracer, kind, low, high);
}

/* A slot in a magazine survives the sweep (I2), but is no object: not scanned. */
static void premark_slot(uintptr_t address)
{
    struct object object = object_at(address);

    if (object.span == NULL || span_slot_address(object.span, object.slot) != address)
        return;
    if (span_mark(object.span, object.slot))
        leader()->walked.cached[span_kind(object.span)] += object.span->slot_bytes;
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

static void premark_thread(struct thread *thread)
{
    struct mcache *cache = &thread->cache;

    for (unsigned c = 0; c < SPAN_CLASSES; c++) {
        struct magazine *magazine = &cache->magazines[c];
        for (uint32_t i = 0; i < magazine->fill; i++)
            premark_slot((uintptr_t)magazine->entries[i].slot);
        if (magazine->fill != 0)        /* the memory of unused magazines is not touched */
            premark_in_flight((uintptr_t)magazine->entries[magazine->fill].slot);
        magazine->limit = 0;
    }
    thread->limits_zeroed = 1;
}

void mark_magazines_stopped(void)
{
    for (struct thread *thread = thread_list(); thread != NULL; thread = thread->next)
        if (load_relaxed(&thread->tid) != 0)
            premark_thread(thread);
}
