/* mcache.c -- see mcache.h */
#include "heap/ready.h"

#include <string.h>

#include "base/check.h"
#include "base/options.h"
#include "heap/clean.h"

enum {
    /* A magazine holds about MAGAZINE_BYTES, between LEAST and MOST slots: large
     * enough for the swings of a program's working set, small enough that a thread
     * that falls asleep does not sit on much.  It begins with FIRST, so that a small process or
     * thread touches little, and grows when a refill finds it too small for a word of
     * slots, or a free finds it full. */
    MAGAZINE_BYTES = HOSTILE(64 << 10, 64),
    MAGAZINE_LEAST = HOSTILE(3, 1),
    MAGAZINE_MOST = HOSTILE(1024, 2),
    MAGAZINE_FIRST = HOSTILE(16, 1),
    MAGAZINE_GROWTH = HOSTILE(4, 2),
    GIVEN_BYTES = 16 << 10,     /* what it holds of a class that the thread does not allocate of, about */
    /* The magazine of a class that swings by more may hold SWING_BYTES; all of a thread together
     * SWING_THREAD more than they would, those of all threads SWING_PROCESS. */
    SWING_GROWTH = HOSTILE(4, 2),
    SWING_BYTES = HOSTILE(5 << 18, 256),    /* a thousand blocks of 1 KiB, with their byte more */
    SWING_THREAD = 4 << 20,
    SWING_PROCESS = 16 << 20,
    REFILL_FIRST = HOSTILE(8, 64),          /* slots, or REFILL_BYTES; then 24, then whole words, */
    REFILL_BYTES = 2 << 10,
    REFILL_WORDS = 4,                       /* so many of them when the thread has freed many, too */
    /* Where there are MANY_CACHES a thread's first FRESH_SHORT fresh spans of a class are short. */
    MANY_CACHES = HOSTILE(16, 1),
    FRESH_SHORT = HOSTILE(3, 8),
    FRESH_SLOTS = HOSTILE(4, 1),
    TAKEN_SPANS = 32,           /* off the ready list at a time: what has been taken is not trimmed */
    CLEAN_BYTES = 8 << 10,      /* cleared at a time: they should still be in the cache when used */
};

/* Bytes that all threads' magazines may hold beyond their capacity.  Atomic. */
static AT_START uint64_t swinging;
/* Caches in use.  Atomic. */
static AT_START uint32_t caches;

static uint16_t capacity(unsigned span_class)
{
    size_t bytes = size_classes[span_class_size_class(span_class)].slot_bytes;

    if (bytes == 0)
        return 0;
    return (uint16_t)min_size(max_size(MAGAZINE_BYTES / bytes, MAGAZINE_LEAST), MAGAZINE_MOST);
}

uint16_t mcache_limit(unsigned span_class)
{
    return options.hardened || span_class_is_clean(span_class) ? 0 : capacity(span_class);
}

void mcache_init(struct mcache *cache, struct cached *entries)
{
    cache->entries_start = (uint32_t)((char *)entries - (char *)cache);
    cache->entries_used = cache->entries_start;
    cache->entries_end = cache->entries_start +
                         (MCACHE_ENTRIES - OUTBOX_ENTRIES) * (uint32_t)sizeof *entries;
}

static void begin_use(struct mcache *cache)
{
    if (LIKELY(cache->used))
        return;
    cache->used = true;
    fetch_add_relaxed(&caches, 1);
}

/* To a larger array at `bottom`; the old one stays behind.  Nobody is stopped in here, and no fast
 * path is under way: they all see one array or the other. */
static void magazine_move(struct mcache *cache, unsigned span_class, uint32_t bottom, uint32_t room)
{
    struct class_cache *class = &cache->classes[span_class];
    uint32_t fill = magazine_fill(cache, span_class);
    const struct cached *old = magazine_entry(cache, span_class, 0);

    class->room = (uint16_t)room;
    class->bottom = bottom;
    magazine_entry(cache, span_class, 0)[-1] = (struct cached){ NULL, NULL };
    memcpy(magazine_entry(cache, span_class, 0), old, fill * sizeof *old);
    magazine_set_fill(cache, span_class, fill);
    cache->magazines[span_class].limit = 0;
}

/* One more, which is empty, below the first.  Whoever stops the thread looks at the entry after the last:
 * that is the empty one of the next array, or of the outbox. */
