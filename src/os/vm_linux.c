/* vm_linux.c -- see vm.h */
#define _GNU_SOURCE
#include "os/vm.h"

#include <sys/mman.h>

#include "base/atomics.h"
#include "base/bits.h"
#include "base/check.h"
#include "base/options.h"
#include "base/sys.h"
#include "os/filter.h"
#include "os/host.h"

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23  /* headers have it since Linux 5.14 */
#endif

enum {
    CLEAR_LEAST = 256 << 10,            /* below, memset costs less than asking */
    CLEAR_LOOK_PAGES = 256,
};

/* Fault injection: true when this call has to fail. */
static bool injected_failure(void)
{
    static uint64_t calls;      /* atomic, relaxed: only counts */
    uint64_t every = (uint64_t)options.failvm;

    return UNLIKELY(every != 0) && (fetch_add_relaxed(&calls, 1) + 1) % every == 0;
}

static void *map(void *address, size_t bytes, int protection, int flags)
{
    long result = sys_call6(SYS_mmap, (long)address, (long)bytes, protection,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | flags, -1, 0);

    return sys_failed(result) ? NULL : (void *)result;
}

void *vm_reserve(size_t bytes)
{
    if (injected_failure())
        return NULL;
    void *address = map(NULL, bytes, PROT_NONE, 0);

    if (address != NULL)
        sys_call3(SYS_madvise, (long)address, (long)bytes, MADV_DONTDUMP);
    return address;
}

bool vm_commit(void *address, size_t bytes)
{
    if (injected_failure() ||
        sys_call3(SYS_mprotect, (long)address, (long)bytes, PROT_READ | PROT_WRITE) != 0)
        return false;
    sys_call3(SYS_madvise, (long)address, (long)bytes, MADV_DODUMP);
    return true;
}

bool vm_release(void *address, size_t bytes)
{
    return sys_call3(SYS_madvise, (long)address, (long)bytes, MADV_DONTNEED) == 0;
}

static bool is_mapped(const char *page, bool *present)
{
    unsigned char resident = 0;

    if (sys_call3(SYS_mincore, (long)page, VM_PAGE, (long)&resident) != 0)
        return false;
    *present = resident & 1;
    return true;
}

/* Since Linux 6.17 a move of several mappings may stop half-way, with some pages moved; before, the
 * target may be gone.  The target was fresh: a page that is present there was moved, and any
 * other is copied, if there is something to copy. */
static bool finish_by_copy(char *from, char *to, size_t bytes)
{
    for (size_t at = 0; at < bytes; at += VM_PAGE) {
        bool present = false, here = false;

        if (!is_mapped(to + at, &present) &&
            map(to + at, VM_PAGE, PROT_READ | PROT_WRITE, MAP_FIXED) == NULL)
            return false;
        if (!present && is_mapped(from + at, &here) && here)
            __builtin_memcpy(to + at, from + at, VM_PAGE);
    }
    return true;
}

bool vm_move(void *from, void *to, size_t bytes)
{
    if (!vm_renew(to, bytes))
        return false;
    long result = sys_call6(SYS_mremap, (long)from, (long)bytes, (long)bytes,
                            MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP, (long)to, 0);

    if (result == (long)to || finish_by_copy(from, to, bytes))
        return true;
    die("out of address space while moving %zu bytes", bytes);
}

/* Where huge pages come only when asked for.  Atomic, relaxed: written once, under HEAP. */
static uintptr_t asked_low, asked_high;

static bool advise(uintptr_t address, size_t bytes, int advice)
{
    return sys_call3(SYS_madvise, (long)address, (long)bytes, advice) == 0;
}

bool vm_renew(void *address, size_t bytes)
{
    uintptr_t low = max_size((uintptr_t)address, load_relaxed(&asked_low));
    uintptr_t high = min_size((uintptr_t)address + bytes, load_relaxed(&asked_high));

    if (injected_failure() || map(address, bytes, PROT_READ | PROT_WRITE, MAP_FIXED) != address)
        return false;
    if (low < high)             /* else it could not merge with its neighbours */
        advise(low, high - low, MADV_NOHUGEPAGE);
    return true;
}

