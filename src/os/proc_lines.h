/* proc_lines.h -- lines of a file in /proc
 *
 * PURPOSE  Reads lines through a fixed buffer.  A line longer than the buffer is
 *          handed out cut off, once.
 */
#ifndef GCALLOC_OS_PROC_LINES_H
#define GCALLOC_OS_PROC_LINES_H

#include "base/compiler.h"

struct lines {
    int fd;
    char *buffer;
    size_t bytes;           /* of the buffer */
    size_t start, end;      /* what is read and not handed out */
    bool ended, failed;
    bool skipping;          /* in the rest of a line that was cut off */
};

/* False: cannot be opened. */
bool lines_open(struct lines *lines, const char *path, char *buffer, size_t bytes);
/* The next line, ended by 0 instead of a newline; valid until the next call.  NULL: the end, or
 * `failed` is set. */
const char *lines_next(struct lines *lines);
void lines_close(struct lines *lines);

/* Reads a hexadecimal number and leaves *text behind it. */
uintptr_t parse_hex(const char **text);
/* If text starts with prefix, what follows it; otherwise NULL. */
const char *after_prefix(const char *text, const char *prefix);

#endif
