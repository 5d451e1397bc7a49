/*
 * asymmetric -- what does a block cost when some threads only allocate and others only free?
 *
 * After xmalloc-test of Lever and Boreham, "malloc() performance in a multithreaded Linux
 * environment" (2000). Allocating threads fill batches of 1,000 blocks and queue them; freeing
 * threads take them off the queue and free them. Nothing ever comes back to where it was
 * allocated by itself: an allocator that lets each thread keep what it frees grows without bound,
 * one that gives back block by block pays for every one.
 * asym_64: one thread each, 64 bytes. asym_mix: 8 to 2,047 bytes, log-uniform. asym_mix_4thr: two
 *   each, so that a batch is as likely from one as from the other.
 * ns of wall time per block (one malloc and one free), all threads together. At most 16 batches
 * are under way; who finds none sleeps.
 */
#include "harness.h"

#include <pthread.h>
#include <stdlib.h>

enum { BATCH_BLOCKS = 1000, BATCHES = 16, MOST_PAIRS = 2 };

struct batch {
    void *blocks[BATCH_BLOCKS];
    struct batch *next;
};

/* A stack of batches; who pops from an empty one sleeps. All fields belong to the lock. */
struct batch_stack {
    pthread_mutex_t lock;
    pthread_cond_t pushed;
    struct batch *top;
};

struct asym_work {
    unsigned pairs;
    size_t size; /* 0: mixed */
    uint64_t batches;
    unsigned thread;
};

static struct batch batches[BATCHES];
static struct batch_stack full = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, NULL};
static struct batch_stack empty = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, NULL};

static void stack_push(struct batch_stack *stack, struct batch *batch)
{
    pthread_mutex_lock(&stack->lock);
    batch->next = stack->top;
    stack->top = batch;
    pthread_cond_signal(&stack->pushed);
    pthread_mutex_unlock(&stack->lock);
}

static struct batch *stack_pop(struct batch_stack *stack)
{
    pthread_mutex_lock(&stack->lock);
    while (stack->top == NULL)
        pthread_cond_wait(&stack->pushed, &stack->lock);
    struct batch *batch = stack->top;
    stack->top = batch->next;
    pthread_mutex_unlock(&stack->lock);
    return batch;
}

static void *allocator_main(void *argument)
{
    const struct asym_work *work = argument;
    uint64_t random = 88172645463325252 + work->thread;
    for (uint64_t n = 0; n < work->batches; n++) {
        struct batch *batch = stack_pop(&empty);
        for (unsigned i = 0; i < BATCH_BLOCKS; i++) {
            size_t size = work->size != 0 ? work->size : harness_random_size(&random, 8, 2048);
            batch->blocks[i] = harness_use(malloc(size));
        }
        stack_push(&full, batch);
    }
    return NULL;
}

static void *freer_main(void *argument)
{
    const struct asym_work *work = argument;
    for (uint64_t n = 0; n < work->batches; n++) {
        struct batch *batch = stack_pop(&full);
        for (unsigned i = 0; i < BATCH_BLOCKS; i++)
            free(batch->blocks[i]);
        stack_push(&empty, batch);
    }
    return NULL;
}

static void asym_run(void *argument, uint64_t batches_per_pair)
{
    struct asym_work work[MOST_PAIRS];
    pthread_t threads[2 * MOST_PAIRS];
    unsigned pairs = ((const struct asym_work *)argument)->pairs;
    for (unsigned i = 0; i < pairs; i++) {
        work[i] = *(const struct asym_work *)argument;
        work[i].batches = batches_per_pair;
        work[i].thread = i;
        if (pthread_create(&threads[2 * i], NULL, allocator_main, &work[i]) != 0 ||
            pthread_create(&threads[2 * i + 1], NULL, freer_main, &work[i]) != 0)
            harness_die("pthread_create failed");
    }
    for (unsigned i = 0; i < 2 * pairs; i++)
        pthread_join(threads[i], NULL);
}

int main(int argc, char **argv)
{
    struct asym_work fixed = {.pairs = 1, .size = 64};
    struct asym_work mixed = {.pairs = 1}, mixed_four = {.pairs = 2};
    harness_start(argc, argv);
    for (unsigned i = 0; i < BATCHES; i++)
        stack_push(&empty, &batches[i]);
    harness_time_wall("asym_64", asym_run, &fixed, 400, BATCH_BLOCKS);
    harness_time_wall("asym_mix", asym_run, &mixed, 300, BATCH_BLOCKS);
    harness_time_wall("asym_mix_4thr", asym_run, &mixed_four, 150, 2 * BATCH_BLOCKS);
    harness_finish();
    return 0;
}
