/* test_heap.c -- the malloc family as a whole
 *
 * PURPOSE  The questions about the heap (mallinfo, malloc_info, trim), the names under which it is
 *          found, threads, no memory, and the time before and after main.  Compiled with
 *          -fno-builtin, so that every call is made.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "api_test.h"

/* What a program asks for that was linked against glibc. */
extern void *glibc_malloc(size_t bytes);
__asm__(".symver glibc_malloc, malloc@GLIBC_2.2.5");

/* ---- questions ---- */

static void test_usable_size(void **state)
{
    (void)state;
    assert_int_equal(malloc_usable_size(NULL), 0);
    for (size_t bytes = 1; bytes < 10 << 20; bytes = bytes * 3 + 7) {
        void *block = malloc(bytes);
        assert_usable(block, bytes);
        /* At most an eighth is wasted from 128 bytes on, or the rest of a page. */
        if (bytes >= 128)
            assert_true(malloc_usable_size(block) <= bytes + bytes / 8 + 8192);
        free(block);
    }
}

static void test_mallopt(void **state)
{
    static const int known[] = { M_MXFAST, M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD,
                                 M_MMAP_MAX, M_CHECK_ACTION, M_PERTURB, M_ARENA_TEST, M_ARENA_MAX };

    (void)state;
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        assert_int_equal(mallopt(known[i], 1), 1);
    assert_int_equal(mallopt(12345, 1), 0);
    assert_int_equal(mallopt(-9, 1), 0);
}

static void test_trim(void **state)
{
    (void)state;
    bool trimmed = false;

    /* More than once: when this thread gets no processor for half a second, it has been done. */
    for (int i = 0; i < 10 && !trimmed; i++) {
        malloc_trim(0);
        void *block = malloc(32 << 20);

        memset(block, 1, 32 << 20);
        free(block);
        trimmed = malloc_trim(0);
    }
    assert_true(trimmed);
    assert_int_equal(malloc_trim(0), 0);
}

static size_t resident_bytes(void)
{
    char text[100] = "";
    unsigned long total = 0, resident = 0;
    int fd = open("/proc/self/statm", O_RDONLY);

    assert_true(read(fd, text, sizeof text - 1) > 0);
    close(fd);
    assert_int_equal(sscanf(text, "%lu %lu", &total, &resident), 2);
    return resident * 4096;
}

/* One block in 32 stays, and with it its page, not its span. */
static void test_trim_between_live_blocks(void **state)
{
    enum { BLOCKS = 32 << 10, BYTES = 1000, STAY = 32 };
    static char *blocks[BLOCKS];

    (void)state;
    for (int i = 0; i < BLOCKS; i++)
        blocks[i] = memset(malloc(BYTES), i % 100 + 1, BYTES);
    size_t full = resident_bytes();

    for (int i = 0; i < BLOCKS; i++)
        if (i % STAY != 0)
            free(blocks[i]);
    malloc_trim(0);
    assert_true(resident_bytes() + BLOCKS / 2 * BYTES < full);
    for (int i = 0; i < BLOCKS; i++)
        if (i % STAY != 0)
            blocks[i] = memset(malloc(BYTES), i % 100 + 1, BYTES);
    for (int i = 0; i < BLOCKS; i++) {
        for (int at = 0; at < BYTES; at++)
            assert_int_equal(blocks[i][at], i % 100 + 1);
        free(blocks[i]);
    }
}

static int tasks(void)
{
    struct stat status;

    assert_int_equal(stat("/proc/self/task", &status), 0);
    return (int)status.st_nlink - 2;
}

static bool environment_has(const char *name, const char *value)
{
    const char *found = getenv(name);

    return found != NULL && strcmp(found, value) == 0;
}

