/* threads_api.c -- threads behave as libc's, from their first step to their last
 *
 * usage: threads_api [threads]          with LD_PRELOAD=libgcalloc.so, or linked to it
 *
 * Each test prints `ok name` or `FAIL name: why`; the exit status is 1 when one failed.
 * The same program must pass without the library.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <threads.h>
#include <time.h>
#include <unistd.h>

#include "expect.h"

static void churn(void)
{
    void *blocks[40];

    for (int i = 0; i < 40; i++)
        blocks[i] = malloc((size_t)(i * i + 1));
    for (int i = 0; i < 40; i++)
        free(blocks[i]);
}

static void collect(void)
{
    if (gc_collect != NULL)
        gc_collect();
}

static void nap(int ms)
{
    struct timespec t = { ms / 1000, (long)(ms % 1000) * 1000000 };

    nanosleep(&t, NULL);
}

/* ------------------------------------------------------------- create and join */

static void *give_back(void *argument)
{
    churn();
    return argument;
}

static void create_and_join(void)
{
    pthread_t thread;
    void *result = NULL;

    EXPECT(pthread_create(&thread, NULL, give_back, &result) == 0);
    EXPECT(pthread_join(thread, &result) == 0);
    EXPECT(result == &result);
    printf("ok create_and_join\n");
}

/* What glibc is asked for is where a thread's stack is.  The first answer that it can give does for all. */
static atomic_int questions, failing;

int pthread_getattr_np(pthread_t thread, pthread_attr_t *attributes)
{
    static int (*real)(pthread_t, pthread_attr_t *);

    if (real == NULL)
        *(void **)&real = dlsym(RTLD_NEXT, "pthread_getattr_np");
    atomic_fetch_add(&questions, 1);
    return atomic_fetch_sub(&failing, 1) > 0 ? ENOMEM : real(thread, attributes);
}

static void stacks_are_asked_for_once(void)
{
    pthread_t thread;

    atomic_store(&failing, 1);
    for (int i = 0; i < 5; i++) {
        EXPECT(pthread_create(&thread, NULL, give_back, NULL) == 0);
        EXPECT(pthread_join(thread, NULL) == 0);
    }
    atomic_store(&failing, 0);
    EXPECT(atomic_load(&questions) <= 2);       /* none without the library */
    printf("ok stacks_are_asked_for_once\n");
}

/* What cannot be created is refused as libc refuses it, again and again. */
static void refused(void)
{
    pthread_attr_t attributes;
    pthread_t thread;

    EXPECT(pthread_attr_init(&attributes) == 0);
    EXPECT(pthread_attr_setstacksize(&attributes, (size_t)1 << 46) == 0);
    for (int i = 0; i < 1000; i++)
        EXPECT(pthread_create(&thread, &attributes, give_back, NULL) == EAGAIN);
    pthread_attr_destroy(&attributes);
    printf("ok refused\n");
}

struct seen {
    size_t stack_bytes;
    char *stack_low;
    int detach_state;
    char *local;
};

static void *look(void *argument)
{
    struct seen *seen = argument;
    pthread_attr_t attributes;
    char local;

    seen->local = (char *)(uintptr_t)&local;
    pthread_getattr_np(pthread_self(), &attributes);
    pthread_attr_getstack(&attributes, (void **)&seen->stack_low, &seen->stack_bytes);
    pthread_attr_getdetachstate(&attributes, &seen->detach_state);
    pthread_attr_destroy(&attributes);
    churn();
    return NULL;
}

static void attributes_count(void)
{
    enum { BYTES = 1 << 18 };
    pthread_attr_t attributes;
    pthread_t thread;
    struct seen seen = { 0 };
    char *own = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, 3 << 20);
    EXPECT(pthread_create(&thread, &attributes, look, &seen) == 0);
    pthread_join(thread, NULL);
    EXPECT(seen.stack_bytes >= 3 << 20);
    EXPECT(seen.detach_state == PTHREAD_CREATE_JOINABLE);

    EXPECT(own != MAP_FAILED && pthread_attr_setstack(&attributes, own, BYTES) == 0);
    EXPECT(pthread_create(&thread, &attributes, look, &seen) == 0);
    pthread_join(thread, NULL);
    EXPECT(seen.stack_low == own && seen.stack_bytes == BYTES);
    EXPECT(seen.local > own && seen.local < own + BYTES);
    pthread_attr_destroy(&attributes);
    munmap(own, BYTES);
    printf("ok attributes_count\n");
}

