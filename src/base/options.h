/* options.h -- the environment knobs
 *
 * PURPOSE   GCALLOC_MODE, GCALLOC_GOGC, GCALLOC_GOMEMLIMIT, GCALLOC_HEAPMIN, GCALLOC_BARRIER,
 *           GCALLOC_STATS and GCALLOC_DEBUG=key=value,...  A malformed value warns once and keeps
 *           the default.  Under AT_SECURE the environment is not read.
 * LOCKING   Written once by options_read, before a second thread can exist.  Later only the percent and
 *           the limit change, atomically (gc_set_percent, gc_set_memory_limit), and barrier_pages,
 *           while no cycle runs (gc_set_barrier).
 */
#ifndef GCALLOC_BASE_OPTIONS_H
#define GCALLOC_BASE_OPTIONS_H

#include "base/compiler.h"

enum mode {
    MODE_COLLECT,       /* unreachable malloc blocks are reclaimed */
    MODE_MANUAL,        /* malloc blocks are roots; only free() frees them */
};

struct options {
    enum mode mode;
    int64_t gogc;               /* percent; -1 is off.  Atomic, relaxed. */
    int64_t memory_limit;       /* bytes; INT64_MAX is none.  Atomic, relaxed. */
    uint64_t heap_min;          /* bytes of malloc memory below which no cycle starts */
    bool stats_at_exit;
    bool memory_limit_auto;     /* memory_limit is to be found out (os/host.h); none until then */
    bool barrier_pages;         /* gc_alloc memory is tracked by pages, not by GC_WRITE */
#define OPTION(name, def, min, max, help) int64_t name;
#include "base/options.def"
#undef OPTION
};

extern struct options options;

/* Reads the knobs from an environment block (NULL: leave the defaults). */
void options_read(char *const *environment, bool secure);

#endif
