/* resize.c -- realloc, and questions about a block
 *
 * A block stays where it is when the new size still fits its slot without wasting
 * half of it, or when a large object can shrink or grow in place.  One that the program has protected
 * in part (heap/ceded.h) stays while it fits at all.  Large objects that must move hand their
 * pages over (mremap) instead of copying them, from MOVE_MIN on, and from longer ones on in a program
 * that has freed such objects (pages_copy_most): it grows the next one where the last one was, and
 * pages that stay there spare it the faults.
 */
#include "alloc/alloc.h"

#include <string.h>

#include "alloc/collect.h"
#include "base/check.h"
#include "base/options.h"
#include "base/sys.h"
#include "gc/barrier.h"
#include "gc/sweep.h"
#include "heap/pages.h"
#include "os/vm.h"

/* Below this, copying is cheaper than the system call and the split mapping. */
static const size_t MOVE_MIN = (size_t)1 << 20;
/* Below this, classes are close enough and copies cheap. */
static const size_t GROW_MIN = 1024;

/* The span and slot of a block that was handed out; NULL for anything else. */
static struct span *span_of_block(const void *address, uint32_t *slot)
{
    if (!heap_contains((uintptr_t)address))
        return NULL;
    struct span *span = span_of((uintptr_t)address);

    if (span == NULL || !span_in_use(span))
        return NULL;
    *slot = span_slot_of(span, (uintptr_t)address - span->base);
    if (*slot >= span->slots || load_relaxed(&span->slot_state[*slot]) == SLOT_IN)
        return NULL;
    return span;
}

size_t alloc_usable_size(const void *block)
{
    uint32_t slot;
    struct span *span = span_of_block(block, &slot);

    if (span == NULL)
        return 0;
    /* A tiny object ends somewhere in its 16-byte block. */
    return span_slot_address(span, slot) + span->slot_bytes - (uintptr_t)block;
}

void *alloc_base(const void *address)
{
    uint32_t slot;
    struct span *span = span_of_block(address, &slot);

    if (span == NULL)
        return NULL;
    return (void *)span_slot_address(span, slot);
}

/* A large object that shrinks gives its pages back, unless they are few; one that grows
 * into the room it has stays as it is. */
static bool fits_large(struct span *span, size_t bytes)
{
    size_t room = span->slot_bytes;

    if (bytes > room || (bytes < span->requested && bytes <= room - max_size(room / 8, PAGE_BYTES)))
        return false;
    span->requested = bytes;
    return true;
}

static bool fits_small(size_t room, size_t bytes)
{
    return bytes <= room && (bytes > room / 2 || room <= 64);
}

static bool fits_in_place(struct span *span, size_t bytes)
{
    if (load_relaxed(&span->state) == SPAN_LARGE)
        return fits_large(span, bytes);
    return fits_small(span->slot_bytes, bytes);
}

static bool resize_large(struct span *span, size_t bytes)
{
    struct thread *thread = runtime_enter();

    if (thread == NULL)
        return false;
    int64_t before = (int64_t)span->slot_bytes;
    /* gccheckmark: pages that were used before hold stale pointers. */
    bool done = (!options.gccheckmark || bytes <= span->slot_bytes) &&
                pages_resize_large(span, bytes);

    collect_account_large(thread, span_kind(span), (int64_t)span->slot_bytes - before);
    runtime_leave(thread);
    return done;
}

/* Hands the pages of one large object to another of at least that size.  The
 * target has a mapping of its own afterwards (moved); it may have had several before, which kernels
 * before 6.17 refuse: then the pages are copied one by one. */
static bool move_pages(struct span *from, struct span *to, size_t bytes)
{
    if (!vm_move((void *)from->base, (void *)to->base, align_up(bytes, VM_PAGE)))
        return false;
    to->moved = 1;
    return true;
}

/* Is a copy better, for the pages stay in memory where they are?  Not of what was hardly used. */
static bool had_better_copy(const struct span *from, size_t bytes)
{
    return bytes <= load_relaxed(&pages_copy_most) && vm_resident_share((void *)from->base, bytes) >= 192;
}

/* Moved pages are in no list of written ones: a cycle that marks would miss what they hold.  In
 * the runtime, where the phase stands still. */
static bool may_move(void)
{
    return !load_relaxed(&span_allocate_black) && !vm_is_confined();
}

static void copy_block(void *to, void *from, size_t bytes)
{
    struct span *source = span_of((uintptr_t)from);
    struct span *target = span_of((uintptr_t)to);

    if (bytes >= MOVE_MIN && source->state == SPAN_LARGE && target->state == SPAN_LARGE) {
        struct thread *thread = runtime_enter();
        bool moved = thread != NULL && load_relaxed(&source->slot_state[0]) != SLOT_CEDED && may_move() &&
                     !had_better_copy(source, bytes) && move_pages(source, target, bytes);
        if (thread != NULL)
            runtime_leave(thread);
        if (moved)
            return;
    }
    memcpy(to, from, bytes);
}

/* A gc_alloc object is not scanned again, and its copy never was: what the copy holds goes through
 * the barrier.  Until the old object is freed it is in a register, and its words are found. */
