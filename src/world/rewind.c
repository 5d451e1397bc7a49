/* rewind.c -- see rewind.h
 *
 * When the handler starts, rax == -EINTR and the two bytes before rip are
 * `syscall`, the thread was in a system call that ended early.  The argument registers
 * are as they were; rax held the number, which the code before the instruction tells:
 *
 *     b8 imm32      mov $nr, %eax      (most)
 *     31 c0         xor %eax, %eax     (read)
 *
 * with instructions between that load arguments.  We try each such place, nearest
 * first, and believe it only if decoding forward from it arrives exactly at
 * the `syscall` without another write to eax.  A number from elsewhere (libc's
 * syscall(), a table) is not found, and the program sees EINTR.
 *
 * Whose EINTR?  When a signal of the program is pending together with ours, the kernel
 * builds its frame first (lower numbers first) and ours on top, and we see the
 * program's handler's first instruction, not the call: the EINTR stays.  The one
 * gap: the program's handler has returned to the instruction after the call, and
 * ours comes before that instruction runs.  A pause or sigsuspend made again then would
 * wait for a signal that has been.  So the wrapper around the program's handlers notes
 * where each came in (thread_signal_begin), and an EINTR at the same rip and rsp is
 * given to the program: at worst it sees one EINTR more, after a handler of its own
 * did run there.  And the other way round: a signal of the program that comes while ours is handled finds
 * the call wound back, and would not interrupt it.  So the same wrapper ends a call that was wound back
 * and not made yet (thread->rewound).  Handlers installed by raw system calls leave both gaps open.
 *
 * Times: select, pselect and ppoll keep what is left in memory, absolute times are
 * exact, nanosleep is given its remainder.  What the kernel does not count down, as poll's milliseconds, is
 * waited for in full again: when the whole of it has gone by since the first stop, the next one ends the
 * call as its timeout would, or a wait for which stops come too often would never end.  So it lasts three
 * times as long at most.  The timeouts of SO_RCVTIMEO and io_uring_enter are not looked after.
 */
#define _GNU_SOURCE             /* the registers of a ucontext */
#include "world/rewind.h"

#include <errno.h>
#include <linux/futex.h>
#include <time.h>

#include "base/bits.h"
#include "base/sys.h"
#include "os/host.h"

enum {
    SEARCH_BYTES = 40,
    SYSCALL_BYTES = 2,          /* of the instruction */
    OUR_FLAGS = 0xc0,           /* ZF and SF */
    AGES = 1 << 30,             /* seconds */
};

/* May be made again after EINTR: nothing was done.  Not close: the descriptor is gone
 * all the same.  Calls that the kernel restarts by itself need not be here. */
static bool may_repeat(int number)
{
    switch (number) {
    case SYS_read: case SYS_readv: case SYS_pread64: case SYS_preadv:
    case SYS_write: case SYS_writev: case SYS_pwrite64: case SYS_pwritev:
    case SYS_recvfrom: case SYS_recvmsg: case SYS_recvmmsg:
    case SYS_sendto: case SYS_sendmsg: case SYS_sendmmsg: case SYS_sendfile:
    case SYS_accept: case SYS_accept4:
    case SYS_poll: case SYS_ppoll: case SYS_select: case SYS_pselect6:
    case SYS_epoll_wait: case SYS_epoll_pwait: case SYS_epoll_pwait2:
    case SYS_nanosleep: case SYS_clock_nanosleep:
    case SYS_pause: case SYS_rt_sigsuspend: case SYS_rt_sigtimedwait:
    case SYS_futex: case SYS_futex_waitv:
    case SYS_msgrcv: case SYS_msgsnd: case SYS_semop: case SYS_semtimedop:
    case SYS_mq_timedsend: case SYS_mq_timedreceive:
    case SYS_io_getevents: case SYS_io_pgetevents: case SYS_io_uring_enter:
    case SYS_getrandom: case SYS_flock: case SYS_wait4: case SYS_waitid:
        return true;
    default:
        return false;
    }
}

/* Bytes of a ModRM byte with what belongs to it. */
static size_t modrm_bytes(const uint8_t *modrm)
{
    unsigned mod = modrm[0] >> 6, rm = modrm[0] & 7;
    size_t bytes = 1;

    if (mod == 3)
        return bytes;
    if (rm == 4) {
        if (mod == 0 && (modrm[1] & 7) == 5)
            bytes += 4;
        bytes++;
    } else if (mod == 0 && rm == 5) {
        bytes += 4;
    }
    return bytes + (mod == 1 ? 1 : mod == 2 ? 4 : 0);
}

/* The length of one instruction of the kinds that compilers put between the number and
 * the call: moves, lea, xor and or of registers, nops.  0: another kind, or one that
 * writes eax. */
