/* deaf.c -- a thread that no stop reaches must not hold up those that change their mappings, or themselves
 *
 * PURPOSE  While a cycle marks a thread blocks all signals, the stop signal with them, for as long as it likes.
 *          The cycle is given up without a stop.  Another thread makes a call meanwhile for which there may be
 *          no task of ours, and hides and shows pages of a block.  Afterwards all is as ever.
 *
 * Links what libgcalloc.a is made of.
 */
#define _GNU_SOURCE
#include <gcalloc.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "gc/cycle.h"
#include "hiding.h"
#include "world/thread.h"

enum { NODES = 300000, PAGES = 64, ROUNDS = 3, HIDINGS = 50 };

static uint32_t deaf, hear;     /* atomic */

static void *block_signals(void *unused)
{
    while (load_acquire(&hear) == 0) {
        if (load_relaxed(&gc_phase) != GC_MARKING)
            continue;
        uint64_t mask = signals_block_all();
        /* Some cycle may have ended just before: then the next one has not begun to mark. */
        store_release(&deaf, load_relaxed(&gc_phase) == GC_MARKING);
        while (load_relaxed(&deaf) != 0 && load_acquire(&hear) == 0)
            CPU_RELAX();
        store_release(&deaf, 0);
        signals_restore(mask);
    }
    return unused;
}

static void *collect(void *unused)
{
    while (load_acquire(&hear) == 0)
        gc_collect();
    return unused;
}

/* A cycle marks, and has tried to stop the world. */
static void await_deaf(void)
{
    for (int quiet = 0; quiet < 300; quiet++) {
        if (load_acquire(&deaf) == 0)
            quiet = 0;
        usleep(1000);
    }
}

static void one_round(void)
{
    pthread_t blocking, collecting;

    store_release(&hear, 0);
    pthread_create(&blocking, NULL, block_signals, NULL);
    pthread_create(&collecting, NULL, collect, NULL);
    await_deaf();
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
        exit(4);
    for (int i = 0; i < HIDINGS; i++)
        if (!hide() || !show())
            exit(3);
    store_release(&hear, 1);
    pthread_join(blocking, NULL);
    pthread_join(collecting, NULL);
}

int main(void)
{
    int count = 0;

    alarm(90);
    make_heap(NODES, PAGES);
    for (int i = 0; i < ROUNDS; i++)
        one_round();
    bool good = gc_collect() && gc_collect() && *(void **)(block + PAGES / 2 * PAGE) == nodes;

    for (void **node = nodes; node != NULL; node = node[0])
        count++;
    good = good && count == NODES;
    puts(good ? "ok" : "FAIL");
    return !good;
}
