/* trace.c -- see trace.h */
#include "gc/trace.h"

#include "base/check.h"
#include "os/vm.h"

_Static_assert((QUEUE_WORDS & (QUEUE_WORDS - 1)) == 0, "indices are masked");

static uint32_t queue_length(const struct tracer *tracer)
{
    return tracer->tail - tracer->head;
}

INLINE void queue_put(struct tracer *tracer, uintptr_t address, struct span *span)
{
    PREFETCH(span);
    PREFETCH(span->bits);
    PREFETCH((const void *)address);
    tracer->queue[tracer->tail++ % QUEUE_WORDS] = (struct candidate){ address, span };
}

/* Queues what the words name, until the queue is full.  Returns the first word not looked at. */
static const uintptr_t *scan_words(struct tracer *tracer, const uintptr_t *word,
                                   const uintptr_t *end)
{
    uintptr_t base = arena.base;
    size_t bytes = load_relaxed(&arena.bytes);
    const uint64_t *pagemap = arena.pagemap;

    for (; word < end; word++) {
        size_t offset = word_address(load_relaxed(word)) - base;
        if (offset >= bytes)
            continue;
        struct span *span = entry_span(load_acquire(&pagemap[offset >> PAGE_SHIFT]));
        if (span == NULL)
            continue;
        if (UNLIKELY(queue_length(tracer) == QUEUE_WORDS))
            break;
        queue_put(tracer, base + offset, span);
    }
    return word;
}

bool trace_absent_pages;

/* The same, but for pages that hold nothing because they were never touched. */
static const uintptr_t *scan_present_words(struct tracer *tracer, uintptr_t low, uintptr_t end)
{
    unsigned char resident[TRACE_PIECE_BYTES / VM_PAGE + 2];
    uintptr_t first = align_down(low, VM_PAGE);

    if (!vm_resident((const void *)first, align_up(end, VM_PAGE) - first, resident))
        return scan_words(tracer, (const uintptr_t *)low, (const uintptr_t *)end);
    while (low < end) {
        size_t page = (low - first) / VM_PAGE;
        bool here = resident[page] & 1;
        uintptr_t run = low;

        while (run < end && (resident[page] & 1) == here)
            run = min_size(first + ++page * VM_PAGE, end);
        if (here) {
            const uintptr_t *reached =
                scan_words(tracer, (const uintptr_t *)low, (const uintptr_t *)run);
            if ((uintptr_t)reached != run)
                return reached;
        }
        low = run;
    }
    return (const uintptr_t *)end;
}

/* Scans the first piece of a range; the rest, or what the queue had no room for, is
 * pushed.  There is room for that if the range was popped.  Otherwise it is part
 * of a marked object, which will be scanned again should the push fail. */
static void scan_range(struct tracer *tracer, uintptr_t low, size_t bytes)
{
    uintptr_t end = low + min_size(bytes, TRACE_PIECE_BYTES);

    uintptr_t reached =
        bytes >= TRACE_ASK_BYTES && !trace_absent_pages
            ? (uintptr_t)scan_present_words(tracer, low, end)
            : (uintptr_t)scan_words(tracer, (const uintptr_t *)low, (const uintptr_t *)end);

    tracer_count(&tracer->scanned, reached - low);
    if (UNLIKELY(reached != low + bytes))
        work_push(tracer->list, &tracer->local, reached, low + bytes - reached);
}

static COLD bool keep_slot(struct tracer *tracer, struct span *span, uint32_t slot)
{
    uint64_t bit = 1ull << (slot & 63);
    uint64_t *kept = &span->kept[slot >> 6];

    if ((load_relaxed(kept) & bit) != 0 || span_is_marked(span, slot) ||
        (fetch_or_relaxed(kept, bit) & bit) != 0)
        return false;
    tracer_count(&tracer->kept, span->slot_bytes);
    return true;
}

static bool mark_slot(struct tracer *tracer, struct span *span, uint32_t slot)
{
    if (!tracer->alone) {
        if (!span_mark(span, slot))
            return false;
        tracer_count(&tracer->marked[span_kind(span)], span->slot_bytes);
        return true;
    }
    uint64_t bit = 1ull << (slot & 63);
    uint64_t *mark = &span->bits[slot >> 6].mark;
    uint64_t before = load_relaxed(mark);

    store_relaxed(mark, before | bit);
    if ((before & bit) != 0)
        return false;
    tracer_count(&tracer->marked[span_kind(span)], span->slot_bytes);
    return true;
}

