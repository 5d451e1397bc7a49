/* trace.c -- see trace.h */
#include "gc/trace.h"

#include <string.h>

#include "base/check.h"
#include "gc/distance.h"
#include "gc/words.h"
#include "heap/ceded.h"
#include "os/vm.h"

_Static_assert((QUEUE_WORDS & (QUEUE_WORDS - 1)) == 0, "indices are masked");

enum {
    SCAN_STEP = HOSTILE(8, 1),  /* words looked at between two looks at the room in the queue */
    SPILL_STEP = HOSTILE(64, 2),        /* words spilled, and fetched again, at a time */
    INLINE_BYTES = HOSTILE(256, 16),    /* objects up to this size are scanned in the main loop */
    TURN_BYTES = HOSTILE(4 << 10, 64),  /* scanned between two looks at who waits */
    FEED_OBJECTS = 8,
    FEED_SPILLED = 64,
    SCAN_FETCH = 1024,          /* of an object that is scanned, bytes that are fetched ahead */
    AGAIN_STEP = HOSTILE(64, 16),       /* bytes looked at again between two looks at the room */
    AGAIN_FETCH = 1024,         /* ... that are fetched so far ahead: another processor has written them */
    KEPT_FETCH = 2048,          /* the same of kept objects, which do not lie side by side */
};

_Static_assert(QUEUE_WORDS - QUEUE_AHEAD - SPILL_STEP >= 0 && SPILL_STEP >= 2 * SCAN_STEP,
               "spilling makes room for a step, and leaves alone what was looked up");
_Static_assert(AGAIN_STEP % HALVES_BYTES == 0 && AGAIN_STEP / PACKED_STEP <= AGAIN_WORDS,
               "whole halves, and room for all that they may name");

INLINE uint32_t queue_length(const struct tracer *tracer)
{
    return tracer->tail - tracer->head;
}

/* Makes room in the queue: its newest words go to the stack.  False: that has none. */
static bool spill(struct tracer *tracer)
{
    uint32_t count = (uint32_t)min_size(tracer->tail - tracer->ahead, SPILL_STEP);

    if (count == 0 || tracer->spilled + count > SPILL_WORDS)
        return false;
    for (; count != 0; count--)
        tracer->spill[tracer->spilled++] = tracer->address[--tracer->tail % QUEUE_WORDS];
    return true;
}

static void unspill(struct tracer *tracer)
{
    uint32_t count = (uint32_t)min_size(tracer->spilled, SPILL_STEP);

    for (; count != 0 && queue_length(tracer) < QUEUE_WORDS; count--)
        tracer->address[tracer->tail++ % QUEUE_WORDS] = tracer->spill[--tracer->spilled];
}

/* What is scanned: the rest, from `at` on, of the words of [low, high). */
struct range {
    uintptr_t low, at, high;
    bool packed;
    uintptr_t origin;           /* words may be distances from there; 0: they are none */
};

INLINE void fetch(uintptr_t low, uintptr_t high)
{
    for (uintptr_t at = low; at < high; at += CACHE_LINE)
        PREFETCH((const void *)at);
}

/* Until `end`, or until there is no room. */
static void scan_words(struct tracer *tracer, struct range *range, uintptr_t end)
{
    const size_t most = range->packed ? 2 * SCAN_STEP : SCAN_STEP;
    const uintptr_t begin = range->at;
    uintptr_t at = begin;

    fetch(at, min_size(at + SCAN_FETCH, end));
    while (at < end) {
        size_t bytes = min_size(end - at, SCAN_STEP * sizeof(uintptr_t));
        if (end - at > SCAN_FETCH)
            PREFETCH((const void *)(at + SCAN_FETCH));
        if (queue_length(tracer) + most > QUEUE_WORDS - INLINE_BYTES / 8 && !spill(tracer) &&
            queue_length(tracer) + most > QUEUE_WORDS)
            break;
        size_t heap = load_relaxed(&arena.bytes);
        tracer->tail = range->packed
                           ? queue_packed(tracer->address, QUEUE_WORDS, tracer->tail, range->low, at,
                                          at + bytes, arena.base, heap)
                           : queue_words(tracer->address, QUEUE_WORDS, tracer->tail, at, at + bytes,
                                         arena.base, heap);
        at += bytes;
    }
    range->at = at;
    if (UNLIKELY(range->origin != 0))
        distance_scan(tracer, range->origin, begin, at);
}

