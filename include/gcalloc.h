/* gcalloc.h -- malloc with a garbage collector
 *
 * Link with -lgcalloc.  The program's malloc family is then served by this library
 * as well; both kinds of memory live in one heap and are marked by one collector:
 *
 *     malloc      uninitialised; freed by free(), or reclaimed after two cycles in a row
 *                 found it unreachable (not with GCALLOC_MODE=manual)
 *     gc_alloc    zeroed; freed by the collector after the first cycle that finds it
 *                 unreachable, in every mode; gc_free is allowed, never needed
 *
 * A block is reachable while a word on a stack, in a register, in static or thread-local
 * data, in the program's own anonymous mappings or in another reachable block points at
 * or into it.  A pointer one past the end counts for a malloc block; for a gc_alloc object only on a
 * stack.  Words must stand at a multiple of 4, in gc_alloc objects of 8.  Words in
 * gc_alloc_noscan objects do not count, nor do pointers in files, pipes, sockets or shared file
 * mappings, nor encoded ones.
 *
 * Cycles mark beside the running program.  Pointers to heap blocks of either kind that are stored
 * INTO gc_alloc objects must be stored by GC_WRITE, GC_SWAP, gc_compare_exchange or gc_memmove:
 * see the last section.  Stores into local and global variables and into malloc blocks are
 * plain C.
 *
 * THREADS   Every function here may be called by any thread at any time, and in a forked
 *           child.  Signal handlers may use the write barrier and gc_version; nothing else
 *           if they can interrupt a call of one of these or of the malloc family.
 * UNITS     Sizes are bytes, times nanoseconds, unless the name says otherwise.
 * ERRORS    errno is only touched where a comment says so.
 *
 * gcalloc(7) has the environment variables and what is exported.
 */
#ifndef GCALLOC_H
#define GCALLOC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define GCALLOC_VERSION_MAJOR 0
#define GCALLOC_VERSION_MINOR 1
#define GCALLOC_VERSION_PATCH 0
#define GCALLOC_VERSION_STRING "0.1.0"
/* major * 10000 + minor * 100 + patch, for comparisons in #if. */
#define GCALLOC_VERSION 100

#define GC_NOTHROW __attribute__((nothrow))
#define GC_USE_RESULT __attribute__((warn_unused_result))
/* The name in the library, which dlsym and foreign function interfaces need.  D's runtime exports
 * functions called gc_free, gc_realloc and gc_collect: with this library preloaded they must stay
 * its own. */
#define GC_NAMED(name) __asm__(#name)
/* A new block, nothing else points to it; the numbers name the arguments with its size. */
#define GC_NEW_BLOCK(...) \
    __attribute__((nothrow, malloc, alloc_size(__VA_ARGS__), warn_unused_result))

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Objects ------------------------------------------------------------------------ */

/* gc_alloc -- an object of at least `bytes` bytes, all zero, that may hold pointers
 *
 * RETURNS    The object; a unique one also for 0 bytes.
 *            NULL with errno ENOMEM: more than PTRDIFF_MAX bytes were asked for, or there
 *            is no memory even after a collection.
 * ALIGNMENT  16 when bytes is a multiple of 16, but not 0; else the largest power of two up to 8 that
 *            divides bytes.  That suits every C type of this size.
 * OWNERSHIP  The collector's: reclaimed when a cycle finds it unreachable.
 * Like new(T) in Go. */
void *gc_alloc(size_t bytes) GC_NEW_BLOCK(1);

/* gc_alloc_noscan -- the same for memory that will never hold a pointer to a heap block
 *
 * The collector does not look into it: cheaper to mark, and numbers in it keep nothing
 * alive.  Objects below 16 bytes share 16-byte blocks, and a block lives as long as any
 * object in it.  Like GC_malloc_atomic of the Boehm collector, and like pointer-free
 * types in Go. */
void *gc_alloc_noscan(size_t bytes) GC_NEW_BLOCK(1);

/* gc_alloc_array -- gc_alloc(count * size); NULL with errno ENOMEM when that overflows */
void *gc_alloc_array(size_t count, size_t size) GC_NEW_BLOCK(1, 2);

/* gc_realloc -- an object with the old contents and room for `bytes` bytes
 *
 * Grows in place where it can; else the contents move to a new object of the same kind
 * and the old one is freed at once, so no pointer to the old address may be used any more.
 * The kind (scanned or not, malloc or gc) stays.  Of a gc object, what lies beyond
 * gc_size(object) of the old object reads as zero.
 * The contents need no write barrier: gc_realloc tells the collector itself.  The pointer
 * to the new object does, where it is stored.
 * object NULL: gc_alloc(bytes).  bytes 0: gc_free(object), NULL.
 * RETURNS    The object; NULL with errno ENOMEM: as gc_alloc, and the old object is intact.
 * Like realloc(). */
