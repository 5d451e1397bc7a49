/* checkmark.c -- see checkmark.h
 *
 * Written to be evidently right rather than fast: one worker, no queue, one test a word.  What
 * counts as an object and as a pointer is what trace.c says: object.h, and in stacks also
 * one past the end, unless another object begins there: a parked thread goes on to the end of its call,
 * and may store a word on its stack that the markers saw elsewhere (what pthread_join returns).  Such a
 * word names the object that begins there, and nobody is to blame for the one before it.
 */
#include "gc/checkmark.h"

#include <string.h>

#include "base/check.h"
#include "base/fmt.h"
#include "base/options.h"
#include "gc/distance.h"
#include "gc/object.h"
#include "gc/slotmap.h"
#include "gc/trace.h"
#include "heap/ceded.h"
#include "os/vm.h"
#include "world/roots.h"
#include "world/stop.h"

enum {
    PIECE_BYTES = 128 << 10,    /* of a large object, looked at with one question to the kernel */
    FRAMES_BYTES = 64 << 10,    /* of several signals that come at a time */
};

/* All of it: the task that runs the cycle. */
static struct {
    struct slotmap reached;
    struct slotmap before;      /* the same, earlier in the stop; see checkmark_confirm_stopped */
    struct worklist list;       /* reached, not yet scanned; shared with nobody */
    struct work_local local;
    bool recording;             /* reaching an unmarked object is no mistake yet */
    bool confirmed;             /* `before` counts too */
    bool recorded;              /* `reached` holds what was reachable at the snapshot */
} check = { .list.max_blocks = UINT32_MAX };

/* Where a word was found. */
struct source {
    enum { IN_STACK, IN_DATA, IN_OBJECT, IN_NOTHING } place;
    const uintptr_t *word;
    struct object holder;       /* IN_OBJECT */
};

bool checkmark_prepare(void)
{
    if (check.local.top == NULL && !work_local_open(&check.list, &check.local))
        return false;
    check.recorded = false;
    return slotmap_prepare(&check.reached) && slotmap_prepare(&check.before);
}

/* --- the message ----------------------------------------------------------------- */

static const char *kind_name(const struct span *span)
{
    static const char *const names[KINDS] = { "malloc", "gc_alloc", "gc_alloc_noscan" };

    return names[span_kind(span)];
}

static void format_object(char *out, size_t bytes, struct object object)
{
    fmt_format(out, bytes, "%p (%zu bytes, %s)",
               (void *)span_slot_address(object.span, object.slot), object.span->slot_bytes,
               kind_name(object.span));
}

static void format_source(char *out, size_t bytes, const struct source *from)
{
    char holder[80];

    switch (from->place) {
    case IN_STACK:
        fmt_format(out, bytes, "a root in stack/registers (word %p)", (void *)*from->word);
        break;
    case IN_DATA:               /* where a copy lies says nothing */
        if (arena_owns((uintptr_t)from->word))
            fmt_format(out, bytes, "a root in data (word %p)", (void *)*from->word);
        else
            fmt_format(out, bytes, "a root in data (at %p)", (void *)from->word);
        break;
    case IN_OBJECT:
        format_object(holder, sizeof holder, from->holder);
        fmt_format(out, bytes, "%s at offset %zu", holder,
                   (uintptr_t)from->word -
                       span_slot_address(from->holder.span, from->holder.slot));
        break;
    case IN_NOTHING:
        fmt_format(out, bytes, check.recorded ? "the roots of the snapshot"
                                              : "nothing: malloc blocks are roots in mode manual");
        break;
    }
}

static COLD NORETURN void die_missed(struct object object, const struct source *from)
{
    char missed[80], source[160];
    bool kept = load_relaxed(&object.span->bits[object.slot >> 6].kept) >> (object.slot & 63) & 1;

    format_object(missed, sizeof missed, object);
    format_source(source, sizeof source, from);
    die("gccheckmark: missed object %s: reached from %s%s", missed, source,
        kept ? "; it is kept, but not marked" : "");
}

