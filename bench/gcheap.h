/*
 * gcheap -- one small vocabulary over three heaps, so that the collector benchmarks are one source.
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
 * else malloc and free.
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

static inline uint64_t heap_last_stop_ns(void)
{
    return 0;
}

static inline uint64_t heap_stops_ns(void)
{
    return 0;
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
#define HEAP_DROP(block) ((void)(block))
#else
#define HEAP_DROP(block) free(block)
#endif
#define HEAP_COLLECT() ((void)0)

static inline uint64_t heap_cycles(void)
{
    return 0;
}

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
