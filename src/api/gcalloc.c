/* gcalloc.c -- the gc_* functions of gcalloc.h
 *
 * PURPOSE  Arguments and errno are dealt with here; alloc/ and watch/ do the work.
 */
#include "gcalloc.h"

#include <errno.h>
#include <string.h>

#include "alloc/alloc.h"
#include "alloc/collect.h"
#include "base/options.h"
#include "gc/barrier.h"
#include "watch/stats.h"
#include "world/roots.h"
#include "world/thread.h"

static COLD void *no_memory(void)
{
    errno = ENOMEM;
    return NULL;
}

INLINE void *allocate(size_t bytes, enum kind kind)
{
    void *object = alloc_gc(bytes, kind);

    return LIKELY(object != NULL) ? object : no_memory();
}

EXPORT FAST void *gc_alloc(size_t bytes)
{
    return allocate(bytes, KIND_GC);
}

EXPORT FAST void *gc_alloc_noscan(size_t bytes)
{
    return allocate(bytes, KIND_NOSCAN);
}

EXPORT void *gc_alloc_array(size_t count, size_t size)
{
    size_t bytes;

    if (__builtin_mul_overflow(count, size, &bytes))
        return no_memory();
    return allocate(bytes, KIND_GC);
}

static void free_keeping_errno(void *object)
{
    int saved = errno;

    alloc_free(object);
    errno = saved;
}

EXPORT void gc_free(void *object)
{
    free_keeping_errno(object);
}

EXPORT void *gc_realloc(void *object, size_t bytes)
{
    if (object == NULL)
        return allocate(bytes, KIND_GC);
    if (bytes == 0) {
        free_keeping_errno(object);
        return NULL;
    }
    if (bytes > PTRDIFF_MAX)
        return no_memory();
    size_t before = alloc_usable_size(object);
    char *result = alloc_realloc(object, bytes);

    if (result == NULL)
        return no_memory();
    /* What moved has a zeroed object around it; what grew in place took used pages. */
    if (result == object && bytes > before)
        memset(result + before, 0, alloc_usable_size(result) - before);
    return result;
}

EXPORT size_t gc_size(const void *object)
{
    return alloc_usable_size(object);
}

EXPORT void *gc_base(const void *address)
{
    return alloc_base(address);
}

EXPORT bool gc_collect(void)
{
    return collect_now();
}

/* ---- roots ---- */

static uintptr_t word_up(const void *address)
{
    return align_up((uintptr_t)address, sizeof(uintptr_t));
}

static uintptr_t word_down(const void *address)
{
    return align_down((uintptr_t)address, sizeof(uintptr_t));
}

EXPORT bool gc_add_roots(const void *low, const void *high)
{
    if ((uintptr_t)low > (uintptr_t)high) {
        errno = EINVAL;
        return false;
    }
    if (word_up(low) >= word_down(high))
        return true;
    struct thread *thread = runtime_enter();
    bool added = thread != NULL && roots_add((void *)word_up(low), (void *)word_down(high));

    if (thread != NULL)
        runtime_leave(thread);
    if (!added)
        no_memory();
    return added;
}

EXPORT void gc_remove_roots(const void *low, const void *high)
{
    if (word_up(low) >= word_down(high))
        return;
    struct thread *thread = runtime_enter();

    if (thread == NULL)
        return;                 /* no structure, so it cannot have added any */
    roots_remove((void *)word_up(low), (void *)word_down(high));
    runtime_leave(thread);
}

/* ---- pacing ---- */

EXPORT int gc_set_percent(int percent)
{
    int64_t wanted = percent < 0 ? -1 : percent;
    int64_t previous = exchange_acq_rel(&options.gogc, wanted);

    collect_knobs_changed();
    return (int)previous;
}

EXPORT int64_t gc_set_memory_limit(int64_t bytes)
{
    if (bytes < 0)
        return load_relaxed(&options.memory_limit);
    int64_t previous = exchange_acq_rel(&options.memory_limit, bytes);

    collect_knobs_changed();
    return previous;
}

EXPORT void gc_free_os_memory(void)
{
    collect_now();
    alloc_trim();
}

/* ---- statistics ---- */

EXPORT void gc_read_memstats(struct gc_memstats *out)
{
    struct stats stats;

    stats_read(&stats);         /* without memory: zeroes */
    stats_fill_memstats(&stats, out);
}

EXPORT const char *gc_version(void)
{
    return GCALLOC_VERSION_STRING;
}

/* ---- barrier ---- */

EXPORT void gc_write_slow(const void *old_value, const void *new_value)
{
    if (old_value != NULL)
        barrier_record((uintptr_t)old_value);
    if (new_value != NULL)
        barrier_record((uintptr_t)new_value);
}

EXPORT bool gc_compare_exchange(void *slot, const void *expected, const void *desired)
{
    const void *value = expected;

    if (!cas_seq_cst((const void **)slot, &value, desired))
        return false;
    GC_BARRIER_AFTER_STORE_((const void **)slot, expected, desired);
    return true;
}

/* Records the whole words of a range. */
static void record_range(const void *low, size_t bytes)
{
    const uintptr_t *word = (const uintptr_t *)align_up((uintptr_t)low, sizeof(uintptr_t));

    for (; (uintptr_t)(word + 1) <= (uintptr_t)low + bytes; word++)
        barrier_record(load_relaxed(word));
}

/* The values stored are shaded after the copy, from where they are then.  Before that they may be
 * in the copy alone, so a stop that comes in between scans what is being copied to (copy_low).
 * In a handler that interrupts another copy there is no room to say so: what is copied is
 * shaded before as well. */
EXPORT void *gc_memmove(void *to, const void *from, size_t bytes)
{
    struct thread *thread = thread_self;
    bool nested = thread == NULL || thread == &thread_none || thread->copy_low != 0;

    if (!nested) {              /* a handler that copies now leaves both alone; and no range ends at 0 */
        *(volatile uintptr_t *)&thread->copy_low = (uintptr_t)to;
        COMPILER_BARRIER();
        *(volatile uintptr_t *)&thread->copy_high = (uintptr_t)to + bytes;
    }
    COMPILER_BARRIER();
    if (UNLIKELY(load_relaxed(&gc_barrier_on) != 0)) {
        record_range(to, bytes);
        if (nested)
            record_range(from, bytes);
    }
    memmove(to, from, bytes);
    COMPILER_BARRIER();
    if (UNLIKELY(load_relaxed(&gc_barrier_on) != 0))
        record_range(to, bytes);
    COMPILER_BARRIER();
    if (!nested) {
        *(volatile uintptr_t *)&thread->copy_low = 0;
        COMPILER_BARRIER();
        *(volatile uintptr_t *)&thread->copy_high = 0;
    }
    return to;
}

/* Between cycles: the pages of a running one are armed or not. */
EXPORT int gc_set_barrier(int barrier)
{
    if (barrier != GC_BARRIER_WRITES && barrier != GC_BARRIER_PAGES) {
        errno = EINVAL;
        return -1;
    }
    collect_suspend();
    int previous = options.barrier_pages ? GC_BARRIER_PAGES : GC_BARRIER_WRITES;

    options.barrier_pages = barrier == GC_BARRIER_PAGES;
    collect_resume();
    return previous;
}
