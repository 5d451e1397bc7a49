/* wrap_memory.c -- what the program does to its mappings
 *
 * mprotect, pkey_mprotect, madvise: a program may take the right to use parts of its own heap from
 * itself (guard pages of coroutines, sealed data).  mmap with MAP_FIXED, munmap, mremap: it may put
 * another mapping over a block, or take its pages away.  A marker that loads from such a page would be
 * killed by SIGSEGV or SIGBUS; and the block, once it is freed, would be handed out without
 * memory.  So the range is noted (heap/ceded.h), while no cycle marks: the thread waits until
 * marking is over, and holds up the next stop while it makes the call.
 *
 * munmap in the heap leaves an unreadable mapping behind, not a gap: the kernel would put the next
 * mapping of the program there, and free would destroy it.
 *
 * A call in a signal handler that interrupted a slow path cannot wait.  One by a system call that
 * the program makes itself is not seen; every second stop looks whether all of the heap can be read.
 *
 * What a child is not to have (MADV_DONTFORK) its markers would miss: it does not collect.
 *
 * mremap elsewhere: see wrap_mremap.c.
 *
 * Direct system calls, as in wrap_kernel.c.
 */
#define _GNU_SOURCE
#include <stdarg.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "alloc/collect.h"
#include "api/wrap.h"
#include "heap/ceded.h"
#include "os/vm.h"

enum {
    WAIT_NS = 200000,
    GUARD_INSTALL = 102,        /* MADV_GUARD_INSTALL, MADV_GUARD_REMOVE: Linux 6.13 */
    GUARD_REMOVE = 103,
    READ_WRITE = PROT_READ | PROT_WRITE,
};

struct range { uintptr_t low, high; };

/* The pages of the heap in a range. */
static struct range heap_part(long address, long bytes)
{
    uintptr_t low = (uintptr_t)address, high = low + (uintptr_t)bytes;

    if (high < low || low >= arena.end || high <= arena.base)
        return (struct range){ 0, 0 };
    return (struct range){ max_size(align_down(low, VM_PAGE), arena.base),
                           min_size(align_up(high, VM_PAGE), arena.end) };
}

static bool is_empty(struct range range)
{
    return range.low >= range.high;
}

/* Where nobody marks, and nobody will before it is left.  Also while a cycle that is given up cannot tell the
 * world, for a fork keeps it from that. */
struct unmarked {
    struct thread *thread;      /* in the runtime, where the phase stands still; NULL: no memory for it */
    bool in_gate;               /* then: no cycle runs at all, and this says that no fork comes between */
};

static struct unmarked enter_unmarked(void)
{
    struct unmarked here = { NULL, false };

    while ((here.thread = runtime_enter()) != NULL && cycle_is_looking() && here.thread->in_runtime == 1) {
        struct spilled_registers save;

        runtime_leave(here.thread);
        thread_park(here.thread, &save);
        collect_wait_cycle(WAIT_NS);
        thread_unpark(here.thread);
    }
    if (here.thread != NULL)
        return here;
    collect_suspend();
    while (cycle_is_looking())        /* one that is being given up */
        collect_wait_cycle(WAIT_NS);
    here.in_gate = runtime_enter_task();
    return here;
}

static void leave_unmarked(struct unmarked here)
{
    if (here.thread != NULL) {
        runtime_leave(here.thread);
        return;
    }
    if (here.in_gate)
        runtime_leave_task();
    collect_resume();
}

/* Without memory for a row the collector does not know of the pages: from now on we are a plain malloc. */
static void cede(struct range range, enum cession how)
{
    if (!is_empty(range) && !ceded_add(range.low, range.high, how))
        collect_set_ready(false);
}

/* Is everything mapped? */
static bool is_mapped(struct range range)
{
    return sys_call3(SYS_msync, (long)range.low, (long)(range.high - range.low), MS_ASYNC) == 0;
}

/* ------------------------------------------------------------------------ protection */

