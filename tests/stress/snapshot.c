/* snapshot.c -- cycles that mark in a copy of the process
 *
 * PURPOSE  The program must not notice the copy: not by wait, SIGCHLD, its descriptors or a zombie;
 *          nothing that only the program sees may be lost: pointers in shared memory, in memory that
 *          no clone copies, in the kernel, and those that move while the copy marks.  A copy that
 *          is killed costs a cycle, one that cannot be made is done without, and none outlives
 *          the process.  Runs itself anew for each part, with the environment the part needs;
 *          each part sees a copy with __WALL, or it fails.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <gcalloc.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { NODES = 400000, CYCLES = 6, MARK = 0x5a, BLOCK = 300 };

static _Atomic int collecting, collected, failed_cycles, copies_seen, children_signals;

#define EXPECT(condition) \
    do { \
        if (!(condition)) { \
            fprintf(stderr, "FAIL line %d: %s\n", __LINE__, #condition); \
            _exit(1); \
        } \
    } while (0)

/* A list long enough for a copy to be seen at work. */
static void make_list(void)
{
    static void **head;

    for (int i = 0; i < NODES; i++) {
        void **node = malloc(48);
        *node = head;
        head = node;
    }
}

static void *collect(void *cycles)
{
    for (int i = 0; i < (int)(ptrdiff_t)cycles; i++) {
        collecting = 1;
        if (gc_collect())
            collected++;
        else
            failed_cycles++;
    }
    collecting = 0;
    return NULL;
}

static pthread_t start_collecting(int cycles)
{
    pthread_t thread;

    collecting = 1;
    EXPECT(pthread_create(&thread, NULL, collect, (void *)(ptrdiff_t)cycles) == 0);
    return thread;
}

/* Is there a child that only __WALL shows? */
static int sees_copy(void)
{
    siginfo_t info = { .si_signo = 0 };

    return syscall(SYS_waitid, P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT | __WALL, NULL) == 0;
}

/* gccheckmark searches as long as the copy marks, in the same stop: the program may miss it. */
static int marks_unseen(void)
{
    return strstr(getenv("GCALLOC_DEBUG"), "gccheckmark") != NULL;
}

static void on_child(int signal)
{
    (void)signal;
    children_signals++;
}

static int next_descriptor(void)
{
    int fd = open("/dev/null", O_RDONLY);

    close(fd);
    return fd;
}

/* --- parts -------------------------------------------------------------------------- */

static void part_unseen(void)
{
    make_list();
    signal(SIGCHLD, on_child);
    int fd = next_descriptor();
    pthread_t thread = start_collecting(CYCLES);

    while (collecting) {
        errno = 0;
        EXPECT(waitpid(-1, NULL, WNOHANG) == -1 && errno == ECHILD);
        EXPECT(next_descriptor() == fd);
        copies_seen += sees_copy();
    }
    pthread_join(thread, NULL);
    EXPECT(!sees_copy());           /* nor a zombie */
    EXPECT(collected == CYCLES && copies_seen > 0 && children_signals == 0);
}

static unsigned char *make_block(void)
{
    return memset(malloc(BLOCK), MARK, BLOCK);
}

static int is_intact(const unsigned char *block)
{
    for (int i = 0; i < BLOCK; i++)
        if (block[i] != MARK)
            return 0;
    return 1;
}

static unsigned char **map_slot(int flags, int advice)
{
    void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, flags | MAP_ANONYMOUS, -1, 0);

    EXPECT(page != MAP_FAILED);
    EXPECT(advice == 0 || madvise(page, 4096, advice) == 0);
    return page;
}

enum { PLACES = 3 };
static unsigned char **places[PLACES];
static int epoll;

