/* memory.c -- a program that protects, maps over, unmaps and moves memory while cycles run
 *
 * usage: memory [seconds]       each of the parts takes that long, 1 by default
 *
 * A thread collects without a pause while the program, by libc's functions and by syscall(),
 *   guards     makes guard pages in its blocks: cycles go on, what leaks is reclaimed, the guards stay;
 *   sealed     hides pages that hold the only pointers to objects: the objects stay;
 *   replaced   puts other mappings over parts of blocks (private, shared, a file that is too short,
 *              nothing at all) or takes them away, and frees the block afterwards: nobody dies, then or
 *              when the memory is handed out again;
 *   leaked     does the same, or makes blocks read-only, and forgets them: their memory is not handed out;
 *   resized    gives such blocks to realloc;
 *   moved      moves, grows and shrinks what it mapped in pieces, with the only pointers to objects in
 *              them, as one: mremap works as if nobody tracked it.
 * Last it keeps a block from a child (MADV_DONTFORK), which collects.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "gcalloc.h"

enum { PAGE = 4096, ALARM_S = 200 };

#define REQUIRE(condition)                                                          \
    do {                                                                            \
        if (!(condition)) {                                                         \
            printf("FAIL line %d: %s (%s)\n", __LINE__, #condition, strerror(errno)); \
            fflush(stdout);                                                         \
            _exit(1);                                                               \
        }                                                                           \
    } while (0)

static int stopping;            /* atomic */
static long cycles, abandoned;  /* atomic */
static double part_seconds = 1;
static bool raw;                /* by syscall() */

