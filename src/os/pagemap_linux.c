/* pagemap_linux.c -- see pagemap.h
 *
 * The definitions of PAGEMAP_SCAN are our own: linux/fs.h has them since 6.7 only.
 */
#include "os/pagemap.h"

#include <errno.h>

#include "base/sys.h"
#include "os/host.h"
#include "os/vm.h"

struct scan_argument {
    uint64_t size, flags, start, end, walk_end, vec, vec_len, max_pages;
    uint64_t category_inverted, category_mask, category_anyof_mask, return_mask;
};

#define SCAN_REQUEST 0xc0606610ul       /* _IOWR('f', 16, struct pm_scan_arg) */

enum {
    SCAN_ARM = 1 << 0,                  /* PM_SCAN_WP_MATCHING */
    SCAN_CHECK = 1 << 1,                /* PM_SCAN_CHECK_WPASYNC: unregistered memory is an error */
    ARM_RANGES = HOSTILE(128, 1),
};

enum {
    IS_REGISTERED = PAGE_REGISTERED,
    IS_WRITTEN = 1 << 1,
    IS_FILE = 1 << 2,
    IS_PRESENT = PAGE_PRESENT,
    IS_SWAPPED = 1 << 4,
    IS_ZERO_PAGE = 1 << 5,
    IS_GUARD = 1 << 8,                  /* Linux 6.15 */
};

/* Bits of a word of /proc/self/pagemap. */
#define WORD_PRESENT (1ull << 63)
#define WORD_SWAPPED (1ull << 62)
#define WORD_FILE (1ull << 61)
#define WORD_GUARD (1ull << 58)

_Static_assert(sizeof(struct scan_argument) == 96, "the request number encodes the size");
_Static_assert(sizeof(struct page_range) == 24, "struct page_region");

bool pagemap_open(struct pagemap *pagemap, bool by_words, void *scratch, size_t scratch_bytes)
{
    pagemap->fd = sys_open_read("/proc/thread-self/pagemap");
    pagemap->by_words = by_words;
    pagemap->page_limit = 0;
    pagemap->knows_swapped = host_kernel_is(6, 10);
    pagemap->exclude = IS_FILE | IS_ZERO_PAGE | IS_GUARD;
    pagemap->words = scratch;
    pagemap->word_count = scratch_bytes / sizeof pagemap->words[0];
    if (pagemap->fd < 0)
        return false;
    if (!by_words) {                    /* an empty range tells whether the call is known */
        uintptr_t next;
        struct page_range none;

        return pagemap_list(pagemap, VM_PAGE, VM_PAGE, &none, 1, &next) >= 0;
    }
    return true;
}

void pagemap_close(struct pagemap *pagemap)
{
    if (pagemap->fd >= 0)
        sys_close(pagemap->fd);
    pagemap->fd = -1;
}

static long request(struct pagemap *pagemap, struct scan_argument *argument, uintptr_t *next)
{
    argument->size = sizeof *argument;
    long count = sys_call3(SYS_ioctl, pagemap->fd, (long)SCAN_REQUEST, (long)argument);

    *next = argument->walk_end;
    return count;
}

static long scan(struct pagemap *pagemap, struct scan_argument *argument, uintptr_t *next)
{
    argument->category_anyof_mask = IS_PRESENT | IS_SWAPPED;
    argument->return_mask |= IS_PRESENT;
    return request(pagemap, argument, next);
}

static struct scan_argument listing(uintptr_t low, uintptr_t high, struct page_range *ranges,
                                    size_t capacity)
{
    return (struct scan_argument){
        .start = low, .end = high, .vec = (uint64_t)(uintptr_t)ranges, .vec_len = capacity,
    };
}

static long scan_list(struct pagemap *pagemap, uintptr_t low, uintptr_t high,
                      struct page_range *ranges, size_t capacity, uintptr_t *next)
{
    struct scan_argument argument = listing(low, high, ranges, capacity);

