/* check.h -- two levels of self-distrust, and how to die
 *
 * CHECK   always on.  For what a caller can get wrong, or what would corrupt the heap.
 * ASSERT  MODE=debug.  For what only we can get wrong, if O(1) to test.
 * What needs a walk is in functions <room>_check(), which GCALLOC_DEBUG=verify=1 calls.
 *
 * A disabled ASSERT still compiles its condition, so it cannot rot, and evaluates
 * nothing, so it must not have side effects.
 */
#ifndef GCALLOC_BASE_CHECK_H
#define GCALLOC_BASE_CHECK_H

#include "base/compiler.h"

/* Prints "libgcalloc: <message>" in one write and aborts.  Never allocates. */
NORETURN COLD void die(const char *format, ...) PRINTF(1, 2);
/* Prints "libgcalloc: <message>" in one write. */
COLD void warn(const char *format, ...) PRINTF(1, 2);
/* Writes to the program's standard error, from any task, also one with descriptors of its own, without
 * waiting longer than `ms` for room: a pipe that nobody reads is full for ever.  False: nothing was
 * written. */
bool error_try_write(const char *text, size_t bytes, int ms);
NORETURN COLD void check_failed(const char *file, int line, const char *condition);

#define CHECK(cond) (LIKELY(cond) ? (void)0 : check_failed(__FILE__, __LINE__, #cond))
#if defined(GCALLOC_DEBUG_CHECKS)
enum { CHECKED = true };        /* for what only assertions need */
#define ASSERT(cond) CHECK(cond)
#else
enum { CHECKED = false };
#define ASSERT(cond) ((void)sizeof((cond) ? 1 : 0))
#endif

#endif