/* What a change of protection makes of pages of the heap.  *ordinary: they are as we made them. */
static enum cession by_protection(long nr, long argument, long key, bool *ordinary)
{
    long protection = nr != SYS_madvise ? argument : argument == GUARD_INSTALL ? 0 : READ_WRITE;

    *ordinary = (protection & READ_WRITE) == READ_WRITE && key <= 0;
    return (protection & PROT_READ) != 0 && key <= 0 ? CEDED_READABLE : CEDED_HIDDEN;
}

/* A call that fails may have changed a part. */
static long protect(long nr, long address, long bytes, long argument, long key)
{
    struct range range = heap_part(address, bytes);
    bool ordinary;
    enum cession how = by_protection(nr, argument, key, &ordinary);

    if (nr == SYS_madvise && argument == MADV_DONTFORK && !is_empty(range))
        collect_spare_children();
    if (LIKELY(is_empty(range)) || (ordinary && load_relaxed(&ceded_count) == 0) ||
        (nr == SYS_madvise && argument != GUARD_INSTALL && argument != GUARD_REMOVE))
        return sys_call4(nr, address, bytes, argument, key);
    struct unmarked here = enter_unmarked();
    long result = sys_call4(nr, address, bytes, argument, key);

    if (!ordinary && result != -EINVAL)
        cede(range, how);
    else if (ordinary && result == 0)
        ceded_take_back(range.low, range.high, CEDED_HIDDEN);
    leave_unmarked(here);
    return result;
}

/* ------------------------------------------------------------------------ mappings */

static long map_nothing(uintptr_t low, size_t bytes, int fixed)
{
    return sys_call6(SYS_mmap, (long)low, (long)bytes, PROT_NONE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | fixed, -1, 0);
}

static long map(long address, long bytes, long protection, long flags, long fd, long offset)
{
    struct range range = heap_part(address, bytes);

    if (LIKELY((flags & MAP_FIXED) == 0) || is_empty(range))
        return sys_call6(SYS_mmap, address, bytes, protection, flags, fd, offset);
    bool ordinary = (flags & (MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB | MAP_GROWSDOWN)) ==
                        (MAP_PRIVATE | MAP_ANONYMOUS) &&
                    (protection & READ_WRITE) == READ_WRITE;
    struct unmarked here = enter_unmarked();
    long result = sys_call6(SYS_mmap, address, bytes, protection, flags, fd, offset);

    if (result == address && ordinary)
        ceded_take_back(range.low, range.high, CEDED_REPLACED);
    else if (result == address || !is_mapped(range))
        cede(range, CEDED_REPLACED);
    leave_unmarked(here);
    return result;
}

static long unmap(long address, long bytes)
{
    struct range range = heap_part(address, bytes);

    if (LIKELY(is_empty(range)) || (uintptr_t)address % VM_PAGE != 0)
        return sys_call2(SYS_munmap, address, bytes);
    struct unmarked here = enter_unmarked();
    long result = map_nothing(range.low, range.high - range.low, MAP_FIXED);

    if (result == (long)range.low) {
        cede(range, CEDED_REPLACED);
        result = 0;
    }
    leave_unmarked(here);
    /* The rest of one that reaches out of the heap. */
    if (result == 0 && (uintptr_t)address < range.low)
        result = sys_call2(SYS_munmap, address, (long)(range.low - (uintptr_t)address));
    if (result == 0 && (uintptr_t)address + (uintptr_t)bytes > range.high)
        result = sys_call2(SYS_munmap, (long)range.high,
                           (long)((uintptr_t)address + (uintptr_t)bytes - range.high));
    return result;
}

/* Pages of the heap went, or others came into it. */
static void note_remapped(struct range from, long old, long old_bytes, long bytes, long flags,
                          long result)
{
    if (result == old && bytes < old_bytes)
        from = heap_part(old + bytes, old_bytes - bytes);
    if (!is_empty(from) && (result != old || bytes < old_bytes) && (flags & MREMAP_DONTUNMAP) == 0) {
        map_nothing(from.low, from.high - from.low, MAP_FIXED_NOREPLACE);
        cede(from, CEDED_REPLACED);
    }
    if (result != old)
        cede(heap_part(result, bytes), CEDED_REPLACED);
}

