/* procmap_linux.c -- see procmap.h
 *
 * The definitions are our own: linux/fs.h has them since 6.11 only.
 */
#include "os/procmap.h"

#include "base/sys.h"

struct query_argument {
    uint64_t size, flags, address;
    uint64_t low, high, mapping_flags, page_bytes, offset, inode;
    uint32_t device_major, device_minor;
    uint32_t name_bytes, build_id_bytes;
    uint64_t name, build_id;
};

#define QUERY_REQUEST 0xc0686611ul      /* _IOWR('f', 17, struct procmap_query) */

enum {
    MAPPING_IS_SHARED = 1 << 3,
    COVERING_OR_NEXT = 1 << 4,
};

_Static_assert(sizeof(struct query_argument) == 104, "the request number encodes the size");

static long query(struct procmap *procmap, struct query_argument *argument, uintptr_t address)
{
    *argument = (struct query_argument){
        .size = sizeof *argument, .flags = COVERING_OR_NEXT, .address = address,
    };
    return sys_call3(SYS_ioctl, procmap->fd, (long)QUERY_REQUEST, (long)argument);
}

bool procmap_open(struct procmap *procmap)
{
    struct query_argument argument;

    procmap->fd = sys_open_read("/proc/thread-self/maps");
    if (procmap->fd < 0)
        return false;
    if (query(procmap, &argument, 0) == 0)
        return true;
    procmap_close(procmap);
    return false;
}

void procmap_close(struct procmap *procmap)
{
    if (procmap->fd >= 0)
        sys_close(procmap->fd);
    procmap->fd = -1;
}

bool procmap_find(struct procmap *procmap, uintptr_t address, struct mapping_bounds *found)
{
    struct query_argument argument;

    if (query(procmap, &argument, address) != 0)
        return false;
    bool shared = (argument.mapping_flags & MAPPING_IS_SHARED) != 0;

    *found = (struct mapping_bounds){
        .low = argument.low, .high = argument.high, .shared = shared,
        .anonymous = !shared && argument.inode == 0,
    };
    return true;
}
