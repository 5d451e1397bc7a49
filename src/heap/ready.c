/* ready.c -- see ready.h
 *
 * Why frees need no owner.  flush sets the slot's bit in `freed`, an atomic or (when it is not alone),
 * whoever owns the span; the old bit set means a double free.  The owner
 * merges the bits when it looks for free slots.  What is left to decide is who finds
 * a span that has free slots again: the thread that sets a bit in an idle span flips
 * `claimed` and files the span on the ready list of its home.  span_disown goes the
 * other way round (claimed := 0, then look at the bits), so one of the two sees the
 * other: both use read-modify-writes, which are full barriers.
 */
#include "heap/ready.h"

#include "base/check.h"
#include "base/sys.h"
#include "heap/pages.h"

enum {
    AHEAD = 16,                 /* entries, when a flush looks for their spans */
    /* Wholly free spans that are kept, so that one malloc/free pair does not flip a span each time: about so
     * many bytes on a thread's list, at most EMPTIES_MOST; fewer of those without a home, for many a
     * thread that ends leaves one of each class. */
    EMPTIES_BYTES = HOSTILE(512 << 10, 0),
    EMPTIES_MOST = 16,
    CENTRAL_BYTES = HOSTILE(64 << 10, 0),
    /* A list is searched for more of them when one span in so many is wholly free by the counts; for spans
     * of n pages, one in n times as many: a look costs a header, and yields pages. */
    TRIM_WALK = 8,
};

struct ready_list central[SPAN_CLASSES];

static void sweep_nothing(struct span *span)
{
    (void)span;
}

static AT_START span_sweeper sweeper = sweep_nothing;

void ready_set_sweeper(span_sweeper sweep)
{
    sweeper = sweep;
}

void span_ensure_swept(struct span *span)
{
    sweeper(span);
}

/* --- words that any thread may change: Note [ALONE] -------------------------
 *
 * Without a bus lock each change is one instruction: a handler of the program that frees comes before
 * or after it, never in between. */

INLINE uint64_t or_freed(struct slot_bits *bits, uint64_t mask)
{
    if (load_relaxed(&heap_shared) != 0)
        return fetch_or_acq_rel(&bits->freed, mask);
    uint64_t before = load_relaxed(&bits->freed);

    __asm__ volatile("orq %1, %0" : "+m"(bits->freed) : "r"(mask) : "cc");
    return before;
}

uint64_t span_take_freed(struct slot_bits *bits)
{
    if (load_relaxed(&heap_shared) != 0)
        return exchange_acquire(&bits->freed, 0);
    uint64_t before = load_relaxed(&bits->freed);

    __asm__ volatile("andq %1, %0" : "+m"(bits->freed) : "r"(~before) : "cc");
    return before;
}

void span_add_live(struct span *span, uint32_t slots)
{
    if (load_relaxed(&heap_shared) != 0)
        fetch_add_acq_rel(&span->live, slots);
    else
        __asm__ volatile("addl %1, %0" : "+m"(span->live) : "r"(slots) : "cc");
}

/* Returns whether none is live afterwards. */
INLINE bool subtract_live(struct span *span, uint32_t slots)
{
    bool none;

    if (load_relaxed(&heap_shared) != 0)
        return fetch_sub_acq_rel(&span->live, slots) == slots;
    __asm__ volatile("subl %2, %0" : "+m"(span->live), "=@ccz"(none) : "r"(slots) : "cc");
    return none;
}

/* --- ready lists ------------------------------------------------------------ */

static void ready_push(struct ready_list *list, struct span *span)
{
    struct span *head = load_relaxed(&list->head);

    do {
        span->next = head;
    } while (!cas_weak_release(&list->head, &head, span));
    fetch_add_relaxed(&list->length, 1);
}

struct span *ready_take_all(struct ready_list *list)
{
    if (load_relaxed(&list->head) == NULL)
        return NULL;
    store_relaxed(&list->length, 0);
    store_relaxed(&list->empties, 0);
    return exchange_acquire(&list->head, NULL);
}

