/* test_proc.c -- os/proc.h, os/pagemap.h, os/remote.h and os/host.h */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/sysinfo.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/bits.h"
#include "base/sys.h"
#include "os/host.h"
#include "os/pagemap.h"
#include "os/proc.h"
#include "os/proc_lines.h"
#include "os/remote.h"
#include "os/userfault.h"

static char scratch[PROC_SCRATCH_BYTES];

static char *map_pages(size_t pages, int protection, int flags)
{
    char *memory = mmap(NULL, pages * 4096, protection, flags | MAP_ANONYMOUS, -1, 0);

    assert_ptr_not_equal(memory, MAP_FAILED);
    return memory;
}

/* ------------------------------------------------------------------- lines */

static int file_with(const char *text)
{
    int fd = memfd_create("lines", 0);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    lseek(fd, 0, SEEK_SET);
    return fd;
}

static void lines_are_split_and_long_ones_cut(void **state)
{
    char buffer[9];
    struct lines lines = {
        .fd = file_with("one\n\nabcdefghijklmnopq\ntwo\nlast"), .buffer = buffer, .bytes = 9,
    };

    (void)state;
    assert_string_equal(lines_next(&lines), "one");
    assert_string_equal(lines_next(&lines), "");
    assert_string_equal(lines_next(&lines), "abcdefgh");
    assert_string_equal(lines_next(&lines), "two");
    assert_string_equal(lines_next(&lines), "last");
    assert_null(lines_next(&lines));
    assert_false(lines.failed);
    lines_close(&lines);
}

static void a_read_error_is_reported(void **state)
{
    char buffer[64];
    struct lines lines = { .fd = 9999, .buffer = buffer, .bytes = sizeof buffer };

    (void)state;
    assert_null(lines_next(&lines));
    assert_true(lines.failed);
}

/* ------------------------------------------------------------------- mappings */

static struct mapping rows[4096];

static struct mapping_table read_table(uintptr_t skip_low, uintptr_t skip_high)
{
    struct mapping_table table = {
        .rows = rows, .capacity = 4096, .skip_low = skip_low, .skip_high = skip_high,
    };

    assert_true(proc_read_mappings(&table, scratch));
    assert_true(table.count <= table.capacity);
    return table;
}

static const struct mapping *find(const struct mapping_table *table, const void *address)
{
    for (size_t i = 0; i < table->count; i++) {
        if (table->rows[i].low <= (uintptr_t)address && (uintptr_t)address < table->rows[i].high)
            return &table->rows[i];
    }
    return NULL;
}

static int kind_of(const struct mapping_table *table, const void *address)
{
    const struct mapping *mapping = find(table, address);

    return mapping == NULL ? -1 : mapping->kind;
}

static void mappings_are_classified(void **state)
{
    static int data = 1;
    int local;
    char *private = map_pages(2, PROT_READ | PROT_WRITE, MAP_PRIVATE);
    char *none = map_pages(2, PROT_NONE, MAP_PRIVATE);
    char *shared = map_pages(2, PROT_READ | PROT_WRITE, MAP_SHARED);
    int fd = open("/proc/self/exe", O_RDONLY);
    char *file = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0);
    struct mapping_table table = read_table(0, 0);

    (void)state;
    assert_int_equal(kind_of(&table, private), MAPPING_ANONYMOUS);
    assert_true(mapping_is_readable(find(&table, private)));
    assert_int_equal(kind_of(&table, none), MAPPING_ANONYMOUS);
    assert_false(mapping_is_readable(find(&table, none)));
    assert_int_equal(kind_of(&table, shared), MAPPING_MEMORY);
    assert_int_equal(kind_of(&table, file), MAPPING_FOREIGN);
    assert_int_equal(kind_of(&table, &data), MAPPING_FILE);
    assert_int_equal(kind_of(&table, &local), MAPPING_MAIN_STACK);
    assert_int_equal(kind_of(&table, sbrk(0) - 1), MAPPING_ANONYMOUS);
    for (size_t i = 1; i < table.count; i++)
        assert_true(table.rows[i].low >= table.rows[i - 1].high);
    munmap(private, 8192);
    munmap(none, 8192);
    munmap(shared, 8192);
    munmap(file, 4096);
    close(fd);
}

