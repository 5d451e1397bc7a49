/* needles.h -- hide a word somewhere and look whether roots_visit finds it
 *
 * PURPOSE  Plants a word in a place, and looks whether roots_visit hands it over;
 *          then takes it out and looks that it is gone, so that a chance copy
 *          elsewhere cannot pass for it.  The stopped world is pretended: the
 *          tasks below stand for it.  Link with src/base, src/os,
 *          src/heap/arena.c and src/world/roots*.c; not with the rest of src/world.
 */
#ifndef TESTS_UNIT_NEEDLES_H
#define TESTS_UNIT_NEEDLES_H

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

#include "base/bits.h"
#include "base/options.h"
#include "heap/arena.h"
#include "os/host.h"
#include "world/roots.h"
#include "world/stop.h"

/* ------------------------------------------------------------------- the pretended world */

enum { MAX_TASKS = 64 };

static struct stopped_task tasks[MAX_TASKS];
static size_t task_count;
static struct thread threads[MAX_TASKS];

const struct stopped_task *world_tasks(size_t *count)
{
    *count = task_count;
    return tasks;
}

static struct thread *known_threads;    /* for the running walk */

struct thread *thread_list(void)
{
    return known_threads;
}

unsigned thread_count(void)
{
    return (unsigned)task_count;
}

static void know_stack(struct thread *thread, pthread_t owner)
{
    pthread_attr_t attributes;
    void *low;
    size_t bytes;

    pthread_getattr_np(owner, &attributes);
    pthread_attr_getstack(&attributes, &low, &bytes);
    pthread_attr_destroy(&attributes);
    thread->stack_low = (uintptr_t)low;
    thread->stack_high = (uintptr_t)low + bytes;
}

static struct stopped_task *add_task(uintptr_t sp, bool known)
{
    struct thread *thread = &threads[task_count];
    struct stopped_task *task = &tasks[task_count++];

    memset(thread, 0, sizeof *thread);
    *task = (struct stopped_task){ .tid = 1000 + (int)task_count, .sp = sp, .thread = thread };
    if (known)
        know_stack(thread, pthread_self());
    return task;
}

/* ------------------------------------------------------------------- needles */

/* A planted word is KEY ^ (BASE + id).  It is never a constant of the program, and needles_seen
 * counts without ever storing one. */
enum { NEEDLES = 64 };
static volatile uintptr_t key = 0x5bd1e995a7c3f00fu;
#define BASE 0x00c0ffee00000000u

static int seen_as[3][NEEDLES];         /* by kind */
static size_t largest_piece, bytes_seen;
static bool tracked;                    /* the visit is the second stop of a cycle */
static const char *why;
static uint64_t visit_ns;
static void (*when_seen)(int id);       /* called in the middle of a visit, unless NULL */

static void look(void *context, enum root_kind kind, const uintptr_t *low, const uintptr_t *high)
{
    uintptr_t local_key = key;
    const char *last = (const char *)high - sizeof(uintptr_t);
    size_t step = kind == ROOT_CODE ? 1 : sizeof(uintptr_t);

    (void)context;
    bytes_seen += (size_t)((const char *)high - (const char *)low);
    largest_piece = max_size(largest_piece, (size_t)((const char *)high - (const char *)low));
    for (const char *at = (const char *)low; at <= last; at += step) {
        uintptr_t id;

        memcpy(&id, at, sizeof id);
        id = (id ^ local_key) - BASE;
        if (id >= NEEDLES)
            continue;
        seen_as[kind][id]++;
        if (when_seen != NULL)
            when_seen((int)id);
    }
}

static NOINLINE void plant(volatile void *place, int id)
{
    *(volatile uintptr_t *)place = key ^ (BASE + (uintptr_t)id);
}

static NOINLINE void uproot(volatile void *place)
{
    *(volatile uintptr_t *)place = 0;
}

static NOINLINE bool visit_with(uintptr_t sp)
{
    memset(seen_as, 0, sizeof seen_as);
    bytes_seen = 0;
    if (task_count == 0)
        add_task(sp, true);
    tasks[0].sp = sp;
    assert_true(roots_gather());
    uint64_t start = host_clock_ns();
    bool complete = roots_visit(look, NULL, tracked ? ROOTS_TRACKED : ROOTS_ALL, &why);

    visit_ns = host_clock_ns() - start;
    return complete;
}

/* Everything below the caller's frame is dead. */
static NOINLINE bool visit(void)
{
    return visit_with((uintptr_t)__builtin_frame_address(0) - 8);
}

static int times_seen(int id)
{
    return seen_as[ROOT_STACK][id] + seen_as[ROOT_DATA][id] + seen_as[ROOT_CODE][id];
}

static bool found(int id)
{
    if (!visit())
        fail_msg("roots_visit: %s", why);
    return times_seen(id) > 0;
}

/* Planted by somebody; looks, and looks again after it was taken out. */
static inline void expect_at(volatile void *place, int id)
{
    assert_true(found(id));
    uproot(place);
    assert_false(found(id));
}

static inline void expect_planted(volatile void *place, int id)
{
    assert_false(found(id));
    plant(place, id);
    expect_at(place, id);
}

static inline char *map_pages(size_t pages, int flags)
{
    char *memory = mmap(NULL, pages * 4096, PROT_READ | PROT_WRITE, flags | MAP_ANONYMOUS, -1, 0);

    assert_ptr_not_equal(memory, MAP_FAILED);
    return memory;
}

/* Once with PAGEMAP_SCAN, once with the words of /proc/self/pagemap. */
static inline int run_both_ways(const struct CMUnitTest *tests, size_t count)
{
    int failed;

    if (meta_alloc(64) == NULL)         /* makes the reservation */
        return 2;
    options.nopagemapscan = 0;
    failed = _cmocka_run_group_tests("PAGEMAP_SCAN", tests, count, NULL, NULL);
    options.nopagemapscan = 1;
    failed += _cmocka_run_group_tests("words of pagemap", tests, count, NULL, NULL);
    return failed;
}

#endif