/* The oldest candidate of the queue: marks its object; true when that was news and
 * the object is to be scanned. */
static bool next_object(struct tracer *tracer, struct span **found, uint32_t *slot)
{
    struct candidate candidate = tracer->queue[tracer->head++ % QUEUE_WORDS];
    struct span *span = candidate.span;

    if (!object_in_span(span, candidate.address, slot))
        return false;
    if (UNLIKELY(tracer->keeping) ? !keep_slot(tracer, span, *slot)
                                  : !mark_slot(tracer, span, *slot))
        return false;
    *found = span;
    return span_kind(span) != KIND_NOSCAN;
}

/* Where the object is.  False: its span was given up and formatted anew while we looked, so the
 * object is no more, and the numbers do not fit each other. */
INLINE bool object_range(const struct span *span, uint32_t slot, uintptr_t *low, size_t *bytes)
{
    size_t heap = load_relaxed(&arena.bytes);

    *bytes = object_scan_bytes(span);
    *low = span_slot_address(span, slot);
    return LIKELY(*bytes <= heap && heap_offset(*low) <= heap - *bytes);
}

void trace_push_object(struct worklist *list, struct work_local *local, const struct span *span,
                       uint32_t slot)
{
    uintptr_t low;
    size_t bytes;

    if (object_range(span, slot, &low, &bytes))
        work_push(list, local, low, bytes);
}

static void push_object(struct tracer *tracer, const struct span *span, uint32_t slot)
{
    trace_push_object(tracer->list, &tracer->local, span, slot);
}

void trace_object(struct tracer *tracer, const struct span *span, uint32_t slot)
{
    uintptr_t low;
    size_t bytes;

    if (object_range(span, slot, &low, &bytes))
        scan_range(tracer, low, bytes);
}

void trace_object_part(struct tracer *tracer, const struct span *span, uint32_t slot, uintptr_t low,
                       uintptr_t high)
{
    uintptr_t object;
    size_t bytes;

    if (!object_range(span, slot, &object, &bytes))
        return;
    low = max_size(low, object);
    high = min_size(high, object + bytes);
    if (low < high)
        scan_range(tracer, low, high - low);
}

/* Makes room in the queue. */
static void push_next(struct tracer *tracer)
{
    struct span *span;
    uint32_t slot;

    if (next_object(tracer, &span, &slot))
        push_object(tracer, span, slot);
}

/* In passes, so that the cache misses of many words overlap: what a word needs next is fetched in
 * the pass before. */
void trace_again_end(struct tracer *tracer)
{
    uint32_t slots[AGAIN_WORDS], count = 0;

    for (uint32_t i = 0; i < tracer->again; i++) {
        struct span *span = span_of(tracer->agains[i].address);

        if (span == NULL)
            continue;
        PREFETCH(span);
        tracer->agains[count++] = (struct candidate){ tracer->agains[i].address, span };
    }
    for (uint32_t i = 0; i < count; i++) {
        const struct candidate *candidate = &tracer->agains[i];

        slots[i] = span_slot_of(candidate->span, candidate->address - candidate->span->base);
        PREFETCH(&candidate->span->bits[min_size(slots[i] >> 6, candidate->span->words - 1u)]);
    }
    for (uint32_t i = 0; i < count; i++) {
        const struct candidate *candidate = &tracer->agains[i];

        if (slots[i] >= candidate->span->slots || span_is_marked(candidate->span, slots[i]))
            continue;
        if (queue_length(tracer) == QUEUE_WORDS)
            push_next(tracer);
        queue_put(tracer, candidate->address, candidate->span);
    }
    tracer->again = 0;
}

