/* beside.h -- a program that runs while a cycle marks, for test_beside.c and its kin
 *
 * PURPOSE  Stores pointers and frees blocks as a program does.  Which pages were written is told
 *          by a table here, which stands in for gc/dirty.c, or, with REAL_DIRTY, by the kernel.
 */
#ifndef TESTS_UNIT_BESIDE_H
#define TESTS_UNIT_BESIDE_H

#include <stdio.h>

#include "fake_world.h"
#include "gc/dirty.h"

static inline uintptr_t word_of(const void *object)
{
    return (uintptr_t)object;
}

/* --- dirty tracking ---------------------------------------------------------- */

#ifdef REAL_DIRTY

static inline void note_write(uintptr_t address)
{
    (void)address;
}

#else

enum { PAGES = 1 << 18 };
static uint8_t clean[PAGES];    /* atomic; a page of 4096 bytes was not written to since it was armed */
static bool tracking_is_lost;
static unsigned armings;

/* Stored first, told then: who is told sees what was stored. */
static inline void note_write(uintptr_t address)
{
    size_t page = heap_offset(address) / 4096;

    assert_true(page < PAGES);
    store_release(&clean[page], 0);
}

bool dirty_open(void)
{
    return true;
}

void dirty_close(void)
{
}

struct userfault *dirty_userfault(void)
{
    return NULL;
}

bool dirty_arm(void)
{
    for (size_t page = 0; page < PAGES; page++)
        store_relaxed(&clean[page], 1);
    armings++;
    return true;
}

long dirty_rescan(bool rearm, long max_pages)
{
    long pages = 0;

    if (tracking_is_lost)
        return -1;
    for (size_t page = 0; page < PAGES && pages <= max_pages; page++) {
        uintptr_t low = arena.base + page * 4096;
        if (rearm ? exchange_acq_rel(&clean[page], 1) : load_acquire(&clean[page]))
            continue;
        pages++;
        mark_rescan(low, low + 4096);
    }
    mark_rescan_end(rearm);
    return pages;
}

/* What is armed costs nothing here. */
void dirty_disarm(void)
{
}

void dirty_fork_child(void)
{
}

#endif

/* A pointer store of the program: malloc memory is tracked, for the rest there is the barrier. */
static inline void put(uintptr_t *field, uintptr_t value)
{
    if (span_kind(span_of(word_of(field))) == KIND_MALLOC) {
        store_release(field, value);
        note_write(word_of(field));
        return;
    }
    barrier_shade(load_relaxed(field));
    barrier_shade(value);
    store_release(field, value);
}

/* As alloc/release.c does it. */
static inline void release(struct thread *thread, void *block)
{
    struct span *span = span_of(word_of(block));
    uint32_t slot = span_slot_of(span, word_of(block) - span->base);
    struct mcache *cache = &thread->cache;

    if (fast_push(cache, block))
        return;
    sweep_span(span);
    if (load_relaxed(&span->state) == SPAN_LARGE) {
        assert_true(exchange_acq_rel(&span->slot_state[0], SLOT_IN) != SLOT_IN);
        store_relaxed(&span->live, 0);
        pages_free(span);
        return;
    }
    unsigned class = span->span_class;
    uint8_t *slot_state = &span->slot_state[slot];
    bool condemned = load_relaxed(slot_state) == SLOT_CONDEMNED;

    assert_true(load_relaxed(slot_state) != SLOT_IN);
    store_relaxed(slot_state, SLOT_IN);
    if (load_relaxed(&span_free_black))
        span_mark(span, slot);
    if (condemned || mcache_limit(class) == 0) {
        span_release_slot(span, slot);
        return;
    }
    mcache_push(cache, span, (struct cached){ block, slot_state });
}

/* --- a test ----------------------------------------------------------------------- */

static inline int setup(void **state)
{
    (void)state;
    fake_clear_roots();
    fake_stop_fails = fake_roots_fail = false;
    fake_failing_stop = 0;
    fake_running = fake_cleaning = NULL;
    fake_helpers_wanted = 0;
    fake_own_task = true;
    fake_was_late = 0;
    options.mode = MODE_COLLECT;
    options.poison = options.mutate = options.gccheckmark = 0;
    fake_open_magazines();
    thread_self = &fake_threads[0];
    return 0;
}

static inline int teardown(void **state)
{
    setup(state);
    fake_own_task = false;
    for (int i = 0; i < 3; i++)
        fake_collect();
    fake_flush_all();
    check_all_spans();
    return 0;
}

static inline struct cycle_report mark_beside(void)
{
    struct cycle_report report = fake_mark();

    assert_int_equal(report.method, METHOD_USERFAULT);
    assert_int_equal(gc_phase, GC_SWEEPING);
    assert_int_equal(gc_barrier_on, 0);
    assert_int_equal(span_allocate_black, 0);
    return report;
}

/* False, and says so: nothing here can be tested. */
static inline bool can_mark_beside(void)
{
    if (dirty_open())
        return true;
    puts("SKIP marking beside the program: this kernel has no userfaultfd that tracks writes");
    return false;
}

#endif