static sem_t done;

static void *post_done(void *argument)
{
    churn();
    sem_post(&done);
    return argument;
}

static void detached(void)
{
    pthread_attr_t attributes;
    pthread_t thread;

    sem_init(&done, 0, 0);
    pthread_attr_init(&attributes);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    for (int i = 0; i < 1000; i++) {
        EXPECT(pthread_create(&thread, &attributes, post_done, NULL) == 0);
        sem_wait(&done);
    }
    for (int i = 0; i < 1000; i++) {
        EXPECT(pthread_create(&thread, NULL, post_done, NULL) == 0);
        EXPECT(pthread_detach(thread) == 0);
        sem_wait(&done);
    }
    pthread_attr_destroy(&attributes);
    printf("ok detached\n");
}

/* The only pointer to the argument is on its way to the thread. */
static void *check_argument(void *argument)
{
    unsigned long *words = argument;
    unsigned long wrong = 0;

    for (int i = 0; i < 5; i++)
        collect();
    for (unsigned long i = 0; i < 100; i++)
        wrong += words[i] != i * 77;
    free(words);
    return (void *)wrong;
}

static void argument_lives(void)
{
    pthread_t threads[8];

    for (int round = 0; round < 20; round++) {
        for (int i = 0; i < 8; i++) {
            unsigned long *words = malloc(100 * sizeof(*words));

            for (unsigned long k = 0; k < 100; k++)
                words[k] = k * 77;
            EXPECT(pthread_create(&threads[i], NULL, check_argument, words) == 0);
        }
        for (int i = 0; i < 8; i++) {
            void *wrong;

            pthread_join(threads[i], &wrong);
            EXPECT(wrong == NULL);
        }
    }
    printf("ok argument_lives\n");
}

/* The default size of a stack goes up and down while threads are made: what lies on their stacks, from one
 * end to the other, is seen whichever size each of them got. */
static atomic_int sizes_end;

static void *change_default(void *unused)
{
    pthread_attr_t attributes;

    pthread_attr_init(&attributes);
    while (!atomic_load(&sizes_end)) {
        pthread_attr_setstacksize(&attributes, 8 << 20);
        pthread_setattr_default_np(&attributes);
        sched_yield();
        pthread_attr_setstacksize(&attributes, 64 << 10);
        pthread_setattr_default_np(&attributes);
    }
    pthread_attr_destroy(&attributes);
    return unused;
}

static void *hold_on_stack(void *unused)
{
    unsigned long *volatile held[1000];
    unsigned long wrong = 0;

    for (unsigned long i = 0; i < 1000; i++) {
        held[i] = malloc(40);
        *held[i] = i;
    }
    for (int i = 0; i < 3; i++)
        collect();
    for (unsigned long i = 0; i < 1000; i++) {
        wrong += *held[i] != i;
        free(held[i]);
    }
    (void)unused;
    return (void *)wrong;
}

static void default_changes(void)
{
    pthread_t changer, threads[4];
    pthread_attr_t attributes;

    pthread_getattr_default_np(&attributes);
    EXPECT(pthread_create(&changer, NULL, change_default, NULL) == 0);
    for (int round = 0; round < 50; round++) {
        for (int i = 0; i < 4; i++)
            EXPECT(pthread_create(&threads[i], NULL, hold_on_stack, NULL) == 0);
        for (int i = 0; i < 4; i++) {
            void *wrong;

            pthread_join(threads[i], &wrong);
            EXPECT(wrong == NULL);
        }
    }
    atomic_store(&sizes_end, 1);
    pthread_join(changer, NULL);
    EXPECT(pthread_setattr_default_np(&attributes) == 0);
    pthread_attr_destroy(&attributes);
    printf("ok default_changes\n");
}