static __attribute__((noinline)) void hide_blocks(void)
{
    struct epoll_event event = { .events = EPOLLIN };
    int ends[2];

    places[0] = map_slot(MAP_SHARED, 0);
    places[1] = map_slot(MAP_PRIVATE, MADV_DONTFORK);
    places[2] = map_slot(MAP_PRIVATE, MADV_WIPEONFORK);
    for (int i = 0; i < PLACES; i++)
        *places[i] = make_block();
    EXPECT((epoll = epoll_create1(0)) >= 0 && pipe(ends) == 0 && write(ends[1], "", 1) == 1);
    event.data.ptr = make_block();
    EXPECT(epoll_ctl(epoll, EPOLL_CTL_ADD, ends[0], &event) == 0);
}

/* Overwrites what is left of the stack below. */
static __attribute__((noinline)) void clear_stack(void)
{
    char volatile room[16384];

    for (size_t i = 0; i < sizeof room; i++)
        room[i] = 0;
}

/* The pointer in shared memory is there whenever a copy is made, and gone when the copy could look. */
static __attribute__((noinline)) void carry(int copy)
{
    static unsigned char *volatile taken;
    unsigned char *volatile *shared = (unsigned char *volatile *)places[0];

    if (copy && *shared != NULL) {
        taken = *shared;
        *shared = NULL;
    } else if (!copy && taken != NULL) {
        *shared = taken;
        taken = NULL;
    }
}

/* The first cycle finds out what is not copied, and the next few are run without a copy. */
static void part_hidden(void)
{
    struct epoll_event event;

    make_list();
    hide_blocks();
    clear_stack();
    pthread_t thread = start_collecting(4 * CYCLES);

    while (collecting) {
        int copy = sees_copy();

        carry(copy);
        copies_seen += copy;
    }
    pthread_join(thread, NULL);
    carry(0);
    EXPECT(collected > CYCLES && (copies_seen > 0 || marks_unseen()));
    for (int i = 0; i < PLACES; i++)
        EXPECT(is_intact(*places[i]));
    EXPECT(epoll_wait(epoll, &event, 1, 1000) == 1 && is_intact(event.data.ptr));
}

/* Blocks go round while copies mark: always reachable, never long in one place. */
static void part_moving(void)
{
    enum { ROOMS = 1000 };
    unsigned char **from = malloc(ROOMS * sizeof *from), **to = gc_alloc(ROOMS * sizeof *to);

    make_list();
    for (int i = 0; i < ROOMS; i++)
        from[i] = make_block();
    pthread_t thread = start_collecting(2 * CYCLES);

    for (int round = 0; collecting; round++) {
        for (int i = 0; i < ROOMS; i++) {
            to[(i + round) % ROOMS] = from[i];
            from[i] = NULL;
        }
        for (int i = 0; i < ROOMS; i++) {
            from[i] = to[i];
            to[i] = NULL;
        }
        for (int i = round % 10; i < ROOMS; i += 10) {
            free(from[i]);
            from[i] = make_block();
        }
        copies_seen += sees_copy();
    }
    pthread_join(thread, NULL);
    EXPECT(collected == 2 * CYCLES && (copies_seen > 0 || marks_unseen()));
    for (int i = 0; i < ROOMS; i++)
        EXPECT(is_intact(from[i]));
}

/* The children of one task: the program has none but copies. */
static int copy_of_task(const char *tid)
{
    char path[300], text[64] = "";

    snprintf(path, sizeof path, "/proc/self/task/%s/children", tid);
    int fd = open(path, O_RDONLY);

    if (fd < 0)
        return 0;
    if (read(fd, text, sizeof text - 1) < 0)
        text[0] = 0;
    close(fd);
    return atoi(text);
}

/* Waits for a copy; 0: the cycles are over, and there was none. */
static int find_copy(void)
{
    while (collecting) {
        DIR *tasks = opendir("/proc/self/task");
        const struct dirent *task;
        int copy = 0;

        EXPECT(tasks != NULL);
        while (copy == 0 && (task = readdir(tasks)) != NULL)
            if (task->d_name[0] != '.')
                copy = copy_of_task(task->d_name);
        closedir(tasks);
        if (copy != 0)
            return copy;
    }
    return 0;
}

