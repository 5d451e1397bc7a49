/* mcache.c -- see mcache.h
 *
 * Why frees need no owner.  flush sets the slot's bit in `freed`, an atomic or,
 * whoever owns the span; the old bit set means a double free.  The owner
 * merges the bits when it looks for free slots.  What is left to decide is who finds
 * a span that has free slots again: the thread that sets a bit in an idle span flips
 * `claimed` and files the span on the ready list of its home.  span_disown does the
 * opposite order (claimed := 0, then look at the bits), so one of the two sees the
 * other: both use read-modify-writes, which are full barriers.
 */
#include "heap/mcache.h"

#include <string.h>

#include "base/check.h"
#include "base/options.h"
#include "base/sys.h"
#include "heap/pages.h"

enum {
    /* A magazine holds about MAGAZINE_BYTES, between LEAST and MOST slots: large
     * enough for the swings of a program's working set, small enough that a thread
     * that falls asleep does not sit on much. */
    MAGAZINE_BYTES = HOSTILE(64 << 10, 64),
    MAGAZINE_LEAST = HOSTILE(3, 1),
    MAGAZINE_MOST = HOSTILE(1024, 2),
    MAGAZINE_MOST_GC = HOSTILE(128, 2),
    CLEAN_BYTES = 8 << 10,      /* cleared at a time: they should still be in the cache when used */
    FLUSH_BATCH = HOSTILE(64, 1),           /* slots looked up together, so that their cache misses overlap */
    /* Wholly free spans a ready list may hold, so that one malloc/free pair does not flip
     * a span each time: about so many bytes, at most so many spans.  A list that holds
     * more, and more than a quarter of its length, is trimmed to half of that. */
    EMPTIES_BYTES = HOSTILE(512 << 10, 0),
    EMPTIES_MOST = 8,
};

struct ready_list central[SPAN_CLASSES];

static uint16_t capacity(unsigned span_class)
{
    size_t bytes = size_classes[span_class_size_class(span_class)].slot_bytes;

    if (bytes == 0)
        return 0;
    size_t slots = max_size(MAGAZINE_BYTES / bytes, MAGAZINE_LEAST);

    return (uint16_t)min_size(slots, span_class_kind(span_class) == KIND_MALLOC ? MAGAZINE_MOST
                                                                                 : MAGAZINE_MOST_GC);
}

uint16_t mcache_limit(unsigned span_class)
{
    bool shared = span_class == span_class_of(KIND_NOSCAN, SIZE_CLASS_16);

    return options.hardened || shared ? 0 : capacity(span_class);
}

/* How many slots a refill takes: exactly one in hardened mode, so that every slot
 * whose alloc bit is set is in the program's hands. */
static uint32_t refill_slots(unsigned span_class)
{
    size_t slots = capacity(span_class);

    if (options.hardened)
        return 1;
    if (span_class_is_clean(span_class))
        slots = min_size(slots, CLEAN_BYTES / size_classes[span_class_size_class(span_class)].slot_bytes);
    return (uint32_t)slots;
}

static void sweep_nothing(struct span *span)
{
    (void)span;
}

static span_sweeper ensure_swept = sweep_nothing;

void mcache_set_sweeper(span_sweeper sweep)
{
    ensure_swept = sweep;
}

void mcache_init(struct mcache *cache)
{
    struct cached *at = cache->entries;

    for (unsigned c = 0; c < SPAN_CLASSES; c++) {
        /* gccheckmark: every free goes the slow way, which clears the block. */
        bool slow = options.gccheckmark || span_class_is_clean(c);
        cache->magazines[c].limit = slow ? 0 : mcache_limit(c);
        cache->magazines[c].entries = at;
        at += capacity(c) + 1;
    }
    CHECK(at <= cache->entries + MCACHE_ENTRIES);
}

