/* wrap_block.c -- what all blocked regions share; see wrap.h
 *
 * The wrapped functions are in wrap_block_*.c, by the family they belong to.
 */
#define _GNU_SOURCE
#include "api/wrap.h"

#include <dlfcn.h>
#include <string.h>

#include "base/check.h"
#include "os/host.h"

/* dlsym takes the loader's lock, which a thread may hold that waits for this one (a plugin's
 * constructor that starts a thread).  So everything is looked up while there is nobody to
 * wait for: before the first thread is made, and before the first dlopen.  A program that
 * does neither pays only for what it calls. */
static struct {
    const char *name;
    void *found;
} known[] = {
#define WRAPPED(name) { #name, NULL },
#include "api/wrap_symbols.def"
#undef WRAPPED
};

enum { KNOWN = sizeof known / sizeof known[0] };

static uint32_t known_ready;    /* atomic: release after `known` is filled */

void wrap_find_all(void)
{
    if (load_acquire(&known_ready) != 0)
        return;
    for (unsigned i = 0; i < KNOWN; i++)
        store_relaxed(&known[i].found, dlsym(RTLD_NEXT, known[i].name));
    store_release(&known_ready, 1);
}

static void *find_known(const char *name)
{
    if (load_acquire(&known_ready) == 0)
        return NULL;
    for (unsigned i = 0; i < KNOWN; i++)
        if (strcmp(known[i].name, name) == 0)
            return load_relaxed(&known[i].found);
    return NULL;
}

void *wrap_find(void **cache, const char *name)
{
    void *found = find_known(name);

    if (found == NULL)
        found = dlsym(RTLD_NEXT, name);

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

int gcalloc_unpark_personality(int version UNUSED, int actions, uint64_t class UNUSED,
                               void *exception UNUSED, void *context UNUSED)
{
    struct thread *thread = thread_self;

    if (actions & UNWIND_CLEANUP_PHASE)
        store_relaxed(&wrap_goes_on, 0);
    if ((actions & UNWIND_CLEANUP_PHASE) && load_relaxed(&thread->state) != THREAD_RUNNING &&
        !wrap_is_stranger(thread))
        thread_unpark(thread);
    return UNWIND_CONTINUE;
}

enum { NS_PER_SECOND = 1000000000 };

static struct timespec now_monotonic(void)
{
    uint64_t ns = host_clock_ns();

    return (struct timespec){ (time_t)(ns / NS_PER_SECOND), (long)(ns % NS_PER_SECOND) };
}

void wait_limit_start(struct wait_limit *limit, const struct timespec *length)
{
    /* A malformed length is for the kernel to refuse; a long one never ends. */
    limit->timed = length != NULL && length->tv_sec >= 0 && length->tv_sec < INT32_MAX &&
                   length->tv_nsec >= 0 && length->tv_nsec < NS_PER_SECOND &&
                   (length->tv_sec | length->tv_nsec) != 0;
    if (!limit->timed)
        return;
    limit->end = now_monotonic();
    limit->end.tv_sec += length->tv_sec;
    limit->end.tv_nsec += length->tv_nsec;
    if (limit->end.tv_nsec >= NS_PER_SECOND) {
        limit->end.tv_nsec -= NS_PER_SECOND;
        limit->end.tv_sec++;
    }
}

void wait_limit_left(const struct wait_limit *limit, struct timespec *left)
{
    if (!limit->timed)
        return;
    struct timespec now = now_monotonic();

    left->tv_sec = limit->end.tv_sec - now.tv_sec;
    left->tv_nsec = limit->end.tv_nsec - now.tv_nsec;
    if (left->tv_nsec < 0) {
        left->tv_nsec += NS_PER_SECOND;
        left->tv_sec--;
    }
    if (left->tv_sec < 0)
        *left = (struct timespec){ 0, 0 };
}
