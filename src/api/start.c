/* start.c -- order of initialisation, fork, exit
 *
 * The heap makes itself ready at the first malloc, which comes from the loader,
 * long before any constructor, when neither environment nor libc can be used.
 * Everything else waits for the constructor: knobs, the stop handler, fork
 * handlers.  Until then no cycle can start.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdlib.h>
#include <sys/auxv.h>
#include <unistd.h>

#include "alloc/collect.h"
#include "api/wrap.h"
#include "base/options.h"
#include "gc/cycle.h"
#include "heap/ceded.h"
#include "heap/pages.h"
#include "heap/ready.h"
#include "watch/stats.h"
#include "world/fork.h"
#include "world/roots.h"
#include "world/stop.h"
#include "world/task.h"

void wrap_fork_child(void)
{
    arena_fork_child();
    pages_fork_child();
    ceded_fork_child();
    roots_fork_child();
    world_fork_child();
    sweep_fork_child();
    cycle_fork_child();
    collect_fork_child();
}

/* glibc hands constructors what main gets.  We run before libc's own (-z initfirst): `environ`
 * is not set yet. */
CONSTRUCTOR static void start(int argc, char **argv, char **environment)
{
    (void)argc;
    (void)argv;
    stats_init();
    options_read(environment, getauxval(AT_SECURE) != 0);
    if (options.mode == MODE_MANUAL)
        malloc_rounding = 15;
    ready_set_sweeper(sweep_span);
    thread_announce_main();
    if (options.hardened || options.gccheckmark)
        mcache_close(&thread_self->cache);      /* the loader has opened some */
    /* Registered first, so it runs last before a fork: nothing that allocates comes in between. */
    pthread_atfork(world_fork_prepare, world_fork_parent, wrap_fork_child);
    if (options.stats_at_exit)
        atexit(stats_print_exit);
    if (world_init())
        collect_init();
}
