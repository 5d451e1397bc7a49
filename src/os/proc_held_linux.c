/* proc_held_linux.c -- words that only the kernel holds; see proc.h
 *
 * The table of descriptors that counts is the program's: that of the process's first thread, if
 * it lives; of another thread, if not.  The calling task may share it or have its own.
 *
 * While the program runs a descriptor can move past the reader of the directory, to a number that
 * was read already (dup, close).  So the walk is made twice, and the second time what the first
 * one has read is passed over: to be missed, it would have to happen both times.
 *
 * In a stopped world pipes come after all else, and not if the program has a userfaultfd: a pipe is locked by
 * who reads into a page that is missing, and the thread that brings it is stopped.
 *
 * Of pipes only those are looked into of which the program has both ends.  What comes from another process or
 * goes to one is no pointer of ours, and the other process may have the pipe locked for long (os/pipes.h).
 * They are known by their inode, modulo a number; so one walk notes who can be written to, and the next one
 * looks.
 */
#include "os/proc.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fmt.h"
#include "base/sys.h"
#include "os/pipes.h"
#include "os/proc_lines.h"

enum { SEEN_NUMBERS = 8192, WRITTEN_BITS = 4096 };

/* One walk through a table of descriptors. */
struct fd_walk {
    const char *process;        /* the directory of a task in /proc: "self", "self/task/123" */
    int directory;              /* its directory fd */
    bool ours;                  /* the table listed is the calling task's own */
    dev_t anonymous_device;     /* where epoll files live; 0: unknown */
    size_t entries;             /* descriptors listed */
    char *names, *text;         /* halves of the scratch */
    struct descriptor_walk *to;
    struct pipes pipes;
    bool pipes_seen, pipes_only;        /* stopped: pipes are looked at in a walk of their own */
    bool ends_known;                    /* `written` is complete */
    uint64_t written[WRITTEN_BITS / 64];        /* pipes that have an end for writing here */
    uint64_t *seen;             /* running: a bit a number, epolls that were read; else NULL */
};

#define HALF (PROC_SCRATCH_BYTES / 2)
#define PIPE_MARGIN (2 * sizeof(uintptr_t))

/* The lines "tfd: N events: HEX data: HEX ..." of an epoll descriptor. */
static bool visit_watches(const struct fd_walk *walk, const char *number)
{
    char path[64];
    struct lines lines;
    const char *line;

    fmt_format(path, sizeof path, "/proc/%s/fdinfo/%s", walk->process, number);
    if (!lines_open(&lines, path, walk->text, HALF))
        return false;
    while ((line = lines_next(&lines)) != NULL) {
        if (after_prefix(line, "tfd:") == NULL)
            continue;
        while (*line != 0 && after_prefix(line, "data:") == NULL)
            line++;
        if (*line == 0) {
            lines.failed = true;
            break;
        }
        line += 5;
        while (*line == ' ')
            line++;
        walk->to->visit(walk->to->context, parse_hex(&line));
    }
    lines_close(&lines);
    return !lines.failed;
}

/* May this descriptor be one that we look at?  fstat costs a third of readlinkat. */
static bool worth_a_look(const struct fd_walk *walk, const char *number)
{
    struct stat status;

    if (!walk->ours || walk->anonymous_device == 0)
        return true;
    return sys_call2(SYS_fstat, (long)parse_decimal(number), (long)&status) != 0 ||
           status.st_dev == walk->anonymous_device || S_ISFIFO(status.st_mode);
}

static bool visit_epoll(const struct fd_walk *walk, const char *name)
{
    uint64_t number = parse_decimal(name);
    bool noted = walk->seen != NULL && number < SEEN_NUMBERS;

    if (noted && (walk->seen[number / 64] >> number % 64 & 1) != 0)
        return true;
    if (!visit_watches(walk, name))
        return false;
    if (noted)
        walk->seen[number / 64] |= (uint64_t)1 << number % 64;
    return true;
}

