/* keep.c -- see keep.h */
#include "gc/keep.h"

#include <string.h>

#include "gc/mark.h"

/* The keepers are from meta_alloc: what is in their queues must be no root. */
static struct {
    struct worklist list;
    struct tracer *keeper[MARK_WORKERS];        /* atomic; kept for ever */
} keep = { .list.max_blocks = UINT32_MAX };

void keep_prepare(void)
{
    worklist_reset(&keep.list);
    for (uint32_t i = 0; i < MARK_WORKERS; i++)
        if (keep.keeper[i] != NULL)
            memset(keep.keeper[i], 0, sizeof *keep.keeper[i]);
}

struct tracer *keep_open(uint32_t index)
{
    struct tracer *keeper = keep.keeper[index];

    if (keeper == NULL)
        keeper = meta_alloc(sizeof *keeper);
    if (keeper == NULL)
        return NULL;
    store_release(&keep.keeper[index], keeper);         /* others look at its counters */
    keeper->list = &keep.list;
    keeper->role = TRACER_KEEPING;
    return work_local_open(&keep.list, &keeper->local) ? keeper : NULL;
}

/* Work is left when the cycle was abandoned. */
void keep_close(struct tracer *keeper)
{
    work_local_surrender(&keep.list, &keeper->local, true);
}

void keep_enter(void)
{
    worklist_enter(&keep.list);
}

void keep_to_closure(struct tracer *keeper)
{
    trace_to_closure(keeper);
}

bool keep_is_given_up(void)
{
    worklist_drop(&keep.list);
    return worklist_is_empty(&keep.list);
}

/* A refill marks before it allocates: loaded in the other order, what is allocated now shows its
 * mark. */
void keep_word(struct tracer *keeper, struct span *span, uint32_t word)
{
    struct slot_bits *bits = &span->bits[word];
    uint64_t alloc = load_acquire(&bits->alloc) & ~load_relaxed(&bits->freed);
    uint64_t slots = alloc & ~span_marks(span, word);

    if (slots == 0)
        return;
    store_relaxed(&bits->kept, bits->kept | slots);
    tracer_count(&keeper->kept, count_bits(slots) * span->slot_bytes);
}

/* What is kept and condemned has been traced by whoever set its bit.  A slot that was freed since stop 1
 * may be cached without a mark.  It holds nothing, but is kept: when it is handed out again, what is stored
 * into it counts as written after this look at it. */
void keep_scan_word(struct tracer *keeper, const struct span *span, uint32_t word)
{
    const struct slot_bits *bits = &span->bits[word];
    uint64_t slots = load_relaxed(&bits->kept) & load_relaxed(&bits->alloc) & ~span_marks(span, word);

    if (slots != 0)
        trace_kept(keeper, span, word, slots_without_cached(span, word, slots));
}

/* One after the other, and each to the end, as in a rescan of mark.c. */
static void scan_slots(struct tracer *keeper, const struct span *span, uint32_t word, uint64_t slots)
{
    for (; slots != 0; slots &= slots - 1) {
        trace_object(keeper, span, word * 64 + lowest_bit(slots));
        trace_own(keeper);
    }
}

static void scan_all(struct tracer *keeper)
{
    for (uint32_t id = 0; id < span_table_size(); id++) {
        const struct span *span = span_by_id(id);
        if (!span_in_use(span) || span_kind(span) == KIND_NOSCAN)
            continue;
        for (uint32_t word = 0; word * 64 < span->slots; word++)
            scan_slots(keeper, span, word, load_relaxed(&span->bits[word].kept));
    }
}

/* Where the worklist could not grow everything kept is scanned again, until that adds nothing that does not
 * fit.  What did not fit into the keeper's own blocks has gone to the shared list. */
void keep_rest(struct tracer *keeper)
{
    keep_enter();
    keep_to_closure(keeper);
    while (load_relaxed(&keep.list.overflowed)) {
        store_relaxed(&keep.list.overflowed, 0);
        keep_enter();
        scan_all(keeper);
        keep_to_closure(keeper);
    }
}

void keep_rescan(struct tracer *keeper, const struct span *span, uint32_t word, uint64_t slots,
                 uintptr_t low, uintptr_t high)
{
    for (; slots != 0; slots &= slots - 1)
        trace_again(keeper, span, word * 64 + lowest_bit(slots), low, high);
}

void keep_rescan_end(struct tracer *keeper, bool running)
{
    trace_again_end(keeper);
    if (running)
        trace_own(keeper);
}

struct keep_totals keep_totals(void)
{
    struct keep_totals sum = { 0, 0 };

    for (uint32_t i = 0; i < MARK_WORKERS; i++) {
        const struct tracer *keeper = load_acquire(&keep.keeper[i]);

        if (keeper == NULL)
            continue;
        sum.kept += load_relaxed(&keeper->kept);
        sum.scanned += load_relaxed(&keeper->scanned);
    }
    return sum;
}

void keep_limit_blocks(uint32_t blocks)
{
    keep.list.max_blocks = blocks;
}

void keep_fork_child(void)
{
    worklist_reset(&keep.list);
}
