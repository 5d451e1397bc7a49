/* rings.c -- objects whose only address is with a request of io_uring
 *
 * PURPOSE  No interface tells what the requests under way are about.  So the malloc blocks of who leaves some to
 *          them alone are not reclaimed any more; those of who has them in a table as well are, and so is
 *          what was leaked once its requests had been completed.  Each case has a process of its own.
 */
#define _GNU_SOURCE
#include <gcalloc.h>
#include <linux/io_uring.h>
#include <poll.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "expect.h"

enum { BYTES = 112, BLOCKS = 32, ENTRIES = 128, OTHERS = 20000, PATTERN = 0x6b, LEAKS = 5000, LEAK_BYTES = 1000 };

/* --- a ring, by system calls of our own: liburing makes them like this ----------------------------- */

static struct {
    int fd;
    uint32_t *sq_tail, *sq_mask, *sq_array, *cq_head, *cq_tail, *cq_mask;
    struct io_uring_sqe *requests;
    struct io_uring_cqe *completions;
} ring;

static void *map_ring(size_t bytes, off_t offset)
{
    void *mapped = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, ring.fd, offset);

    return mapped != MAP_FAILED ? mapped : NULL;
}

static bool open_ring(void)
{
    struct io_uring_params p = { 0 };

    ring.fd = (int)syscall(SYS_io_uring_setup, ENTRIES, &p);
    if (ring.fd < 0)
        return false;
    size_t sq = p.sq_off.array + p.sq_entries * 4, cq = p.cq_off.cqes + p.cq_entries * sizeof(struct io_uring_cqe);
    char *both = map_ring(sq > cq ? sq : cq, IORING_OFF_SQ_RING);

    ring.requests = map_ring(p.sq_entries * sizeof(struct io_uring_sqe), IORING_OFF_SQES);
    if (both == NULL || ring.requests == NULL)
        return false;
    ring.sq_tail = (uint32_t *)(both + p.sq_off.tail), ring.sq_mask = (uint32_t *)(both + p.sq_off.ring_mask);
    ring.sq_array = (uint32_t *)(both + p.sq_off.array);
    ring.cq_head = (uint32_t *)(both + p.cq_off.head), ring.cq_tail = (uint32_t *)(both + p.cq_off.tail);
    ring.cq_mask = (uint32_t *)(both + p.cq_off.ring_mask);
    ring.completions = (struct io_uring_cqe *)(both + p.cq_off.cqes);
    return true;
}

static bool submit(uint8_t opcode, int fd, unsigned flags, uintptr_t user_data)
{
    uint32_t tail = *ring.sq_tail, at = tail & *ring.sq_mask;

    ring.requests[at] = (struct io_uring_sqe){
        .opcode = opcode, .fd = fd, .poll32_events = opcode == IORING_OP_POLL_ADD ? POLLIN : 0,
        .len = flags, .user_data = user_data,
    };
    ring.sq_array[at] = at;
    __atomic_store_n(ring.sq_tail, tail + 1, __ATOMIC_RELEASE);
    return syscall(SYS_io_uring_enter, ring.fd, 1, 0, 0, NULL, 0) == 1;
}

static uintptr_t await_completion(void)
{
    uint32_t head = *ring.cq_head;

    while (__atomic_load_n(ring.cq_tail, __ATOMIC_ACQUIRE) == head)
        syscall(SYS_io_uring_enter, ring.fd, 0, 1, IORING_ENTER_GETEVENTS, NULL, 0);
    uintptr_t user_data = ring.completions[head & *ring.cq_mask].user_data;

    __atomic_store_n(ring.cq_head, head + 1, __ATOMIC_RELEASE);
    return user_data;
}

/* --- blocks ------------------------------------------------------------------------------------------ */

static int pipe_fds[2];
void *table[BLOCKS];            /* for all to see: the compiler keeps it */

static __attribute__((noinline)) void clobber_stack(void)
{
    volatile char junk[65536];

    memset((char *)junk, 0, sizeof junk);
    __asm__ volatile("" ::: "rbx", "r12", "r13", "r14", "r15", "memory");
}

static uintptr_t new_block(void)
{
    void *block = malloc(BYTES);

    memset(block, PATTERN, BYTES);
    return (uintptr_t)block;
}

static bool is_whole(const void *block)
{
    static char whole[BYTES];

    memset(whole, PATTERN, BYTES);
    return memcmp(block, whole, BYTES) == 0;
}

static uint64_t heap_bytes(void)
{
    struct gc_memstats stats;

    gc_read_memstats(&stats);
    return stats.heap_alloc;
}

