/*
 * threadchurn -- what does a short-lived thread cost, and does it leave memory behind?
 *
 * thread_idle: create and join a thread that never allocates: the allocator's part of thread
 *   start and exit (on top of what the C library and the kernel take).
 * thread_free: the thread allocates 32 mixed blocks and frees them.
 * thread_leave: the thread leaves its 32 blocks to the main thread, which frees them after the
 *   join: blocks whose owner is gone. ns of processor time per thread.
 * All threads run on one processor: else the time is mostly that of waking up another one, which
 * varies by a factor of four.
 * thread_rss_growth: RSS after all these threads minus RSS after the first tenth of them. Should
 *   be near zero; proportional to the number of threads means that every thread leaks.
 */
#define _GNU_SOURCE
#include "harness.h"

#include <pthread.h>
#include <sched.h>
#include <stdlib.h>

enum { BLOCKS = 32, GROWTH_THREADS = 5000 };

enum thread_duty { IDLE, FREE_ALL, LEAVE_ALL };

struct thread_work {
    enum thread_duty duty;
    uint64_t random;
};

/* Written by the running thread, read by the main thread after the join. */
static void *left_blocks[BLOCKS];

static void *thread_main(void *argument)
{
    struct thread_work *work = argument;
    if (work->duty == IDLE)
        return NULL;
    for (int i = 0; i < BLOCKS; i++)
        left_blocks[i] = harness_use(malloc(harness_random_size(&work->random, 16, 2048)));
    if (work->duty == FREE_ALL)
        for (int i = 0; i < BLOCKS; i++)
            free(left_blocks[i]);
    return NULL;
}

static void threads_run(void *argument, uint64_t count)
{
    struct thread_work *work = argument;
    for (uint64_t n = 0; n < count; n++) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, thread_main, work) != 0)
            harness_die("pthread_create failed");
        pthread_join(thread, NULL);
        for (int i = 0; work->duty == LEAVE_ALL && i < BLOCKS; i++)
            free(left_blocks[i]);
    }
}

static void growth_report(void)
{
    if (!harness_wants("thread_rss_growth"))
        return;
    struct thread_work work = {LEAVE_ALL, 88172645463325252};
    uint64_t count = harness_scaled(GROWTH_THREADS);
    threads_run(&work, count / 10 + 1);
    uint64_t early_bytes = harness_rss_bytes();
    threads_run(&work, count - count / 10);
    uint64_t late_bytes = harness_rss_bytes();
    double grown_kib = ((double)late_bytes - (double)early_bytes) / 1024;
    harness_report("thread_rss_growth", "KiB", grown_kib);
}

static void processor_keep(void)
{
    cpu_set_t only;
    CPU_ZERO(&only);
    CPU_SET(sched_getcpu(), &only);
    if (sched_setaffinity(0, sizeof only, &only) != 0)
        harness_die("sched_setaffinity failed");
}

int main(int argc, char **argv)
{
    struct thread_work idle = {IDLE, 1};
    struct thread_work free_all = {FREE_ALL, 362436069};
    struct thread_work leave_all = {LEAVE_ALL, 521288629};
    harness_start(argc, argv);
    processor_keep();
    harness_time("thread_idle", threads_run, &idle, 1500, 1);
    harness_time("thread_free", threads_run, &free_all, 1500, 1);
    harness_time("thread_leave", threads_run, &leave_all, 1500, 1);
    growth_report();
    harness_finish();
    return 0;
}
