/* snapshot.c -- see snapshot.h
 *
 * The result: a header, and then for each span with marked or kept slots a record, its mark words,
 * and its kept words if there are any.  It lies in our own reservation, so that nobody takes it
 * for a root, and is shared memory only from before the stop until the result has been
 * read.
 *
 * Taking over.  The program runs, so spans come and go: a record may meet a span that is
 * formatted anew.  Too many marks do no harm: slots that the program has there were marked
 * when they were handed out, and free ones lose theirs in the sweep.
 */
#include "gc/snapshot.h"

#include "base/bits.h"
#include "base/sys.h"
#include "gc/cycle.h"
#include "os/copy.h"
#include "os/host.h"
#include "os/vm.h"
#include "world/roots_snapshot.h"

enum {
    STOPPED_CYCLES = 8,         /* run with the world stopped after the clone was refused, or failed */
    NEVER_AGAIN = UINT32_MAX,
};

struct result {
    struct snapshot_totals totals;
    struct uncopied uncopied;
    const char *why;            /* not complete; the copy's text is where ours is */
    uint32_t complete;          /* the records are there; read when the copy has ended */
    uint32_t more_room;         /* not complete for want of room */
    size_t bytes;               /* of records */
};

struct record {
    uint32_t id, slots;
    uint32_t kept;              /* kept words follow the mark words */
    uint32_t unused;
};

#define HEADER_BYTES (align_up(sizeof(struct result), 64))

static struct {
    char *memory;               /* in the metadata; page aligned */
    size_t capacity;            /* bytes of it */
    size_t wanted;              /* at least, because it was not enough */
    bool shared;
    long copy;                  /* its process */
    uint32_t avoid;             /* so many cycles are run without */
    struct snapshot_totals last;
} snapshot;

static struct result *result(void)
{
    return (struct result *)(void *)snapshot.memory;
}

static uint32_t words_of(uint32_t slots)
{
    return (slots + 63) / 64;
}

/* --- memory -------------------------------------------------------------------------- */

/* What the records of all spans take at most, and some more, for the heap may grow until the stop. */
static size_t room_wanted(void)
{
    size_t bytes = HEADER_BYTES;

    for (uint32_t id = 0; id < span_table_size(); id++) {
        const struct span *span = span_by_id(id);

        if (span_in_use(span))
            bytes += sizeof(struct record) + span->words * 2 * sizeof(uint64_t);
    }
    return align_up(max_size(bytes + bytes / 8 + MIB, snapshot.wanted), VM_PAGE);
}

/* An outgrown piece is left behind; they grow by halves. */
static bool make_room(void)
{
    size_t wanted = room_wanted();

    if (wanted <= snapshot.capacity)
        return true;
    wanted = align_up(wanted + wanted / 2, VM_PAGE);
    char *memory = meta_alloc(wanted + VM_PAGE);

    if (memory == NULL)
        return false;
    snapshot.memory = (char *)align_up((uintptr_t)memory, VM_PAGE);
    snapshot.capacity = wanted;
    return true;
}

bool snapshot_prepare(void)
{
    if (snapshot.avoid != 0) {
        snapshot.avoid -= snapshot.avoid != NEVER_AGAIN;
        return false;
    }
    snapshot.shared = make_room() && copy_share(snapshot.memory, snapshot.capacity);
    return snapshot.shared;
}

static void give_room_back(void)
{
    copy_unshare(snapshot.memory, snapshot.capacity);
    snapshot.shared = false;
}

void snapshot_cancel(void)
{
    give_room_back();
    snapshot.last = (struct snapshot_totals){ .cpu_ns = 0 };
}

/* --- the copy -------------------------------------------------------------------------- */

static bool any_bits(const struct span *span, bool kept)
{
    uint64_t bits = 0;

    for (uint32_t word = 0; word < words_of(span->slots); word++)
        bits |= kept ? span->bits[word].kept : span_marks(span, word);
    return bits != 0;
}

/* Appends the record of one span; false: no room. */
static bool write_span(const struct span *span, size_t *used)
{
    bool kept = any_bits(span, true);
    uint32_t words = words_of(span->slots);

    if (!kept && !any_bits(span, false))
        return true;
    if (snapshot.capacity - *used < sizeof(struct record) + words * 2 * sizeof(uint64_t))
        return false;
    struct record *record = (struct record *)(void *)(snapshot.memory + *used);
    uint64_t *to = (uint64_t *)(record + 1);

    *record = (struct record){ .id = span->id, .slots = span->slots, .kept = kept };
    for (uint32_t word = 0; word < words; word++)
        *to++ = span_marks(span, word);
    for (uint32_t word = 0; kept && word < words; word++)
        *to++ = span->bits[word].kept;
    *used = (size_t)((char *)to - snapshot.memory);
    return true;
}