static void part_killed(void)
{
    make_list();
    pthread_t thread = start_collecting(2 * CYCLES);
    int copy = find_copy();

    EXPECT(copy != 0 && kill(copy, SIGKILL) == 0);
    pthread_join(thread, NULL);
    EXPECT(failed_cycles == 1 && collected == 2 * CYCLES - 1 && !sees_copy());
}

/* Forks a process that ends while its copy marks.  True: the copy was killed; it may also have been
 * about to end by itself. */
static int orphan_a_copy(void)
{
    int ends[2], copy = 0, status;

    EXPECT(pipe(ends) == 0);
    pid_t child = fork();

    if (child == 0) {
        start_collecting(CYCLES);
        copy = find_copy();
        _exit(write(ends[1], &copy, sizeof copy) != sizeof copy || copy == 0);
    }
    EXPECT(waitpid(child, &status, 0) == child && status == 0);
    EXPECT(read(ends[0], &copy, sizeof copy) == sizeof copy);
    close(ends[0]);
    close(ends[1]);
    int killed = waitpid(copy, &status, __WALL) == copy && WIFSIGNALED(status) &&
                 WTERMSIG(status) == SIGKILL;

    EXPECT(kill(copy, 0) == -1 && errno == ESRCH);
    return killed;
}

static void part_orphan(void)
{
    int killed = 0;

    EXPECT(prctl(PR_SET_CHILD_SUBREAPER, 1) == 0);
    make_list();
    for (int i = 0; i < 5; i++)
        killed += orphan_a_copy();
    EXPECT(killed > 0);
}

/* The clone is refused: everything is marked in the stop. */
static void part_refused(void)
{
    make_list();
    pthread_t thread = start_collecting(CYCLES);

    while (collecting)
        copies_seen += sees_copy();
    pthread_join(thread, NULL);
    EXPECT(collected == CYCLES && copies_seen == 0);
}

static const struct part {
    const char *name;
    void (*run)(void);
    const char *debug;
    int refuse;                 /* a system call that fails with EPERM, 0: none; a clone only
                                 * if it does not share memory */
} parts[] = {
    { "unseen", part_unseen, "mark=2", 0 },
    { "unseen, userfaultfd refused", part_unseen, "mark=0", SYS_userfaultfd },
    { "hidden", part_hidden, "mark=2,poison=1", 0 },
    { "hidden, checked", part_hidden, "mark=2,gccheckmark=1,verify=1", 0 },
    { "moving", part_moving, "mark=2,poison=1", 0 },
    { "moving, checked", part_moving, "mark=2,gccheckmark=1,verify=1", 0 },
    { "killed", part_killed, "mark=2,poison=1", 0 },
    { "orphan", part_orphan, "mark=2", 0 },
    { "clone refused", part_refused, "mark=2,gccheckmark=1,verify=1", SYS_clone },
};

/* --- running them ----------------------------------------------------------------------- */

static void refuse(int number)
{
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)number, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args)),
        BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, number == SYS_clone ? CLONE_VM : 0, 1, 0),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = { .len = 6, .filter = filter };

    EXPECT(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
    EXPECT(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0);
}

static int run_part(char *self, size_t index)
{
    char number[8];
    int status;

    snprintf(number, sizeof number, "%zu", index);
    pid_t child = fork();

    if (child == 0) {
        setenv("GCALLOC_DEBUG", parts[index].debug, 1);
        if (parts[index].refuse != 0)
            refuse(parts[index].refuse);
        execl(self, self, number, (char *)NULL);
        _exit(127);
    }
    EXPECT(waitpid(child, &status, 0) == child);
    printf("%s %s: status %x\n", status == 0 ? "ok" : "FAIL", parts[index].name,
           (unsigned)status);
    return status != 0;
}

int main(int argc, char **argv)
{
    int failures = 0;

    if (argc == 2) {
        parts[atoi(argv[1])].run();
        return 0;
    }
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
        failures += run_part(argv[0], i);
    return failures != 0;
}
