/* test_huge.c -- huge pages for small blocks: where they come, and where they do not
 *
 * PURPOSE  A heap that grows by small spans lies in huge pages, in few mappings; a large block that is
 *          touched here and there stays small; what nobody used of the last huge page is
 *          returned; what was written to an armed huge page is told page by page.  Needs a
 *          system that has huge pages for those who ask.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/options.h"
#include "heap/pages.h"
#include "os/pagemap.h"
#include "os/userfault.h"
#include "os/vm.h"

enum { GENERATION = 2, CLASS_64 = 6, SPANS = 4096, HUGE_KIB = 2048 };

static const size_t HUGE = (size_t)2 << 20;
static struct span *spans[SPANS];
static size_t span_count;

/* What the heap takes: mappings, KiB in memory, KiB of that in huge pages. */
struct extent {
    size_t mappings, resident, huge;
};

static struct extent heap_extent(void)
{
    struct extent found = { 0, 0, 0 };
    FILE *file = fopen("/proc/self/smaps", "re");
    char line[512];
    bool ours = false;

    assert_non_null(file);
    while (fgets(line, sizeof line, file) != NULL) {
        unsigned long low, high;
        size_t kib;
        if (sscanf(line, "%lx-%lx ", &low, &high) == 2) {
            ours = low < arena.heap.base + arena.heap.reserved && high > arena.heap.base;
            found.mappings += ours;
        } else if (ours && sscanf(line, "Rss: %zu", &kib) == 1) {
            found.resident += kib;
        } else if (ours && sscanf(line, "AnonHugePages: %zu", &kib) == 1) {
            found.huge += kib;
        }
    }
    fclose(file);
    return found;
}

static void grow(size_t bytes)
{
    for (size_t done = 0; done < bytes; done += spans[span_count++]->slot_bytes * spans[0]->slots) {
        struct span *span = pages_alloc_small(CLASS_64, size_classes[CLASS_64].pages, GENERATION);

        assert_non_null(span);
        assert_true(span_count < SPANS);
        if (span->zeroed)
            for (size_t i = 0; i < (size_t)span->pages << PAGE_SHIFT; i += 64)
                assert_int_equal(*(uint64_t *)(span->base + i), 0);
        memset((void *)span->base, 1, (size_t)span->pages << PAGE_SHIFT);
        spans[span_count] = span;
    }
}

static void shrink(size_t keep)
{
    while (span_count > keep) {
        spans[--span_count]->claimed = 1;
        pages_free(spans[span_count]);
    }
    assert_true(pages_check());
}

