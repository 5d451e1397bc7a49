/* hidden.c -- where a program may keep its only pointer to a block
 *
 * PURPOSE  For each place: a block is made, its address put there and nowhere else, three
 *          collections run, many blocks of the same size are made, and the block must be
 *          as it was.  The first case keeps blocks nowhere: nearly all of them must be gone, or
 *          the test could not fail (a stale word somewhere may keep one).
 *          Last, frames below an alternate stack, or a coroutine's, that is a local array.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <gcalloc.h>
#include <linux/aio_abi.h>
#include <linux/io_uring.h>
#include <mqueue.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

enum { BYTES = 112, OTHERS = 20000, PATTERN = 0x6b };

struct place {
    const char *name;
    void (*put)(uintptr_t block);
    uintptr_t (*get)(void);
};

/* What is remembered beside the place itself is complemented. */
static uintptr_t complement;
static int failures;

static uintptr_t nothing_get(void) { return ~complement; }

static uintptr_t *mapped;

static uintptr_t data_word = 1;
static void data_put(uintptr_t block) { data_word = block; }
static uintptr_t data_get(void) { return data_word; }

static uintptr_t bss_word;
static void bss_put(uintptr_t block) { bss_word = block; }
static uintptr_t bss_get(void) { return bss_word; }

static void interior_put(uintptr_t block) { bss_word = block + BYTES / 2; }
static uintptr_t interior_get(void) { return bss_word - BYTES / 2; }

/* BYTES fill a slot: the pointer is the address of the neighbour, which is there, too. */
static void end_put(uintptr_t block) { bss_word = block + BYTES; }
static uintptr_t end_get(void) { return bss_word - BYTES; }
static void large_end_put(uintptr_t block)
{
    enum { BLOCK = 1 << 20 };
    uintptr_t *holder = malloc(BLOCK);
    holder[0] = block;
    bss_word = (uintptr_t)holder + BLOCK;
    mapped = malloc(BLOCK);             /* a neighbour */
}
static uintptr_t large_end_get(void) { return *(uintptr_t *)(bss_word - (1 << 20)); }

static void low_tag_put(uintptr_t block) { bss_word = block | 7; }
static uintptr_t low_tag_get(void) { return bss_word & ~(uintptr_t)7; }

static void high_tag_put(uintptr_t block) { bss_word = block | (uintptr_t)0xfff9 << 48; }
static uintptr_t high_tag_get(void) { return bss_word << 16 >> 16; }

/* As in a packed structure: at an odd multiple of 4. */
static uintptr_t packed_word(const char *at)
{
    uintptr_t block;
    memcpy(&block, at, sizeof block);
    return block;
}
static char packed_data[24] __attribute__((aligned(8)));
static void packed_put(uintptr_t block) { memcpy(packed_data + 12, &block, sizeof block); }
static uintptr_t packed_get(void) { return packed_word(packed_data + 12); }

/* The same, across two pages of a block. */
static char *packed_block;
static void packed_block_put(uintptr_t block)
{
    enum { BLOCK = 1 << 20, AT = 300 * 1024 - 4 };
    packed_block = malloc(BLOCK);
    memset(packed_block, 0, BLOCK);
    packed_block += AT;
    memcpy(packed_block, &block, sizeof block);
}
static uintptr_t packed_block_get(void) { return packed_word(packed_block); }

static __thread uintptr_t tls_word;
static void tls_put(uintptr_t block) { tls_word = block; }
static uintptr_t tls_get(void) { return tls_word; }

static pthread_key_t keys[64];
static void key_put(uintptr_t block) { pthread_setspecific(keys[3], (void *)block); }
static uintptr_t key_get(void) { return (uintptr_t)pthread_getspecific(keys[3]); }
static void high_key_put(uintptr_t block) { pthread_setspecific(keys[60], (void *)block); }
static uintptr_t high_key_get(void) { return (uintptr_t)pthread_getspecific(keys[60]); }