/* The list is mostly empty then. */
void ready_put_back(struct ready_list *list, struct span *chain, uint32_t length, uint32_t empties)
{
    struct span *head = NULL;

    while (!cas_weak_release(&list->head, &head, chain)) {
        struct span *newer = exchange_acquire(&list->head, NULL);
        struct span **end = &newer;

        while (*end != NULL)
            end = &(*end)->next;
        *end = chain;
        chain = newer;
        head = NULL;
    }
    fetch_add_relaxed(&list->length, length);
    if (empties != 0)
        fetch_add_relaxed(&list->empties, empties);
}

struct span *ready_take_some(struct ready_list *list, uint32_t count)
{
    uint32_t length = load_relaxed(&list->length), empties = load_relaxed(&list->empties), taken = 0;
    struct span *chain = ready_take_all(list), *rest = chain, *last = NULL;

    for (; taken < count && rest != NULL; taken++) {
        last = rest;
        rest = rest->next;
        empties -= empties != 0 && load_relaxed(&last->live) == 0;
    }
    if (rest != NULL) {
        last->next = NULL;
        ready_put_back(list, rest, length > taken ? length - taken : 0, empties);
    }
    return chain;
}

static size_t span_bytes_of(unsigned span_class)
{
    return (size_t)size_classes[span_class_size_class(span_class)].pages << PAGE_SHIFT;
}

static uint32_t empties_tolerated(unsigned span_class)
{
    return (uint32_t)min_size(EMPTIES_BYTES / span_bytes_of(span_class), EMPTIES_MOST);
}

static uint32_t central_tolerated(unsigned span_class)
{
    return (uint32_t)max_size(CENTRAL_BYTES / span_bytes_of(span_class), HOSTILE(1, 0));
}

/* Where a span of the class waits for whoever takes slots: its home, if it is one that does. */
static struct ready_list *list_of(struct mcache *home, unsigned span_class)
{
    bool takes = mcache_is_used(home) && load_relaxed(&home->classes[span_class].current) != NULL;

    return takes ? &home->classes[span_class].ready : &central[span_class];
}

/* Of a span that another may take meanwhile. */
static bool has_free_slot(const struct span *span)
{
    for (uint32_t w = 0; w * 64 < span->slots; w++) {
        const struct slot_bits *bits = &span->bits[w];
        uint64_t objects = load_relaxed(&bits->alloc) | load_relaxed(&bits->condemned);
        uint64_t used = objects & ~load_seq_cst(&bits->freed);
        uint32_t here = (uint32_t)min_size(span->slots - w * 64, 64);
        if (count_bits(used) < here)
            return true;
    }
    return false;
}

void span_disown(struct span *span)
{
    exchange_seq_cst(&span->claimed, 0);
    if (has_free_slot(span) && exchange_seq_cst(&span->claimed, 1) == 0)
        ready_push(list_of(load_relaxed(&span->home), span->span_class), span);
}

/* The spans stay in their order, the wholly free ones last. */
size_t ready_trim(struct ready_list *list, uint32_t keep)
{
    struct span *next, *first = NULL, **end = &first, *empties = NULL;
    uint32_t length = 0, kept = 0;
    size_t freed = 0;

    for (struct span *span = ready_take_all(list); span != NULL; span = next) {
        next = span->next;
        span_ensure_swept(span);
        if (load_acquire(&span->live) != 0) {
            *end = span;
            end = &span->next;
            length++;
        } else if (kept < keep) {
            span->next = empties;
            empties = span;
            kept++;
        } else {
            pages_free(span);
            freed++;
        }
    }
    *end = empties;
    if (first != NULL)
        ready_put_back(list, first, length + kept, kept);
    return freed;
}

void ready_push_central(struct span *span)
{
    struct ready_list *list = &central[span->span_class];

    store_relaxed(&span->home, NULL);
    span->next_word = 0;        /* where most has been in use before, so that less memory is touched */
    span_ensure_swept(span);
    if (load_acquire(&span->live) != 0) {
        if (has_free_slot(span))
            ready_push(list, span);
        else
            span_disown(span);
    } else if (load_relaxed(&list->empties) < central_tolerated(span->span_class)) {
        fetch_add_relaxed(&list->empties, 1);
        ready_push(list, span);
    } else {
        pages_free(span);
    }
}

