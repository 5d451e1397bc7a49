/* fmt.c -- see fmt.h */
#include "base/fmt.h"

#include "base/sys.h"

struct sink {
    char *out;
    size_t used;
    size_t limit;       /* room for characters, without the terminator */
};

static void put(struct sink *sink, char c)
{
    if (sink->used < sink->limit)
        sink->out[sink->used++] = c;
}

static void put_string(struct sink *sink, const char *text)
{
    for (; *text != 0; text++)
        put(sink, *text);
}

static void put_number(struct sink *sink, uint64_t value, unsigned base, int width, char pad)
{
    char digits[24];
    int count = 0;

    do {
        digits[count++] = "0123456789abcdef"[value % base];
        value /= base;
    } while (value != 0);
    for (int i = count; i < width; i++)
        put(sink, pad);
    while (count > 0)
        put(sink, digits[--count]);
}

static void put_signed(struct sink *sink, int64_t value, int width, char pad)
{
    uint64_t magnitude = (uint64_t)value;

    if (value < 0) {
        put(sink, '-');
        magnitude = -magnitude;
    }
    put_number(sink, magnitude, 10, width, pad);
}

static void put_double(struct sink *sink, double value)
{
    if (value < 0) {
        put(sink, '-');
        value = -value;
    }
    uint64_t thousandths = (uint64_t)(value * 1000 + 0.5);

    put_number(sink, thousandths / 1000, 10, 0, ' ');
    put(sink, '.');
    put_number(sink, thousandths % 1000, 10, 3, '0');
}

/* One conversion, after its '%'.  Returns the first character behind it. */
static const char *put_conversion(struct sink *sink, const char *f, va_list *args)
{
    char pad = *f == '0' ? '0' : ' ';
    int width = 0;
    bool wide = false;

    for (; *f >= '0' && *f <= '9'; f++)
        width = width * 10 + (*f - '0');
    for (; *f == 'l' || *f == 'z'; f++)
        wide = true;
    switch (*f) {
    case 's': put_string(sink, va_arg(*args, const char *)); break;
    case 'c': put(sink, (char)va_arg(*args, int)); break;
    case 'd': put_signed(sink, wide ? va_arg(*args, long) : va_arg(*args, int), width, pad); break;
    case 'u':
        put_number(sink, wide ? va_arg(*args, unsigned long) : va_arg(*args, unsigned), 10, width,
                   pad);
        break;
    case 'x':
        put_number(sink, wide ? va_arg(*args, unsigned long) : va_arg(*args, unsigned), 16, width,
                   pad);
        break;
    case 'p':
        put_string(sink, "0x");
        put_number(sink, (uintptr_t)va_arg(*args, void *), 16, 0, ' ');
        break;
    case 'F': put_double(sink, va_arg(*args, double)); break;
    default: put(sink, *f); break;
    }
    return *f == 0 ? f : f + 1;
}

size_t fmt_vformat(char *out, size_t bytes, const char *format, va_list args)
{
    struct sink sink = { .out = out, .limit = bytes - 1 };
    va_list copy;

    va_copy(copy, args);
    while (*format != 0) {
        if (*format != '%')
            put(&sink, *format++);
        else
            format = put_conversion(&sink, format + 1, &copy);
    }
    va_end(copy);
    out[sink.used] = 0;
    return sink.used;
}

size_t fmt_format(char *out, size_t bytes, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    size_t length = fmt_vformat(out, bytes, format, args);
    va_end(args);
    return length;
}

void fmt_print(int fd, const char *format, ...)
{
    char line[1024];
    va_list args;

    va_start(args, format);
    size_t length = fmt_vformat(line, sizeof line, format, args);
    va_end(args);
    sys_write(fd, line, length);
}
