/* arena.c -- see arena.h */
#include "heap/arena.h"

#include <string.h>

#include "base/lock.h"
#include "heap/chunk.h"
#include "os/vm.h"

enum {
    HEAP_STEP = 1 << 20,        /* least growth of the heap: bounds what a small process holds */
    META_STEP = 64 << 10,
    META_LEAST = 16 << 20,
    TABLE_FIRST = 64,           /* rows */
};

static const size_t HEAP_RESERVE_MAX = (size_t)1 << 40;
static const size_t HEAP_RESERVE_MIN = (size_t)16 << 20;
/* Growth is an eighth of the heap, so that the number of system calls is
 * logarithmic; never more than this at once, for overcommit_memory=2. */
static const size_t HEAP_STEP_MAX = (size_t)64 << 20;
static const size_t HUGE_PAGE = (size_t)2 << 20;

AT_START ALIGNED(CACHE_LINE) struct arena arena;

static AT_START struct lock meta_lock = LOCK_INIT(META);
static AT_START size_t meta_used;       /* META */

static uintptr_t carve(struct region *region, uintptr_t at, size_t bytes)
{
    bytes = align_up(bytes, 64 * KIB);
    region->base = at;
    region->reserved = bytes;
    return at + bytes;
}

/* What is known of single pages: a struct chunk for 64 (heap/chunk.h). */
static size_t chunk_bytes(size_t pages)
{
    return (pages + CHUNK_PAGES - 1) / CHUNK_PAGES * sizeof(struct chunk);
}

/* Metadata for a heap of that size: page map and chunks exactly, the span table
 * for a span in every page, headers and the rest generously: address space is free. */
static size_t metadata_bytes(size_t heap)
{
    size_t pages = heap >> PAGE_SHIFT;

    return align_up(pages * sizeof(uint64_t), 64 * KIB) + align_up(chunk_bytes(pages), 64 * KIB) +
           align_up(pages * sizeof(struct span *), 64 * KIB) + align_up(heap / 8 + META_LEAST, 64 * KIB);
}

static bool reserve(size_t heap)
{
    size_t bytes = metadata_bytes(heap) + heap + HUGE_PAGE;
    uintptr_t at = (uintptr_t)vm_reserve(bytes);
    size_t pages = heap >> PAGE_SHIFT;

    if (at == 0)
        return false;
    arena.start = at;
    arena.end = at + bytes;
    at = carve(&arena.map, at, pages * sizeof(uint64_t));
    at = carve(&arena.chunks, at, chunk_bytes(pages));
    at = carve(&arena.table, at, pages * sizeof(struct span *));
    at = carve(&arena.meta, at, heap / 8 + META_LEAST);
    arena.heap.base = align_up(at, HUGE_PAGE);
    arena.heap.reserved = heap;
    arena.pagemap = (uint64_t *)arena.map.base;
    arena.base = arena.heap.base;
    return true;
}

static bool arena_init(void)
{
    /* By quarters, so that a limit on address space (ulimit -v) leaves most of it to the heap. */
    for (size_t heap = HEAP_RESERVE_MAX; heap >= HEAP_RESERVE_MIN;
         heap = align_down(heap - heap / 4, MIB))
        if (reserve(heap))
            return true;
    return false;
}

static bool commit(struct region *region, size_t bytes)
{
    if (!vm_commit((void *)(region->base + region->ready), bytes - region->ready))
        return false;
    region->ready = bytes;
    return true;
}

bool region_ensure(struct region *region, size_t bytes, size_t step)
{
    if (bytes <= region->ready)
        return true;
    size_t wanted = align_up(bytes + region->ready / 8, step);

    if (wanted > region->reserved)
        wanted = region->reserved;
    return bytes <= wanted && commit(region, wanted);
}

size_t arena_grow_locked(size_t pages)
{
    size_t before = arena.heap.ready;
    size_t step = min_size(max_size(align_up(before / 8, HEAP_STEP), HEAP_STEP), HEAP_STEP_MAX);
    size_t least = before + (pages << PAGE_SHIFT);

    if (pages > arena.heap.reserved >> PAGE_SHIFT || least > arena.heap.reserved)
        return 0;
    size_t target = max_size(align_up(least, HEAP_STEP), before + step);

    if (step >= HUGE_PAGE)
        target = align_up(target, HUGE_PAGE);       /* whole ones only: heap/huge.h */
    target = min_size(target, arena.heap.reserved);

    if (!region_ensure(&arena.map, (target >> PAGE_SHIFT) * sizeof(uint64_t), META_STEP) ||
        !region_ensure(&arena.chunks, chunk_bytes(target >> PAGE_SHIFT), 4 * KIB))
        return 0;
    if (!commit(&arena.heap, target) && !commit(&arena.heap, least))
        return 0;
    store_release(&arena.bytes, arena.heap.ready);
    return (arena.heap.ready - before) >> PAGE_SHIFT;
}

void *meta_alloc(size_t bytes)
{
    void *result = NULL;

    bytes = align_up(bytes, CACHE_LINE);
    lock_acquire(&meta_lock);
    if (arena.start == 0)
        arena_init();           /* the very first allocation of the process */
    if (bytes <= arena.meta.reserved - meta_used &&
        region_ensure(&arena.meta, meta_used + bytes, META_STEP)) {
        result = (void *)(arena.meta.base + meta_used);
        meta_used += bytes;
    }
    lock_release(&meta_lock);
    return result;
}

bool meta_make_room(void *rows, size_t *capacity, size_t count, size_t more, size_t row_bytes)
{
    void **table = rows;

    if (count + more <= *capacity)
        return true;
    size_t wanted = max_size(TABLE_FIRST, *capacity * 2);
    void *fresh = meta_alloc(wanted * row_bytes);

    if (fresh == NULL)
        return false;
    if (count != 0)
        memcpy(fresh, *table, count * row_bytes);
    *table = fresh;
    *capacity = wanted;
    return true;
}

size_t meta_bytes(void)
{
    return load_relaxed(&arena.meta.ready) + load_relaxed(&arena.map.ready) +
           load_relaxed(&arena.chunks.ready) + load_relaxed(&arena.table.ready);
}

void arena_fork_child(void)
{
    lock_reset(&meta_lock);
}
