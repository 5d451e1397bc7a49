/* barrier.c -- see barrier.h
 *
 * A place in the buffer is claimed by one instruction, so a signal handler that writes with the
 * barrier too gets a place of its own.  A handler or a stop that empties the buffer meanwhile
 * changes `barrier_flushes`, and the interrupted thread, whose place is not counted any more,
 * starts over.
 */
#include "gc/barrier.h"

#include "base/options.h"
#include "gc/cycle.h"
#include "gc/mark.h"
#include "gc/object.h"

EXPORT unsigned gc_barrier_on;

/* fill++ in one instruction; not atomic for other threads. */
INLINE uint32_t claim_place(uint32_t *fill)
{
    uint32_t place = 1;

    __asm__ volatile("xaddl %0, %1" : "+r"(place), "+m"(*fill) : : "memory");
    return place;
}

static void shade(const uintptr_t *words, uint32_t count, bool may_allocate)
{
    if (load_relaxed(&gc_phase) == GC_MARKING)
        mark_shade(words, count, may_allocate);
}

/* Marks from the full buffer, and from one word more.  Signals are blocked: a handler would find the buffer
 * half empty.  A handler that has interrupted a slow path of its thread may have done so while that held
 * META, which mark_shade must not want then.  Without memory for a structure the thread is not in the
 * runtime; the phase stands still all the same, for no stop gets by a thread that blocks signals, and no
 * fork cuts what is done under THREADS (fork.c). */
static NOINLINE void flush(uintptr_t word)
{
    uint64_t mask = signals_block_all();
    struct thread *thread = runtime_enter();

    if (thread != NULL) {
        bool outermost = load_relaxed(&thread->in_runtime) == 1;

        shade(thread->barrier, (uint32_t)min_size(thread->barrier_fill, BARRIER_WORDS), outermost);
        shade(&word, 1, outermost);
        thread->barrier_fill = 0;
        thread->barrier_flushes++;
        runtime_leave(thread);
    } else {
        threads_lock();
        shade(&word, 1, true);
        threads_unlock();
    }
    signals_restore(mask);
}

/* Marked objects stay marked while the cycle marks, and whoever marked one scans it.  Most of what a
 * program stores was born black a moment ago. */
INLINE bool is_marked(const struct thread *thread, uintptr_t address)
{
    if (address - load_relaxed(&thread->born_low) < load_relaxed(&thread->born_bytes))
        return true;
    const struct span *span = span_of(address);

    if (span == NULL || !span_in_use(span))
        return false;
    uint32_t slot = span_slot_of(span, address - span->base);

    return slot < span->slots && span_is_marked(span, slot);
}

void barrier_record(uintptr_t word)
{
    struct thread *thread = thread_self;
    uint32_t flushes;

    if (!heap_contains(word_address(word)) || options.mutate == 1)
        return;
    if (UNLIKELY(thread == NULL || thread == &thread_none)) {
        flush(word);
        return;
    }
    if (is_marked(thread, word_address(word)))
        return;
    do {
        flushes = load_relaxed(&thread->barrier_flushes);
        COMPILER_BARRIER();
        uint32_t place = claim_place(&thread->barrier_fill);
        if (UNLIKELY(place >= BARRIER_WORDS)) {
            flush(word);
            return;
        }
        *(volatile uintptr_t *)&thread->barrier[place] = word;
        COMPILER_BARRIER();
    } while (UNLIKELY(load_relaxed(&thread->barrier_flushes) != flushes));
    __asm__ volatile("" : : "r"(word));
}