/* --- freeing ------------------------------------------------------------------- */

void span_die_double_free(const struct span *span, const void *block)
{
    die("double free of %p (%zu-byte block, thread %d)", block, span->slot_bytes, sys_gettid());
}

/* A span has no live slot any more.  It may be on central although it has a home. */
static NOINLINE void count_empty(struct ready_list *list, unsigned span_class)
{
    size_t pages = size_classes[span_class_size_class(span_class)].pages;
    bool homeless = list == &central[span_class];
    uint32_t tolerated = homeless ? central_tolerated(span_class) : empties_tolerated(span_class);
    uint32_t empties = fetch_add_relaxed(&list->empties, 1) + 1;
    size_t length = load_relaxed(&central[span_class].length) + (homeless ? 0 : load_relaxed(&list->length));

    if (empties <= tolerated || empties * pages * TRIM_WALK <= length)
        return;
    if (!homeless)
        ready_trim(list, tolerated / 2);
    ready_trim(&central[span_class], central_tolerated(span_class) / 2);
}

/* After bits of a span were set in `freed`: makes sure somebody will find them,
 * and that a span without live slots goes back one day.  Once `live` is subtracted the
 * span may be somebody else's: nothing of it is read after that. */
INLINE void slots_freed(struct span *span, uint32_t count)
{
    unsigned span_class = load_relaxed(&span->span_class);
    struct mcache *home = load_relaxed(&span->home);

    if (UNLIKELY(load_relaxed(&span->claimed) == 0) && exchange_seq_cst(&span->claimed, 1) == 0)
        ready_push(list_of(home, span_class), span);
    if (UNLIKELY(subtract_live(span, count)))
        count_empty(list_of(home, span_class), span_class);
}

INLINE void release_word(struct span *span, uint32_t word, uint64_t mask, uint32_t count)
{
    uint64_t before = or_freed(&span->bits[word], mask);

    if (UNLIKELY((before & mask) != 0))
        span_die_double_free(span, (void *)span_slot_address(span, word * 64 + lowest_bit(before & mask)));
    slots_freed(span, count);
}

void span_release_slots(struct span *span, uint32_t word, uint64_t mask)
{
    release_word(span, word, mask, count_bits(mask));
}

void span_release_slot(struct span *span, uint32_t slot)
{
    release_word(span, slot >> 6, 1ull << (slot & 63), 1);
}

/* Neighbours in a magazine are often neighbours in a span: their bits go out
 * together.  Returns the first entry of another word. */
INLINE const struct cached *release_neighbours(const struct cached *entry, const struct cached *end)
{
    struct span *span = span_of((uintptr_t)entry->slot);
    uint32_t word = (uint32_t)(entry->state - span->slot_state) >> 6;
    const struct cached *start = entry;
    const uint8_t *first = span->slot_state + word * 64;
    uint64_t mask = 0;

    /* A state byte of another span is not one of these 64. */
    for (size_t bit; entry < end && (bit = (size_t)(entry->state - first)) < 64; entry++) {
        if (UNLIKELY((mask >> bit & 1) != 0))
            span_die_double_free(span, entry->slot);
        mask |= 1ull << bit;
    }
    release_word(span, word, mask, (uint32_t)(entry - start));
    return entry;
}

/* The cache misses of the spans overlap: headers first, then the words, which they tell. */
static void look_ahead(const struct cached *entry)
{
    const struct span *span = span_of((uintptr_t)entry[AHEAD].slot);

    PREFETCH(span);
    PREFETCH_WRITE(&span->live);
    entry += AHEAD / 2;
    span = span_of((uintptr_t)entry->slot);
    PREFETCH_WRITE(&span->bits[(uint32_t)(entry->state - span->slot_state) >> 6]);
}

FAST void cached_release(const struct cached *entry, uint32_t count)
{
    const struct cached *end = entry + count;

    while (entry < end) {
        if (entry + AHEAD < end)
            look_ahead(entry);
        entry = release_neighbours(entry, end);
    }
}
