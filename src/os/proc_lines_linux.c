/* proc_lines_linux.c -- see proc_lines.h */
#include "os/proc_lines.h"

#include <errno.h>

#include "base/sys.h"

bool lines_open(struct lines *lines, const char *path, char *buffer, size_t bytes)
{
    *lines = (struct lines){ .fd = sys_open_read(path), .buffer = buffer, .bytes = bytes };
    return lines->fd >= 0;
}

void lines_close(struct lines *lines)
{
    if (lines->fd >= 0)
        sys_close(lines->fd);
    lines->fd = -1;
}

/* Moves what is left to the front and reads more behind it, leaving room for a final 0. */
static void refill(struct lines *lines)
{
    size_t left = lines->end - lines->start;
    long got;

    for (size_t i = 0; i < left; i++)
        lines->buffer[i] = lines->buffer[lines->start + i];
    lines->start = 0;
    lines->end = left;
    do
        got = sys_read(lines->fd, lines->buffer + left, lines->bytes - 1 - left);
    while (got == -EINTR);
    if (got <= 0) {
        lines->ended = true;
        lines->failed = got < 0;
    } else {
        lines->end += (size_t)got;
    }
}

/* The next line or part of one.  *whole: its newline was found. */
static const char *next_part(struct lines *lines, bool *whole)
{
    size_t looked = 0;

    for (;;) {
        for (size_t i = lines->start + looked; i < lines->end; i++) {
            if (lines->buffer[i] == '\n') {
                const char *line = lines->buffer + lines->start;

                lines->buffer[i] = 0;
                lines->start = i + 1;
                *whole = true;
                return line;
            }
        }
        looked = lines->end - lines->start;
        if (lines->ended || looked == lines->bytes - 1)
            break;
        refill(lines);
    }
    *whole = false;
    if (looked == 0 || lines->failed)
        return NULL;
    lines->buffer[lines->end] = 0;
    const char *line = lines->buffer + lines->start;

    lines->start = lines->end;
    return line;
}

const char *lines_next(struct lines *lines)
{
    for (;;) {
        bool whole, rest = lines->skipping;
        const char *line = next_part(lines, &whole);

        lines->skipping = line != NULL && !whole;
        if (line == NULL || !rest)
            return line;
    }
}

uintptr_t parse_hex(const char **text)
{
    uintptr_t value = 0;

    for (;; ++*text) {
        char c = **text;

        if (c >= '0' && c <= '9')
            value = value << 4 | (uintptr_t)(c - '0');
        else if (c >= 'a' && c <= 'f')
            value = value << 4 | (uintptr_t)(c - 'a' + 10);
        else
            return value;
    }
}

uint64_t parse_decimal(const char *text)
{
    uint64_t number = 0;

    for (; *text >= '0' && *text <= '9'; text++)
        number = number * 10 + (uint64_t)(*text - '0');
    return number;
}

const char *after_prefix(const char *text, const char *prefix)
{
    while (*prefix != 0) {
        if (*text++ != *prefix++)
            return NULL;
    }
    return text;
}