static bool write_spans(size_t *used)
{
    *used = HEADER_BYTES;
    for (uint32_t id = 0; id < span_table_size(); id++) {
        const struct span *span = span_by_id(id);

        if (span_in_use(span) && !write_span(span, used))
            return false;
    }
    return true;
}

static void mark_and_write(bool (*mark)(struct cycle_report *report), struct cycle_report *report)
{
    struct result *to = result();

    to->why = "memory that a clone does not copy";
    if (!roots_check_copied(&to->uncopied))
        return;
    bool marked = mark(report);

    to->why = report->abandoned;
    if (!marked)
        return;
    to->more_room = !write_spans(&to->bytes);
    to->why = "no room for the marks of a snapshot";
    to->totals = (struct snapshot_totals){
        .mark = mark_totals(), .roots = roots_stats_last(), .cpu_ns = host_thread_cpu_ns(),
    };
    to->complete = !to->more_room;
}

/* --- the process ------------------------------------------------------------------------ */

/* A block of small pointer-free objects that a thread is filling: nothing but those names it, so
 * all may be dead now, and the next one in it alive. */
static void mark_tiny_blocks(void)
{
    for (struct thread *thread = thread_list(); thread != NULL; thread = thread->next)
        mark_root_range(NULL, ROOT_DATA, &thread->tiny, &thread->tiny + 1);
}

bool snapshot_start_stopped(bool (*mark)(struct cycle_report *report), struct cycle_report *report)
{
    const char *why;
    int self = sys_getpid();

    mark_tiny_blocks();
    snapshot.copy = -1;
    if (roots_visit_uncopied(mark_root_range, NULL, &why))
        snapshot.copy = copy_start();
    if (snapshot.copy == 0) {
        copy_settle(self);
        mark_and_write(mark, report);
        copy_exit();
    }
    if (snapshot.copy > 0)
        return true;
    give_room_back();
    snapshot.avoid = STOPPED_CYCLES;
    return false;
}

static void merge_word(uint64_t *word, uint64_t bits)
{
    if ((bits & ~load_relaxed(word)) != 0)
        store_relaxed(word, *word | bits);
}

/* Returns where the next record is. */
static size_t merge_span(size_t at)
{
    const struct record *record = (const struct record *)(const void *)(snapshot.memory + at);
    const uint64_t *from = (const uint64_t *)(record + 1);
    uint32_t words = words_of(record->slots);
    struct span *span = span_by_id(record->id);

    if (span_in_use(span) && span->slots == record->slots) {
        for (uint32_t word = 0; word < words; word++)
            merge_word(&span->bits[word].mark, from[word]);
        for (uint32_t word = 0; record->kept && word < words; word++)
            merge_word(&span->bits[word].kept, from[words + word]);
    }
    return at + sizeof *record + words * (record->kept ? 2 : 1) * sizeof(uint64_t);
}

static bool take_over(const struct result *from, const char **why)
{
    if (from->complete) {
        for (size_t at = HEADER_BYTES; at < from->bytes;)
            at = merge_span(at);
        return true;
    }
    *why = from->why != NULL ? from->why : "the snapshot was killed";
    if (from->more_room)
        snapshot.wanted = snapshot.capacity * 2;
    else
        snapshot.avoid = STOPPED_CYCLES;
    if ((from->uncopied.count != 0 || from->uncopied.too_much) &&
        !roots_note_uncopied(&from->uncopied))
        snapshot.avoid = NEVER_AGAIN;
    return false;
}

bool snapshot_finish(const char **why)
{
    struct copy_end end = copy_await(snapshot.copy);
    bool complete = false;

    if (end.exited) {
        complete = take_over(result(), why);
    } else {
        *why = "the snapshot was killed";
        snapshot.avoid = STOPPED_CYCLES;
    }
    snapshot.last = result()->totals;
    snapshot.last.cpu_ns = max_size(snapshot.last.cpu_ns, end.cpu_ns);
    give_room_back();
    return complete;
}

const struct snapshot_totals *snapshot_totals_last(void)
{
    return &snapshot.last;
}

/* Its parent may be about to read what is in the shared memory. */
void snapshot_fork_child(void)
{
    if (snapshot.shared)
        give_room_back();
}