static uint32_t array_bytes(size_t room)
{
    return (uint32_t)((room + 1) * sizeof(struct cached));
}

static uint32_t swing_start(const struct mcache *cache)
{
    return cache->entries_end - SWING_ENTRIES * (uint32_t)sizeof(struct cached);
}

/* For how many slots there may be room: fewer if the thread does not allocate of the class. */
static size_t most_room(const struct mcache *cache, unsigned span_class)
{
    size_t bytes = size_classes[span_class_size_class(span_class)].slot_bytes;
    size_t most = capacity(span_class);

    if (cache->classes[span_class].last_refill == 0)
        most = min_size(most, max_size(GIVEN_BYTES / bytes, MAGAZINE_FIRST));
    return most;
}

static void magazine_grow(struct mcache *cache, unsigned span_class)
{
    size_t room = cache->classes[span_class].room;
    uint32_t bottom = cache->entries_used;

    room = min_size(room == 0 ? MAGAZINE_FIRST : room * MAGAZINE_GROWTH, most_room(cache, span_class));
    begin_use(cache);
    cache->entries_used += array_bytes(room);
    CHECK(cache->entries_used <= swing_start(cache));
    magazine_move(cache, span_class, bottom, (uint32_t)room);
}

/* Takes so many bytes from what magazines may hold beyond their capacity. */
static bool take_swing(struct mcache *cache, size_t bytes)
{
    if (bytes > SWING_THREAD - cache->swing_bytes)
        return false;
    if (fetch_add_relaxed(&swinging, bytes) + bytes > SWING_PROCESS) {
        fetch_sub_relaxed(&swinging, bytes);
        return false;
    }
    cache->swing_bytes += (uint32_t)bytes;
    return true;
}

/* A full magazine need not be flushed when the thread will want it all back: it has refilled as much
 * as a flush returns since the last time.  False: it must be. */
static bool magazine_extend(struct mcache *cache, unsigned span_class)
{
    struct class_cache *class = &cache->classes[span_class];
    size_t bytes = size_classes[span_class_size_class(span_class)].slot_bytes;
    bool swings = class->flushed != 0 && (uint32_t)class->refilled - class->flush_seen >= class->room / 2;
    size_t most = min_size(SWING_BYTES / bytes, MAGAZINE_MOST);
    size_t room = min_size((size_t)class->room * SWING_GROWTH, most);
    uint32_t bottom = swing_start(cache) + cache->swing_used;

    class->flush_seen = (uint32_t)class->refilled;
    if (!swings || room <= class->room || span_class_kind(span_class) != KIND_MALLOC ||
        bottom + array_bytes(room) > cache->entries_end || !take_swing(cache, (room - class->room) * bytes))
        return false;
    cache->swing_used += array_bytes(room);
    magazine_move(cache, span_class, bottom, (uint32_t)room);
    return true;
}

void magazine_open(struct mcache *cache, unsigned span_class)
{
    struct magazine *magazine = &cache->magazines[span_class];
    const struct class_cache *class = &cache->classes[span_class];

    if (class->room == 0)
        magazine_grow(cache, span_class);
    /* With gccheckmark every free goes the slow way, which clears the block. */
    if (mcache_limit(span_class) != 0 && !load_relaxed(&span_free_black) && !options.gccheckmark)
        magazine->limit = class->bottom + class->room * (uint32_t)sizeof(struct cached);
}

static bool is_small(const struct mcache *cache, unsigned span_class)
{
    return cache->classes[span_class].room < most_room(cache, span_class);
}

void mcache_close(struct mcache *cache)
{
    for (unsigned c = 0; c < SPAN_CLASSES; c++)
        cache->magazines[c].limit = 0;
    cache->outbox.limit = 0;
}

static void mark_used(struct mcache *cache)
{
    if (UNLIKELY(load_relaxed(&cache->abandoned)))
        store_relaxed(&cache->abandoned, 0);
}

/* Makes room for one more. */
static void magazine_prepare(struct mcache *cache, unsigned span_class)
{
    const struct class_cache *class = &cache->classes[span_class];

    if (magazine_fill(cache, span_class) >= class->room && is_small(cache, span_class))
        magazine_grow(cache, span_class);
    if (magazine_fill(cache, span_class) >= class->room && !magazine_extend(cache, span_class))
        mcache_flush(cache, span_class, (class->room + 1) / 2);
    if (cache->magazines[span_class].limit == 0)
        magazine_open(cache, span_class);
}

