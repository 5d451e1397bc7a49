/* test_roots.c -- is every word found, wherever in memory the program may have put it?
 *
 * See needles.h for how, and what to link with.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/ipc.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/shm.h>
#include <sys/wait.h>
#include <unistd.h>

#include "needles.h"
#include "os/pagemap.h"

/* ------------------------------------------------------------------- where data lies */

static uintptr_t in_data[600] = { 1 };
static uintptr_t in_bss[600];

static void static_data(void **state)
{
    (void)state;
    expect_planted(&in_data[3], 1);
    expect_planted(&in_data[599], 1);
    expect_planted(&in_bss[300], 2);
}

static void the_brk_heap(void **state)
{
    char *block = sbrk(64 << 10);

    (void)state;
    assert_ptr_not_equal(block, (void *)-1);
    expect_planted(block + 8192, 3);
    expect_planted(block + (64 << 10) - 8, 3);
}

static void private_memory(void **state)
{
    char *memory = map_pages(64, MAP_PRIVATE);

    (void)state;
    expect_planted(memory, 4);
    expect_planted(memory + 64 * 4096 - 8, 5);
    munmap(memory, 64 * 4096);
}

static void memory_written_then_protected(void **state)
{
    static const int protections[] = { PROT_READ, PROT_NONE, PROT_READ | PROT_EXEC };
    char *memory = map_pages(40, MAP_PRIVATE);

    (void)state;
    for (size_t i = 0; i < 3; i++) {
        plant(memory + 33 * 4096 + 8, 6);
        assert_int_equal(mprotect(memory, 40 * 4096, protections[i]), 0);
        assert_true(found(6));
        mprotect(memory, 40 * 4096, PROT_READ | PROT_WRITE);
        uproot(memory + 33 * 4096 + 8);
        assert_false(found(6));
    }
    munmap(memory, 40 * 4096);
}

/* The operand of an instruction: at an odd address, across pages, across the pieces that are handed
 * over, in the first and last bytes; and nowhere else is anything read so. */
static void operands_in_code(void **state)
{
    static const size_t places[] = { 0, 8, 4096 * 9 - 3, (128 << 10) - 1, (128 << 10) - 13,
                                     (128 << 10) + 1, 64 * 4096 - 9, 64 * 4096 - 8 };
    char *memory = map_pages(64, MAP_PRIVATE);

    (void)state;
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        for (size_t page = 0; page < 64; page++)
            memory[page * 4096] = 1;
        plant(memory + places[i], 19);
        assert_int_equal(found(19), places[i] % 8 == 0);
        assert_int_equal(mprotect(memory, 64 * 4096, PROT_READ | PROT_EXEC), 0);
        assert_true(found(19));
        mprotect(memory, 64 * 4096, PROT_READ | PROT_WRITE | PROT_EXEC);
        expect_at(memory + places[i], 19);
        mprotect(memory, 64 * 4096, PROT_READ | PROT_WRITE);
    }
    munmap(memory, 64 * 4096);
}

static void shared_memory(void **state)
{
    char *memory = map_pages(8, MAP_SHARED);
    int id = shmget(IPC_PRIVATE, 8192, 0600 | IPC_CREAT);
    char *system_v = id < 0 ? (void *)-1 : shmat(id, NULL, 0);

    (void)state;
    expect_planted(memory + 4096 + 16, 7);
    plant(memory, 7);
    mprotect(memory, 8 * 4096, PROT_NONE);
    assert_true(found(7));
    munmap(memory, 8 * 4096);
    if (system_v != (void *)-1) {
        shmctl(id, IPC_RMID, NULL);
        expect_planted(system_v + 4096, 8);
        shmdt(system_v);
    } else {
        print_message("SKIP: System V memory: shmget or shmat failed\n");
    }
}

static void shared_memory_not_yet_touched_after_fork(void **state)
{
    char *memory = map_pages(8, MAP_SHARED);
    int status;

    (void)state;
    plant(memory + 8, 9);
    pid_t child = fork();

    if (child == 0)
        _exit(visit() && times_seen(9) == 1 ? 0 : 1);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    munmap(memory, 8 * 4096);
}

static void memory_of_a_memfd(void **state)
{
    int fd = memfd_create("a name", 0);

    (void)state;
    assert_int_equal(ftruncate(fd, 1 << 20), 0);
    char *memory = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

    expect_planted(memory + (1 << 20) - 8, 10);
    assert_int_equal(ftruncate(fd, 4096), 0);
    expect_planted(memory + 8, 10);
    munmap(memory, 1 << 20);
    close(fd);
}

static int temporary_file(size_t bytes)
{
    char name[] = "/tmp/test_roots.XXXXXX";
    int fd = mkstemp(name);

    assert_true(fd >= 0);
    unlink(name);
    assert_int_equal(ftruncate(fd, (off_t)bytes), 0);
    return fd;
}

