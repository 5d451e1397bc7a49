/* verify.h -- recounts the whole heap and dies if anything is wrong
 *
 * PURPOSE    GCALLOC_DEBUG=verify=1.  Everything that span.h, mcache.h, pages.h and arena.h
 *            promise, checked at once: spans and their page map entries, bits against state
 *            bytes, counters against bits, every cached slot, every list of spans, the page heap.
 * LOCKING    World stopped, no thread in the runtime, every span swept: at the stops of a cycle,
 *            before sweep_begin_stopped.
 * INVARIANT  Changes nothing.  A thread may have been stopped between any two instructions of
 *            alloc/fast.h: the newest slot of a magazine, and the one past it, may be on their
 *            way in or out (I3).
 */
#ifndef GCALLOC_GC_VERIFY_H
#define GCALLOC_GC_VERIFY_H

#include "base/compiler.h"

/* marking: the cached slots have been marked (mark_cached_stopped): every one has its mark bit (I2).
 * Otherwise: there are no marks. */
void verify_stopped(bool marking);

#endif