/* A word may stand anywhere among the bytes, also across two pieces. */
static void visit_pipe(struct fd_walk *walk, const char *number)
{
    size_t left = pipes_copy(&walk->pipes, (int)parse_decimal(number)), begun = 0;

    while (left > 0) {
        size_t got = pipes_read(&walk->pipes, walk->text + begun, HALF - PIPE_MARGIN - begun);
        size_t count = begun + got;

        if (got == 0) {
            pipes_close(&walk->pipes);  /* with what is left in it */
            return;
        }
        memset(walk->text + count, 0, sizeof(uintptr_t));
        walk->to->visit_pipe(walk->to->context, walk->text, count);
        begun = count < sizeof(uintptr_t) ? count : sizeof(uintptr_t) - 1;
        memmove(walk->text, walk->text + count - begun, begun);
        left -= got < left ? got : left;
    }
}

/* Of other tables than the caller's only that of the process can be reached. */
static bool may_visit_pipes(const struct fd_walk *walk)
{
    return walk->to->visit_pipe != NULL && (walk->ours || strcmp(walk->process, "self") == 0);
}

/* The permissions of the link tell what the descriptor is open for. */
static void note_pipe(struct fd_walk *walk, const char *number, const char *inode)
{
    unsigned bit = (unsigned)(parse_decimal(inode) % WRITTEN_BITS);
    struct stat link;

    if (sys_call4(SYS_newfstatat, walk->directory, (long)number, (long)&link, AT_SYMLINK_NOFOLLOW) != 0)
        return;
    walk->pipes_seen = true;
    if ((link.st_mode & S_IWUSR) != 0)
        walk->written[bit / 64] |= (uint64_t)1 << bit % 64;
    if ((link.st_mode & S_IRUSR) != 0 && walk->ends_known && (walk->written[bit / 64] >> bit % 64 & 1) != 0)
        visit_pipe(walk, number);
}

static bool visit_descriptor(struct fd_walk *walk, const char *number)
{
    char target[64];

    if (*number < '0' || *number > '9')
        return true;
    walk->entries++;
    if (!worth_a_look(walk, number))
        return true;
    long length = sys_call4(SYS_readlinkat, walk->directory, (long)number, (long)target,
                            sizeof target - 1);

    if (length < 0)
        return length == -ENOENT;   /* closed meanwhile; in a stopped world only ours can be */
    target[length] = 0;
    if (after_prefix(target, "anon_inode:[userfaultfd]") != NULL &&
        !(walk->ours && (int)parse_decimal(number) == walk->to->own_userfault))
        walk->to->userfault_seen = true;
    const char *inode = after_prefix(target, "pipe:[");

    if (inode != NULL && may_visit_pipes(walk))
        note_pipe(walk, number, inode);
    return walk->pipes_only || after_prefix(target, "anon_inode:[eventpoll]") == NULL ||
           visit_epoll(walk, number);
}

static bool walk_descriptors(struct fd_walk *walk)
{
    for (;;) {
        long got = sys_call3(SYS_getdents64, walk->directory, (long)walk->names, HALF);

        if (got <= 0)
            return got == 0;
        for (long at = 0; at < got;) {
            struct directory_entry *entry = (struct directory_entry *)(walk->names + at);

            if (!visit_descriptor(walk, entry->name))
                return false;
            at += entry->bytes;
        }
    }
}

