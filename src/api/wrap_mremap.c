/* wrap_mremap.c -- mremap of several mappings as one
 *
 * Dirty tracking splits what was one mapping for the program: a mapping that is registered with our
 * userfaultfd does not become one with another beside it that is not yet, and once both
 * have been written to, never again (each has its own anon_vma).  mremap works on one
 * mapping only, and says EFAULT.  Then the mappings are moved one by one: to a place that is
 * reserved for all, and with MREMAP_DONTUNMAP, so that nothing is lost when one cannot be moved and
 * those before it go back.
 *
 * Only what the kernel would have joined without us: private anonymous memory without a gap, with
 * one protection.  Anything else keeps its EFAULT; so does all on kernels before 5.7.
 */
#define _GNU_SOURCE
#include <sys/mman.h>
#include <sys/syscall.h>

#include "api/wrap.h"
#include "base/bits.h"
#include "os/proc.h"
#include "os/vm.h"

enum { PIECES = 64 };

struct move {
    struct mapping pieces[PIECES];      /* cut off at the ends of what is moved */
    size_t count;
    uintptr_t low;
    size_t bytes;                       /* what is moved */
};

/* False: they are not what one mapping was made of. */
static bool find_pieces(struct move *move, size_t old_bytes)
{
    uintptr_t at = move->low, high = move->low + old_bytes;

    move->count = proc_mappings_between(at, high, move->pieces, PIECES);
    if (move->count < 2 || move->count > PIECES)
        return false;
    for (size_t i = 0; i < move->count; i++) {
        struct mapping *piece = &move->pieces[i];

        if (piece->kind != MAPPING_ANONYMOUS || piece->protection != move->pieces[0].protection ||
            max_size(piece->low, move->low) != at)
            return false;
        piece->low = at;
        piece->high = at = min_size(piece->high, high);
    }
    return at == high;
}

/* Puts back the first `count` pieces, whose places are still there. */
static void undo(const struct move *move, uintptr_t target, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const struct mapping *piece = &move->pieces[i];
        size_t bytes = piece->high - piece->low;

        sys_call6(SYS_mremap, (long)(target + (piece->low - move->low)), (long)bytes, (long)bytes,
                  MREMAP_MAYMOVE | MREMAP_FIXED, (long)piece->low, 0);
    }
}

static bool move_pieces(const struct move *move, uintptr_t target)
{
    for (size_t i = 0; i < move->count; i++) {
        const struct mapping *piece = &move->pieces[i];
        uintptr_t high = min_size(piece->high, move->low + move->bytes);

        if (piece->low >= high)
            break;
        long to = (long)(target + (piece->low - move->low));
        long bytes = (long)(high - piece->low);

        if (sys_call6(SYS_mremap, (long)piece->low, bytes, bytes,
                      MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP, to, 0) != to) {
            undo(move, target, i);
            return false;
        }
    }
    return true;
}

/* Room for `bytes` at `target`, or anywhere. */
static long reserve(uintptr_t target, size_t bytes, bool fixed)
{
    return sys_call6(SYS_mmap, (long)target, (long)bytes, PROT_NONE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | (fixed ? MAP_FIXED : 0), -1, 0);
}

/* What the block grows by. */
static bool map_more(const struct move *move, uintptr_t target, size_t bytes)
{
    uintptr_t low = target + move->bytes;

    return bytes == move->bytes ||
           sys_call6(SYS_mmap, (long)low, (long)(bytes - move->bytes), move->pieces[0].protection,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == (long)low;
}

static long move_all(const struct move *move, size_t old_bytes, size_t bytes, bool fixed,
                     uintptr_t target)
{
    long result = reserve(target, bytes, fixed);

    if (sys_failed(result))
        return result;
    target = (uintptr_t)result;
    if (!move_pieces(move, target)) {
        sys_call2(SYS_munmap, (long)target, (long)bytes);
        return -EFAULT;
    }
    if (!map_more(move, target, bytes)) {
        undo(move, target, move->count);
        sys_call2(SYS_munmap, (long)target, (long)bytes);
        return -ENOMEM;
    }
    sys_call2(SYS_munmap, (long)move->low, (long)old_bytes);
    return (long)target;
}

/* In place. */
static long grow_last(const struct move *move, size_t more)
{
    const struct mapping *last = &move->pieces[move->count - 1];
    size_t bytes = last->high - last->low;
    long result =
        sys_call6(SYS_mremap, (long)last->low, (long)bytes, (long)(bytes + more), 0, 0, 0);

    return sys_failed(result) ? result : (long)move->low;
}

/* A place that the kernel would take: whole pages, none of them what is moved. */
static bool is_place(uintptr_t target, size_t bytes, uintptr_t old, size_t old_bytes)
{
    return target % VM_PAGE == 0 && (target + bytes <= old || old + old_bytes <= target);
}

long wrap_remap_pieces(uintptr_t old, size_t old_bytes, size_t bytes, int flags, uintptr_t target)
{
    struct move move = { .low = old };
    bool fixed = (flags & MREMAP_FIXED) != 0;

    old_bytes = align_up(old_bytes, VM_PAGE);
    bytes = align_up(bytes, VM_PAGE);
    move.bytes = min_size(old_bytes, bytes);
    if ((flags & ~(MREMAP_MAYMOVE | MREMAP_FIXED)) != 0 || old % VM_PAGE != 0 || bytes == 0 ||
        old + old_bytes < old ||
        (fixed && ((flags & MREMAP_MAYMOVE) == 0 || !is_place(target, bytes, old, old_bytes))) ||
        !find_pieces(&move, old_bytes))
        return -EFAULT;
    if (!fixed && bytes <= old_bytes) {
        long result = bytes < old_bytes ? sys_call2(SYS_munmap, (long)(old + bytes),
                                                    (long)(old_bytes - bytes))
                                        : 0;
        return result != 0 ? result : (long)old;
    }
    if (!fixed) {
        long result = grow_last(&move, bytes - old_bytes);

        if (!sys_failed(result) || (flags & MREMAP_MAYMOVE) == 0)
            return result;
    }
    return move_all(&move, old_bytes, bytes, fixed, target);
}
