/* test_roots_running.c -- roots read beside the running program, and what the stop then reads
 *
 * See running_roots.h for how, and needles.h for what to link with.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/park.h"
#include "os/pagemap.h"
#include "running_roots.h"

/* ------------------------------------------------------------------- the running walk */

static void words_are_seen_wherever_they_are(void **state)
{
    static uintptr_t data[1000] = { 1 };
    char *private = map_written(64), *shared = map_pages(4, MAP_SHARED);
    uintptr_t *registered = meta_alloc(8192);

    (void)state;
    begin();
    for (int id = 1; id <= 5; id++)
        assert_false(seen_running(id));
    plant(&data[700], 1);
    plant(private + 63 * 4096 + 4088, 2);
    plant(shared + 4096, 3);
    plant(registered, 4);
    assert_true(roots_add(registered, registered + 8));
    plant(private + 8192, 5);
    mprotect(private + 8192, 4096, PROT_NONE);
    begin();
    for (int id = 1; id <= 5; id++)
        assert_true(seen_running(id));
    uproot(&data[700]);
    roots_remove(registered, registered + 8);
    munmap(private, 64 * 4096);
    munmap(shared, 4 * 4096);
}

static void unchanged_pages_are_read_once(void **state)
{
    char *memory = map_written(16384);

    (void)state;
    plant(memory + 4096, 6);
    for (int cycle = 0; cycle < 3; cycle++) {
        begin();
        assert_true(bytes_seen >= 16384 * 4096);
        assert_true(look_at_written() < 4 << 20);
        assert_true(visit());
        assert_true(bytes_seen < 4 << 20);
        assert_int_equal(times_seen(6), 0);
        assert_true(roots_stats_last().data_bytes >= 16384 * 4096);
        for (int i = 0; i < 100; i++)
            memory[i * 64 * 4096]++;
        assert_true(visit());
        assert_in_range(bytes_seen, 100 * 4096, (100 * 4096) + (4 << 20));
    }
    munmap(memory, 16384 * 4096);
}

static void disarmed_pages_count_as_written(void **state)
{
    char *memory = map_written(16384);

    (void)state;
    begin();
    assert_true(look_at_written() < 4 << 20);
    roots_disarm(&userfault);
    assert_true(look_at_written() >= 16384 * 4096);
    munmap(memory, 16384 * 4096);
}

/* Half of a mapping is moved away and back.  The kernel makes one mapping of them again, which is not
 * registered any more, and leaves what it has noted of the pages of the other half. */
static void marks_of_a_lost_registration_do_not_count(void **state)
{
    enum { HALF = 512 * 4096 };
    char *place = map_pages(4096, MAP_PRIVATE), *away = place + 6 * HALF, *memory = place + HALF;

    (void)state;
    munmap(place, 4096 * 4096);
    assert_ptr_equal(mmap(memory, 2 * HALF, PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0), memory);
    memset(memory, 1, 2 * HALF);
    begin();
    assert_ptr_equal(mremap(memory + HALF, HALF, HALF, MREMAP_MAYMOVE | MREMAP_FIXED, away), away);
    begin();                    /* registered there, too */
    assert_ptr_equal(mremap(away, HALF, HALF, MREMAP_MAYMOVE | MREMAP_FIXED, memory + HALF),
                     memory + HALF);
    memory[5 * 4096]++;         /* while nothing is registered */
    begin();
    assert_false(found(7));
    plant(memory + 5 * 4096, 7);
    assert_true(found(7));
    uproot(memory + 5 * 4096);
    munmap(memory, 2 * HALF);
}

static char *mapped_anew;