bool vm_ask_for_huge(uintptr_t low, uintptr_t high)
{
    if (!advise(low, high - low, MADV_NOHUGEPAGE))
        return false;
    store_relaxed(&asked_low, low);
    store_relaxed(&asked_high, high);
    return true;
}

bool vm_ask_huge(void *address, size_t bytes, bool yes)
{
    return advise((uintptr_t)address, bytes, yes ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
}

enum { UNKNOWN, FREE, CONFINED };

static AT_START uint32_t confinement;   /* atomic, relaxed */

void vm_confine(bool confined)
{
    store_relaxed(&confinement, confined ? CONFINED : FREE);
}

/* What the program does to itself we are told; what it was started with has to be found out. */
static COLD bool find_out(void)
{
    uint32_t unknown = UNKNOWN;

    cas_acquire(&confinement, &unknown, filter_kills() ? CONFINED : FREE);
    return load_relaxed(&confinement) == CONFINED;
}

bool vm_is_confined(void)
{
    uint32_t seen = load_relaxed(&confinement);

    return UNLIKELY(seen == UNKNOWN) ? find_out() : seen == CONFINED;
}

bool vm_resident(const void *address, size_t bytes, unsigned char *resident)
{
    return !vm_is_confined() && sys_call3(SYS_mincore, (long)address, (long)bytes, (long)resident) == 0;
}

/* What was swapped out is not in memory, but not zero either: that no swap is in use after the look says
 * that nothing was. */
bool vm_touched(const void *address, size_t bytes, unsigned char *touched)
{
    return vm_resident(address, bytes, touched) && !host_swap_in_use();
}

void vm_bring_in(void *address, size_t bytes)
{
    if (!vm_is_confined())
        advise((uintptr_t)address, bytes, MADV_POPULATE_WRITE);
}

unsigned vm_resident_share(const void *address, size_t bytes)
{
    enum { LOOKS = 8, WINDOW = 256 / LOOKS };
    unsigned char resident[WINDOW];
    size_t pages = bytes / VM_PAGE, stride = pages / LOOKS;
    unsigned there = 0;

    if (pages < LOOKS * WINDOW)
        return 256;
    for (size_t look = 0; look < LOOKS; look++) {
        if (!vm_resident((const char *)address + look * stride * VM_PAGE, WINDOW * VM_PAGE, resident))
            return 256;
        for (size_t i = 0; i < WINDOW; i++)
            there += resident[i] & 1;
    }
    return there;
}

/* One look's worth. */
static void clear_resident(char *at, size_t bytes)
{
    unsigned char touched[CLEAR_LOOK_PAGES];
    size_t pages = (bytes + VM_PAGE - 1) / VM_PAGE;

    if (!vm_touched(at, pages * VM_PAGE, touched)) {
        __builtin_memset(at, 0, bytes);
        return;
    }
    for (size_t i = 0, end; i < pages; i = end) {
        for (end = i + 1; end < pages && (touched[end] & 1) == (touched[i] & 1); end++)
            ;
        size_t high = end * VM_PAGE < bytes ? end * VM_PAGE : bytes;
        if ((touched[i] & 1) != 0)
            __builtin_memset(at + i * VM_PAGE, 0, high - i * VM_PAGE);
    }
}

void vm_clear(void *address, size_t bytes)
{
    if (bytes < CLEAR_LEAST) {
        __builtin_memset(address, 0, bytes);
        return;
    }
    for (size_t at = 0; at < bytes; at += CLEAR_LOOK_PAGES * VM_PAGE) {
        size_t rest = bytes - at;
        clear_resident((char *)address + at,
                       rest < CLEAR_LOOK_PAGES * VM_PAGE ? rest : CLEAR_LOOK_PAGES * VM_PAGE);
    }
}
