/* fake_world.h -- a heap with one or more pretended threads, for tests of the collector
 *
 * PURPOSE  Stands in for src/world: stopping always works (or fails on command), and the
 *          roots are the arrays below.  Link with src/base, src/os, src/heap
 *          and src/gc; not with src/world or src/alloc.
 */
#ifndef TESTS_UNIT_FAKE_WORLD_H
#define TESTS_UNIT_FAKE_WORLD_H

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "alloc/fast.h"
#include "base/options.h"
#include "base/sys.h"
#include "gc/cycle.h"
#include "gc/mark.h"
#include "gc/object.h"
#include "heap/pages.h"
#include "world/roots.h"
#include "world/stop.h"

enum { FAKE_THREADS = 4, FAKE_ROOTS = 1 << 16, FAKE_STACK = 64 };

static struct thread fake_threads[FAKE_THREADS];
static uintptr_t fake_roots[FAKE_ROOTS];        /* ROOT_DATA */
static uintptr_t fake_stack[FAKE_STACK];        /* ROOT_STACK */
static bool fake_stop_fails, fake_roots_fail;

struct thread *thread_list(void)
{
    return &fake_threads[0];
}

bool world_stop(const char **why)
{
    *why = "told to fail";
    return !fake_stop_fails;
}

void world_start(void)
{
}

bool roots_gather(void)
{
    return true;
}

/* Data roots go through a buffer that is overwritten after each call, as copies do. */
bool roots_visit(root_visitor visit, void *context, const char **why)
{
    static uintptr_t bounce[4096];

    visit(context, ROOT_STACK, fake_stack, fake_stack + FAKE_STACK);
    for (size_t i = 0; i < FAKE_ROOTS; i += 4096) {
        memcpy(bounce, fake_roots + i, sizeof bounce);
        visit(context, ROOT_DATA, bounce, bounce + 4096);
        memset(bounce, 0, sizeof bounce);
    }
    *why = "told to fail";
    return !fake_roots_fail;
}

struct roots_stats roots_stats_last(void)
{
    return (struct roots_stats){
        .stack_bytes = sizeof fake_stack, .data_bytes = sizeof fake_roots,
    };
}

/* --- allocation as alloc/ does it ------------------------------------------ */

static inline void fake_init(void)
{
    assert_non_null(meta_alloc(64));    /* makes the reservation */
    for (int i = 0; i < FAKE_THREADS; i++) {
        fake_threads[i].tid = i + 1;
        fake_threads[i].next = i + 1 < FAKE_THREADS ? &fake_threads[i + 1] : NULL;
        mcache_init(&fake_threads[i].cache);
    }
    mcache_set_sweeper(sweep_span);
}

static inline void fake_clear_roots(void)
{
    memset(fake_roots, 0, sizeof fake_roots);
    memset(fake_stack, 0, sizeof fake_stack);
}

static inline void *fake_alloc_large(enum kind kind, size_t bytes)
{
    bool zeroed;
    struct span *span = pages_alloc_large(kind, bytes, 1, sweep_generation, &zeroed);

    assert_non_null(span);
    memset((void *)span->base, 0, span->slot_bytes);
    return (void *)span->base;
}

static inline void *fake_alloc_on(struct thread *thread, enum kind kind, size_t bytes)
{
    struct mcache *cache = &thread->cache;
    unsigned class = span_class_of(kind, kind == KIND_MALLOC ? sizeclass_of(bytes)
                                                             : sizeclass_of_gc(bytes));
    void *slot = fast_pop(cache, class);

    if (slot == NULL && mcache_refill(cache, class) == 0) {
        struct span *span = pages_alloc_small(class, sweep_generation);
        assert_non_null(span);
        mcache_adopt(cache, class, span);
    }
    if (slot == NULL)
        slot = fast_pop(cache, class);
    assert_non_null(slot);
    memset(slot, 0, size_classes[span_class_size_class(class)].slot_bytes);
    return slot;
}

static inline void *fake_alloc(enum kind kind, size_t bytes)
{
    return bytes > SMALL_MAX ? fake_alloc_large(kind, bytes)
                             : fake_alloc_on(&fake_threads[0], kind, bytes);
}

/* Opens the magazines that a cycle closed. */
static inline void fake_open_magazines(void)
{
    for (int i = 0; i < FAKE_THREADS; i++) {
        mcache_init(&fake_threads[i].cache);
        fake_threads[i].limits_zeroed = 0;
    }
}

static inline void fake_flush_all(void)
{
    for (int i = 0; i < FAKE_THREADS; i++)
        for (unsigned c = 0; c < SPAN_CLASSES; c++)
            mcache_flush(&fake_threads[i].cache, c, UINT32_MAX);
}

/* --- looking --------------------------------------------------------------- */

static inline bool is_object(const void *address)
{
    return object_at((uintptr_t)address).span != NULL;
}

static inline bool is_marked(const void *address)
{
    struct object object = object_at((uintptr_t)address);

    return object.span != NULL && span_is_marked(object.span, object.slot);
}

static inline bool is_condemned(const void *address)
{
    struct object object = object_at((uintptr_t)address);

    return object.span != NULL &&
           (object.span->bits[object.slot >> 6].condemned >> (object.slot & 63) & 1) != 0;
}

static inline void *fake_task(void *unused)
{
    cycle_help_mark(unused);
    return NULL;
}

static unsigned fake_helpers_wanted;

static inline unsigned fake_help(unsigned wanted)
{
    (void)wanted;
    for (unsigned i = 0; i < fake_helpers_wanted; i++) {
        pthread_t task;
        assert_int_equal(pthread_create(&task, NULL, fake_task, NULL), 0);
        pthread_detach(task);
    }
    return fake_helpers_wanted;
}

static inline void sweep_all(void)
{
    while (sweep_some(16))
        continue;
    assert_true(sweep_is_done());
}

/* A cycle that must succeed, not yet swept. */
static inline struct cycle_report fake_mark(void)
{
    struct cycle_report report = { .goal = 0 };

    assert_true(cycle_run(true, fake_help, &report));
    return report;
}

static inline struct cycle_report fake_collect(void)
{
    struct cycle_report report = fake_mark();

    sweep_all();
    return report;
}

static inline void check_all_spans(void)
{
    for (uint32_t id = 0; id < span_table_size(); id++)
        assert_true(span_check(span_by_id(id)));
    assert_true(pages_check());
}

#endif