static void the_excluded_range_is_cut_out_of_a_mapping(void **state)
{
    char *memory = map_pages(6, PROT_READ | PROT_WRITE, MAP_PRIVATE);
    struct mapping_table table = read_table((uintptr_t)memory + 4096, (uintptr_t)memory + 3 * 4096);

    (void)state;
    assert_int_equal(kind_of(&table, memory), MAPPING_ANONYMOUS);
    assert_int_equal(kind_of(&table, memory + 4096), -1);
    assert_int_equal(kind_of(&table, memory + 3 * 4096 - 1), -1);
    assert_int_equal(kind_of(&table, memory + 3 * 4096), MAPPING_ANONYMOUS);
    munmap(memory, 6 * 4096);
}

static void rings_of_requests_are_seen(void **state)
{
    aio_context_t context = 0;

    (void)state;
    assert_false(read_table(0, 0).hider_seen);
    if (syscall(SYS_io_setup, 1, &context) != 0)
        skip();                     /* a kernel without it */
    struct mapping_table table = read_table(0, 0);

    assert_true(table.hider_seen);
    assert_int_equal(kind_of(&table, (void *)context), MAPPING_MEMORY);
    syscall(SYS_io_destroy, context);
    assert_false(read_table(0, 0).hider_seen);
}

/* What is said of a program that has mapped a file of this name, whatever is in it. */
static struct mapping_table table_with(const char *file)
{
    char directory[] = "/tmp/test_proc.XXXXXX", path[64];

    assert_non_null(mkdtemp(directory));
    snprintf(path, sizeof path, "%s/%s", directory, file);
    int fd = open(path, O_RDWR | O_CREAT, 0600);

    assert_int_equal(ftruncate(fd, 4096), 0);
    char *memory = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, fd, 0);
    struct mapping_table table = read_table(0, 0);

    munmap(memory, 4096);
    close(fd);
    unlink(path);
    rmdir(directory);
    return table;
}

static void libraries_that_hide_pointers_are_seen(void **state)
{
    static const struct {
        const char *file;
        bool distances, hides;
    } cases[] = {
        { "libfontconfig.so.1.12.0", true, false }, { "libfontconfig-4a6b81c9.so.1", true, false },
        { "libswipl.so.9", false, true }, { "libdb-5.3.so", false, true }, { "libdb_cxx-5.3.so", false, true },
        { "libgiac.so.0", false, true }, { "libluajit-5.1.so.2.1.0", false, true },
        { "libfontconfigure.so", false, false }, { "libdbus-1.so.3", false, false }, { "libc.so.6", false, false },
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct mapping_table table = table_with(cases[i].file);

        assert_int_equal(table.distances_seen, cases[i].distances);
        assert_int_equal(table.hider_seen, cases[i].hides);
    }
    assert_false(read_table(0, 0).distances_seen);
}

static void too_many_mappings_are_counted(void **state)
{
    struct mapping_table table = { .rows = rows, .capacity = 3 };

    (void)state;
    rows[3].low = 12345;
    assert_true(proc_read_mappings(&table, scratch));
    assert_true(table.count > 3);
    assert_int_equal(rows[3].low, 12345);
}

/* ------------------------------------------------------------------- pagemap */

static struct page_range ranges[64];
static uint64_t words[512];

static bool listed(const char *memory, size_t pages, bool by_words, const char *wanted)
{
    char seen[64] = { 0 };
    struct pagemap pagemap;
    uintptr_t at = (uintptr_t)memory, end = at + pages * 4096;

    memset(seen, '.', pages);
    assert_true(pagemap_open(&pagemap, by_words, words, sizeof words));
    while (at < end) {
        uintptr_t next;
        long count = pagemap_list(&pagemap, at, end, ranges, 2, &next);

        assert_true(count >= 0 && count <= 2 && next > at);
        for (long i = 0; i < count; i++) {
            for (uintptr_t p = ranges[i].low; p < ranges[i].high; p += 4096)
                seen[(p - (uintptr_t)memory) / 4096] = ranges[i].flags & PAGE_PRESENT ? 'x' : 's';
        }
        at = next;
    }
    assert_int_equal(at, end);
    pagemap_close(&pagemap);
    if (strcmp(seen, wanted) != 0)
        print_error("%s: %s, wanted %s\n", by_words ? "words" : "scan", seen, wanted);
    return strcmp(seen, wanted) == 0;
}

