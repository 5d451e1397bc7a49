/* wrap_signal.c -- the program's signal handlers, and the thread that was parked
 *
 * A handler may interrupt a blocked region (poll and SIGALRM).  It would run program
 * code in a stopped world.  So the kernel is given another address instead of
 * the handler's: a stub, which unparks the thread, calls the handler and parks again.
 *
 * One stub per distinct handler: stub i calls handlers[i].  Entries are added and never
 * changed, so
 *   - the kernel's disposition stays the only truth: flags, mask and handler change
 *     together, in one system call, as without us; SA_RESETHAND, siginterrupt(), and the
 *     dispositions that libc's system() saves and restores need no thought;
 *   - there is no lock: sigaction() stays async-signal-safe, and usable in the child of
 *     vfork, which shares our memory but has dispositions of its own, and after fork;
 *   - whoever learns a stub's address past us (raw rt_sigaction) can call it: it works
 *     as the handler does.
 * When all stubs are taken (a program that makes its handlers at run time), the rest get
 * one stub per signal, whose handler does change: for an instant the new handler may be called
 * with the flags of the old one.
 *
 * The kernel passes the three arguments (number, siginfo, ucontext) to every handler on x86-64,
 * SA_SIGINFO or not; so do we, and the pointers are the kernel's own, so a
 * handler that changes its ucontext has its way.
 */
#define _GNU_SOURCE
#include <signal.h>
#include <sys/mman.h>
#include <ucontext.h>

#include "api/wrap.h"
#include "os/host.h"
#include "os/vm.h"
#include "world/rewind.h"
#include "world/stop.h"

enum { SHARED_STUBS = 512, SIGNALS = 65, STUBS = SHARED_STUBS + SIGNALS, STUB_BYTES = 16 };

typedef void (*handler_function)(int signal, siginfo_t *info, void *context);

/* Entry i: the handler that stub i calls, 0: free.  Atomic, set once by compare-and-swap;
 * entries from SHARED_STUBS on, one for each signal, by store.  Releases pair with the
 * acquire of the handler's caller, which comes after the system call that got the stub. */
static uintptr_t handlers[STUBS];

TLS_INITIAL_EXEC uint32_t wrap_handlers_run;
TLS_INITIAL_EXEC uint32_t wrap_goes_on;

/* Stub i: the fourth argument, unused by the kernel, is i. */
__asm__(".pushsection .text\n"
        ".globl gcalloc_signal_stubs\n"
        ".hidden gcalloc_signal_stubs\n"
        ".type gcalloc_signal_stubs, @function\n"
        ".balign 16\n"
        "gcalloc_signal_stubs:\n"
        "    .set stub_index, 0\n"
        "    .rept 577\n"
        "    .balign 16\n"
        "    movl $stub_index, %ecx\n"
        "    jmp gcalloc_signal_handle\n"
        "    .set stub_index, stub_index + 1\n"
        "    .endr\n"
        "    .balign 16\n"
        ".size gcalloc_signal_stubs, . - gcalloc_signal_stubs\n"
        ".popsection\n");
extern const char gcalloc_signal_stubs[STUBS * STUB_BYTES];
_Static_assert(STUBS == 577 && STUB_BYTES == 16, "as in the assembly above");

/* Index of the stub at that address; STUBS when it is none. */
static size_t stub_index(uintptr_t address)
{
    uintptr_t offset = address - (uintptr_t)gcalloc_signal_stubs;

    return offset < STUBS * STUB_BYTES && offset % STUB_BYTES == 0 ? offset / STUB_BYTES : STUBS;
}

/* SIG_DFL, SIG_IGN, SIG_HOLD and SIG_ERR are no addresses. */
static bool is_function(uintptr_t handler)
{
    return handler > 4095 && handler != (uintptr_t)SIG_ERR;
}

/* What to give to the kernel for a handler. */
static uintptr_t stub_of(int signal, uintptr_t handler)
{
    size_t i;

    if (!is_function(handler) || stub_index(handler) != STUBS)
        return handler;
    for (i = 0; i < SHARED_STUBS; i++) {
        uintptr_t present = load_acquire(&handlers[i]);

        if (present == 0 && cas_acq_rel(&handlers[i], &present, handler))
            present = handler;
        if (present == handler)
            break;
    }
    if (UNLIKELY(i == SHARED_STUBS)) {
        if (signal < 0 || signal >= SIGNALS)
            return handler;             /* for the kernel to refuse */
        i += (size_t)signal;
        store_release(&handlers[i], handler);
    }
    return (uintptr_t)gcalloc_signal_stubs + i * STUB_BYTES;
}