static void map_put(uintptr_t block, int flags, int fd)
{
    mapped = mmap(NULL, 8192, PROT_READ | PROT_WRITE, flags, fd, 0);
    mapped[700] = block;
}
static uintptr_t map_get(void) { return mapped[700]; }
static void private_put(uintptr_t block) { map_put(block, MAP_PRIVATE | MAP_ANONYMOUS, -1); }
static void shared_put(uintptr_t block) { map_put(block, MAP_SHARED | MAP_ANONYMOUS, -1); }
static void memfd_put(uintptr_t block)
{
    int fd = memfd_create("hidden", 0);
    if (ftruncate(fd, 8192) != 0)
        abort();
    map_put(block, MAP_SHARED, fd);
    close(fd);
}
static void unreadable_put(uintptr_t block)
{
    private_put(block);
    mprotect(mapped, 8192, PROT_NONE);
}
static uintptr_t unreadable_get(void)
{
    mprotect(mapped, 8192, PROT_READ | PROT_WRITE);
    return map_get();
}

/* The operand of an instruction: at an odd address, across a page, in memory that may be run; large
 * enough to be tracked while a cycle marks. */
enum { CODE_BYTES = 1 << 20, CODE_AT = 4096 * 40 - 3 };
static char *code;
static void code_put(uintptr_t block)
{
    code = mmap(NULL, CODE_BYTES, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    for (int i = 0; i < CODE_BYTES; i += 4096)
        code[i] = (char)0xc3;
    memcpy(code + CODE_AT, &block, sizeof block);
}
static uintptr_t code_get(void)
{
    uintptr_t block;
    memcpy(&block, code + CODE_AT, sizeof block);
    munmap(code, CODE_BYTES);
    return block;
}
static void code_sealed_put(uintptr_t block)
{
    code_put(block);
    mprotect(code, CODE_BYTES, PROT_READ | PROT_EXEC);
}
static void code_shared_put(uintptr_t block)
{
    int fd = memfd_create("code", 0);
    if (ftruncate(fd, CODE_BYTES) != 0)
        abort();
    code = mmap(NULL, CODE_BYTES, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_SHARED, fd, 0);
    close(fd);
    memcpy(code + CODE_AT, &block, sizeof block);
}
static void code_late_put(uintptr_t block)
{
    code_put(0);
    gc_collect();
    memcpy(code + CODE_AT, &block, sizeof block);
}

static uintptr_t *broken;
static void brk_put(uintptr_t block) { broken = sbrk(4096); broken[9] = block; }
static uintptr_t brk_get(void) { return broken[9]; }

static void chain_put(uintptr_t block)
{
    uintptr_t *holder = gc_alloc(64);
    holder[5] = block;
    bss_word = (uintptr_t)holder;
}
static uintptr_t chain_get(void) { return ((uintptr_t *)bss_word)[5]; }

static void realloced_put(uintptr_t block)
{
    uintptr_t *holder = malloc(64);
    holder[5] = block;
    bss_word = (uintptr_t)realloc(holder, 3 << 20);
}

static jmp_buf jump;
static void jump_put(uintptr_t block)
{
    register uintptr_t kept __asm__("rbx") = block;
    __asm__ volatile("" : "+r"(kept));
    (void)!setjmp(jump);
    __asm__ volatile("" : "+r"(kept));
}

static int epoll_fd, epoll_pipe[2];
static void epoll_put(uintptr_t block)
{
    struct epoll_event event = { .events = EPOLLIN, .data.u64 = block };
    epoll_fd = epoll_create1(0);
    if (pipe(epoll_pipe) != 0)
        abort();
    epoll_ctl(epoll_fd, EPOLL_CTL_ADD, epoll_pipe[0], &event);
}
static uintptr_t epoll_get(void)
{
    struct epoll_event event;
    if (write(epoll_pipe[1], "x", 1) != 1 || epoll_wait(epoll_fd, &event, 1, 1000) != 1)
        return 0;
    return event.data.u64;
}

static timer_t timer;
static void timer_put(uintptr_t block)
{
    struct sigevent event = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR2,
                              .sigev_value.sival_ptr = (void *)block };
    timer_create(CLOCK_MONOTONIC, &event, &timer);
}
static uintptr_t value_of_signal(void)
{
    siginfo_t info;
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR2);
    while (sigwaitinfo(&set, &info) < 0)
        continue;
    return (uintptr_t)info.si_value.sival_ptr;
}
static uintptr_t timer_get(void)
{
    struct itimerspec soon = { .it_value.tv_nsec = 1000000 };
    timer_settime(timer, 0, &soon, NULL);
    return value_of_signal();
}