void *gc_realloc(void *object, size_t bytes) GC_NAMED(gc_alloc_realloc) GC_NOTHROW
    GC_USE_RESULT __attribute__((alloc_size(2)));

/* gc_free -- gives an object back now, instead of after the next cycle
 *
 * Takes what gc_alloc and its kin or the malloc family returned, and NULL.  An object
 * below 16 bytes from gc_alloc_noscan, which shares its block, is left to the collector.
 * A pointer that is not the start of a block, or a block that is free already, ends the
 * process with a message, as free() does.  errno is preserved. */
void gc_free(void *object) GC_NAMED(gc_alloc_free) GC_NOTHROW;

/* gc_size -- how many bytes may be used at a block: what was asked for, or more
 *
 * RETURNS    0 for NULL and for memory that is not from this library.
 * Like malloc_usable_size(). */
size_t gc_size(const void *object) GC_NOTHROW;

/* gc_base -- the start of the block that contains the address
 *
 * RETURNS    NULL when the address is in no allocated block: not ours, free, or past the end.
 *            The answer is firm only while the caller keeps the block reachable.
 * Like GC_base of the Boehm collector. */
void *gc_base(const void *address) GC_NOTHROW;

/* ---- Collections -------------------------------------------------------------------- */

/* gc_collect -- runs a whole new cycle and returns when marking and sweeping are done
 *
 * A gc_alloc object that is unreachable at the call is free at the return.  A malloc block
 * must be found unreachable by two cycles: call twice.
 * RETURNS    false: nothing was freed.  The cycle was abandoned (a thread could not be
 *            stopped, roots could not be read; GCALLOC_DEBUG=gctrace=1 says why), or none
 *            may run (in the child of vfork, behind a seccomp filter, while a thread is in
 *            unshare, setns or set*id, without memory).
 * Like runtime.GC in Go. */
bool gc_collect(void) GC_NAMED(gc_alloc_collect) GC_NOTHROW;

/* gc_add_roots -- makes [low, high) roots: words in it keep blocks alive
 *
 * For memory that is not searched by itself, such as shared file mappings.  Not for heap
 * blocks.  The range must stay readable until it is removed; the edges are rounded inward
 * to multiples of 8.
 * RETURNS    false with errno ENOMEM (no memory for the entry) or EINVAL (low above high).
 * Like GC_add_roots of the Boehm collector. */
bool gc_add_roots(const void *low, const void *high) GC_NOTHROW GC_USE_RESULT;

/* gc_remove_roots -- whatever of [low, high) was added is not a root any more */
void gc_remove_roots(const void *low, const void *high) GC_NOTHROW;

/* ---- Pacing ------------------------------------------------------------------------- */

/* gc_set_percent -- sets the growth of the live heap, in percent, that starts a cycle
 *
 * GCALLOC_GOGC is the initial value, or 100.  Negative: off; cycles still run for the
 * memory limit and for gc_collect.
 * RETURNS    The previous value; -1 when it was off.
 * Like debug.SetGCPercent in Go. */
int gc_set_percent(int percent) GC_NOTHROW;

/* gc_set_memory_limit -- sets the soft limit, in bytes, on what the library holds
 *
 * GCALLOC_GOMEMLIMIT is the initial value, or INT64_MAX: none.  Above the limit cycles run
 * more often and free memory is returned; allocations do not fail because of it.
 * Negative: changes nothing, only returns the current value.
 * RETURNS    The previous value.
 * Like debug.SetMemoryLimit in Go. */
int64_t gc_set_memory_limit(int64_t bytes) GC_NOTHROW;

/* gc_free_os_memory -- a cycle, and then as much free memory as possible returned to the OS
 *
 * Like debug.FreeOSMemory in Go. */
void gc_free_os_memory(void) GC_NOTHROW;

/* ---- Statistics --------------------------------------------------------------------- */

#define GC_SIZE_CLASSES 128
#define GC_PAUSES 256

/* The fields of Go's runtime.MemStats that have a meaning here, under Go's names, and some
 * of our own.  As in Go the counters are those of all objects, malloc blocks included.
 *
 * A block that waits in a thread's cache counts as allocated, until the cache returns it,
 * so mallocs, frees, total_alloc, heap_alloc and heap_objects count what threads take
 * from and return to the heap, in batches; heap_cached_* says how much of heap_alloc and
 * heap_objects is such.  Objects that a cycle found dead count until they are swept.
 *
 * sys == heap_sys + mspan_sys + mcache_sys + gc_sys + other_sys
 * heap_sys == heap_inuse + heap_idle,  heap_released <= heap_idle
 * heap_objects == mallocs - frees */