/* The handler of the signal's own stub.  To be asked for before stub_of changes it. */
static uintptr_t own_handler(int signal)
{
    return signal < 0 || signal >= SIGNALS ? 0 : load_acquire(&handlers[SHARED_STUBS + signal]);
}

/* What to show to the program for an address the kernel had before the change. */
static uintptr_t handler_of(uintptr_t address, uintptr_t own)
{
    size_t i = stub_index(address);

    return i == STUBS ? address : i >= SHARED_STUBS ? own : load_acquire(&handlers[i]);
}

/* The interrupted task is the thread that thread_self names, and not one that shares its
 * storage (see wrap_is_stranger).  No system call unless it was elsewhere than
 * on the thread's stack. */
static bool is_own(const struct thread *thread, uintptr_t sp)
{
    return thread != &thread_none &&
           (sp - thread->own_low < thread->stack_high - thread->own_low ||
            !wrap_is_stranger(thread));
}

/* The handler came between two parts of one call of the program, or when our stop signal had cut it
 * short and it was about to be made again (world/rewind.c).  Without us the handler would have ended
 * the call with EINTR; so it does. */
static void end_call(struct thread *thread, greg_t *registers, uint32_t goes_on)
{
    const uint8_t *code = (const uint8_t *)registers[REG_RIP];
    bool again = rewind_is_pending(&thread->rewound, registers);

    if (LIKELY(!again && goes_on == 0) || registers[REG_RAX] < 0 || code[0] != 0x0f ||
        ((uintptr_t)code + 1) % 4096 == 0 || code[1] != 0x05)
        return;
    registers[REG_RAX] = -EINTR;
    registers[REG_RIP] += 2;
}

/* Entered from a stub, on the kernel's signal frame. */
void gcalloc_signal_handle(int signal, siginfo_t *info, void *context, size_t index);
FOR_ASSEMBLY void gcalloc_signal_handle(int signal, siginfo_t *info, void *context, size_t index)
{
    handler_function handler = (handler_function)load_acquire(&handlers[index]);
    greg_t *registers = ((ucontext_t *)context)->uc_mcontext.gregs;
    uintptr_t rip = (uintptr_t)registers[REG_RIP], rsp = (uintptr_t)registers[REG_RSP];
    struct thread *thread = thread_self;

    wrap_handlers_run++;
    if (UNLIKELY(!is_own(thread, rsp))) {
        handler(signal, info, context);
        return;
    }
    uint32_t goes_on = wrap_goes_on;
    uintptr_t parked = thread_signal_begin(thread, rip, rsp);

    store_relaxed(&wrap_goes_on, 0);
    handler(signal, info, context);
    store_relaxed(&wrap_goes_on, goes_on);
    if ((uintptr_t)registers[REG_RIP] == rip && (uintptr_t)registers[REG_RSP] == rsp)
        end_call(thread, registers, goes_on);
    thread_signal_end(thread, parked, (uintptr_t)registers[REG_RIP], rsp);
}

/* sigaction and its old name. */
typedef int (*sigaction_function)(int, const struct sigaction *, struct sigaction *);

static int install(sigaction_function real, int signal, const struct sigaction *action,
                   struct sigaction *old)
{
    uintptr_t own = own_handler(signal);
    struct sigaction ours;

    if (action != NULL) {
        ours = *action;
        ours.sa_handler = (sighandler_t)stub_of(signal, (uintptr_t)action->sa_handler);
        action = &ours;
    }
    int result = real(signal, action, old);

    if (result == 0 && old != NULL)
        old->sa_handler = (sighandler_t)handler_of((uintptr_t)old->sa_handler, own);
    return result;
}

EXPORT int sigaction(int signal, const struct sigaction *action, struct sigaction *old)
{
    static void *cache;

    return install(WRAP_REAL(cache, sigaction), signal, action, old);
}

int __sigaction(int signal, const struct sigaction *action, struct sigaction *old);

EXPORT int __sigaction(int signal, const struct sigaction *action, struct sigaction *old)
{
    static void *cache;

    return install(WRAP_REAL(cache, __sigaction), signal, action, old);
}

/* The older interfaces: all take a handler and return the previous one. */
#undef signal
#undef bsd_signal
#undef sigset
sighandler_t bsd_signal(int number, sighandler_t handler);
sighandler_t ssignal(int number, sighandler_t handler);
sighandler_t sysv_signal(int number, sighandler_t handler);
sighandler_t __sysv_signal(int number, sighandler_t handler);

