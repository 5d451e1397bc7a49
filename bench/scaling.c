/*
 * scaling -- does the work get done as fast by many threads as by few?
 *
 * The same 1.6 million replacements by 1, 2, 4, 8, 64 and 256 threads at once. Each thread replaces
 * random blocks of 16 to 1,023 bytes in a table of 200; every 16th block is swapped with one that
 * another thread left in a shared table, so that blocks are freed elsewhere, too.
 * scaling_T: ns of wall time per replacement, all threads together. With P processors the best
 * is scaling_1 / P from P threads on; a value that rises behind that is the price of contention.
 * scaling_256_rss: MiB of RSS while 256 threads have done their work and still live.
 */
#include "harness.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

enum { MOST_THREADS = 256, OWN_SLOTS = 200, SHARED_SLOTS = 1000, STEPS = 1600000 };

struct worker {
    HARNESS_APART uint64_t random;
    uint64_t steps;
    uint64_t start_ns, end_ns; /* read by the main thread behind all_done */
};

static const unsigned thread_counts[] = {1, 2, 4, 8, 64, MOST_THREADS};

static _Atomic(void *) shared[SHARED_SLOTS];
static pthread_barrier_t all_there, all_done, may_end;

static void *worker_main(void *argument)
{
    struct worker *worker = argument;
    void *own[OWN_SLOTS] = {NULL};
    pthread_barrier_wait(&all_there);
    worker->start_ns = harness_now_ns();
    for (uint64_t i = 0; i < worker->steps; i++) {
        void **slot = &own[harness_random_below(&worker->random, OWN_SLOTS)];
        free(*slot);
        *slot = harness_use(malloc(harness_random_size(&worker->random, 16, 1024)));
        if (i % 16 == 0)
            *slot = atomic_exchange_explicit(
                &shared[harness_random_below(&worker->random, SHARED_SLOTS)], *slot,
                memory_order_acq_rel);
    }
    worker->end_ns = harness_now_ns();
    pthread_barrier_wait(&all_done);
    pthread_barrier_wait(&may_end);
    for (unsigned i = 0; i < OWN_SLOTS; i++)
        free(own[i]);
    return NULL;
}

static void barriers_prepare(unsigned threads)
{
    pthread_barrier_init(&all_there, NULL, threads);
    pthread_barrier_init(&all_done, NULL, threads + 1);
    pthread_barrier_init(&may_end, NULL, threads + 1);
}

/* From the first start to the last end: the main thread itself may be scheduled late. */
static uint64_t workers_elapsed_ns(const struct worker *workers, unsigned count)
{
    uint64_t start_ns = UINT64_MAX, end_ns = 0;
    for (unsigned i = 0; i < count; i++) {
        start_ns = workers[i].start_ns < start_ns ? workers[i].start_ns : start_ns;
        end_ns = workers[i].end_ns > end_ns ? workers[i].end_ns : end_ns;
    }
    return end_ns - start_ns;
}

/* Returns the time the work took; *rss_bytes: while all threads still live. */
static uint64_t workers_run(unsigned count, uint64_t steps, uint64_t *rss_bytes)
{
    static struct worker workers[MOST_THREADS];
    static pthread_t threads[MOST_THREADS];
    barriers_prepare(count);
    for (unsigned i = 0; i < count; i++) {
        workers[i] = (struct worker){.random = 88172645463325252 + i, .steps = steps / count};
        if (pthread_create(&threads[i], NULL, worker_main, &workers[i]) != 0)
            harness_die("pthread_create failed");
    }
    pthread_barrier_wait(&all_done);
    uint64_t elapsed_ns = workers_elapsed_ns(workers, count);
    *rss_bytes = harness_rss_bytes();
    pthread_barrier_wait(&may_end);
    for (unsigned i = 0; i < count; i++)
        pthread_join(threads[i], NULL);
    for (unsigned i = 0; i < SHARED_SLOTS; i++)
        free(atomic_exchange_explicit(&shared[i], NULL, memory_order_acq_rel));
    return elapsed_ns;
}

static void scaling_case(unsigned count, const char *name)
{
    uint64_t best_ns = UINT64_MAX, rss_bytes = 0;
    /* Every thread gets the same number of steps, at least 100. */
    uint64_t steps = harness_scaled(STEPS) / count;
    steps = (steps < 100 ? 100 : steps) * count;
    if (!harness_wants(name))
        return;
    for (unsigned i = 0; i < harness_repetitions(); i++) {
        uint64_t elapsed_ns = workers_run(count, steps, &rss_bytes);
        best_ns = elapsed_ns < best_ns ? elapsed_ns : best_ns;
    }
    harness_report(name, "ns", (double)best_ns / (double)steps);
    if (count == MOST_THREADS)
        harness_report("scaling_256_rss", "MiB-256", (double)rss_bytes / (1024 * 1024));
}

int main(int argc, char **argv)
{
    static const char *const names[] = {"scaling_1", "scaling_2",  "scaling_4",
                                        "scaling_8", "scaling_64", "scaling_256"};
    harness_start(argc, argv);
    for (unsigned i = 0; i < sizeof thread_counts / sizeof thread_counts[0]; i++)
        scaling_case(thread_counts[i], names[i]);
    harness_finish();
    return 0;
}
