/* pagemap.h -- which pages of a range hold something of their own
 *
 * PURPOSE    Lists the anonymous pages of address ranges: present or swapped out,
 *            not pages of a file, not the shared page of zeroes.  A page that is
 *            not listed was never written since it was mapped.  By PAGEMAP_SCAN
 *            (Linux 6.7), or by the words of /proc/self/pagemap.
 * OWNER      struct pagemap: the task that scans.
 */
#ifndef GCALLOC_OS_PAGEMAP_H
#define GCALLOC_OS_PAGEMAP_H

#include "base/compiler.h"

enum {
    PAGE_REGISTERED = 1 << 0,   /* os/userfault.h; told by pagemap_list, but not by_words */
    PAGE_PRESENT = 1 << 3,      /* else swapped out (or looks so: guard and poison markers) */
};

/* Laid out like the kernel's struct page_region. */
struct page_range {
    uint64_t low, high;
    uint64_t flags;
};

struct pagemap {
    int fd;
    bool by_words;          /* the fallback; then a range must not include unmapped gaps: it
                             * reads 8 bytes for every page, mapped or not */
    bool knows_swapped;     /* else pagemap_written_or_absent is no faster */
    uint64_t exclude;       /* categories that PAGEMAP_SCAN leaves out */
    uint64_t page_limit;    /* pagemap_list stops after so many pages; 0: no limit; not by_words */
    uint64_t *words;        /* scratch of the fallback */
    size_t word_count;
};

/* by_words forces the fallback.  The scratch is borrowed until pagemap_close. */
bool pagemap_open(struct pagemap *pagemap, bool by_words, void *scratch, size_t scratch_bytes);
void pagemap_close(struct pagemap *pagemap);
/* Lists the pages in [low, high), both multiples of 4096, in order.  Returns how many ranges were
 * written, -1 on failure.  *next is where to go on; high when all was listed. */
long pagemap_list(struct pagemap *pagemap, uintptr_t low, uintptr_t high,
                  struct page_range *ranges, size_t capacity, uintptr_t *next);

/* Dirty tracking, of ranges that are registered (os/userfault.h); what is not answers -EPERM,
 * and must be taken for wholly written.  Not by_words.
 *
 * Is all of [low, high) that is mapped registered?  It takes as long as there are mappings in it. */
bool pagemap_is_registered(struct pagemap *pagemap, uintptr_t low, uintptr_t high);
/* Arms the pages in memory of [low, high): from now on they count as written only when somebody
 * writes to them.  A page that comes into memory later counts as written.  0 or -errno. */
long pagemap_arm(struct pagemap *pagemap, uintptr_t low, uintptr_t high);
/* Lists the pages written since they were armed, as pagemap_list does; rearm: and arms them, each
 * at the moment it is looked at.  -errno on failure: some pages may be armed and not listed. */
long pagemap_written(struct pagemap *pagemap, uintptr_t low, uintptr_t high, bool rearm,
                     struct page_range *ranges, size_t capacity, uintptr_t *next);
/* What pagemap_written lists without rearm, in a third of the time (0.9 ns a page), and maybe pages that
 * hold nothing, which pagemap_held tells apart.  The flags mean nothing. */
long pagemap_written_or_absent(struct pagemap *pagemap, uintptr_t low, uintptr_t high,
                               struct page_range *ranges, size_t capacity, uintptr_t *next);
/* Lists, as pagemap_list does, the pages of anonymous memory that hold something. -errno on failure. */
long pagemap_held(struct pagemap *pagemap, uintptr_t low, uintptr_t high,
                  struct page_range *ranges, size_t capacity, uintptr_t *next);
/* pagemap_written with rearm, but what is not registered is passed over. */
long pagemap_rearm(struct pagemap *pagemap, uintptr_t low, uintptr_t high,
                   struct page_range *ranges, size_t capacity, uintptr_t *next);
/* What pagemap_list lists, without the pages that are registered and not written since they were
 * armed.  no_files: there is no file in the range; then it takes 2 ns a page, else 11.
 * -errno on failure. */
long pagemap_changed(struct pagemap *pagemap, uintptr_t low, uintptr_t high, bool no_files,
                     struct page_range *ranges, size_t capacity, uintptr_t *next);

#endif
