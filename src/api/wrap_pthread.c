/* wrap_pthread.c -- a thread's first and last steps
 *
 * pthread_create and thrd_create run a trampoline of ours on the new thread: it
 * announces the thread, with the bounds of its stack (0.4 us of the 7 us that a thread
 * costs at least), runs the program's function, and detaches.  It detaches in all cases:
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

/* From malloc, so that what the program passes on is seen: the record's address is in
 * libc's own structure of the new thread until the trampoline has it. */
struct beginning {
    union {
        void *(*posix)(void *);
        thrd_start_t c11;
    } run;
    void *argument;
};

#define DETACHING_FRAME() __asm__ volatile(".cfi_personality 0x1b, gcalloc_detach_personality")

/* The unwinder's interface, as in wrap_block.c. */
enum { UNWIND_CLEANUP_PHASE = 2, UNWIND_CONTINUE = 8 };

int gcalloc_detach_personality(int version, int actions, uint64_t class, void *exception,
                               void *context);
int gcalloc_detach_personality(int version UNUSED, int actions, uint64_t class UNUSED,
                               void *exception UNUSED, void *context UNUSED)
{
    if (actions & UNWIND_CLEANUP_PHASE)
        thread_detach();
    return UNWIND_CONTINUE;
}

static void announce(void)
{
    pthread_attr_t attributes;
    void *low = NULL;
    size_t bytes = 0;

    if (pthread_getattr_np(pthread_self(), &attributes) == 0) {
        pthread_attr_getstack(&attributes, &low, &bytes);
        pthread_attr_destroy(&attributes);
    }
    thread_announce((uintptr_t)low, (uintptr_t)low + bytes);
}

static struct beginning begin(void *record)
{
    struct beginning beginning = *(struct beginning *)record;

    alloc_free(record);
    announce();
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
    struct beginning *record = malloc(sizeof(*record));

    if (record == NULL)
        return EAGAIN;
    thread_share();
    *record = (struct beginning){ .run.posix = run, .argument = argument };
    int error = real(thread, attributes, run_posix, record);

    if (error != 0)
        free(record);
    return error;
}

EXPORT int thrd_create(thrd_t *thread, thrd_start_t run, void *argument)
{
    static void *cache;
    wrap_find_all();
    __typeof__(&thrd_create) real = WRAP_REAL(cache, thrd_create);
    struct beginning *record = malloc(sizeof(*record));

    if (record == NULL)
        return thrd_nomem;
    thread_share();
    *record = (struct beginning){ .run.c11 = run, .argument = argument };
    int error = real(thread, run_c11, record);

    if (error != thrd_success)
        free(record);
    return error;
}
