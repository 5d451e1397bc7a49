/* wrappers.c -- the calls by which a program changes the rules while a cycle marks
 *
 * PURPOSE  A thread collects all the time, and meanwhile
 *            - malloc'ed pages are made unreadable and readable again: no marker may die of it, and
 *              a collection must be possible afterwards;
 *            - the only pointers to objects are given to epoll and to timers: what comes back must
 *              be as it was;
 *            - the program opens a userfaultfd for memory of its own: nobody of ours may hold it;
 *            - a splice waits, here or in another process, and has its pipe locked: nobody may wait for it;
 *            - a child is waited for as vfork's is, but has memory of its own: other threads go on;
 *            - the program, or libc for it, waits to be notified of a message: it must be, and what libc has
 *              given to the kernel for that must stay.
 *          By libc's functions and by syscall().  Each case in a child of its own, for the first
 *          call changes how the library goes on.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <gcalloc.h>
#include <linux/userfaultfd.h>
#include <mqueue.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { PAGE = 4096, SKIPPED = 77, WORDS = 12, CHAIN = 100000, POOL = 512, SECONDS = 3 };

#define REQUIRE(condition)                                                              \
    ((condition) ? (void)0                                                              \
                 : (printf("wrappers.c:%d: %s (errno %d)\n", __LINE__, #condition, errno), \
                    fflush(stdout), _exit(1)))

static volatile int stop;
static volatile unsigned collections;

/* Something to mark, one after the other, so that marking takes some ms; and at its end, reached last,
 * a pool of objects.  The pool's own address is nowhere else, but for its complement. */
struct node { struct node *next; void *words[7]; };
static struct node *chain;
static uintptr_t pool_complement;

static void make_chain(void)
{
    for (int i = 0; i < CHAIN; i++) {
        struct node *node = calloc(1, sizeof *node);

        if (i == 0) {
            node->words[0] = calloc(POOL, sizeof(void *));
            pool_complement = ~(uintptr_t)node->words[0];
        }
        node->next = chain;
        chain = node;
    }
}

static void *collect(void *unused)
{
    while (!stop) {
        gc_collect();
        collections++;
    }
    return unused;
}

static pthread_t start_collecting(void)
{
    pthread_t thread;

    make_chain();
    REQUIRE(pthread_create(&thread, NULL, collect, NULL) == 0);
    while (collections < 2)
        usleep(1000);
    return thread;
}

static void stop_collecting(pthread_t thread)
{
    stop = 1;
    pthread_join(thread, NULL);
}

