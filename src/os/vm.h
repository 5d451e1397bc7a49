/* vm.h -- address space and its three states
 *
 *     none -- vm_reserve --> reserved (PROT_NONE) -- vm_commit --> ready (reads as zero)
 *     ready -- vm_release --> ready again, reads as zero, holds no memory
 *
 * PURPOSE  What the heap asks of the kernel.  All lengths and addresses are multiples of
 *          4096.  Functions that can fail return false or NULL and leave what was there as
 *          it was; GCALLOC_DEBUG=failvm=N makes every Nth such call fail, for tests.
 */
#ifndef GCALLOC_OS_VM_H
#define GCALLOC_OS_VM_H

#include "base/compiler.h"

#define VM_PAGE ((size_t)4096)

/* The program filters its system calls: any that a plain malloc does not make may kill it.  From now on
 * vm_resident does not ask the kernel and says that it does not know, vm_bring_in does nothing, and
 * nobody may call vm_move or ask for huge pages.  confined false: as before (the filter was refused).
 * vm_is_confined is true, too, in a process that was started under a filter that kills. */
void vm_confine(bool confined);
bool vm_is_confined(void);

/* Address space without memory; not accounted, not dumped. NULL when refused. */
void *vm_reserve(size_t bytes);
/* Makes part of a reservation readable and writable; contents are zero. */
bool vm_commit(void *address, size_t bytes);
/* Gives the memory back; the range stays ready and reads as zero. */
bool vm_release(void *address, size_t bytes);
/* Brings pages of a ready range in that will be written soon: one call instead of a fault, or two, for each.
 * Where the kernel cannot (before 5.14), or must not be asked, they come by faults. */
void vm_bring_in(void *address, size_t bytes);
/* Moves the pages of [from, from + bytes) to the ready range at to, whose contents are lost, without
 * copying them if the kernel can; the source stays ready and holds anything.  Both are the caller's
 * alone.  What is swapped out is moved only by the kernel.  False: the target is as it was. */
bool vm_move(void *from, void *to, size_t bytes);
/* Replaces the range by a fresh ready one, so that mappings split by vm_move merge again. */
bool vm_renew(void *address, size_t bytes);
/* Which 4096-byte pages of the range are in memory: a byte each, 1 or 0.  Anonymous pages that
 * are not are zero, unless they were swapped out. */
bool vm_resident(const void *address, size_t bytes, unsigned char *resident);
/* The same, where the others do read as zero.  False: that is not known, for something may be swapped out. */
bool vm_touched(const void *address, size_t bytes, unsigned char *touched);
/* As vm_resident, a few pages here and there in the range: how many of 256 are in memory, about. */
unsigned vm_resident_share(const void *address, size_t bytes);
/* Makes a ready range of any length, at a page's start, read as zero, like memset, but leaves alone
 * what is not in memory: no page fault for it, and no memory. */
void vm_clear(void *address, size_t bytes);
/* From now on a fault in [low, high), and in what vm_renew makes of it, brings a huge page only where
 * vm_ask_huge says so.  Only one such range.  False: the kernel knows no huge pages. */
bool vm_ask_for_huge(uintptr_t low, uintptr_t high);
/* Faults in this part of it, 2 MiB aligned, shall bring huge pages, or no more.  What is there stays. */
bool vm_ask_huge(void *address, size_t bytes, bool yes);

#endif
