/* test_gcalloc.c -- the gc_* functions
 *
 * PURPOSE  What gcalloc.h promises of each.  Reachability is judged by gc_base of an address
 *          kept complemented.  A conservative collector may keep a few objects because
 *          of stray words, so the tests that lose objects lose many and allow few to stay.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "api_test.h"

enum { MANY = 1000, STRAYS = 100 };

struct node {
    struct node *next;
    uint64_t value[7];
};

static uintptr_t lost[MANY];        /* complemented addresses */

static bool all_zero(const void *block, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        if (((const char *)block)[i] != 0)
            return false;
    return true;
}

static int count_alive(void)
{
    int alive = 0;

    for (int i = 0; i < MANY; i++)
        alive += gc_base(unhide(lost[i])) == unhide(lost[i]);
    return alive;
}

/* ---- objects ---- */

static void test_objects_are_zero_and_aligned(void **state)
{
    (void)state;
    for (int round = 0; round < 3; round++) {
        for (size_t bytes = 0; bytes < 200000; bytes = bytes < 300 ? bytes + 1 : bytes * 3 / 2) {
            void *object = round == 1 ? gc_alloc_noscan(bytes) : gc_alloc(bytes);
            assert_non_null(object);
            assert_true(all_zero(object, bytes));
            size_t alignment = bytes == 0 ? 1 : bytes % 16 == 0 ? 16 : bytes & -bytes;
            if (alignment > 8 && bytes % 16 != 0)
                alignment = 8;
            assert_int_equal((uintptr_t)object % alignment, 0);
            assert_true(gc_size(object) >= bytes);
            /* Dirt for the next round. */
            memset(object, 0xff, bytes);
            if (round == 0)
                gc_free(object);
        }
    }
}

static void test_impossible_sizes(void **state)
{
    volatile size_t huge = SIZE_MAX, half = (size_t)PTRDIFF_MAX + 1, nobody = (size_t)1 << 60;
    void *old = gc_alloc(64);

    (void)state;
#define ASSERT_ENOMEM(call) (errno = 0, assert_null(call), assert_int_equal(errno, ENOMEM))
    ASSERT_ENOMEM(gc_alloc(huge));
    ASSERT_ENOMEM(gc_alloc(half));
    ASSERT_ENOMEM(gc_alloc(nobody));
    ASSERT_ENOMEM(gc_alloc_noscan(half));
    ASSERT_ENOMEM(gc_alloc_array(huge, 2));
    ASSERT_ENOMEM(gc_alloc_array(half, 1));
    ASSERT_ENOMEM(gc_alloc_array((size_t)1 << 32, (size_t)1 << 32));
    ASSERT_ENOMEM(gc_realloc(old, half));
    ASSERT_ENOMEM(gc_realloc(NULL, half));
    assert_ptr_equal(gc_base(old), old);
}

static void test_array(void **state)
{
    (void)state;
    uint64_t *array = gc_alloc_array(1000, sizeof *array);

    assert_true(all_zero(array, 8000));
    assert_true(gc_size(array) >= 8000);
    assert_non_null(gc_alloc_array(0, 8));
    assert_non_null(gc_alloc_array(8, 0));
}

static void test_realloc_objects(void **state)
{
    (void)state;
    unsigned char *object = gc_realloc(NULL, 10);
    size_t bytes = 10;

    assert_non_null(object);
    while (bytes < 4 << 20) {
        size_t usable = gc_size(object), next = bytes * 2;
        memset(object, 0x77, usable);
        object = gc_realloc(object, next);
        assert_non_null(object);
        for (size_t i = 0; i < bytes; i++)
            if (object[i] != 0x77)
                fail_msg("byte %zu was lost on the way to %zu", i, next);
        if (next > usable)
            assert_true(all_zero(object + usable, next - usable));
        bytes = next;
    }
    object = gc_realloc(object, 20);
    assert_int_equal(object[19], 0x77);
    uintptr_t hidden = hide(object);

    assert_null(gc_realloc(object, 0));
    assert_null(gc_base(unhide(hidden)));
}

static void test_free_objects(void **state)
{
    (void)state;
    errno = 77;
    gc_free(NULL);
    void *object = gc_alloc(1000);
    uintptr_t hidden = hide(object);

    assert_ptr_equal(gc_base(object), object);
    gc_free(object);
    assert_null(gc_base(unhide(hidden)));
    /* Each family frees the other's. */
    gc_free(malloc(100));
    free(gc_alloc(100));
    free(gc_alloc(100000));
    void *tiny = gc_alloc_noscan(5);

    gc_free(tiny);
    free(tiny);                     /* shares its block: both are nothing */
    assert_int_equal(errno, 77);
}

