/* proc_linux.c -- /proc/self/maps; see proc.h
 *
 * A line:  low-high rwxp offset major:minor inode          name
 * with 's' in place of 'p' for a shared mapping; offset, device and low-high in hexadecimal.
 */
#include "os/proc.h"

#include "os/proc_lines.h"

#define URING "anon_inode:[io_uring]"
#define AIO "/[aio]"
/* Where io_uring maps its requests: IORING_OFF_SQES. */
#define OFFSET_REQUESTS 0x10000000u

/* Shared mappings of memory.  What they hold is gone when the last process that maps them is, so
 * programs keep pointers there.  Rings: completions not yet fetched. */
static const char *const memory_names[] = {
    "/dev/zero (deleted)", "/memfd:", "/SYSV", "/dev/shm/", "[anon_shmem:", "/anon_hugepage",
    URING, AIO,
};

/* Libraries that keep pointers as the marker cannot follow them: SWI-Prolog and Berkeley DB (libdb-5.3.so,
 * libdb_cxx-5.3.so) as distances from bases of their own; giac 16 bits further up in a word; LuaJIT its light
 * userdata, their upper bits in a table. */
static const char *const hiding_libraries[] = {
    "libdb-", "libdb_", "libgiac.so", "libluajit-", "libswipl.so",
};

/* As distances that it follows (gc/distance.h).  What python wheels bring along is
 * libfontconfig-12ab34cd.so. */
static const char *const distance_libraries[] = { "libfontconfig.so", "libfontconfig-" };

#define BEGINS_AS_ONE_OF(name, prefixes) begins_as((name), (prefixes), sizeof (prefixes) / sizeof *(prefixes))

static bool begins_as(const char *name, const char *const *prefixes, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (after_prefix(name, prefixes[i]) != NULL)
            return true;
    }
    return false;
}

static enum mapping_kind classify_shared(const char *name, uintptr_t offset)
{
    if (offset == OFFSET_REQUESTS && after_prefix(name, URING) != NULL)
        return MAPPING_REQUESTS;
    return BEGINS_AS_ONE_OF(name, memory_names) ? MAPPING_MEMORY : MAPPING_FOREIGN;
}

static enum mapping_kind classify(bool shared, bool has_file, const char *name, uintptr_t offset)
{
    if (after_prefix(name, "[vvar") || after_prefix(name, "[vdso") ||
        after_prefix(name, "[vsyscall"))
        return MAPPING_KERNEL;
    if (shared)
        return classify_shared(name, offset);
    if (has_file)
        return MAPPING_FILE;
    if (after_prefix(name, "[stack]"))
        return MAPPING_MAIN_STACK;
    if (*name == 0 || after_prefix(name, "[heap]") || after_prefix(name, "[anon:") ||
        after_prefix(name, "[stack"))
        return MAPPING_ANONYMOUS;
    return MAPPING_FILE;            /* special mappings of the kernel: careful reading */
}

static void classify_library(struct mapping *mapping, const char *name)
{
    const char *file = name;

    for (const char *at = name; *at != 0; at++)
        if (*at == '/')
            file = at + 1;
    mapping->distances = BEGINS_AS_ONE_OF(file, distance_libraries);
    mapping->hides = BEGINS_AS_ONE_OF(file, hiding_libraries);
}

static const char *skip_field(const char *text)
{
    while (*text != ' ' && *text != 0)
        text++;
    while (*text == ' ')
        text++;
    return text;
}

