/* wrap_rows.h -- a row for each blocking function that needs nothing special
 *
 * PURPOSE  BLOCKING<n>(type, name, parameter types) defines `name`: the real one,
 *          called parked, and called again when it fails with -1 and EINTR and only
 *          our stop signal was the reason.
 *          BLOCKING_ONCE<n> is for those that do not report EINTR that way.
 */
#ifndef GCALLOC_API_WRAP_ROWS_H
#define GCALLOC_API_WRAP_ROWS_H

#include "api/wrap.h"

#define BLOCKING_BODY(type, name, again, arguments)     \
    {                                                   \
        static void *cache;                             \
        __typeof__(&name) real = WRAP_REAL(cache, name); \
        struct blocked blocked;                         \
        type result;                                    \
                                                        \
        do {                                            \
            blocked_enter(&blocked);                    \
            PARKED_FRAME();                             \
            result = real arguments;                    \
        } while (again);                                \
        return result;                                  \
    }

#define ON_EINTR blocked_again(&blocked, result == -1)
#define NEVER (blocked_leave(&blocked), false)

#define ROW0(type, name, again) \
    EXPORT type name(void) BLOCKING_BODY(type, name, again, ())
#define ROW1(type, name, again, A) \
    EXPORT type name(A a) BLOCKING_BODY(type, name, again, (a))
#define ROW2(type, name, again, A, B) \
    EXPORT type name(A a, B b) BLOCKING_BODY(type, name, again, (a, b))
#define ROW3(type, name, again, A, B, C) \
    EXPORT type name(A a, B b, C c) BLOCKING_BODY(type, name, again, (a, b, c))
#define ROW4(type, name, again, A, B, C, D) \
    EXPORT type name(A a, B b, C c, D d) BLOCKING_BODY(type, name, again, (a, b, c, d))
#define ROW5(type, name, again, A, B, C, D, E) \
    EXPORT type name(A a, B b, C c, D d, E e) \
    BLOCKING_BODY(type, name, again, (a, b, c, d, e))
#define ROW6(type, name, again, A, B, C, D, E, F) \
    EXPORT type name(A a, B b, C c, D d, E e, F f) \
    BLOCKING_BODY(type, name, again, (a, b, c, d, e, f))
#define ROW7(type, name, again, A, B, C, D, E, F, G) \
    EXPORT type name(A a, B b, C c, D d, E e, F f, G g) \
    BLOCKING_BODY(type, name, again, (a, b, c, d, e, f, g))

#define BLOCKING0(type, name) ROW0(type, name, ON_EINTR)
#define BLOCKING1(type, name, ...) ROW1(type, name, ON_EINTR, __VA_ARGS__)
#define BLOCKING2(type, name, ...) ROW2(type, name, ON_EINTR, __VA_ARGS__)
#define BLOCKING3(type, name, ...) ROW3(type, name, ON_EINTR, __VA_ARGS__)
#define BLOCKING4(type, name, ...) ROW4(type, name, ON_EINTR, __VA_ARGS__)
#define BLOCKING5(type, name, ...) ROW5(type, name, ON_EINTR, __VA_ARGS__)
#define BLOCKING6(type, name, ...) ROW6(type, name, ON_EINTR, __VA_ARGS__)
#define BLOCKING7(type, name, ...) ROW7(type, name, ON_EINTR, __VA_ARGS__)
#define BLOCKING_ONCE1(type, name, ...) ROW1(type, name, NEVER, __VA_ARGS__)
#define BLOCKING_ONCE2(type, name, ...) ROW2(type, name, NEVER, __VA_ARGS__)
#define BLOCKING_ONCE6(type, name, ...) ROW6(type, name, NEVER, __VA_ARGS__)

#endif