void mcache_close(struct mcache *cache)
{
    for (unsigned c = 0; c < SPAN_CLASSES; c++)
        cache->magazines[c].limit = 0;
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

static struct span *ready_take_all(struct ready_list *list)
{
    if (load_relaxed(&list->head) == NULL)
        return NULL;
    store_relaxed(&list->length, 0);
    store_relaxed(&list->empties, 0);
    return exchange_acquire(&list->head, NULL);
}

static uint32_t empties_tolerated(unsigned span_class)
{
    size_t span_bytes = (size_t)size_classes[span_class_size_class(span_class)].pages << PAGE_SHIFT;

    return (uint32_t)min_size(EMPTIES_BYTES / span_bytes, EMPTIES_MOST);
}

static struct ready_list *home_list(const struct span *span)
{
    struct mcache *home = load_relaxed(&span->home);

    return home != NULL ? &home->ready[span->span_class] : &central[span->span_class];
}

static bool has_free_slot(const struct span *span)
{
    for (uint32_t w = 0; w * 64 < span->slots; w++) {
        const struct slot_bits *bits = &span->bits[w];
        uint64_t used = (load_relaxed(&bits->alloc) | bits->condemned) & ~load_seq_cst(&bits->freed);
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
        ready_push(home_list(span), span);
}

size_t ready_trim(struct ready_list *list, uint32_t keep)
{
    struct span *next;
    uint32_t kept = 0;
    size_t freed = 0;

    for (struct span *span = ready_take_all(list); span != NULL; span = next) {
        next = span->next;
        ensure_swept(span);
        if (load_acquire(&span->live) != 0) {
            ready_push(list, span);
        } else if (kept < keep) {
            kept++;
            ready_push(list, span);
        } else {
            pages_free(span);
            freed++;
        }
    }
    fetch_add_relaxed(&list->empties, kept);
    return freed;
}

/* --- freeing ------------------------------------------------------------------- */

static COLD NORETURN void die_double_free(const struct span *span, uint32_t slot)
{
    die("double free of %p (%zu-byte block, thread %d)", (void *)span_slot_address(span, slot),
        span->slot_bytes, sys_gettid());
}

/* After bits of a span were set in `freed`: makes sure somebody will find them,
 * and that a span without live slots goes back one day.  Once `live` is subtracted the
 * span may be somebody else's: nothing of it is read after that. */
static void slots_freed(struct span *span, uint32_t count)
{
    unsigned span_class = load_relaxed(&span->span_class);
    struct ready_list *list = home_list(span);

    if (load_relaxed(&span->claimed) == 0 && exchange_seq_cst(&span->claimed, 1) == 0)
        ready_push(list, span);
    if (fetch_sub_acq_rel(&span->live, count) != count)
        return;
    uint32_t empties = fetch_add_relaxed(&list->empties, 1) + 1;
    uint32_t tolerated = empties_tolerated(span_class);

    if (empties > tolerated && empties > load_relaxed(&list->length) / 4)
        ready_trim(list, tolerated / 2);
}

static void set_freed(struct span *span, uint32_t word, uint64_t mask, uint32_t count)
{
    uint64_t before = fetch_or_acq_rel(&span->bits[word].freed, mask);

    if (UNLIKELY((before & mask) != 0))
        die_double_free(span, word * 64 + lowest_bit(before & mask));
    slots_freed(span, count);
}

void span_release_slot(struct span *span, uint32_t slot)
{
    set_freed(span, slot >> 6, 1ull << (slot & 63), 1);
}

/* Neighbours in a magazine are often neighbours in a span: their bits go out
 * together.  Returns how many entries, from the first, are in the same word. */
static uint32_t release_neighbours(const struct cached *entries, struct span *const *spans,
                                   uint32_t count)
{
    struct span *span = spans[0];
    uint32_t first = (uint32_t)(entries[0].state - span->slot_state);
    uint64_t mask = 1ull << (first & 63);
    uint32_t done = 1;

    for (; done < count && spans[done] == span; done++) {
        uint32_t slot = (uint32_t)(entries[done].state - span->slot_state);
        uint64_t bit = 1ull << (slot & 63);
        if ((slot ^ first) >> 6 != 0)
            break;
        if (UNLIKELY((mask & bit) != 0))
            die_double_free(span, slot);
        mask |= bit;
    }
    set_freed(span, first >> 6, mask, done);
    return done;
}

/* At most FLUSH_BATCH; the cache misses of their spans overlap. */
static void release_slots(const struct cached *entries, uint32_t count)
{
    struct span *spans[FLUSH_BATCH];

    for (uint32_t i = 0; i < count; i++) {
        spans[i] = span_of((uintptr_t)entries[i].slot);
        PREFETCH_WRITE(spans[i]);
    }
    for (uint32_t done = 0; done < count;)
        done += release_neighbours(entries + done, spans + done, count - done);
}

void mcache_flush(struct mcache *cache, unsigned span_class, uint32_t count)
{
    struct magazine *magazine = &cache->magazines[span_class];

    count = (uint32_t)min_size(count, magazine->fill);
    for (uint32_t done = 0; done < count; done += FLUSH_BATCH)
        release_slots(magazine->entries + done, (uint32_t)min_size(count - done, FLUSH_BATCH));
    memmove(magazine->entries, magazine->entries + count,
            (magazine->fill - count) * sizeof *magazine->entries);
    magazine->fill -= count;
    cache->flushes++;
    cache->freed_count += count;
    size_t bytes = count * size_classes[span_class_size_class(span_class)].slot_bytes;

    cache->freed_bytes += bytes;
    if (span_class_kind(span_class) != KIND_MALLOC)
        cache->gc_bytes -= (int64_t)bytes;
    cache->class_flushed[span_class] += count;
}

/* --- refilling --------------------------------------------------------------------- */

/* A second marker that looks at uninitialised memory must not find stale pointers. */
static COLD void clear_slots(const struct span *span, uint32_t word, uint64_t slots)
{
    for (; slots != 0; slots &= slots - 1)
        memset((void *)span_slot_address(span, word * 64 + lowest_bit(slots)), 0, span->slot_bytes);
}

/* The same for a class that is clean; what has never been handed out of a fresh span is. */
static void clean_slots(struct span *span, uint32_t word, uint64_t slots)
{
    uint32_t virgin = span->virgin, first = word * 64;

    span->virgin = (uint32_t)max_size(virgin, first + log2_floor(slots) + 1);
    if (span->zeroed && virgin < first + 64)
        slots &= virgin > first ? ~(~0ull << (virgin - first)) : 0;
    while (slots != 0) {
        uint32_t low = lowest_bit(slots);
        uint64_t above = ~(slots >> low);
        uint32_t run = above != 0 ? lowest_bit(above) : 64;
        memset((void *)span_slot_address(span, first + low), 0, run * span->slot_bytes);
        slots = low + run < 64 ? slots >> (low + run) << (low + run) : 0;
    }
}

/* Puts the slots of one word into the magazine, highest address first, so that
 * they are handed out in address order. */
static void push_word(struct mcache *cache, unsigned span_class, const struct span *span,
                      uint32_t word, uint64_t taken)
{
    struct magazine *magazine = &cache->magazines[span_class];
    struct cached *entry = magazine->entries + magazine->fill;
    size_t bytes = span->slot_bytes;

    magazine->fill += count_bits(taken);
    while (taken != 0) {        /* a run of neighbours: nothing in it depends on the bit before */
        uint32_t high = log2_floor(taken);
        uint64_t gap = ~(taken << (63 - high));
        uint32_t run = gap != 0 ? 63 - log2_floor(gap) : 64;
        uintptr_t slot = span_slot_address(span, word * 64 + high);
        uint8_t *state = &span->slot_state[word * 64 + high];
        for (uint32_t i = 0; i < run; i++, slot -= bytes)
            *entry++ = (struct cached){ (void *)slot, state - i };
        taken &= run <= high ? (2ull << (high - run)) - 1 : 0;
    }
}

/* Keeps the lowest `count` bits. */
static uint64_t lowest_bits(uint64_t word, uint32_t count)
{
    uint64_t rest = word;

    for (uint32_t i = 0; i < count && rest != 0; i++)
        rest &= rest - 1;
    return word & ~rest;
}

/* Free slots of a span that we own and that is swept, from one word, at most `want`. */
static uint32_t take_slots(struct mcache *cache, unsigned span_class, struct span *span,
                           uint32_t want)
{
    uint32_t words = (span->slots + 63) / 64;

    for (uint32_t i = 0; i < words; i++) {
        uint32_t w = span->next_word + i < words ? span->next_word + i
                                                 : span->next_word + i - words;
        struct slot_bits *bits = &span->bits[w];
        if (load_relaxed(&bits->freed) != 0) {
            uint64_t freed = exchange_acquire(&bits->freed, 0);
            store_relaxed(&bits->alloc, bits->alloc & ~freed);
            store_relaxed(&bits->condemned, bits->condemned & ~freed);
        }
        uint64_t valid = span->slots - w * 64 >= 64 ? ~0ull : (1ull << (span->slots - w * 64)) - 1;
        uint64_t taken = ~(bits->alloc | bits->condemned) & valid;
        if (taken == 0)
            continue;
        if (count_bits(taken) > want)
            taken = lowest_bits(taken, want);
        /* I2: marked first, so that nobody sees an allocated slot without its mark. */
        if (UNLIKELY(load_relaxed(&span_allocate_black)))
            fetch_or_acq_rel(&bits->black, taken);
        store_release(&bits->alloc, bits->alloc | taken);
        fetch_add_acq_rel(&span->live, count_bits(taken));
        span->next_word = w;
        if (w + 1 < words) {    /* the next refill's; the sweep left them in another core's cache */
            PREFETCH_WRITE(&bits[1]);
            PREFETCH_WRITE(&span->slot_state[(w + 1) * 64]);
        }
        if (span_class_is_clean(span_class))
            clean_slots(span, w, taken);
        else if (UNLIKELY(options.gccheckmark))
            clear_slots(span, w, taken);
        push_word(cache, span_class, span, w, taken);
        return count_bits(taken);
    }
    return 0;
}

static void count_refill(struct mcache *cache, unsigned span_class, uint32_t slots)
{
    cache->refills++;
    cache->allocated_count += slots;
    size_t bytes = slots * size_classes[span_class_size_class(span_class)].slot_bytes;

    cache->allocated_bytes += bytes;
    if (span_class_kind(span_class) != KIND_MALLOC)
        cache->gc_bytes += (int64_t)bytes;
    cache->class_refilled[span_class] += slots;
}

static struct span *next_ready(struct mcache *cache, unsigned span_class)
{
    struct span *span = cache->taken[span_class];

    if (span == NULL)
        span = ready_take_all(&cache->ready[span_class]);
    if (span != NULL)
        cache->taken[span_class] = span->next;
    return span;
}

uint32_t mcache_refill(struct mcache *cache, unsigned span_class)
{
    uint32_t want = refill_slots(span_class);

    for (;;) {
        struct span *span = cache->current[span_class];
        if (span == NULL) {
            span = next_ready(cache, span_class);
            if (span == NULL)
                return 0;
            store_relaxed(&span->home, cache);
            cache->current[span_class] = span;
        }
        ensure_swept(span);
        uint32_t taken = take_slots(cache, span_class, span, want);
        if (taken != 0) {
            count_refill(cache, span_class, taken);
            return taken;
        }
        cache->current[span_class] = NULL;
        span_disown(span);
    }
}

uint32_t mcache_adopt(struct mcache *cache, unsigned span_class, struct span *span)
{
    ASSERT(cache->current[span_class] == NULL);
    store_relaxed(&span->home, cache);
    cache->current[span_class] = span;
    uint32_t taken = take_slots(cache, span_class, span, refill_slots(span_class));

    count_refill(cache, span_class, taken);
    return taken;
}

bool mcache_take_central(struct mcache *cache, unsigned span_class)
{
    struct span *span = ready_take_all(&central[span_class]);

    if (span == NULL)
        return false;
    /* Some for us, the rest stays for others: half of the chain would need its
     * length; a handful is enough to amortise the exchange. */
    struct span *last = span;

    for (int i = 0; i < 3 && last->next != NULL; i++)
        last = last->next;
    struct span *rest = last->next;

    last->next = cache->taken[span_class];
    cache->taken[span_class] = span;
    for (struct span *next; rest != NULL; rest = next) {
        next = rest->next;
        ready_push(&central[span_class], rest);
    }
    return true;
}

/* --- the end of a thread ---------------------------------------------------------------- */

static void abandon_span(struct span *span)
{
    store_relaxed(&span->home, NULL);
    span_disown(span);
}

static void abandon_ready(struct mcache *cache, unsigned span_class)
{
    struct span *next;

    for (struct span *span = ready_take_all(&cache->ready[span_class]); span != NULL; span = next) {
        next = span->next;
        abandon_span(span);
    }
}

void mcache_abandon_ready(struct mcache *cache)
{
    for (unsigned c = 0; c < SPAN_CLASSES; c++)
        abandon_ready(cache, c);
}

static void abandon_class(struct mcache *cache, unsigned span_class)
{
    struct span *next;

    if (cache->magazines[span_class].fill != 0)
        mcache_flush(cache, span_class, UINT32_MAX);
    if (cache->current[span_class] != NULL) {
        abandon_span(cache->current[span_class]);
        cache->current[span_class] = NULL;
    }
    for (struct span *span = cache->taken[span_class]; span != NULL; span = next) {
        next = span->next;
        abandon_span(span);
    }
    cache->taken[span_class] = NULL;
    abandon_ready(cache, span_class);
}

void mcache_abandon(struct mcache *cache)
{
    for (unsigned c = 0; c < SPAN_CLASSES; c++)
        abandon_class(cache, c);
    for (unsigned c = 0; c < SPAN_CLASSES; c++)
        if (load_relaxed(&central[c].length) > EMPTIES_MOST)
            ready_trim(&central[c], EMPTIES_MOST / 2);
}