    argument.max_pages = pagemap->page_limit;
    argument.category_inverted = pagemap->exclude;
    argument.category_mask = pagemap->exclude;
    argument.return_mask = IS_REGISTERED;
    return scan(pagemap, &argument, next);
}

/* What is registered is left out; what is not is an error. */
bool pagemap_is_registered(struct pagemap *pagemap, uintptr_t low, uintptr_t high)
{
    struct scan_argument argument = {
        .flags = SCAN_CHECK,
        .start = low,
        .end = high,
        .category_inverted = IS_REGISTERED,
        .category_mask = IS_REGISTERED,
    };
    uintptr_t next;

    return request(pagemap, &argument, &next) == 0;
}

static long arm_some(struct pagemap *pagemap, uintptr_t low, uintptr_t high, uintptr_t *next)
{
    struct page_range ranges[ARM_RANGES];
    struct scan_argument argument = listing(low, high, ranges, ARM_RANGES);

    argument.flags = SCAN_ARM | SCAN_CHECK;
    argument.category_mask = IS_WRITTEN;
    argument.category_anyof_mask = IS_PRESENT | IS_SWAPPED;
    argument.return_mask = IS_WRITTEN;
    return request(pagemap, &argument, next);
}

/* What is armed nobody wants to know, but without a list kernels before 6.17 (6.12.50) crash at a huge
 * page of which a part is armed.  Asked for "written" alone it would make page tables for memory that was
 * never touched, 2 MiB a GiB, to arm what is not there. */
long pagemap_arm(struct pagemap *pagemap, uintptr_t low, uintptr_t high)
{
    uintptr_t next;

    for (; low < high; low = next) {
        long count = arm_some(pagemap, low, high, &next);

        if (count < 0)
            return count;
        if (next <= low)
            return -EFAULT;
    }
    return 0;
}

static long list_written(struct pagemap *pagemap, uint64_t flags, uintptr_t low, uintptr_t high,
                         struct page_range *ranges, size_t capacity, uintptr_t *next)
{
    struct scan_argument argument = listing(low, high, ranges, capacity);

    argument.flags = flags;
    argument.category_mask = IS_WRITTEN;
    return scan(pagemap, &argument, next);
}

/* Only what the list is limited to by the room for it is armed: the kernel stops there. */
long pagemap_written(struct pagemap *pagemap, uintptr_t low, uintptr_t high, bool rearm,
                     struct page_range *ranges, size_t capacity, uintptr_t *next)
{
    return list_written(pagemap, SCAN_CHECK | (rearm ? SCAN_ARM : 0), low, high, ranges, capacity, next);
}

long pagemap_rearm(struct pagemap *pagemap, uintptr_t low, uintptr_t high,
                   struct page_range *ranges, size_t capacity, uintptr_t *next)
{
    return list_written(pagemap, SCAN_ARM, low, high, ranges, capacity, next);
}

/* Asked for "written" and nothing else the kernel compares one bit of each entry of a page table, instead of
 * finding out all that can be known of the page.  An entry without a page is not armed, so it is listed as
 * well.
 * Before 6.9 (and 6.8.10) that loop took bits of a swapped page's place, and of a page's that was being
 * migrated, for the mark. */
long pagemap_written_or_absent(struct pagemap *pagemap, uintptr_t low, uintptr_t high,
                               struct page_range *ranges, size_t capacity, uintptr_t *next)
{
    struct scan_argument argument = listing(low, high, ranges, capacity);

    argument.flags = SCAN_CHECK;
    argument.category_mask = IS_WRITTEN;
    argument.return_mask = IS_WRITTEN;
    return pagemap->knows_swapped
               ? request(pagemap, &argument, next)
               : pagemap_written(pagemap, low, high, false, ranges, capacity, next);
}

long pagemap_held(struct pagemap *pagemap, uintptr_t low, uintptr_t high,
                  struct page_range *ranges, size_t capacity, uintptr_t *next)
{
    struct scan_argument argument = listing(low, high, ranges, capacity);