static void a_private_file_mapping(void **state)
{
    int fd = temporary_file(64 * 4096);
    char *memory = mmap(NULL, 64 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);

    (void)state;
    expect_planted(memory + 50 * 4096 + 8, 11);
    plant(memory + 50 * 4096, 11);
    plant(memory + 4096, 12);
    assert_int_equal(ftruncate(fd, 2 * 4096), 0);       /* a load from page 50 is a SIGBUS now */
    assert_true(found(12));
    assert_int_equal(times_seen(11), 0);
    munmap(memory, 64 * 4096);
    close(fd);
}

static int fd_to_truncate;

static void truncate_file(int id)
{
    if (id == 14)
        assert_int_equal(ftruncate(fd_to_truncate, 0), 0);
}

/* Another process may do that at any time, also between the listing of a page and its reading. */
static void a_file_truncated_during_the_visit(void **state)
{
    fd_to_truncate = temporary_file(64 * 4096);
    char *memory = mmap(NULL, 64 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd_to_truncate, 0);

    (void)state;
    memset(memory, 1, 64 * 4096);
    plant(memory + 8, 14);
    plant(memory + 63 * 4096, 15);
    assert_true(found(14));
    assert_int_equal(times_seen(15), 1);
    when_seen = truncate_file;
    bool seen = found(14);

    when_seen = NULL;
    assert_true(seen);
    assert_int_equal(times_seen(15), 0);
    munmap(memory, 64 * 4096);
    close(fd_to_truncate);
}

/* From now on the kernel has no memory to copy with. */
static void let_reads_fail(void)
{
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_process_vm_readv, 1, 0),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOMEM),
    };
    struct sock_fprog program = { .len = 4, .filter = filter };

    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0)
        _exit(2);
}

static void a_page_that_cannot_be_read_for_want_of_memory(void **state)
{
    int fd = temporary_file(4096), status;
    char *memory = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);

    (void)state;
    plant(memory, 56);
    assert_true(found(56));
    pid_t child = fork();
    if (child == 0) {
        let_reads_fail();
        _exit(visit());
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    munmap(memory, 4096);
    close(fd);
}