static void written_pages_are_listed(void **state)
{
    char *memory = map_pages(16, PROT_READ | PROT_WRITE, MAP_PRIVATE);
    static const unsigned char written[] = { 0, 3, 4, 5, 8, 10, 12, 15 };

    (void)state;
    assert_true(listed(memory, 16, false, "................"));
    assert_true(listed(memory, 16, true, "................"));
    for (size_t i = 0; i < sizeof written; i++)
        memory[written[i] * 4096] = 1;
    assert_true(listed(memory, 16, false, "x..xxx..x.x.x..x"));
    assert_true(listed(memory, 16, true, "x..xxx..x.x.x..x"));
    mprotect(memory, 5 * 4096, PROT_NONE);
    assert_true(listed(memory, 16, false, "x..xxx..x.x.x..x"));
    assert_true(listed(memory, 16, true, "x..xxx..x.x.x..x"));
    munmap(memory, 16 * 4096);
}

static bool have_scan(void)
{
    struct pagemap pagemap;

    assert_true(pagemap_open(&pagemap, false, words, sizeof words));
    pagemap_close(&pagemap);
    return !pagemap.by_words;
}

static void zero_pages_and_file_pages_are_not_listed(void **state)
{
    int fd = memfd_create("file", 0);
    char *memory = map_pages(4, PROT_READ | PROT_WRITE, MAP_PRIVATE);

    (void)state;
    assert_int_equal(*(volatile char *)(memory + 4096), 0);
    if (have_scan())
        assert_true(listed(memory, 4, false, "...."));
    else
        print_message("SKIP: zero pages: this kernel has no PAGEMAP_SCAN (Linux 6.7)\n");
    assert_int_equal(ftruncate(fd, 4 * 4096), 0);
    char *file = mmap(NULL, 4 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);

    assert_int_equal(*(volatile char *)(file + 4096), 0);
    file[8192] = 1;
    assert_true(listed(file, 4, false, "..x."));
    assert_true(listed(file, 4, true, "..x."));
    munmap(file, 4 * 4096);
    munmap(memory, 4 * 4096);
    close(fd);
}

/* ------------------------------------------------------------------- dirty pages */

enum tracked_list { LIST_WRITTEN, LIST_REARM, LIST_CHANGED, LIST_CHANGED_ANONYMOUS };

static struct pagemap tracking;

static long list_tracked(enum tracked_list list, uintptr_t low, uintptr_t high, uintptr_t *next)
{
    if (list == LIST_WRITTEN)
        return pagemap_written(&tracking, low, high, false, ranges, 3, next);
    if (list == LIST_REARM)
        return pagemap_rearm(&tracking, low, high, ranges, 3, next);
    return pagemap_changed(&tracking, low, high, list == LIST_CHANGED_ANONYMOUS, ranges, 3, next);
}

/* As listed() above, of up to 16 pages. */
static void expect_tracked(enum tracked_list list, const char *memory, const char *wanted)
{
    char seen[17] = "................";
    uintptr_t at = (uintptr_t)memory, end = at + 16 * 4096;

    while (at < end) {
        uintptr_t next;
        long count = list_tracked(list, at, end, &next);

        assert_true(count >= 0 && count <= 3 && next > at);
        for (long i = 0; i < count; i++) {
            for (uintptr_t p = ranges[i].low; p < ranges[i].high; p += 4096)
                seen[(p - (uintptr_t)memory) / 4096] = ranges[i].flags & PAGE_PRESENT ? 'x' : 's';
        }
        at = next;
    }
    assert_string_equal(seen, wanted);
}

