/* pipes.h -- what waits in the program's pipes, looked at without taking it out
 *
 * PURPOSE    A thread may hand a pointer to another through a pipe, and meanwhile it is nowhere else.
 * OWNER      The task that walks through the descriptors.
 * LIFETIME   Descriptors are opened when the first pipe with something in it comes, and closed by
 *            pipes_close.
 */
#ifndef GCALLOC_OS_PIPES_H
#define GCALLOC_OS_PIPES_H

#include "base/compiler.h"

struct pipes {
    bool own_table;             /* descriptors are the calling task's own; else those of the process */
    int process;                /* a pidfd, or -1 */
    int from, to;               /* ends of a pipe of ours, or -1 */
    long room;                  /* of it */
};

void pipes_begin(struct pipes *pipes, bool own_table);
/* Copies what waits in the pipe that this number names, as much as finds room; returns the bytes, which
 * pipes_read takes.  0 also if that cannot be done. */
size_t pipes_copy(struct pipes *pipes, int number);
size_t pipes_read(struct pipes *pipes, void *to, size_t bytes);
void pipes_close(struct pipes *pipes);

/* From now on nothing is copied: see pipes_linux.c.  Any thread, while nobody looks at pipes. */
void pipes_avoid(void);

#endif
