/* test_malloc.c -- the malloc family against C, POSIX and glibc
 *
 * PURPOSE  One test per rule of the semantics that glibc's own tests check: zero sizes, sizes
 *          beyond PTRDIFF_MAX, overflow, alignment, errno, contents.
 *          Compiled with -fno-builtin, so that every call is made.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "api_test.h"

extern void free_sized(void *block, size_t bytes);
extern void free_aligned_sized(void *block, size_t alignment, size_t bytes);

static const size_t TOO_LARGE = (size_t)PTRDIFF_MAX + 1;

static void test_is_ours(void **state)
{
    (void)state;
    void *block = malloc(10);

    assert_int_equal(gc_size(block), 16);
    free(block);
}

/* ---- zero sizes ---- */

static void test_zero_sizes_are_unique_blocks(void **state)
{
    void *blocks[11];
    size_t n = 0;

    (void)state;
    blocks[n++] = malloc(0);
    blocks[n++] = malloc(0);
    blocks[n++] = calloc(0, 8);
    blocks[n++] = calloc(8, 0);
    blocks[n++] = realloc(NULL, 0);
    blocks[n++] = reallocarray(NULL, 0, 8);
    blocks[n++] = memalign(64, 0);
    blocks[n++] = aligned_alloc(64, 0);
    blocks[n++] = valloc(0);
    blocks[n++] = pvalloc(0);
    assert_int_equal(posix_memalign(&blocks[n++], 64, 0), 0);
    for (size_t i = 0; i < n; i++) {
        assert_non_null(blocks[i]);
        for (size_t j = 0; j < i; j++)
            assert_ptr_not_equal(blocks[i], blocks[j]);
    }
    for (size_t i = 0; i < n; i++)
        free(blocks[i]);
}

static void test_realloc_to_zero_frees(void **state)
{
    static const size_t sizes[] = { 1, 100, 5000, 100000, 3 << 20 };

    (void)state;
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        void *block = malloc(sizes[i]);
        uintptr_t hidden = hide(block);
        errno = 77;
        assert_null(realloc(block, opaque(0)));
        assert_int_equal(errno, 77);
        assert_null(gc_base(unhide(hidden)));
    }
}

/* ---- impossible sizes ---- */

#define ASSERT_ENOMEM(call)                                                                   \
    do {                                                                                      \
        errno = 0;                                                                            \
        void *result_ = (call);                                                               \
        assert_null(result_);                                                                 \
        assert_int_equal(errno, ENOMEM);                                                      \
    } while (0)

static void test_too_large_is_enomem(void **state)
{
    static const size_t below_top[] = { 0, 1, 16, 4096, 65536 };
    void *old = malloc(64);

    (void)state;
    memset(old, 7, 64);
    for (size_t i = 0; i < 2 * sizeof below_top / sizeof below_top[0]; i++) {
        size_t n = i % 2 ? SIZE_MAX - below_top[i / 2] : opaque(TOO_LARGE + below_top[i / 2]);
        ASSERT_ENOMEM(malloc(n));
        ASSERT_ENOMEM(calloc(1, n));
        ASSERT_ENOMEM(calloc(n, 1));
        ASSERT_ENOMEM(realloc(NULL, n));
        ASSERT_ENOMEM(realloc(old, n));
        ASSERT_ENOMEM(reallocarray(old, 1, n));
        ASSERT_ENOMEM(reallocarray(NULL, n, 1));
        ASSERT_ENOMEM(memalign(64, n));
        ASSERT_ENOMEM(memalign(8, n));
        ASSERT_ENOMEM(aligned_alloc(64, n));
        ASSERT_ENOMEM(aligned_alloc(1, n));
        ASSERT_ENOMEM(valloc(n));
        ASSERT_ENOMEM(pvalloc(n));
        void *untouched = &untouched;
        assert_int_equal(posix_memalign(&untouched, 64, n), ENOMEM);
        assert_ptr_equal(untouched, &untouched);
    }
    assert_true(all_bytes(old, 64, 7));
    free(old);
}

/* Below PTRDIFF_MAX, but no machine has it; the address of the alignment overflows. */
static void test_no_room_is_enomem(void **state)
{
    (void)state;
    ASSERT_ENOMEM(malloc(opaque(PTRDIFF_MAX)));
    ASSERT_ENOMEM(malloc(opaque((size_t)1 << 60)));
    ASSERT_ENOMEM(calloc(opaque((size_t)1 << 30), (size_t)1 << 30));
    ASSERT_ENOMEM(memalign(opaque((size_t)1 << 62), 1));
    ASSERT_ENOMEM(memalign(opaque((size_t)1 << 63), 1));
    ASSERT_ENOMEM(aligned_alloc(opaque((size_t)1 << 63), 1));
    ASSERT_ENOMEM(valloc(opaque(PTRDIFF_MAX)));
    ASSERT_ENOMEM(pvalloc(opaque(PTRDIFF_MAX)));
    void *block = malloc(100);

    assert_usable(block, 100);
    free(block);
}