static double seconds(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* --- unreadable heap ------------------------------------------------------------------------ */

typedef int (*protector)(void *address, size_t bytes, int protection);

static int by_syscall(void *address, size_t bytes, int protection)
{
    return (int)syscall(SYS_mprotect, address, bytes, protection);
}

static int by_pkey_call(void *address, size_t bytes, int protection)
{
    return pkey_mprotect(address, bytes, protection, -1);
}

static int by_pkey_syscall(void *address, size_t bytes, int protection)
{
    return (int)syscall(SYS_pkey_mprotect, address, bytes, protection, -1);
}

static void hide_and_show(protector protect)
{
    enum { BLOCKS = 8, PAGES = 16 };
    char *blocks[BLOCKS];
    pthread_t thread = start_collecting();
    unsigned rounds = 0;

    for (int i = 0; i < BLOCKS; i++) {
        blocks[i] = aligned_alloc(PAGE, PAGES * PAGE);
        memset(blocks[i], i + 1, PAGES * PAGE);
    }
    for (double end = seconds() + SECONDS; seconds() < end || rounds < 50; rounds++) {
        char *block = blocks[rounds % BLOCKS];
        REQUIRE(protect(block + PAGE, 8 * PAGE, PROT_NONE) == 0);
        usleep(300);
        REQUIRE(protect(block + PAGE, 8 * PAGE, PROT_READ | PROT_WRITE) == 0);
        REQUIRE(block[PAGE] == (char)(rounds % BLOCKS + 1));
    }
    stop_collecting(thread);
    errno = 0;
    REQUIRE(protect(blocks[0] + 1, PAGE, PROT_NONE) == -1 && errno == EINVAL);
    REQUIRE(gc_collect());
}

static void mprotect_hides(void) { hide_and_show(mprotect); }
static void syscall_hides(void) { hide_and_show(by_syscall); }
static void pkey_mprotect_hides(void) { hide_and_show(by_pkey_call); }
static void pkey_syscall_hides(void) { hide_and_show(by_pkey_syscall); }

/* --- pointers that only the kernel has ------------------------------------------------------- */

static uint64_t *make_object(uint64_t number)
{
    uint64_t *object = gc_alloc_noscan(WORDS * sizeof *object);

    for (int i = 0; i < WORDS; i++)
        object[i] = number * 0x9e3779b97f4a7c15u + (uint64_t)i;
    return object;
}

static void check_object(const uint64_t *object, const char *what)
{
    for (int i = 1; i < WORDS; i++) {
        if (object[i] == object[0] + (uint64_t)i)
            continue;
        printf("an object that only %s knew has changed\n", what);
        fflush(stdout);
        _exit(1);
    }
}

/* An object that was made some time ago and leaves the pool: before this cycle began to mark, mostly, and
 * before it came to the pool.  A new one would be safe without anybody's help. */
static __attribute__((noinline)) uint64_t *take_object(void)
{
    static unsigned left;
    uint64_t **pool = (uint64_t **)~pool_complement;

    if (left == 0)
        for (; left < POOL; left++)
            pool[left] = make_object(left + 1);
    uint64_t *object = pool[--left];

    pool[left] = NULL;
    return object;
}

/* What freed objects turn into. */
static void litter(void)
{
    for (int i = 0; i < 200; i++)
        memset(gc_alloc_noscan(WORDS * sizeof(uint64_t)), 0x55, WORDS * sizeof(uint64_t));
}

static int raw_calls;

/* Out of line: nothing of the pointer stays in the caller's frame. */
static __attribute__((noinline)) void give_to_epoll(int epoll, int operation, int fd)
{
    struct epoll_event event = { .events = EPOLLIN, .data.ptr = take_object() };
    long result = raw_calls ? syscall(SYS_epoll_ctl, epoll, operation, fd, &event)
                            : epoll_ctl(epoll, operation, fd, &event);

    REQUIRE(result == 0);
    memset(&event, 0, sizeof event);
    __asm__ volatile("" : : "r"(&event) : "memory");
}

static __attribute__((noinline)) void check_epoll(int epoll, int count)
{
    struct epoll_event events[64];

    REQUIRE(epoll_wait(epoll, events, 64, 0) == count);
    for (int i = 0; i < count; i++)
        check_object(events[i].data.ptr, "epoll");
    memset(events, 0, sizeof events);
    __asm__ volatile("" : : "r"(events) : "memory");
}

static void epoll_keeps(void)
{
    enum { FDS = 32 };
    int epoll = epoll_create1(0), fds[FDS];
    pthread_t thread = start_collecting();

    for (int i = 0; i < FDS; i++) {
        fds[i] = eventfd(1, 0);
        give_to_epoll(epoll, EPOLL_CTL_ADD, fds[i]);
    }
    for (double end = seconds() + SECONDS; seconds() < end;) {
        for (int i = 0; i < FDS; i++) {
            give_to_epoll(epoll, EPOLL_CTL_MOD, fds[i]);
            usleep(100);
        }
        litter();
        check_epoll(epoll, FDS);
    }
    stop_collecting(thread);
    errno = 0;
    REQUIRE(epoll_ctl(epoll, EPOLL_CTL_ADD, fds[0], NULL) == -1 && errno == EFAULT);
    REQUIRE(epoll_ctl(epoll, EPOLL_CTL_DEL, fds[0], NULL) == 0);
    REQUIRE(epoll_ctl(epoll, EPOLL_CTL_DEL, fds[0], NULL) == -1 && errno == ENOENT);
}

static __attribute__((noinline)) timer_t give_to_timer(void)
{
    struct sigevent event = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN + 1,
                              .sigev_value.sival_ptr = take_object() };
    timer_t timer = NULL;
    int id = 0;

    if (raw_calls) {
        REQUIRE(syscall(SYS_timer_create, CLOCK_MONOTONIC, &event, &id) == 0);
        timer = (timer_t)(intptr_t)id;
    } else {
        REQUIRE(timer_create(CLOCK_MONOTONIC, &event, &timer) == 0);
    }
    memset(&event, 0, sizeof event);
    __asm__ volatile("" : : "r"(&event) : "memory");
    return timer;
}

static __attribute__((noinline)) void check_timer(timer_t timer)
{
    struct itimerspec soon = { .it_value.tv_nsec = 1 };
    struct timespec limit = { .tv_sec = 5 };
    siginfo_t info;
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGRTMIN + 1);
    REQUIRE(syscall(SYS_timer_settime, (int)(intptr_t)timer, 0, &soon, NULL) == 0);
    REQUIRE(sigtimedwait(&set, &info, &limit) == SIGRTMIN + 1);
    check_object(info.si_value.sival_ptr, "a timer");
    REQUIRE(syscall(SYS_timer_delete, (int)(intptr_t)timer) == 0);
    memset(&info, 0, sizeof info);
    __asm__ volatile("" : : "r"(&info) : "memory");
}

