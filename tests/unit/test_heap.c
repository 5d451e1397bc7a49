/* test_heap.c -- the heap alone: size classes, spans, magazines; no world, no collector
 *
 * PURPOSE  Spans go where they are found again; a magazine gives out neighbours in address
 *          order; frees from several threads lose nothing; double frees die.
 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/check.h"
#include "base/options.h"
#include "heap/ready.h"
#include "heap_alone.h"
#include "os/vm.h"

enum { CLASS_512 = 26, CLASS_1024 = 34 };

static struct mcache *new_cache(void)
{
    struct {
        struct mcache cache;
        struct cached entries[MCACHE_ENTRIES];
    } *with_entries = meta_alloc(sizeof *with_entries);

    assert_non_null(with_entries);
    mcache_init(&with_entries->cache, with_entries->entries);
    return &with_entries->cache;
}

static void *pop(struct mcache *cache, unsigned class)
{
    while (mcache_cached(cache, class) == 0) {
        if (mcache_refill(cache, class) != 0 ||
            (mcache_take_central(cache, class) && mcache_refill(cache, class) != 0))
            break;
        mcache_adopt(cache, class, pages_alloc_small(class, mcache_fresh_pages(cache, class), GENERATION));
    }
    struct strip *strip = mcache_strip(cache, class);

    if (strip != NULL) {
        unsigned bit = lowest_bit(strip->free);
        strip->free &= strip->free - 1;
        strip->states[bit] = SLOT_OUT;
        return (void *)(strip->first + bit * strip->slot_bytes);
    }
    uint32_t newest = magazine_fill(cache, class) - 1;
    struct cached entry = *magazine_entry(cache, class, newest);

    magazine_set_fill(cache, class, newest);
    *entry.state = SLOT_OUT;
    return entry.slot;
}

static void push(struct mcache *cache, void *slot)
{
    struct span *span = span_of((uintptr_t)slot);
    uint32_t index = span_slot_of(span, (uintptr_t)slot - span->base);

    span->slot_state[index] = SLOT_IN;
    mcache_push(cache, span, (struct cached){ .slot = slot, .state = &span->slot_state[index] });
}

static void every_size_has_the_smallest_class(void **state)
{
    (void)state;
    for (size_t bytes = 0; bytes <= SMALL_MAX; bytes++) {
        const struct size_class *class = &size_classes[sizeclass_of(bytes)];
        assert_true(class->slot_bytes >= bytes && class->slot_bytes % 16 == 0);
        if (bytes > 128)
            assert_true((class->slot_bytes - bytes) * 8 <= class->slot_bytes);
    }
    assert_int_equal(size_classes[sizeclass_of_gc(8)].slot_bytes, 8);
    assert_int_equal(size_classes[sizeclass_of_gc(24)].slot_bytes, 24);
}

static void every_offset_finds_its_slot(void **state)
{
    (void)state;
    for (unsigned c = 1; c < SIZE_CLASSES; c++) {
        struct span span = { .divider = size_classes[c].divider };
        size_t bytes = size_classes[c].slot_bytes;
        for (size_t offset = 0; offset < (size_t)size_classes[c].pages << PAGE_SHIFT; offset++) {
            assert_int_equal(span_slot_of(&span, offset), offset / bytes);
            assert_int_equal(offset * span.divider < span.divider, offset % bytes == 0);
        }
    }
}

/* --- magazines ------------------------------------------------------------------------- */

/* All classes at their largest, twice: there is room for the arrays that were outgrown, too, and the next
 * thread finds it again. */
static void every_magazine_may_grow(void **state)
{
    static void *slots[2000];
    struct mcache *cache = new_cache();

    (void)state;
    for (int round = 0; round < 2; round++) {
        for (unsigned class = 0; class < SPAN_CLASSES; class++) {
            uint32_t most = mcache_limit(class);

            for (uint32_t i = 0; i < most; i++)
                slots[i] = pop(cache, class);
            assert_true(most == 0 || cache->classes[class].room <= 128);
            for (uint32_t i = 0; i < most; i++)
                push(cache, slots[i]);
            assert_true(cache->classes[class].room >= most && cache->classes[class].room <= 1024);
            assert_true(magazine_fill(cache, class) >= most / 2);
        }
        mcache_abandon(cache);
        assert_int_equal(cache->classes[CLASS_64].room, 0);
    }
    assert_true(heap_is_sound());
}

