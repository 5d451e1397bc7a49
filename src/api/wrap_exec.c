/* wrap_exec.c -- new programs, new libraries, new identities
 *
 * posix_spawn, system: the parent waits, with all signals blocked, until the child has
 * exec'ed or ended: blocked regions, see wrap.h.
 * popen allocates inside, so it cannot be parked; it waits no longer than
 * posix_spawn does, and a stop waits with it.
 * vfork: the parent is not parked, for the child would run program code in its name; a stop
 * waits until the child has exec'ed, or gives up.  But the child may be killed inside a
 * blocked region, which it entered in the parent's thread structure, and
 * the parent would go on as parked; so it looks.
 *
 * unshare, setns, set*id: a task of ours would make the process multi-threaded (unshare fails
 * with EINVAL then) or keep the old identity for a moment.  None exists while
 * they run.
 *
 * dlopen: RTLD_DEEPBIND would bind a library to libc's malloc and free before ours, and it
 * would free our blocks with libc's free.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/seccomp.h>
#include <stdarg.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <dlfcn.h>
#include <grp.h>
#include <sched.h>
#include <spawn.h>
#include <stdlib.h>
#include <unistd.h>

#include "alloc/collect.h"
#include "api/wrap_rows.h"
#include "base/check.h"
#include "base/options.h"
#include "os/vm.h"

_Static_assert(SYS_vfork == 58, "as in the assembly below");

BLOCKING_ONCE1(int, system, const char *)
BLOCKING_ONCE6(int, posix_spawn, pid_t *, const char *, const posix_spawn_file_actions_t *,
               const posix_spawnattr_t *, char *const *, char *const *)
BLOCKING_ONCE6(int, posix_spawnp, pid_t *, const char *, const posix_spawn_file_actions_t *,
               const posix_spawnattr_t *, char *const *, char *const *)

/* Suspensions by this thread that are not over; it may be cancelled in one (initgroups asks a server). */
static TLS_INITIAL_EXEC uint32_t alone_depth;

/* Not for the child of vfork: our tasks are not in its process. */
bool wrap_alone_begin(void)
{
    struct thread *thread = thread_self;

    if (thread != &thread_none && (thread->in_runtime != 0 || wrap_is_stranger(thread)))
        return false;           /* in_runtime: a handler that interrupted a slow path cannot wait */
    collect_suspend();
    alone_depth++;
    return true;
}

void wrap_alone_end(bool alone)
{
    int saved = errno;

    if (!alone)
        return;
    alone_depth--;
    collect_resume();
    errno = saved;
}

/* Cancellation unwinds a frame that called while alone; as PARKED_FRAME in wrap.h. */
#define ALONE_FRAME() UNWIND_BY(gcalloc_alone_personality)

int gcalloc_alone_personality(int version, int actions, uint64_t class, void *exception,
                              void *context);
int gcalloc_alone_personality(int version UNUSED, int actions, uint64_t class UNUSED,
                              void *exception UNUSED, void *context UNUSED)
{
    if (actions & UNWIND_CLEANUP_PHASE)
        wrap_alone_end(alone_depth != 0);
    return UNWIND_CONTINUE;
}

#define ALONE(name, parameters, arguments)              \
    EXPORT int name parameters                          \
    {                                                   \
        static void *cache;                             \
        __typeof__(&name) real = WRAP_REAL(cache, name); \
        bool alone = wrap_alone_begin();                \
                                                        \
        ALONE_FRAME();                                  \
        int result = real arguments;                    \
        wrap_alone_end(alone);                          \
        return result;                                  \
    }

ALONE(unshare, (int flags), (flags))
ALONE(setns, (int fd, int kind), (fd, kind))
ALONE(setuid, (uid_t id), (id))
ALONE(seteuid, (uid_t id), (id))
ALONE(setreuid, (uid_t real_id, uid_t effective), (real_id, effective))
ALONE(setresuid, (uid_t real_id, uid_t effective, uid_t saved), (real_id, effective, saved))
ALONE(setgid, (gid_t id), (id))
ALONE(setegid, (gid_t id), (id))
ALONE(setregid, (gid_t real_id, gid_t effective), (real_id, effective))
ALONE(setresgid, (gid_t real_id, gid_t effective, gid_t saved), (real_id, effective, saved))
ALONE(setgroups, (size_t count, const gid_t *groups), (count, groups))
ALONE(initgroups, (const char *user, gid_t group), (user, group))
/* Of libc, but declared by libcap only. */
int capset(void *header, const void *data);
ALONE(capset, (void *header, const void *data), (header, data))

/* Once a program has put a filter on its system calls, the collector's own could be its death: from
 * then on the library is a plain malloc. */
bool wrap_installs_filter(long nr, long operation)
{
    return (nr == SYS_prctl && operation == PR_SET_SECCOMP) ||
           (nr == SYS_seccomp && (operation == SECCOMP_SET_MODE_STRICT ||
                                  operation == SECCOMP_SET_MODE_FILTER));
}