/* --- marking ----------------------------------------------------------------------- */

/* A slot that the program does not have is no object, whoever names it. */
static bool is_object(struct object object)
{
    return object.span != NULL && load_relaxed(&object.span->slot_state[object.slot]) != SLOT_IN;
}

static void reach_object(struct object object, const struct source *from)
{
    if (!is_object(object) || !slotmap_set(&check.reached, object.span, object.slot))
        return;
    if (!check.recording && !span_is_marked(object.span, object.slot))
        die_missed(object, from);
    if (span_kind(object.span) != KIND_NOSCAN)
        work_push(&check.list, &check.local, span_slot_address(object.span, object.slot),
                  object_scan_bytes(object.span));
}

static void reach_word(uintptr_t word, const struct source *from)
{
    uintptr_t address = word_address(word);

    if (heap_contains(address))
        reach_object(object_at(address), from);
}

static void reach_distance(uintptr_t word, const struct source *from)
{
    const struct object holder = from->holder;
    uintptr_t origin = distance_origin(span_kind(holder.span), span_slot_address(holder.span, holder.slot));

    if (origin == 0 || (uintptr_t)from->word % sizeof(uintptr_t) != 0)
        return;
    struct object object = object_at_distance(origin, word);

    if (object.span != NULL)
        reach_object(object, from);
}

/* The word may be two digits of a number, where it is no address. */
static void reach_digits(uintptr_t word, const struct source *from)
{
    if (!heap_contains(word_address(word)))
        reach_word(digits_address(word), from);
}

static void scan_words(struct object holder, uintptr_t low, uintptr_t high)
{
    size_t step = object_word_step(span_kind(holder.span));

    for (; low + sizeof(uintptr_t) <= high; low += step) {
        struct source from = { .place = IN_OBJECT, .word = (const void *)low, .holder = holder };
        uintptr_t word = load_word((const void *)low);

        reach_word(word, &from);
        reach_distance(word, &from);
        if (step == PACKED_STEP && low % sizeof(uintptr_t) == 0)
            reach_digits(word, &from);
    }
}

/* A large object's pages that were never touched stay so. */
static void scan_present_words(struct object holder, uintptr_t low, uintptr_t high)
{
    unsigned char touched[PIECE_BYTES / VM_PAGE];

    for (uintptr_t piece = low, end; piece < high; piece = end) {
        end = min_size(piece + PIECE_BYTES, high);
        bool known = vm_touched((const void *)piece, end - piece, touched);
        for (uintptr_t page = piece; page < end; page += VM_PAGE)
            if (!known || (touched[(page - piece) / VM_PAGE] & 1) != 0)
                scan_words(holder, page, page + VM_PAGE);
    }
}

static void scan_object(const struct work *work)
{
    struct object holder = object_at(work->address);
    uintptr_t low = work->address, high = work->address + work->bytes, end;

    for (; low < high; low = end) {
        end = high;
        if (load_relaxed(&ceded_unloadable) != 0)
            ceded_loadable(&low, &end);
        if (end - low >= PIECE_BYTES / 2 && low % VM_PAGE == 0 && end % VM_PAGE == 0)
            scan_present_words(holder, low, end);
        else
            scan_words(holder, low, end);
    }
}

static void close_reached(void)
{
    struct work work;

    while (work_pop(&check.list, &check.local, &work))
        scan_object(&work);
}

/* A signal that comes to a parked thread has its frame pushed below the thread's stack pointer, stopped
 * world or not.  In the frame is what registers held: nobody needs it any more, and the markers have not
 * seen it.  Where it is not known which part of a stack is dead, the frame is visited like the rest. */
static bool is_signal_frame(const char *at)
{
    size_t count;
    const struct stopped_task *tasks = world_tasks(&count);

    for (size_t i = 0; i < count; i++)
        if (tasks[i].frame_high == 0 && tasks[i].sp - (uintptr_t)at - 1 < FRAMES_BYTES)
            return true;
    return false;
}