struct gc_memstats {
    uint64_t alloc;             /* same as heap_alloc */
    uint64_t total_alloc;       /* bytes ever allocated */
    uint64_t sys;               /* address space made ready for use, not all of it touched */
    uint64_t mallocs;           /* objects ever allocated */
    uint64_t frees;             /* objects ever freed, by the program or the collector */

    uint64_t heap_alloc;        /* bytes of allocated blocks, rounded up to their classes */
    uint64_t heap_sys;          /* bytes of heap ready for use */
    uint64_t heap_idle;         /* bytes in free page runs */
    uint64_t heap_inuse;        /* bytes in spans with at least one block, or cached by a thread */
    uint64_t heap_released;     /* bytes of heap_idle that hold no memory */
    uint64_t heap_objects;      /* allocated blocks */

    uint64_t mspan_inuse;       /* bytes of span headers in use */
    uint64_t mspan_sys;         /* bytes of all span headers and their table */
    uint64_t mcache_inuse;      /* bytes of caches of living threads */
    uint64_t mcache_sys;        /* bytes of all thread structures */
    uint64_t gc_sys;            /* bytes of the page map and the collector's tables */
    uint64_t other_sys;         /* other metadata */

    uint64_t next_gc;           /* heap bytes at which the next cycle starts; UINT64_MAX: never */
    uint64_t last_gc;           /* end of the last cycle's stop, ns since 1970; 0: none yet */
    uint64_t pause_total_ns;
    uint64_t pause_ns[GC_PAUSES];   /* ring; the latest is [(num_gc + 255) % 256] */
    uint64_t pause_end[GC_PAUSES];  /* ring; ns since 1970 */
    uint32_t num_gc;            /* cycles completed */
    uint32_t num_forced_gc;     /* of these, asked for by gc_collect or gc_free_os_memory */
    double gc_cpu_fraction;     /* of the CPU time available since the start, for collections */
    bool enable_gc;             /* some cycle may start by itself */

    /* By size class, from [1] on in ascending order; what is left at the end is zero.
     * [0] is for blocks above the largest class, with size 0. */
    struct {
        uint32_t size;          /* bytes */
        uint64_t mallocs;
        uint64_t frees;
    } by_size[GC_SIZE_CLASSES];

    /* Not in Go. */
    uint32_t num_abandoned_gc;  /* cycles given up: freed nothing, not in num_gc */
    uint32_t threads;           /* threads with a cache */
    uint64_t heap_cached_bytes;
    uint64_t heap_cached_objects;
    uint64_t heap_live;         /* bytes found reachable by the last cycle */
    uint64_t malloc_live;       /* of these, malloc blocks */
    uint64_t malloc_condemned;  /* bytes of malloc blocks found unreachable once */
    uint64_t malloc_reclaimed;  /* bytes of malloc blocks ever reclaimed by the collector */
    uint64_t stack_scan;        /* bytes of stacks searched by the last cycle */
    uint64_t globals_scan;      /* bytes of all other roots searched by the last cycle */

    /* What threads have to do with each other. */
    uint64_t refills;           /* times a thread's cache was filled from its spans or the heap */
    uint64_t merges;            /* words of slots freed by other threads that refills took over */
    uint64_t flushes;           /* times a thread's cache gave blocks back to their spans */
    uint64_t foreign_frees;     /* blocks given back to spans at home with another thread */
    uint64_t lock_waits;        /* times one of the library's locks was found held */
};

/* gc_read_memstats -- fills in *stats
 *
 * Walks all spans, without stopping anything: about a millisecond per GiB of small blocks,
 * and sums are exact only while no other thread allocates.  A thread that never allocated, and
 * for which there is no memory now, gets zeroes for what spans and threads hold.
 * Like runtime.ReadMemStats in Go. */
void gc_read_memstats(struct gc_memstats *stats) GC_NOTHROW;

/* gc_version -- GCALLOC_VERSION_STRING of the library that is loaded; static storage */
const char *gc_version(void) GC_NOTHROW __attribute__((const));

/* ---- Write barrier ------------------------------------------------------------------ */

/* GC_WRITE(slot, value)    *slot = value
 * GC_SWAP(slot, value)     atomically: old = *slot, *slot = value; the result is old
 *
 * slot is the address of a pointer inside a gc_alloc object: GC_WRITE(&node->next, m).
 * Any other slot is allowed.  Both arguments are evaluated once.  Two threads that
 * GC_WRITE to one slot without a lock between them race, as plain stores do; GC_SWAP and
 * gc_compare_exchange (sequentially consistent) do not.  All may be used in signal handlers.
 *
 * WHERE  Every store of a pointer into a gc_alloc object, also the first one into an object that
 * gc_alloc has just returned: it counts as reached while a cycle marks, and is not searched.
 * Numbers may be stored plainly, and NULL into an object that holds no pointer yet.  memcpy and
 * struct assignment into a gc_alloc object are stores, too: gc_memmove.  Not needed for locals,
 * globals, thread-local variables and malloc blocks; nowhere under GC_BARRIER_PAGES.
 *
 * A missed store may cost a live object, later, elsewhere.  GCALLOC_DEBUG=gccheckmark=1
 * marks again after each cycle and ends the program with the address of the missed object and
 * of the object that holds the pointer.
 *
 * HOW  The store comes first, then a look at gc_barrier_on, which is 1 while a cycle marks
 * beside the running program: then the collector is told the old and the new value.  A
 * thread that is stopped between the store and the look still holds both in registers,
 * where the collector finds them, so the order matters and an asm statement keeps it.
 * This is the hybrid barrier of Go (shade old, shade new), after the store instead of
 * before.  The values go into a buffer of the thread; between cycles the price is one load and
 * a branch. */

