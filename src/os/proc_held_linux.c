/* proc_held_linux.c -- words that only the kernel holds; see proc.h */
#include "os/proc.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "base/fmt.h"
#include "base/sys.h"
#include "os/proc_lines.h"

/* One walk through a table of descriptors. */
struct fd_walk {
    const char *process;        /* "self" or "thread-self" */
    int directory;              /* its directory fd */
    bool ours;                  /* the table listed is the calling task's own */
    dev_t anonymous_device;     /* where epoll files live; 0: unknown */
    char *names, *text;         /* halves of the scratch */
    word_visitor visit;
    void *context;
};

struct directory_entry {        /* struct linux_dirent64 */
    uint64_t inode;
    int64_t offset;
    uint16_t bytes;
    uint8_t type;
    char name[];
};

#define HALF (PROC_SCRATCH_BYTES / 2)

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
        walk->visit(walk->context, parse_hex(&line));
    }
    lines_close(&lines);
    return !lines.failed;
}

/* May this descriptor be an epoll?  fstat costs a third of readlinkat. */
static bool worth_a_look(const struct fd_walk *walk, const char *number)
{
    struct stat status;
    int fd = 0;

    if (!walk->ours || walk->anonymous_device == 0)
        return true;
    for (; *number != 0; number++)
        fd = fd * 10 + (*number - '0');
    return sys_call2(SYS_fstat, fd, (long)&status) != 0 ||
           status.st_dev == walk->anonymous_device;
}

static bool visit_descriptor(const struct fd_walk *walk, const char *number)
{
    char target[64];

    if (*number < '0' || *number > '9' || !worth_a_look(walk, number))
        return true;
    long length = sys_call4(SYS_readlinkat, walk->directory, (long)number, (long)target,
                            sizeof target - 1);

    if (length < 0)
        return length == -ENOENT;   /* closed meanwhile: only ours can be, the world is stopped */
    target[length] = 0;
    return after_prefix(target, "anon_inode:[eventpoll]") == NULL || visit_watches(walk, number);
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

/* *ours: the table was the calling task's. */
static bool visit_table(struct fd_walk *walk, const char *process, bool *ours)
{
    walk->process = process;
    walk->directory = open_directory(process);
    if (walk->directory < 0)
        return false;
    *ours = walk->ours = lists_own_table(walk->directory);
    bool complete = walk_descriptors(walk);

    sys_close(walk->directory);
    return complete;
}

/* /proc/self is the table of the process's first thread.  It is not ours when that thread has ended
 * (the listing is empty then), or when the collector's task has a table of its own. */
bool proc_visit_epoll(char *scratch, word_visitor visit, void *context)
{
    struct fd_walk walk = {
        .names = scratch, .text = scratch + HALF, .visit = visit, .context = context,
        .anonymous_device = find_anonymous_device(),
    };
    bool ours = false;

    if (!visit_table(&walk, "self", &ours))
        return false;
    return ours || visit_table(&walk, "thread-self", &ours);
}

/* The lines "signal: N/HEX". */
bool proc_visit_timers(char *scratch, word_visitor visit, void *context)
{
    struct lines lines;
    const char *line;

    if (!lines_open(&lines, "/proc/self/timers", scratch, PROC_SCRATCH_BYTES))
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
    }
    lines_close(&lines);
    return !lines.failed;
}