/* A span without a home gets one here: what a thread inherits it uses again, and its next free of such a
 * slot need not ask. */
static bool is_home(struct mcache *cache, struct span *span)
{
    struct mcache *home = load_relaxed(&span->home);

    if (home == cache)
        return true;
    if (mcache_is_used(home) || !cas_acq_rel(&span->home, &home, cache))
        return false;
    mark_used(cache);
    return true;
}

/* The magazine has room afterwards even if the slot goes elsewhere: free looks at it first. */
void mcache_push(struct mcache *cache, struct span *span, struct cached entry)
{
    unsigned span_class = span->span_class;

    magazine_prepare(cache, span_class);
    if (!is_home(cache, span)) {
        outbox_push(cache, entry, span->slot_bytes);
        return;
    }
    uint32_t fill = magazine_fill(cache, span_class);

    *magazine_entry(cache, span_class, fill) = entry;
    magazine_set_fill(cache, span_class, fill + 1);
}

void mcache_count_flushed(struct mcache *cache, unsigned span_class, uint32_t slots)
{
    size_t bytes = slots * size_classes[span_class_size_class(span_class)].slot_bytes;

    cache->freed_count += slots;
    cache->freed_bytes += bytes;
    if (span_class_kind(span_class) != KIND_MALLOC)
        cache->gc_bytes -= (int64_t)bytes;
    cache->classes[span_class].flushed += slots;
}

static void flush_strip(struct mcache *cache, unsigned span_class, struct strip *strip)
{
    uint64_t slots = strip->free;

    if (slots == 0)
        return;
    struct span *span = span_of(strip->first);

    strip->free = 0;
    span_release_slots(span, (uint32_t)(strip->states - span->slot_state) / 64, slots);
    mcache_count_flushed(cache, span_class, count_bits(slots));
}

void mcache_flush(struct mcache *cache, unsigned span_class, uint32_t count)
{
    struct strip *strip = mcache_strip(cache, span_class);

    if (strip != NULL) {
        flush_strip(cache, span_class, strip);
        return;
    }
    uint32_t fill = magazine_fill(cache, span_class);
    struct cached *entries = magazine_entry(cache, span_class, 0);

    count = (uint32_t)min_size(count, fill);
    cached_release(entries, count);
    memmove(entries, entries + count, (fill - count) * sizeof *entries);
    magazine_set_fill(cache, span_class, fill - count);
    cache->flushes++;
    mcache_count_flushed(cache, span_class, count);
}

/* --- refilling --------------------------------------------------------------------- */

typedef uint64_t word_pair VECTOR(16, 8);

/* Entries below `entry`, for neighbours from the first on. */
static void push_run(struct cached *entry, uintptr_t slot, uint8_t *state, size_t slot_bytes,
                     uint32_t count)
{
    word_pair next = { slot, (uintptr_t)state };

    for (; count != 0; count--) {
        *(word_pair *)--entry = next;
        next += (word_pair){ slot_bytes, 1 };
    }
}

/* Puts the slots of one word into the magazine, highest address first, so that
 * they are handed out in address order. */