/* The result is seen by nobody but libc until it is joined. */
static void *make_result(void *unused)
{
    char *text = malloc(100);

    (void)unused;
    strcpy(text, "result");
    return text;
}

static void result_lives(void)
{
    pthread_t threads[16];

    for (int i = 0; i < 16; i++)
        EXPECT(pthread_create(&threads[i], NULL, make_result, NULL) == 0);
    nap(20);
    for (int i = 0; i < 4; i++)
        collect();
    for (int i = 0; i < 16; i++) {
        void *text;

        pthread_join(threads[i], &text);
        EXPECT(strcmp(text, "result") == 0);
        free(text);
    }
    printf("ok result_lives\n");
}

/* ------------------------------------------------------------ other ways to end */

static int cleaned;             /* atomic */

static void count_clean_up(void *order)
{
    int before = __atomic_fetch_add(&cleaned, 1, __ATOMIC_SEQ_CST);

    churn();
    if (before != (int)(intptr_t)order)
        __atomic_store_n(&cleaned, -100, __ATOMIC_SEQ_CST);
}

static __attribute__((noinline)) void *exit_below(void *argument)
{
    pthread_cleanup_push(count_clean_up, (void *)1);
    pthread_cleanup_push(count_clean_up, (void *)0);
    churn();
    pthread_exit(argument);
    pthread_cleanup_pop(0);
    pthread_cleanup_pop(0);
}

static void exit_unwinds(void)
{
    for (int i = 0; i < 200; i++) {
        pthread_t thread;
        void *result;

        cleaned = 0;
        EXPECT(pthread_create(&thread, NULL, exit_below, &cleaned) == 0);
        EXPECT(pthread_join(thread, &result) == 0 && result == &cleaned && cleaned == 2);
    }
    printf("ok exit_unwinds\n");
}

static void *wait_for_ever(void *argument)
{
    pthread_cleanup_push(count_clean_up, (void *)0);
    churn();
    sem_post(&done);
    for (;;)
        pause();
    pthread_cleanup_pop(0);
    return argument;
}

static void *spin_for_ever(void *argument)
{
    pthread_cleanup_push(count_clean_up, (void *)0);
    sem_post(&done);
    for (;;) {
        churn();
        pthread_testcancel();
    }
    pthread_cleanup_pop(0);
    return argument;
}

static void cancel_ends(void)
{
    sem_init(&done, 0, 0);
    for (int i = 0; i < 400; i++) {
        pthread_t thread;
        void *result;

        cleaned = 0;
        EXPECT(pthread_create(&thread, NULL, i % 2 ? wait_for_ever : spin_for_ever, NULL) == 0);
        sem_wait(&done);
        EXPECT(pthread_cancel(thread) == 0);
        EXPECT(pthread_join(thread, &result) == 0);
        EXPECT(result == PTHREAD_CANCELED && cleaned == 1);
    }
    printf("ok cancel_ends\n");
}

static int c11_return(void *argument)
{
    churn();
    return *(int *)argument;
}

static int c11_exit(void *argument)
{
    churn();
    thrd_exit(*(int *)argument + 1);
}

static void c11_threads(void)
{
    thrd_t thread;
    int value = -7, result = 0;

    for (int i = 0; i < 100; i++) {
        EXPECT(thrd_create(&thread, c11_return, &value) == thrd_success);
        EXPECT(thrd_join(thread, &result) == thrd_success && result == -7);
        EXPECT(thrd_create(&thread, c11_exit, &value) == thrd_success);
        EXPECT(thrd_join(thread, &result) == thrd_success && result == -6);
    }
    printf("ok c11_threads\n");
}

/* -------------------------------------------------------- thread-specific data */

static pthread_key_t tsd_key;
static int destroyed;           /* atomic */

