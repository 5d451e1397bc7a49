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

#define BLOCKING_BODY(type, name, repeat, arguments)     \
    {                                                    \
        static void *cache;                              \
        __typeof__(&name) real = WRAP_REAL(cache, name); \
        struct blocked blocked;                          \
        type result;                                     \
                                                         \
        repeat(blocked, result, real arguments);         \
        return result;                                   \
    }

#define CALL_PARKED_ONCE(blocked, result, call) \
    do {                                        \
        blocked_enter(&(blocked));              \
        PARKED_FRAME();                         \
        (result) = (call);                      \
        blocked_leave(&(blocked));              \
    } while (0)

#define ROW0(type, name, repeat) \
    EXPORT type name(void) BLOCKING_BODY(type, name, repeat, ())
#define ROW1(type, name, repeat, A) \
    EXPORT type name(A a) BLOCKING_BODY(type, name, repeat, (a))
#define ROW2(type, name, repeat, A, B) \
    EXPORT type name(A a, B b) BLOCKING_BODY(type, name, repeat, (a, b))
#define ROW3(type, name, repeat, A, B, C) \
    EXPORT type name(A a, B b, C c) BLOCKING_BODY(type, name, repeat, (a, b, c))
#define ROW4(type, name, repeat, A, B, C, D) \
    EXPORT type name(A a, B b, C c, D d) BLOCKING_BODY(type, name, repeat, (a, b, c, d))
#define ROW5(type, name, repeat, A, B, C, D, E) \
    EXPORT type name(A a, B b, C c, D d, E e) \
    BLOCKING_BODY(type, name, repeat, (a, b, c, d, e))
#define ROW6(type, name, repeat, A, B, C, D, E, F) \
    EXPORT type name(A a, B b, C c, D d, E e, F f) \
    BLOCKING_BODY(type, name, repeat, (a, b, c, d, e, f))
#define ROW7(type, name, repeat, A, B, C, D, E, F, G) \
    EXPORT type name(A a, B b, C c, D d, E e, F f, G g) \
    BLOCKING_BODY(type, name, repeat, (a, b, c, d, e, f, g))

#define BLOCKING0(type, name) ROW0(type, name, CALL_PARKED)
#define BLOCKING1(type, name, ...) ROW1(type, name, CALL_PARKED, __VA_ARGS__)
#define BLOCKING2(type, name, ...) ROW2(type, name, CALL_PARKED, __VA_ARGS__)
#define BLOCKING3(type, name, ...) ROW3(type, name, CALL_PARKED, __VA_ARGS__)
#define BLOCKING4(type, name, ...) ROW4(type, name, CALL_PARKED, __VA_ARGS__)
#define BLOCKING5(type, name, ...) ROW5(type, name, CALL_PARKED, __VA_ARGS__)
#define BLOCKING6(type, name, ...) ROW6(type, name, CALL_PARKED, __VA_ARGS__)
#define BLOCKING7(type, name, ...) ROW7(type, name, CALL_PARKED, __VA_ARGS__)
#define BLOCKING_ONCE1(type, name, ...) ROW1(type, name, CALL_PARKED_ONCE, __VA_ARGS__)
#define BLOCKING_ONCE2(type, name, ...) ROW2(type, name, CALL_PARKED_ONCE, __VA_ARGS__)
#define BLOCKING_ONCE6(type, name, ...) ROW6(type, name, CALL_PARKED_ONCE, __VA_ARGS__)

#endif
