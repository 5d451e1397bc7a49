/* options.c -- see options.h */
#include "base/options.h"

#include <string.h>

#include "base/bits.h"
#include "base/check.h"

AT_START struct options options = {
    .mode = MODE_COLLECT,
    .gogc = 100,
    .memory_limit = INT64_MAX,
    .heap_min = 64 * MIB,
#define OPTION(name, def, min, max, help) .name = (def),
#include "base/options.def"
#undef OPTION
};

struct debug_key {
    const char *name;
    int64_t *value;
    int64_t min, max;
};

static const struct debug_key debug_keys[] = {
#define OPTION(name, def, min, max, help) { #name, &options.name, (min), (max) },
#include "base/options.def"
#undef OPTION
};

static void malformed(const char *name, const char *value)
{
    warn("%s=%s is malformed; ignored", name, value);
}

/* Digits up to end; false when empty, not a number, or beyond INT64_MAX. */
static bool parse_digits(const char *text, const char *end, int64_t *value)
{
    uint64_t total = 0;

    if (text == end)
        return false;
    for (; text < end; text++) {
        if (*text < '0' || *text > '9')
            return false;
        if (__builtin_mul_overflow(total, 10, &total) ||
            __builtin_add_overflow(total, (uint64_t)(*text - '0'), &total) || total > INT64_MAX)
            return false;
    }
    *value = (int64_t)total;
    return true;
}

/* Go's parseByteCount: digits, then nothing, B, KiB, MiB, GiB or TiB. */
static bool parse_bytes(const char *text, int64_t *value)
{
    static const struct {
        const char *suffix;
        unsigned shift;
    } units[] = { { "KiB", 10 }, { "MiB", 20 }, { "GiB", 30 }, { "TiB", 40 }, { "B", 0 } };
    size_t length = strlen(text);
    unsigned shift = 0;

    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++) {
        size_t n = strlen(units[i].suffix);
        if (length > n && memcmp(text + length - n, units[i].suffix, n) == 0) {
            length -= n;
            shift = units[i].shift;
            break;
        }
    }
    if (!parse_digits(text, text + length, value) || *value > INT64_MAX >> shift)
        return false;
    *value = (int64_t)((uint64_t)*value << shift);
    return true;
}

static void read_mode(const char *value)
{
    if (strcmp(value, "manual") == 0)
        options.mode = MODE_MANUAL;
    else if (strcmp(value, "collect") == 0)
        options.mode = MODE_COLLECT;
    else
        malformed("GCALLOC_MODE", value);
}

static void read_gogc(const char *value)
{
    const char *digits = value[0] == '-' ? value + 1 : value;
    int64_t percent;

    if (strcmp(value, "off") == 0)
        options.gogc = -1;
    else if (!parse_digits(digits, digits + strlen(digits), &percent) || percent > INT32_MAX)
        malformed("GCALLOC_GOGC", value);
    else
        options.gogc = digits != value ? -1 : percent;
}

static void read_memory_limit(const char *value)
{
    bool none = strcmp(value, "off") == 0 || value[0] == 0, find = strcmp(value, "auto") == 0;
    int64_t bytes = INT64_MAX;

    if (!none && !find && !parse_bytes(value, &bytes)) {
        malformed("GCALLOC_GOMEMLIMIT", value);
        return;
    }
    options.memory_limit = bytes;
    options.memory_limit_auto = find;
}

static void read_heap_min(const char *value)
{
    int64_t bytes;

    if (parse_bytes(value, &bytes))
        options.heap_min = (uint64_t)bytes;
    else
        malformed("GCALLOC_HEAPMIN", value);
}

static void read_barrier(const char *value)
{
    if (strcmp(value, "pages") != 0 && strcmp(value, "writes") != 0)
        malformed("GCALLOC_BARRIER", value);
    else
        options.barrier_pages = value[0] == 'p';
}

static void read_stats(const char *value)
{
    if (strcmp(value, "0") != 0 && strcmp(value, "1") != 0)
        malformed("GCALLOC_STATS", value);
    else
        options.stats_at_exit = value[0] == '1';
}

/* One key=value of GCALLOC_DEBUG, [item, end).  As in GODEBUG, unknown keys are
 * told once and ignored. */
static void read_debug_item(const char *item, const char *end)
{
    const char *equals = memchr(item, '=', (size_t)(end - item));
    char text[80];
    size_t length = min_size((size_t)(end - item), sizeof text - 1);
    int64_t value;

    memcpy(text, item, length);
    text[length] = 0;
    if (equals == NULL) {
        warn("GCALLOC_DEBUG: %s has no value; ignored", text);
        return;
    }
    for (size_t i = 0; i < sizeof debug_keys / sizeof debug_keys[0]; i++) {
        const struct debug_key *key = &debug_keys[i];
        size_t n = strlen(key->name);
        if ((size_t)(equals - item) != n || memcmp(item, key->name, n) != 0)
            continue;
        if (parse_digits(equals + 1, end, &value) && value >= key->min && value <= key->max)
            *key->value = value;
        else
            warn("GCALLOC_DEBUG: %s is malformed; ignored", text);
        return;
    }
    warn("GCALLOC_DEBUG: %s is unknown; ignored", text);
}

static void read_debug(const char *value)
{
    while (*value != 0) {
        const char *end = strchr(value, ',');
        if (end == NULL)
            end = value + strlen(value);
        if (end != value)
            read_debug_item(value, end);
        value = *end == ',' ? end + 1 : end;
    }
}

/* Without libc: its strncmp is on a page that small programs do not touch otherwise. */
static bool starts_with(const char *text, const char *prefix)
{
    while (*prefix != 0 && *text == *prefix)
        text++, prefix++;
    return *prefix == 0;
}

void options_read(char *const *environment, bool secure)
{
    static const struct {
        const char *name;
        void (*read)(const char *value);
    } variables[] = {
        { "GCALLOC_MODE=", read_mode },
        { "GCALLOC_GOGC=", read_gogc },
        { "GCALLOC_GOMEMLIMIT=", read_memory_limit },
        { "GCALLOC_HEAPMIN=", read_heap_min },
        { "GCALLOC_BARRIER=", read_barrier },
        { "GCALLOC_STATS=", read_stats },
        { "GCALLOC_DEBUG=", read_debug },
    };

    if (secure || environment == NULL)
        return;
    for (; *environment != NULL; environment++) {
        if (!starts_with(*environment, "GCALLOC_"))
            continue;
        for (size_t i = 0; i < sizeof variables / sizeof variables[0]; i++) {
            if (starts_with(*environment, variables[i].name))
                variables[i].read(*environment + strlen(variables[i].name));
        }
    }
}
