/* torture_adversary.c -- one pattern that no incremental collector survives by luck
 *
 * torture_adversary barrier|heap|block|roots|bss|discipline [--threads N] [--seconds S]
 *
 * PURPOSE  Half of a great many slots hold the only pointer to an object each.  Threads move the
 *          pointers from slot to slot at full speed while cycles run one after the other.
 *          So in every cycle many a pointer leaves a slot that the collector has not read yet
 *          for one that it has, and only the write barrier, or the dirty pages, can tell.
 *          With GCALLOC_DEBUG=mutate=N one of these is broken, and gccheckmark must find out;
 *          without it, every object must still be there at the end: see mutations.sh.
 *
 *          barrier      slots in gc_alloc objects, stores by the barrier      (dies of mutate=1);
 *                       new objects take the places between those that are moved
 *          heap         slots in small malloc blocks, plain stores            (dies of mutate=2)
 *          block        slots in one large malloc block, plain stores         (dies of mutate=2)
 *          roots        slots in a private mapping, plain stores              (dies of mutate=3)
 *          bss          slots in static data, plain stores                    (dies of mutate=3)
 *          discipline   slots in gc_alloc objects, plain stores: forbidden, so gccheckmark must
 *                       find it, unless GCALLOC_BARRIER=pages allows it
 */
#define _GNU_SOURCE
#include "torture_plain.h"
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

enum { SLOTS = 200000, OBJECTS = SLOTS / 2, HOLDER_WORDS = 8, SPREAD = 4, MAX_MOVERS = 16 };

struct object {
    uintptr_t self;             /* complemented address */
    uintptr_t number;
    uintptr_t junk[4];
};

/* How the slots of a case are made; where says what an array cannot. */
struct scene {
    const char *name;
    void (*prepare)(void);
    bool barrier;
};

/* Written before movers start.  A slot is in a block of its own, holders[number], or in area. */
static void **holders;
static void **area;
static bool barrier;
static atomic_bool stopping;
static atomic_ulong moves;
static void *bss_area[SLOTS * SPREAD];

static void **slot_at(unsigned number)
{
    return holders != NULL ? (void **)holders[number] + number % HOLDER_WORDS
                           : area + (size_t)number * SPREAD;
}

/* ---- Scenes ------------------------------------------------------------------------- */

static void prepare_gc(void)
{
    holders = malloc(SLOTS * sizeof *holders);
    for (unsigned i = 0; i < SLOTS; i++)
        holders[i] = gc_alloc(HOLDER_WORDS * sizeof(void *));
}

static void prepare_heap(void)
{
    holders = malloc(SLOTS * sizeof *holders);
    for (unsigned i = 0; i < SLOTS; i++)
        holders[i] = calloc(HOLDER_WORDS, sizeof(void *));
}

static void prepare_block(void) { area = calloc(SLOTS * SPREAD, sizeof *area); }
static void prepare_bss(void) { area = bss_area; }

static void prepare_roots(void)
{
    area = mmap(NULL, sizeof bss_area, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (area == MAP_FAILED)
        abort();
}

static const struct scene scenes[] = {
    { "barrier", prepare_gc, true },      { "heap", prepare_heap, false },
    { "block", prepare_block, false },    { "roots", prepare_roots, false },
    { "bss", prepare_bss, false },        { "discipline", prepare_gc, false },
};

/* ---- Moves -------------------------------------------------------------------------- */

static void *slot_take(void **slot)
{
    return barrier ? GC_SWAP(slot, NULL) : __atomic_exchange_n(slot, NULL, __ATOMIC_SEQ_CST);
}

/* false: the slot is not empty */
static bool slot_fill(void **slot, void *object)
{
    void *empty = NULL;

    return barrier ? gc_compare_exchange(slot, NULL, object)
                   : __atomic_compare_exchange_n(slot, &empty, object, false, __ATOMIC_SEQ_CST,
                                                 __ATOMIC_SEQ_CST);
}

static void object_check(const struct object *object)
{
    if (object->self == ~(uintptr_t)object && object->number < OBJECTS)
        return;
    fprintf(stderr, "torture_adversary: LOST object %p: self %lx number %lx\n",
            (const void *)object, object->self, object->number);
    abort();
}

static uint32_t random_below(uint64_t *state, uint32_t bound)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return (uint32_t)((*state >> 20) % bound);
}

