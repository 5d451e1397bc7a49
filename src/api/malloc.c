/* malloc.c -- the malloc family: what C, POSIX and glibc promise
 *
 * PURPOSE    Arguments, errno and zero sizes are dealt with here; the memory comes from
 *            alloc/.  malloc and free are the cached case inline and a tail call for
 *            everything else.
 *
 *            The C++ operators are not defined here, on purpose.  All 20 of libstdc++ and
 *            libc++ end in malloc, aligned_alloc or posix_memalign and free, called through
 *            the PLT, so they work, and new of too much throws bad_alloc and calls the new
 *            handler, which C code could not.  Operators of ours would also break programs
 *            that replace only operator new and delete: the sized, array and nothrow forms of
 *            the C++ library call the program's, ours would not.  The price is one more
 *            jump per new and delete.
 *
 * INVARIANT  A failure leaves the caller's blocks as they were and says ENOMEM; free keeps
 *            errno.  No size above PTRDIFF_MAX gets past this file.
 */
#include <errno.h>
#include <malloc.h>
#include <stdlib.h>

#include "alloc/alloc.h"
#include "os/vm.h"

static COLD void *no_memory(void)
{
    errno = ENOMEM;
    return NULL;
}

static COLD void *bad_argument(void)
{
    errno = EINVAL;
    return NULL;
}

INLINE void *or_no_memory(void *block)
{
    return LIKELY(block != NULL) ? block : no_memory();
}

static NOINLINE void *malloc_slow(size_t bytes)
{
    return or_no_memory(bytes <= PTRDIFF_MAX ? alloc_malloc_slow(bytes) : NULL);
}

static NOINLINE void free_slow(void *block)
{
    int saved = errno;

    alloc_free_slow(block);
    errno = saved;
}

/* The bodies, which other entry points share: a call of an exported name would go through
 * the PLT and could end in another library's malloc. */
INLINE void *malloc_body(size_t bytes)
{
    if (LIKELY(bytes <= SMALL_MAX)) {
        void *block = fast_pop(&thread_self->cache, sizeclass_of_malloc(bytes));
        if (LIKELY(block != NULL))
            return block;
    }
    return malloc_slow(bytes);
}

INLINE void free_body(void *block)
{
    if (UNLIKELY(!fast_push(&thread_self->cache, block)))
        free_slow(block);
}

static void *calloc_body(size_t count, size_t size)
{
    size_t bytes;

    if (UNLIKELY(__builtin_mul_overflow(count, size, &bytes) || bytes > PTRDIFF_MAX))
        return no_memory();
    return or_no_memory(alloc_calloc(bytes));
}

/* realloc to 0 bytes frees, as in glibc, whatever C23 says. */
INLINE void *realloc_body(void *block, size_t bytes)
{
    if (UNLIKELY(block == NULL))
        return malloc_body(bytes);
    if (UNLIKELY(bytes == 0)) {
        free_body(block);
        return NULL;
    }
    return or_no_memory(bytes <= PTRDIFF_MAX ? alloc_realloc(block, bytes) : NULL);
}

static void *reallocarray_body(void *block, size_t count, size_t size)
{
    size_t bytes;

    if (UNLIKELY(__builtin_mul_overflow(count, size, &bytes)))
        return no_memory();
    return realloc_body(block, bytes);
}

/* NULL without errno when there is no memory; alignment is a power of two. */
static void *aligned_body(size_t alignment, size_t bytes)
{
    if (bytes > PTRDIFF_MAX || alignment > PTRDIFF_MAX - bytes)
        return NULL;
    return alloc_malloc_aligned(alignment, bytes);
}

/* Any alignment up to half the address space: rounded up to a power of two, as in glibc. */
static void *memalign_body(size_t alignment, size_t bytes)
{
    if (alignment > SIZE_MAX / 2 + 1)
        return bad_argument();
    if (alignment <= 16)
        return malloc_body(bytes);
    if (!is_power_of_two(alignment))
        alignment = (size_t)2 << log2_floor(alignment);
    return or_no_memory(aligned_body(alignment, bytes));
}

/* Returns the error, leaves errno alone and *result untouched on failure. */
static int posix_memalign_body(void **result, size_t alignment, size_t bytes)
{
    if (alignment % sizeof(void *) != 0 || !is_power_of_two(alignment))
        return EINVAL;
    void *block = aligned_body(alignment, bytes);

    if (block == NULL)
        return ENOMEM;
    *result = block;
    return 0;
}

static void *valloc_body(size_t bytes)
{
    return or_no_memory(aligned_body(VM_PAGE, bytes));
}

static void *pvalloc_body(size_t bytes)
{
    if (bytes > PTRDIFF_MAX)
        return no_memory();
    return or_no_memory(aligned_body(VM_PAGE, align_up(bytes, VM_PAGE)));
}