static void test_base_and_size(void **state)
{
    int local;

    (void)state;
    for (size_t bytes = 1; bytes < 100000; bytes = bytes * 3 + 1) {
        char *object = gc_alloc(bytes), *block = malloc(bytes);
        for (size_t at = 0; at < gc_size(object); at += 1 + gc_size(object) / 50)
            assert_ptr_equal(gc_base(object + at), object);
        assert_ptr_equal(gc_base(block), block);
        assert_ptr_equal(gc_base(block + bytes - 1), block);
        assert_int_equal(gc_size(block), malloc_usable_size(block));
        free(block);
    }
    assert_null(gc_base(NULL));
    assert_null(gc_base(&local));
    assert_null(gc_base((void *)test_base_and_size));
    assert_null(gc_base((void *)UINTPTR_MAX));
    assert_int_equal(gc_size(NULL), 0);
    assert_int_equal(gc_size(&local), 0);
}

/* The objects of the tiny allocator share blocks and do not overlap. */
static void test_tiny_objects(void **state)
{
    enum { COUNT = 300 };
    unsigned char *objects[COUNT];

    (void)state;
    for (size_t i = 0; i < COUNT; i++) {
        size_t bytes = 1 + i % 15;
        objects[i] = gc_alloc_noscan(bytes);
        assert_true(all_zero(objects[i], bytes));
        assert_true(gc_size(objects[i]) >= bytes);
        memset(objects[i], (int)i, bytes);
    }
    for (size_t i = 0; i < COUNT; i++)
        for (size_t at = 0; at < 1 + i % 15; at++)
            assert_int_equal(objects[i][at], (unsigned char)i);
}

/* ---- reachability ---- */

static NOINLINE void lose_objects(bool noscan)
{
    for (int i = 0; i < MANY; i++)
        lost[i] = hide(noscan ? gc_alloc_noscan(200) : gc_alloc(200));
}

static void test_collect_frees_the_unreachable(void **state)
{
    (void)state;
    for (int noscan = 0; noscan < 2; noscan++) {
        lose_objects(noscan);
        clear_stack();
        assert_true(gc_collect());
        assert_in_range(count_alive(), 0, STRAYS);
    }
}

static NOINLINE void lose_large_objects(void)
{
    for (int i = 0; i < MANY; i++)
        lost[i] = hide(gc_alloc(140000));
}

static void test_collect_frees_large_objects(void **state)
{
    (void)state;
    lose_large_objects();
    clear_stack();
    assert_true(gc_collect());
    assert_in_range(count_alive(), 0, STRAYS);
}

static struct node *list;           /* a root */

static NOINLINE void build_list(void)
{
    for (int i = 0; i < MANY; i++) {
        struct node *node = gc_alloc(sizeof *node);
        node->value[0] = (uint64_t)i;
        GC_WRITE(&node->next, list);
        list = node;
        lost[i] = hide(node);
    }
}

static void test_reachable_objects_stay(void **state)
{
    (void)state;
    build_list();
    for (int round = 0; round < 3; round++)
        assert_true(collect_twice());
    assert_int_equal(count_alive(), MANY);
    uint64_t expected = MANY;

    for (struct node *node = list; node != NULL; node = node->next)
        assert_int_equal(node->value[0], --expected);
    assert_int_equal(expected, 0);
    list = NULL;
    clear_stack();
    assert_true(gc_collect());
    assert_in_range(count_alive(), 0, STRAYS);
}

static NOINLINE void *hold_in_noscan(void)
{
    void **holder = gc_alloc_noscan(MANY * sizeof *holder);

    for (int i = 0; i < MANY; i++) {
        holder[i] = gc_alloc(64);
        lost[i] = hide(holder[i]);
    }
    return holder;
}

static void test_noscan_holds_nothing(void **state)
{
    (void)state;
    void *volatile holder = hold_in_noscan();

    clear_stack();
    assert_true(gc_collect());
    assert_in_range(count_alive(), 0, STRAYS);
    assert_ptr_equal(gc_base(holder), holder);
}

