/* rewind.h -- a system call that our signal interrupted is made again
 *
 * PURPOSE    Many calls return EINTR even under SA_RESTART.  The program did not ask for
 *            our signal, so the stop handler winds the interrupted context back onto
 *            the `syscall` instruction.
 * INVARIANT  Only when the number of the call is known for certain and is in the list
 *            of calls that may be made again; otherwise the program sees EINTR.
 */
#ifndef GCALLOC_WORLD_REWIND_H
#define GCALLOC_WORLD_REWIND_H

#include <ucontext.h>

#include "world/thread.h"

/* handled_rip and handled_rsp: where the program's own last handler interrupted this
 * thread (0: unknown).  An EINTR at that very place may be that handler's and is left alone.
 * True: the context was wound back. */
bool rewind_interrupted_call(ucontext_t *context, uintptr_t handled_rip, uintptr_t handled_rsp);

/* Notes the call that is about to be made again.  A handler of the program that comes before it is must
 * end it: or alarm() would not interrupt a pause that our signal has. */
void rewind_note(struct rewound *rewound, const greg_t *registers);
/* Are these the registers of that call?  If so, the note is forgotten. */
bool rewind_is_pending(struct rewound *rewound, const greg_t *registers);

/* The number that the code before `syscall` puts into eax, or -1.  Looks at [low, syscall). */
int rewind_decode_number(const uint8_t *low, const uint8_t *syscall);

#endif
