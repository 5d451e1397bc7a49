/* release.c -- when free cannot simply push; and malloc_trim
 *
 * PURPOSE    Everything unusual that a program may hand to free: NULL, foreign
 *            pointers, large objects, misuse; and a full or closed magazine.
 * INVARIANT  (I6) A slot is freed exactly once.  A small slot may be pushed when its
 *            state byte says that the program has it.  Two threads that free it at the very
 *            same moment are found out when both flush (the freed bit is set twice); at once
 *            in hardened mode, where every free sets the bit.
 */
#include "alloc/refill.h"

#include <string.h>

#include "alloc/collect.h"
#include "base/check.h"
#include "base/options.h"
#include "base/sys.h"
#include "gc/sweep.h"
#include "heap/ceded.h"
#include "heap/pages.h"
#include "heap/ready.h"

static COLD NORETURN void die_never_allocated(const void *block)
{
    die("free of %p, which was never allocated (thread %d)", block, sys_gettid());
}

static COLD NORETURN void die_interior(const struct span *span, uint32_t slot, const void *block)
{
    die("free of %p, which is inside a %zu-byte block at %p (thread %d)", block, span->slot_bytes,
        (void *)span_slot_address(span, slot), sys_gettid());
}

/* Memory of another allocator: the loader's before us, or a library's own. */
static COLD void ignore_foreign(const void *block)
{
    static uint32_t warned;     /* atomic */

    if (exchange_acq_rel(&warned, 1) == 0)
        warn("free of %p, which is not ours; ignored", block);
}

/* Straight to the span: in hardened mode, or when only the span's owner may touch what else
 * the slot carries. */
static void release_to_span(struct thread *thread, struct span *span, uint32_t slot)
{
    thread->cache.freed_count++;
    thread->cache.freed_bytes += span->slot_bytes;
    if (span_kind(span) != KIND_MALLOC)
        thread->cache.gc_bytes -= (int64_t)span->slot_bytes;
    thread->cache.classes[span->span_class].flushed++;
    span_release_slot(span, slot);
}

/* The program has protected or mapped over part of the block.  False: it stays so, and the block is
 * lost. */
static COLD bool make_ordinary(const struct span *span, uint32_t slot)
{
    uintptr_t low = span_slot_address(span, slot);

    return ceded_renew(low, low + span->slot_bytes);
}

static void free_small(struct thread *thread, struct span *span, void *block)
{
    uint32_t slot = span_slot_of(span, (uintptr_t)block - span->base);
    uint64_t bit = 1ull << (slot & 63);

    if (span->span_class == span_class_of(KIND_NOSCAN, SIZE_CLASS_16))
        return;                 /* may be shared by tiny objects: the collector's */
    if (slot >= span->slots)
        die_never_allocated(block);
    if (span_slot_address(span, slot) != (uintptr_t)block)
        die_interior(span, slot, block);
    if (load_relaxed(&span->slot_state[slot]) == SLOT_IN)
        span_die_double_free(span, block);
    if (UNLIKELY(load_relaxed(&span->slot_state[slot]) == SLOT_CEDED) && !make_ordinary(span, slot))
        return;
    store_relaxed(&span->slot_state[slot], SLOT_IN);
    if (load_relaxed(&span_free_black))
        span_mark(span, slot);
    if (UNLIKELY(options.gccheckmark))
        memset(block, 0, span->slot_bytes);
    /* A condemned block that the program has all the same: its pointer was where
     * nobody can look. */
    bool condemned = (load_relaxed(&span->bits[slot >> 6].condemned) & bit) != 0;

    if (condemned || mcache_limit(span->span_class) == 0)
        release_to_span(thread, span, slot);
    else
        mcache_push(&thread->cache, span,
                    (struct cached){ .slot = block, .state = &span->slot_state[slot] });
}

static void free_large(struct thread *thread, struct span *span, void *block)
{
    int64_t bytes = (int64_t)span->slot_bytes;
    enum kind kind = span_kind(span);

    if ((uintptr_t)block != span->base)
        die_interior(span, 0, block);
    if (UNLIKELY(load_relaxed(&span->slot_state[0]) == SLOT_CEDED) && !make_ordinary(span, 0))
        return;
    if (exchange_acq_rel(&span->slot_state[0], SLOT_IN) == SLOT_IN)
        span_die_double_free(span, block);
    store_relaxed(&span->live, 0);
    pages_free(span);
    collect_account_large(thread, kind, -bytes);
}

static void free_checked(struct thread *thread, void *block)
{
    struct span *span = span_of((uintptr_t)block);

    if (span == NULL || !span_in_use(span))
        die_never_allocated(block);
    sweep_span(span);
    if (!span_in_use(span))     /* reclaimed by that sweep */
        span_die_double_free(span, block);
    if (load_relaxed(&span->state) == SPAN_LARGE)
        free_large(thread, span, block);
    else
        free_small(thread, span, block);
}

static void leave(struct thread *thread)
{
    collect_account(thread);
    bool wanted = thread->wants_cycle;

    runtime_leave(thread);
    if (UNLIKELY(wanted))
        collect_start_wanted();
}

void alloc_free_slow(void *block)
{
    if (block == NULL)
        return;
    if (!heap_contains((uintptr_t)block)) {
        ignore_foreign(block);
        return;
    }
    struct thread *thread = runtime_enter();

    if (thread == NULL)
        return;                 /* no memory for a thread structure: the block is lost, not the program */
    free_checked(thread, block);
    leave(thread);
}

/* What lies between the live slots of spans on ready lists; the wholly free ones have gone. */
static size_t release_between(void)
{
    size_t bytes = 0;

    for (unsigned c = 0; c < SPAN_CLASSES; c++) {
        for (struct thread *thread = thread_list(); thread != NULL; thread = thread->next)
            bytes += ready_release(&thread->cache.classes[c].ready);
        bytes += ready_release(&central[c]);
    }
    return bytes;
}

size_t alloc_trim(void)
{
    struct thread *thread = runtime_enter();

    if (thread == NULL)
        return 0;
    outbox_flush(&thread->cache);
    for (unsigned c = 0; c < SPAN_CLASSES; c++) {
        if (mcache_cached(&thread->cache, c) != 0)
            mcache_flush(&thread->cache, c, UINT32_MAX);
        mcache_untake(&thread->cache, c);
    }
    refill_reclaim_spans();
    size_t bytes = release_between();

    bytes += pages_release_idle(0, SIZE_MAX) << PAGE_SHIFT;
    runtime_leave(thread);
    return bytes;
}