static bool parse_line(const char *line, struct mapping *mapping)
{
    const char *at = line;

    mapping->low = parse_hex(&at);
    if (*at++ != '-')
        return false;
    mapping->high = parse_hex(&at);
    if (*at++ != ' ' || at[0] == 0 || at[1] == 0 || at[2] == 0 || at[3] == 0)
        return false;
    bool shared = at[3] == 's';

    mapping->protection = (uint8_t)((at[0] == 'r' ? PROT_READ : 0) | (at[1] == 'w' ? PROT_WRITE : 0) |
                                    (at[2] == 'x' ? PROT_EXEC : 0));
    at = skip_field(at);            /* permissions */
    uintptr_t offset = parse_hex(&at);
    at = skip_field(at);
    at = skip_field(at);            /* device */
    bool has_file = *at != '0';     /* inode numbers of files begin with another digit */
    const char *name = skip_field(at);

    mapping->kind = (uint8_t)classify(shared, has_file, name, offset);
    mapping->hides = shared && after_prefix(name, AIO) != NULL;
    mapping->distances = false;
    if (has_file && !shared)
        classify_library(mapping, name);
    return mapping->low < mapping->high;
}

static void add_row(struct mapping_table *table, const struct mapping *mapping, uintptr_t low,
                    uintptr_t high)
{
    if (low >= high)
        return;
    if (table->count < table->capacity) {
        struct mapping *row = &table->rows[table->count];

        *row = *mapping;
        row->low = low;
        row->high = high;
    }
    table->count++;
}

static void watch(struct mapping_table *table, const struct mapping *m, uintptr_t low, uintptr_t high)
{
    low = low > table->watch_low ? low : table->watch_low;
    high = high < table->watch_high ? high : table->watch_high;
    if (!mapping_is_readable(m) && low < high)
        table->watched_unreadable = true;
}

/* Of [low, high), where mappings are left out. */
static void add_kept(struct mapping_table *table, const struct mapping *m, uintptr_t low,
                     uintptr_t high)
{
    uintptr_t from = low, to = high;

    while (table->next_kept != NULL && table->next_kept(&from, &to)) {
        watch(table, m, low, from);
        add_row(table, m, from, to);
        low = from = to;
        to = high;
    }
    watch(table, m, low, high);
}

/* Adds the parts of a mapping that are not left out. */
static void add_mapping(struct mapping_table *table, const struct mapping *m)
{
    uintptr_t skip_low = table->skip_low, skip_high = table->skip_high;

    if (skip_low >= skip_high || m->high <= skip_low || m->low >= skip_high) {
        add_row(table, m, m->low, m->high);
        return;
    }
    add_row(table, m, m->low, skip_low);
    add_kept(table, m, m->low > skip_low ? m->low : skip_low,
             m->high < skip_high ? m->high : skip_high);
    add_row(table, m, skip_high, m->high);
}

bool proc_read_mappings(struct mapping_table *table, char *scratch)
{
    struct lines lines;
    const char *line;
    bool sane = true;

    table->count = 0;
    table->watched_unreadable = false;
    table->rings = 0;
    table->hider_seen = table->distances_seen = false;
    if (!lines_open(&lines, "/proc/thread-self/maps", scratch, PROC_SCRATCH_BYTES))
        return false;
    while (sane && (line = lines_next(&lines)) != NULL) {
        struct mapping mapping;

        sane = parse_line(line, &mapping);
        if (sane) {
            add_mapping(table, &mapping);
            table->rings += mapping.kind == MAPPING_REQUESTS;
            table->hider_seen |= mapping.hides;
            table->distances_seen |= mapping.distances;
        }
    }
    lines_close(&lines);
    return sane && !lines.failed && table->count > 0;
}

/* A line that is longer than the buffer loses the end of its name, which does not matter here. */
size_t proc_mappings_between(uintptr_t low, uintptr_t high, struct mapping *rows, size_t capacity)
{
    char buffer[1024];
    struct lines lines;
    struct mapping mapping;
    const char *line;
    size_t count = 0;

    if (!lines_open(&lines, "/proc/thread-self/maps", buffer, sizeof buffer))
        return 0;
    while ((line = lines_next(&lines)) != NULL && parse_line(line, &mapping) && mapping.low < high) {
        if (mapping.high <= low)
            continue;
        if (count < capacity)
            rows[count] = mapping;
        count++;
    }
    lines_close(&lines);
    return lines.failed ? 0 : count;
}