static void a_shared_file_is_left_alone(void **state)
{
    int fd = temporary_file(8 * 4096);
    char *memory = mmap(NULL, 8 * 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

    (void)state;
    plant(memory, 13);
    assert_false(found(13));
    assert_true(roots_add(memory, memory + 4096));      /* unless it is registered */
    assert_true(found(13));
    assert_int_equal(ftruncate(fd, 0), 0);
    assert_false(found(13));
    roots_remove(memory, memory + 4096);
    munmap(memory, 8 * 4096);
    close(fd);
}

/* ------------------------------------------------------------------- registered ranges */

static void registered_ranges(void **state)
{
    uintptr_t *block = meta_alloc(8192);        /* in the reservation: not scanned by itself */

    (void)state;
    assert_true(arena_owns((uintptr_t)block));
    for (int i = 0; i < 4; i++)
        plant(&block[i * 100], 20 + i);
    assert_false(found(20));
    assert_true(roots_add(block, block + 1024));
    assert_true(roots_add(block + 50, block + 120));
    assert_true(found(20));
    for (int i = 0; i < 4; i++)
        assert_int_equal(times_seen(20 + i), 1);
    roots_remove(block + 100, block + 201);
    assert_true(found(20));
    assert_int_equal(times_seen(21) + times_seen(22), 0);
    assert_int_equal(times_seen(23), 1);
    roots_remove(block + 300, block + 2000);
    assert_true(found(20));
    assert_int_equal(times_seen(23), 0);
    roots_remove(block, block + 1024);
    assert_false(found(20));
}

static void many_registered_ranges(void **state)
{
    uintptr_t *block = meta_alloc(8192);

    (void)state;
    for (int i = 0; i < 1000; i += 2)
        assert_true(roots_add(block + i, block + i + 1));
    plant(&block[998], 24);
    plant(&block[1], 25);
    assert_true(found(24));
    assert_int_equal(times_seen(25), 0);
    roots_remove(block, block + 1024);
    assert_false(found(24));
}

/* ------------------------------------------------------------------- trouble */

static size_t count_descriptors(void)
{
    size_t count = 0;

    for (int fd = 0; fd < 1024; fd++)
        count += fcntl(fd, F_GETFD) >= 0;
    return count;
}

static void no_descriptor_is_left_open_or_needed_twice(void **state)
{
    struct rlimit old, none;
    size_t before = count_descriptors();

    (void)state;
    assert_true(visit());
    assert_int_equal(count_descriptors(), before);
    getrlimit(RLIMIT_NOFILE, &old);
    none = old;
    none.rlim_cur = 0;
    setrlimit(RLIMIT_NOFILE, &none);
    bool complete = visit();

    setrlimit(RLIMIT_NOFILE, &old);
    assert_false(complete);
    assert_non_null(why);
    assert_int_equal(count_descriptors(), before);
    assert_true(visit());
    assert_null(why);
}

/* Not enough descriptors for all that is needed: the walk fails part of the way. */
static void each_shortage_of_descriptors_is_noticed(void **state)
{
    struct rlimit old, few;
    int fd = open("/dev/null", O_RDONLY);

    (void)state;
    getrlimit(RLIMIT_NOFILE, &old);
    few = old;
    few.rlim_cur = (rlim_t)fd + 1;          /* room for one */
    close(fd);
    setrlimit(RLIMIT_NOFILE, &few);
    bool complete = visit();

    setrlimit(RLIMIT_NOFILE, &old);
    assert_false(complete);
    assert_non_null(why);
}

static void a_guard_page_is_passed_over(void **state)
{
    char *memory = map_pages(16, MAP_PRIVATE);

    (void)state;
    memset(memory, 1, 16 * 4096);
    if (madvise(memory + 4096, 8 * 4096, 102 /* MADV_GUARD_INSTALL */) == 0)
        expect_planted(memory + 12 * 4096, 52);
    else
        print_message("SKIP: guard pages: this kernel has none (Linux 6.13)\n");
    munmap(memory, 16 * 4096);
}

static bool have_scan(void)
{
    static uint64_t words[64];
    struct pagemap pagemap;
    bool opened = pagemap_open(&pagemap, false, words, sizeof words);

    pagemap_close(&pagemap);
    return opened && !pagemap.by_words;
}

static void a_sparse_giant_is_cheap(void **state)
{
    size_t bytes = 64 * GIB;
    char *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    (void)state;
    if (memory == MAP_FAILED) {
        print_message("SKIP: no 64 GiB of address space\n");
        return;
    }
    expect_planted(memory + 40 * GIB, 53);
    if (!options.nopagemapscan && have_scan())
        assert_true(visit_ns < 50000000);
    munmap(memory, bytes);
}

static void pieces_are_small(void **state)
{
    char *memory = map_pages(1024, MAP_PRIVATE), *shared = map_pages(1024, MAP_SHARED);

    (void)state;
    memset(memory, 1, 1024 * 4096);
    memset(shared, 1, 1024 * 4096);
    largest_piece = 0;
    expect_planted(memory + 700 * 4096, 54);
    expect_planted(shared + 700 * 4096, 55);
    assert_int_equal(largest_piece, 128 << 10);
    struct roots_stats stats = roots_stats_last();

    assert_true(stats.data_bytes > 2 * 1024 * 4096 && stats.stack_bytes > 0);
    munmap(memory, 1024 * 4096);
    munmap(shared, 1024 * 4096);
}

/* The blocks of a library that was unloaded may be used by it when it is loaded again. */
static void distances_are_known_for_ever(void **state)
{
    char directory[] = "/tmp/test_roots.XXXXXX", path[64];
    static bool seen;               /* by the first of both ways */

    (void)state;
    found(56);
    assert_int_equal(roots_keep_distances(), seen);
    assert_non_null(mkdtemp(directory));
    snprintf(path, sizeof path, "%s/libfontconfig.so.1", directory);
    int fd = open(path, O_RDWR | O_CREAT, 0600);

    assert_int_equal(ftruncate(fd, 4096), 0);
    char *memory = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, fd, 0);

    found(56);
    munmap(memory, 4096);
    close(fd);
    unlink(path);
    rmdir(directory);
    found(56);
    seen = true;
    assert_true(roots_keep_distances());
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(static_data),
    cmocka_unit_test(the_brk_heap),
    cmocka_unit_test(private_memory),
    cmocka_unit_test(memory_written_then_protected),
    cmocka_unit_test(operands_in_code),
    cmocka_unit_test(shared_memory),
    cmocka_unit_test(shared_memory_not_yet_touched_after_fork),
    cmocka_unit_test(memory_of_a_memfd),
    cmocka_unit_test(a_private_file_mapping),
    cmocka_unit_test(a_file_truncated_during_the_visit),
    cmocka_unit_test(a_page_that_cannot_be_read_for_want_of_memory),
    cmocka_unit_test(a_shared_file_is_left_alone),
    cmocka_unit_test(registered_ranges),
    cmocka_unit_test(many_registered_ranges),
    cmocka_unit_test(no_descriptor_is_left_open_or_needed_twice),
    cmocka_unit_test(each_shortage_of_descriptors_is_noticed),
    cmocka_unit_test(a_guard_page_is_passed_over),
    cmocka_unit_test(a_sparse_giant_is_cheap),
    cmocka_unit_test(pieces_are_small),
    cmocka_unit_test(distances_are_known_for_ever),
};

int main(void)
{
    return run_both_ways(tests, sizeof tests / sizeof tests[0]);
}
