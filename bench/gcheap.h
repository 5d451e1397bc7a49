/*
 * gcheap -- one small vocabulary over several heaps, so that the collector benchmarks are one source.
 *
 * PURPOSE: HEAP_NEW (a block of size bytes, zeroed unless it is malloc's), HEAP_NEW_BYTES (the
 *   same for memory that never holds a pointer), HEAP_STORE (a pointer into a block's field),
 *   HEAP_DROP (the block is no longer needed), HEAP_COLLECT (a full collection now), HEAP_INIT
 *   (once, in main), heap_cycles (collections completed so far), heap_last_stop_ns (how long the
 *   last one stopped the program), heap_stops_ns (how long all of them did; both 0 when the heap
 *   does not say).
 * Chosen by the compiler's command line: BENCH_HEAP_GCALLOC (this library's gc_alloc, linked
 * statically), BENCH_HEAP_LIBGC (Boehm, Demers, Weiser: GC_MALLOC; incremental when the environment
 * has BENCH_INCREMENTAL), BENCH_HEAP_LEAK (malloc, and never free: for a malloc that collects),
 * BENCH_HEAP_BUMP (no heap at all: the next bytes of memory that HEAP_INIT has brought in; what a
 * program takes then is its own work, and no collector can be faster), else malloc and free.
 */
#ifndef BENCH_GCHEAP_H
#define BENCH_GCHEAP_H

#include <stdint.h>

#if defined(BENCH_HEAP_GCALLOC)

#include "gcalloc.h"
#include <pthread.h>
#define HEAP_COLLECTS 1
#define HEAP_INIT() ((void)0)
#define HEAP_NEW(size) gc_alloc(size)
#define HEAP_NEW_BYTES(size) gc_alloc_noscan(size)
#define HEAP_STORE(slot, value) GC_WRITE(slot, value)
#define HEAP_DROP(block) ((void)(block))
#define HEAP_COLLECT() gc_collect()

static inline uint64_t heap_cycles(void)
{
    struct gc_memstats stats;
    gc_read_memstats(&stats);
    return stats.num_gc;
}

static inline uint64_t heap_last_stop_ns(void)
{
    struct gc_memstats stats;
    gc_read_memstats(&stats);
    return stats.pause_ns[(stats.num_gc + GC_PAUSES - 1) % GC_PAUSES];
}

static inline uint64_t heap_stops_ns(void)
{
    struct gc_memstats stats;
    gc_read_memstats(&stats);
    return stats.pause_total_ns;
}

#elif defined(BENCH_HEAP_LIBGC)

/* Before gc.h and instead of pthread.h alone: it must see pthread_create to know the threads. */
#define GC_THREADS
#include <gc.h>
#include <pthread.h>
#include <stdlib.h>
#define HEAP_COLLECTS 1
#define HEAP_INIT() heap_init()
#define HEAP_NEW(size) GC_MALLOC(size)
#define HEAP_NEW_BYTES(size) GC_MALLOC_ATOMIC(size)
#define HEAP_STORE(slot, value) (*(slot) = (value))
#define HEAP_DROP(block) ((void)(block))
#define HEAP_COLLECT() GC_gcollect()

/* libgc starts its marker threads only with the first thread of the program: ask for them, or a
   single-threaded program would be marked by one processor. GC_MARKERS=1 still means one. */
static inline void heap_init(void)
{
    GC_init();
    if (getenv("BENCH_INCREMENTAL") != NULL)
        GC_enable_incremental();
    GC_start_mark_threads();
}

static inline uint64_t heap_cycles(void)
{
    return GC_get_gc_no();
}

#elif defined(BENCH_HEAP_BUMP)

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#define HEAP_COLLECTS 1
#define HEAP_INIT() heap_init()
#define HEAP_NEW(size) heap_bump(size)
#define HEAP_NEW_BYTES(size) heap_bump(size)
#define HEAP_STORE(slot, value) (*(slot) = (value))
#define HEAP_DROP(block) ((void)(block))
#define HEAP_COLLECT() ((void)0)

enum { HEAP_CHUNK = 1 << 20 };
static const size_t heap_bytes = (size_t)1536 << 20;
static char *heap_base;
static _Atomic size_t heap_used;
static __thread char *heap_next, *heap_end;

static inline void heap_init(void)
{
    heap_base = mmap(NULL, heap_bytes, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    if (heap_base == MAP_FAILED) {
        fputs("no memory for a heap without a collector\n", stderr);
        exit(1);
    }
}

static __attribute__((noinline)) void *heap_more(size_t size)
{
    size_t chunk = size > HEAP_CHUNK ? size : HEAP_CHUNK;
    size_t used = atomic_fetch_add(&heap_used, chunk);
    if (used + chunk > heap_bytes)
        return NULL;
    heap_next = heap_base + used + size;
    heap_end = heap_base + used + chunk;
    return heap_base + used;
}

static inline void *heap_bump(size_t size)
{
    size = (size + 7) / 8 * 8;
    if ((size_t)(heap_end - heap_next) < size)
        return heap_more(size);
    char *block = heap_next;
    heap_next += size;
    return block;
}

#else

#include <pthread.h>
#include <stdlib.h>
#define HEAP_COLLECTS 0
#define HEAP_INIT() ((void)0)
#define HEAP_NEW(size) malloc(size)
#define HEAP_NEW_BYTES(size) malloc(size)
#define HEAP_STORE(slot, value) (*(slot) = (value))
#if defined(BENCH_HEAP_LEAK)
#include <stdbool.h>
bool gc_collect(void) __asm__("gc_alloc_collect") __attribute__((weak)); /* of the preloaded library */
#define HEAP_DROP(block) ((void)(block))
#define HEAP_COLLECT() ((void)(gc_collect != NULL && gc_collect()))
#else
#define HEAP_DROP(block) free(block)
#define HEAP_COLLECT() ((void)0)
#endif

#endif

/* Of the others nothing is known. */
#if !defined(BENCH_HEAP_GCALLOC) && !defined(BENCH_HEAP_LIBGC)
static inline uint64_t heap_cycles(void)
{
    return 0;
}
#endif

#if !defined(BENCH_HEAP_GCALLOC)
static inline uint64_t heap_last_stop_ns(void)
{
    return 0;
}

static inline uint64_t heap_stops_ns(void)
{
    return 0;
}
#endif

#endif