/* The same, but for pages that hold nothing because they were never touched: a word that reaches
 * into such a page names nothing either. */
static void scan_present_words(struct tracer *tracer, struct range *range, uintptr_t end)
{
    unsigned char touched[TRACE_PIECE_BYTES / VM_PAGE + 2];
    uintptr_t first = align_down(range->at, VM_PAGE);

    if (!vm_touched((const void *)first, align_up(end, VM_PAGE) - first, touched)) {
        scan_words(tracer, range, end);
        return;
    }
    while (range->at < end) {
        size_t page = (range->at - first) / VM_PAGE;
        bool here = touched[page] & 1;
        uintptr_t run = range->at;

        while (run < end && (touched[page] & 1) == here)
            run = min_size(first + ++page * VM_PAGE, end);
        if (here)
            scan_words(tracer, range, run);
        else
            range->low = range->at = run;
        if (range->at != run)
            return;
    }
}

/* [range->at, *end) becomes the first stretch that can be loaded from. */
static COLD void find_loadable(struct range *range, uintptr_t *end)
{
    uintptr_t before = max_size(range->at - sizeof(uintptr_t), range->low), here = range->at;

    ceded_loadable(&range->at, end);
    ceded_loadable(&before, &here);
    if (before == here || range->at != here)    /* no word reaches into the stretch */
        range->low = range->at;
}

/* Scans the first piece of a range; the rest, or what the queue had no room for, is
 * pushed.  There is room for that if the range was popped.  Otherwise it is part
 * of a marked object, which will be scanned again should the push fail. */
static void scan_range(struct tracer *tracer, struct range *range)
{
    uintptr_t end = range->high;

    if (UNLIKELY(load_relaxed(&ceded_unloadable) != 0))
        find_loadable(range, &end);
    uintptr_t begin = range->at;

    end = min_size(end, begin + TRACE_PIECE_BYTES);
    if (range->high - begin >= TRACE_ASK_BYTES)
        scan_present_words(tracer, range, end);
    else
        scan_words(tracer, range, end);
    tracer_count(&tracer->scanned, range->at - begin);
    if (UNLIKELY(range->at != range->high))
        work_push(tracer->list, &tracer->local, range->at, range->high - range->at);
}

/* What is on the worklist is a marked object, or the rest of one.  It may have been freed since, and its
 * span be formatted anew: in use, as mark_address sees it, or its numbers mean nothing. */
static void scan_work(struct tracer *tracer, const struct work *work)
{
    struct range range = { work->address, work->address, work->address + work->bytes, true, 0 };
    const struct span *span = span_of(work->address);

    if (span != NULL && span_in_use(span)) {
        range.low = span_slot_address(span, span_slot_of(span, work->address - span->base));
        range.packed = span_kind(span) == KIND_MALLOC;
        range.origin = distance_origin(span_kind(span), range.low);
    }
    scan_range(tracer, &range);
}

/* For those who do not lead; true when it was news. */
static COLD bool mark_elsewhere(struct tracer *tracer, struct slot_bits *bits, uint64_t bit)
{
    if (tracer->role == TRACER_HELPING)
        return (fetch_or_relaxed(&bits->black, bit) & bit) == 0;
    return (load_relaxed(&bits->kept) & bit) == 0 && (fetch_or_relaxed(&bits->kept, bit) & bit) == 0;
}