static void timers_keep(void)
{
    enum { TIMERS = 16 };
    timer_t timers[TIMERS];
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGRTMIN + 1);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    pthread_t thread = start_collecting();

    for (double end = seconds() + SECONDS; seconds() < end;) {
        for (int i = 0; i < TIMERS; i++) {
            timers[i] = give_to_timer();
            usleep(100);
        }
        litter();
        for (int i = 0; i < TIMERS; i++)
            check_timer(timers[i]);
    }
    stop_collecting(thread);
}

static void epoll_keeps_by_syscall(void)
{
    raw_calls = 1;
    epoll_keeps();
}

static void timers_keep_by_syscall(void)
{
    raw_calls = 1;
    timers_keep();
}

/* --- a userfaultfd of the program's own ---------------------------------------------------------- */

static void userfaultfd_is_the_programs(void)
{
    size_t bytes = 8 << 20;             /* large enough for the collector to watch it */
    pthread_t thread = start_collecting();
    void **memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    REQUIRE(memory != MAP_FAILED);
    memset(memory, 0, bytes);
    memory[1000] = take_object();
    for (unsigned before = collections; collections < before + 3;)
        usleep(1000);
    int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | 1 /* UFFD_USER_MODE_ONLY */);

    if (fd < 0) {
        printf("SKIP userfaultfd of the program's own: it is refused (errno %d)\n", errno);
        fflush(stdout);
        _exit(SKIPPED);
    }
    struct uffdio_api api = { .api = UFFD_API };
    struct uffdio_register range = { .range = { (uintptr_t)memory, bytes },
                                     .mode = UFFDIO_REGISTER_MODE_MISSING };

    REQUIRE(ioctl(fd, UFFDIO_API, &api) == 0);
    for (int i = 0; i < 20; i++) {
        REQUIRE(ioctl(fd, UFFDIO_REGISTER, &range) == 0);
        usleep(5000);
        REQUIRE(ioctl(fd, UFFDIO_UNREGISTER, &range.range) == 0);
        usleep(5000);
    }
    litter();
    check_object(memory[1000], "a mapping");
    stop_collecting(thread);
    REQUIRE(gc_collect());
}

/* --- pipes that are locked ---------------------------------------------------------------------- */

static int locked_pipe[2], slow[2];
static bool by_number;

static ssize_t splice_all(int in, int out)
{
    return by_number ? syscall(SYS_splice, in, NULL, out, NULL, (size_t)65536, 0)
                     : splice(in, NULL, out, NULL, 65536, 0);
}

/* The other side of the socket pair reads nothing. */
static void *splice_out(void *unused)
{
    while (splice_all(locked_pipe[0], slow[0]) > 0)
        ;
    return unused;
}

static void *fill_pipe(void *unused)
{
    static char bytes[65536];

    while (write(locked_pipe[1], bytes, sizeof bytes) > 0)
        ;
    return unused;
}

static void own_splice_waits(void)
{
    pthread_t collecting = start_collecting(), filling, splicing;

    REQUIRE(pipe(locked_pipe) == 0 && socketpair(AF_UNIX, SOCK_STREAM, 0, slow) == 0);
    REQUIRE(pthread_create(&filling, NULL, fill_pipe, NULL) == 0);
    REQUIRE(pthread_create(&splicing, NULL, splice_out, NULL) == 0);
    usleep(200000);
    stop_collecting(collecting);
    REQUIRE(gc_collect());
    _exit(0);
}

static void own_splice_by_syscall_waits(void)
{
    by_number = true;
    own_splice_waits();
}

/* The child, which fills the pipe, gets nothing more from the socket; this process keeps no end to write. */
static void anothers_splice_waits(void)
{
    pthread_t collecting = start_collecting();

    REQUIRE(pipe(locked_pipe) == 0 && socketpair(AF_UNIX, SOCK_STREAM, 0, slow) == 0);
    pid_t child = fork();

    if (child == 0) {
        REQUIRE(write(locked_pipe[1], "12345678", 8) == 8);
        splice_all(slow[0], locked_pipe[1]);
        _exit(0);
    }
    close(locked_pipe[1]);
    usleep(200000);
    stop_collecting(collecting);
    REQUIRE(gc_collect());
    kill(child, SIGKILL);
    REQUIRE(waitpid(child, NULL, 0) == child);
}

/* --- a child that its parent's call waits for ----------------------------------------------------- */

static int ready[2], allowed[2];