/* Comes back with a new block until the last round but one. */
static void destroy_tsd(void *block)
{
    unsigned long *words = block;

    if (words[0] != 0x1234)
        __atomic_store_n(&destroyed, -1000000, __ATOMIC_SEQ_CST);
    unsigned long round = words[1];

    free(words);
    churn();
    __atomic_fetch_add(&destroyed, 1, __ATOMIC_SEQ_CST);
    if (round + 1 < PTHREAD_DESTRUCTOR_ITERATIONS) {
        words = malloc(64);
        words[0] = 0x1234;
        words[1] = round + 1;
        pthread_setspecific(tsd_key, words);
    }
}

static void *use_tsd(void *argument)
{
    unsigned long *words = malloc(64);

    words[0] = 0x1234;
    words[1] = 0;
    pthread_setspecific(tsd_key, words);
    return argument;
}

static void tsd_destructors(void)
{
    destroyed = 0;
    EXPECT(pthread_key_create(&tsd_key, destroy_tsd) == 0);
    for (int i = 0; i < 2000; i++) {
        pthread_t thread;

        EXPECT(pthread_create(&thread, NULL, use_tsd, NULL) == 0);
        pthread_join(thread, NULL);
        if (i % 100 == 0)
            collect();
    }
    EXPECT(destroyed == 2000 * PTHREAD_DESTRUCTOR_ITERATIONS);
    pthread_key_delete(tsd_key);
    printf("ok tsd_destructors\n");
}

static void every_key(void)
{
    static pthread_key_t keys[PTHREAD_KEYS_MAX + 1];
    int count = 0;

    while (count <= PTHREAD_KEYS_MAX && pthread_key_create(&keys[count], free) == 0)
        count++;
    pthread_t thread;
    int created = pthread_create(&thread, NULL, give_back, NULL);

    if (created == 0)
        pthread_join(thread, NULL);
    for (int i = 0; i < count; i++)
        pthread_key_delete(keys[i]);
    EXPECT(created == 0);
    EXPECT(count == PTHREAD_KEYS_MAX);
    printf("ok every_key\n");
}

/* ---------------------------------------------------------------- many threads */

static long resident_kib(void)
{
    long pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");

    if (file == NULL || fscanf(file, "%*d %ld", &pages) != 1)
        pages = -1;
    if (file != NULL)
        fclose(file);
    return pages * (sysconf(_SC_PAGESIZE) / 1024);
}

static void *short_life(void *argument)
{
    void *kept = malloc(200);

    churn();
    free(kept);
    if ((intptr_t)argument % 16 == 0)
        pthread_exit(NULL);
    return argument;
}

/* Resident memory after the first tenth must be that after the last. */
static void short_threads(int count)
{
    long first = 0;

    for (int i = 0; i < count; i += 4) {
        pthread_t threads[4];

        for (int k = 0; k < 4; k++)
            EXPECT(pthread_create(&threads[k], NULL, short_life, (void *)(intptr_t)(i + k)) == 0);
        for (int k = 0; k < 4; k++)
            pthread_join(threads[k], NULL);
        if (i == count / 10 / 4 * 4)
            first = resident_kib();
    }
    long last = resident_kib();

    if (first <= 0 || last - first >= 8192)
        printf("resident: %ld KiB, then %ld KiB\n", first, last);
    EXPECT(first > 0 && last - first < 8192);
    printf("ok short_threads: %d threads, resident %ld KiB, then %ld KiB\n", count, first, last);
}

int main(int argc, char **argv)
{
    int threads = argc > 1 ? atoi(argv[1]) : 100000;

    setvbuf(stdout, NULL, _IOLBF, 0);
    alarm(300);
    stacks_are_asked_for_once();
    create_and_join();
    refused();
    attributes_count();
    detached();
    argument_lives();
    default_changes();
    result_lives();
    exit_unwinds();
    cancel_ends();
    c11_threads();
    tsd_destructors();
    every_key();
    short_threads(threads);
    if (gc_collect == NULL)
        printf("SKIP collections: no gc_collect here: the baseline without the library\n");
    return failures != 0;
}