/* A root_visitor. */
static void visit_root(void *unused, enum root_kind kind, const uintptr_t *low,
                       const uintptr_t *high)
{
    const char *last = (const char *)high - sizeof(uintptr_t);
    size_t step = kind == ROOT_CODE ? 1 : PACKED_STEP;

    (void)unused;
    for (const char *at = (const char *)low; at <= last; at += step) {
        struct source from = { .place = kind == ROOT_STACK ? IN_STACK : IN_DATA,
                               .word = (const uintptr_t *)at };
        uintptr_t word;

        memcpy(&word, at, sizeof word);
        if (kind == ROOT_STACK && heap_contains(word_address(word)) && is_signal_frame(at))
            continue;
        reach_word(word, &from);
        if (kind == ROOT_DATA && (uintptr_t)at % sizeof word == 0)
            reach_digits(word, &from);
        if (kind == ROOT_STACK && word % 8 == 0 && (uintptr_t)at % 8 == 0 &&
            !is_object(object_of_word(word)))
            reach_word(word - 1, &from);
    }
    close_reached();
}

typedef void (*object_visitor)(struct object object);

/* Objects as spans know them: cached slots among them. */
static void visit_objects(object_visitor visit)
{
    for (uint32_t id = 0; id < span_table_size(); id++) {
        struct span *span = span_by_id(id);
        for (uint32_t word = 0; span_in_use(span) && word * 64 < span->slots; word++)
            for (uint64_t bits = span_objects(span, word); bits != 0; bits &= bits - 1)
                visit((struct object){ span, word * 64 + lowest_bit(bits) });
    }
}

static void reach_malloc_block(struct object object)
{
    const struct source from = { .place = IN_NOTHING };

    if (span_kind(object.span) != KIND_MALLOC)
        return;
    reach_object(object, &from);
    close_reached();
}

/* --- the check ----------------------------------------------------------------------- */

/* A check that was given up half way has left work behind. */
static bool begin(void)
{
    struct work work;

    check.recorded = false;
    if (check.local.top == NULL || !slotmap_clear_stopped(&check.reached))
        return false;
    while (work_pop(&check.list, &check.local, &work))
        continue;
    store_relaxed(&check.list.overflowed, 0);
    return true;
}

/* False: not everything could be reached, and nobody is accused. */
static bool reach_everything(bool recording)
{
    const char *why = "no memory";
    bool complete = begin();

    check.recording = recording;
    if (complete)
        complete = roots_visit(visit_root, NULL, ROOTS_LASTING, &why);
    if (complete && options.mode == MODE_MANUAL)
        visit_objects(reach_malloc_block);
    if (complete && load_relaxed(&check.list.overflowed)) {
        why = "no memory";
        complete = false;
    }
    if (!complete)
        warn("gccheckmark: this cycle is not checked: %s", why);
    return complete;
}

void checkmark_stopped(void)
{
    reach_everything(false);
}

void checkmark_record_stopped(void)
{
    check.confirmed = false;
    check.recorded = reach_everything(true);
}

/* The kernel may write into memory while the world is stopped: a thread that is held in read(2) is
 * given its bytes.  So what was reached when the snapshot began must be reached when it is
 * there, or it is not missed. */
void checkmark_confirm_stopped(void)
{
    struct slotmap first = check.reached;

    if (!check.recorded)
        return;
    check.reached = check.before;
    check.before = first;
    check.recorded = check.confirmed = reach_everything(true);
}

static void compare_object(struct object object)
{
    const struct source from = { .place = IN_NOTHING };
    uint32_t word = object.slot >> 6;

    if (object.span->id >= check.reached.spans ||       /* younger than the snapshot */
        !is_object(object) || span_is_marked(object.span, object.slot))
        return;
    uint64_t reached = slotmap_word(&check.reached, object.span, word);

    if (check.confirmed)
        reached &= slotmap_word(&check.before, object.span, word);
    if ((reached >> (object.slot & 63) & 1) != 0)
        die_missed(object, &from);
}

void checkmark_compare_stopped(void)
{
    if (check.recorded)
        visit_objects(compare_object);
    check.recorded = false;
}