/* What was freed first is at the bottom, whatever array it is in; a slot is taken out once. */
static void a_magazine_keeps_its_order_as_it_grows(void **state)
{
    static void *slots[1000];
    struct mcache *cache = new_cache();

    (void)state;
    for (int i = 0; i < 1000; i++)
        slots[i] = pop(cache, CLASS_64);
    uint32_t before = magazine_fill(cache, CLASS_64);

    assert_true(before + 500 <= mcache_limit(CLASS_64));
    for (int i = 0; i < 500; i++)
        push(cache, slots[i]);
    assert_int_equal(magazine_fill(cache, CLASS_64), before + 500);
    assert_null(magazine_entry(cache, CLASS_64, 0)[-1].slot);
    for (int i = 499; i >= 0; i--)
        assert_ptr_equal(pop(cache, CLASS_64), slots[i]);
    for (int i = 0; i < 1000; i++)
        push(cache, slots[i]);
    mcache_abandon(cache);
    assert_true(heap_is_sound());
}

static void slots_come_in_address_order(void **state)
{
    struct mcache *cache = new_cache();
    uintptr_t last = (uintptr_t)pop(cache, CLASS_64);

    (void)state;
    for (int i = 1; i < 64; i++) {
        uintptr_t next = (uintptr_t)pop(cache, CLASS_64);
        assert_int_equal(next, last + 64);
        last = next;
    }
}

/* Blocks of 1 KiB, a thousand of them back and forth: the magazine holds 64 KiB at first, then all. */
static void a_swinging_thread_keeps_what_it_will_want(void **state)
{
    enum { SLOTS = 1000 };
    unsigned class = sizeclass_of(1024);
    static void *slots[SLOTS];
    struct mcache *cache = new_cache();
    uint64_t refills = 0, flushes = 0;

    (void)state;
    for (int round = 0; round < 8; round++) {
        refills = cache->refills;
        flushes = cache->flushes;
        for (int i = 0; i < SLOTS; i++)
            slots[i] = pop(cache, class);
        for (int i = 0; i < SLOTS; i++)
            push(cache, slots[i]);
        assert_true(round != 0 || cache->classes[class].room == 64);
    }
    assert_int_equal(cache->classes[class].room, 1024);
    assert_int_equal(cache->refills, refills);
    assert_int_equal(cache->flushes, flushes);
    mcache_abandon(cache);
    assert_int_equal(cache->swing_bytes, 0);
    assert_true(heap_is_sound());
}

/* All classes, in many threads: one has no more than 4 MiB, all have no more than 16 MiB. */
static void swinging_threads_keep_little(void **state)
{
    enum { SLOTS = 200, THREADS = 8 };
    static void *slots[SLOTS];
    struct mcache *caches[THREADS];
    size_t all = 0;

    (void)state;
    for (int t = 0; t < THREADS; t++) {
        struct mcache *cache = caches[t] = new_cache();
        for (unsigned class = sizeclass_of(1024); class < SIZE_CLASSES; class++)
            for (int round = 0; round < 4; round++) {
                for (int i = 0; i < SLOTS; i++)
                    slots[i] = pop(cache, class);
                for (int i = 0; i < SLOTS; i++)
                    push(cache, slots[i]);
            }
        assert_true(cache->swing_bytes <= 4 * MIB && (t != 0 || cache->swing_bytes > MIB));
        all += cache->swing_bytes;
    }
    assert_true(all > 8 * MIB && all <= 16 * MIB);
    for (int t = 0; t < THREADS; t++)
        mcache_abandon(caches[t]);
    assert_true(heap_is_sound());
}

/* A thread that takes and gives back many gets several words at a time, in address order from
 * where the span was left, round to its start. */