static void test_products_overflow(void **state)
{
    static const struct { size_t count, size; } cases[] = {
        { SIZE_MAX, 2 }, { 2, SIZE_MAX }, { SIZE_MAX, SIZE_MAX },
        { (size_t)1 << 32, (size_t)1 << 32 }, { SIZE_MAX / 16 + 1, 16 }, { SIZE_MAX / 2, 3 },
    };
    void *old = malloc(64);

    (void)state;
    memset(old, 7, 64);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        ASSERT_ENOMEM(calloc(opaque(cases[i].count), cases[i].size));
        ASSERT_ENOMEM(reallocarray(old, opaque(cases[i].count), cases[i].size));
        ASSERT_ENOMEM(reallocarray(NULL, opaque(cases[i].count), cases[i].size));
    }
    assert_true(all_bytes(old, 64, 7));
    free(old);
}

/* ---- alignment ---- */

static void test_every_size_is_aligned_to_16(void **state)
{
    (void)state;
    for (size_t bytes = 0; bytes < 70000; bytes += bytes < 2000 ? 1 : 97) {
        void *a = malloc(bytes), *b = calloc(1, bytes), *c = realloc(NULL, bytes);
        assert_true(aligned_to(a, 16) && aligned_to(b, 16) && aligned_to(c, 16));
        assert_true(malloc_usable_size(a) >= bytes);
        free(a);
        free(b);
        free(c);
    }
}

static void test_aligned_alloc(void **state)
{
    static const size_t bad[] = { 0, 3, 5, 24, 48, 1000, SIZE_MAX };

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        errno = 0;
        assert_null(aligned_alloc(opaque(bad[i]), 64));
        assert_int_equal(errno, EINVAL);
    }
    for (size_t alignment = 1; alignment <= 4 << 20; alignment *= 2) {
        for (size_t bytes = 1; bytes < 100000; bytes = bytes * 5 + 3) {
            void *block = aligned_alloc(alignment, bytes);
            assert_true(aligned_to(block, alignment));
            assert_usable(block, bytes);
            free(block);
        }
    }
}

static void test_memalign_rounds_up(void **state)
{
    static const struct { size_t asked, given; } cases[] = {
        { 0, 16 }, { 1, 16 }, { 3, 16 }, { 17, 32 }, { 24, 32 }, { 33, 64 }, { 100, 128 },
        { 4095, 4096 }, { 4097, 8192 }, { 100000, 131072 },
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        for (size_t bytes = 1; bytes < 100000; bytes = bytes * 7 + 1) {
            void *block = memalign(opaque(cases[i].asked), bytes);
            assert_true(aligned_to(block, cases[i].given));
            assert_usable(block, bytes);
            free(block);
        }
    }
    errno = 0;
    assert_null(memalign(opaque(SIZE_MAX / 2 + 2), 1));
    assert_int_equal(errno, EINVAL);
}

static void test_posix_memalign(void **state)
{
    static const size_t bad[] = { 0, 1, 2, 4, 7, 12, 24, 100, SIZE_MAX };
    void *untouched = &untouched;

    (void)state;
    errno = 77;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(posix_memalign(&untouched, opaque(bad[i]), 64), EINVAL);
    assert_int_equal(posix_memalign(&untouched, 16, opaque(SIZE_MAX)), ENOMEM);
    assert_int_equal(posix_memalign(&untouched, 16, opaque((size_t)1 << 60)), ENOMEM);
    assert_ptr_equal(untouched, &untouched);
    for (size_t alignment = sizeof(void *); alignment <= 1 << 20; alignment *= 2) {
        void *block = NULL;
        assert_int_equal(posix_memalign(&block, alignment, 100), 0);
        assert_true(aligned_to(block, alignment));
        assert_usable(block, 100);
        free(block);
    }
    assert_int_equal(errno, 77);
}

static void test_valloc_and_pvalloc(void **state)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);

    (void)state;
    for (size_t bytes = 1; bytes < 200000; bytes = bytes * 3 + 1) {
        void *a = valloc(bytes), *b = pvalloc(bytes);
        assert_true(aligned_to(a, page) && aligned_to(b, page));
        assert_usable(a, bytes);
        assert_usable(b, (bytes + page - 1) / page * page);
        free(a);
        free(b);
    }
}

/* realloc of an aligned block is a block like any other. */
static void test_aligned_blocks_realloc(void **state)
{
    (void)state;
    for (size_t alignment = 32; alignment <= 1 << 18; alignment *= 4) {
        unsigned char *block = memalign(alignment, 1000);
        memset(block, 3, 1000);
        block = realloc(block, 50000);
        assert_non_null(block);
        assert_true(all_bytes(block, 1000, 3));
        free(block);
    }
}

/* ---- errno ---- */

