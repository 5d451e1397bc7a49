/* fmt.h -- formatted output without malloc, stdio, locale or errno
 *
 * PURPOSE  Messages from places where libc cannot be called.  Knows
 *          %s %c %d %u %x %p %zu %zd %lu %ld %lx %llu %%, widths and zero
 *          padding ("%08lx"), and %F: a double with three decimals.
 */
#ifndef GCALLOC_BASE_FMT_H
#define GCALLOC_BASE_FMT_H

#include <stdarg.h>

#include "base/compiler.h"

/* Writes at most bytes - 1 characters and a terminating 0; returns the length written. */
size_t fmt_format(char *out, size_t bytes, const char *format, ...);
size_t fmt_vformat(char *out, size_t bytes, const char *format, va_list args);

/* Formats one message of at most 1 KiB and writes it with one write(2). */
void fmt_print(int fd, const char *format, ...);

#endif
