/* host_cgroup_linux.c -- how much memory the control groups leave us; see host.h
 *
 * /proc/self/cgroup names the group of the process in each hierarchy:
 *     0::/user.slice/a                version 2
 *     4:memory:/docker/0123           version 1
 * /proc/self/mountinfo tells where a hierarchy is mounted, and which group is at that place: in a
 * container often not the root but the container's own.  A line:
 *     31 23 0:28 /docker/0123 /sys/fs/cgroup/memory rw,relatime shared:9 - cgroup cgroup rw,memory
 * Limits hold for a group and all below it, so every group from ours up to the one
 * mounted counts; both versions are looked at, for only one of them has the memory controller.
 */
#include <sys/resource.h>

#include "base/bits.h"
#include "base/sys.h"
#include "os/host.h"
#include "os/proc_lines.h"

enum { PATH_BYTES = 2048, LINE_BYTES = 4096, SHARE_PERCENT = 90 };

/* Version 1 says "no limit" by the largest multiple of a page; nobody has an exabyte. */
static const uint64_t NO_LIMIT_FROM = (uint64_t)1 << 60;

static const char *const files_v1[] = { "/memory.limit_in_bytes", NULL };
static const char *const files_v2[] = { "/memory.max", "/memory.high", NULL };

struct hierarchy {
    const char *const *files;           /* that hold limits */
    bool known, mounted, fits;          /* group is set; mount is set; it shows the group */
    char group[PATH_BYTES];             /* of the process */
    char mount[PATH_BYTES];             /* where, and then the group's directory */
    size_t mount_length;
};

static size_t length_of(const char *text)
{
    size_t length = 0;

    while (text[length] != 0)
        length++;
    return length;
}

/* Appends up to a space or the end; undoes \ooo.  False: no room. */
static bool append(char *path, const char *text)
{
    size_t at = length_of(path);

    for (; *text != 0 && *text != ' '; at++) {
        if (at == PATH_BYTES - 1)
            return false;
        if (text[0] == '\\' && text[1] >= '0' && text[1] <= '3' && text[2] != 0 && text[3] != 0) {
            path[at] = (char)((text[1] - '0') << 6 | (text[2] - '0') << 3 | (text[3] - '0'));
            text += 4;
        } else {
            path[at] = *text++;
        }
    }
    path[at] = 0;
    return true;
}

static bool set_path(char *path, const char *root, const char *text)
{
    path[0] = 0;
    return append(path, root) && append(path, text);
}

/* Is the word among those of a comma list that ends at a colon, a space or the end? */
static bool has_word(const char *list, const char *word)
{
    for (;;) {
        const char *rest = after_prefix(list, word);

        if (rest != NULL && (*rest == 0 || *rest == ',' || *rest == ':' || *rest == ' '))
            return true;
        while (*list != 0 && *list != ',' && *list != ':' && *list != ' ')
            list++;
        if (*list++ != ',')
            return false;
    }
}

/* Behind the nth next character c; the end of the text when there are fewer. */
static const char *behind(const char *text, char c, int n)
{
    for (; n > 0 && *text != 0; text++)
        n -= *text == c;
    return text;
}

/* --- /proc/self/cgroup ----------------------------------------------------------------- */

static void read_group(const char *line, const char *prefix UNUSED, struct hierarchy *v1,
                       struct hierarchy *v2)
{
    const char *controllers = behind(line, ':', 1);
    const char *group = behind(line, ':', 2);
    struct hierarchy *hierarchy = after_prefix(line, "0::") != NULL   ? v2
                                  : has_word(controllers, "memory") ? v1
                                                                    : NULL;

    /* A group's name may contain spaces: no append(). */
    if (hierarchy == NULL || *group != '/' || length_of(group) >= PATH_BYTES)
        return;
    for (size_t i = 0; i == 0 || group[i - 1] != 0; i++)
        hierarchy->group[i] = group[i];
    hierarchy->known = true;
}

/* --- /proc/self/mountinfo -------------------------------------------------------------- */

/* What is left of the group's path below the mounted one; NULL: it is not below it. */
static const char *below_root(const char *group, const char *root)
{
    if (root[0] == '/' && root[1] == 0)
        return after_prefix(group, "/..") != NULL ? NULL : group;
    const char *rest = after_prefix(group, root);

    return rest != NULL && (*rest == 0 || *rest == '/') ? rest : NULL;
}

/* Takes a mount of the hierarchy, unless a better one is known.  Where the group cannot be found
 * below it (another namespace), the mounted group itself is the nearest we can see. */
