/* running_roots.h -- cycles that read roots beside the running program
 *
 * PURPOSE  A cycle: begin() is the first stop and the walk beside the program, then the program
 *          does something, then found() or visit() is the stop.  The program is the test itself,
 *          or a thread that looks at program_may_go_on() between any two steps.
 */
#ifndef TESTS_UNIT_RUNNING_ROOTS_H
#define TESTS_UNIT_RUNNING_ROOTS_H

#include <sched.h>
#include <stdio.h>

#include "base/atomics.h"
#include "needles.h"
#include "os/userfault.h"

static struct userfault userfault;

/* ------------------------------------------------------------------- a thread that stops */

static bool program_runs;
static uint32_t program_asked, program_state;   /* atomic: the wanted state, and the thread's */

/* Stops as long as the stop lasts.  False: the end. */
static inline bool program_may_go_on(void)
{
    if (load_acquire(&program_asked) == 1) {
        store_release(&program_state, 1);
        while (load_acquire(&program_asked) == 1)
            sched_yield();
        store_release(&program_state, 0);
    }
    return load_acquire(&program_asked) != 2;
}

static inline void pause_program(void)
{
    store_release(&program_asked, 1);
    while (load_acquire(&program_state) != 1)
        sched_yield();
}

static inline void resume_program(void)
{
    store_release(&program_asked, 0);
    while (load_acquire(&program_state) != 0)
        sched_yield();
}

static inline pthread_t start_program(void *(*run)(void *))
{
    pthread_t thread;

    store_release(&program_asked, 0);
    assert_int_equal(pthread_create(&thread, NULL, run, NULL), 0);
    program_runs = true;
    return thread;
}

static inline void end_program(pthread_t thread)
{
    program_runs = false;
    store_release(&program_asked, 2);
    pthread_join(thread, NULL);
}

/* ------------------------------------------------------------------- cycles */

/* Words that were seen while the program ran. */
static inline bool seen_running(int id)
{
    return times_seen(id) > 0;
}

/* The first stops of so many cycles; false: there was something left to do before the last. */
static inline bool register_mappings(struct userfault *to, int cycles)
{
    while (roots_prepare_tracking(to)) {
        if (cycles-- == 0)
            return false;
        if (program_runs)
            pause_program();
        roots_register_stopped(to);
        if (program_runs)
            resume_program();
    }
    return true;
}

static NOINLINE __attribute__((unused)) void begin(void)
{
    memset(seen_as, 0, sizeof seen_as);
    bytes_seen = 0;
    if (task_count == 0)
        add_task((uintptr_t)__builtin_frame_address(0) - 8, true);
    assert_true(roots_gather());
    register_mappings(&userfault, 1);
    roots_visit_running(&userfault, look, NULL);
}

static NOINLINE __attribute__((unused)) size_t look_at_written(void)
{
    memset(seen_as, 0, sizeof seen_as);
    return roots_visit_written(look, NULL);
}

static inline char *map_written(size_t pages)
{
    char *memory = map_pages(pages, MAP_PRIVATE);

    memset(memory, 1, pages * 4096);
    return memory;
}

static inline int setup(void **state)
{
    (void)state;
    tracked = true;
    return 0;
}

/* Runs the tests, unless the kernel cannot track. */
static inline int run_tracked(const char *name, const struct CMUnitTest *tests, size_t count)
{
    if (!userfault_open(&userfault)) {
        printf("SKIP: %s: userfaultfd is refused here (Linux 6.7, no filter)\n", name);
        return 0;
    }
    if (meta_alloc(64) == NULL)
        return 2;
    return _cmocka_run_group_tests(name, tests, count, NULL, NULL);
}

#endif