static void large_refills_come_in_address_order(void **state)
{
    enum { SLOTS = 4096 };
    static void *slots[SLOTS];
    struct mcache *cache = new_cache();
    uint32_t largest = 0;
    int falls = 0;

    (void)state;
    for (int i = 0; i < SLOTS; i++)
        slots[i] = pop(cache, CLASS_64);
    assert_int_equal(cache->classes[CLASS_64].last_refill, 64);
    for (int i = 0; i < SLOTS; i++)
        push(cache, slots[i]);
    mcache_flush(cache, CLASS_64, UINT32_MAX);
    for (int i = 0; i < SLOTS; i++) {
        bool refilled = magazine_fill(cache, CLASS_64) == 0;
        slots[i] = pop(cache, CLASS_64);
        falls = refilled ? 0 : falls + (slots[i] < slots[i - 1]);
        assert_true(falls <= 1);
        largest = (uint32_t)max_size(largest, cache->classes[CLASS_64].last_refill);
    }
    assert_int_equal(largest, 256);
    for (int i = 0; i < SLOTS; i++)
        push(cache, slots[i]);
    mcache_abandon(cache);
    assert_true(heap_is_sound());
}

static void freed_spans_are_found_again(void **state)
{
    enum { BLOCKS = 20000 };
    static void *blocks[BLOCKS];
    struct mcache *cache = new_cache();
    struct pages_stats first, second;

    (void)state;
    for (int round = 0; round < 4; round++) {
        for (int i = 0; i < BLOCKS; i++)
            blocks[i] = pop(cache, CLASS_64);
        pages_stats_read(round == 0 ? &first : &second);
        for (int i = 0; i < BLOCKS; i++)
            push(cache, blocks[i * 7919 % BLOCKS]);
        assert_true(heap_is_sound());
    }
    assert_int_equal(second.heap_pages, first.heap_pages);
    mcache_abandon(cache);
    assert_true(heap_is_sound());
}

static void an_abandoned_cache_leaves_nothing(void **state)
{
    struct pages_stats before, after;

    (void)state;
    pages_stats_read(&before);
    for (int i = 0; i < 200; i++) {
        struct mcache *cache = new_cache();
        push(cache, pop(cache, CLASS_64));
        mcache_abandon(cache);
    }
    pages_stats_read(&after);
    assert_true(after.small_spans <= before.small_spans + 8);
}

/* Those that end together, too. */
static void abandoned_caches_leave_little(void **state)
{
    enum { CACHES = 100 };
    struct mcache *caches[CACHES];
    struct pages_stats before, after;

    (void)state;
    pages_stats_read(&before);
    for (int i = 0; i < CACHES; i++) {
        caches[i] = new_cache();
        push(caches[i], pop(caches[i], CLASS_64 + 7));
    }
    for (int i = 0; i < CACHES; i++)
        mcache_abandon(caches[i]);
    pages_stats_read(&after);
    assert_true(after.small_spans <= before.small_spans + 4);
    assert_true(heap_is_sound());
}

/* Many threads that use a little of a class have a short span each; one that uses more has long ones. */
static void among_many_threads_first_spans_are_short(void **state)
{
    enum { CACHES = 40 };
    struct mcache *caches[CACHES];

    (void)state;
    for (int i = 0; i < CACHES; i++) {
        caches[i] = new_cache();
        pop(caches[i], CLASS_1024 + 1);
    }
    const struct mcache *last = caches[CACHES - 1];

    assert_true(last->classes[CLASS_1024 + 1].current->pages < size_classes[CLASS_1024 + 1].pages);
    for (int i = 0; i < 1000; i++)
        pop(caches[CACHES - 1], CLASS_1024 + 1);
    assert_int_equal(last->classes[CLASS_1024 + 1].current->slots, size_classes[CLASS_1024 + 1].slots);
    for (int i = 0; i < CACHES; i++)
        mcache_abandon(caches[i]);
    struct mcache *alone = new_cache();

    assert_int_equal(mcache_fresh_pages(alone, CLASS_1024), size_classes[CLASS_1024].pages);
    assert_true(heap_is_sound());
}