#define SIGNAL_SETTER(name)                                                     \
    EXPORT sighandler_t name(int number, sighandler_t handler)                  \
    {                                                                           \
        static void *cache;                                                     \
        sighandler_t (*real)(int, sighandler_t) = wrap_next(&cache, #name);     \
        uintptr_t own = own_handler(number);                                    \
                                                                                \
        handler = real(number, (sighandler_t)stub_of(number, (uintptr_t)handler)); \
        return (sighandler_t)handler_of((uintptr_t)handler, own);               \
    }

SIGNAL_SETTER(signal)
SIGNAL_SETTER(bsd_signal)
SIGNAL_SETTER(ssignal)
SIGNAL_SETTER(sysv_signal)
SIGNAL_SETTER(__sysv_signal)
SIGNAL_SETTER(sigset)

/* The kernel kills the process if what it puts on an alternate stack does not fit.  A program whose stack is
 * smaller, as MINSIGSTKSZ once was, gets away with it as long as no signal comes; but ours does. */
enum {
    SPARE_BYTES = 32 << 10,
    HANDLER_BYTES = 2 << 10,            /* what our own handler needs on top */
    KERNEL_LEAST = 2048,                /* less is refused */
};

static bool is_too_small(const stack_t *stack)
{
    return (stack->ss_flags & SS_DISABLE) == 0 && stack->ss_size >= KERNEL_LEAST &&
           stack->ss_size < host_signal_frame_bytes() + HANDLER_BYTES;
}

static bool have_spare(struct thread *thread)
{
    if (thread->spare_alternate != 0)
        return true;
    long at = sys_call6(SYS_mmap, 0, SPARE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
                        0);

    thread->spare_alternate = sys_failed(at) ? 0 : (uintptr_t)at;
    return !sys_failed(at);
}

/* Is it another thread's, too?  Of two that ask at once one sees the other.  Not asked under a filter of
 * system calls: there are no stops. */
static bool is_shared(const struct thread *thread, uintptr_t stack)
{
    for (const struct thread *t = thread_list(); t != NULL; t = t->next)
        if (t != thread && load_seq_cst(&t->alternate_stack) == stack && thread_is_alive(t) &&
            !vm_is_confined() &&
            sys_call3(SYS_tgkill, sys_getpid(), load_relaxed(&t->tid), 0) == 0)
            return true;
    return false;
}

/* Only the kernel knows the alternate stack, which may be a malloc block that nothing else
 * points to.  vfork's child sets its own, not its parent's.  No signal finds the small stack; what the kernel
 * has not accepted need not be readable.
 *
 * All threads of a program may have one and the same, for signals by which the process ends (Varnish).  Two
 * threads that are stopped at once would overwrite each other's registers there. */
static int set_alternate(struct thread *thread, const stack_t *stack, stack_t *old)
{
    static void *cache;
    __typeof__(&sigaltstack) real = WRAP_REAL(cache, sigaltstack);

    if (thread == NULL || wrap_is_stranger(thread))
        return real(stack, old);
    uint64_t mask = signals_block_all();
    stack_t copy;

    if (stack != NULL && stack == old) {
        copy = *stack;
        stack = &copy;
    }
    int result = real(stack, old);

    if (result == 0 && old != NULL && old->ss_sp != NULL &&
        (uintptr_t)old->ss_sp == thread->spare_alternate) {
        old->ss_sp = (void *)thread->alternate_stack;
        old->ss_size = thread->alternate_bytes;
    }
    if (result == 0 && stack != NULL) {
        bool none = (stack->ss_flags & SS_DISABLE) != 0;

        thread->alternate_bytes = none ? 0 : stack->ss_size;
        store_seq_cst(&thread->alternate_stack, none ? 0 : (uintptr_t)stack->ss_sp);
        if (!none && is_shared(thread, (uintptr_t)stack->ss_sp))
            world_avoid_alternate_stacks();
        if (is_too_small(stack) && have_spare(thread))
            real(&(stack_t){ .ss_sp = (void *)thread->spare_alternate, .ss_size = SPARE_BYTES,
                             .ss_flags = stack->ss_flags }, NULL);
    }
    signals_restore(mask);
    return result;
}

EXPORT int sigaltstack(const stack_t *stack, stack_t *old)
{
    return set_alternate(thread_attach(), stack, old);
}
