/* tasklist.c -- see tasklist.h */
#include "world/tasklist.h"

#include <linux/stat.h>

#include "base/fmt.h"
#include "base/sys.h"
#include "os/host.h"
#include "os/proc_lines.h"

enum {
    READ_BYTES = 4096,
    FLAGS_FIELD = 7,
    IO_WORKER = 0x10,           /* PF_IO_WORKER, since Linux 5.12; before, who runs a virtual machine */
    USER_WORKER = 0x4000,       /* PF_USER_WORKER, since Linux 6.4: vhost's and KVM's; before, others */
};

/* The number of tasks: the link count of the directory, as an inode with two names more. */
static size_t count_by_links(int fd)
{
    struct statx facts;
    long result = sys_call6(SYS_statx, fd, (long)"", 0x1000 /* AT_EMPTY_PATH */, STATX_NLINK,
                            (long)&facts, 0);

    return result == 0 && facts.stx_nlink > 2 ? facts.stx_nlink - 2 : 0;
}

/* The same where the link count is not kept: slower. */
static size_t count_by_status(void)
{
    char buffer[READ_BYTES];
    struct lines lines;
    const char *line, *rest;
    size_t count = 0;

    if (!lines_open(&lines, "/proc/self/status", buffer, sizeof(buffer)))
        return 0;
    while (count == 0 && (line = lines_next(&lines)) != NULL)
        if ((rest = after_prefix(line, "Threads:\t")) != NULL)
            count = parse_decimal(rest);
    lines_close(&lines);
    return count;
}

enum tasklist_result tasklist_read(void (*visit)(void *context, int tid), void *context)
{
    char buffer[READ_BYTES] ALIGNED(8);
    int fd = (int)sys_call4(SYS_openat, -100 /* AT_FDCWD */, (long)"/proc/self/task",
                            02200000 /* O_DIRECTORY | O_CLOEXEC */, 0);
    size_t visited = 0;
    long got;

    if (fd < 0)
        return TASKLIST_REFUSED;
    while ((got = sys_call3(SYS_getdents64, fd, (long)buffer, sizeof(buffer))) > 0) {
        for (long at = 0; at < got;) {
            const struct directory_entry *entry = (const void *)(buffer + at);
            int tid = (int)parse_decimal(entry->name);

            at += entry->bytes;
            if (tid == 0)
                continue;       /* . and .. */
            visit(context, tid);
            visited++;
        }
    }
    size_t alive = got < 0 ? 0 : count_by_links(fd);

    sys_close(fd);
    if (got < 0)
        return TASKLIST_REFUSED;
    if (alive != visited)
        alive = count_by_status();
    return alive == visited ? TASKLIST_COMPLETE : TASKLIST_CHANGED;
}

struct task_status task_status_read(int tid)
{
    char path[48], buffer[READ_BYTES];
    struct task_status status = { 0, 0 };
    struct lines lines;
    const char *line, *rest;

    fmt_format(path, sizeof(path), "/proc/self/task/%d/status", tid);
    if (!lines_open(&lines, path, buffer, sizeof(buffer)))
        return status;
    while ((line = lines_next(&lines)) != NULL) {
        if ((rest = after_prefix(line, "State:\t")) != NULL) {
            status.state = *rest;
        } else if ((rest = after_prefix(line, "SigBlk:\t")) != NULL) {
            status.blocked = parse_hex(&rest);
            break;
        }
    }
    lines_close(&lines);
    return status;
}

/* The beginning of a file of a task; "" when there is none. */
static void read_text(int tid, const char *name, char *text, size_t bytes)
{
    char path[48];

    fmt_format(path, sizeof(path), "/proc/self/task/%d/%s", tid, name);
    int fd = sys_open_read(path);
    long got = fd < 0 ? 0 : sys_read(fd, text, bytes - 1);

    if (fd >= 0)
        sys_close(fd);
    text[got < 0 ? 0 : got] = 0;
}

/* Of the fields after the name in parentheses, in which there may be anything, flags are the seventh. */
bool task_is_kernels(int tid)
{
    char text[256];
    const char *at = text;
    int fields = 0;

    read_text(tid, "stat", text, sizeof(text));
    for (const char *c = text; *c != 0; c++)
        if (*c == ')')
            at = c;
    for (; *at != 0 && fields < FLAGS_FIELD; at++)
        fields += *at == ' ';
    uint64_t flags = parse_decimal(at);

    return ((flags & IO_WORKER) != 0 && host_kernel_is(5, 12)) ||
           ((flags & USER_WORKER) != 0 && host_kernel_is(6, 4));
}

uint64_t task_cpu_ns(int tid)
{
    char text[128];

    read_text(tid, "schedstat", text, sizeof(text));
    return parse_decimal(text);
}