static void written_pages_are_told_from_armed_ones(void **state)
{
    char *memory = map_pages(16, PROT_READ | PROT_WRITE, MAP_PRIVATE);
    uintptr_t low = (uintptr_t)memory, high = low + 16 * 4096, next;
    struct userfault userfault;

    (void)state;
    if (!userfault_open(&userfault) || !have_scan()) {
        print_message("SKIP: dirty pages: no userfaultfd or no PAGEMAP_SCAN here (Linux 6.7)\n");
        return;
    }
    memset(memory, 1, 12 * 4096);
    assert_true(pagemap_open(&tracking, false, words, sizeof words));
    assert_int_equal(pagemap_written(&tracking, low, high, true, ranges, 3, &next), -EPERM);
    expect_tracked(LIST_REARM, memory, "................");     /* not registered: passed over */
    expect_tracked(LIST_CHANGED, memory, "xxxxxxxxxxxx....");   /* or all of it */
    assert_int_equal(userfault_register(&userfault, low, high), 0);
    assert_int_equal(userfault_register(&userfault, low, high), 0);
    expect_tracked(LIST_WRITTEN, memory, "xxxxxxxxxxxx....");
    assert_int_equal(pagemap_arm(&tracking, low, high), 0);
    expect_tracked(LIST_CHANGED, memory, "................");
    memory[0] = memory[4096 * 5] = memory[4096 * 7] = memory[4096 * 14] = 1;
    expect_tracked(LIST_WRITTEN, memory, "x....x.x......x.");
    expect_tracked(LIST_CHANGED, memory, "x....x.x......x.");
    expect_tracked(LIST_CHANGED_ANONYMOUS, memory, "x....x.x......x.");
    expect_tracked(LIST_REARM, memory, "x....x.x......x.");
    expect_tracked(LIST_WRITTEN, memory, "................");
    munmap(memory + 4 * 4096, 4 * 4096);
    mmap(memory + 4 * 4096, 4 * 4096, PROT_READ | PROT_WRITE,
         MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    memory[4096 * 6] = memory[4096 * 10] = 1;
    assert_int_equal(pagemap_written(&tracking, low, high, false, ranges, 3, &next), -EPERM);
    expect_tracked(LIST_CHANGED, memory, "......x...x.....");
    expect_tracked(LIST_REARM, memory, "..........x.....");
    userfault_close(&userfault);
    expect_tracked(LIST_CHANGED, memory, "xxxx..x.xxxx..x.");
    pagemap_close(&tracking);
    munmap(memory, 16 * 4096);
}

/* A page table has 512 entries. */
enum { YOUNG_PAGES = 512, OLD_AND_YOUNG = 2 * YOUNG_PAGES, READ_PAGE = YOUNG_PAGES + 400 };

typedef long list_function(struct pagemap *pagemap, uintptr_t low, uintptr_t high,
                           struct page_range *ranges, size_t capacity, uintptr_t *next);

static long list_written(struct pagemap *pagemap, uintptr_t low, uintptr_t high,
                         struct page_range *to, size_t capacity, uintptr_t *next)
{
    return pagemap_written(pagemap, low, high, false, to, capacity, next);
}

/* seen: a byte a page. */
static void see_listed(list_function *list, uintptr_t low, bool *seen)
{
    memset(seen, 0, OLD_AND_YOUNG * sizeof seen[0]);
    for (uintptr_t at = low, next; at < low + OLD_AND_YOUNG * 4096; at = next) {
        long count = list(&tracking, at, low + OLD_AND_YOUNG * 4096, ranges, 3, &next);

        assert_true(count >= 0 && count <= 3 && next > at);
        for (long i = 0; i < count; i++)
            for (uintptr_t page = ranges[i].low; page < ranges[i].high; page += 4096)
                seen[(page - low) / 4096] = true;
    }
}

/* Every page that was written, but for one that was only read, and no other that holds something. */
static void expect_same_of_held(uintptr_t low)
{
    static bool wanted[OLD_AND_YOUNG], found[OLD_AND_YOUNG], held[OLD_AND_YOUNG];

    see_listed(list_written, low, wanted);
    see_listed(pagemap_written_or_absent, low, found);
    see_listed(pagemap_held, low, held);
    for (size_t i = 0; i < OLD_AND_YOUNG; i++)
        assert_int_equal(found[i] && held[i], wanted[i] && i != READ_PAGE);
}

/* More stretches than one call has room for, and a part of a page table. */
static void all_of_a_range_is_armed(void **state)
{
    enum { PAGES = 700, FIRST = 3, LAST = PAGES - 2 };
    char *memory = map_pages(PAGES, PROT_READ | PROT_WRITE, MAP_PRIVATE);
    uintptr_t low = (uintptr_t)memory, high = low + PAGES * 4096, next;
    struct userfault userfault;

    (void)state;
    if (!userfault_open(&userfault) || !have_scan()) {
        print_message("SKIP: dirty pages: no userfaultfd or no PAGEMAP_SCAN here (Linux 6.7)\n");
        return;
    }
    memset(memory, 1, PAGES * 4096);
    assert_true(pagemap_open(&tracking, false, words, sizeof words));
    assert_int_equal(userfault_register(&userfault, low, high), 0);
    assert_int_equal(pagemap_arm(&tracking, low, high), 0);
    for (size_t page = 0; page < PAGES; page += 2)
        memory[page * 4096] = 2;
    assert_int_equal(pagemap_arm(&tracking, low + FIRST * 4096, low + LAST * 4096), 0);
    assert_int_equal(pagemap_written(&tracking, low, high, false, ranges, 64, &next), 3);
    assert_int_equal(next, high);
    assert_true(ranges[0].low == low && ranges[1].low == low + 2 * 4096 && ranges[2].low == low + LAST * 4096);
    pagemap_close(&tracking);
    userfault_close(&userfault);
    munmap(memory, PAGES * 4096);
}

/* In memory whose page table is older than the arming, where some was given back since, and in younger
 * memory. */
static void written_pages_are_among_those_listed_quickly(void **state)
{
    char *memory = map_pages(2 * OLD_AND_YOUNG, PROT_READ | PROT_WRITE, MAP_PRIVATE);
    uintptr_t low = align_up((uintptr_t)memory, YOUNG_PAGES * 4096), high = low + OLD_AND_YOUNG * 4096;
    char *old = (char *)low, *young = old + YOUNG_PAGES * 4096;
    struct userfault userfault;

    (void)state;
    if (!userfault_open(&userfault) || !have_scan()) {
        print_message("SKIP: dirty pages: no userfaultfd or no PAGEMAP_SCAN here (Linux 6.7)\n");
        return;
    }
    madvise(old, OLD_AND_YOUNG * 4096, MADV_NOHUGEPAGE);
    memset(old, 1, YOUNG_PAGES * 4096 / 2);
    assert_true(pagemap_open(&tracking, false, words, sizeof words));
    assert_int_equal(userfault_register(&userfault, low, high), 0);
    assert_int_equal(pagemap_arm(&tracking, low, high), 0);
    expect_same_of_held(low);
    old[0] = old[3 * 4096] = old[300 * 4096] = young[0] = young[9 * 4096] = young[511 * 4096] = 1;
    assert_int_equal(*(volatile char *)&old[READ_PAGE * 4096], 0);
    madvise(old + 16 * 4096, 16 * 4096, MADV_DONTNEED);
    old[20 * 4096] = 1;
    expect_same_of_held(low);
    tracking.knows_swapped = false;
    expect_same_of_held(low);
    pagemap_close(&tracking);
    userfault_close(&userfault);
    munmap(memory, 2 * OLD_AND_YOUNG * 4096);
}

static void a_listing_can_be_limited(void **state)
{
    char *memory = map_pages(16, PROT_READ | PROT_WRITE, MAP_PRIVATE);
    uintptr_t low = (uintptr_t)memory, next;

    (void)state;
    memset(memory, 1, 16 * 4096);
    assert_true(pagemap_open(&tracking, false, words, sizeof words));
    tracking.page_limit = 5;
    assert_int_equal(pagemap_list(&tracking, low, low + 16 * 4096, ranges, 3, &next), 1);
    if (!tracking.by_words) {
        assert_int_equal(next, low + 5 * 4096);
        assert_int_equal(ranges[0].high, next);
    }
    pagemap_close(&tracking);
    munmap(memory, 16 * 4096);
}

/* ------------------------------------------------------------------- remote */

static void reads_stop_at_what_is_unreadable(void **state)
{
    struct remote remote;
    static char copy[3 * 4096];
    char *memory = map_pages(3, PROT_READ | PROT_WRITE, MAP_PRIVATE);

    (void)state;
    memset(memory, 'm', 3 * 4096);
    mprotect(memory + 8192, 4096, PROT_NONE);
    for (int way = 0; way < 2; way++) {
        remote_open(&remote);
        remote.no_readv = way == 1;
        memset(copy, 0, sizeof copy);
        assert_int_equal(remote_read(&remote, copy, (uintptr_t)memory, 8192), 8192);
        assert_memory_equal(copy, memory, 8192);
        if (way == 0)
            assert_int_equal(remote_read(&remote, copy, (uintptr_t)memory, 3 * 4096), 8192);
        assert_int_equal(remote_read_forced(&remote, copy, (uintptr_t)memory + 8192, 4096), 4096);
        assert_int_equal(copy[0], 'm');
        munmap(memory + 4096, 4096);
        assert_int_equal(remote_read(&remote, copy, (uintptr_t)memory + 4096, 4096), 0);
        mmap(memory + 4096, 4096, PROT_READ | PROT_WRITE, MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS,
             -1, 0);
        memset(memory + 4096, 'm', 4096);
        remote_close(&remote);
    }
    munmap(memory, 3 * 4096);
}

/* ------------------------------------------------------------------- kernel-held words */

struct expectation { uintptr_t word; int times; };

static void count_word(void *context, uintptr_t word)
{
    struct expectation *wanted = context;

    wanted->times += word == wanted->word;
}

static int times_in_epoll(uintptr_t word)
{
    struct expectation wanted = { word, 0 };

    struct descriptor_walk walk = {
        .own_userfault = -1, .visit = count_word, .context = &wanted,
    };

    assert_true(proc_visit_descriptors(scratch, &walk));
    return wanted.times;
}

static void every_watch_of_a_large_epoll_is_seen(void **state)
{
    enum { WATCHES = 900 };         /* about 72 KiB of text, more than the buffer holds */
    int epoll = epoll_create1(0), fds[WATCHES];

    (void)state;
    for (int i = 0; i < WATCHES; i++) {
        struct epoll_event event = { EPOLLIN, { .u64 = 0xfedc000000000000u + (unsigned)i } };

        fds[i] = eventfd(0, 0);
        assert_true(fds[i] >= 0);
        assert_int_equal(epoll_ctl(epoll, EPOLL_CTL_ADD, fds[i], &event), 0);
    }
    for (int i = 0; i < WATCHES; i += 61)
        assert_int_equal(times_in_epoll(0xfedc000000000000u + (unsigned)i), 1);
    assert_int_equal(times_in_epoll(0xfedc000000000000u + WATCHES), 0);
    for (int i = 0; i < WATCHES; i++)
        close(fds[i]);
    close(epoll);
    assert_int_equal(times_in_epoll(0xfedc000000000000u), 0);
}

static void timer_values_are_seen(void **state)
{
    struct expectation wanted = { 0x123456789abcdef0u, 0 };
    struct sigevent event = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1 };
    timer_t timer;

    (void)state;
    event.sigev_value.sival_ptr = (void *)wanted.word;
    assert_int_equal(timer_create(CLOCK_MONOTONIC, &event, &timer), 0);
    assert_true(proc_visit_timers(scratch, false, count_word, &wanted));
    assert_int_equal(wanted.times, 1);
    timer_delete(timer);
    wanted.times = 0;
    assert_true(proc_visit_timers(scratch, false, count_word, &wanted));
    assert_int_equal(wanted.times, 0);
}