/* In a process of its own: which policy is found out once. */
static void in_child(void (*body)(void))
{
    int status;
    pid_t child = fork();

    if (child == 0) {
        body();
        _exit(0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

static void expect(bool condition, const char *what)
{
    if (condition)
        return;
    fprintf(stderr, "%s\n", what);
    _exit(1);
}

static void grow_unwanted(void)
{
    options.hugepages = 0;
    grow(16 * HUGE);
    expect(heap_extent().huge == 0 && heap_extent().mappings == 2, "huge pages with hugepages=0");
}

static void grow_small(void)
{
    options.hugepages = 1;
    grow(8 * HUGE);
    expect(heap_extent().huge == 0 && heap_extent().mappings == 2, "huge pages in a small heap");
}

static void grow_unasked(void)
{
    madvise((void *)arena.heap.base, arena.heap.reserved, MADV_HUGEPAGE);
    grow(16 * HUGE);
    expect(heap_extent().huge >= 12 * HUGE_KIB, "huge pages unasked");
    expect(heap_extent().mappings == 2, "the kernel was told something");
}

static void grow_disabled(void)
{
    prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0);
    grow(16 * HUGE);
    expect(heap_extent().huge == 0 && pages_check(), "huge pages that prctl forbids");
}

static void take_large(size_t bytes, size_t alignment)
{
    bool zeroed;
    struct span *large = pages_alloc_large(KIND_MALLOC, bytes, alignment, GENERATION, &zeroed);

    expect(large != NULL, "no memory");
    *(char *)large->base = 1;
}

/* Each 2 MiB begin with four small spans, the rest of them is large. */
static void grow_between(void)
{
    const size_t four = 64 * 1024;

    grow(16 * HUGE);
    take_large(HUGE, HUGE);
    while (spans[span_count - 1]->base % HUGE != 0)
        grow(1);
    grow(four * 3 / 4);
    size_t before = heap_extent().huge;

    for (int i = 0; i < 32; i++) {
        take_large(HUGE - four, 0);
        grow(four);
        expect(spans[span_count - 4]->base % HUGE == 0, "not where it was meant to be");
    }
    expect(heap_extent().huge <= before + HUGE_KIB, "huge pages for large blocks");
}

static void huge_pages_come_only_where_they_should(void **state)
{
    (void)state;
    in_child(grow_unwanted);
    in_child(grow_small);
    in_child(grow_unasked);
    in_child(grow_disabled);
    in_child(grow_between);
}

static void a_growing_heap_lies_in_huge_pages(void **state)
{
    (void)state;
    grow(24 * HUGE);
    struct extent grown = heap_extent();

    assert_true(grown.huge >= 12 * HUGE_KIB);
    assert_true(grown.mappings <= 5);
    assert_true(grown.resident <= (24 + 2) * HUGE_KIB);
    assert_true(pages_check());
}

static void a_large_block_stays_as_small_as_it_is_used(void **state)
{
    struct extent before = heap_extent();
    bool zeroed;
    struct span *large = pages_alloc_large(KIND_MALLOC, 32 * HUGE, HUGE, GENERATION, &zeroed);

    (void)state;
    assert_non_null(large);
    for (size_t i = 0; i < 32; i++)
        *(char *)(large->base + i * HUGE) = 1;
    assert_true(heap_extent().resident < before.resident + HUGE_KIB);
    large->claimed = 1;
    large->live = 0;
    pages_free(large);
    pages_release_idle(0, SIZE_MAX);
}

static void what_is_returned_comes_back_huge(void **state)
{
    size_t before = heap_extent().huge;

    (void)state;
    shrink(64);
    pages_release_idle(0, SIZE_MAX);
    assert_true(heap_extent().huge <= HUGE_KIB && heap_extent().resident < 2 * HUGE_KIB);
    grow(24 * HUGE);
    assert_true(heap_extent().huge + 2 * HUGE_KIB >= before);
    assert_true(heap_extent().mappings <= 5);
    assert_true(pages_check());
}

/* The window's last page is in memory though no span has ever had it. */
static void the_rest_of_the_last_huge_page_is_returned(void **state)
{
    struct pages_stats stats;

    (void)state;
    while (spans[span_count - 1]->base % HUGE > HUGE / 4)
        grow(1);
    size_t used = heap_extent().resident;

    pages_release_idle(0, SIZE_MAX);
    assert_true(heap_extent().resident + HUGE_KIB / 2 < used);
    pages_stats_read(&stats);
    assert_int_equal(heap_extent().resident * 1024,
                     (stats.heap_pages - stats.free_pages - stats.lost_pages) << PAGE_SHIFT);
    assert_int_equal(heap_extent().mappings, 3);
    assert_true(pages_check());
}

static void renewed_mappings_merge(void **state)
{
    bool zeroed;
    struct span *large = pages_alloc_large(KIND_MALLOC, 4 * HUGE, HUGE, GENERATION, &zeroed);
    size_t before = heap_extent().mappings;

    (void)state;
    assert_non_null(large);
    assert_true(vm_renew((void *)(large->base + HUGE), HUGE));
    assert_int_equal(heap_extent().mappings, before);
    large->claimed = 1;
    large->live = 0;
    pages_free(large);
    pages_release_idle(0, SIZE_MAX);
}

static void moved_huge_pages_keep_what_is_in_them(void **state)
{
    char *from = (char *)arena.heap.base + 4 * HUGE;
    bool zeroed;
    struct span *to = pages_alloc_large(KIND_MALLOC, 4 * HUGE, HUGE, GENERATION, &zeroed);
    static char copy[4 << 20];

    (void)state;
    memcpy(copy, from + VM_PAGE, sizeof copy);
    assert_true(vm_move(from + VM_PAGE, (void *)to->base, sizeof copy));
    assert_memory_equal((void *)to->base, copy, sizeof copy);
    assert_true(vm_move((void *)to->base, from + VM_PAGE, sizeof copy));
    assert_memory_equal(from + VM_PAGE, copy, sizeof copy);
    assert_true(vm_renew((void *)to->base, 4 * HUGE));
}

/* Two pages of two huge pages are written to: no other counts, before or after the kernel splits them. */
static void writes_to_huge_pages_are_told_page_by_page(void **state)
{
    uintptr_t low = arena.heap.base + 8 * HUGE, high = low + 4 * HUGE, next;
    struct userfault userfault;
    struct pagemap pagemap;
    struct page_range ranges[8];

    (void)state;
    if (!userfault_open(&userfault) || !pagemap_open(&pagemap, false, NULL, 0)) {
        print_message("SKIP: dirty huge pages: no userfaultfd or no PAGEMAP_SCAN here (Linux 6.7)\n");
        return;
    }
    assert_true(heap_extent().huge >= 8 * HUGE_KIB);
    assert_int_equal(userfault_register(&userfault, low, high), 0);
    assert_int_equal(pagemap_arm(&pagemap, low, high), 0);
    assert_int_equal(pagemap_written(&pagemap, low, high, false, ranges, 8, &next), 0);
    assert_true(heap_extent().huge >= 8 * HUGE_KIB);
    for (int round = 1; round <= 2; round++) {
        *(char *)(low + 5 * VM_PAGE) = 2;
        *(char *)(low + HUGE + 9 * VM_PAGE * (size_t)round) = 2;
        assert_int_equal(pagemap_written(&pagemap, low, high, true, ranges, 8, &next), 2);
        assert_int_equal(ranges[0].low, low + 5 * VM_PAGE);
        assert_int_equal(ranges[0].high, low + 6 * VM_PAGE);
        assert_int_equal(ranges[1].low, low + HUGE + 9 * VM_PAGE * (size_t)round);
        assert_int_equal(ranges[1].high, ranges[1].low + VM_PAGE);
        assert_int_equal(pagemap_written(&pagemap, low, high, false, ranges, 8, &next), 0);
    }
    pagemap_close(&pagemap);
    userfault_close(&userfault);
}

static bool are_asked_for(void)
{
    char line[128] = "";
    FILE *file = fopen("/sys/kernel/mm/transparent_hugepage/enabled", "re");

    if (file == NULL)
        return false;
    bool read = fgets(line, sizeof line, file) != NULL;

    fclose(file);
    return read && strstr(line, "[madvise]") != NULL;
}

/* As many as the tests want: none are left in memory that is fragmented. */
static bool are_to_be_had(void)
{
    size_t bytes = 32 * HUGE, huge = 0;
    char *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    unsigned char resident;

    if (at == MAP_FAILED || madvise(at, bytes, MADV_HUGEPAGE) != 0)
        return false;
    for (char *page = (char *)align_up((uintptr_t)at, HUGE); page + HUGE <= at + bytes; page += HUGE) {
        *page = 1;
        huge += mincore(page + HUGE / 2, 4096, &resident) == 0 && (resident & 1) != 0;
    }
    munmap(at, bytes);
    return huge >= 31;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(huge_pages_come_only_where_they_should),
        cmocka_unit_test(a_growing_heap_lies_in_huge_pages),
        cmocka_unit_test(a_large_block_stays_as_small_as_it_is_used),
        cmocka_unit_test(what_is_returned_comes_back_huge),
        cmocka_unit_test(the_rest_of_the_last_huge_page_is_returned),
        cmocka_unit_test(renewed_mappings_merge),
        cmocka_unit_test(moved_huge_pages_keep_what_is_in_them),
        cmocka_unit_test(writes_to_huge_pages_are_told_page_by_page),
    };

    if (!are_asked_for() || !are_to_be_had()) {
        puts("SKIP huge pages: not for those who ask on this system, or none left");
        return 0;
    }
    options.hugepages = 2;
    if (meta_alloc(64) == NULL)
        return 1;
    return cmocka_run_group_tests_name("huge", tests, NULL, NULL);
}
