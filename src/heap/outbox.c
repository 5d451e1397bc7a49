/* outbox.c -- slots of other threads' spans on their way home
 *
 * PURPOSE    A slot that is freed by another thread than the one its span is at home with is not used
 *            again by the thread that frees it: blocks of two threads side by side, and the state bytes of
 *            their slots, would share cache lines for good.  It waits in the outbox, and goes to its span
 *            with others of its word.
 * OWNER, LOCKING   As in mcache.h.
 * INVARIANT  As a magazine's: what waits has its alloc bit, and counts as live (I2, I3).
 *            Bounded: `room` entries of OUTBOX_BYTES on average, or one slot.
 */
#include "heap/ready.h"

enum {
    /* Large enough that many slots of one word meet in it, but a thread that frees little of others'
     * holds little of it. */
    OUTBOX_FIRST = HOSTILE(64, 1),
    OUTBOX_MOST = HOSTILE(2048, 2),
    OUTBOX_BYTES = 256,         /* a slot */
    FLUSH_BATCH = HOSTILE(64, 1),   /* slots looked up together, so that their cache misses overlap */
};

/* For frees the fast way, if it may be. */
static void open_outbox(struct mcache *cache)
{
    struct outbox *outbox = &cache->outbox;

    if (outbox->room != 0 && !load_relaxed(&span_free_black))   /* I2 */
        outbox->limit = cache->entries_end + outbox->room * (uint32_t)sizeof(struct cached);
}

static void set_room(struct outbox *outbox, uint32_t room)
{
    /* One that is full, and one for whoever stops the thread, who looks at the entry after the last. */
    _Static_assert(OUTBOX_MOST + 2 <= OUTBOX_ENTRIES, "the array is too small");
    outbox->room = (uint32_t)min_size(room, OUTBOX_MOST);
    outbox->bytes = outbox->room * OUTBOX_BYTES;
}

void outbox_push(struct mcache *cache, struct cached entry, size_t bytes)
{
    struct outbox *outbox = &cache->outbox;

    if (outbox->room == 0) {
        outbox->top = cache->entries_end;
        set_room(outbox, OUTBOX_FIRST);
    } else if (outbox_fill(cache) == outbox->room || outbox->bytes < bytes) {
        outbox_flush(cache);
        if (++outbox->filled % 2 == 0)
            set_room(outbox, 2 * outbox->room);
    }
    open_outbox(cache);
    outbox->bytes -= (uint32_t)min_size(bytes, outbox->bytes);
    *outbox_entry(cache, outbox_fill(cache)) = entry;
    outbox->top += (uint32_t)sizeof entry;
}

static void release_bundle(struct mcache *cache, struct bundle *bundle)
{
    struct span *span = bundle->span;
    unsigned span_class = span->span_class;
    uint64_t mask = bundle->mask;
    uint32_t word = (uint32_t)(bundle->first - span->slot_state) / 64;

    *bundle = (struct bundle){ NULL, NULL, 0 };
    span_release_slots(span, word, mask);
    mcache_count_flushed(cache, span_class, count_bits(mask));
}

/* The bundle that a slot belongs to; one that finds its place taken by others sends them off. */
static struct bundle *find_bundle(struct mcache *cache, struct span *span, const uint8_t *state)
{
    uint32_t word = (uint32_t)(state - span->slot_state) / 64;
    const uint8_t *first = span->slot_state + word * 64;
    struct bundle *bundle = &cache->bundles[(span->id * 4 + word) % BUNDLES];

    if (bundle->first == first)
        return bundle;
    if (bundle->span != NULL)
        release_bundle(cache, bundle);
    PREFETCH_WRITE(&span->bits[word]);
    *bundle = (struct bundle){ span, first, 0 };
    return bundle;
}

static void find_spans(const struct cached *entries, struct span **spans, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        uintptr_t slot = (uintptr_t)entries[i].slot;
        bool same = i > 0 && (slot ^ (uintptr_t)entries[i - 1].slot) < PAGE_BYTES;
        spans[i] = same ? spans[i - 1] : span_of(slot);
        if (!same)
            PREFETCH_WRITE(&spans[i]->live);
    }
}

/* At most FLUSH_BATCH.  Classes and owners are mixed: slots of one word are brought together. */
static void bundle_slots(struct mcache *cache, const struct cached *entries, uint32_t count)
{
    struct span *spans[FLUSH_BATCH];
    struct bundle *bundle = NULL;

    find_spans(entries, spans, count);
    for (uint32_t i = 0; i < count; i++) {
        const uint8_t *state = entries[i].state;
        if (bundle == NULL || (size_t)(state - bundle->first) >= 64)
            bundle = find_bundle(cache, spans[i], state);
        uint64_t bit = 1ull << (state - bundle->first);
        if (UNLIKELY((bundle->mask & bit) != 0))
            span_die_double_free(spans[i], entries[i].slot);
        bundle->mask |= bit;
    }
}

void outbox_flush(struct mcache *cache)
{
    struct outbox *outbox = &cache->outbox;
    uint32_t fill = outbox_fill(cache);

    if (fill == 0)
        return;
    for (uint32_t done = 0; done < fill; done += FLUSH_BATCH)
        bundle_slots(cache, outbox_entry(cache, done), (uint32_t)min_size(fill - done, FLUSH_BATCH));
    for (uint32_t i = 0; i < BUNDLES; i++)
        if (cache->bundles[i].span != NULL)
            release_bundle(cache, &cache->bundles[i]);
    outbox->top = cache->entries_end;
    set_room(outbox, outbox->room);
    cache->foreign_frees += fill;
    cache->flushes++;
}