/* A program that frees nearly all and goes to sleep: nothing is allocated until the memory is gone. */
static void test_idle_memory_goes_back(void **state)
{
    enum { BLOCKS = 4000, BYTES = 4000 };
    static void *blocks[BLOCKS];
    bool alone = environment_has("GCALLOC_DEBUG", "noworkers=1");
    int before = tasks();

    (void)state;
    for (int i = 0; i < BLOCKS; i++)
        blocks[i] = memset(malloc(BYTES), 1, BYTES);
    size_t full = resident_bytes();

    for (int i = 0; i < BLOCKS; i++) {
        free(blocks[i]);
        blocks[i] = NULL;
    }
    /* Waits for ever, that is until the limit of the runner. */
    while (resident_bytes() > full - (size_t)BLOCKS * BYTES / 10 * 9) {
        usleep(20000);
        if (alone)              /* then it is left to slow paths */
            free(malloc(256 << 10));
    }
    while (environment_has("GCALLOC_MODE", "manual") && tasks() > before)
        usleep(20000);
}

static void test_mallinfo(void **state)
{
    (void)state;
    struct mallinfo2 before = mallinfo2();
    void *large = malloc(4 << 20);
    void **small = malloc(10000 * sizeof *small);

    for (int i = 0; i < 10000; i++)
        small[i] = malloc(100);
    struct mallinfo2 after = mallinfo2();

    assert_true(after.hblks > before.hblks);
    assert_true(after.hblkhd >= before.hblkhd + (4 << 20));
    assert_true(after.uordblks >= before.uordblks + 10000 * 100 - 100 * 100);
    assert_int_equal(after.arena, after.uordblks + after.fordblks);
    assert_true(after.fsmblks <= after.fordblks);
    assert_true(after.keepcost <= after.fordblks);
    struct mallinfo narrow = mallinfo();

    assert_int_equal((unsigned)narrow.hblks, (unsigned)after.hblks);
    assert_int_equal(narrow.uordblks, (int)after.uordblks);
    for (int i = 0; i < 10000; i++)
        free(small[i]);
    free(small);
    free(large);
}

static char *read_malloc_info(void)
{
    char *text = NULL;
    size_t length = 0;
    FILE *stream = open_memstream(&text, &length);

    assert_int_equal(malloc_info(0, stream), 0);
    fclose(stream);
    return text;
}

static void test_malloc_info(void **state)
{
    (void)state;
    errno = 77;
    assert_int_equal(malloc_info(1, stdout), EINVAL);
    assert_int_equal(errno, 77);
    char *text = read_malloc_info();

    assert_ptr_equal(strstr(text, "<malloc version=\"1\">"), text);
    assert_non_null(strstr(text, "<heap nr=\"0\">\n<sizes>\n"));
    assert_non_null(strstr(text, "<total type=\"rest\" count="));
    assert_non_null(strstr(text, "<system type=\"current\" size="));
    assert_string_equal(text + strlen(text) - strlen("</malloc>\n"), "</malloc>\n");
    free(text);
}

static void test_malloc_stats_goes_to_stderr(void **state)
{
    int ends[2], saved = dup(2);
    char text[1024];

    (void)state;
    assert_int_equal(pipe(ends), 0);
    dup2(ends[1], 2);
    malloc_stats();
    dup2(saved, 2);
    close(ends[1]);
    ssize_t length = read(ends[0], text, sizeof text - 1);

    close(ends[0]);
    close(saved);
    assert_true(length > 0);
    text[length] = 0;
    assert_non_null(strstr(text, "in use bytes     = "));
}

/* ---- names ---- */

static void test_internal_names_are_ours(void **state)
{
    static const char *const names[] = { "malloc", "calloc", "realloc", "free", "cfree", "memalign",
        "aligned_alloc", "posix_memalign", "valloc", "pvalloc", "reallocarray",
        "malloc_usable_size", "malloc_trim", "mallopt", "mallinfo", "mallinfo2", "malloc_stats",
        "malloc_info", "free_sized", "free_aligned_sized", "__libc_malloc", "__libc_calloc",
        "__libc_realloc", "__libc_reallocarray", "__libc_free", "__libc_cfree", "__libc_memalign",
        "__libc_valloc", "__libc_pvalloc", "__libc_mallinfo", "__libc_mallopt",
        "__posix_memalign" };
    Dl_info home, info;

    (void)state;
    assert_int_not_equal(dladdr(dlsym(RTLD_DEFAULT, "gc_alloc"), &home), 0);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        void *symbol = dlsym(RTLD_DEFAULT, names[i]);
        if (symbol == NULL || dladdr(symbol, &info) == 0 || info.dli_fbase != home.dli_fbase)
            fail_msg("%s is not ours", names[i]);
    }
    /* A reference with glibc's version finds the unversioned definition. */
    assert_ptr_equal((void *)glibc_malloc, dlsym(RTLD_DEFAULT, "malloc"));
    assert_non_null(dlvsym(RTLD_DEFAULT, "gc_alloc", "GCALLOC_1.0"));
}

