/*
 * churn -- what does replacing a randomly chosen block cost in a heap of mixed sizes?
 *
 * A table of live blocks; each step frees a random one and puts a new one of another size in its
 * place: no order to exploit, holes of every age. 1,000 slots stay in the processor's caches,
 * 100,000 slots (some 20 MiB) do not. "to128K": sizes up to 128 KiB, where small classes, medium
 * spans and large blocks mix. "2thr": two threads, each with its own table.
 * ns of processor time per step.
 */
#include "harness.h"

#include <pthread.h>
#include <stdlib.h>

enum { MOST_SLOTS = 100000, THREADS = 2 };

struct churn_table {
    HARNESS_APART void **slots;
    unsigned slot_count;
    size_t size_limit; /* sizes are log-uniform from 8 to below this */
    uint64_t random;
};

struct thread_work {
    struct churn_table *table;
    uint64_t steps;
};

/* Static so that a collector sees the blocks. Row t belongs to thread t. */
static void *slots[THREADS][MOST_SLOTS];

static void churn_steps(void *argument, uint64_t steps)
{
    struct churn_table *table = argument;
    for (uint64_t i = 0; i < steps; i++) {
        unsigned at = harness_random_below(&table->random, table->slot_count);
        free(table->slots[at]);
        void *block = malloc(harness_random_size(&table->random, 8, table->size_limit));
        table->slots[at] = harness_use(block);
    }
}

static void *thread_main(void *argument)
{
    struct thread_work *work = argument;
    churn_steps(work->table, work->steps);
    return NULL;
}

static void churn_two_threads(void *argument, uint64_t steps)
{
    struct churn_table *tables = argument;
    struct thread_work work = {&tables[1], steps};
    pthread_t other;
    if (pthread_create(&other, NULL, thread_main, &work) != 0)
        harness_die("pthread_create failed");
    churn_steps(&tables[0], steps);
    pthread_join(other, NULL);
}

static void table_fill(struct churn_table *table)
{
    for (unsigned i = 0; i < table->slot_count; i++)
        table->slots[i] =
            harness_use(malloc(harness_random_size(&table->random, 8, table->size_limit)));
}

static void table_empty(struct churn_table *table)
{
    for (unsigned i = 0; i < table->slot_count; i++) {
        free(table->slots[i]);
        table->slots[i] = NULL;
    }
}

static void churn_run(const char *name, unsigned slot_count, size_t size_limit, unsigned threads,
                      uint64_t steps)
{
    if (!harness_wants(name))
        return;
    struct churn_table tables[THREADS];
    for (unsigned t = 0; t < threads; t++) {
        tables[t] = (struct churn_table){slots[t], slot_count, size_limit, 88172645463325252 + t};
        table_fill(&tables[t]);
    }
    if (threads == 1)
        harness_time(name, churn_steps, tables, steps, 1);
    else
        harness_time(name, churn_two_threads, tables, steps, THREADS);
    for (unsigned t = 0; t < threads; t++)
        table_empty(&tables[t]);
}

int main(int argc, char **argv)
{
    harness_start(argc, argv);
    churn_run("churn_1k", 1000, 1024, 1, 1000000);
    churn_run("churn_100k", MOST_SLOTS, 1024, 1, 800000);
    churn_run("churn_10k_to128K", 10000, 131072, 1, 200000);
    churn_run("churn_1k_2thr", 1000, 1024, THREADS, 600000);
    churn_run("churn_100k_2thr", MOST_SLOTS, 1024, THREADS, 400000);
    harness_finish();
    return 0;
}