static void take_mount(struct hierarchy *hierarchy, const char *prefix, const char *root_field,
                       const char *point)
{
    char root[PATH_BYTES];

    if (!hierarchy->known || hierarchy->fits || !set_path(root, "", root_field))
        return;
    const char *rest = below_root(hierarchy->group, root);

    if ((rest == NULL && hierarchy->mounted) || !set_path(hierarchy->mount, prefix, point))
        return;
    hierarchy->mounted = true;
    hierarchy->mount_length = length_of(hierarchy->mount);
    if (rest == NULL || hierarchy->mount_length + length_of(rest) >= PATH_BYTES)
        return;
    for (size_t i = 0; i == 0 || rest[i - 1] != 0; i++)
        hierarchy->mount[hierarchy->mount_length + i] = rest[i];
    hierarchy->fits = true;
}

static void read_mount(const char *line, const char *prefix, struct hierarchy *v1,
                       struct hierarchy *v2)
{
    const char *root = behind(line, ' ', 3);
    const char *point = behind(line, ' ', 4);
    const char *at = behind(line, ' ', 6);

    while (*at != 0 && after_prefix(at, "- ") == NULL)     /* optional fields */
        at = behind(at, ' ', 1);
    if (after_prefix(at, "- cgroup2 ") != NULL)
        take_mount(v2, prefix, root, point);
    else if (after_prefix(at, "- cgroup ") != NULL && has_word(behind(at, ' ', 3), "memory"))
        take_mount(v1, prefix, root, point);
}

typedef void (*line_reader)(const char *line, const char *prefix, struct hierarchy *v1,
                            struct hierarchy *v2);

static void each_line(const char *prefix, const char *name, line_reader take, struct hierarchy *v1,
                      struct hierarchy *v2)
{
    char path[PATH_BYTES], buffer[LINE_BYTES];
    struct lines lines;
    const char *line;

    if (!set_path(path, prefix, name) || !lines_open(&lines, path, buffer, sizeof buffer))
        return;
    while ((line = lines_next(&lines)) != NULL)
        take(line, prefix, v1, v2);
    lines_close(&lines);
}

/* --- limits --------------------------------------------------------------------------------- */

/* The number a file holds; UINT64_MAX when it is not there, says "max", or makes no sense. */
static uint64_t read_limit(const char *path)
{
    char text[32];
    int fd = sys_open_read(path);
    uint64_t value = 0;
    long i = 0;

    if (fd < 0)
        return UINT64_MAX;
    long got = sys_read(fd, text, sizeof text);

    sys_close(fd);
    for (; i < got && text[i] >= '0' && text[i] <= '9'; i++)
        if (__builtin_mul_overflow(value, 10, &value) ||
            __builtin_add_overflow(value, (uint64_t)(text[i] - '0'), &value))
            return UINT64_MAX;
    bool whole = i > 0 && (i == got || text[i] == '\n');

    return whole && value != 0 && value < NO_LIMIT_FROM ? value : UINT64_MAX;
}

static uint64_t least_limit(struct hierarchy *hierarchy)
{
    uint64_t least = UINT64_MAX;
    char *path = hierarchy->mount;

    if (!hierarchy->mounted)
        return least;
    for (size_t length = length_of(path);; length--) {
        if (length > hierarchy->mount_length && path[length] != '/' && path[length] != 0)
            continue;
        for (const char *const *file = hierarchy->files; *file != NULL; file++) {
            path[length] = 0;
            if (append(path, *file))
                least = min_size(least, read_limit(path));
        }
        path[length] = 0;
        if (length <= hierarchy->mount_length)
            return least;
    }
}

uint64_t host_cgroup_bytes(const char *prefix)
{
    struct hierarchy v1 = { .files = files_v1 }, v2 = { .files = files_v2 };

    each_line(prefix, "/proc/self/cgroup", read_group, &v1, &v2);
    if (!v1.known && !v2.known)
        return UINT64_MAX;
    each_line(prefix, "/proc/self/mountinfo", read_mount, &v1, &v2);
    return min_size(least_limit(&v1), least_limit(&v2));
}

static uint64_t resource_limit(int resource)
{
    struct { uint64_t soft, hard; } limit;

    if (sys_call4(SYS_prlimit64, 0, resource, 0, (long)&limit) != 0)
        return UINT64_MAX;
    return limit.soft;                  /* RLIM_INFINITY is UINT64_MAX */
}

int64_t host_auto_limit(void)
{
    uint64_t least = min_size(host_cgroup_bytes(""),
                             min_size(resource_limit(RLIMIT_AS), resource_limit(RLIMIT_DATA)));
    uint64_t physical = host_physical_bytes();

    if (least >= NO_LIMIT_FROM)
        return INT64_MAX;
    if (physical != 0)
        least = min_size(least, physical);
    return (int64_t)(least / 100 * SHARE_PERCENT);
}