static void shade_copy(const void *copy, size_t bytes)
{
    const uintptr_t *word = copy;

    if (LIKELY(load_relaxed(&gc_barrier_on) == 0))
        return;
    for (size_t i = 0; i < bytes / sizeof *word; i++)
        barrier_record(load_relaxed(&word[i]));
}

static COLD NORETURN void die_bad_realloc(const void *block)
{
    uint32_t slot;
    struct span *span = heap_contains((uintptr_t)block) ? span_of((uintptr_t)block) : NULL;

    if (span != NULL && span_in_use(span)) {
        slot = span_slot_of(span, (uintptr_t)block - span->base);
        if (slot < span->slots && span_slot_address(span, slot) != (uintptr_t)block)
            die("realloc of %p, which is inside a %zu-byte block at %p (thread %d)", block,
                span->slot_bytes, (void *)span_slot_address(span, slot), sys_gettid());
        die("realloc of %p, which was freed (%zu-byte block, thread %d)", block, span->slot_bytes,
            sys_gettid());
    }
    die("realloc of %p, which was never allocated (thread %d)", block, sys_gettid());
}

/* Another allocator's block (the loader's, before us): its size is unknown, so
 * what follows it up to the end of its page at most is copied. */
static void *realloc_foreign(void *block, size_t bytes)
{
    void *fresh = alloc_malloc(bytes);
    size_t readable = VM_PAGE - ((uintptr_t)block & (VM_PAGE - 1));

    if (fresh != NULL)
        memcpy(fresh, block, min_size(bytes, readable));
    return fresh;
}

/* A block that grows will grow again: one that has to move gets a quarter more than it had,
 * so that a buffer grown in small steps moves a few times, not at every step.  Pages that are
 * not touched cost nothing. */
static size_t room_to_grow(size_t old, size_t bytes)
{
    return old >= GROW_MIN && bytes >= old && bytes <= PTRDIFF_MAX / 2
               ? max_size(bytes, old + old / 4)
               : bytes;
}

static NOINLINE void *realloc_slow(void *block, size_t bytes)
{
    uint32_t slot;
    struct span *span = span_of_block(block, &slot);

    if (span == NULL && !heap_contains((uintptr_t)block))
        return realloc_foreign(block, bytes);
    if (span == NULL)
        die_bad_realloc(block);
    enum kind kind = span_kind(span);
    bool shared = span->span_class == span_class_of(KIND_NOSCAN, SIZE_CLASS_16);

    if (!shared && span_slot_address(span, slot) != (uintptr_t)block)
        die_bad_realloc(block);
    if (bytes > PTRDIFF_MAX)
        return NULL;
    bool ceded = load_relaxed(&span->slot_state[slot]) == SLOT_CEDED;
    size_t need = kind == KIND_MALLOC ? bytes + malloc_pad() : bytes;

    if (!shared && (ceded ? need <= span->slot_bytes : fits_in_place(span, need)))
        return block;
    if (!ceded && span->state == SPAN_LARGE && need > SMALL_MAX && resize_large(span, need))
        return block;
    size_t old = alloc_usable_size(block);
    void *fresh =
        kind == KIND_MALLOC ? alloc_malloc(room_to_grow(old, bytes)) : alloc_gc(bytes, kind);

    if (fresh == NULL)
        return NULL;
    copy_block(fresh, block, min_size(bytes, old));
    if (kind == KIND_GC)
        shade_copy(fresh, min_size(bytes, old));
    /* The compiler may not forget the old object before. */
    __asm__ volatile("" : "+r"(block) : : "memory");
    alloc_free(block);
    return fresh;
}

/* The usual case, without a call: a small malloc block stays, or moves from one magazine to another.  NULL:
 * anything is unusual, and nothing has changed. */
INLINE void *realloc_small(void *block, size_t bytes)
{
    struct mcache *cache = &thread_self->cache;

    if (UNLIKELY(!heap_contains((uintptr_t)block)))
        return NULL;
    uint64_t map_entry = pagemap_entry((uintptr_t)block);
    struct span *span = entry_span(map_entry);
    unsigned class = entry_span_class(map_entry);
    if (UNLIKELY(class - 1u >= SIZE_CLASSES - 1u))      /* large, not malloc's, or no span */
        return NULL;
    unsigned __int128 product = (unsigned __int128)((uintptr_t)block - span->base) * span->divider;
    if (UNLIKELY((uint64_t)product >= span->divider))
        return NULL;
    if (UNLIKELY(load_relaxed(span->slot_state + (uint64_t)(product >> 64)) != SLOT_OUT))
        return NULL;
    size_t room = size_classes[class].slot_bytes;
    if (fits_small(room, bytes + malloc_pad()))
        return block;
    size_t wanted = room_to_grow(room, bytes);
    if (UNLIKELY(wanted > SMALL_MAX))
        return NULL;
    void *fresh = fast_pop(cache, sizeclass_of_malloc(wanted));
    if (UNLIKELY(fresh == NULL))
        return NULL;
    memcpy(fresh, block, min_size(bytes, room));
    /* The compiler may not forget the old block before. */
    __asm__ volatile("" : "+r"(block) : : "memory");
    alloc_free(block);
    return fresh;
}

FAST void *alloc_realloc(void *block, size_t bytes)
{
    void *done = realloc_small(block, bytes);

    return LIKELY(done != NULL) ? done : realloc_slow(block, bytes);
}
