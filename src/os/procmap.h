/* procmap.h -- the mapping at an address
 *
 * PURPOSE  Asks the kernel for the bounds of one mapping (PROCMAP_QUERY, Linux 6.11): half a
 *          microsecond, where reading /proc/self/maps takes as much for every mapping.
 * OWNER    struct procmap: the task that asks.
 */
#ifndef GCALLOC_OS_PROCMAP_H
#define GCALLOC_OS_PROCMAP_H

#include "base/compiler.h"

struct procmap {
    int fd;
};

struct mapping_bounds {
    uintptr_t low, high;
    bool shared;
    bool anonymous;         /* private, and no file */
};

/* False: the kernel is too old, or a filter of system calls forbids it. */
bool procmap_open(struct procmap *procmap);
void procmap_close(struct procmap *procmap);
/* The first mapping that ends above the address.  False: none. */
bool procmap_find(struct procmap *procmap, uintptr_t address, struct mapping_bounds *found);

#endif