/* Marks the object at the address; true when there is one, and that was news. */
INLINE bool mark_address(struct tracer *tracer, struct span *span, uintptr_t address,
                         uint32_t *slot)
{
    /* First: pairs with the release of whoever formatted it. */
    if (!span_in_use(span))
        return false;
    uint32_t at = span_slot_of(span, address - span->base);

    if (at >= span->slots)
        return false;
    struct slot_bits *bits = &span->bits[at >> 6];
    uint64_t bit = 1ull << (at & 63);

    *slot = at;
    if (UNLIKELY((load_relaxed(&bits->alloc) & bit) == 0) &&
        (load_relaxed(&bits->condemned) & bit) == 0)
        return false;
    uint64_t mark = load_relaxed(&bits->mark);
    if (((load_relaxed(&bits->freed) | load_relaxed(&bits->black) | mark) & bit) != 0)
        return false;
    if (UNLIKELY(tracer->role != TRACER_LEADING))
        return mark_elsewhere(tracer, bits, bit);
    store_relaxed(&bits->mark, mark | bit);
    return true;
}

INLINE void count_marked(struct tracer *tracer, enum kind kind, uint64_t bytes)
{
    if (UNLIKELY(tracer->role == TRACER_KEEPING))
        tracer_count(&tracer->kept, bytes);
    else
        tracer_count(&tracer->marked[kind], bytes);
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

void trace_object(struct tracer *tracer, const struct span *span, uint32_t slot)
{
    uintptr_t low;
    size_t bytes;

    if (!object_range(span, slot, &low, &bytes))
        return;
    struct range range = { low, low, low + bytes, span_kind(span) == KIND_MALLOC,
                           distance_origin(span_kind(span), low) };

    scan_range(tracer, &range);
}

/* [low, high) becomes what of it lies in the object, with words that stand across its ends. */
static void widen(uintptr_t *low, uintptr_t *high, uintptr_t object, size_t bytes)
{
    *low = max_size(*low - sizeof(uintptr_t), object);
    *high = min_size(*high + sizeof(uintptr_t), object + bytes);
}

static bool has_candidates(const struct tracer *tracer)
{
    return tracer->spilled != 0 || queue_length(tracer) != 0;
}

/* Looks up the span of an entry of the queue; NULL: none.  What will be needed when it leaves the
 * queue is fetched. */
INLINE void look_up(struct tracer *tracer, uint32_t at, uintptr_t base, const uint64_t *pagemap)
{
    uintptr_t address = tracer->address[at % QUEUE_WORDS];
    uint64_t entry = load_acquire(&pagemap[(address - base) >> PAGE_SHIFT]);
    struct span *span = entry_span(entry);

    /* Not what will not be read.  A branch: a conditional move would wait for the entry. */
    if (entry_span_class(entry) < span_class_of(KIND_NOSCAN, 0))
        PREFETCH((const void *)address);
    PREFETCH(span);
    PREFETCH((const char *)span + offsetof(struct span, bits));
    tracer->span[at % QUEUE_WORDS] = span;
}

/* Puts the object at an address on the worklist. */
static void push_address(struct tracer *tracer, struct span *span, uintptr_t address)
{
    uint32_t slot;

    if (span == NULL || !mark_address(tracer, span, address, &slot))
        return;
    count_marked(tracer, span_kind(span), span->slot_bytes);
    if (span_kind(span) != KIND_NOSCAN)
        trace_push_object(tracer->list, &tracer->local, span, slot);
}

/* Makes room in the queue: puts an object on the worklist that would be scanned here otherwise. */
static void push_next(struct tracer *tracer)
{
    if (queue_length(tracer) == 0)
        unspill(tracer);
    if (tracer->ahead == tracer->head)
        look_up(tracer, tracer->ahead++, arena.base, arena.pagemap);
    uint32_t at = tracer->head++ % QUEUE_WORDS;

    push_address(tracer, tracer->span[at], tracer->address[at]);
}

/* The same with what was spilled first: it is nearer to the roots, and leads to more. */
static void push_oldest(struct tracer *tracer)
{
    uint32_t count = (uint32_t)min_size((tracer->spilled + 1) / 2, FEED_SPILLED);

    for (uint32_t i = 0; i < count; i++)
        push_address(tracer, span_of(tracer->spill[i]), tracer->spill[i]);
    tracer->spilled -= count;
    memmove(tracer->spill, tracer->spill + count, tracer->spilled * sizeof tracer->spill[0]);
}

static void note_address(struct tracer *tracer, uintptr_t address)
{
    if (queue_length(tracer) == QUEUE_WORDS && !spill(tracer))
        push_next(tracer);
    tracer->address[tracer->tail++ % QUEUE_WORDS] = address;
}

/* The tracer need not look at the object. */
static bool is_known(const struct tracer *tracer, const struct span *span, uint32_t slot)
{
    return span_is_marked(span, slot) ||
           (tracer->role == TRACER_KEEPING &&
            (load_relaxed(&span->bits[slot >> 6].kept) >> (slot & 63) & 1) != 0);
}

/* In passes, so that the cache misses of many words overlap: what a word needs next is fetched in
 * the pass before. */
void trace_again_end(struct tracer *tracer)
{
    struct span *spans[AGAIN_WORDS];
    uint32_t slots[AGAIN_WORDS], count = 0;

    for (uint32_t i = 0; i < tracer->again; i++) {
        struct span *span = span_of(tracer->agains[i]);

        if (span == NULL)
            continue;
        PREFETCH(span);
        spans[count] = span;
        tracer->agains[count++] = tracer->agains[i];
    }
    for (uint32_t i = 0; i < count; i++) {
        slots[i] = span_slot_of(spans[i], tracer->agains[i] - spans[i]->base);
        PREFETCH(&spans[i]->bits[min_size(slots[i] >> 6, spans[i]->words - 1u)]);
    }
    for (uint32_t i = 0; i < count; i++)
        if (slots[i] < spans[i]->slots && !is_known(tracer, spans[i], slots[i]))
            note_address(tracer, tracer->agains[i]);
    tracer->again = 0;
}

/* What lies `ahead` bytes farther on is fetched. */
static void look_again(struct tracer *tracer, uintptr_t low, uintptr_t high, bool packed, size_t ahead)
{
    const uintptr_t base = arena.base;
    const size_t heap = load_relaxed(&arena.bytes);

    for (uintptr_t at = low, end; at < high; at = end) {
        end = min_size(at + AGAIN_STEP, high);
        PREFETCH((const void *)(at + ahead));
        if (tracer->again + AGAIN_STEP / PACKED_STEP > AGAIN_WORDS)
            trace_again_end(tracer);
        tracer->again = packed ? queue_packed(tracer->agains, AGAIN_WORDS, tracer->again, low, at,
                                              end, base, heap)
                               : queue_words(tracer->agains, AGAIN_WORDS, tracer->again, at, end,
                                             base, heap);
    }
}

static void scan_again(struct tracer *tracer, const struct span *span, uint32_t slot, uintptr_t low,
                       uintptr_t high, size_t ahead)
{
    uintptr_t object, end;
    size_t bytes;

    if (!object_range(span, slot, &object, &bytes))
        return;
    widen(&low, &high, object, bytes);
    if (distance_origin(span_kind(span), object) != 0)
        distance_scan(tracer, object, low, high);
    for (; low < high; low = end) {
        end = high;
        if (UNLIKELY(load_relaxed(&ceded_unloadable) != 0))
            ceded_loadable(&low, &end);
        look_again(tracer, low, end, span_kind(span) == KIND_MALLOC, ahead);
    }
}

void trace_again(struct tracer *tracer, const struct span *span, uint32_t slot, uintptr_t low,
                 uintptr_t high)
{
    scan_again(tracer, span, slot, low, high, AGAIN_FETCH);
}

static void scan_kept(struct tracer *tracer, const struct span *span, uint32_t slot)
{
    uintptr_t low = span_slot_address(span, slot);
    size_t bytes = object_scan_bytes(span);

    if (bytes >= TRACE_ASK_BYTES) {
        trace_object(tracer, span, slot);       /* less pages that were never touched */
        return;
    }
    scan_again(tracer, span, slot, low, low + bytes, bytes > KEPT_FETCH ? KEPT_FETCH : 0);
    tracer_count(&tracer->scanned, bytes);
}

void trace_kept(struct tracer *tracer, const struct span *span, uint32_t word, uint64_t slots)
{
    size_t bytes = span->slot_bytes, fetched = 0;

    for (uint64_t ahead = slots; slots != 0; slots &= slots - 1, fetched -= bytes) {
        for (; ahead != 0 && fetched < KEPT_FETCH; ahead &= ahead - 1, fetched += bytes) {
            uintptr_t low = span_slot_address(span, word * 64 + lowest_bit(ahead));

            fetch(low, low + min_size(bytes, KEPT_FETCH));
        }
        scan_kept(tracer, span, word * 64 + lowest_bit(slots));
    }
    trace_again_end(tracer);
    trace_own(tracer);
}

/* Somebody waits: some objects go to the worklist, and from there to the others. */
static COLD void feed_others(struct tracer *tracer)
{
    if (tracer->spilled != 0)
        push_oldest(tracer);
    else
        for (int i = 0; i < FEED_OBJECTS && queue_length(tracer) != 0; i++)
            push_next(tracer);
    work_share(tracer->list, &tracer->local);
}

/* The main loop: works off the queue, down to `least` entries, until about `bytes` bytes have been
 * looked at.  What it needs again and again it has in registers; `heap` may be too small soon: what
 * lies beyond was born black, or stored since, and so will be looked at again. */
static void trace_queue(struct tracer *tracer, uint32_t least, uint64_t bytes)
{
    const uintptr_t base = arena.base;
    const size_t heap = load_relaxed(&arena.bytes);
    const uint64_t *pagemap = arena.pagemap;
    /* While a cycle marks: objects need no second look. */
    const bool as_usual = (load_relaxed(&ceded_unloadable) | load_relaxed(&distance_followed)) == 0;
    uint32_t head = tracer->head, ahead = tracer->ahead, tail = tracer->tail;
    uint64_t scanned = 0, marked[KINDS] = { 0 };

    while (ahead - head < QUEUE_AHEAD && ahead != tail)
        look_up(tracer, ahead++, base, pagemap);
    while (tail - head > least && scanned < bytes) {
        if (LIKELY(ahead != tail))
            look_up(tracer, ahead++, base, pagemap);
        uint32_t at = head++ % QUEUE_WORDS, slot;
        struct span *span = tracer->span[at];
        if (UNLIKELY(span == NULL) || !mark_address(tracer, span, tracer->address[at], &slot))
            continue;
        size_t size = span->slot_bytes, offset = span_slot_address(span, slot) - base;
        marked[span->kind] += size;
        if (span->kind == KIND_NOSCAN)
            continue;
        size_t most = size >> (span->kind == KIND_MALLOC ? 2 : 3);  /* no division here */
        if (LIKELY(size <= INLINE_BYTES) && LIKELY(as_usual) &&
            LIKELY(offset <= heap - INLINE_BYTES) && LIKELY(tail - head + most <= QUEUE_WORDS)) {
            uintptr_t low = base + offset;
            tail = span->kind == KIND_MALLOC
                       ? queue_packed(tracer->address, QUEUE_WORDS, tail, low, low, low + size,
                                      base, heap)
                       : queue_words(tracer->address, QUEUE_WORDS, tail, low, low + size, base,
                                     heap);
            scanned += size;
        } else {
            tracer->head = head, tracer->ahead = ahead, tracer->tail = tail;
            trace_object(tracer, span, slot);   /* with distances it may take entries from the queue, too */
            head = tracer->head, ahead = tracer->ahead, tail = tracer->tail;
            bytes -= min_size(size, bytes);
        }
    }
    tracer->head = head, tracer->ahead = ahead, tracer->tail = tail;
    tracer_count(&tracer->scanned, scanned);
    for (unsigned kind = 0; kind < KINDS; kind++)
        count_marked(tracer, (enum kind)kind, marked[kind]);
}

/* Roots may be a copy in a buffer, so no part of the range is left for later: when there is no
 * room for more words, objects are scanned, or go to the worklist. */
void trace_word(struct tracer *tracer, uintptr_t word)
{
    uintptr_t address = word_address(word);

    if (heap_contains(address))
        note_address(tracer, address);
}

static void scan_stack(struct tracer *tracer, uintptr_t low, uintptr_t high)
{
    for (; low + sizeof(uintptr_t) <= high; low += PACKED_STEP) {
        uintptr_t word = load_word((const void *)low);
        trace_word(tracer, word);
        /* One past the end of an object is a multiple of 8, and so is where it stands. */
        if (word % 8 == 0 && low % 8 == 0)
            trace_word(tracer, word - 1);
    }
}

/* Addresses may stand at any byte, but not across the end. */
static void scan_code(struct tracer *tracer, uintptr_t low, uintptr_t high)
{
    for (; low + sizeof(uintptr_t) <= high; low++) {
        uintptr_t word;

        memcpy(&word, (const void *)low, sizeof word);
        trace_word(tracer, word);
    }
}

/* The main loop takes a fraction of what it takes to push an object and pop it again. */
static void make_room(struct tracer *tracer, bool may_trace)
{
    if (!may_trace) {
        push_next(tracer);
        return;
    }
    trace_queue(tracer, QUEUE_LEAST, TURN_BYTES);
    if (worklist_is_hungry(tracer->list))
        feed_others(tracer);
}

static void scan_data(struct tracer *tracer, uintptr_t low, uintptr_t high, bool may_trace)
{
    struct range range = { low, low, high, true, 0 };

    for (;;) {
        scan_words(tracer, &range, high);
        if (range.at == high)
            break;
        make_room(tracer, may_trace);
    }
}

void trace_root_range(struct tracer *tracer, enum root_kind kind, const uintptr_t *low,
                      const uintptr_t *high, bool may_trace)
{
    switch (kind) {
    case ROOT_STACK: scan_stack(tracer, (uintptr_t)low, (uintptr_t)high); break;
    case ROOT_CODE: scan_code(tracer, (uintptr_t)low, (uintptr_t)high); break;
    case ROOT_DATA: scan_data(tracer, (uintptr_t)low, (uintptr_t)high, may_trace); break;
    }
    if (worklist_is_hungry(tracer->list))
        work_share(tracer->list, &tracer->local);
}

void trace_own(struct tracer *tracer)
{
    struct work work;

    for (;;) {
        trace_queue(tracer, QUEUE_LEAST, UINT64_MAX);
        if (tracer->spilled != 0)
            unspill(tracer);
        else if (work_pop_own(&tracer->local, &work))
            scan_work(tracer, &work);
        else
            break;
    }
}

/* Until there is nothing to be had, or `limit` bytes have been looked at. */
static void trace_all(struct tracer *tracer, uint64_t limit)
{
    struct work work;

    while (tracer->scanned < limit) {
        if (worklist_is_hungry(tracer->list))
            feed_others(tracer);
        uint64_t bytes = min_size(limit - tracer->scanned, TURN_BYTES);
        if (queue_length(tracer) > QUEUE_LEAST)
            trace_queue(tracer, QUEUE_LEAST, bytes);
        else if (tracer->spilled != 0)
            unspill(tracer);
        else if (work_pop(tracer->list, &tracer->local, &work))
            scan_work(tracer, &work);
        else if (queue_length(tracer) != 0)
            trace_queue(tracer, 0, bytes);
        else
            break;
    }
}

void trace_to_closure(struct tracer *tracer)
{
    do
        trace_all(tracer, UINT64_MAX);
    while (worklist_wait(tracer->list, &tracer->local));
    ASSERT(!has_candidates(tracer));
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
    while (has_candidates(tracer))
        push_next(tracer);
    work_local_surrender(tracer->list, &tracer->local, false);
}