static int open_directory(const char *process)
{
    char path[64];

    fmt_format(path, sizeof path, "/proc/%s/fd", process);
    return (int)sys_call4(SYS_openat, AT_FDCWD, (long)path, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
}

/* Is the directory a listing of the calling task's own descriptors?  Then it lists itself. */
static bool lists_own_table(int directory)
{
    char number[16];
    struct stat itself, listed;

    fmt_format(number, sizeof number, "%d", directory);
    return sys_call2(SYS_fstat, directory, (long)&itself) == 0 &&
           sys_call4(SYS_newfstatat, directory, (long)number, (long)&listed, 0) == 0 &&
           itself.st_dev == listed.st_dev && itself.st_ino == listed.st_ino;
}

/* The device number under which this kernel keeps epoll files; 0 when it does not say. */
static dev_t find_anonymous_device(void)
{
    struct stat status;
    long fd = sys_call1(SYS_epoll_create1, O_CLOEXEC);
    dev_t device = 0;

    if (fd < 0)
        return 0;
    if (sys_call2(SYS_fstat, fd, (long)&status) == 0)
        device = status.st_dev;
    sys_close((int)fd);
    return device;
}

static bool open_table(struct fd_walk *walk, const char *process)
{
    walk->process = process;
    walk->entries = 0;
    walk->directory = open_directory(process);
    if (walk->directory < 0)
        return false;
    walk->ours = lists_own_table(walk->directory);
    pipes_begin(&walk->pipes, walk->ours);
    return true;
}

static bool visit_table(struct fd_walk *walk)
{
    bool complete = walk_descriptors(walk);

    if (complete && !walk->to->running && walk->pipes_seen && !walk->to->userfault_seen) {
        walk->pipes_only = walk->ends_known = true;
        complete = sys_call3(SYS_lseek, walk->directory, 0, SEEK_SET) == 0 && walk_descriptors(walk);
        walk->pipes_only = walk->ends_known = walk->pipes_seen = false;
    }
    pipes_close(&walk->pipes);
    sys_close(walk->directory);
    return complete;
}

/* The table of some thread of the program, unless all share the caller's.  *found: it was
 * visited. */
static bool visit_other_table(struct fd_walk *walk, const char *tid, bool *found)
{
    char process[48];

    *found = false;
    fmt_format(process, sizeof process, "self/task/%s", tid);
    if (!open_table(walk, process))
        return true;                    /* has ended */
    if (walk->ours) {
        sys_close(walk->directory);
        return true;
    }
    bool complete = visit_table(walk);

    *found = walk->entries > 0;
    return complete;
}

/* The first thread has ended: its table lists nothing.  Any thread that is not ours does.  The
 * names of the tasks go into a buffer on the stack, for the walk uses the scratch. */
static bool visit_without_first_thread(struct fd_walk *walk)
{
    char names[4096];
    long directory = sys_call4(SYS_openat, AT_FDCWD, (long)"/proc/self/task",
                               O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
    bool complete = directory >= 0, found = false;

    while (complete && !found) {
        long got = sys_call3(SYS_getdents64, directory, (long)names, sizeof names);

        if (got <= 0) {
            complete = got == 0;
            break;
        }
        for (long at = 0; complete && !found && at < got;) {
            struct directory_entry *entry = (struct directory_entry *)(names + at);

            if (entry->name[0] != '.')
                complete = visit_other_table(walk, entry->name, &found);
            at += entry->bytes;
        }
    }
    if (directory >= 0)
        sys_close((int)directory);
    return complete;
}

/* Of the tables that may be the program's, the caller's is visited too when the first thread
 * has ended: then nobody can tell whether it is shared. */
static bool visit_program(struct fd_walk *walk)
{
    if (!open_table(walk, "self") || !visit_table(walk))
        return false;
    if (walk->ours || walk->entries > 0)
        return true;
    if (!open_table(walk, "thread-self") || !visit_table(walk))
        return false;
    return visit_without_first_thread(walk);
}

bool proc_visit_descriptors(char *scratch, struct descriptor_walk *to)
{
    uint64_t seen[SEEN_NUMBERS / 64] = { 0 };
    struct fd_walk walk = {
        .names = scratch, .text = scratch + HALF, .to = to,
        .anonymous_device = find_anonymous_device(), .seen = to->running ? seen : NULL,
    };

    if (!visit_program(&walk))
        return false;
    walk.ends_known = true;
    return !to->running || visit_program(&walk);
}

#define TIMERS "/proc/self/timers"

bool proc_lists_timers(void)
{
    return sys_call2(SYS_access, (long)TIMERS, F_OK) != -ENOENT;
}

/* More may take several readings, and one that is deleted meanwhile shifts the others. */
#define TIMERS_READ_AT_ONCE 32

/* The lines "signal: N/HEX". */
bool proc_visit_timers(char *scratch, bool running, word_visitor visit, void *context)
{
    struct lines lines;
    const char *line;
    size_t count = 0;

    if (!proc_lists_timers())
        return true;
    if (!lines_open(&lines, TIMERS, scratch, PROC_SCRATCH_BYTES))
        return false;
    while ((line = lines_next(&lines)) != NULL) {
        const char *value = after_prefix(line, "signal:");

        if (value == NULL)
            continue;
        while (*value != '/' && *value != 0)
            value++;
        if (*value == 0) {
            lines.failed = true;
            break;
        }
        value++;
        visit(context, parse_hex(&value));
        count++;
    }
    lines_close(&lines);
    return !lines.failed && !(running && count > TIMERS_READ_AT_ONCE);
}
