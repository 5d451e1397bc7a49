/* threads.c -- many threads that allocate, free, hand over and leak, with pointers kept
 * in every place of their own
 *
 * PURPOSE  No block that is still reachable is reclaimed, whatever the threads do.  Each
 *          block carries its address and a checksum; whoever looks at a block it holds
 *          checks it.  Blocks are held by globals, thread-local variables, stacks, pthread
 *          keys, other blocks, by an interior pointer alone, and pass between threads.
 *          With GCALLOC_DEBUG=gcstress=N a cycle runs at every N KiB.
 */
#include <malloc.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { THREADS = 8, ROUNDS = 40000, SLOTS = 64, EXCHANGE = 128 };

struct block {
    uintptr_t self;             /* complemented, so that it is no pointer */
    uint32_t bytes, seed;
    struct block *next;
    unsigned char data[];
};

static _Atomic(struct block *) exchange[EXCHANGE];
static __thread struct block *kept[SLOTS];
static __thread char *interior;
static pthread_key_t key;
static _Atomic int failures;

static uint32_t random_next(uint32_t *state)
{
    *state = *state * 1664525u + 1013904223u;
    return *state >> 8;
}

static struct block *make(uint32_t *state)
{
    uint32_t big = random_next(state) % 200 == 0;
    uint32_t bytes = (uint32_t)sizeof(struct block) + random_next(state) % (big ? 300000 : 500);
    struct block *block = malloc(bytes);

    if (block == NULL)
        return NULL;
    block->self = ~(uintptr_t)block;
    block->bytes = bytes;
    block->seed = random_next(state);
    block->next = NULL;
    memset(block->data, (int)(block->seed & 0xff), bytes - sizeof *block);
    return block;
}

static void look(const struct block *block)
{
    if (block == NULL)
        return;
    uint32_t payload = block->bytes - (uint32_t)sizeof *block;

    if (block->self != ~(uintptr_t)block ||
        (payload != 0 && (block->data[0] != (block->seed & 0xff) ||
                          block->data[payload - 1] != (block->seed & 0xff)))) {
        fprintf(stderr, "block %p is damaged\n", (const void *)block);
        failures++;
        abort();
    }
}

static void free_list(struct block *block)
{
    struct block *next;

    for (; block != NULL; block = next) {
        next = block->next;
        look(block);
        free(block);
    }
}

/* One block moves: to or from another thread, onto a list, out of sight, or it is leaked. */
static void step(uint32_t *state, struct block **local)
{
    uint32_t slot = random_next(state) % SLOTS;
    struct block *block = make(state);

    if (random_next(state) % 2048 == 0)
        malloc_trim(0);         /* pages between live blocks go, of everybody's spans */
    if (block == NULL)
        return;                 /* injected: the next step may have more luck */
    switch (random_next(state) % 6) {
    case 0:
        free_list(kept[slot]);
        kept[slot] = block;
        break;
    case 1:
        look(kept[slot]);
        block->next = kept[slot];
        kept[slot] = block;
        if (random_next(state) % 8 == 0) {
            kept[slot] = NULL;          /* a whole list leaks */
        }
        break;
    case 2:
        free_list(atomic_exchange(&exchange[random_next(state) % EXCHANGE], block));
        break;
    case 3:
        free_list(*local);
        *local = block;
        break;
    case 4:
        if (interior != NULL)
            look((struct block *)(interior - sizeof(struct block) / 2));
        interior = (char *)block + sizeof(struct block) / 2;
        break;
    default:
        look(pthread_getspecific(key));
        pthread_setspecific(key, block);
        break;
    }
    look(kept[random_next(state) % SLOTS]);
    look(*local);
}

static void *worker(void *seed)
{
    uint32_t state = (uint32_t)(uintptr_t)seed;
    struct block *local = NULL;

    for (int round = 0; round < ROUNDS; round++)
        step(&state, &local);
    for (int i = 0; i < SLOTS; i++)
        free_list(kept[i]);
    free_list(local);
    return NULL;
}

/* With memory failing now and then (failvm), so does pthread_create. */
static void start(pthread_t *thread, uintptr_t seed)
{
    for (int tries = 0; pthread_create(thread, NULL, worker, (void *)seed) != 0; tries++)
        if (tries == 1000)
            abort();
}

int main(void)
{
    pthread_t threads[THREADS];

    pthread_key_create(&key, NULL);
    for (uintptr_t generation = 0; generation < 4; generation++) {
        for (uintptr_t i = 0; i < THREADS; i++)
            start(&threads[i], generation * 100 + i + 1);
        for (int i = 0; i < THREADS; i++)
            pthread_join(threads[i], NULL);
    }
    for (int i = 0; i < EXCHANGE; i++)
        free_list(exchange[i]);
    puts(failures == 0 ? "ok" : "FAIL");
    return failures != 0;
}