void trace_again(struct tracer *tracer, const struct span *span, uint32_t slot, uintptr_t low,
                 uintptr_t high)
{
    size_t heap = load_relaxed(&arena.bytes);
    uintptr_t object;
    size_t bytes;

    if (!object_range(span, slot, &object, &bytes))
        return;
    low = max_size(low, object);
    high = min_size(high, object + bytes);
    for (; low < high; low += sizeof(uintptr_t)) {
        size_t offset = heap_offset(word_address(load_relaxed((const uintptr_t *)low)));

        if (offset >= heap)
            continue;
        PREFETCH(&arena.pagemap[offset >> PAGE_SHIFT]);
        tracer->agains[tracer->again++].address = arena.base + offset;
        if (tracer->again == AGAIN_WORDS)
            trace_again_end(tracer);
    }
}

/* Somebody waits: objects go to the stack, where they can be given away. */
static COLD void feed_others(struct tracer *tracer, const struct span *span, uint32_t slot)
{
    push_object(tracer, span, slot);
    if (tracer->local.top->count >= 4)
        work_share(tracer->list, &tracer->local);
}

static void trace_next(struct tracer *tracer)
{
    struct span *span;
    uint32_t slot;

    if (!next_object(tracer, &span, &slot))
        return;
    if (worklist_is_hungry(tracer->list))
        feed_others(tracer, span, slot);
    else
        trace_object(tracer, span, slot);
}

/* Roots may be a copy in a buffer, so no part of the range is left for later:
 * a full queue is worked off on to the stack. */
void trace_root_word(struct tracer *tracer, uintptr_t word)
{
    uintptr_t address = word_address(word);

    if (!heap_contains(address))
        return;
    struct span *span = span_of(address);
    if (span == NULL)
        return;
    if (queue_length(tracer) == QUEUE_WORDS)
        push_next(tracer);
    queue_put(tracer, address, span);
}

static void scan_stack(struct tracer *tracer, const uintptr_t *low, const uintptr_t *high)
{
    for (; low < high; low++) {
        uintptr_t word = load_relaxed(low);
        trace_root_word(tracer, word);
        /* One past the end of an object is a multiple of 8. */
        if (word % 8 == 0)
            trace_root_word(tracer, word - 1);
    }
}

static void scan_data(struct tracer *tracer, const uintptr_t *low, const uintptr_t *high)
{
    while ((low = scan_words(tracer, low, high)) != high)
        push_next(tracer);
}

void trace_root_range(struct tracer *tracer, enum root_kind kind, const uintptr_t *low,
                      const uintptr_t *high)
{
    if (kind == ROOT_STACK)
        scan_stack(tracer, low, high);
    else
        scan_data(tracer, low, high);
    if (worklist_is_hungry(tracer->list))
        work_share(tracer->list, &tracer->local);
}

void trace_own(struct tracer *tracer)
{
    struct work work;

    for (;;) {
        if (queue_length(tracer) > QUEUE_LEAST)
            trace_next(tracer);
        else if (work_pop_own(&tracer->local, &work))
            scan_range(tracer, work.address, work.bytes);
        else
            break;
    }
}

/* Until there is nothing to be had, or `limit` bytes have been looked at. */
static void trace_all(struct tracer *tracer, uint64_t limit)
{
    struct work work;

    while (tracer->scanned < limit) {
        if (queue_length(tracer) <= QUEUE_LEAST &&
            work_pop(tracer->list, &tracer->local, &work)) {
            scan_range(tracer, work.address, work.bytes);
            /* The rest of a large range, most likely: somebody else can have it. */
            if (worklist_is_hungry(tracer->list))
                work_share(tracer->list, &tracer->local);
        } else if (queue_length(tracer) != 0) {
            trace_next(tracer);
        } else {
            break;
        }
    }
}

void trace_to_closure(struct tracer *tracer)
{
    do
        trace_all(tracer, UINT64_MAX);
    while (worklist_wait(tracer->list, &tracer->local));
    ASSERT(queue_length(tracer) == 0);
}

bool trace_at_most(struct tracer *tracer, uint64_t bytes)
{
    uint64_t limit = tracer->scanned + bytes;

    trace_all(tracer, limit);
    return tracer->scanned < limit;
}

void trace_some(struct tracer *tracer, uint64_t bytes)
{
    trace_all(tracer, tracer->scanned + bytes);
    while (queue_length(tracer) != 0)
        push_next(tracer);
    work_local_surrender(tracer->list, &tracer->local, false);
}