static NOINLINE void **hold_in_malloc(void)
{
    void **holder = malloc(MANY * sizeof *holder);

    for (int i = 0; i < MANY; i++) {
        holder[i] = (char *)gc_alloc(64) + 20;
        lost[i] = hide((char *)holder[i] - 20);
    }
    return holder;
}

/* Interior pointers in a malloc block hold; when it is freed, nothing does. */
static void test_malloc_blocks_hold(void **state)
{
    (void)state;
    void **volatile holder = hold_in_malloc();

    clear_stack();
    assert_true(gc_collect());
    assert_int_equal(count_alive(), MANY);
    memset(holder, 0, MANY * sizeof *holder);
    free(holder);
    holder = NULL;
    clear_stack();
    assert_true(gc_collect());
    assert_in_range(count_alive(), 0, STRAYS);
}

static NOINLINE void lose_malloc_blocks(void)
{
    for (int i = 0; i < MANY; i++)
        lost[i] = hide(malloc(300));
}

static bool environment_says(const char *name, const char *word)
{
    const char *value = getenv(name);

    return value != NULL && strstr(value, word) != NULL;
}

/* The two-cycle rule. */
static void test_lost_malloc_blocks(void **state)
{
    (void)state;
    assert_true(collect_twice());
    lose_malloc_blocks();
    clear_stack();
    assert_true(gc_collect());
    /* Under stress other cycles come between. */
    if (!environment_says("GCALLOC_DEBUG", "gcstress"))
        assert_int_equal(count_alive(), MANY);
    assert_true(collect_twice());
    if (environment_says("GCALLOC_MODE", "manual"))
        assert_int_equal(count_alive(), MANY);
    else
        assert_in_range(count_alive(), 0, STRAYS);
}

static void *shared_page(void)
{
    FILE *file = tmpfile();

    assert_non_null(file);
    assert_int_equal(ftruncate(fileno(file), 16384), 0);
    void *page = mmap(NULL, 16384, PROT_READ | PROT_WRITE, MAP_SHARED, fileno(file), 0);

    assert_true(page != MAP_FAILED);
    fclose(file);
    return page;
}

static NOINLINE void hold_in(void **holder)
{
    for (int i = 0; i < MANY; i++) {
        holder[i] = gc_alloc(64);
        lost[i] = hide(holder[i]);
    }
}

static void test_roots(void **state)
{
    char *page = shared_page();

    (void)state;
    errno = 0;
    assert_false(gc_add_roots(page + 8, page));
    assert_int_equal(errno, EINVAL);
    assert_true(gc_add_roots(page, page));
    assert_true(gc_add_roots(page, page + 16384));
    hold_in((void **)page);
    clear_stack();
    assert_true(gc_collect());
    assert_int_equal(count_alive(), MANY);
    gc_remove_roots(page, page + 16384);
    clear_stack();
    assert_true(gc_collect());
    assert_in_range(count_alive(), 0, STRAYS);
    munmap(page, 16384);
}

/* ---- barrier ---- */

static void test_barrier_forms(void **state)
{
    struct node *a = gc_alloc(sizeof *a), *b = gc_alloc(sizeof *b), *c = gc_alloc(sizeof *c);

    (void)state;
    GC_WRITE(&a->next, b);
    assert_ptr_equal(a->next, b);
    assert_ptr_equal(GC_SWAP(&a->next, c), b);
    assert_ptr_equal(a->next, c);
    assert_false(gc_compare_exchange(&a->next, b, a));
    assert_ptr_equal(a->next, c);
    assert_true(gc_compare_exchange(&a->next, c, NULL));
    assert_null(a->next);
    /* Arguments are evaluated once. */
    struct node *nodes = gc_alloc_array(4, sizeof *nodes), *at = nodes;

    GC_WRITE(&at++->next, b);
    assert_ptr_equal(at, nodes + 1);
    assert_ptr_equal(nodes[0].next, b);
    if (a != b)                         /* a statement, also here */
        GC_WRITE(&a->next, b);
    else
        GC_WRITE(&a->next, c);
    assert_ptr_equal(a->next, b);
}

static void test_memmove(void **state)
{
    struct node *nodes = gc_alloc_array(10, sizeof *nodes);

    (void)state;
    for (uint64_t i = 0; i < 10; i++)
        nodes[i].value[0] = i;
    assert_ptr_equal(gc_memmove(nodes + 2, nodes, 8 * sizeof *nodes), nodes + 2);
    for (uint64_t i = 2; i < 10; i++)
        assert_int_equal(nodes[i].value[0], i - 2);
    gc_memmove(nodes, nodes + 2, 8 * sizeof *nodes);
    assert_int_equal(nodes[7].value[0], 7);
}

