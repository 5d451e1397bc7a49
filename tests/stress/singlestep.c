/* singlestep.c -- malloc, free and gc_alloc, stopped at every instruction
 *
 * PURPOSE  I3 of src/README.md: a thread may be stopped between any two instructions of
 *          the fast paths, and the slot in flight is neither lost nor handed out twice.
 *          For k = 1, 2, ... the thread runs one call with the trap flag set; at its
 *          k-th instruction the SIGTRAP handler has another thread run two whole
 *          collections (a malloc block is reclaimed at the second).  Then many slots
 *          of the class are taken and looked through for twins.  One instruction a call.
 *          Free is stepped through with a block of this thread and with one of the other.
 *          gc_alloc, whose slots come from elsewhere, is stepped through as far as its fast path goes.
 *          And gc_memmove, with a handler that copies too at its k-th instruction: whoever stops the thread
 *          after that must find where it was copying to.
 *
 * Links what libgcalloc.a is made of.  Prints how many instructions were stopped at; exit status 0 when
 * every check held.
 */
#define _GNU_SOURCE
#include <gcalloc.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "world/thread.h"

enum { BYTES = 48, TAKE = 3000, INSTRUCTIONS_LEAST = 15, INSTRUCTIONS_MAX = 200 };
/* The fast path of gc_alloc lies in so many bytes, step_gc_alloc in so many. */
enum { FAST_BYTES = 160, CALLER_BYTES = 1024 };

static _Atomic int wanted, done;
static _Atomic int quit;
static void *_Atomic given;     /* a block of the other thread, when it is asked for one */
static _Atomic int asked;
static volatile int stepping, steps, stop_at;
static uintptr_t fast_low, fast_high, caller_low, caller_high;  /* 0: the call is fast for sure */
static volatile int is_slow;

static void *collector(void *unused)
{
    while (!quit) {
        if (asked) {
            given = malloc(BYTES);
            asked = 0;
        }
        if (done == wanted)
            continue;
        gc_collect();
        gc_collect();
        done = wanted;
    }
    return unused;
}

/* Nothing may be waited for in there: stops wait for it. */
static int is_in_slow_path(uintptr_t rip)
{
    return fast_low != 0 && rip - fast_low >= fast_high - fast_low &&
           rip - caller_low >= caller_high - caller_low;
}

/* Called with the program at some instruction of malloc or free; its registers are
 * in the frame of this very signal. */
static void on_trap(int signal, siginfo_t *info, void *context)
{
    ucontext_t *interrupted = context;

    (void)signal;
    (void)info;
    is_slow |= is_in_slow_path((uintptr_t)interrupted->uc_mcontext.gregs[REG_RIP]);
    if (stepping && !is_slow && ++steps < stop_at)
        return;
    interrupted->uc_mcontext.gregs[REG_EFL] &= ~0x100ll;
    if (!stepping || is_slow)
        return;
    wanted++;
    while (done != wanted)
        ;
}

static inline void trap_on(void)
{
    stepping = 1;
    __asm__ volatile("pushfq; orq $0x100, (%%rsp); popfq" ::: "memory", "cc");
}

static inline void trap_off(void)
{
    __asm__ volatile("pushfq; andq $~0x100, (%%rsp); popfq" ::: "memory", "cc");
    stepping = 0;
}

static int compare(const void *a, const void *b)
{
    uintptr_t x = *(const uintptr_t *)a, y = *(const uintptr_t *)b;

    return x < y ? -1 : x > y;
}

/* Takes many blocks of the class: with one slot handed out twice there are twins, or a
 * block that the program already has. */
static int no_twins(const void *held)
{
    static uintptr_t taken[TAKE];
    int good = 1;

    for (int i = 0; i < TAKE; i++) {
        taken[i] = (uintptr_t)malloc(BYTES);
        memset((void *)taken[i], 0x5a, BYTES);
        good &= taken[i] != (uintptr_t)held;
    }
    qsort(taken, TAKE, sizeof taken[0], compare);
    for (int i = 1; i < TAKE; i++)
        good &= taken[i] != taken[i - 1];
    for (int i = 0; i < TAKE; i++)
        free((void *)taken[i]);
    memset(taken, 0, sizeof taken);
    return good;
}

static int step_malloc(void)
{
    void *block;

    free(malloc(BYTES));
    trap_on();
    block = malloc(BYTES);
    trap_off();
    memset(block, 0xa5, BYTES);
    int good = no_twins(block);

    for (int i = 0; i < BYTES; i++)
        good &= ((unsigned char *)block)[i] == 0xa5;
    free(block);
    return good;
}

static int step_free(void)
{
    void *block = malloc(BYTES);

    free(malloc(BYTES));        /* a slow free opens the magazines again */
    memset(block, 0xa5, BYTES);
    trap_on();
    free(block);
    trap_off();
    return no_twins(NULL);
}

static void *block_of_other(void)
{
    asked = 1;
    while (asked)
        ;
    void *block = given;

    given = NULL;
    return block;
}

/* The slot waits in this thread's outbox.  When that is emptied, the other thread gets it again, once: a slot
 * that the sweep has taken meanwhile would be freed twice, which kills. */