static void test_internal_names_work(void **state)
{
    void *(*libc_malloc)(size_t) = dlsym(RTLD_DEFAULT, "__libc_malloc");
    void *(*libc_calloc)(size_t, size_t) = dlsym(RTLD_DEFAULT, "__libc_calloc");
    void *(*libc_realloc)(void *, size_t) = dlsym(RTLD_DEFAULT, "__libc_realloc");
    void *(*libc_memalign)(size_t, size_t) = dlsym(RTLD_DEFAULT, "__libc_memalign");
    int (*other_posix)(void **, size_t, size_t) = dlsym(RTLD_DEFAULT, "__posix_memalign");
    void (*old_cfree)(void *) = dlsym(RTLD_DEFAULT, "cfree");
    void (*libc_free)(void *) = dlsym(RTLD_DEFAULT, "__libc_free");
    void *block = libc_malloc(100);

    (void)state;
    assert_int_equal(malloc_usable_size(block), 112);
    block = libc_realloc(block, 1000);
    assert_usable(block, 1000);
    libc_free(block);
    block = libc_calloc(10, 10);
    assert_true(all_bytes(block, 100, 0));
    old_cfree(block);
    block = libc_memalign(4096, 10);
    assert_true(aligned_to(block, 4096));
    free(block);
    assert_int_equal(other_posix(&block, 128, 10), 0);
    assert_true(aligned_to(block, 128));
    free(block);
}

/* ---- threads ---- */

static void *allocate_many(void *unused)
{
    void **blocks = malloc(1000 * sizeof *blocks);

    (void)unused;
    for (size_t i = 0; i < 1000; i++) {
        blocks[i] = malloc(i * 7 % 3000);
        memset(blocks[i], (int)i, i * 7 % 3000);
    }
    return blocks;
}

static void *free_many(void *argument)
{
    void **blocks = argument;

    for (size_t i = 0; i < 1000; i++) {
        assert_true(all_bytes(blocks[i], i * 7 % 3000, (unsigned char)i));
        free(blocks[i]);
    }
    free(blocks);
    return NULL;
}

static void test_another_thread_frees(void **state)
{
    (void)state;
    for (int round = 0; round < 20; round++) {
        pthread_t thread;
        void *blocks;
        assert_int_equal(pthread_create(&thread, NULL, allocate_many, NULL), 0);
        assert_int_equal(pthread_join(thread, &blocks), 0);
        assert_int_equal(pthread_create(&thread, NULL, free_many, blocks), 0);
        assert_int_equal(pthread_join(thread, NULL), 0);
    }
}

enum { ROUNDS = 4 };                 /* PTHREAD_DESTRUCTOR_ITERATIONS of glibc */
static pthread_key_t late_key;
static int late_rounds;             /* of the thread under test; read after the join */

/* Runs when the library's own thread state may be gone already; asks for another round. */
static void late_destructor(void *value)
{
    void *fresh = malloc(500);

    memset(fresh, 1, 500);
    free(fresh);
    free(value);
    if (++late_rounds < ROUNDS)
        pthread_setspecific(late_key, malloc(100));
}

static void *use_late_key(void *unused)
{
    (void)unused;
    pthread_setspecific(late_key, malloc(100));
    return NULL;
}