static void push_word(struct mcache *cache, unsigned span_class, const struct span *span,
                      uint32_t word, uint64_t taken)
{
    uint32_t count = count_bits(taken), fill = magazine_fill(cache, span_class) + count;
    struct cached *entry = magazine_entry(cache, span_class, fill);
    size_t slot_bytes = span->slot_bytes;
    uintptr_t first = span_slot_address(span, word * 64);
    uint8_t *states = &span->slot_state[word * 64];

    magazine_set_fill(cache, span_class, fill);
    if (is_one_run(taken)) {            /* of a fresh span, or one that died */
        uint32_t low = lowest_bit(taken);
        push_run(entry, first + low * slot_bytes, states + low, slot_bytes, count);
        return;
    }
    for (; taken != 0; taken &= taken - 1) {
        uint32_t i = lowest_bit(taken);
        *--entry = (struct cached){ .slot = (void *)(first + i * slot_bytes), .state = states + i };
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

/* Of one word of a span that we own and that is swept: at most `want` free slots, which are free no more. */
static uint64_t take_word(struct mcache *cache, struct span *span, uint32_t word, uint32_t want)
{
    struct slot_bits *bits = &span->bits[word];

    if (load_relaxed(&bits->freed) != 0) {
        uint64_t freed = span_take_freed(bits);
        cache->merges++;
        store_relaxed(&bits->alloc, bits->alloc & ~freed);
        store_relaxed(&bits->condemned, bits->condemned & ~freed);
    }
    uint32_t rest = span->slots - word * 64;
    uint64_t valid = rest >= 64 ? ~0ull : (1ull << rest) - 1;
    uint64_t taken = ~(bits->alloc | bits->condemned) & valid;

    if (taken == 0)
        return 0;
    if (want < 64 && count_bits(taken) > want)
        taken = lowest_bits(taken, want);
    /* I2: marked first, so that nobody sees an allocated slot without its mark. */
    if (UNLIKELY(load_relaxed(&span_allocate_black)))
        fetch_or_acq_rel(&bits->black, taken);
    store_release(&bits->alloc, bits->alloc | taken);
    return taken;
}

/* The bits and states of a word that the next refill will look at: the sweep left them in another core's
 * cache. */
static void look_ahead(struct span *span, uint32_t word)
{
    PREFETCH_WRITE(&span->bits[word]);
    PREFETCH_WRITE(&span->slot_state[word * 64]);
}

/* `free` last, so that the rest fits it at any time: a fork may cut us off, and the child flushes what it
 * finds. */
static void set_strip(struct strip *strip, struct span *span, uint32_t word, uint64_t slots)
{
    strip->first = span_slot_address(span, word * 64);
    strip->states = &span->slot_state[word * 64];
    strip->slot_bytes = span->slot_bytes;
    COMPILER_BARRIER();
    *(volatile uint64_t *)&strip->free = slots;
}

/* Free slots of one word of a span that we own and that is swept, at most `want`, into the strip. */
static uint32_t take_strip(struct mcache *cache, unsigned span_class, struct span *span, uint32_t want)
{
    uint32_t words = (span->slots + 63) / 64, w = span->next_word, looks = 0;
    uint64_t taken;

    while ((taken = take_word(cache, span, w, want)) == 0 && ++looks < words)
        w = w + 1 < words ? w + 1 : 0;
    if (taken == 0)
        return 0;
    uint32_t slots = count_bits(taken), next = w + 1 < words ? w + 1 : 0;

    span_add_live(span, slots);
    span->next_word = slots == want && want < 64 ? w : next;
    look_ahead(span, next);
    clean_slots(span, w, taken);
    set_strip(&cache->strips[span_class], span, w, taken);
    return slots;
}

/* Free slots of a span that we own and that is swept, at most `want`, from few words.  What is pushed last
 * is handed out first: so the first word is. */
static uint32_t take_slots(struct mcache *cache, unsigned span_class, struct span *span,
                           uint32_t want)
{
    uint32_t words = (span->slots + 63) / 64, w = span->next_word, found = 0, slots = 0;
    struct { uint32_t word; uint64_t taken; } from[REFILL_WORDS];

    for (uint32_t i = 0; i < words && slots < want && found < REFILL_WORDS; i++) {
        uint64_t taken = take_word(cache, span, w, want - slots);
        if (taken != 0) {
            from[found].word = span->next_word = w;
            from[found++].taken = taken;
            slots += count_bits(taken);
        }
        w = w + 1 < words ? w + 1 : 0;
    }
    if (slots == 0)
        return 0;
    span_add_live(span, slots);
    if (span->next_word + 1 < words)
        look_ahead(span, span->next_word + 1);
    while (found-- > 0) {
        if (UNLIKELY(options.gccheckmark))
            clear_slots(span, from[found].word, from[found].taken);
        push_word(cache, span_class, span, from[found].word, from[found].taken);
    }
    return slots;
}

/* A strip's word may have few free slots: that does not make the next refill smaller. */
static void count_refill(struct mcache *cache, const struct span *span, uint32_t slots, bool strip)
{
    struct class_cache *class = &cache->classes[span->span_class];
    size_t bytes = slots * span->slot_bytes;

    cache->refills++;
    cache->allocated_count += slots;
    cache->allocated_bytes += bytes;
    if (span_kind(span) != KIND_MALLOC)
        cache->gc_bytes += (int64_t)bytes;
    class->refilled += slots;
    class->last_refill = (uint16_t)(strip ? max_size(class->last_refill, slots) : slots);
}

/* Of a span that we own and that is swept. */
static uint32_t take(struct mcache *cache, struct span *span, uint32_t want, bool strip)
{
    unsigned span_class = span->span_class;
    uint32_t taken = strip ? take_strip(cache, span_class, span, want)
                           : take_slots(cache, span_class, span, want);

    if (taken != 0)
        count_refill(cache, span, taken, strip);
    return taken;
}

static struct span *next_ready(struct mcache *cache, unsigned span_class)
{
    struct span *span = cache->classes[span_class].taken;

    if (span == NULL)
        span = ready_take_some(&cache->classes[span_class].ready, TAKEN_SPANS);
    if (span != NULL) {
        cache->classes[span_class].taken = span->next;
        cache->filed++;
    }
    return span;
}

/* How many slots a refill of a strip takes at most: few at first, as below. */
static uint32_t strip_room(struct mcache *cache, unsigned span_class)
{
    uint32_t bytes = size_classes[span_class_size_class(span_class)].slot_bytes;
    uint32_t want = cache->classes[span_class].last_refill;

    if (want >= 64 || (want + 1) * bytes > CLEAN_BYTES)
        return want;
    begin_use(cache);
    store_relaxed(&cache->strips_used, true);
    want = 2 * want + (uint32_t)max_size(min_size(REFILL_BYTES / bytes, REFILL_FIRST), 2);
    want = (uint32_t)min_size(min_size(want, CLEAN_BYTES / bytes), 64);
    return options.hardened ? 1 : want;
}

/* How many slots a refill takes at most, and makes room for them: few at first, so that a thread that
 * needs a few blocks, and ends, need not give a whole word of each class back.  Exactly one in
 * hardened mode, so that every slot whose alloc bit is set is in the program's hands. */
static uint32_t make_room(struct mcache *cache, unsigned span_class)
{
    const struct class_cache *class = &cache->classes[span_class];
    size_t most = max_size(64, min_size(class->room / 4, 64 * REFILL_WORDS));
    size_t bytes = size_classes[span_class_size_class(span_class)].slot_bytes;
    size_t first = max_size(min_size(REFILL_BYTES / bytes, REFILL_FIRST), 2);
    size_t want = min_size(first + 2u * class->last_refill, most);

    if (options.hardened)
        want = 1;
    if (class->room == 0)
        magazine_open(cache, span_class);
    if (class->room < want && class->refilled != 0 && is_small(cache, span_class)) {
        magazine_grow(cache, span_class);
        magazine_open(cache, span_class);
    }
    return (uint32_t)min_size(want, class->room);
}

FAST uint32_t mcache_refill(struct mcache *cache, unsigned span_class)
{
    bool strip = span_class_is_clean(span_class);
    uint32_t want = strip ? strip_room(cache, span_class) : make_room(cache, span_class);

    mark_used(cache);
    for (;;) {
        struct span *span = cache->classes[span_class].current;
        if (span == NULL) {
            span = next_ready(cache, span_class);
            if (span == NULL)
                return 0;
            store_relaxed(&span->home, cache);
            store_relaxed(&cache->classes[span_class].current, span);
        }
        span_ensure_swept(span);
        uint32_t taken = take(cache, span, want, strip);
        if (taken != 0)
            return taken;
        store_relaxed(&cache->classes[span_class].current, NULL);
        span_disown(span);
    }
}

/* Long spans have small headers and tails; but where there are many threads, each may use a little of each
 * class, and need not have a long one of its own.  As short as FRESH_SLOTS and a tail of an eighth allow,
 * then twice as long. */
size_t mcache_fresh_pages(const struct mcache *cache, unsigned span_class)
{
    const struct size_class *class = &size_classes[span_class_size_class(span_class)];
    uint32_t adopted = cache->classes[span_class].adopted;
    size_t pages = 1;

    if (adopted >= FRESH_SHORT || load_relaxed(&caches) < MANY_CACHES)
        return class->pages;
    while (pages < class->pages && (span_slots(class, pages) < FRESH_SLOTS ||
                                    (pages << PAGE_SHIFT) % class->slot_bytes > pages * PAGE_BYTES / 8))
        pages++;
    return min_size(pages << adopted, class->pages);
}

uint32_t mcache_adopt(struct mcache *cache, unsigned span_class, struct span *span)
{
    ASSERT(cache->classes[span_class].current == NULL);
    mark_used(cache);
    cache->classes[span_class].adopted++;
    store_relaxed(&span->home, cache);
    store_relaxed(&cache->classes[span_class].current, span);
    bool strip = span_class_is_clean(span_class);

    return take(cache, span, strip ? strip_room(cache, span_class) : make_room(cache, span_class), strip);
}

bool mcache_take_ready(struct mcache *cache, unsigned span_class, struct ready_list *list)
{
    struct span *span = ready_take_some(list, 1);

    if (span == NULL)
        return false;
    span->next = cache->classes[span_class].taken;
    cache->classes[span_class].taken = span;
    return true;
}

bool mcache_take_central(struct mcache *cache, unsigned span_class)
{
    return mcache_take_ready(cache, span_class, &central[span_class]);
}

/* --- the end of a thread ---------------------------------------------------------------- */

static void abandon_ready(struct mcache *cache, unsigned span_class)
{
    struct span *next;

    for (struct span *span = ready_take_all(&cache->classes[span_class].ready); span != NULL; span = next) {
        next = span->next;
        ready_push_central(span);
    }
}

void mcache_abandon_ready(struct mcache *cache)
{
    for (unsigned c = 0; c < SPAN_CLASSES; c++)
        abandon_ready(cache, c);
}

void mcache_untake(struct mcache *cache, unsigned span_class)
{
    struct class_cache *class = &cache->classes[span_class];
    uint32_t length = 0;

    for (struct span *span = class->taken; span != NULL; span = span->next)
        length++;
    if (length != 0)
        ready_put_back(&class->ready, class->taken, length, 0);
    class->taken = NULL;
}

static void abandon_class(struct mcache *cache, unsigned span_class)
{
    struct class_cache *class = &cache->classes[span_class];
    struct span *next;

    if (mcache_cached(cache, span_class) != 0)
        mcache_flush(cache, span_class, UINT32_MAX);
    if (class->current != NULL) {
        ready_push_central(class->current);
        store_relaxed(&class->current, NULL);
    }
    for (struct span *span = class->taken; span != NULL; span = next) {
        next = span->next;
        ready_push_central(span);
    }
    class->taken = NULL;
    abandon_ready(cache, span_class);
    /* The next thread begins small again, in the same memory. */
    cache->magazines[span_class] = (struct magazine){ 0, 0 };
    if (mcache_strip(cache, span_class) != NULL)
        cache->strips[span_class] = (struct strip){ 0 };
    class->bottom = class->room = class->last_refill = 0;
    class->adopted = 0;
    class->flush_seen = (uint32_t)class->refilled;
}

/* Whoever has spans of a class has opened its magazine, or has had a strip.  On the ready list there may be
 * one that was pushed at the moment when an earlier owner went: it stays until the class is used.  The rest
 * of a class is not looked at: a cache line each. */
static bool class_in_use(struct mcache *cache, unsigned span_class)
{
    const struct class_cache *class UNUSED = &cache->classes[span_class];
    const struct strip *strip = mcache_strip(cache, span_class);
    bool used = strip != NULL ? strip->first != 0 : cache->magazines[span_class].top != 0;

    ASSERT(used || (class->room == 0 && class->current == NULL && class->taken == NULL));
    return used;
}

void mcache_abandon(struct mcache *cache)
{
    if (!cache->used)
        return;
    store_relaxed(&cache->abandoned, 1);
    outbox_flush(cache);
    cache->outbox = (struct outbox){ 0 };
    for (unsigned c = 0; c < SPAN_CLASSES; c++)
        if (class_in_use(cache, c))
            abandon_class(cache, c);
    cache->entries_used = cache->entries_start;
    cache->used = false;
    store_relaxed(&cache->strips_used, false);
    fetch_sub_relaxed(&caches, 1);
    fetch_sub_relaxed(&swinging, cache->swing_bytes);
    cache->swing_used = cache->swing_bytes = 0;
}