bool wrap_prctl_is_of_task(long operation)
{
    return operation == PR_SET_NO_NEW_PRIVS || operation == PR_CAPBSET_DROP ||
           operation == PR_SET_SECUREBITS || operation == PR_CAP_AMBIENT;
}

long wrap_install_filter(long nr, long a, long b, long c, long d, long e, long f)
{
    bool alone = wrap_alone_begin();
    bool ready = collect_set_ready(false), confined = vm_is_confined();

    vm_confine(true);
    long result = sys_call6(nr, a, b, c, d, e, f);

    if (result < 0) {
        vm_confine(confined);
        collect_set_ready(ready);
    } else if (ready && options.gctrace) {
        warn("no more collections: the program filters its system calls");
    }
    wrap_alone_end(alone);
    return result;
}

#undef prctl
EXPORT int prctl(int operation, ...)
{
    static void *cache;
    int (*real)(int, ...) = (int (*)(int, ...))wrap_next(&cache, "prctl");
    unsigned long a[4];
    va_list arguments;

    va_start(arguments, operation);
    for (int i = 0; i < 4; i++)
        a[i] = va_arg(arguments, unsigned long);
    va_end(arguments);
    if (wrap_prctl_is_of_task(operation)) {
        bool alone = wrap_alone_begin();
        int done = real(operation, a[0], a[1], a[2], a[3]);

        wrap_alone_end(alone);
        return done;
    }
    if (!wrap_installs_filter(SYS_prctl, operation))
        return real(operation, a[0], a[1], a[2], a[3]);
    return (int)wrap_result(wrap_install_filter(SYS_prctl, operation, (long)a[0], (long)a[1],
                                                (long)a[2], (long)a[3], 0));
}

/* The parent of a vfork, back. */
long gcalloc_vfork_parent(long child);
FOR_ASSEMBLY long gcalloc_vfork_parent(long child)
{
    struct thread *thread = thread_self;

    if (UNLIKELY(load_relaxed(&thread->state) != THREAD_RUNNING))
        thread_unpark(thread);
    return child;
}

/* A structure that the child took would bear the child's number, and be the parent's afterwards. */
void gcalloc_vfork_attach(void);
FOR_ASSEMBLY void gcalloc_vfork_attach(void)
{
    thread_attach();
}

/* As libc's: the return address is kept in a register, for the child, which runs first and
 * returns, overwrites its place on the stack. */
__asm__(".pushsection .text\n"
        ".globl vfork\n"
        ".type vfork, @function\n"
        ".balign 16\n"
        "vfork:\n"
        "    .cfi_startproc\n"
        "    subq $8, %rsp\n"
        "    .cfi_adjust_cfa_offset 8\n"
        "    call gcalloc_vfork_attach\n"
        "    addq $8, %rsp\n"
        "    .cfi_adjust_cfa_offset -8\n"
        "    popq %rdi\n"
        "    .cfi_adjust_cfa_offset -8\n"
        "    .cfi_register %rip, %rdi\n"
        "    movl $58, %eax\n"
        "    syscall\n"
        "    pushq %rdi\n"
        "    .cfi_adjust_cfa_offset 8\n"
        "    .cfi_offset %rip, -8\n"
        "    movq %rax, %rdi\n"
        "    testq %rax, %rax\n"
        "    js gcalloc_syscall_failed\n"
        "    jnz gcalloc_vfork_parent\n"
        "    ret\n"
        "    .cfi_endproc\n"
        ".size vfork, . - vfork\n"
        ".popsection\n");

/* libc's dlopen looks at its return address, for the caller's RUNPATH and $ORIGIN count:
 * so ours must be gone from the stack when it runs.  A jump, therefore, and assembly, for
 * no compiler promises one. */
void *gcalloc_dlopen_real(void);
FOR_ASSEMBLY void *gcalloc_dlopen_real(void)
{
    static void *cache;

    wrap_find_all();
    return (void *)WRAP_REAL(cache, dlopen);
}

_Static_assert(RTLD_DEEPBIND == 8, "as in the assembly below");
__asm__(".pushsection .text\n"
        ".globl dlopen\n"
        ".type dlopen, @function\n"
        ".balign 16\n"
        "dlopen:\n"
        "    .cfi_startproc\n"
        "    andl $~8, %esi\n"
        "    pushq %rdi\n"
        "    .cfi_adjust_cfa_offset 8\n"
        "    pushq %rsi\n"
        "    .cfi_adjust_cfa_offset 8\n"
        "    subq $8, %rsp\n"
        "    .cfi_adjust_cfa_offset 8\n"
        "    call gcalloc_dlopen_real\n"
        "    addq $8, %rsp\n"
        "    .cfi_adjust_cfa_offset -8\n"
        "    popq %rsi\n"
        "    .cfi_adjust_cfa_offset -8\n"
        "    popq %rdi\n"
        "    .cfi_adjust_cfa_offset -8\n"
        "    jmp *%rax\n"
        "    .cfi_endproc\n"
        ".size dlopen, . - dlopen\n"
        ".popsection\n");
