/* fake_world.h -- a heap with one or more pretended threads, for tests of the collector
 *
 * PURPOSE  Stands in for src/world: stopping always works (or fails on command), and the
 *          roots are the arrays below.  Link with src/base, src/os, src/heap
 *          and src/gc; not with src/world or src/alloc.
 *
 *          A cycle marks in one stop, unless fake_own_task is set: then it runs beside the
 *          "program", which is the function fake_running, or real threads that look at
 *          fake_poll() between any two steps.
 */
#ifndef TESTS_UNIT_FAKE_WORLD_H
#define TESTS_UNIT_FAKE_WORLD_H

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "alloc/fast.h"
#include "base/options.h"
#include "base/sys.h"
#include "gc/barrier.h"
#include "gc/cycle.h"
#include "gc/mark.h"
#include "gc/object.h"
#include "heap/pages.h"
#include "heap/ready.h"
#include "world/roots.h"
#include "world/roots_snapshot.h"
#include "world/stop.h"

enum { FAKE_THREADS = 4, FAKE_ROOTS = 1 << 16, FAKE_STACK = 64 };

static struct thread fake_threads[FAKE_THREADS];
static uintptr_t fake_roots[FAKE_ROOTS];        /* ROOT_DATA */
static uintptr_t fake_stack[FAKE_STACK];        /* ROOT_STACK */
static bool fake_stop_fails, fake_roots_fail, fake_kernel_hides, fake_keeps_distances;
static int fake_failing_stop;                   /* 2: the second stop from now on fails */
static struct stopped_task fake_stopped;        /* the only one, if it has a stack pointer */
static bool fake_own_task;                      /* cycles mark beside the program, if they can */
/* What the program does while a cycle marks: before the data roots are read, and before each
 * round of pre-cleaning.  NULL: nothing. */
static void (*fake_running)(void), (*fake_cleaning)(void);

TLS_INITIAL_EXEC struct thread *thread_self = &thread_none;
struct thread thread_none;

struct thread *thread_list(void)
{
    return &fake_threads[0];
}

static bool fake_no_memory;                     /* for a thread's structure */

struct thread *runtime_enter(void)
{
    if (fake_no_memory)
        return NULL;
    thread_self->in_runtime++;
    return thread_self;
}

void threads_lock(void)
{
}

void threads_unlock(void)
{
}

void runtime_leave(struct thread *thread)
{
    thread->in_runtime--;
}

bool runtime_enter_task(void)
{
    return true;
}

void runtime_leave_task(void)
{
}

static bool fake_gate_fails;

bool runtime_close(void)
{
    return !fake_gate_fails;
}

void runtime_open(void)
{
}

bool threads_forked(void)
{
    return false;
}

/* --- stopping threads that ask ---------------------------------------------- */

static struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    uint32_t stopping;          /* atomic; written under lock */
    int running;                /* threads between fake_join and fake_quit, not parked */
} fake_world = { .lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER };

static inline void fake_wait_for_start(void)
{
    while (load_relaxed(&fake_world.stopping))
        pthread_cond_wait(&fake_world.changed, &fake_world.lock);
}

/* The calling thread is `thread`, and stops when the world does. */
static inline void fake_join(struct thread *thread)
{
    pthread_mutex_lock(&fake_world.lock);
    fake_wait_for_start();
    fake_world.running++;
    pthread_mutex_unlock(&fake_world.lock);
    thread_self = thread;
}

static inline void fake_quit(void)
{
    pthread_mutex_lock(&fake_world.lock);
    fake_world.running--;
    pthread_cond_broadcast(&fake_world.changed);
    pthread_mutex_unlock(&fake_world.lock);
    thread_self = &thread_none;
}

/* Between two steps. */
static inline void fake_poll(void)
{
    if (!load_relaxed(&fake_world.stopping))
        return;
    struct thread *thread = thread_self;

    fake_quit();
    fake_join(thread);
}

bool world_stop(const char **why)
{
    *why = "told to fail";
    if (fake_stop_fails || (fake_failing_stop > 0 && --fake_failing_stop == 0))
        return false;
    pthread_mutex_lock(&fake_world.lock);
    store_relaxed(&fake_world.stopping, 1);
    while (fake_world.running != 0)
        pthread_cond_wait(&fake_world.changed, &fake_world.lock);
    pthread_mutex_unlock(&fake_world.lock);
    return true;
}

void world_start(void)
{
    pthread_mutex_lock(&fake_world.lock);
    store_relaxed(&fake_world.stopping, 0);
    pthread_cond_broadcast(&fake_world.changed);
    pthread_mutex_unlock(&fake_world.lock);
}

const struct stopped_task *world_tasks(size_t *count)
{
    *count = fake_stopped.sp != 0;
    return &fake_stopped;
}

/* --- roots ------------------------------------------------------------------ */