static size_t harmless_bytes(const uint8_t *code)
{
    const uint8_t *at = code;
    uint8_t rex = 0;

    while (*at == 0x64 || *at == 0x66)
        at++;
    if ((*at & 0xf0) == 0x40)
        rex = *at++;
    uint8_t opcode = *at++;
    bool writes_eax = (*at >> 3 & 7) == 0 && !(rex & 4);         /* the register of ModRM */
    bool writes_eax_rm = *at >= 0xc0 && (*at & 7) == 0 && !(rex & 1);

    if (opcode == 0x0f && *at == 0x1f)                            /* nop */
        return (size_t)(at + 1 - code) + modrm_bytes(at + 1);
    if (opcode == 0x90)
        return (size_t)(at - code);
    if (opcode > 0xb8 && opcode <= 0xbf)                          /* mov imm, not eax or r8 */
        return (size_t)(at - code) + (rex & 8 ? 8 : 4);
    if (opcode == 0xb8 && (rex & 1))                              /* mov imm, r8 */
        return (size_t)(at - code) + (rex & 8 ? 8 : 4);
    if ((opcode == 0x8b || opcode == 0x8d) && !writes_eax)        /* mov and lea to a register */
        return (size_t)(at - code) + modrm_bytes(at);
    if ((opcode == 0x89 || opcode == 0x31 || opcode == 0x09) && !writes_eax_rm)
        return (size_t)(at - code) + modrm_bytes(at);
    if (opcode == 0xc7 && !writes_eax_rm)                         /* mov imm32 to memory */
        return (size_t)(at - code) + modrm_bytes(at) + 4;
    if (opcode == 0x83 && !writes_eax_rm)                         /* arithmetic with imm8 */
        return (size_t)(at - code) + modrm_bytes(at) + 1;
    return 0;
}

static bool runs_into(const uint8_t *at, const uint8_t *syscall)
{
    while (at < syscall) {
        /* The longest of these instructions is 15 bytes; what is read beyond the call
         * itself stays on its page or is decoded to nothing that fits. */
        size_t bytes = syscall - at >= 2 ? harmless_bytes(at) : *at == 0x90;

        if (bytes == 0)
            return false;
        at += bytes;
    }
    return at == syscall;
}

/* Does a jump that ends right before `at` lead past it?  Then another number may be meant:
 * mov $a, %eax; je 1f; mov $b, %eax; 1: syscall. */
static bool is_jumped_over(const uint8_t *low, const uint8_t *at, const uint8_t *syscall)
{
    ptrdiff_t range = syscall - at;
    int32_t far;

    if (at - low >= 2 && ((at[-2] & 0xf0) == 0x70 || at[-2] == 0xeb) &&
        (int8_t)at[-1] > 0 && (int8_t)at[-1] <= range)
        return true;
    if (at - low < 6)
        return false;
    __builtin_memcpy(&far, at - 4, sizeof(far));
    bool jump = at[-5] == 0xe9 || (at[-6] == 0x0f && (at[-5] & 0xf0) == 0x80);
    return jump && far > 0 && far <= range;
}

int rewind_decode_number(const uint8_t *low, const uint8_t *syscall)
{
    for (const uint8_t *at = syscall - 2; at >= low; at--) {
        if (at[0] == 0x31 && at[1] == 0xc0 && (at == low || (at[-1] & 0xf0) != 0x40) &&
            runs_into(at + 2, syscall))
            return is_jumped_over(low, at, syscall) ? -1 : SYS_read;
        if (at[0] != 0xb8 || syscall - at < 5 || (at > low && (at[-1] & 0xf0) == 0x40))
            continue;
        if (runs_into(at + 5, syscall)) {
            if (is_jumped_over(low, at, syscall))
                return -1;
            uint32_t number = at[1] | (uint32_t)at[2] << 8 | (uint32_t)at[3] << 16 |
                              (uint32_t)at[4] << 24;
            return number < 4096 ? (int)number : -1;
        }
    }
    return -1;
}

static struct rewound call_of(const greg_t *registers)
{
    return (struct rewound){
        .rip = (uintptr_t)registers[REG_RIP], .rsp = (uintptr_t)registers[REG_RSP],
        .number = (uintptr_t)registers[REG_RAX],
        .arguments = { (uintptr_t)registers[REG_RDI], (uintptr_t)registers[REG_RSI],
                       (uintptr_t)registers[REG_RDX] },
    };
}

/* Relative sleeps: the kernel stored what is left. */
static void use_remainder(int number, greg_t *registers)
{
    if (number == SYS_nanosleep && registers[REG_RSI] != 0)
        registers[REG_RDI] = registers[REG_RSI];
    if (number == SYS_clock_nanosleep && (registers[REG_RSI] & TIMER_ABSTIME) == 0 &&
        registers[REG_R10] != 0)
        registers[REG_RDX] = registers[REG_R10];
}

/* Calls with a timeout that the kernel does not count down. */
struct timed_call {
    int number;
    int where;                  /* the register of the timeout: */
    bool in_ms;                 /* an int; else the address of a timespec */
    int over;                   /* the result when it is over */
};