    argument.category_inverted = IS_ZERO_PAGE;
    argument.category_mask = IS_ZERO_PAGE;
    return scan(pagemap, &argument, next);
}

/* Takes out the ranges that hold no pages; `flags` become what they are elsewhere. */
static long drop_holes(struct page_range *ranges, long count)
{
    long used = 0;

    for (long i = 0; i < count; i++) {
        if (ranges[i].flags == 0)
            continue;
        ranges[used] = ranges[i];
        ranges[used++].flags &= IS_PRESENT;
    }
    return used;
}

/* Memory that is not registered any more may still bear the marks of its arming (mremap before
 * Linux 6.14), so "written" alone does not do.  That leaves no way to ask for pages in memory, and
 * holes are listed as well. */
long pagemap_changed(struct pagemap *pagemap, uintptr_t low, uintptr_t high, bool no_files,
                     struct page_range *ranges, size_t capacity, uintptr_t *next)
{
    uint64_t exclude = pagemap->exclude & ~(uint64_t)(no_files ? IS_FILE : 0);
    struct scan_argument argument = listing(low, high, ranges, capacity);

    argument.category_inverted = exclude | IS_REGISTERED;
    argument.category_mask = exclude;
    argument.category_anyof_mask = IS_WRITTEN | IS_REGISTERED;
    argument.return_mask = IS_PRESENT | IS_SWAPPED;
    long count = request(pagemap, &argument, next);

    return count < 0 ? count : drop_holes(ranges, count);
}

/* Folds the words of consecutive pages from low on into ranges; stops when there is no room. */
static long fold_words(const uint64_t *words, size_t count, uintptr_t low,
                       struct page_range *ranges, size_t capacity, uintptr_t *next)
{
    size_t used = 0, i;

    for (i = 0; i < count; i++) {
        uint64_t word = words[i];
        uint64_t at = low + i * VM_PAGE;
        uint64_t present = word & WORD_PRESENT ? IS_PRESENT : 0;

        if ((word & (WORD_PRESENT | WORD_SWAPPED)) == 0 || (word & (WORD_FILE | WORD_GUARD)) != 0)
            continue;
        if (used > 0 && ranges[used - 1].high == at && ranges[used - 1].flags == present) {
            ranges[used - 1].high += VM_PAGE;
            continue;
        }
        if (used == capacity)
            break;
        ranges[used++] = (struct page_range){ at, at + VM_PAGE, present };
    }
    *next = low + i * VM_PAGE;
    return (long)used;
}

static long read_words(struct pagemap *pagemap, uintptr_t low, uintptr_t high,
                       struct page_range *ranges, size_t capacity, uintptr_t *next)
{
    size_t wanted = (high - low) / VM_PAGE;
    long got;

    *next = low;
    if (wanted > pagemap->word_count)
        wanted = pagemap->word_count;
    if (wanted == 0)
        return 0;
    do
        got = sys_call4(SYS_pread64, pagemap->fd, (long)pagemap->words, (long)(wanted * 8),
                        (long)(low / VM_PAGE * 8));
    while (got == -EINTR);
    if (got < 8)
        return -1;
    return fold_words(pagemap->words, (size_t)got / 8, low, ranges, capacity, next);
}

long pagemap_list(struct pagemap *pagemap, uintptr_t low, uintptr_t high,
                  struct page_range *ranges, size_t capacity, uintptr_t *next)
{
    while (!pagemap->by_words) {
        long count = scan_list(pagemap, low, high, ranges, capacity, next);

        if (count >= 0)
            return count;
        if (count == -EINVAL && (pagemap->exclude & IS_GUARD) != 0)
            pagemap->exclude &= ~(uint64_t)IS_GUARD;
        else if (count == -ENOTTY || count == -EINVAL || count == -EPERM)
            pagemap->by_words = true;   /* older than 6.7, or a filter of ioctls */
        else
            return -1;
    }
    return read_words(pagemap, low, high, ranges, capacity, next);
}
