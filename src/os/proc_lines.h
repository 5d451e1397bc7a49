/* proc_lines.h -- lines of a file in /proc, and what is read out of them
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
/* The decimal number that the text begins with; 0 when there is none. */
uint64_t parse_decimal(const char *text);
/* If text starts with prefix, what follows it; otherwise NULL. */
const char *after_prefix(const char *text, const char *prefix);

/* What getdents64 writes: struct linux_dirent64. */
struct directory_entry {
    uint64_t inode;
    int64_t offset;
    uint16_t bytes;
    uint8_t type;
    char name[];
};

#endif