static void test_malloc_in_thread_destructors(void **state)
{
    pthread_t thread;

    (void)state;
    assert_int_equal(pthread_key_create(&late_key, late_destructor), 0);
    late_rounds = 0;
    assert_int_equal(pthread_create(&thread, NULL, use_late_key, NULL), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(late_rounds, ROUNDS);
    pthread_key_delete(late_key);
}

/* ---- no memory ---- */

static size_t data_bytes(void)
{
    char line[200];
    size_t kib = 0;
    FILE *status = fopen("/proc/self/status", "r");

    while (status != NULL && fgets(line, sizeof line, status) != NULL)
        if (sscanf(line, "VmData: %zu", &kib) == 1)
            break;
    if (status != NULL)
        fclose(status);
    return kib << 10;
}

struct link {
    struct link *next;
};

/* Takes all there is, `room` or nearly so, and gives it back; 0, or the line that was wrong. */
static int exhaust(size_t bytes, size_t room)
{
    struct link *head = NULL, *block;
    size_t count = 0;

    errno = 0;
    while ((block = malloc(bytes)) != NULL) {
        block->next = head;
        head = block;
        if (++count * bytes > 1 << 30)
            return __LINE__;
    }
    if (errno != ENOMEM || count * bytes < room / 4)
        return __LINE__;
    errno = 0;
    if (realloc(head, 256 << 20) != NULL || errno != ENOMEM || head == NULL)
        return __LINE__;
    errno = 0;
    if (calloc(1, 256 << 20) != NULL || errno != ENOMEM)
        return __LINE__;
    for (size_t i = 0; i < count; i++, head = block) {
        block = head->next;
        free(head);
    }
    if (head != NULL)
        return __LINE__;
    for (size_t i = 0; i < count / 2; i++) {
        block = malloc(bytes);
        if (block == NULL)
            return __LINE__;
        block->next = head;
        head = block;
    }
    return 0;
}

/* In a child, under a limit on writable memory; lines are told in the exit status. */
static void test_out_of_memory(void **state)
{
    static const size_t sizes[] = { 48, 5000, 100000, 1 << 20 };
    /* A list is marked by one processor, a cycle for each 256 KiB of it. */
    size_t room = environment_has("GCALLOC_DEBUG", "gcstress=256") ? 16 << 20 : 64 << 20;

    (void)state;
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        int status;
        pid_t child = fork();
        if (child == 0) {
            size_t limit = data_bytes() + room;
            setrlimit(RLIMIT_DATA, &(struct rlimit){ limit, limit });
            int line = exhaust(sizes[i], room);
            if (line != 0)
                dprintf(2, "%zu-byte blocks: line %d\n", sizes[i], line);
            _exit(line != 0);
        }
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_int_equal(status, 0);
    }
}

/* ---- before main and after it ---- */

static void *early_block;

__attribute__((constructor)) static void allocate_early(void)
{
    early_block = malloc(1234);
    memset(early_block, 0x11, 1234);
}

__attribute__((destructor)) static void free_late(void)
{
    free(early_block);
    free(malloc(100));
}

static void test_block_from_before_main(void **state)
{
    (void)state;
    assert_true(all_bytes(early_block, 1234, 0x11));
    assert_ptr_equal(gc_base(early_block), early_block);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_usable_size),
        cmocka_unit_test(test_mallopt),
        cmocka_unit_test(test_trim),
        cmocka_unit_test(test_trim_between_live_blocks),
        cmocka_unit_test(test_idle_memory_goes_back),
        cmocka_unit_test(test_mallinfo),
        cmocka_unit_test(test_malloc_info),
        cmocka_unit_test(test_malloc_stats_goes_to_stderr),
        cmocka_unit_test(test_internal_names_are_ours),
        cmocka_unit_test(test_internal_names_work),
        cmocka_unit_test(test_another_thread_frees),
        cmocka_unit_test(test_malloc_in_thread_destructors),
        cmocka_unit_test(test_out_of_memory),
        cmocka_unit_test(test_block_from_before_main),
    };

    return cmocka_run_group_tests_name("heap", tests, NULL, NULL);
}
