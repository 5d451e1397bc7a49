/* park.h -- sleep and wake on a 32-bit word (futex)
 *
 * PURPOSE  The one way this library waits.  No libc, no errno, safe in a signal
 *          handler.  Words are process-private.
 */
#ifndef GCALLOC_BASE_PARK_H
#define GCALLOC_BASE_PARK_H

#include "base/sys.h"

#define PARK_FOREVER UINT64_MAX

/* Sleeps while *word == expected, at most timeout_ns (PARK_FOREVER: no limit).
 * May wake early; the caller looks at the word again. */
void park_wait(const uint32_t *word, uint32_t expected, uint64_t timeout_ns);

/* Sleeps for so long, or less; nobody wakes it. */
void park_for(uint64_t ns);

/* Between two looks at what another task will soon have done, and wakes nobody for; `looks` counts them
 * from 0.  It sleeps before long: a real-time thread that only yields keeps the other from its processor. */
void park_between_looks(unsigned looks);

/* Wakes up to count sleepers of the word. */
void park_wake(const uint32_t *word, int count);

INLINE void park_wake_all(const uint32_t *word)
{
    park_wake(word, INT32_MAX);
}

#endif