/* All memory is copied with the process. */
bool roots_visit_uncopied(root_visitor visit, void *context, const char **why)
{
    (void)visit;
    (void)context;
    (void)why;
    return true;
}

bool roots_check_copied(struct uncopied *found)
{
    (void)found;
    return true;
}

bool roots_note_uncopied(const struct uncopied *found)
{
    (void)found;
    return true;
}

bool roots_gather(void)
{
    return true;
}

bool roots_hide(bool (*is_lost)(uintptr_t word))
{
    (void)is_lost;
    return fake_kernel_hides;
}

bool roots_keep_distances(void)
{
    return fake_keeps_distances;
}

/* Data roots go through a buffer that is overwritten after each call, as copies do. */
static void fake_visit_data(root_visitor visit, void *context)
{
    static uintptr_t bounce[4096];

    for (size_t i = 0; i < FAKE_ROOTS; i += 4096) {
        for (size_t w = 0; w < 4096; w++)
            bounce[w] = load_relaxed(&fake_roots[i + w]);
        visit(context, ROOT_DATA, bounce, bounce + 4096);
        memset(bounce, 0, sizeof bounce);
    }
}

/* None of the roots are tracked. */
bool roots_visit(root_visitor visit, void *context, enum which_roots which, const char **why)
{
    (void)which;
    visit(context, ROOT_STACK, fake_stack, fake_stack + FAKE_STACK);
    fake_visit_data(visit, context);
    *why = "told to fail";
    return !fake_roots_fail;
}

void roots_visit_stacks(root_visitor visit, void *context)
{
    visit(context, ROOT_STACK, fake_stack, fake_stack + FAKE_STACK);
}

bool roots_prepare_tracking(struct userfault *userfault)
{
    (void)userfault;
    return false;
}

void roots_register_stopped(struct userfault *userfault)
{
    (void)userfault;
}

void roots_visit_running(struct userfault *userfault, root_visitor visit, void *context)
{
    (void)userfault;
    if (fake_running != NULL)
        fake_running();
    fake_visit_data(visit, context);
}

size_t roots_visit_written(root_visitor visit, void *context)
{
    (void)visit;
    (void)context;
    if (fake_cleaning != NULL)
        fake_cleaning();
    return 0;
}

void roots_disarm(struct userfault *userfault)
{
    (void)userfault;
}

struct roots_stats roots_stats_last(void)
{
    return (struct roots_stats){
        .stack_bytes = sizeof fake_stack, .data_bytes = sizeof fake_roots,
    };
}

/* --- allocation as alloc/ does it ------------------------------------------ */

/* Half of an address and half of the next, at an odd multiple of 4, are an address too if the heap lies
 * across a multiple of 4 GiB.  Then another one is tried. */
static inline void fake_avoid_chance_names(void)
{
    static char *const arguments[] = { "unit test", NULL };

    if ((uint32_t)arena.base > UINT32_MAX - GIB)
        execv("/proc/self/exe", arguments);
}

static inline void fake_init(void)
{
    assert_non_null(meta_alloc(64));    /* makes the reservation */
    fake_avoid_chance_names();
    for (int i = 0; i < FAKE_THREADS; i++) {
        mcache_init(&fake_threads[i].cache, fake_threads[i].entries);
        fake_threads[i].tid = i + 1;
        fake_threads[i].next = i + 1 < FAKE_THREADS ? &fake_threads[i + 1] : NULL;
    }
    heap_shared = 1;
    ready_set_sweeper(sweep_span);
    options.workers = 16;       /* four beside the program */
}

static inline void fake_clear_roots(void)
{
    memset(fake_roots, 0, sizeof fake_roots);
    memset(fake_stack, 0, sizeof fake_stack);
    fake_stopped.sp = 0;
}

static inline void *fake_alloc_large(enum kind kind, size_t bytes)
{
    bool zeroed;
    struct span *span = pages_alloc_large(kind, bytes, 1, sweep_generation, &zeroed);

    assert_non_null(span);
    if (load_relaxed(&span_allocate_black))
        span_mark(span, 0);
    /* The marker may be looking, as it may at any memory that is handed out. */
    for (size_t w = 0; w < span->slot_bytes / 8 && !zeroed; w++)
        store_relaxed(&((uintptr_t *)span->base)[w], 0);
    return (void *)span->base;
}