/* glibc's parameters are known and mean nothing here: 1 as glibc says, 0 for any other. */
static int mallopt_body(int parameter)
{
    switch (parameter) {
    case M_MXFAST:
    case M_NLBLKS:
    case M_GRAIN:
    case M_KEEP:
    case M_TRIM_THRESHOLD:
    case M_TOP_PAD:
    case M_MMAP_THRESHOLD:
    case M_MMAP_MAX:
    case M_CHECK_ACTION:
    case M_PERTURB:
    case M_ARENA_TEST:
    case M_ARENA_MAX:
        return 1;
    default:
        return 0;
    }
}

/* ---- The names of the C library's headers ---- */

EXPORT FAST void *malloc(size_t bytes)
{
    return malloc_body(bytes);
}

EXPORT FAST void free(void *block)
{
    free_body(block);
}

EXPORT FAST void *calloc(size_t count, size_t size)
{
    return calloc_body(count, size);
}

EXPORT FAST void *realloc(void *block, size_t bytes)
{
    return realloc_body(block, bytes);
}

EXPORT void *reallocarray(void *block, size_t count, size_t size)
{
    return reallocarray_body(block, count, size);
}

EXPORT void *aligned_alloc(size_t alignment, size_t bytes)
{
    if (!is_power_of_two(alignment))
        return bad_argument();
    return or_no_memory(aligned_body(alignment, bytes));
}

EXPORT void *memalign(size_t alignment, size_t bytes)
{
    return memalign_body(alignment, bytes);
}

EXPORT int posix_memalign(void **result, size_t alignment, size_t bytes)
{
    return posix_memalign_body(result, alignment, bytes);
}

EXPORT void *valloc(size_t bytes)
{
    return valloc_body(bytes);
}

EXPORT void *pvalloc(size_t bytes)
{
    return pvalloc_body(bytes);
}

EXPORT size_t malloc_usable_size(void *block)
{
    return alloc_usable_size(block);
}

EXPORT int malloc_trim(size_t pad UNUSED)
{
    return alloc_trim() != 0;
}

EXPORT int mallopt(int parameter, int value UNUSED)
{
    return mallopt_body(parameter);
}

/* ---- Names without a header ----
 *
 * free_sized, free_aligned_sized   C23, in glibc's headers from 2.43 on.  The sizes are the
 *                  caller's claim; a wrong one changes nothing.
 * cfree            Gone for new programs since glibc 2.26; old ones still look it up.
 * __libc_*, __posix_memalign       glibc's internal names, which some programs and malloc
 *                  wrappers call: without them their blocks would come from glibc and end
 *                  in our free. */
EXPORT void free_sized(void *block, size_t bytes);
EXPORT void free_aligned_sized(void *block, size_t alignment, size_t bytes);
EXPORT void cfree(void *block);
EXPORT void *__libc_malloc(size_t bytes);
EXPORT void *__libc_calloc(size_t count, size_t size);
EXPORT void *__libc_realloc(void *block, size_t bytes);
EXPORT void *__libc_reallocarray(void *block, size_t count, size_t size);
EXPORT void __libc_free(void *block);
EXPORT void __libc_cfree(void *block);
EXPORT void *__libc_memalign(size_t alignment, size_t bytes);
EXPORT void *__libc_valloc(size_t bytes);
EXPORT void *__libc_pvalloc(size_t bytes);
EXPORT int __libc_mallopt(int parameter, int value);
EXPORT int __posix_memalign(void **result, size_t alignment, size_t bytes);

void free_sized(void *block, size_t bytes UNUSED)
{
    free_body(block);
}

void free_aligned_sized(void *block, size_t alignment UNUSED, size_t bytes UNUSED)
{
    free_body(block);
}

void cfree(void *block)
{
    free_body(block);
}

void *__libc_malloc(size_t bytes)
{
    return malloc_body(bytes);
}

void *__libc_calloc(size_t count, size_t size)
{
    return calloc_body(count, size);
}

void *__libc_realloc(void *block, size_t bytes)
{
    return realloc_body(block, bytes);
}

void *__libc_reallocarray(void *block, size_t count, size_t size)
{
    return reallocarray_body(block, count, size);
}

void __libc_free(void *block)
{
    free_body(block);
}

void __libc_cfree(void *block)
{
    free_body(block);
}

void *__libc_memalign(size_t alignment, size_t bytes)
{
    return memalign_body(alignment, bytes);
}

void *__libc_valloc(size_t bytes)
{
    return valloc_body(bytes);
}

void *__libc_pvalloc(size_t bytes)
{
    return pvalloc_body(bytes);
}

int __libc_mallopt(int parameter, int value UNUSED)
{
    return mallopt_body(parameter);
}

int __posix_memalign(void **result, size_t alignment, size_t bytes)
{
    return posix_memalign_body(result, alignment, bytes);
}