/* Tells the child to end, but allocates before. */
static void *allow(void *unused)
{
    char byte;

    REQUIRE(read(ready[0], &byte, 1) == 1);
    for (int i = 0; i < 1000000; i++)
        free(malloc(16 + (size_t)i % 100000));
    REQUIRE(write(allowed[1], "x", 1) == 1);
    return unused;
}

static void thread_allocates_while_another_vforks(void)
{
    pthread_t thread;
    char byte;
    int status;

    REQUIRE(pipe(ready) == 0 && pipe(allowed) == 0 && pthread_create(&thread, NULL, allow, NULL) == 0);
    free(malloc(100));
    long child = syscall(SYS_clone, CLONE_VFORK | SIGCHLD, 0, 0, 0, 0);

    if (child == 0) {
        if (write(ready[1], "x", 1) != 1 || read(allowed[0], &byte, 1) != 1)
            _exit(1);
        _exit(0);
    }
    pthread_join(thread, NULL);
    REQUIRE(waitpid((pid_t)child, &status, 0) == child && status == 0);
}

/* --- message queues ------------------------------------------------------------------------------- */

static int notified[2];

static void on_message(union sigval value)
{
    (void)value;
    REQUIRE(write(notified[1], "x", 1) == 1);
}

static __attribute__((noinline)) void clobber_stack(void)
{
    volatile char junk[65536];

    memset((char *)junk, 0, sizeof junk);
}

static mqd_t open_queue(void)
{
    struct mq_attr room = { .mq_maxmsg = 1, .mq_msgsize = 1 };
    char name[32];

    snprintf(name, sizeof name, "/wrappers.%d", getpid());
    mqd_t queue = mq_open(name, O_CREAT | O_RDWR, 0600, &room);

    if (queue == (mqd_t)-1) {
        printf("SKIP message queues: there are none (errno %d)\n", errno);
        fflush(stdout);
        _exit(SKIPPED);
    }
    REQUIRE(mq_unlink(name) == 0);
    return queue;
}

/* The collector's task begins after the request. */
static void notification_comes(void)
{
    mqd_t queue = open_queue();
    struct sigevent event = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1 };
    sigset_t set;
    siginfo_t info;

    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    sigprocmask(SIG_BLOCK, &set, NULL);
    REQUIRE(mq_notify(queue, &event) == 0 && gc_collect());
    REQUIRE(mq_send(queue, "x", 1, 0) == 0 && sigwaitinfo(&set, &info) == SIGUSR1);
}

static __attribute__((noinline)) mqd_t ask_for_thread(void)
{
    mqd_t queue = open_queue();
    pthread_attr_t attributes;
    struct sigevent event = { .sigev_notify = SIGEV_THREAD, .sigev_notify_function = on_message,
                              .sigev_notify_attributes = &attributes };

    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, 1 << 20);
    REQUIRE(mq_notify(queue, &event) == 0);
    pthread_attr_destroy(&attributes);
    return queue;
}

static void attributes_of_a_thread_to_come(void)
{
    mqd_t queue = ask_for_thread();
    char byte;

    clobber_stack();
    for (int i = 0; i < 3; i++)
        REQUIRE(gc_collect());
    for (int i = 0; i < 50000; i++)
        memset(malloc(sizeof(pthread_attr_t)), 0x11, sizeof(pthread_attr_t));
    REQUIRE(pipe(notified) == 0 && mq_send(queue, "x", 1, 0) == 0);
    REQUIRE(read(notified[0], &byte, 1) == 1);
}

/* ------------------------------------------------------------------------------------------------ */

static int run(const char *name, void (*test)(void))
{
    int status;

    fflush(stdout);
    pid_t child = fork();

    if (child == 0) {
        alarm(60);
        test();
        _exit(0);
    }
    waitpid(child, &status, 0);
    if (WIFEXITED(status) && WEXITSTATUS(status) == SKIPPED)
        return 0;
    printf("%s %s", status == 0 ? "ok" : "FAIL", name);
    printf(status == 0 ? "\n" : ": status %x\n", (unsigned)status);
    return status != 0;
}

int main(void)
{
    int failures = 0;

#define RUN(test) failures += run(#test, test)
    RUN(mprotect_hides);
    RUN(syscall_hides);
    RUN(pkey_mprotect_hides);
    RUN(pkey_syscall_hides);
    RUN(epoll_keeps);
    RUN(epoll_keeps_by_syscall);
    RUN(timers_keep);
    RUN(timers_keep_by_syscall);
    RUN(userfaultfd_is_the_programs);
    RUN(own_splice_waits);
    RUN(own_splice_by_syscall_waits);
    RUN(anothers_splice_waits);
    RUN(thread_allocates_while_another_vforks);
    RUN(notification_comes);
    RUN(attributes_of_a_thread_to_come);
    return failures != 0;
}
