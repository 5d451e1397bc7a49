/* wrap_pthread.c -- a thread's first and last steps
 *
 * pthread_create and thrd_create run a trampoline of ours on the new thread: it
 * announces the thread, with the bounds of its stack, runs the program's function, and detaches.
 * It detaches in all cases:
 *   return          the trampoline goes on after the call;
 *   pthread_exit,   the unwinder comes by and asks the trampoline's personality
 *   cancellation    (PARKED_FRAME in wrap.h tells how that works).
 * Destructors of thread-specific data run later.  If they allocate, the thread attaches again,
 * and world/thread.c finds out that it died.  No key of our own, for a program may
 * want all PTHREAD_KEYS_MAX of them.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdlib.h>
#include <threads.h>

#include "alloc/alloc.h"
#include "api/wrap.h"

enum { RECORDS = 64 };

/* What the program passes on is seen meanwhile: our data is searched for roots like any other. */
struct beginning {
    union {
        void *(*posix)(void *);
        thrd_start_t c11;
    } run;
    void *argument;
    size_t stack_bytes;         /* 0: not known, or the program's own memory */
    uint32_t taken;             /* atomic */
};

/* From the heap when all are taken; in the child of a fork those stay taken that were then. */
static struct beginning records[RECORDS];

/* Where glibc puts a thread's stack, found out with the first one of which it could say so: it ends so far
 * above the thread pointer. */
static struct {
    size_t above;
    uint32_t known;             /* atomic: 0 not yet, 1 being found out or not so simple, 2 known */
    uint32_t changes;           /* atomic: the program has changed what a stack is by default */
} layout;

#define DETACHING_FRAME() UNWIND_BY(gcalloc_detach_personality)

int gcalloc_detach_personality(int version, int actions, uint64_t class, void *exception,
                               void *context);
int gcalloc_detach_personality(int version UNUSED, int actions, uint64_t class UNUSED,
                               void *exception UNUSED, void *context UNUSED)
{
    if (actions & UNWIND_CLEANUP_PHASE)
        thread_detach();
    return UNWIND_CONTINUE;
}

static struct beginning *record_take(void)
{
    for (struct beginning *record = records; record < records + RECORDS; record++)
        if (load_relaxed(&record->taken) == 0 && exchange_acquire(&record->taken, 1) == 0)
            return record;
    return alloc_malloc(sizeof(struct beginning));
}

/* In the new thread, or where there is none. */
static void record_return(struct beginning *record)
{
    if (record < records || record >= records + RECORDS) {
        alloc_free(record);
        return;
    }
    record->argument = NULL;
    store_release(&record->taken, 0);
}

/* How long the stack of a thread with these attributes will be at least. */
static size_t stack_wanted(const pthread_attr_t *attributes)
{
    pthread_attr_t defaults;
    void *low = NULL;
    size_t bytes = 0;

    if (attributes != NULL) {
        /* Where no stack is given its high end is 0. */
        return pthread_attr_getstack(attributes, &low, &bytes) == 0 && (uintptr_t)low + bytes == 0 ? bytes
                                                                                                   : 0;
    }
    if (pthread_getattr_default_np(&defaults) != 0)
        return 0;
    pthread_attr_getstacksize(&defaults, &bytes);
    pthread_attr_destroy(&defaults);
    return bytes;
}

/* Asks glibc, which asks the kernel for the thread's processors and allocates.  0, 0: it could not. */
static void find_stack(uintptr_t *low, uintptr_t *high)
{
    pthread_attr_t attributes;
    void *start = NULL;
    size_t bytes = 0;

    if (pthread_getattr_np(pthread_self(), &attributes) == 0) {
        pthread_attr_getstack(&attributes, &start, &bytes);
        pthread_attr_destroy(&attributes);
    }
    *low = (uintptr_t)start;
    *high = (uintptr_t)start + bytes;
}

/* glibc may have used a longer stack again: then its low end is not known, and a thread that gets there
 * counts as one elsewhere than on its stack.  It is never shorter than was asked for, unless another thread
 * has made the default smaller between the question and the creation: the new thread sees that. */
static void announce(size_t stack_bytes)
{
    uintptr_t here = (uintptr_t)__builtin_thread_pointer(), low, high;

    if (load_acquire(&layout.changes) != 0)
        stack_bytes = 0;
    if (stack_bytes != 0 && load_acquire(&layout.known) == 2 && (here + layout.above) % 4096 == 0) {
        thread_announce(here + layout.above - stack_bytes, here + layout.above);
        return;
    }
    find_stack(&low, &high);
    uint32_t unknown = 0;

    if (stack_bytes != 0 && high != 0 && cas_acquire(&layout.known, &unknown, 1) &&
        high - low == stack_bytes) {
        layout.above = high - here;
        store_release(&layout.known, 2);
    }
    thread_announce(low, high);
}

static struct beginning begin(void *record)
{
    struct beginning beginning = *(struct beginning *)record;

    record_return(record);
    announce(beginning.stack_bytes);
    return beginning;
}

static NOINLINE void *run_posix(void *record)
{
    struct beginning beginning = begin(record);

    DETACHING_FRAME();
    void *result = beginning.run.posix(beginning.argument);

    thread_detach();
    return result;
}

static NOINLINE int run_c11(void *record)
{
    struct beginning beginning = begin(record);

    DETACHING_FRAME();
    int result = beginning.run.c11(beginning.argument);

    thread_detach();
    return result;
}

EXPORT int pthread_create(pthread_t *thread, const pthread_attr_t *attributes,
                          void *(*run)(void *), void *argument)
{
    static void *cache;
    wrap_find_all();
    __typeof__(&pthread_create) real = WRAP_REAL(cache, pthread_create);
    struct beginning *record = record_take();

    if (record == NULL)
        return EAGAIN;
    thread_share();
    record->run.posix = run;
    record->argument = argument;
    record->stack_bytes = stack_wanted(attributes);
    int error = real(thread, attributes, run_posix, record);

    if (error != 0)
        record_return(record);
    return error;
}

EXPORT int pthread_setattr_default_np(const pthread_attr_t *attributes)
{
    static void *cache;

    store_release(&layout.changes, 1);
    return WRAP_REAL(cache, pthread_setattr_default_np)(attributes);
}

EXPORT int thrd_create(thrd_t *thread, thrd_start_t run, void *argument)
{
    static void *cache;
    wrap_find_all();
    __typeof__(&thrd_create) real = WRAP_REAL(cache, thrd_create);
    struct beginning *record = record_take();

    if (record == NULL)
        return thrd_nomem;
    thread_share();
    record->run.c11 = run;
    record->argument = argument;
    record->stack_bytes = stack_wanted(NULL);
    int error = real(thread, run_c11, record);

    if (error != thrd_success)
        record_return(record);
    return error;
}