static uint32_t chain_length(const struct span *span)
{
    uint32_t length = 0;

    for (; span != NULL; span = span->next)
        length++;
    return length;
}

/* `blocks` of `spans` spans, the first of each: all of them are filed afterwards. */
static void file_spans(struct mcache *cache, unsigned class, void **blocks, uint32_t spans)
{
    uint32_t slots = size_classes[class].slots;

    for (uint32_t i = 0; i < spans * slots; i++)
        blocks[i] = pop(cache, class);
    for (uint32_t i = 0; i < spans; i++)
        push(cache, blocks[i * slots]);
    mcache_flush(cache, class, UINT32_MAX);
}

/* What a thread has taken is not given back when it comes free. */
static void a_thread_takes_few_of_its_ready_spans(void **state)
{
    enum { SPANS = 200, MOST = 32 };
    static void *blocks[SPANS * 64];
    struct mcache *cache = new_cache();
    const struct class_cache *class = &cache->classes[CLASS_1024];

    (void)state;
    file_spans(cache, CLASS_1024, blocks, SPANS);
    uint64_t filed = chain_length(class->ready.head) + cache->filed;

    assert_true(chain_length(class->ready.head) >= SPANS - 1);
    for (int i = 0; i < SPANS / 2; i++) {
        pop(cache, CLASS_1024);
        assert_true(chain_length(class->taken) <= MOST);
        assert_int_equal(chain_length(class->taken) + chain_length(class->ready.head) + cache->filed, filed);
    }
    assert_non_null(class->taken);
    mcache_abandon(cache);
    assert_true(heap_is_sound());
}

/* An eighth of them: they go back although the list is long. */
static void wholly_free_spans_are_found_among_others(void **state)
{
    enum { SPANS = 512 };
    static void *blocks[SPANS * 64];
    uint32_t slots = size_classes[CLASS_512].slots;
    struct mcache *cache = new_cache();
    struct pages_stats before, after;

    (void)state;
    file_spans(cache, CLASS_512, blocks, SPANS);
    pages_stats_read(&before);
    for (uint32_t i = 0; i < SPANS * slots; i++)
        if (i % slots != 0 && i / slots % 8 == 0)
            push(cache, blocks[i]);
    mcache_flush(cache, CLASS_512, UINT32_MAX);
    pages_stats_read(&after);
    assert_true(after.small_spans <= before.small_spans - SPANS / 16);
    mcache_abandon(cache);
    assert_true(heap_is_sound());
}

/* --- several threads: each frees what the others allocated ------------------------- */

enum { SWAPPERS = 4, SWAPS = 60000, BOXES = 512 };

static void *boxes[BOXES];

static void *swap_blocks(void *seed)
{
    struct mcache *cache = new_cache();
    uint32_t random = (uint32_t)(uintptr_t)seed;

    for (int i = 0; i < SWAPS; i++) {
        random = random * 1664525u + 1013904223u;
        uint64_t *block = pop(cache, CLASS_64);
        block[0] = block[7] = ~(uintptr_t)block;
        uint64_t *other =
            __atomic_exchange_n(&boxes[(random >> 8) % BOXES], (void *)block, __ATOMIC_ACQ_REL);
        if (other == NULL)
            continue;
        CHECK(other[0] == ~(uintptr_t)other && other[7] == other[0]);
        push(cache, other);
    }
    mcache_abandon(cache);
    return NULL;
}

static void frees_across_threads_lose_nothing(void **state)
{
    pthread_t threads[SWAPPERS];
    struct mcache *cache = new_cache();

    (void)state;
    heap_shared = 1;
    for (uintptr_t i = 0; i < SWAPPERS; i++)
        pthread_create(&threads[i], NULL, swap_blocks, (void *)(i + 1));
    for (int i = 0; i < SWAPPERS; i++)
        pthread_join(threads[i], NULL);
    for (int i = 0; i < BOXES; i++)
        if (boxes[i] != NULL)
            push(cache, boxes[i]);
    mcache_abandon(cache);
    assert_true(heap_is_sound());
    for (uint32_t id = 0; id < span_table_size(); id++) {
        struct span *span = span_by_id(id);
        uint32_t used = 0;
        if (!span_in_use(span) || span->span_class != CLASS_64)
            continue;
        for (uint32_t w = 0; w * 64 < span->slots; w++)
            used += count_bits(span_objects(span, w));
        assert_int_equal(used, span->live);
    }
}