static void pending_put(uintptr_t block)
{
    sigqueue(getpid(), SIGUSR2, (union sigval){ .sival_ptr = (void *)block });
}
static void pending_thread_put(uintptr_t block)
{
    pthread_sigqueue(pthread_self(), SIGUSR2, (union sigval){ .sival_ptr = (void *)block });
}

/* Where the kernel does not have what the place needs: the block is kept another way. */
static int missing;
static void do_without(uintptr_t block, const char *what)
{
    printf("SKIP %s: %s\n", what, strerror(errno));
    missing = 1;
    bss_word = block;
}

/* Behind a byte of something else, and so much that it takes more than one look. */
static int message_pipe[2];
static char message[60001 + sizeof(uintptr_t)];
static void pipe_put(uintptr_t block)
{
    memset(message, 'x', sizeof message);
    memcpy(message + 60001, &block, sizeof block);
    if (pipe(message_pipe) != 0 || write(message_pipe[1], message, sizeof message) != sizeof message)
        abort();
    memset(message, 0, sizeof message);
}
static uintptr_t pipe_get(void)
{
    if (read(message_pipe[0], message, sizeof message) != sizeof message)
        abort();
    uintptr_t block = packed_word(message + 60001);
    close(message_pipe[0]);
    close(message_pipe[1]);
    return block;
}

static mqd_t queue;
static void queue_put(uintptr_t block)
{
    struct mq_attr attributes = { .mq_maxmsg = 1, .mq_msgsize = 1 };
    struct sigevent event = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR2,
                              .sigev_value.sival_ptr = (void *)block };
    char name[32];
    snprintf(name, sizeof name, "/hidden.%d", getpid());
    queue = mq_open(name, O_CREAT | O_RDWR, 0600, &attributes);
    missing = 0;
    if (queue == (mqd_t)-1 || mq_unlink(name) != 0 || mq_notify(queue, &event) != 0)
        do_without(block, "mq_notify");
}
static uintptr_t queue_get(void)
{
    if (missing)
        return bss_word;
    mq_send(queue, "x", 1, 0);
    uintptr_t block = value_of_signal();
    mq_close(queue);
    return block;
}

/* A ring with room for one request: the second one overwrites the first, which the kernel has taken. */
static int request_pipe[2], idle_pipe[2];
static struct {
    int fd;
    char *memory;
    size_t bytes;
    struct io_uring_params parameters;
    struct io_uring_sqe *request;
} uring;
static uint32_t *uring_word(uint32_t offset) { return (uint32_t *)(uring.memory + offset); }
static void uring_poll(int fd, uintptr_t data)
{
    *uring.request = (struct io_uring_sqe){ .opcode = IORING_OP_POLL_ADD, .fd = fd,
                                            .poll_events = POLLIN, .user_data = data };
    uring_word(uring.parameters.sq_off.array)[0] = 0;
    __atomic_fetch_add(uring_word(uring.parameters.sq_off.tail), 1, __ATOMIC_RELEASE);
    if (syscall(SYS_io_uring_enter, uring.fd, 1, 0, 0, NULL, 0) != 1)
        abort();
}
static void uring_put(uintptr_t block)
{
    memset(&uring, 0, sizeof uring);
    uring.fd = (int)syscall(SYS_io_uring_setup, 1, &uring.parameters);
    missing = 0;
    if (uring.fd < 0) {
        do_without(block, "io_uring");
        return;
    }
    if (pipe(request_pipe) != 0 || pipe(idle_pipe) != 0)
        abort();
    uring.bytes = uring.parameters.cq_off.cqes +
                  uring.parameters.cq_entries * sizeof(struct io_uring_cqe);
    uring.memory = mmap(NULL, uring.bytes, PROT_READ | PROT_WRITE, MAP_SHARED, uring.fd,
                        IORING_OFF_SQ_RING);
    uring.request = mmap(NULL, sizeof *uring.request, PROT_READ | PROT_WRITE, MAP_SHARED, uring.fd,
                         IORING_OFF_SQES);
    uring_poll(request_pipe[0], block);
    uring_poll(idle_pipe[0], 0);
}
static uintptr_t uring_get(void)
{
    if (missing)
        return bss_word;
    if (write(request_pipe[1], "x", 1) != 1 ||
        syscall(SYS_io_uring_enter, uring.fd, 0, 1, IORING_ENTER_GETEVENTS, NULL, 0) < 0)
        return 0;
    uintptr_t block = ((struct io_uring_cqe *)(uring.memory + uring.parameters.cq_off.cqes))->user_data;
    munmap(uring.request, sizeof *uring.request);
    munmap(uring.memory, uring.bytes);
    close(uring.fd);
    return block;
}