static int step_free_elsewhere(void)
{
    free(block_of_other());     /* a slow free opens the outbox again */
    void *block = block_of_other();

    memset(block, 0xa5, BYTES);
    trap_on();
    free(block);
    trap_off();
    malloc_trim(0);
    return no_twins(NULL);
}

/* The block moves: it is copied between the two magazines' instructions. */
static int step_realloc(void)
{
    unsigned char *block = malloc(2 * BYTES + 1), *grown;

    free(malloc(2 * BYTES + 1));
    free(malloc(BYTES));
    memset(block, 0xa5, BYTES);
    trap_on();
    grown = realloc(block, BYTES);
    trap_off();
    int good = grown != block && no_twins(grown);

    for (int i = 0; i < BYTES; i++)
        good &= grown[i] == 0xa5;
    free(grown);
    return good;
}

static uint64_t source[8], target[8], elsewhere[4];
static int misplaced;

static void on_copy_trap(int signal, siginfo_t *info, void *context)
{
    ucontext_t *interrupted = context;
    const struct thread *thread = thread_self;

    (void)signal;
    (void)info;
    if (!stepping) {
        interrupted->uc_mcontext.gregs[REG_EFL] &= ~0x100ll;
        return;
    }
    if (++steps == stop_at)
        gc_memmove(elsewhere, source, sizeof elsewhere);
    misplaced += thread->copy_low == (uintptr_t)target && target[0] != 0 &&
                 thread->copy_high != (uintptr_t)(target + 8);
}

static int step_copy(void)
{
    memset(target, 0, sizeof target);
    trap_on();
    gc_memmove(target, source, sizeof target);
    trap_off();
    return misplaced == 0 && target[7] == source[7] && thread_self->copy_low == 0;
}

/* Objects that nothing but this names, of the same class: none is handed out twice, each reads as zero. */
static int no_gc_twins(const unsigned char *held)
{
    static unsigned char *taken[TAKE];
    int good = 1;

    for (int i = 0; i < TAKE; i++) {
        taken[i] = gc_alloc(BYTES);
        for (int at = 0; at < BYTES; at++)
            good &= taken[i][at] == 0;
        good &= taken[i] != held;
        memset(taken[i], 0x5a, BYTES);
    }
    memset(taken, 0, sizeof taken);
    for (int at = 0; at < BYTES; at++)
        good &= held[at] == 0xa5;
    return good;
}

/* Again if a refill was due. */
static __attribute__((noinline)) int step_gc_alloc(void)
{
    unsigned char *object;
    int good = 1;

    fast_low = (uintptr_t)gc_alloc;
    fast_high = fast_low + FAST_BYTES;
    caller_low = (uintptr_t)step_gc_alloc;
    caller_high = caller_low + CALLER_BYTES;
    do {
        is_slow = steps = 0;
        trap_on();
        object = gc_alloc(BYTES);
        trap_off();
    } while (is_slow);
    fast_low = 0;
    for (int at = 0; at < BYTES; at++)
        good &= object[at] == 0;
    memset(object, 0xa5, BYTES);
    return good & no_gc_twins(object);
}

/* Steps through one call, k instructions far for growing k; how many it had. */
static int step_through(int (*step)(void), int *good)
{
    for (stop_at = 1; stop_at <= INSTRUCTIONS_MAX; stop_at++) {
        steps = 0;
        *good &= step();
        if (steps < stop_at)
            return stop_at - 1;
    }
    return INSTRUCTIONS_MAX;
}

int main(void)
{
    struct sigaction action = { .sa_sigaction = on_trap, .sa_flags = SA_SIGINFO };
    pthread_t thread;
    int good = 1;

    free(malloc(BYTES));        /* everything is bound, and the magazine is filled */
    pthread_create(&thread, NULL, collector, NULL);
    sigaction(SIGTRAP, &action, NULL);
    int in_malloc = step_through(step_malloc, &good);
    int in_free = step_through(step_free, &good);
    int in_free_elsewhere = step_through(step_free_elsewhere, &good);
    int in_realloc = step_through(step_realloc, &good);
    int in_gc_alloc = step_through(step_gc_alloc, &good);

    memset(source, 0x77, sizeof source);
    action.sa_sigaction = on_copy_trap;
    sigaction(SIGTRAP, &action, NULL);
    int in_copy = step_through(step_copy, &good);

    quit = 1;
    pthread_join(thread, NULL);
    printf("%s stopped at each of %d instructions of malloc, %d of free, %d of free elsewhere, %d of realloc, "
           "%d of gc_alloc, %d of gc_memmove\n",
           good ? "ok" : "FAIL", in_malloc, in_free, in_free_elsewhere, in_realloc, in_gc_alloc, in_copy);
    return !(good && in_malloc >= INSTRUCTIONS_LEAST && in_free >= INSTRUCTIONS_LEAST &&
             in_free_elsewhere > in_free && in_realloc >= INSTRUCTIONS_LEAST &&
             in_gc_alloc >= INSTRUCTIONS_LEAST && in_copy >= INSTRUCTIONS_LEAST);
}