/* The thread that frees them gets none of them, holds few of them, and the one that allocated them gets them. */
static void slots_of_others_go_home(void **state)
{
    enum { SLOTS = 20000, MOST = 2048 };
    static void *slots[SLOTS];
    struct mcache *owner = new_cache(), *freer = new_cache();
    struct pages_stats before, after;

    (void)state;
    for (int i = 0; i < SLOTS; i++)
        slots[i] = pop(owner, i % 2 == 0 ? CLASS_64 : CLASS_64 + 5);
    pages_stats_read(&before);
    for (int i = 0; i < SLOTS; i++)
        push(freer, slots[i * 7919 % SLOTS]);
    assert_true(outbox_fill(freer) <= MOST && freer->outbox.room <= MOST);
    assert_int_equal(freer->foreign_frees + outbox_fill(freer), SLOTS);
    for (int i = 0; i < 1000; i++)
        assert_ptr_equal(span_of((uintptr_t)pop(freer, CLASS_64))->home, freer);
    outbox_flush(freer);
    assert_int_equal(outbox_fill(freer), 0);
    assert_int_equal(freer->freed_count, SLOTS);
    uint64_t refilled = owner->allocated_count;

    for (int i = 0; i < SLOTS; i++)
        pop(owner, i % 2 == 0 ? CLASS_64 : CLASS_64 + 5);
    pages_stats_read(&after);
    assert_true(owner->allocated_count > refilled);
    assert_true(after.small_spans <= before.small_spans + 1000 / size_classes[CLASS_64].slots + 2);
    mcache_abandon(owner);
    mcache_abandon(freer);
    assert_true(heap_is_sound());
}

/* So large that few of them are much. */
static void an_outbox_holds_few_large_slots(void **state)
{
    enum { SLOTS = 200 };
    unsigned class = sizeclass_of(SMALL_MAX);
    static void *slots[SLOTS];
    struct mcache *owner = new_cache(), *freer = new_cache();

    (void)state;
    for (int i = 0; i < SLOTS; i++)
        slots[i] = pop(owner, class);
    for (int i = 0; i < SLOTS; i++) {
        push(freer, slots[i]);
        assert_true(outbox_fill(freer) * (size_t)SMALL_MAX <= MIB);
    }
    mcache_abandon(owner);
    mcache_abandon(freer);
    assert_true(heap_is_sound());
}

/* Whoever frees first into the span of a thread that is gone has inherited it. */
static void inherited_slots_are_used_again(void **state)
{
    enum { SLOTS = 200 };
    void *slots[SLOTS];
    struct mcache *dead = new_cache(), *heir = new_cache(), *third = new_cache();

    (void)state;
    for (int i = 0; i < SLOTS; i++)
        slots[i] = pop(dead, CLASS_64);
    mcache_abandon(dead);
    for (int i = 0; i < SLOTS - 1; i++)
        push(heir, slots[i]);
    assert_int_equal(outbox_fill(heir), 0);
    assert_int_equal(magazine_fill(heir, CLASS_64), SLOTS - 1);
    assert_ptr_equal(pop(heir, CLASS_64), slots[SLOTS - 2]);
    mcache_flush(heir, CLASS_64, 10);           /* for others: the heir takes none from spans */
    assert_null(heir->classes[CLASS_64].ready.head);
    push(third, slots[SLOTS - 1]);
    assert_int_equal(outbox_fill(third), 1);
    pop(dead, CLASS_64);                        /* its structure is used again */
    push(third, pop(dead, CLASS_64));
    assert_int_equal(outbox_fill(third), 2);
    mcache_abandon(dead);
    mcache_abandon(heir);
    mcache_abandon(third);
    assert_true(heap_is_sound());
}

