/* barrier.h -- the write barrier: what mutators tell the markers
 *
 * PURPOSE    Hybrid barrier, as in Go: while a cycle marks, GC_WRITE shades the value that it
 *            overwrites (Yuasa: nothing that was reachable when marking began gets lost
 *            behind the marker) and the value that it stores (Dijkstra: no black object
 *            points to a white one).  Values go into a buffer of the thread; a full buffer
 *            is marked from by its thread, the rest by stop 2.
 * OWNER      The buffer is its thread's; the collector reads and empties it in stops.
 * INVARIANT  (I1) A value is in a register of its thread, in its buffer and counted, or shaded.
 *            Whatever instruction a thread is stopped at, a stop finds the value: registers are
 *            roots.
 */
#ifndef GCALLOC_GC_BARRIER_H
#define GCALLOC_GC_BARRIER_H

#include "base/atomics.h"

/* Written with the world stopped.  Exported: the macros of gcalloc.h look at it. */
extern unsigned gc_barrier_on;

/* Records a word that may name an object.  Any thread, also in a signal handler; not in the runtime. */
void barrier_record(uintptr_t word);

/* A word that goes where stores are not tracked: into the kernel. */
INLINE void barrier_shade(uintptr_t word)
{
    if (UNLIKELY(load_relaxed(&gc_barrier_on) != 0))
        barrier_record(word);
}

#endif