static void test_free_preserves_errno(void **state)
{
    static const size_t sizes[] = { 0, 16, 1000, 32768, 32769, 131072, 131073, 1 << 20, 64 << 20 };

    (void)state;
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        void *block = malloc(sizes[i]);
        assert_non_null(block);
        errno = 77;
        free(block);
        assert_int_equal(errno, 77);
    }
    errno = 77;
    free(NULL);
    free_sized(NULL, 10);
    free_aligned_sized(NULL, 16, 10);
    assert_int_equal(errno, 77);
    /* Many, so that caches are flushed and spans given back. */
    enum { COUNT = 20000 };
    void **blocks = malloc(COUNT * sizeof *blocks);

    for (int i = 0; i < COUNT; i++)
        blocks[i] = malloc(100);
    errno = 77;
    for (int i = 0; i < COUNT; i++)
        free(blocks[i]);
    free(blocks);
    assert_int_equal(errno, 77);
}

static void test_sized_frees(void **state)
{
    (void)state;
    void *a = malloc(100), *b = aligned_alloc(256, 100);
    uintptr_t hidden[2] = { hide(a), hide(b) };

    free_sized(a, 100);
    free_aligned_sized(b, 256, 100);
    assert_null(gc_base(unhide(hidden[0])));
    assert_null(gc_base(unhide(hidden[1])));
}

/* ---- contents ---- */

static void test_calloc_is_zero_in_used_memory(void **state)
{
    (void)state;
    for (size_t bytes = 1; bytes < 3 << 20; bytes = bytes * 2 + 5) {
        void *dirty[4];
        for (int i = 0; i < 4; i++) {
            dirty[i] = malloc(bytes);
            memset(dirty[i], 0xff, malloc_usable_size(dirty[i]));
        }
        for (int i = 0; i < 4; i++)
            free(dirty[i]);
        for (int i = 0; i < 4; i++) {
            dirty[i] = calloc(1, bytes);
            assert_true(all_bytes(dirty[i], bytes, 0));
        }
        for (int i = 0; i < 4; i++)
            free(dirty[i]);
    }
}

static unsigned char pattern(size_t i)
{
    return (unsigned char)(i * 131 + (i >> 8));
}

static void assert_pattern(const unsigned char *block, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        if (block[i] != pattern(i))
            fail_msg("byte %zu of %zu was lost", i, bytes);
}

/* Up through all classes, in large objects, and down again. */
static void test_realloc_keeps_contents(void **state)
{
    unsigned char *block = NULL;
    size_t bytes = 0;

    (void)state;
    for (size_t next = 1; next < 9 << 20; next = next * 5 / 4 + 1) {
        block = realloc(block, next);
        assert_non_null(block);
        assert_true(malloc_usable_size(block) >= next);
        assert_pattern(block, bytes);
        for (size_t i = bytes; i < next; i++)
            block[i] = pattern(i);
        bytes = next;
    }
    while (bytes > 1) {
        bytes = bytes * 2 / 3;
        block = realloc(block, bytes);
        assert_non_null(block);
        assert_pattern(block, bytes);
    }
    free(block);
}

/* A block between two large ones cannot grow in place, and moves. */
static void test_realloc_moves_large(void **state)
{
    (void)state;
    for (int round = 0; round < 20; round++) {
        unsigned char *before = malloc(2 << 20), *block = malloc(2 << 20);
        unsigned char *after = malloc(2 << 20);
        for (size_t i = 0; i < 2 << 20; i++)
            block[i] = pattern(i);
        block = realloc(block, (size_t)(5 + round) << 20);
        assert_non_null(block);
        assert_pattern(block, 2 << 20);
        free(before);
        free(after);
        free(block);
    }
}

static void test_reallocarray(void **state)
{
    (void)state;
    uint64_t *array = reallocarray(NULL, 10, sizeof *array);

    array[9] = 9;
    array = reallocarray(array, 10000, sizeof *array);
    assert_int_equal(array[9], 9);
    assert_true(malloc_usable_size(array) >= 10000 * sizeof *array);
    free(array);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_is_ours),
        cmocka_unit_test(test_zero_sizes_are_unique_blocks),
        cmocka_unit_test(test_realloc_to_zero_frees),
        cmocka_unit_test(test_too_large_is_enomem),
        cmocka_unit_test(test_no_room_is_enomem),
        cmocka_unit_test(test_products_overflow),
        cmocka_unit_test(test_every_size_is_aligned_to_16),
        cmocka_unit_test(test_aligned_alloc),
        cmocka_unit_test(test_memalign_rounds_up),
        cmocka_unit_test(test_posix_memalign),
        cmocka_unit_test(test_valloc_and_pvalloc),
        cmocka_unit_test(test_aligned_blocks_realloc),
        cmocka_unit_test(test_free_preserves_errno),
        cmocka_unit_test(test_sized_frees),
        cmocka_unit_test(test_calloc_is_zero_in_used_memory),
        cmocka_unit_test(test_realloc_keeps_contents),
        cmocka_unit_test(test_realloc_moves_large),
        cmocka_unit_test(test_reallocarray),
    };

    return cmocka_run_group_tests_name("malloc", tests, NULL, NULL);
}