/* Whether what is leaked is reclaimed. */
static bool reclaims(void)
{
    uint64_t before = heap_bytes();

    for (int i = 0; i < LEAKS; i++)
        memset(malloc(LEAK_BYTES), 0, LEAK_BYTES);
    clobber_stack();
    for (int i = 0; i < 3; i++)
        gc_collect();
    uint64_t after = heap_bytes();

    for (int i = 0; i < OTHERS; i++)
        memset(malloc(BYTES), 0, BYTES);
    return after < before + LEAKS * LEAK_BYTES / 10;
}

static bool submit_blocks(uint8_t opcode, int fd, unsigned flags)
{
    for (int i = 0; i < BLOCKS; i++)
        if (!submit(opcode, fd, flags, new_block()))
            return false;
    return true;
}

static bool all_come_back(void)
{
    bool whole = true;

    if (write(pipe_fds[1], "x", 1) != 1)
        return false;
    for (int i = 0; i < BLOCKS; i++)
        whole &= is_whole((void *)await_completion());
    return whole;
}

/* --- cases ------------------------------------------------------------------------------------------- */

static void kernel_alone(void)
{
    EXPECT(submit_blocks(IORING_OP_POLL_ADD, pipe_fds[0], 0));
    EXPECT(!reclaims());
    EXPECT(all_come_back());
}

/* Others have taken the places of half of the requests. */
static void some_out_of_sight(void)
{
    EXPECT(submit_blocks(IORING_OP_POLL_ADD, pipe_fds[0], 0));
    for (int i = 0; i < ENTRIES - BLOCKS / 2; i++) {
        EXPECT(submit(IORING_OP_NOP, -1, 0, 1));
        EXPECT(await_completion() == 1);
    }
    EXPECT(!reclaims());
    EXPECT(all_come_back());
}

/* Each has been completed once, and goes on. */
static void repeated(void)
{
    EXPECT(submit_blocks(IORING_OP_POLL_ADD, pipe_fds[0], IORING_POLL_ADD_MULTI));
    EXPECT(all_come_back());
    reclaims();
    EXPECT(all_come_back());
}

static void completed_and_not_fetched(void)
{
    EXPECT(submit_blocks(IORING_OP_NOP, -1, 0));
    EXPECT(reclaims());
    EXPECT(all_come_back());
}

static void known_elsewhere(void)
{
    for (int i = 0; i < BLOCKS; i++) {
        table[i] = (void *)new_block();
        EXPECT(submit(IORING_OP_POLL_ADD, pipe_fds[0], 0, (uintptr_t)table[i]));
    }
    EXPECT(reclaims());
    EXPECT(all_come_back());
}

/* What was seen once is believed. */
static void kernel_alone_once(void)
{
    kernel_alone();
    for (int i = 0; i < 2 * ENTRIES; i++) {
        EXPECT(submit(IORING_OP_NOP, -1, 0, 1));
        EXPECT(await_completion() == 1);
    }
    EXPECT(!reclaims());
}

static void numbers_only(void)
{
    EXPECT(submit(IORING_OP_NOP, -1, 0, 1));
    EXPECT(await_completion() == 1);
    EXPECT(reclaims());
}

static void leaked_when_completed(void)
{
    EXPECT(submit_blocks(IORING_OP_NOP, -1, 0));
    for (int i = 0; i < BLOCKS; i++)
        await_completion();
    EXPECT(reclaims());
    EXPECT(reclaims());
}

static const struct {
    const char *name;
    void (*run)(void);
} cases[] = {
    { "a block that a request alone names", kernel_alone },
    { "requests that left the ring", some_out_of_sight },
    { "once a block that a request alone names", kernel_alone_once },
    { "requests that go on", repeated },
    { "requests with numbers", numbers_only },
    { "completions not yet fetched", completed_and_not_fetched },
    { "blocks that are in a table, too", known_elsewhere },
    { "blocks leaked after their requests", leaked_when_completed },
};

static bool passes(void (*run)(void))
{
    int status;
    pid_t child = fork();

    if (child == 0) {
        if (pipe(pipe_fds) != 0 || !open_ring())
            _exit(2);
        failures = 0;
        run();
        fflush(stdout);
        _exit(failures != 0);
    }
    return child > 0 && waitpid(child, &status, 0) == child && status == 0;
}

int main(void)
{
    if (!open_ring()) {
        printf("SKIP io_uring is not to be had here\n");
        return 0;
    }
    close(ring.fd);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        bool passed = passes(cases[i].run);
        printf("%s %s\n", passed ? "ok" : "FAIL", cases[i].name);
        fflush(stdout);
        failures += !passed;
    }
    return failures != 0;
}