/* A new object, beside old ones, that nobody keeps. */
static void litter(void)
{
    void *unused = barrier ? gc_alloc(sizeof(struct object)) : NULL;

    (void)unused;
}

static void *mover_run(void *seed)
{
    uint64_t state = (uintptr_t)seed * 0x9e3779b97f4a7c15ull;
    unsigned long count = 0;

    while (!stopping) {
        struct object *object = slot_take(slot_at(random_below(&state, SLOTS)));
        if (object == NULL)
            continue;
        object_check(object);
        while (!slot_fill(slot_at(random_below(&state, SLOTS)), object))
            continue;
        litter();
        count++;
    }
    moves += count;
    return NULL;
}

/* ---- The run ------------------------------------------------------------------------ */

/* One object for every other slot, of both sorts of memory. */
static __attribute__((noinline)) void populate(void)
{
    for (unsigned i = 0; i < OBJECTS; i++) {
        struct object *object = i % 2 == 0 ? gc_alloc(sizeof *object) : malloc(sizeof *object);
        if (object == NULL)
            abort();
        *object = (struct object){ .self = ~(uintptr_t)object, .number = i };
        slot_fill(slot_at(2 * i), object);
        litter();               /* garbage soon: there will be free slots among the objects */
    }
}

/* Puts what was lost to other use, so that the movers notice too. */
static void reuse(void)
{
    enum { COUNT = 500 };
    struct object *blocks[COUNT];

    for (unsigned i = 0; i < COUNT; i++) {
        blocks[i] = i % 2 == 0 ? gc_alloc(sizeof *blocks[i]) : malloc(sizeof *blocks[i]);
        memset(blocks[i], 0x11, sizeof *blocks[i]);
    }
    for (unsigned i = 0; i < COUNT; i++)
        gc_free(blocks[i]);
}

static unsigned run(unsigned movers, double seconds)
{
    pthread_t threads[MAX_MOVERS];
    struct timespec start, now;
    unsigned cycles = 0;

    clock_gettime(CLOCK_MONOTONIC, &start);
    for (unsigned i = 0; i < movers; i++)
        if (pthread_create(&threads[i], NULL, mover_run, (void *)(uintptr_t)(i + 1)) != 0)
            abort();
    do {
        cycles += gc_collect();
        reuse();
        clock_gettime(CLOCK_MONOTONIC, &now);
    } while ((double)(now.tv_sec - start.tv_sec) + (double)(now.tv_nsec - start.tv_nsec) / 1e9 <
             seconds);
    stopping = true;
    for (unsigned i = 0; i < movers; i++)
        pthread_join(threads[i], NULL);
    return cycles;
}

/* Every object is in exactly one slot; it is freed. */
static bool all_present(void)
{
    static unsigned char seen[OBJECTS];
    unsigned found = 0;

    for (unsigned i = 0; i < SLOTS; i++) {
        struct object *object = slot_take(slot_at(i));
        if (object == NULL)
            continue;
        object_check(object);
        found += seen[object->number]++ == 0;
        gc_free(object);
    }
    return found == OBJECTS;
}

static const struct scene *scene_find(const char *name)
{
    for (size_t i = 0; i < sizeof scenes / sizeof scenes[0]; i++)
        if (strcmp(scenes[i].name, name) == 0)
            return &scenes[i];
    fprintf(stderr, "torture_adversary: no scene %s\n", name);
    exit(2);
}

int main(int argc, char **argv)
{
    unsigned movers = 2;
    double seconds = 2;
    const struct scene *scene = scene_find(argc > 1 ? argv[1] : "heap");

    for (int i = 2; i + 1 < argc; i += 2) {
        if (strcmp(argv[i], "--threads") == 0)
            movers = (unsigned)atoi(argv[i + 1]) % (MAX_MOVERS + 1);
        else if (strcmp(argv[i], "--seconds") == 0)
            seconds = atof(argv[i + 1]);
    }
    barrier = scene->barrier;
    scene->prepare();
    populate();
    unsigned cycles = run(movers, seconds);
    bool good = all_present() && cycles > 0 && moves > 0;

    printf("%s %s: %lu moves, %u cycles\n", good ? "ok" : "FAIL", scene->name, moves, cycles);
    return !good;
}
