/* no_memory.c -- a program that hides pages of its blocks when there is no memory to note it
 *
 * PURPOSE  Metadata is used up, and what the kernel is asked for is refused (failvm).  While another thread
 *          collects without a pause,
 *            nameless    a thread that there is no structure for hides pages and shows them again: no marker
 *                        loads from them meanwhile;
 *            unnoted     there is no row for the pages: whatever cycle is about to begin does not.  Once in a
 *                        process, so in children.
 *
 * Links what libgcalloc.a is made of.
 */
#define _GNU_SOURCE
#include <gcalloc.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/options.h"
#include "heap/arena.h"
#include "hiding.h"
#include "world/thread.h"

enum { NODES = 20000, PAGES = 300, CHILDREN = 60, HIDINGS = 300 };

static _Atomic int quit;
static _Atomic long cycles;

static void use_up(void)
{
    options.failvm = 1;
    while (meta_alloc(64) != NULL)
        ;
}

static void *collect(void *unused)
{
    while (!quit)
        cycles += gc_collect();
    return unused;
}

static void await_cycles(long more)
{
    for (long enough = cycles + more; cycles < enough;)
        usleep(100);
}

static void *hide_and_show(void *nameless)
{
    for (int i = 0; i < HIDINGS; i++) {
        if (!hide() || !show())
            exit(3);
        usleep(500);
    }
    *(bool *)nameless = thread_self == &thread_none;
    return NULL;
}

static void *do_nothing(void *unused)
{
    return unused;
}

static void *sleep_on(void *unused)
{
    while (!quit)
        usleep(1000);
    return unused;
}

/* Afterwards there is room for rows, and a stack in libc's cache for another thread, whose structure one takes
 * that has a stack of its own. */
static void make_ready(pthread_t *sleeping)
{
    static char stack[1 << 18] __attribute__((aligned(4096)));
    pthread_attr_t own;
    pthread_t ended;

    mprotect(block + PAGE, PAGE, PROT_NONE);
    mprotect(block + PAGE, PAGE, PROT_READ | PROT_WRITE);
    pthread_create(&ended, NULL, do_nothing, NULL);
    pthread_join(ended, NULL);
    pthread_attr_init(&own);
    pthread_attr_setstack(&own, stack, sizeof stack);
    pthread_create(sleeping, &own, sleep_on, NULL);
    pthread_attr_destroy(&own);
}

static int nameless(void)
{
    pthread_t collecting, sleeping, hiding;
    bool was_nameless = false;

    pthread_create(&collecting, NULL, collect, NULL);
    await_cycles(5);
    make_ready(&sleeping);
    await_cycles(5);
    use_up();
    long before = cycles;

    if (pthread_create(&hiding, NULL, hide_and_show, &was_nameless) != 0)
        return 4;
    pthread_join(hiding, NULL);
    quit = 1;
    pthread_join(collecting, NULL);
    pthread_join(sleeping, NULL);
    bool good = was_nameless && cycles > before;

    printf("%s nameless: %ld cycles\n", good ? "ok" : "FAIL", cycles - before);
    return !good;
}

static void unnoted_child(unsigned number)
{
    pthread_t thread;

    pthread_create(&thread, NULL, collect, NULL);
    await_cycles(3);
    use_up();
    await_cycles(2);
    usleep(number * 97 % 1000);
    if (!hide())
        _exit(5);
    usleep(20000);
    _exit(gc_collect() ? 6 : 0);
}

static int unnoted(void)
{
    int bad = 0, status;

    for (unsigned i = 0; i < CHILDREN; i++) {
        pid_t child = fork();
        if (child == 0)
            unnoted_child(i);
        waitpid(child, &status, 0);
        bad += status != 0;
    }
    printf("%s unnoted: %d of %d children died\n", bad == 0 ? "ok" : "FAIL", bad, CHILDREN);
    return bad != 0;
}

int main(void)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    alarm(100);
    make_heap(NODES, PAGES);
    int bad = unnoted();

    return nameless() | bad;
}