static aio_context_t aio;
static void aio_put(uintptr_t block)
{
    struct iocb request = { .aio_lio_opcode = IOCB_CMD_POLL, .aio_buf = POLLIN, .aio_data = block };
    struct iocb *requests[] = { &request };
    if (pipe(request_pipe) != 0)
        abort();
    request.aio_fildes = (uint32_t)request_pipe[0];
    missing = 0;
    aio = 0;
    if (syscall(SYS_io_setup, 1, &aio) != 0 || syscall(SYS_io_submit, aio, 1, requests) != 1)
        do_without(block, "libaio");
}
static uintptr_t aio_get(void)
{
    struct io_event event;
    if (missing)
        return bss_word;
    if (write(request_pipe[1], "x", 1) != 1 ||
        syscall(SYS_io_getevents, aio, 1, 1, &event, NULL) != 1)
        return 0;
    syscall(SYS_io_destroy, aio);
    return event.data;
}

static ucontext_t here, there;
static uintptr_t carried;
static void coroutine(void)
{
    uintptr_t local = carried;
    carried = 0;
    __asm__ volatile("" : "+m"(local));
    swapcontext(&there, &here);
    __asm__ volatile("" : "+m"(local));
    carried = local;
    swapcontext(&there, &here);
}
static void coroutine_put(uintptr_t block)
{
    getcontext(&there);
    there.uc_stack.ss_size = 65536;
    there.uc_stack.ss_sp = mmap(NULL, 65536, PROT_READ | PROT_WRITE,
                                MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    makecontext(&there, coroutine, 0);
    carried = block;
    swapcontext(&here, &there);
}
static uintptr_t coroutine_get(void)
{
    swapcontext(&here, &there);
    return carried;
}

static pthread_t thread;
static _Atomic int ready, resume;
static void *hold_in_stack(void *block)
{
    void *volatile local = block;
    ready = 1;
    while (!resume)
        usleep(1000);
    return local;
}
static void *hold_in_register(void *block)
{
    register void *kept __asm__("r12") = block;
    ready = 1;
    while (!resume)
        __asm__ volatile("pause" : "+r"(kept));
    return kept;
}
static void *hold_in_vector(void *block)
{
    __asm__ volatile("movq %0, %%xmm7" : : "r"(block) : "xmm7");
    block = NULL;
    ready = 1;
    __asm__ volatile("1: pause\n cmpl $0, %1\n je 1b\n movq %%xmm7, %0" : "=r"(block) : "m"(resume));
    return block;
}
static void *hold_masked(void *block)
{
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, NULL);
    return hold_in_register(block);
}
static void *hold_in_tls(void *block)
{
    tls_word = (uintptr_t)block;
    block = NULL;
    ready = 1;
    while (!resume)
        usleep(1000);
    return (void *)tls_word;
}
static void *end_at_once(void *block)
{
    ready = 1;
    return block;
}
static void thread_put(uintptr_t block, void *(*hold)(void *))
{
    ready = resume = 0;
    pthread_create(&thread, NULL, hold, (void *)block);
    while (!ready)
        ;
}
static uintptr_t thread_get(void)
{
    void *block;
    resume = 1;
    pthread_join(thread, &block);
    return (uintptr_t)block;
}
static void stack_put(uintptr_t block) { thread_put(block, hold_in_stack); }
static void register_put(uintptr_t block) { thread_put(block, hold_in_register); }
static void vector_put(uintptr_t block) { thread_put(block, hold_in_vector); }
static void masked_put(uintptr_t block) { thread_put(block, hold_masked); }
static void thread_tls_put(uintptr_t block) { thread_put(block, hold_in_tls); }
static void ended_put(uintptr_t block) { thread_put(block, end_at_once); }

static FILE *cookie_file;
static uintptr_t cookie_seen;
static ssize_t cookie_write(void *cookie, const char *data, size_t bytes)
{
    (void)data;
    cookie_seen = (uintptr_t)cookie;
    return (ssize_t)bytes;
}
static void cookie_put(uintptr_t block)
{
    cookie_io_functions_t functions = { .write = cookie_write };
    cookie_file = fopencookie((void *)block, "w", functions);
}
static uintptr_t cookie_get(void)
{
    fputc('x', cookie_file);
    fclose(cookie_file);
    return cookie_seen;
}