/* ---- knobs ---- */

static void test_percent(void **state)
{
    (void)state;
    int initial = gc_set_percent(50);

    assert_int_equal(initial, 100);
    assert_int_equal(gc_set_percent(-5), 50);
    assert_int_equal(gc_set_percent(0), -1);
    assert_int_equal(gc_set_percent(initial), 0);
}

static void test_memory_limit(void **state)
{
    (void)state;
    int64_t initial = gc_set_memory_limit(-1);

    assert_true(initial == INT64_MAX);
    assert_true(gc_set_memory_limit(1 << 30) == initial);
    assert_true(gc_set_memory_limit(-100) == 1 << 30);
    assert_true(gc_set_memory_limit(initial) == 1 << 30);
}

static void test_version(void **state)
{
    char text[32];

    (void)state;
    snprintf(text, sizeof text, "%d.%d.%d", GCALLOC_VERSION_MAJOR, GCALLOC_VERSION_MINOR,
             GCALLOC_VERSION_PATCH);
    assert_string_equal(text, GCALLOC_VERSION_STRING);
    assert_string_equal(gc_version(), text);
    assert_int_equal(GCALLOC_VERSION, GCALLOC_VERSION_MAJOR * 10000 + GCALLOC_VERSION_MINOR * 100 +
                                          GCALLOC_VERSION_PATCH);
}

static void *collect_in_thread(void *unused)
{
    (void)unused;
    for (int i = 0; i < 5; i++)
        gc_collect();
    return NULL;
}

/* Collections asked for by several threads at once all come back. */
static void test_concurrent_collects(void **state)
{
    pthread_t threads[4];

    (void)state;
    build_list();
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, collect_in_thread, NULL), 0);
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    assert_int_equal(count_alive(), MANY);
    list = NULL;
}

/* Under GC_BARRIER_PAGES plain stores will do; a cycle runs beside them. */
static void *store_plainly(void *slots)
{
    void ***cells = slots;

    for (int i = 0; i < 20000; i++) {
        void **fresh = gc_alloc(32);

        fresh[0] = cells[i % 64] != NULL ? cells[i % 64][0] : NULL;
        fresh[1] = fresh;
        cells[i % 64] = fresh;
    }
    return NULL;
}

static void test_set_barrier(void **state)
{
    static void **cells[64];
    pthread_t thread;
    int before = gc_set_barrier(GC_BARRIER_PAGES);

    (void)state;
    assert_int_equal(gc_set_barrier(GC_BARRIER_PAGES), GC_BARRIER_PAGES);
    errno = 0;
    assert_int_equal(gc_set_barrier(7), -1);
    assert_int_equal(errno, EINVAL);
    assert_int_equal(pthread_create(&thread, NULL, store_plainly, cells), 0);
    for (int i = 0; i < 20; i++)
        gc_collect();
    pthread_join(thread, NULL);
    for (int i = 0; i < 64; i++)
        assert_ptr_equal(cells[i][1], cells[i]);
    assert_int_equal(gc_set_barrier(before), GC_BARRIER_PAGES);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_objects_are_zero_and_aligned),
        cmocka_unit_test(test_impossible_sizes),
        cmocka_unit_test(test_array),
        cmocka_unit_test(test_realloc_objects),
        cmocka_unit_test(test_free_objects),
        cmocka_unit_test(test_base_and_size),
        cmocka_unit_test(test_tiny_objects),
        cmocka_unit_test(test_collect_frees_the_unreachable),
        cmocka_unit_test(test_collect_frees_large_objects),
        cmocka_unit_test(test_reachable_objects_stay),
        cmocka_unit_test(test_noscan_holds_nothing),
        cmocka_unit_test(test_malloc_blocks_hold),
        cmocka_unit_test(test_lost_malloc_blocks),
        cmocka_unit_test(test_roots),
        cmocka_unit_test(test_barrier_forms),
        cmocka_unit_test(test_memmove),
        cmocka_unit_test(test_set_barrier),
        cmocka_unit_test(test_percent),
        cmocka_unit_test(test_memory_limit),
        cmocka_unit_test(test_version),
        cmocka_unit_test(test_concurrent_collects),
    };

    return cmocka_run_group_tests_name("gcalloc", tests, NULL, NULL);
}