static void map_anew(int id)
{
    if (id == 8)
        mmap(mapped_anew, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
}

/* The same, and meanwhile a page before them is mapped anew: there the kernel stops disarming. */
static void marks_behind_what_is_not_registered_do_not_count(void **state)
{
    enum { HALF = 512 * 4096 };
    char *place = map_pages(4096, MAP_PRIVATE), *away = place + 6 * HALF, *memory = place + HALF;

    (void)state;
    munmap(place + 4096, 4095 * 4096);
    assert_ptr_equal(mmap(memory, 2 * HALF, PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0), memory);
    memset(memory, 1, 2 * HALF);
    begin();
    assert_ptr_equal(mremap(memory + HALF, HALF, HALF, MREMAP_MAYMOVE | MREMAP_FIXED, away), away);
    begin();
    assert_ptr_equal(mremap(away, HALF, HALF, MREMAP_MAYMOVE | MREMAP_FIXED, memory + HALF),
                     memory + HALF);
    memory[5 * 4096]++;
    plant(place, 8);
    mapped_anew = memory + 2 * 4096;
    when_seen = map_anew;
    begin();                    /* reads `place` first */
    when_seen = NULL;
    assert_true(seen_running(8));
    assert_int_equal(memory[2 * 4096], 0);
    plant(memory + 5 * 4096, 7);
    assert_true(found(7));
    uproot(memory + 5 * 4096);
    munmap(place, 4096);
    munmap(memory, 2 * HALF);
}

/* Planted in the cycle, found by the round before the stop or else by the stop. */
static void expect_written(volatile void *place, int id)
{
    assert_true(found(id));
    assert_int_equal(times_seen(id), 1);
    look_at_written();
    assert_int_equal(times_seen(id), 1);
    assert_false(found(id));        /* armed anew, and not written since */
    plant(place, id);
    assert_true(found(id));
    uproot(place);
}

static void stores_are_seen(void **state)
{
    static char data[40 * 4096] = { 1 };
    char *memory = map_written(32), *brk_memory = sbrk(32 * 4096);

    (void)state;
    memset(data, 1, sizeof data);
    memset(brk_memory, 1, 32 * 4096);
    char *places[] = { memory + 5 * 4096, brk_memory + 20 * 4096, data + 9 * 4096 };

    for (int i = 0; i < 3; i++) {
        char *place = (char *)align_up((uintptr_t)places[i], 8);

        begin();
        assert_false(found(7));
        plant(place, 7);
        expect_written(place, 7);
    }
    munmap(memory, 32 * 4096);
}

static void what_the_kernel_writes_is_seen(void **state)
{
    char *memory = map_written(32);
    uintptr_t word = key ^ (BASE + 8);
    int fds[2];

    (void)state;
    begin();
    assert_int_equal(pipe(fds), 0);
    assert_int_equal(write(fds[1], &word, sizeof word), sizeof word);
    word = 0;
    assert_false(found(8));
    assert_int_equal(read(fds[0], memory + 12 * 4096, sizeof word), sizeof word);
    expect_written(memory + 12 * 4096, 8);
    close(fds[0]);
    close(fds[1]);
    munmap(memory, 32 * 4096);
}

static void *write_needle(void *place)
{
    plant(place, 9);
    return NULL;
}

static void what_another_thread_writes_is_seen(void **state)
{
    char *memory = map_written(32);
    pthread_t thread;

    (void)state;
    begin();
    assert_int_equal(pthread_create(&thread, NULL, write_needle, memory + 4096), 0);
    pthread_join(thread, NULL);
    expect_written(memory + 4096, 9);
    munmap(memory, 32 * 4096);
}

static char *written_while_read;

static void plant_behind(int id)
{
    if (id == 33)
        plant(written_while_read, 34);
}

/* Written after the reader has passed: armed before it was read, or it would be missed. */
static void what_is_written_while_it_is_read_is_seen(void **state)
{
    char *memory = map_written(32);

    (void)state;
    written_while_read = memory + 4096;
    plant(memory + 2 * 4096, 33);
    when_seen = plant_behind;
    begin();
    when_seen = NULL;
    assert_true(seen_running(33) && !seen_running(34));
    assert_true(found(34));
    uproot(written_while_read);
    plant(memory + 2 * 4096, 33);
    when_seen = plant_behind;
    look_at_written();
    when_seen = NULL;
    assert_true(times_seen(33) == 1 && times_seen(34) == 0);
    assert_true(found(34));
    munmap(memory, 32 * 4096);
}

/* ------------------------------------------------------------------- memory that changes */

static void new_memory_is_seen(void **state)
{
    (void)state;
    begin();
    char *memory = map_pages(32, MAP_PRIVATE);

    expect_planted(memory + 4096, 10);
    munmap(memory, 32 * 4096);
}

static void memory_mapped_in_its_place_is_seen(void **state)
{
    char *memory = map_written(32);

    (void)state;
    begin();
    munmap(memory + 8 * 4096, 8 * 4096);
    assert_ptr_equal(mmap(memory + 8 * 4096, 8 * 4096, PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0), memory + 8 * 4096);
    plant(memory + 9 * 4096, 11);
    look_at_written();
    expect_at(memory + 9 * 4096, 11);
    munmap(memory, 32 * 4096);
}

static void memory_moved_is_seen(void **state)
{
    char *memory = map_written(32), *other = map_written(32);

    (void)state;
    plant(other + 4096, 12);
    begin();
    assert_true(seen_running(12));
    assert_ptr_equal(mremap(other, 32 * 4096, 32 * 4096, MREMAP_MAYMOVE | MREMAP_FIXED, memory),
                     memory);
    assert_true(found(12));         /* it could be known, but it is not */
    plant(memory + 2 * 4096, 13);
    look_at_written();
    expect_at(memory + 2 * 4096, 13);
    munmap(memory, 32 * 4096);
}

static void memory_given_back_and_written_again_is_seen(void **state)
{
    char *memory = map_written(32);

    (void)state;
    begin();
    madvise(memory, 32 * 4096, MADV_DONTNEED);
    assert_false(found(14));
    plant(memory + 3 * 4096, 14);
    assert_true(found(14));
    look_at_written();
    assert_int_equal(times_seen(14), 1);
    assert_false(found(14));
    munmap(memory, 32 * 4096);
}

/* MADV_, of headers that may be older. */
enum {
    PAGEOUT = 21, POPULATE_READ = 22, POPULATE_WRITE = 23, COLLAPSE = 25, GUARD_INSTALL = 102,
    GUARD_REMOVE = 103,
};

enum { ADVICES = 6, TREATMENTS = ADVICES + 3 };

/* What a program does to a page that is armed, before it stores into it. */
static void treat(char *page, int how)
{
    static const int advices[ADVICES][2] = {
        { MADV_FREE, MADV_NORMAL },          { GUARD_INSTALL, GUARD_REMOVE },
        { POPULATE_WRITE, MADV_NORMAL },     { PAGEOUT, MADV_WILLNEED },
        { MADV_MERGEABLE, MADV_UNMERGEABLE }, { MADV_DONTNEED, POPULATE_READ },
    };

    if (how < ADVICES) {
        madvise(page, 4096, advices[how][0]);
        madvise(page, 4096, advices[how][1]);
    } else if (how == ADVICES) {
        mprotect(page, 4096, PROT_NONE);
        mprotect(page, 4096, PROT_READ | PROT_WRITE);
    } else if (how == ADVICES + 1) {
        void *moved = mremap(page, 4096, 4096, MREMAP_MAYMOVE | MREMAP_DONTUNMAP, NULL);

        assert_ptr_not_equal(moved, MAP_FAILED);
        munmap(moved, 4096);
    } else {
        madvise((char *)align_down((uintptr_t)page, 2 << 20), 2 << 20, COLLAPSE);
    }
}

/* With a child that shares the pages, and in huge pages as well. */
static void stores_are_seen_whatever_became_of_a_page(void **state)
{
    (void)state;
    for (int variant = 0; variant < 3; variant++) {
        char *place = map_pages(2048, MAP_PRIVATE);
        char *memory = (char *)align_up((uintptr_t)place, 2 << 20);
        pid_t child = 0;

        madvise(memory, 4 << 20, variant == 2 ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
        memset(memory, 1, 4 << 20);
        madvise(memory, 4 << 20, MADV_HUGEPAGE);
        begin();
        if (variant == 1 && (child = fork()) == 0) {
            alarm(20);
            for (;;)
                pause();
        }
        for (int how = 0; how < TREATMENTS; how++) {
            treat(memory + (how * 40 + 3) * 4096, how);
            plant(memory + (how * 40 + 3) * 4096, how);
        }
        look_at_written();
        for (int how = 0; how < TREATMENTS; how++)
            assert_int_equal(times_seen(how), 1);
        for (int how = 0; how < TREATMENTS; how++)      /* armed again */
            plant(memory + (how * 40 + 3) * 4096, TREATMENTS + how);
        assert_true(visit());
        for (int how = 0; how < TREATMENTS; how++)
            assert_int_equal(times_seen(TREATMENTS + how), 1);
        if (child != 0) {
            kill(child, SIGKILL);
            waitpid(child, NULL, 0);
        }
        munmap(place, 2048 * 4096);
    }
}

static void protected_memory_is_seen(void **state)
{
    char *memory = map_written(32);

    (void)state;
    begin();
    plant(memory + 7 * 4096, 15);
    mprotect(memory, 32 * 4096, PROT_NONE);
    assert_true(found(15));
    look_at_written();              /* cannot read it, so it is not covered any more */
    assert_true(found(15));
    mprotect(memory, 32 * 4096, PROT_READ | PROT_WRITE);
    expect_at(memory + 7 * 4096, 15);
    munmap(memory, 32 * 4096);
}

static void one_unreadable_page_costs_no_more_than_itself(void **state)
{
    char *memory = map_written(4096);

    (void)state;
    plant(memory + 2000 * 4096, 30);
    mprotect(memory + 2000 * 4096, 4096, PROT_NONE);
    begin();
    assert_true(seen_running(30));
    mprotect(memory + 2000 * 4096, 4096, PROT_READ | PROT_WRITE);
    memset(memory + 3000 * 4096, 1, 4096);
    mprotect(memory + 3000 * 4096, 4096, PROT_NONE);
    plant(memory + 3999 * 4096, 31);
    look_at_written();
    assert_int_equal(times_seen(31), 1);
    mprotect(memory + 3000 * 4096, 4096, PROT_READ | PROT_WRITE);
    plant(memory + 3000 * 4096, 32);
    assert_true(found(32));
    assert_true(bytes_seen < 4 << 20);
    munmap(memory, 4096 * 4096);
}

/* Compiled code: operands stand at any byte, also across two pages of which one was written. */
static void operands_in_code_are_seen(void **state)
{
    char *memory = map_written(512);

    (void)state;
    mprotect(memory, 512 * 4096, PROT_READ | PROT_WRITE | PROT_EXEC);
    plant(memory + 7 * 4096 - 5, 33);
    plant(memory + (128 << 10) - 3, 34);
    begin();
    assert_true(seen_running(33) && times_seen(34) > 0);
    plant(memory + 30 * 4096 - 5, 35);
    look_at_written();
    assert_true(times_seen(35) > 0);
    plant(memory + 40 * 4096 - 5, 36);
    assert_true(found(36));
    assert_int_equal(times_seen(35), 0);        /* armed, and not written since */
    uproot(memory + 40 * 4096 - 5);
    assert_false(found(36));
    munmap(memory, 512 * 4096);
}

static void a_private_file_is_seen(void **state)
{
    int fd = memfd_create("file", 0);

    (void)state;
    assert_int_equal(ftruncate(fd, 64 * 4096), 0);
    char *memory = mmap(NULL, 64 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);

    for (int i = 0; i < 64; i += 2)
        memory[i * 4096] = 1;
    begin();
    plant(memory + 2 * 4096, 16);       /* a page of its own */
    plant(memory + 3 * 4096, 17);       /* the file's until now */
    assert_true(found(16));
    assert_int_equal(times_seen(17), 1);
    look_at_written();
    assert_int_equal(times_seen(16) + times_seen(17), 2);
    assert_false(found(16));
    assert_int_equal(ftruncate(fd, 0), 0);
    begin();
    assert_true(visit());
    munmap(memory, 64 * 4096);
    close(fd);
}

static void memory_that_became_a_stack_is_read_as_one(void **state)
{
    char *memory = map_written(32);

    (void)state;
    plant(memory + 20 * 4096, 18);
    begin();
    assert_int_equal(seen_as[ROOT_DATA][18], 1);
    struct stopped_task *task = add_task((uintptr_t)memory + 10 * 4096, false);

    assert_true(found(18));
    assert_int_equal(seen_as[ROOT_STACK][18], 1);
    task->thread->stack_low = (uintptr_t)memory + 8 * 4096;
    task->thread->stack_high = (uintptr_t)memory + 21 * 4096;
    assert_true(found(18));
    assert_int_equal(seen_as[ROOT_STACK][18], 1);
    known_threads = task->thread;
    task->thread->tid = 1;
    begin();                            /* known now: left to the stop */
    assert_int_equal(times_seen(18), 0);
    plant(memory + 25 * 4096, 19);
    plant(memory + 9 * 4096, 20);       /* its dead part */
    assert_true(found(18) && times_seen(19) == 1 && times_seen(20) == 0);
    known_threads = NULL;
    task_count = 1;
    munmap(memory, 32 * 4096);
}

/* ------------------------------------------------------------------- stop 1 */

static void stacks_are_a_head_start(void **state)
{
    volatile uintptr_t local;
    char *stack = map_written(32);

    (void)state;
    begin();
    plant(&local, 21);
    plant(stack + 20 * 4096, 22);
    plant(stack + 2 * 4096, 23);
    tasks[0].sp = (uintptr_t)__builtin_frame_address(0) - 1024;
    struct stopped_task *task = add_task((uintptr_t)stack + 10 * 4096, false);

    for (int known = 0; known < 3; known++) {
        memset(seen_as, 0, sizeof seen_as);
        task->thread->stack_low = known == 1 ? (uintptr_t)stack : 0;
        task->thread->stack_high = known != 0 ? (uintptr_t)stack + 32 * 4096 : 0;
        roots_visit_stacks(look, NULL);
        assert_int_equal(seen_as[ROOT_STACK][21], 1);
        assert_int_equal(seen_as[ROOT_STACK][22], 1);
        assert_int_equal(times_seen(23), 0);
    }
    task->sp = 4096;                    /* nothing there: left to the stop */
    roots_visit_stacks(look, NULL);
    uproot(&local);
    task_count = 1;
    munmap(stack, 32 * 4096);
}

/* ------------------------------------------------------------------- what the kernel holds */

static void kernel_held_words_are_seen_once(void **state)
{
    int epoll = epoll_create1(0), fds[2];
    struct epoll_event event = { .events = EPOLLIN, .data.u64 = key ^ (BASE + 24) };
    struct sigevent signal = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1 };
    timer_t timer;

    (void)state;
    assert_int_equal(pipe(fds), 0);
    assert_int_equal(epoll_ctl(epoll, EPOLL_CTL_ADD, fds[0], &event), 0);
    event.data.u64 = 0;
    signal.sigev_value.sival_ptr = (void *)(key ^ (BASE + 25));
    assert_int_equal(timer_create(CLOCK_MONOTONIC, &signal, &timer), 0);
    signal.sigev_value.sival_ptr = NULL;
    begin();
    assert_true(seen_running(24) && seen_running(25));
    assert_false(found(24));
    assert_int_equal(times_seen(25), 0);
    tracked = false;
    assert_true(found(24));
    assert_int_equal(times_seen(25), 1);
    timer_delete(timer);
    close(epoll);
    close(fds[0]);
    close(fds[1]);
}

/* In a task with a table of descriptors of its own.  0: all is well. */
static int cycle_with_own_table(void)
{
    static struct userfault own;
    char *memory = map_written(32);

    if (unshare(CLONE_FILES) != 0 || syscall(SYS_close_range, 3u, ~0u, 0u) != 0)
        return 2;
    if (!userfault_open(&own))
        return 3;
    memset(seen_as, 0, sizeof seen_as);
    if (!roots_gather())
        return 4;
    register_mappings(&own, 4);
    roots_visit_running(&own, look, NULL);
    if (seen_as[ROOT_DATA][26] == 0)
        return 5;
    plant(memory + 4096, 27);
    memset(seen_as, 0, sizeof seen_as);
    if (!roots_visit(look, NULL, ROOTS_TRACKED, &why) || times_seen(27) != 1)
        return 6;
    int copies = times_seen(26);        /* dead ones, on stacks */

    memset(seen_as, 0, sizeof seen_as);
    if (!roots_visit(look, NULL, ROOTS_ALL, &why) || times_seen(26) <= copies)
        return 7;
    return 0;
}

static void *run_with_own_table(void *leader)
{
    pthread_t first = *(pthread_t *)leader;

    if (first != 0)
        pthread_join(first, NULL);
    return (void *)(intptr_t)cycle_with_own_table();
}

static void *own_table_after_leader(void *leader)
{
    pthread_t thread;
    void *result = NULL;

    if (pthread_create(&thread, NULL, run_with_own_table, leader) != 0)
        _exit(10);
    pthread_join(thread, &result);
    _exit((int)(intptr_t)result);
}

/* The collector's task has its own table; the first thread lives, or has ended by pthread_exit. */
static void from_a_task_with_its_own_descriptors(void **state)
{
    static pthread_t leader;
    int epoll = epoll_create1(0), fds[2], status;
    struct epoll_event event = { .events = EPOLLIN, .data.u64 = key ^ (BASE + 26) };

    (void)state;
    assert_int_equal(pipe(fds), 0);
    assert_int_equal(epoll_ctl(epoll, EPOLL_CTL_ADD, fds[0], &event), 0);
    event.data.u64 = 0;
    for (int way = 0; way < 2; way++) {
        pid_t child = fork();

        if (child == 0) {
            pthread_t thread;
            void *unused;

            alarm(20);
            task_count = 0;
            userfault_close(&userfault);
            leader = way == 1 ? pthread_self() : 0;
            if (pthread_create(&thread, NULL, own_table_after_leader, &leader) != 0)
                _exit(11);
            if (way == 1)
                pthread_exit(NULL);
            pthread_join(thread, &unused);
        }
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_int_equal(status, 0);
    }
    close(epoll);
    close(fds[0]);
    close(fds[1]);
}

/* ------------------------------------------------------------------- when there is no tracking */

static void expect_whole(int id)
{
    assert_true(found(id));
    assert_true(bytes_seen > 4096 * 4096);
}

static void without_tracking_all_is_read(void **state)
{
    struct userfault mine = userfault, theirs;
    char *memory = map_written(4096);

    (void)state;
    plant(memory + 4096, 28);
    begin();
    assert_false(found(28));
    roots_fork_child();                 /* the table is forgotten */
    expect_whole(28);
    userfault.fd = -1;
    begin();
    assert_true(seen_running(28));
    userfault = mine;
    assert_int_equal(look_at_written(), 0);
    expect_whole(28);
    assert_true(userfault_open(&theirs));       /* the program tracks memory itself */
    begin();
    assert_true(seen_running(28));
    expect_whole(28);
    userfault_close(&theirs);
    options.nopagemapscan = 1;
    begin();
    assert_true(seen_running(28));
    expect_whole(28);
    options.nopagemapscan = 2;
    begin();
    assert_true(seen_running(28));
    expect_whole(28);
    options.nopagemapscan = 0;
    munmap(memory, 4096 * 4096);
}

static void a_broken_walk_is_told_from_a_sound_one(void **state)
{
    char *memory = map_written(32);

    (void)state;
    options.mutate = 3;
    begin();
    plant(memory + 4096, 29);
    assert_int_equal(look_at_written(), 0);
    assert_false(found(29));
    options.mutate = 0;
    assert_true(found(29));
    munmap(memory, 32 * 4096);
}

/* ------------------------------------------------------------------- a program at full speed */

enum { CHURN_PAGES = 60 };              /* page i holds needle i, or none */

static char *churned;
static int churn_file;

static void write_by_the_kernel(char *place, int id)
{
    static int fds[2];
    uintptr_t word = key ^ (BASE + (uintptr_t)id);

    if (fds[1] == 0 && pipe(fds) != 0)
        abort();
    if (write(fds[1], &word, sizeof word) != sizeof word ||
        read(fds[0], place, sizeof word) != sizeof word)
        abort();
}

static void churn_needles(unsigned random)
{
    int id = (int)(random >> 8) % CHURN_PAGES;
    char *page = churned + id * 4096;

    switch (random % 8) {
    case 0:
        uproot(page);
        break;
    case 1:
        madvise(page, 4096, MADV_DONTNEED);
        break;
    case 2:
        mmap(page, 4096, PROT_READ | PROT_WRITE, MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        plant(page, id);
        break;
    case 3:
        write_by_the_kernel(page, id);
        break;
    case 4:
        mprotect(page, 4096, PROT_NONE);
        mprotect(page, 4096, PROT_READ | PROT_WRITE);
        break;
    case 5: {
        char *fresh = map_pages(1, MAP_PRIVATE);

        plant(fresh, id);
        mremap(fresh, 4096, 4096, MREMAP_MAYMOVE | MREMAP_FIXED, page);
        break;
    }
    default:
        plant(page, id);
    }
}

/* Memory around it that comes and goes, and never holds a needle. */
static void churn_mappings(unsigned random)
{
    size_t pages = 1 + random % 200;
    char *memory = map_written(pages);
    char *file = mmap(NULL, 16 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE, churn_file, 0);

    if (ftruncate(churn_file, 16 * 4096) == 0 && file != MAP_FAILED)
        file[(random >> 4) % 16 * 4096] = 1;
    mprotect(memory, (1 + pages / 2) * 4096, random & 1 ? PROT_NONE : PROT_READ);
    munmap(memory + pages / 2 * 4096, 4096);
    if (ftruncate(churn_file, (random >> 2) % 16 * 4096) != 0)
        abort();
    munmap(memory, pages * 4096);
    munmap(file, 16 * 4096);
}

static void *churn(void *unused)
{
    unsigned random = 12345;

    (void)unused;
    while (program_may_go_on()) {
        random = random * 1664525 + 1013904223;
        churn_needles(random >> 3);
        if (random >> 28 == 0)
            churn_mappings(random >> 5);
        /* A word that is written too early or too late must not be written over before the stop. */
        for (volatile unsigned spin = random >> 8 & 32767; spin > 0; spin--)
            continue;
    }
    return NULL;
}

/* What is there in the stop was seen in this cycle, by one walk or another. */
static void check_churned(int cycle)
{
    int seen[NEEDLES];

    for (int id = 0; id < CHURN_PAGES; id++)
        seen[id] = times_seen(id);
    assert_true(visit());
    for (int id = 0; id < CHURN_PAGES; id++) {
        uintptr_t word = *(volatile uintptr_t *)(churned + id * 4096);

        if (word == (key ^ (BASE + (uintptr_t)id)) && seen[id] + times_seen(id) == 0)
            fail_msg("cycle %d: the word in page %d was missed", cycle, id);
    }
}

/* For two seconds, and on a busy machine until there were some cycles. */
static void nothing_is_missed_beside_a_program_at_full_speed(void **state)
{
    enum { LEAST_CYCLES = 20 };
    uint64_t end = host_clock_ns() + 2000000000u;
    pthread_t thread;
    int cycle = 0;

    (void)state;
    churned = map_written(CHURN_PAGES);
    churn_file = memfd_create("churned", 0);
    thread = start_program(churn);
    for (; cycle < LEAST_CYCLES || host_clock_ns() < end; cycle++) {
        begin();
        for (int round = 0; round < cycle % 4; round++)
            roots_visit_written(look, NULL);        /* begin() has reset what was seen */
        pause_program();
        check_churned(cycle);
        resume_program();
        roots_disarm(&userfault);
    }
    end_program(thread);
    munmap(churned, CHURN_PAGES * 4096);
    close(churn_file);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test_setup(words_are_seen_wherever_they_are, setup),
    cmocka_unit_test_setup(unchanged_pages_are_read_once, setup),
    cmocka_unit_test_setup(disarmed_pages_count_as_written, setup),
    cmocka_unit_test_setup(marks_of_a_lost_registration_do_not_count, setup),
    cmocka_unit_test_setup(marks_behind_what_is_not_registered_do_not_count, setup),
    cmocka_unit_test_setup(stores_are_seen, setup),
    cmocka_unit_test_setup(what_the_kernel_writes_is_seen, setup),
    cmocka_unit_test_setup(what_another_thread_writes_is_seen, setup),
    cmocka_unit_test_setup(what_is_written_while_it_is_read_is_seen, setup),
    cmocka_unit_test_setup(new_memory_is_seen, setup),
    cmocka_unit_test_setup(memory_mapped_in_its_place_is_seen, setup),
    cmocka_unit_test_setup(memory_moved_is_seen, setup),
    cmocka_unit_test_setup(memory_given_back_and_written_again_is_seen, setup),
    cmocka_unit_test_setup(stores_are_seen_whatever_became_of_a_page, setup),
    cmocka_unit_test_setup(protected_memory_is_seen, setup),
    cmocka_unit_test_setup(operands_in_code_are_seen, setup),
    cmocka_unit_test_setup(one_unreadable_page_costs_no_more_than_itself, setup),
    cmocka_unit_test_setup(a_private_file_is_seen, setup),
    cmocka_unit_test_setup(memory_that_became_a_stack_is_read_as_one, setup),
    cmocka_unit_test_setup(stacks_are_a_head_start, setup),
    cmocka_unit_test_setup(kernel_held_words_are_seen_once, setup),
    cmocka_unit_test_setup(from_a_task_with_its_own_descriptors, setup),
    cmocka_unit_test_setup(without_tracking_all_is_read, setup),
    cmocka_unit_test_setup(a_broken_walk_is_told_from_a_sound_one, setup),
    cmocka_unit_test_setup(nothing_is_missed_beside_a_program_at_full_speed, setup),
};

int main(void)
{
    return run_tracked("test_roots_running", tests, sizeof tests / sizeof tests[0]);
}
