/* misuse.c -- one misuse of the malloc family per case; run.sh says what must come of it
 *
 * USE  misuse CASE.  Prints the address in question as 0x..., for run.sh to compare, then
 *      does it.  Exits with 0 when it survived.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <gcalloc.h>

/* Keeps the compiler from seeing that the pointer was freed. */
static void *opaque(void *pointer)
{
    __asm__ volatile("" : "+r"(pointer));
    return pointer;
}

static void announce(const void *pointer)
{
    printf("%p\n", pointer);
    fflush(stdout);
}

static void *announced(size_t bytes)
{
    void *block = malloc(bytes);

    announce(block);
    return block;
}

static void double_free(size_t bytes)
{
    void *block = announced(bytes);

    free(block);
    free(opaque(block));
}

static void case_double_free(void)
{
    double_free(60);
}

static void case_double_free_page(void)
{
    double_free(4090);
}

static void case_double_free_large(void)
{
    double_free((1 << 20) - 6);
}

/* As many frees between as glibc's tcache holds. */
static void case_double_free_later(void)
{
    void *others[6];
    void *block = announced(60);

    for (int i = 0; i < 6; i++)
        others[i] = malloc(60);
    free(block);
    for (int i = 0; i < 6; i++)
        free(others[i]);
    free(opaque(block));
}

/* So many between that every cache has let go of it; glibc finds these above 1,032 bytes. */
static void case_double_free_much_later(void)
{
    enum { OTHERS = 2000 };
    static void *others[OTHERS];
    void *block = announced(2000);

    for (int i = 0; i < OTHERS; i++)
        others[i] = malloc(2000);
    free(block);
    for (int i = 0; i < OTHERS; i++)
        free(others[i]);
    free(opaque(block));
}

static void case_double_free_after_realloc(void)
{
    void *block = announced(60);
    void *moved = realloc(block, 5000);

    if (moved != block)
        free(opaque(block));
}

static void case_double_gc_free(void)
{
    void *object = gc_alloc(64);

    announce(object);
    gc_free(object);
    gc_free(opaque(object));
}

static void *free_it(void *block)
{
    free(block);
    return NULL;
}

/* The other thread has exited. */
static void case_double_free_dead_thread(void)
{
    void *block = announced(60);
    pthread_t thread;

    pthread_create(&thread, NULL, free_it, block);
    pthread_join(thread, NULL);
    free(opaque(block));
}

static pthread_barrier_t barrier;

static void *free_it_and_wait(void *block)
{
    free(block);
    pthread_barrier_wait(&barrier);
    pthread_barrier_wait(&barrier);
    return NULL;
}

static void double_free_live_thread(size_t bytes)
{
    void *block = announced(bytes);
    pthread_t thread;

    pthread_barrier_init(&barrier, NULL, 2);
    pthread_create(&thread, NULL, free_it_and_wait, block);
    pthread_barrier_wait(&barrier);
    free(opaque(block));
    pthread_barrier_wait(&barrier);
    pthread_join(thread, NULL);
}

/* The other thread lives and may have it in its cache. */
static void case_double_free_live_thread(void)
{
    double_free_live_thread(60);
}

/* glibc finds this one: above 1,032 bytes its threads share their free blocks. */
static void case_double_free_live_thread_2000(void)
{
    double_free_live_thread(2000);
}

static void case_interior(void)
{
    char *block = malloc(60);

    announce(block + 16);
    free(opaque(block + 16));
}

static void case_interior_odd(void)
{
    char *block = malloc(1000);

    announce(block + 1);
    free(opaque(block + 1));
}

static void case_interior_large(void)
{
    char *block = malloc((1 << 20) - 6);

    announce(block + 8192);
    free(opaque(block + 8192));
}

/* Inside a free run of pages, where no block begins. */
static void case_never_allocated(void)
{
    char *block = malloc(8 << 20);

    free(block);
    announce(block + (1 << 20));
    free(opaque(block + (1 << 20)));
}

static void case_realloc_freed(void)
{
    void *block = announced(60);

    free(block);
    block = realloc(opaque(block), 1000);
}

static void case_realloc_interior(void)
{
    char *block = malloc(60);

    announce(block + 16);
    block = realloc(opaque(block + 16), 1000);
}

static void case_realloc_never_allocated(void)
{
    char *block = malloc(8 << 20);

    free(block);
    announce(block + (1 << 20));
    block = realloc(opaque(block + (1 << 20)), 10);
}

/* Five times memory of others: one warning, about the first. */
static void case_foreign(void)
{
    static char data[100];
    char local[100];
    void *mapping = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    announce(data);
    free(opaque(data));
    free(opaque(local));
    free(opaque(mapping));
    free(opaque((void *)case_foreign));
    gc_free(opaque((void *)(uintptr_t)0x1234));
}

/* Memory of others, grown: the contents come along. */
static void case_realloc_foreign(void)
{
    static char data[100] = "kept";

    announce(data);
    char *block = realloc(opaque(data), 10000);

    if (block == NULL || strcmp(block, "kept") != 0 || gc_base(block) != block)
        exit(1);
    free(block);
}

static void case_nothing(void)
{
    announce(NULL);
    free(malloc(100));
}

static const struct {
    const char *name;
    void (*run)(void);
} cases[] = {
#define CASE(name) { #name, case_##name }
    CASE(double_free),
    CASE(double_free_page),
    CASE(double_free_large),
    CASE(double_free_later),
    CASE(double_free_much_later),
    CASE(double_free_after_realloc),
    CASE(double_gc_free),
    CASE(double_free_dead_thread),
    CASE(double_free_live_thread),
    CASE(double_free_live_thread_2000),
    CASE(interior),
    CASE(interior_odd),
    CASE(interior_large),
    CASE(never_allocated),
    CASE(realloc_freed),
    CASE(realloc_interior),
    CASE(realloc_never_allocated),
    CASE(foreign),
    CASE(realloc_foreign),
    CASE(nothing),
};

int main(int argc, char **argv)
{
    for (size_t i = 0; argc == 2 && i < sizeof cases / sizeof cases[0]; i++) {
        if (strcmp(argv[1], cases[i].name) == 0) {
            cases[i].run();
            return 0;
        }
    }
    fprintf(stderr, "usage: misuse CASE\n");
    return 2;
}
