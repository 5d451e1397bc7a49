/* torture_plain.h -- gcalloc.h, or with -DPLAIN the same names on top of any other malloc
 *
 * PURPOSE  The torture programs must be right themselves.  With -DPLAIN nothing is collected and
 *          nothing is leaked on purpose, so AddressSanitizer, LeakSanitizer and ThreadSanitizer
 *          can tell whether they use, lose or share a block wrongly:
 *          cc -DPLAIN -fsanitize=address -Iinclude -o torture tests/stress/torture.c -ldl
 */
#ifndef TORTURE_PLAIN_H
#define TORTURE_PLAIN_H

#ifndef PLAIN
#include <gcalloc.h>
#else
#include <malloc.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

struct gc_memstats {
    uint64_t heap_alloc, heap_cached_bytes, malloc_reclaimed, sys, num_gc, num_abandoned_gc;
};

#define GC_WRITE(slot, value) ((void)(*(slot) = (value)))
#define GC_SWAP(slot, value) __atomic_exchange_n((slot), (value), __ATOMIC_SEQ_CST)

static inline void *gc_alloc(size_t bytes) { return calloc(1, bytes); }
static inline void *gc_alloc_noscan(size_t bytes) { return calloc(1, bytes); }
static inline void *gc_alloc_array(size_t count, size_t size) { return calloc(count, size); }
static inline void gc_free(void *object) { free(object); }
static inline void *gc_realloc(void *object, size_t bytes) { return realloc(object, bytes); }
static inline size_t gc_size(const void *object) { return malloc_usable_size((void *)object); }
static inline bool gc_collect(void) { return true; }
static inline void gc_remove_roots(const void *low, const void *high) { (void)low; (void)high; }
static inline bool gc_add_roots(const void *low, const void *high) { return low <= high; }
static inline void gc_read_memstats(struct gc_memstats *stats) { memset(stats, 0, sizeof *stats); }
static inline void *gc_memmove(void *to, const void *from, size_t bytes)
{
    return memmove(to, from, bytes);
}
static inline bool gc_compare_exchange(void *slot, const void *expected, const void *desired)
{
    return __atomic_compare_exchange_n((const void **)slot, &expected, desired, false,
                                       __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
}
#endif
#endif