static double seconds(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void *collect(void *unused)
{
    while (!__atomic_load_n(&stopping, __ATOMIC_SEQ_CST))
        __atomic_fetch_add(gc_collect() ? &cycles : &abandoned, 1, __ATOMIC_SEQ_CST);
    return unused;
}

/* --------------------------------------------------------------------- the calls */

static void *call(long nr, void *a, size_t b, long c, long d, void *e)
{
    return (void *)syscall(nr, a, b, c, d, e, 0L);
}

static int protect(void *address, size_t bytes, int protection)
{
    return raw ? (int)syscall(SYS_mprotect, address, bytes, protection)
               : mprotect(address, bytes, protection);
}

static void *map_at(void *address, size_t bytes, int protection, int flags, int fd)
{
    return raw ? (void *)syscall(SYS_mmap, address, bytes, protection, flags, fd, 0L)
               : mmap(address, bytes, protection, flags, fd, 0);
}

static int unmap(void *address, size_t bytes)
{
    return raw ? (int)syscall(SYS_munmap, address, bytes) : munmap(address, bytes);
}

static void *remap(void *old, size_t old_bytes, size_t bytes, int flags, void *target)
{
    return raw ? call(SYS_mremap, old, old_bytes, (long)bytes, flags, target)
               : mremap(old, old_bytes, bytes, flags, target);
}

/* --------------------------------------------------------------------- blocks and objects */

static const size_t sizes[] = { PAGE, 2 * PAGE, 4 * PAGE, 16 * PAGE, 40 * PAGE, 300 * PAGE };
enum { SIZES = sizeof sizes / sizeof sizes[0] };

static char *block_new(size_t bytes)
{
    void *block;

    REQUIRE(posix_memalign(&block, PAGE, bytes) == 0);
    memset(block, 0x11, bytes);
    return block;
}

enum { WORDS = 32 };

static uint64_t *object_new(uint64_t number)
{
    uint64_t *object = gc_alloc_noscan(WORDS * sizeof *object);

    for (int i = 0; i < WORDS; i++)
        object[i] = number * 0x9e3779b97f4a7c15u + (uint64_t)i;
    return object;
}

static void object_check(const uint64_t *object, uint64_t number)
{
    for (int i = 0; i < WORDS; i++)
        REQUIRE(object[i] == number * 0x9e3779b97f4a7c15u + (uint64_t)i);
}

/* What freed objects turn into. */
static void litter(void)
{
    for (int i = 0; i < 100; i++)
        memset(gc_alloc_noscan(WORDS * sizeof(uint64_t)), 0x55, WORDS * sizeof(uint64_t));
}

/* A pointer at each page's begin. */
static __attribute__((noinline)) void fill_with_objects(char *low, size_t bytes, uint64_t first)
{
    for (size_t at = 0; at < bytes; at += PAGE)
        *(uint64_t **)(void *)(low + at) = object_new(first + at / PAGE);
}

static __attribute__((noinline)) void check_objects(const char *low, size_t bytes, uint64_t first)
{
    for (size_t at = 0; at < bytes; at += PAGE)
        object_check(*(uint64_t *const *)(const void *)(low + at), first + at / PAGE);
}

/* Everything that is free is handed out and written to. */
static void use_memory(void)
{
    enum { BLOCKS = 64 };
    char *blocks[SIZES][BLOCKS];

    for (int s = 0; s < SIZES; s++)
        for (int i = 0; i < BLOCKS; i++)
            blocks[s][i] = block_new(sizes[s]);
    for (int s = 0; s < SIZES; s++)
        for (int i = 0; i < BLOCKS; i++)
            free(blocks[s][i]);
}

static sigjmp_buf fault_target;

static void on_fault(int number)
{
    (void)number;
    siglongjmp(fault_target, 1);
}

static bool can_read(const char *address)
{
    if (sigsetjmp(fault_target, 1) != 0)
        return false;
    (void)*(volatile const char *)address;
    return true;
}

/* --------------------------------------------------------------------- guards, sealed */

static void leak(void)
{
    for (int i = 0; i < 20; i++)
        memset(malloc(10000), 1, 10000);
}

/* A cycle may be given up when a thread does not come by a processor, or waits in the kernel for one that
 * does not. */
static void collect_thrice(void)
{
    int done = 0;

    for (int i = 0; i < 30 && done < 3; i++)
        done += gc_collect();
    REQUIRE(done == 3);
}

static void guards(void)
{
    enum { STACKS = 50 };
    char *stacks[STACKS] = { NULL };
    long done = __atomic_load_n(&cycles, __ATOMIC_SEQ_CST);
    long failed = __atomic_load_n(&abandoned, __ATOMIC_SEQ_CST);
    struct gc_memstats stats;

    for (double end = seconds() + part_seconds; seconds() < end;) {
        for (int i = 0; i < STACKS; i++) {
            if (stacks[i] != NULL) {
                REQUIRE(!can_read(stacks[i]));
                check_objects(stacks[i] + PAGE, PAGE, (uint64_t)i);
                free(stacks[i]);        /* half of them with the guard still there */
            }
            stacks[i] = block_new(sizes[2 + i % 4]);
            fill_with_objects(stacks[i] + PAGE, PAGE, (uint64_t)i);
            REQUIRE(protect(stacks[i], PAGE, PROT_NONE) == 0);
            if (i % 2 == 0) {
                REQUIRE(protect(stacks[i], PAGE, PROT_READ | PROT_WRITE) == 0);
                REQUIRE(can_read(stacks[i]));
                REQUIRE(protect(stacks[i], PAGE, PROT_NONE) == 0);
            }
            leak();
            litter();
        }
    }
    collect_thrice();
    gc_read_memstats(&stats);
    REQUIRE(stats.heap_alloc < 64 << 20);
    done = __atomic_load_n(&cycles, __ATOMIC_SEQ_CST) - done;
    failed = __atomic_load_n(&abandoned, __ATOMIC_SEQ_CST) - failed;
    REQUIRE(failed * 10 <= done);       /* a guard would end each of them */
    for (int i = 0; i < STACKS; i++)
        free(stacks[i]);
    use_memory();
}

static void sealed(void)
{
    for (double end = seconds() + part_seconds; seconds() < end;) {
        for (int s = 2; s < SIZES; s++) {
            char *block = block_new(sizes[s]);

            fill_with_objects(block, sizes[s], 77);
            REQUIRE(protect(block + PAGE, sizes[s] - PAGE, PROT_NONE) == 0);
            gc_collect();
            litter();
            REQUIRE(protect(block + PAGE, sizes[s] - PAGE, PROT_READ) == 0);
            gc_collect();
            litter();
            check_objects(block, sizes[s], 77);
            REQUIRE(protect(block + PAGE, sizes[s] - PAGE, PROT_READ | PROT_WRITE) == 0);
            gc_collect();
            litter();
            check_objects(block, sizes[s], 77);
            free(block);
        }
    }
}

/* --------------------------------------------------------------------- replaced, leaked, resized */

static int file;                /* a page long */

/* Way number `way` to take [low, low + bytes) into one's own hands. */
enum { WAYS = 9 };
static void replace(char *low, size_t bytes, int way)
{
    const int anonymous = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED;
    void *moved;

    switch (way) {
    case 0: REQUIRE(unmap(low, bytes) == 0); break;
    case 1: REQUIRE(map_at(low, bytes, PROT_NONE, anonymous, -1) == low); break;
    case 2: REQUIRE(map_at(low, bytes, PROT_READ, anonymous, -1) == low); break;
    case 3: REQUIRE(map_at(low, bytes, PROT_READ | PROT_WRITE, anonymous, -1) == low); break;
    case 4: REQUIRE(map_at(low, bytes, PROT_READ, MAP_PRIVATE | MAP_FIXED, file) == low); break;
    case 5: REQUIRE(map_at(low, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, file) == low); break;
    case 6:
        REQUIRE(map_at(low, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED,
                       -1) == low);
        break;
    case 7: REQUIRE(protect(low, bytes, PROT_READ | PROT_EXEC) == 0); break;
    case 8:
        moved = remap(low, bytes, bytes, MREMAP_MAYMOVE | MREMAP_FIXED,
                      mmap(NULL, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
        REQUIRE(moved != MAP_FAILED && *(char *)moved == 0x11 && munmap(moved, bytes) == 0);
        break;
    }
}

static void replaced(void)
{
    unsigned turn = 0;

    for (double end = seconds() + part_seconds; seconds() < end;) {
        for (int s = 0; s < SIZES; s++) {
            for (int way = 0; way < WAYS; way++, turn++) {
                char *block = block_new(sizes[s]), *keeper = block_new(sizes[s]);
                size_t from = turn % 3 == 0 ? 0 : sizes[s] / PAGE / 2 * PAGE;
                size_t bytes = turn % 2 == 0 ? sizes[s] - from : PAGE;

                *(char **)(void *)keeper = block;
                replace(block + from, bytes, way);
                if (turn % 4 == 0)
                    gc_collect();
                memset(keeper + 8, 0x22, sizes[s] - 8);
                free(*(char **)(void *)keeper);
                free(keeper);
            }
        }
        use_memory();
    }
    char text[8];

    REQUIRE(pread(file, text, 8, 0) == 8 && memcmp(text, "file....", 8) == 0);
}

static __attribute__((noinline)) void forget(char *hidden[][WAYS])
{
    for (int s = 0; s < SIZES; s++) {
        for (int way = 0; way < WAYS; way++) {
            char *block = block_new(sizes[s]);

            replace(block, PAGE, way);
            hidden[s][way] = way == 3 ? NULL : (char *)~(uintptr_t)block;
        }
    }
}

static void leaked(void)
{
    static char *hidden[SIZES][WAYS];

    forget(hidden);
    for (int i = 0; i < 4; i++)
        gc_collect();
    for (double end = seconds() + part_seconds; seconds() < end;)
        use_memory();
    for (int s = 0; s < SIZES; s++) {
        for (int way = 0; way < WAYS; way++) {
            char *block = (char *)~(uintptr_t)hidden[s][way];

            if (hidden[s][way] != NULL)
                REQUIRE(malloc_usable_size(block) >= sizes[s]);
        }
    }
}

static void resized(void)
{
    for (double end = seconds() + part_seconds; seconds() < end;) {
        for (int s = 0; s < SIZES; s++) {
            char *block = block_new(sizes[s]);

            REQUIRE(protect(block, PAGE, PROT_READ) == 0);
            block = realloc(block, sizes[s] / 4);
            REQUIRE(block != NULL && block[sizes[s] / 4 - 1] == 0x11);
            block = realloc(block, sizes[s] * 3);
            REQUIRE(block != NULL && block[sizes[s] - 1] == 0x11);
            memset(block, 0x33, sizes[s] * 3);
            block = realloc(block, sizes[s] * 20);
            memset(block, 0x33, sizes[s] * 20);
            free(block);
            gc_collect();
        }
    }
    use_memory();
}

/* --------------------------------------------------------------------- moved */

enum { PIECE = 64 * PAGE, MOST_PIECES = 4 };

/* Maps pieces one after another, a cycle or so apart; all hold pointers. */
static char *map_in_pieces(int count)
{
    const int flags = MAP_PRIVATE | MAP_ANONYMOUS;
    char *low = mmap(NULL, 2 * MOST_PIECES * PIECE, PROT_NONE, flags, -1, 0);

    REQUIRE(low != MAP_FAILED && munmap(low, 2 * MOST_PIECES * PIECE) == 0);
    for (int i = 0; i < count; i++) {
        char *piece = map_at(low + i * PIECE, PIECE, PROT_READ | PROT_WRITE,
                             flags | MAP_FIXED_NOREPLACE, -1);

        if (piece != low + i * PIECE) {         /* a mapping of the library's own came between */
            REQUIRE(i > 0 || piece == MAP_FAILED);
            unmap(low, (size_t)i * PIECE);
            return NULL;
        }
        fill_with_objects(piece, PIECE, (uint64_t)i * 1000);
        if (i % 2 == 0)
            gc_collect();
    }
    return low;
}

static void check_pieces(const char *low, int count)
{
    litter();
    for (int i = 0; i < count; i++)
        check_objects(low + i * PIECE, PIECE, (uint64_t)i * 1000);
}

static void move(int count, unsigned turn)
{
    char *low = map_in_pieces(count);
    size_t bytes = (size_t)count * PIECE;

    if (low == NULL)
        return;
    switch (turn % 4) {
    case 0: {                   /* elsewhere */
        char *target = mmap(NULL, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

        low = remap(low, bytes, bytes, MREMAP_MAYMOVE | MREMAP_FIXED, target);
        REQUIRE(low == target);
        break;
    }
    case 1:                     /* grow, wherever */
        low = remap(low, bytes, bytes + PIECE, MREMAP_MAYMOVE, NULL);
        REQUIRE(low != MAP_FAILED);
        memset(low + bytes, 0, PIECE);
        bytes += PIECE;
        break;
    case 2: {                   /* grow, but there is no room */
        char *wall = mmap(low + bytes, PAGE, PROT_NONE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);

        REQUIRE(remap(low, bytes, bytes + PIECE, 0, NULL) == MAP_FAILED && errno == ENOMEM);
        low = remap(low, bytes, bytes + PIECE, MREMAP_MAYMOVE, NULL);
        REQUIRE(low != MAP_FAILED);
        memset(low + bytes, 0, PIECE);
        bytes += PIECE;
        if (wall != MAP_FAILED)
            munmap(wall, PAGE);
        break;
    }
    default:                    /* shrink */
        REQUIRE(remap(low, bytes, bytes - PIECE / 2, 0, NULL) == low);
        REQUIRE(remap(low, bytes - PIECE / 2, bytes - PIECE, MREMAP_MAYMOVE, NULL) == low);
        bytes -= PIECE;
        count--;
    }
    gc_collect();
    check_pieces(low, count);
    REQUIRE(unmap(low, bytes) == 0);
}

static void moved(void)
{
    unsigned turn = 0;

    for (double end = seconds() + part_seconds; seconds() < end; turn++)
        move(2 + (int)(turn / 4 % 3), turn);
    /* What is not one block for anybody stays so. */
    char *low = mmap(NULL, 4 * PIECE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    REQUIRE(unmap(low + PIECE, PIECE) == 0);
    REQUIRE(remap(low, 4 * PIECE, 8 * PIECE, MREMAP_MAYMOVE, NULL) == MAP_FAILED && errno == EFAULT);
    REQUIRE(protect(low + 2 * PIECE, PIECE, PROT_READ) == 0);
    REQUIRE(remap(low + 2 * PIECE, 2 * PIECE, 8 * PIECE, MREMAP_MAYMOVE, NULL) == MAP_FAILED &&
            errno == EFAULT);
    REQUIRE(unmap(low, 4 * PIECE) == 0);
    /* Nor is what overlaps its new place moved: several mappings, of one protection. */
    low = mmap(NULL, 6 * PIECE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    memset(low, 0x33, 6 * PIECE);
    REQUIRE(madvise(low + PIECE, PIECE, MADV_DONTDUMP) == 0);
    REQUIRE(remap(low, 3 * PIECE, 3 * PIECE, MREMAP_MAYMOVE | MREMAP_FIXED, low + 2 * PIECE) ==
                MAP_FAILED &&
            errno == EINVAL);
    for (size_t i = 0; i < 6 * PIECE; i++)
        REQUIRE(low[i] == 0x33);
    REQUIRE(unmap(low, 6 * PIECE) == 0);
}

/* --------------------------------------------------------------------- a child without some pages */

static void missing_in_child(void)
{
    char *block = block_new(sizes[SIZES - 1]);
    int status;

    REQUIRE(madvise(block, sizes[SIZES - 1], MADV_DONTFORK) == 0);
    pid_t child = fork();

    if (child == 0) {
        for (int i = 0; i < 3; i++)
            gc_collect();
        free(malloc(1000));
        _exit(0);
    }
    REQUIRE(waitpid(child, &status, 0) == child && status == 0);
    REQUIRE(block[sizes[SIZES - 1] - 1] == 0x11);
    REQUIRE(madvise(block, sizes[SIZES - 1], MADV_DOFORK) == 0);
    free(block);
    printf("ok a child without some pages\n");
}

/* --------------------------------------------------------------------- all */

static const struct {
    const char *name;
    void (*run)(void);
} parts[] = {
    { "guards", guards }, { "sealed", sealed },   { "replaced", replaced },
    { "leaked", leaked }, { "resized", resized }, { "moved", moved },
};

static void run_parts(const char *where)
{
    pthread_t thread;

    stopping = 0;
    REQUIRE(pthread_create(&thread, NULL, collect, NULL) == 0);
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        for (int by_number = 0; by_number < 2; by_number++) {
            raw = by_number != 0;
            parts[i].run();
            printf("ok %s %s%s\n", where, parts[i].name, raw ? " by syscall" : "");
        }
    }
    __atomic_store_n(&stopping, 1, __ATOMIC_SEQ_CST);
    pthread_join(thread, NULL);
}

int main(int argc, char **argv)
{
    char page[PAGE], name[] = "/tmp/memory-XXXXXX";

    if (argc > 1)
        part_seconds = atof(argv[1]);
    setvbuf(stdout, NULL, _IOLBF, 0);
    alarm(ALARM_S + (unsigned)part_seconds * 30);
    signal(SIGSEGV, on_fault);
    file = mkstemp(name);
    memset(page, '.', PAGE);
    memcpy(page, "file", 4);
    REQUIRE(file >= 0 && unlink(name) == 0 && write(file, page, PAGE) == PAGE);
    run_parts("here");

    pid_t child = fork();

    if (child == 0) {
        part_seconds /= 4;
        run_parts("in a child");
        _exit(0);
    }
    int status;

    REQUIRE(waitpid(child, &status, 0) == child && status == 0);
    missing_in_child();         /* from now on children do not collect */
    REQUIRE(cycles > 50);
    printf("%ld cycles, %ld abandoned\n", cycles, abandoned);
    return 0;
}