static inline void *fake_alloc_on(struct thread *thread, enum kind kind, size_t bytes)
{
    struct mcache *cache = &thread->cache;
    unsigned class = span_class_of(kind, kind == KIND_MALLOC ? sizeclass_of(bytes)
                                                             : sizeclass_of_gc(bytes));
    void *slot = fast_take(cache, class);

    if (slot == NULL && mcache_refill(cache, class) == 0) {
        struct span *span = pages_alloc_small(class, size_classes[span_class_size_class(class)].pages, sweep_generation);
        assert_non_null(span);
        mcache_adopt(cache, class, span);
    }
    if (slot == NULL)
        slot = fast_take(cache, class);
    assert_non_null(slot);
    for (size_t w = 0; w < size_classes[span_class_size_class(class)].slot_bytes / 8; w++)
        store_relaxed(&((uintptr_t *)slot)[w], 0);
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
    for (int i = 0; i < FAKE_THREADS; i++)
        for (unsigned c = 0; c < SPAN_CLASSES; c++)
            if (fake_threads[i].cache.magazines[c].top != 0)
                magazine_open(&fake_threads[i].cache, c);
}

static inline void fake_flush_all(void)
{
    for (int i = 0; i < FAKE_THREADS; i++)
        outbox_flush(&fake_threads[i].cache);
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

static inline bool is_kept(const void *address)
{
    struct object object = object_at((uintptr_t)address);

    return object.span != NULL &&
           (load_relaxed(&object.span->bits[object.slot >> 6].kept) >> (object.slot & 63) & 1) != 0;
}

static inline bool is_condemned(const void *address)
{
    struct object object = object_at((uintptr_t)address);

    return object.span != NULL &&
           (object.span->bits[object.slot >> 6].condemned >> (object.slot & 63) & 1) != 0;
}

/* Bytes of the objects that the program has, of one kind or (KINDS) of all; nobody else runs. */
static inline uint64_t fake_bytes(unsigned kind)
{
    uint64_t bytes = 0;

    for (uint32_t id = 0; id < span_table_size(); id++) {
        struct span *span = span_by_id(id);
        if (!span_in_use(span) || (kind != KINDS && span_kind(span) != kind))
            continue;
        for (uint32_t slot = 0; slot < span->slots; slot++)
            if (span->slot_state[slot] != SLOT_IN &&
                (span_objects(span, slot >> 6) >> (slot & 63) & 1) != 0)
                bytes += span->slot_bytes;
    }
    return bytes;
}

static inline uint64_t fake_live_bytes(void)
{
    return fake_bytes(KINDS);
}

static inline uint64_t fake_gc_live_bytes(void)
{
    return fake_bytes(KIND_GC) + fake_bytes(KIND_NOSCAN);
}

/* Bytes that the sweep is going to free, by the rule of sweep.h; nobody else runs. */
static inline uint64_t fake_dead_bytes(void)
{
    uint64_t bytes = 0;

    for (uint32_t id = 0; id < span_table_size(); id++) {
        struct span *span = span_by_id(id);
        if (!span_in_use(span) || span->sweepgen == sweep_generation)
            continue;
        for (uint32_t w = 0; w * 64 < span->slots; w++) {
            const struct slot_bits *bits = &span->bits[w];
            uint64_t dead = span_objects(span, w) & ~span_marks(span, w) & ~span->bits[w].kept;
            if (options.mode == MODE_COLLECT && span_kind(span) == KIND_MALLOC)
                dead &= bits->condemned;
            bytes += count_bits(dead) * span->slot_bytes;
        }
    }
    return bytes;
}

static inline void *fake_task(void *unused)
{
    cycle_help_mark(unused);
    return NULL;
}

static unsigned fake_helpers_wanted;
static unsigned fake_help_asked;        /* how many cycles have asked for, in all */

static inline unsigned fake_help(unsigned wanted)
{
    fake_help_asked += wanted;
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

/* Whoever waits for a cycle that cannot stop the world is told; from then on it can. */
static unsigned fake_was_late;

static inline void fake_late(void)
{
    fake_was_late++;
    fake_stop_fails = fake_gate_fails = false;
}

static const struct cycle_hooks fake_hooks = {
    .help = fake_help, .live_bytes = fake_live_bytes, .gc_live_bytes = fake_gc_live_bytes,
    .late = fake_late,
};

/* A cycle that must succeed, not yet swept. */
static inline struct cycle_report fake_mark(void)
{
    struct cycle_report report = { .goal = 0 };

    if (!cycle_run(true, fake_own_task, &fake_hooks, &report))
        fail_msg("abandoned: %s", report.abandoned);
    return report;
}

/* What the sweep has found. */
static inline void fake_note_sweep(struct cycle_report *report)
{
    struct sweep_totals swept = sweep_totals();

    report->reclaim_bytes = swept.freed_bytes;
    report->malloc_reclaim_bytes = swept.freed_malloc_bytes;
    report->condemned_bytes = swept.condemned_bytes;
}

static inline struct cycle_report fake_collect(void)
{
    struct cycle_report report = fake_mark();

    sweep_all();
    fake_note_sweep(&report);
    return report;
}

static inline void check_all_spans(void)
{
    for (uint32_t id = 0; id < span_table_size(); id++)
        assert_true(span_check(span_by_id(id)));
    assert_true(pages_check());
}

#endif