/* Read only. */
extern unsigned gc_barrier_on;
/* Only for the macros. */
void gc_write_slow(const void *old_value, const void *new_value) GC_NOTHROW;

#define GC_BARRIER_AFTER_STORE_(slot, old_value, new_value)                                   \
    do {                                                                                      \
        __asm__ volatile("" : "+m"(*(slot)), "+m"(gc_barrier_on));                            \
        if (__builtin_expect(gc_barrier_on != 0, 0))                                          \
            gc_write_slow((const void *)(old_value), (const void *)(new_value));              \
    } while (0)

#ifndef __cplusplus
#define GC_WRITE(slot, value)                                                                 \
    __extension__({                                                                           \
        __typeof__(&*(slot)) gc_slot_ = (slot);                                               \
        __typeof__(*gc_slot_) gc_new_ = (value);                                              \
        __typeof__(*gc_slot_) gc_old_ = *gc_slot_;                                            \
        *gc_slot_ = gc_new_;                                                                  \
        GC_BARRIER_AFTER_STORE_(gc_slot_, gc_old_, gc_new_);                                  \
        (void)0;                                                                              \
    })
#define GC_SWAP(slot, value)                                                                  \
    __extension__({                                                                           \
        __typeof__(&*(slot)) gc_slot_ = (slot);                                               \
        __typeof__(*gc_slot_) gc_new_ = (value);                                              \
        __typeof__(*gc_slot_) gc_old_ =                                                       \
            __atomic_exchange_n(gc_slot_, gc_new_, __ATOMIC_SEQ_CST);                         \
        GC_BARRIER_AFTER_STORE_(gc_slot_, gc_old_, gc_new_);                                  \
        gc_old_;                                                                              \
    })
#endif

/* gc_compare_exchange -- atomically: if *slot == expected, *slot = desired
 *
 * slot is the address of a pointer of any type, 8-byte aligned.  Sequentially consistent.
 * RETURNS    true: it was stored.
 * Like atomic.CompareAndSwapPointer in Go. */
bool gc_compare_exchange(void *slot, const void *expected, const void *desired) GC_NOTHROW;

/* gc_memmove -- memmove() into a gc_alloc object; pointers are moved as whole words
 *
 * For memcpy, memmove, memset-by-copy and struct assignment of what holds pointers.
 * to, from and bytes should be multiples of 8 where pointers are concerned.
 * RETURNS    to. */
void *gc_memmove(void *to, const void *from, size_t bytes) GC_NOTHROW;

/* gc_set_barrier -- how stores into gc_alloc objects are noticed
 *
 * GC_BARRIER_WRITES: by the macros above (the default).  GC_BARRIER_PAGES: by the pages they dirty, like
 * stores into malloc blocks: for code that cannot promise to use the macros; stop 2 is longer.
 * May be called at any time; waits for a running cycle to end.  GCALLOC_BARRIER=pages in the
 * environment does the same.
 * RETURNS    The previous setting; -1 with errno EINVAL: neither of the two. */
enum { GC_BARRIER_WRITES, GC_BARRIER_PAGES };
int gc_set_barrier(int barrier) GC_NOTHROW;

#ifdef __cplusplus
}

/* The value converts to the slot's type as in an assignment: nullptr, derived to base. */
template <typename T> struct gc_value_ {
    typedef T *type;
};

template <typename T> inline void gc_write_(T **slot, typename gc_value_<T>::type value)
{
    T *old = *slot;

    *slot = value;
    GC_BARRIER_AFTER_STORE_(slot, old, value);
}

template <typename T> inline T *gc_swap_(T **slot, typename gc_value_<T>::type value)
{
    T *old = __atomic_exchange_n(slot, value, __ATOMIC_SEQ_CST);

    GC_BARRIER_AFTER_STORE_(slot, old, value);
    return old;
}

#define GC_WRITE(slot, value) gc_write_((slot), (value))
#define GC_SWAP(slot, value) gc_swap_((slot), (value))
#endif

#endif
