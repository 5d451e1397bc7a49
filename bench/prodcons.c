/*
 * prodcons -- what does a block cost that one thread allocates and another frees?
 *
 * prodcons_N: a ring of 4,096 slots; the producer allocates N bytes and puts the block in, the
 *   consumer takes it out and frees it. Every block changes hands, all the time.
 * handover10k_N: the producer fills a table of 10,000 blocks while the consumer frees the table
 *   of the lap before: frees arrive in bulk.
 * exchange_64: both threads do both: each allocates 1,000 blocks, they swap tables, each frees
 *   the other's. ns per block (one malloc and one free).
 * Waiting threads yield after a short spin, so that one processor alone can also make progress.
 */
#include "harness.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>

enum {
    RING_SLOTS = 4096,
    HANDOVER_BLOCKS = 10000,
    EXCHANGE_BLOCKS = 1000,
    SPINS_BEFORE_YIELD = 200,
};

struct prodcons_work {
    HARNESS_APART size_t size;
    uint64_t iterations;
    HARNESS_APART atomic_uint arrived;    /* threads at the meeting point; the last one resets it */
    atomic_uint generation; /* counts meetings; waiters watch it */
};

/* NULL is an empty slot; the release store of a block publishes it to the other thread. */
static _Atomic(void *) ring[RING_SLOTS];
static void *tables[2][HANDOVER_BLOCKS];

static void wait_a_little(unsigned *spins)
{
    if (++*spins % SPINS_BEFORE_YIELD == 0)
        sched_yield();
    else
        __builtin_ia32_pause();
}

/* meet -- returns when both threads have called it. */
static void meet(struct prodcons_work *work)
{
    unsigned spins = 0;
    unsigned generation = atomic_load_explicit(&work->generation, memory_order_acquire);
    if (atomic_fetch_add_explicit(&work->arrived, 1, memory_order_acq_rel) == 1) {
        atomic_store_explicit(&work->arrived, 0, memory_order_relaxed);
        atomic_fetch_add_explicit(&work->generation, 1, memory_order_release);
        return;
    }
    while (atomic_load_explicit(&work->generation, memory_order_acquire) == generation)
        wait_a_little(&spins);
}

static void table_fill(void **table, unsigned count, size_t size)
{
    for (unsigned i = 0; i < count; i++)
        table[i] = harness_use(malloc(size));
}

static void table_free(void **table, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        free(table[i]);
}

static void *ring_consumer(void *argument)
{
    struct prodcons_work *work = argument;
    unsigned spins = 0;
    for (uint64_t i = 0; i < work->iterations; i++) {
        _Atomic(void *) *slot = &ring[i % RING_SLOTS];
        void *block;
        while ((block = atomic_load_explicit(slot, memory_order_acquire)) == NULL)
            wait_a_little(&spins);
        atomic_store_explicit(slot, NULL, memory_order_release);
        free(block);
    }
    return NULL;
}

static void ring_producer(struct prodcons_work *work)
{
    unsigned spins = 0;
    for (uint64_t i = 0; i < work->iterations; i++) {
        _Atomic(void *) *slot = &ring[i % RING_SLOTS];
        void *block = harness_use(malloc(work->size));
        while (atomic_load_explicit(slot, memory_order_acquire) != NULL)
            wait_a_little(&spins);
        atomic_store_explicit(slot, block, memory_order_release);
    }
}

static void *handover_consumer(void *argument)
{
    struct prodcons_work *work = argument;
    for (uint64_t lap = 0; lap < work->iterations; lap++) {
        meet(work);
        table_free(tables[lap % 2], HANDOVER_BLOCKS);
    }
    return NULL;
}

static void handover_producer(struct prodcons_work *work)
{
    for (uint64_t lap = 0; lap < work->iterations; lap++) {
        table_fill(tables[lap % 2], HANDOVER_BLOCKS, work->size);
        meet(work);
    }
}

static void exchange_laps(struct prodcons_work *work, unsigned self)
{
    for (uint64_t lap = 0; lap < work->iterations; lap++) {
        table_fill(tables[self], EXCHANGE_BLOCKS, work->size);
        meet(work);
        table_free(tables[1 - self], EXCHANGE_BLOCKS);
        meet(work);
    }
}

static void *exchange_other(void *argument)
{
    exchange_laps(argument, 1);
    return NULL;
}

static void exchange_self(struct prodcons_work *work)
{
    exchange_laps(work, 0);
}

/* pair_run -- one thread runs other, this one runs self; both end after the iterations. */
static void pair_run(struct prodcons_work *work, void *(*other)(void *),
                     void (*self)(struct prodcons_work *))
{
    pthread_t thread;
    if (pthread_create(&thread, NULL, other, work) != 0)
        harness_die("pthread_create failed");
    self(work);
    pthread_join(thread, NULL);
}

static void ring_body(void *argument, uint64_t iterations)
{
    struct prodcons_work work = {.size = *(size_t *)argument, .iterations = iterations};
    pair_run(&work, ring_consumer, ring_producer);
}

static void handover_body(void *argument, uint64_t iterations)
{
    struct prodcons_work work = {.size = *(size_t *)argument, .iterations = iterations};
    pair_run(&work, handover_consumer, handover_producer);
}

static void exchange_body(void *argument, uint64_t iterations)
{
    struct prodcons_work work = {.size = *(size_t *)argument, .iterations = iterations};
    pair_run(&work, exchange_other, exchange_self);
}

int main(int argc, char **argv)
{
    size_t small = 64, medium = 512, large = 1024;
    harness_start(argc, argv);
    harness_time_wall("prodcons_64", ring_body, &small, 200000, 1);
    harness_time_wall("prodcons_1024", ring_body, &large, 100000, 1);
    harness_time_wall("handover10k_64", handover_body, &small, 40, HANDOVER_BLOCKS);
    harness_time_wall("handover10k_512", handover_body, &medium, 20, HANDOVER_BLOCKS);
    harness_time_wall("exchange_64", exchange_body, &small, 200, 2 * EXCHANGE_BLOCKS);
    harness_finish();
    return 0;
}
