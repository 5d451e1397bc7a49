/* compiler.h -- the only file that names a compiler attribute
 *
 * PURPOSE  gcc 12 and clang 14 spell these alike; everything else in the tree
 *          uses the words below.
 */
#ifndef GCALLOC_BASE_COMPILER_H
#define GCALLOC_BASE_COMPILER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LIKELY(x) __builtin_expect(!!(x), 1)
#define UNLIKELY(x) __builtin_expect(!!(x), 0)
#define INLINE static inline __attribute__((always_inline))
#define NOINLINE __attribute__((noinline))
#define COLD __attribute__((noinline, cold))
#define NORETURN __attribute__((noreturn))
#define EXPORT __attribute__((visibility("default")))
#define PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
/* A function that begins a cache line.  Where the instructions of a fast path fall is worth 7 to 10 % of
 * its time; all functions so would cost every process some pages of code more. */
#define FAST __attribute__((aligned(64)))
#define ALIGNED(n) __attribute__((aligned(n)))
#define UNUSED __attribute__((unused))
/* Called, or read, by assembly only. */
#define FOR_ASSEMBLY __attribute__((used))
/* Runs before main, and before the program's own constructors. */
#define CONSTRUCTOR __attribute__((constructor(101)))
/* A type for the registers of so many bytes, which may look at any memory. */
#define VECTOR(bytes, alignment) __attribute__((vector_size(bytes), aligned(alignment), may_alias))
#define UNROLL_TWICE _Pragma("GCC unroll 2")
#define TLS_INITIAL_EXEC __thread __attribute__((tls_model("initial-exec")))
#define PREFETCH(p) __builtin_prefetch((p), 0, 3)
#define PREFETCH_WRITE(p) __builtin_prefetch((p), 1, 3)
/* The compiler may not move memory accesses across this; the CPU may. */
#define COMPILER_BARRIER() __asm__ volatile("" ::: "memory")
#define CPU_RELAX() __builtin_ia32_pause()
#define CACHE_LINE 64
/* Variables that every process writes before main or at its first malloc, side by side: each
 * page that is touched costs every command of a shell script a fault and 4 KiB. */
#define AT_START __attribute__((section("gcalloc_start")))

/* MODE=hostile: everything that holds many things at a time holds next to none, and the collector
 * dawdles where it hurts, so that what is rare happens all the time. */
#if defined(GCALLOC_HOSTILE)
#define HOSTILE(usual, hostile) (hostile)
#else
#define HOSTILE(usual, hostile) (usual)
#endif

#endif