/* The magazine of a class that the thread does not allocate of stays small. */
static void who_only_frees_holds_little(void **state)
{
    enum { SLOTS = 1000, MOST_BYTES = 16 << 10 };
    static void *slots[SLOTS];
    struct mcache *dead = new_cache(), *heir = new_cache();

    (void)state;
    for (int i = 0; i < SLOTS; i++)
        slots[i] = pop(dead, CLASS_1024);
    mcache_abandon(dead);
    for (int i = 0; i < SLOTS; i++) {
        push(heir, slots[i]);
        assert_true(magazine_fill(heir, CLASS_1024) * (size_t)1024 <= MOST_BYTES);
    }
    for (int i = 0; i < SLOTS; i++)
        slots[i] = pop(heir, CLASS_1024);
    for (int i = 0; i < SLOTS; i++)
        push(heir, slots[i]);
    assert_true(magazine_fill(heir, CLASS_1024) * (size_t)1024 > MOST_BYTES);
    mcache_abandon(heir);
    assert_true(heap_is_sound());
}

static void free_twice(struct mcache *one, struct mcache *two, void *block)
{
    pid_t child = fork();
    int status;

    if (child == 0) {
        close(2);
        push(one, block);
        push(two, block);
        mcache_abandon(one);
        mcache_abandon(two);
        _exit(0);
    }
    waitpid(child, &status, 0);
    assert_true(WIFSIGNALED(status));
}

static void freed_twice_at_the_same_moment_dies(void **state)
{
    struct mcache *home = new_cache(), *one = new_cache(), *two = new_cache();
    void *block = pop(home, CLASS_64);

    (void)state;
    free_twice(home, one, block);
    free_twice(one, home, block);
    free_twice(one, two, block);
    free_twice(one, one, block);
    free_twice(home, home, block);
    mcache_abandon(home);
}

/* --- slots of gc_alloc -------------------------------------------------------------- */

static bool is_zero(const void *slot, size_t bytes)
{
    static const char zeroes[CLEAN_MOST];

    return memcmp(slot, zeroes, bytes) == 0;
}

static void give_back(void *slot)
{
    struct span *span = span_of((uintptr_t)slot);
    uint32_t index = span_slot_of(span, (uintptr_t)slot - span->base);

    span->slot_state[index] = SLOT_IN;
    span_release_slot(span, index);
}

/* From fresh spans, from full words and from words with holes. */
static void cached_slots_of_gc_classes_read_as_zero(void **state)
{
    static const size_t sizes[] = { 8, 24, 48, 112, 320, CLEAN_MOST };
    enum { SLOTS = 1500, ROUNDS = 8 };
    static void *slots[SLOTS];

    (void)state;
    for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++) {
        struct mcache *cache = new_cache();
        unsigned class = span_class_of(KIND_GC, sizeclass_of_gc(sizes[s]));
        uint32_t random = 1;
        memset(slots, 0, sizeof slots);
        for (int round = 0; round < ROUNDS; round++) {
            for (int i = 0; i < SLOTS; i++) {
                if (slots[i] != NULL)
                    continue;
                slots[i] = pop(cache, class);
                assert_true(is_zero(slots[i], sizes[s]));
                memset(slots[i], 0xff, sizes[s]);
            }
            for (int i = 0; i < SLOTS; i++) {
                random = random * 1664525 + 1013904223;
                if (round % 2 != 0 && random >> 31 != 0)
                    continue;
                give_back(slots[i]);
                slots[i] = NULL;
            }
        }
        assert_true(heap_is_sound());
    }
}