static const struct timed_call *timed_call(int number, const greg_t *registers)
{
    static const struct timed_call calls[] = {
        { SYS_poll, REG_RDX, true, 0 },
        { SYS_epoll_wait, REG_R10, true, 0 },
        { SYS_epoll_pwait, REG_R10, true, 0 },
        { SYS_epoll_pwait2, REG_R10, false, 0 },
        { SYS_nanosleep, REG_RDI, false, 0 },
        { SYS_clock_nanosleep, REG_RDX, false, 0 },
        { SYS_futex, REG_R10, false, -ETIMEDOUT },
        { SYS_rt_sigtimedwait, REG_RDX, false, -EAGAIN },
        { SYS_semtimedop, REG_R10, false, -EAGAIN },
        { SYS_io_getevents, REG_R8, false, 0 },
        { SYS_io_pgetevents, REG_R8, false, 0 },
    };
    greg_t operation = registers[REG_RSI];

    if ((number == SYS_futex && (operation & FUTEX_CMD_MASK) != FUTEX_WAIT) ||
        (number == SYS_clock_nanosleep && ((operation & TIMER_ABSTIME) != 0 || registers[REG_R10] != 0)) ||
        (number == SYS_nanosleep && registers[REG_RSI] != 0))
        return NULL;            /* absolute, or use_remainder sees to it */
    for (size_t i = 0; i < sizeof calls / sizeof calls[0]; i++)
        if (calls[i].number == number)
            return &calls[i];
    return NULL;
}

/* Was this call wound back, and interrupted again?  It is not another one of the same kind, for its flags
 * are what no result leaves: both zero and negative.  The kernel hands them back after the call, and the
 * program's next comparison changes them.  Registers are left alone: it may go on with what is in them. */
static bool was_wound_back(const greg_t *registers, const struct rewound *rewound)
{
    struct rewound now = call_of(registers);

    now.rip -= SYSCALL_BYTES;
    now.number = rewound->number;
    return (registers[REG_EFL] & OUR_FLAGS) == OUR_FLAGS && __builtin_memcmp(rewound, &now, sizeof now) == 0;
}

/* UINT64_MAX: for ever. */
static uint64_t length_ns(const struct timed_call *call, const greg_t *registers)
{
    greg_t timeout = registers[call->where];

    if (call->in_ms)
        return (int32_t)timeout < 0 ? UINT64_MAX : (uint64_t)(int32_t)timeout * 1000000;
    if (timeout == 0)
        return UINT64_MAX;
    const struct timespec *length = (const struct timespec *)timeout;

    return min_size((size_t)length->tv_sec, AGES) * 1000000000u + (uint64_t)length->tv_nsec;
}

/* Has the timeout of a call that was wound back before gone by? */
static bool is_over(const struct timed_call *call, greg_t *registers, struct thread *thread)
{
    uint64_t now = host_clock_ns();

    if (was_wound_back(registers, &thread->rewound))
        return now >= thread->rewound_end_ns;
    uint64_t length = length_ns(call, registers);

    thread->rewound_end_ns = length == UINT64_MAX ? length : now + length;
    registers[REG_EFL] |= OUR_FLAGS;
    return false;
}

/* The call was interrupted by our signal alone. */
static void make_again(int number, greg_t *registers, struct thread *thread)
{
    const struct timed_call *timed = timed_call(number, registers);

    if (timed != NULL && thread != NULL && is_over(timed, registers, thread)) {
        registers[REG_RAX] = timed->over;
        return;
    }
    use_remainder(number, registers);
    registers[REG_RAX] = number;
    registers[REG_RIP] -= SYSCALL_BYTES;
    if (thread != NULL)
        thread->rewound = call_of(registers);
}

void rewind_interrupted_call(ucontext_t *context, struct thread *thread)
{
    greg_t *registers = context->uc_mcontext.gregs;
    uintptr_t rip = (uintptr_t)registers[REG_RIP];

    if (LIKELY(registers[REG_RAX] != -EINTR))
        return;
    /* The code is read on the page of the `syscall` only: the page before may not exist. */
    const uint8_t *syscall = (const uint8_t *)rip - SYSCALL_BYTES;
    const uint8_t *page = (const uint8_t *)((uintptr_t)syscall & ~(uintptr_t)4095);

    if ((rip - 1) % 4096 == 0 || syscall[0] != 0x0f || syscall[1] != 0x05)
        return;
    if (thread != NULL && thread->handled_rip == rip &&
        thread->handled_rsp == (uintptr_t)registers[REG_RSP])
        return;                 /* perhaps that handler's EINTR */
    const uint8_t *low = syscall - page < SEARCH_BYTES ? page : syscall - SEARCH_BYTES;
    int number = rewind_decode_number(low, syscall);

    if (number >= 0 && may_repeat(number))
        make_again(number, registers, thread);
}

/* A call that was wound back once would fail with EINTR whatever SA_RESTART says: so this is no call
 * that the kernel restarts for the program's handler, should the note be an old one. */
bool rewind_is_pending(struct rewound *rewound, const greg_t *registers)
{
    if (LIKELY(rewound->rip != (uintptr_t)registers[REG_RIP]))
        return false;
    struct rewound now = call_of(registers);
    bool same = __builtin_memcmp(rewound, &now, sizeof now) == 0;

    if (same)
        rewound->rip = 0;
    return same;
}