/* ------------------------------------------------------------------- host */

static void the_host_is_described(void **state)
{
    uint64_t then = host_clock_ns(), process = host_process_cpu_ns(), mine = host_thread_cpu_ns();

    (void)state;
    assert_true(host_cpus() >= 1 && host_cpus() <= (unsigned)get_nprocs_conf());
    assert_int_equal(host_physical_bytes(),
                     (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE));
    assert_true(host_kernel_is(2, 6) && host_kernel_is(4, 99) && !host_kernel_is(99, 0));
    while (host_thread_cpu_ns() < mine + 1000000)
        ;
    assert_true(host_clock_ns() >= then + 900000);
    assert_true(host_process_cpu_ns() >= process + 900000);
    uint32_t keys = host_open_keys();

    host_restore_keys(keys);
    assert_int_equal(host_open_keys(), keys);
    host_restore_keys(keys);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_are_split_and_long_ones_cut),
        cmocka_unit_test(a_read_error_is_reported),
        cmocka_unit_test(mappings_are_classified),
        cmocka_unit_test(the_excluded_range_is_cut_out_of_a_mapping),
        cmocka_unit_test(rings_of_requests_are_seen),
        cmocka_unit_test(libraries_that_hide_pointers_are_seen),
        cmocka_unit_test(too_many_mappings_are_counted),
        cmocka_unit_test(written_pages_are_listed),
        cmocka_unit_test(zero_pages_and_file_pages_are_not_listed),
        cmocka_unit_test(written_pages_are_told_from_armed_ones),
        cmocka_unit_test(all_of_a_range_is_armed),
        cmocka_unit_test(written_pages_are_among_those_listed_quickly),
        cmocka_unit_test(a_listing_can_be_limited),
        cmocka_unit_test(reads_stop_at_what_is_unreadable),
        cmocka_unit_test(every_watch_of_a_large_epoll_is_seen),
        cmocka_unit_test(timer_values_are_seen),
        cmocka_unit_test(the_host_is_described),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