/* Some of a strip, then its thread ends: the rest comes back once, cleared. */
static void the_rest_of_a_strip_goes_back(void **state)
{
    enum { TAKEN = 5, SLOTS = 200 };
    const unsigned class = span_class_of(KIND_GC, sizeclass_of_gc(48));
    struct mcache *cache = new_cache(), *heir = new_cache();
    void *taken[TAKEN], *slots[SLOTS];

    (void)state;
    for (int i = 0; i < TAKEN; i++)
        memset(taken[i] = pop(cache, class), 0xff, 48);
    struct span *span = span_of((uintptr_t)taken[0]);

    assert_true(mcache_cached(cache, class) != 0);
    mcache_abandon(cache);
    assert_int_equal(mcache_cached(cache, class), 0);
    assert_int_equal(span->live, TAKEN);
    for (int i = 0; i < SLOTS; i++) {
        assert_true(is_zero(slots[i] = pop(heir, class), 48));
        memset(slots[i], 1 + i, 48);
    }
    assert_ptr_equal(span_of((uintptr_t)slots[0]), span);
    for (int i = 0; i < SLOTS; i++)
        assert_int_equal(*(unsigned char *)slots[i], 1 + i);
    for (int i = 0; i < TAKEN; i++)
        assert_int_equal(*(unsigned char *)taken[i], 0xff);
    mcache_abandon(heir);
    assert_true(heap_is_sound());
}

static bool is_resident(uintptr_t address)
{
    unsigned char resident;

    assert_true(vm_resident((void *)align_down(address, VM_PAGE), VM_PAGE, &resident));
    return resident & 1;
}

/* Of small slots the pages that they are about to fill, and few others; of larger ones none. */
static void fresh_memory_of_gc_classes_is_brought_in(void **state)
{
    enum { SLOTS = 500, AHEAD_PAGES = 4, LARGE = 8 << 10 };
    static const size_t sizes[] = { 24, 320, 1024 };

    (void)state;
    for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++) {
        struct mcache *cache = new_cache();
        unsigned class = span_class_of(KIND_GC, sizeclass_of_gc(sizes[s]));

        for (int i = 0; i < SLOTS; i++) {
            uintptr_t slot = (uintptr_t)pop(cache, class);
            assert_true(is_resident(slot) && is_resident(slot + sizes[s] - 1));
        }
    }
    struct mcache *cache = new_cache();
    const struct span *span = span_of((uintptr_t)pop(cache, span_class_of(KIND_GC, sizeclass_of_gc(24))));

    assert_false(is_resident(span->base + AHEAD_PAGES * VM_PAGE));
    assert_false(is_resident((uintptr_t)pop(cache, span_class_of(KIND_GC, sizeclass_of_gc(LARGE)))));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fresh_memory_of_gc_classes_is_brought_in),     /* while all memory is fresh */
        cmocka_unit_test(cached_slots_of_gc_classes_read_as_zero),
        cmocka_unit_test(the_rest_of_a_strip_goes_back),
        cmocka_unit_test(every_size_has_the_smallest_class),
        cmocka_unit_test(every_offset_finds_its_slot),
        cmocka_unit_test(every_magazine_may_grow),
        cmocka_unit_test(a_magazine_keeps_its_order_as_it_grows),
        cmocka_unit_test(slots_come_in_address_order),
        cmocka_unit_test(a_swinging_thread_keeps_what_it_will_want),
        cmocka_unit_test(swinging_threads_keep_little),
        cmocka_unit_test(large_refills_come_in_address_order),
        cmocka_unit_test(freed_spans_are_found_again),
        cmocka_unit_test(an_abandoned_cache_leaves_nothing),
        cmocka_unit_test(abandoned_caches_leave_little),
        cmocka_unit_test(among_many_threads_first_spans_are_short),
        cmocka_unit_test(a_thread_takes_few_of_its_ready_spans),
        cmocka_unit_test(wholly_free_spans_are_found_among_others),
        cmocka_unit_test(frees_across_threads_lose_nothing),
        cmocka_unit_test(slots_of_others_go_home),
        cmocka_unit_test(an_outbox_holds_few_large_slots),
        cmocka_unit_test(inherited_slots_are_used_again),
        cmocka_unit_test(who_only_frees_holds_little),
        cmocka_unit_test(freed_twice_at_the_same_moment_dies),
    };

    return cmocka_run_group_tests(tests, reserve, NULL);
}