static uintptr_t *registered;
static void registered_put(uintptr_t block)
{
    /* A file's shared memory is no root, unless it is registered. */
    char name[] = "/tmp/hidden.XXXXXX";
    int fd = mkstemp(name);
    unlink(name);
    if (ftruncate(fd, 4096) != 0)
        abort();
    registered = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (!gc_add_roots(registered, registered + 512))
        abort();
    registered[100] = block;
}
static uintptr_t registered_get(void) { return registered[100]; }

static const struct place places[] = {
    { "initialised data", data_put, data_get },
    { "bss", bss_put, bss_get },
    { "interior pointer", interior_put, interior_get },
    { "one past the end", end_put, end_get },
    { "one past the end of a large block that holds it", large_end_put, large_end_get },
    { "tag in the low bits", low_tag_put, low_tag_get },
    { "tag in the top 16 bits", high_tag_put, high_tag_get },
    { "packed structure in data", packed_put, packed_get },
    { "packed structure in a block, across two pages", packed_block_put, packed_block_get },
    { "thread-local of the main thread", tls_put, tls_get },
    { "thread-local of another thread", thread_tls_put, thread_get },
    { "pthread key below 32", key_put, key_get },
    { "pthread key above 32", high_key_put, high_key_get },
    { "private mapping", private_put, map_get },
    { "anonymous shared mapping", shared_put, map_get },
    { "memfd mapping", memfd_put, map_get },
    { "mapping made PROT_NONE", unreadable_put, unreadable_get },
    { "compiled code", code_put, code_get },
    { "compiled code made read-only", code_sealed_put, code_get },
    { "compiled code in a memfd", code_shared_put, code_get },
    { "compiled code, in a tracked mapping", code_late_put, code_get },
    { "brk heap", brk_put, brk_get },
    { "gc_alloc object", chain_put, chain_get },
    { "malloc block moved by realloc", realloced_put, chain_get },
    { "jmp_buf", jump_put, nothing_get },
    { "epoll data", epoll_put, epoll_get },
    { "timer value", timer_put, timer_get },
    { "pipe", pipe_put, pipe_get },
    { "value of a pending signal", pending_put, value_of_signal },
    { "value of a thread's pending signal", pending_thread_put, value_of_signal },
    { "request of io_uring", uring_put, uring_get },
    { "request of libaio", aio_put, aio_get },
    { "coroutine stack", coroutine_put, coroutine_get },
    { "stack of a sleeping thread", stack_put, thread_get },
    { "register of a running thread", register_put, thread_get },
    { "vector register of a running thread", vector_put, thread_get },
    { "register of a thread that blocks all signals", masked_put, thread_get },
    { "result of an ended thread", ended_put, thread_get },
    { "stdio cookie", cookie_put, cookie_get },
    { "registered range", registered_put, registered_get },
    { "message queue's notification", queue_put, queue_get },    /* changes how later cycles mark */
};

/* Overwrites what calls have left below the stack pointer, and registers. */
static __attribute__((noinline)) void clobber_stack(void)
{
    volatile char junk[65536];

    memset((char *)junk, 0, sizeof junk);
    __asm__ volatile("" ::: "rbx", "r12", "r13", "r14", "r15", "memory");
}

static __attribute__((noinline)) void plant(const struct place *place)
{
    uintptr_t block = (uintptr_t)malloc(BYTES);

    memset((void *)block, PATTERN, BYTES);
    complement = ~block;
    place->put(block);
}

/* Makes many blocks of the size; true when one of them is the planted one. */
static __attribute__((noinline)) int handed_out_again(void)
{
    static void *others[OTHERS];
    int again = 0;

    for (int i = 0; i < OTHERS; i++) {
        others[i] = malloc(BYTES);
        memset(others[i], 0x11, BYTES);
        again |= (uintptr_t)others[i] == ~complement;
    }
    for (int i = 0; i < OTHERS; i++)
        free(others[i]);
    memset(others, 0, sizeof others);
    return again;
}

static __attribute__((noinline)) void check(const struct place *place)
{
    plant(place);
    clobber_stack();
    for (int i = 0; i < 3; i++)
        gc_collect();
    clobber_stack();
    int again = handed_out_again();

    uintptr_t block = place->get();
    int good = !again && block == ~complement;

    for (int i = 0; good && i < BYTES; i++)
        good = ((unsigned char *)block)[i] == PATTERN;
    printf("%s %s\n", good ? "ok" : "FAIL", place->name);
    failures += !good;
}

