/* roots_emit.c -- words on their way to the visitor; see roots_scan.h */
#include "base/bits.h"
#include "base/sys.h"
#include "os/vm.h"
#include "world/roots_scan.h"

/* A page that cannot be copied is tried again: it may be a swapped one, and memory short, and not every way
 * of reading says so. */
#define COPY_ATTEMPTS 3

static void hand_over(struct roots_scan *scan, enum root_kind kind, const void *low, size_t bytes)
{
    if (kind == ROOT_STACK)
        scan->stats.stack_bytes += bytes;
    else
        scan->stats.data_bytes += bytes;
    scan->visit(scan->context, kind, low, (const uintptr_t *)((const char *)low + bytes));
}

static void emit_loads(struct roots_scan *scan, enum root_kind kind, uintptr_t low, uintptr_t high)
{
    while (low < high) {
        size_t bytes = min_size(high - low, ROOTS_PIECE_BYTES);

        hand_over(scan, kind, (const void *)low, bytes);
        low += bytes - roots_overlap(bytes);
    }
}

/* Copies up to a piece; what remote_read returns. */
static long copy_piece(struct roots_scan *scan, uintptr_t low, size_t bytes,
                       enum root_access access)
{
    long got = 0;

    for (int attempt = 0; (got == 0 || got == REMOTE_NO_MEMORY) && attempt < COPY_ATTEMPTS; attempt++) {
        if (attempt > 0)
            sys_yield();
        got = access == ACCESS_FORCED ? remote_read_forced(&scan->remote, scan->bounce, low, bytes)
                                      : remote_read(&scan->remote, scan->bounce, low, bytes);
    }
    return got < 0 ? got : (long)align_down((size_t)got, sizeof(uintptr_t));
}

static const char *why_not(long got)
{
    switch (got) {
    case REMOTE_REFUSED: return "neither process_vm_readv nor /proc/self/mem is permitted";
    case REMOTE_NO_MEMORY: return "no memory to read a page with";
    default: return "protected memory cannot be read";
    }
}

static bool emit_copies(struct roots_scan *scan, enum root_kind kind, uintptr_t low,
                        uintptr_t high, enum root_access access)
{
    while (low < high) {
        size_t bytes = min_size(high - low, ROOTS_PIECE_BYTES);
        long got = copy_piece(scan, low, bytes, access);

        if (got > 0) {
            hand_over(scan, kind, scan->bounce, (size_t)got);
            low += (size_t)got - roots_overlap((size_t)got);
        } else if (got == 0 && access == ACCESS_COPY) {
            low = align_down(low, VM_PAGE) + VM_PAGE;
        } else {
            scan->why = why_not(got);
            return false;
        }
    }
    return true;
}

bool roots_emit(struct roots_scan *scan, enum root_kind kind, uintptr_t low, uintptr_t high,
                enum root_access access)
{
    low = align_up(low, sizeof(uintptr_t));
    high = align_down(high, sizeof(uintptr_t));
    if (access != ACCESS_LOAD)
        return emit_copies(scan, kind, low, high, access);
    emit_loads(scan, kind, low, high);
    return true;
}

void roots_emit_word(struct roots_scan *scan, enum root_kind kind, uintptr_t word)
{
    hand_over(scan, kind, &word, sizeof word);
}

size_t roots_first_cut(const struct roots_scan *scan, uintptr_t address)
{
    return FIRST_ABOVE(scan->cuts, scan->cut_count, address);
}

/* What is beside a piece of code may be a guard page, so it is copied. */
static bool emit_code(struct roots_scan *scan, const struct mapping *mapping, uintptr_t low,
                      uintptr_t high)
{
    struct address_range range = { low, high };

    if (!mapping_is_readable(mapping))
        return roots_emit(scan, ROOT_CODE, low, high, ACCESS_FORCED);
    roots_widen_code(&range, mapping->low, mapping->high);
    return roots_emit(scan, ROOT_CODE, range.low, range.high, ACCESS_COPY);
}

static bool emit_unlabelled(struct roots_scan *scan, const struct mapping *mapping, uintptr_t low,
                            uintptr_t high, enum root_access access)
{
    return mapping_is_code(mapping) ? emit_code(scan, mapping, low, high)
                                    : roots_emit(scan, ROOT_DATA, low, high, access);
}

bool roots_emit_labelled(struct roots_scan *scan, const struct mapping *mapping, uintptr_t low,
                         uintptr_t high, enum root_access access)
{
    for (size_t i = roots_first_cut(scan, low); i < scan->cut_count && low < high; i++) {
        const struct stack_cut *cut = &scan->cuts[i];

        if (cut->low >= high)
            break;
        if (low < cut->low && !emit_unlabelled(scan, mapping, low, cut->low, access))
            return false;
        uintptr_t live = max_size(low, cut->live), end = min_size(high, cut->high);

        if (live < end && !roots_emit(scan, ROOT_STACK, live, end, access))
            return false;
        low = end;
    }
    return low >= high || emit_unlabelled(scan, mapping, low, high, access);
}
