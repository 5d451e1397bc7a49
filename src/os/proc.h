/* proc.h -- what /proc tells about this process
 *
 * PURPOSE    Mappings, and the words that only the kernel holds for the program:
 *            epoll data and timer values.  By raw system calls into buffers of the
 *            caller, so that it can run in a stopped world.
 * LIFETIME   Every descriptor opened here is closed before the call returns.
 *
 * Paths go by /proc/thread-self where there is a choice: /proc/self names the
 * first thread, which has no memory and no descriptors left once it has ended
 * by pthread_exit.
 */
#ifndef GCALLOC_OS_PROC_H
#define GCALLOC_OS_PROC_H

#include <sys/mman.h>

#include "base/compiler.h"

enum mapping_kind {
    MAPPING_ANONYMOUS,      /* private, no file: a load cannot fail */
    MAPPING_MAIN_STACK,     /* the same, named [stack] */
    MAPPING_FILE,           /* private; a file, or something we do not know: a load may fail */
    MAPPING_MEMORY,         /* shared, nothing on a disk: anonymous, memfd, System V, io_uring */
    MAPPING_REQUESTS,       /* io_uring's ring of requests */
    MAPPING_FOREIGN,        /* shared: a file or a device */
    MAPPING_KERNEL,         /* vdso, vvar, vsyscall */
};

struct mapping {
    uintptr_t low, high;
    uint8_t kind;           /* enum mapping_kind */
    uint8_t protection;     /* PROT_READ, PROT_WRITE, PROT_EXEC */
    bool hides;             /* pointers may be where nobody can read them: see proc_linux.c */
    bool distances;         /* ... are kept as distances from the block that they stand in */
};

INLINE bool mapping_is_readable(const struct mapping *mapping)
{
    return (mapping->protection & PROT_READ) != 0;
}

struct mapping_table {
    struct mapping *rows;   /* by ascending address */
    size_t capacity;
    size_t count;           /* more than capacity: there was no room for so many */
    uintptr_t skip_low, skip_high;  /* left out, also where it is only part of a mapping ... */
    /* ... but for stretches that this finds: narrows [*low, *high) to the first one in it.  May be
     * NULL. */
    bool (*next_kept)(uintptr_t *low, uintptr_t *high);
    uintptr_t watch_low, watch_high;    /* in: a part of what is left out ... */
    bool watched_unreadable;        /* out: ... in which something is not readable */
    size_t rings;                   /* out: of MAPPING_REQUESTS */
    bool hider_seen;                /* out: some mapping hides */
    bool distances_seen;            /* out: some mapping says that there are distances */
};

/* Scratch for the calls below: one line of /proc/self/maps can take 17 KiB (a path of 4 KiB, every
 * character escaped). */
#define PROC_SCRATCH_BYTES ((size_t)64 << 10)

/* Reads /proc/self/maps.  False: refused. */
bool proc_read_mappings(struct mapping_table *table, char *scratch);

/* The mappings that [low, high) touches, by ascending address.  Returns how many there are, of which there
 * may have been no room for all; 0: refused, or none.  Needs no scratch. */
size_t proc_mappings_between(uintptr_t low, uintptr_t high, struct mapping *rows, size_t capacity);

typedef void (*word_visitor)(void *context, uintptr_t word);

/* Some bytes, aligned as a word, with at least one word's room behind them that may be read. */
typedef void (*bytes_visitor)(void *context, const char *bytes, size_t count);

/* A walk through the descriptors of the program. */
struct descriptor_walk {
    bool running;               /* the program opens and closes some meanwhile */
    int own_userfault;          /* to be disregarded, if the table is the caller's; -1: none */
    word_visitor visit;         /* epoll data */
    bytes_visitor visit_pipe;   /* what waits in pipes, as far as it can be had; NULL: not wanted */
    void *context;
    bool userfault_seen;        /* out: the program has a userfaultfd */
};

/* Every data word of every epoll descriptor, some perhaps twice.  False: something could not be
 * read. */
bool proc_visit_descriptors(char *scratch, struct descriptor_walk *walk);
/* Kernels built without CONFIG_CHECKPOINT_RESTORE list no timers. */
bool proc_lists_timers(void);
/* Every value that a timer of timer_create would deliver, if they are listed.  running: timers come and go
 * meanwhile.  False: could not be read, or there are so many that one could have been missed. */
bool proc_visit_timers(char *scratch, bool running, word_visitor visit, void *context);

#endif