/* From 6.17 on the kernel moves several mappings to a fixed place, but stops at one that is registered
 * with our userfaultfd, with those before it gone already: so there it is not asked first. */
static long move(long old, long old_bytes, long bytes, long flags, long target)
{
    if ((flags & MREMAP_FIXED) != 0) {
        long moved = wrap_remap_pieces((uintptr_t)old, (size_t)old_bytes, (size_t)bytes, (int)flags,
                                       (uintptr_t)target);
        if (moved != -EFAULT)
            return moved;
    }
    long result = sys_call6(SYS_mremap, old, old_bytes, bytes, flags, target, 0);

    return UNLIKELY(result == -EFAULT)
               ? wrap_remap_pieces((uintptr_t)old, (size_t)old_bytes, (size_t)bytes, (int)flags,
                                   (uintptr_t)target)
               : result;
}

static long remap(long old, long old_bytes, long bytes, long flags, long target)
{
    struct range from = heap_part(old, old_bytes);

    if (LIKELY(is_empty(from)) &&
        ((flags & MREMAP_FIXED) == 0 || is_empty(heap_part(target, bytes))))
        return move(old, old_bytes, bytes, flags, target);
    struct unmarked here = enter_unmarked();
    long result = move(old, old_bytes, bytes, flags, target);

    if (!sys_failed(result))
        note_remapped(from, old, old_bytes, bytes, flags, result);
    leave_unmarked(here);
    return result;
}

/* ------------------------------------------------------------------------ libc's names */

EXPORT int mprotect(void *address, size_t bytes, int protection)
{
    return (int)wrap_result(protect(SYS_mprotect, (long)address, (long)bytes, protection, 0));
}

EXPORT int pkey_mprotect(void *address, size_t bytes, int protection, int key)
{
    /* As libc: works where there are no keys. */
    long nr = key == -1 ? SYS_mprotect : SYS_pkey_mprotect;

    return (int)wrap_result(protect(nr, (long)address, (long)bytes, protection, key));
}

EXPORT int madvise(void *address, size_t bytes, int advice)
{
    return (int)wrap_result(protect(SYS_madvise, (long)address, (long)bytes, advice, 0));
}

EXPORT void *mmap(void *address, size_t bytes, int protection, int flags, int fd, off_t offset)
{
    return (void *)wrap_result(map((long)address, (long)bytes, protection, flags, fd, offset));
}

#undef mmap64
void *mmap64(void *address, size_t bytes, int protection, int flags, int fd, __off64_t offset);
EXPORT void *mmap64(void *address, size_t bytes, int protection, int flags, int fd, __off64_t offset)
{
    return (void *)wrap_result(map((long)address, (long)bytes, protection, flags, fd, offset));
}

EXPORT int munmap(void *address, size_t bytes)
{
    return (int)wrap_result(unmap((long)address, (long)bytes));
}

EXPORT void *mremap(void *old, size_t old_bytes, size_t bytes, int flags, ...)
{
    va_list arguments;

    va_start(arguments, flags);
    void *target = flags & MREMAP_FIXED ? va_arg(arguments, void *) : NULL;
    va_end(arguments);
    return (void *)wrap_result(remap((long)old, (long)old_bytes, (long)bytes, flags, (long)target));
}

/* ------------------------------------------------------------------------ the same by syscall() */

bool wrap_changes_memory(long nr)
{
    return nr == SYS_mprotect || nr == SYS_pkey_mprotect || nr == SYS_madvise || nr == SYS_mmap ||
           nr == SYS_munmap || nr == SYS_mremap;
}

long wrap_change_memory(long nr, long a, long b, long c, long d, long e, long f)
{
    switch (nr) {
    case SYS_mmap: return map(a, b, c, d, e, f);
    case SYS_munmap: return unmap(a, b);
    case SYS_mremap: return remap(a, b, c, d, e);
    default: return protect(nr, a, b, c, nr == SYS_pkey_mprotect ? d : 0);
    }
}
