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

/* The context of a stop signal on this thread, NULL: one that we do not know.  The call that is about to
 * be made again is noted: a handler of the program that comes before it is must end it, or alarm() would
 * not interrupt a pause that our signal has. */
void rewind_interrupted_call(ucontext_t *context, struct thread *thread);

/* Are these the registers of the call that was noted?  If so, the note is forgotten. */
bool rewind_is_pending(struct rewound *rewound, const greg_t *registers);

/* The number that the code before `syscall` puts into eax, or -1.  Looks at [low, syscall). */
int rewind_decode_number(const uint8_t *low, const uint8_t *syscall);

#endif
