/* wrap_block.c -- what all blocked regions share; see wrap.h
 *
 * The wrapped functions are in wrap_block_*.c, by the family they belong to.
 */
#define _GNU_SOURCE
#include "api/wrap.h"

#include <dlfcn.h>

#include "base/check.h"

void *wrap_find(void **cache, const char *name)
{
    void *found = dlsym(RTLD_NEXT, name);

    store_relaxed(cache, found);
    return found;
}

void *wrap_find_or_die(void **cache, const char *name)
{
    void *found = wrap_find(cache, name);

    if (found == NULL)
        die("no %s() behind ours: the C library must be linked dynamically", name);
    return found;
}

/* The stack pointer is outside the known stack: the first blocking call of a thread
 * that never allocated, a coroutine, an alternate stack -- or another task
 * altogether, which must not park the thread it took the storage from. */
struct thread *blocked_thread_slow(struct thread *thread)
{
    if (thread == &thread_none)
        return thread_attach();
    return wrap_is_stranger(thread) ? NULL : thread;
}

/* The unwinder's interface (Itanium C++ ABI, level I), as far as we use it. */
enum { UNWIND_CLEANUP_PHASE = 2, UNWIND_CONTINUE = 8 };

int gcalloc_unpark_personality(int version UNUSED, int actions, uint64_t class UNUSED,
                               void *exception UNUSED, void *context UNUSED)
{
    struct thread *thread = thread_self;

    if ((actions & UNWIND_CLEANUP_PHASE) && load_relaxed(&thread->state) != THREAD_RUNNING &&
        !wrap_is_stranger(thread))
        thread_unpark(thread);
    return UNWIND_CONTINUE;
}

enum { NS_PER_SECOND = 1000000000 };

void wait_limit_start(struct wait_limit *limit, const struct timespec *length)
{
    /* A malformed length is for the kernel to refuse; a long one never ends. */
    limit->timed = length != NULL && length->tv_sec >= 0 && length->tv_sec < INT32_MAX &&
                   length->tv_nsec >= 0 && length->tv_nsec < NS_PER_SECOND &&
                   (length->tv_sec | length->tv_nsec) != 0;
    if (!limit->timed)
        return;
    clock_gettime(CLOCK_MONOTONIC, &limit->end);
    limit->end.tv_sec += length->tv_sec;
    limit->end.tv_nsec += length->tv_nsec;
    if (limit->end.tv_nsec >= NS_PER_SECOND) {
        limit->end.tv_nsec -= NS_PER_SECOND;
        limit->end.tv_sec++;
    }
}

void wait_limit_left(const struct wait_limit *limit, struct timespec *left)
{
    struct timespec now;

    if (!limit->timed)
        return;
    clock_gettime(CLOCK_MONOTONIC, &now);
    left->tv_sec = limit->end.tv_sec - now.tv_sec;
    left->tv_nsec = limit->end.tv_nsec - now.tv_nsec;
    if (left->tv_nsec < 0) {
        left->tv_nsec += NS_PER_SECOND;
        left->tv_sec--;
    }
    if (left->tv_sec < 0)
        *left = (struct timespec){ 0, 0 };
}
