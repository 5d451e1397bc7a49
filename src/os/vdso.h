/* vdso.h -- functions that the kernel lends to every process
 *
 * PURPOSE  Reading a clock without a system call, past libc's function: another library may stand in front
 *          of that (libfaketime), allocate in it, and tell another time.
 */
#ifndef GCALLOC_OS_VDSO_H
#define GCALLOC_OS_VDSO_H

/* The function of that name; NULL when there is none.  Takes no lock and uses no libc but getauxval. */
void *vdso_find(const char *name);

#endif
