/*
 * gcheap -- one small vocabulary over three heaps, so that the collector benchmarks are one source.
 *
 * PURPOSE: HEAP_NEW (a block of size bytes, zeroed unless it is malloc's), HEAP_STORE (a pointer
 *   into a block's field), HEAP_DROP (the block is no longer needed), HEAP_COLLECT (a full
 *   collection now), HEAP_INIT (once, in main), heap_cycles (collections completed so far),
 *   heap_last_stop_ns (how long the last one stopped the program; 0 when the heap does not say).
 * Chosen by the compiler's command line: BENCH_HEAP_GCALLOC (this library's gc_alloc, linked
 * statically), BENCH_HEAP_LIBGC (Boehm, Demers, Weiser: GC_MALLOC), else malloc and free.
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

#elif defined(BENCH_HEAP_LIBGC)

/* Before gc.h and instead of pthread.h alone: it must see pthread_create to know the threads. */
#define GC_THREADS
#include <gc.h>
#include <pthread.h>
#define HEAP_COLLECTS 1
/* libgc starts its marker threads only with the first thread of the program: ask for them, or a
   single-threaded program would be marked by one processor. GC_MARKERS=1 still means one. */
#define HEAP_INIT() (GC_init(), GC_start_mark_threads())
#define HEAP_NEW(size) GC_MALLOC(size)
#define HEAP_STORE(slot, value) (*(slot) = (value))
#define HEAP_DROP(block) ((void)(block))
#define HEAP_COLLECT() GC_gcollect()

static inline uint64_t heap_cycles(void)
{
    return GC_get_gc_no();
}

static inline uint64_t heap_last_stop_ns(void)
{
    return 0;
}

#else

#include <pthread.h>
#include <stdlib.h>
#define HEAP_COLLECTS 0
#define HEAP_INIT() ((void)0)
#define HEAP_NEW(size) malloc(size)
#define HEAP_STORE(slot, value) (*(slot) = (value))
#define HEAP_DROP(block) free(block)
#define HEAP_COLLECT() ((void)0)

static inline uint64_t heap_cycles(void)
{
    return 0;
}

static inline uint64_t heap_last_stop_ns(void)
{
    return 0;
}

#endif

#endif