/* --- frames that wait below the stack pointer: of a thread that runs on one of its own local arrays --- */

enum { HELD = 40, INNER_OTHERS = OTHERS / 4, INNER_BYTES = 128 << 10 };

static uintptr_t held_complements[HELD];
static int held_lost;

/* A handler, or the body of a coroutine. */
static void collect_inside(void)
{
    static void *others[INNER_OTHERS];

    for (int i = 0; i < 3; i++)
        gc_collect();
    for (int i = 0; i < INNER_OTHERS; i++) {
        others[i] = malloc(BYTES);
        memset(others[i], 0x11, BYTES);
        for (int k = 0; k < HELD; k++)
            held_lost += (uintptr_t)others[i] == ~held_complements[k];
    }
    for (int i = 0; i < INNER_OTHERS; i++)
        free(others[i]);
    memset(others, 0, sizeof others);
}

static void on_signal(int number)
{
    (void)number;
    collect_inside();
}

static __attribute__((noinline)) void interrupt(void) { raise(SIGUSR1); }
static __attribute__((noinline)) void switch_there(void) { swapcontext(&here, &there); }

/* Holds blocks in its frame, and nowhere else, while what it calls runs above it. */
static __attribute__((noinline)) void hold_below(void (*leave)(void))
{
    void *volatile held[HELD];

    held_lost = 0;
    for (int i = 0; i < HELD; i++) {
        held[i] = malloc(BYTES);
        held_complements[i] = ~(uintptr_t)held[i];
        memset(held[i], PATTERN, BYTES);
    }
    leave();
    for (int i = 0; i < HELD; i++)
        held_lost += ((unsigned char *)held[i])[BYTES - 1] != PATTERN;
}

static __attribute__((noinline)) void on_inner_alternate(void)
{
    char inner[INNER_BYTES];
    stack_t stack = { .ss_sp = inner, .ss_size = sizeof inner }, none = { .ss_flags = SS_DISABLE };
    struct sigaction action = { .sa_handler = on_signal, .sa_flags = SA_ONSTACK };

    sigaltstack(&stack, NULL);
    sigaction(SIGUSR1, &action, NULL);
    hold_below(interrupt);
    sigaltstack(&none, NULL);
}

static __attribute__((noinline)) void on_inner_context(void)
{
    char inner[INNER_BYTES];

    getcontext(&there);
    there.uc_stack.ss_sp = inner;
    there.uc_stack.ss_size = sizeof inner;
    there.uc_link = &here;
    makecontext(&there, collect_inside, 0);
    hold_below(switch_there);
}

static void *run_inner(void *run)
{
    (*(void (**)(void))run)();
    return NULL;
}

static void check_inner(const char *name, void (*run)(void))
{
    pthread_t other;

    run();
    int lost = held_lost;

    pthread_create(&other, NULL, run_inner, &run);
    pthread_join(other, NULL);
    lost += held_lost;
    printf("%s frames below %s: %d looks at lost blocks\n", lost == 0 ? "ok" : "FAIL", name, lost);
    failures += lost != 0;
}

enum { LOST = 500 };

static __attribute__((noinline)) void lose(uintptr_t *complements)
{
    for (int i = 0; i < LOST; i++)
        complements[i] = ~(uintptr_t)malloc(BYTES);
}

static void check_nowhere(void)
{
    static uintptr_t complements[LOST];
    int gone = 0;

    lose(complements);
    clobber_stack();
    for (int i = 0; i < 3; i++)
        gc_collect();
    for (int i = 0; i < LOST; i++)
        gone += gc_base((void *)~complements[i]) == NULL;
    printf("%s nowhere: %d of %d reclaimed\n", gone > LOST * 9 / 10 ? "ok" : "FAIL", gone, LOST);
    failures += gone <= LOST * 9 / 10;
}

int main(void)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGUSR2);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    for (int i = 0; i < 64; i++)
        pthread_key_create(&keys[i], NULL);
    check_nowhere();
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++)
        check(&places[i]);
    check_inner("an alternate stack", on_inner_alternate);
    check_inner("a coroutine's stack", on_inner_context);
    return failures != 0;
}
