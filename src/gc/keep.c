/* keep.c -- see keep.h */
#include "gc/keep.h"

#include <string.h>

#include "gc/trace.h"

static struct {
    struct worklist list;
    struct tracer *tracer;      /* from meta_alloc: what is in its queue must be no root */
    bool open;                  /* the tracer has its blocks */
    bool used;                  /* kept something in this cycle */
} keeper = { .list.max_blocks = UINT32_MAX };

bool keep_prepare(void)
{
    keep_end();
    if (keeper.tracer == NULL)
        keeper.tracer = meta_alloc(sizeof *keeper.tracer);
    if (keeper.tracer == NULL)
        return false;
    worklist_reset(&keeper.list);
    memset(keeper.tracer, 0, sizeof *keeper.tracer);
    keeper.tracer->list = &keeper.list;
    keeper.tracer->role = TRACER_KEEPING;
    keeper.used = false;
    keeper.open = work_local_open(&keeper.list, &keeper.tracer->local);
    return keeper.open;
}

void keep_end(void)
{
    if (keeper.open)
        work_local_surrender(&keeper.list, &keeper.tracer->local, true);
    keeper.open = false;
}

static void scan_slots(const struct span *span, uint32_t word, uint64_t slots)
{
    for (; slots != 0; slots &= slots - 1) {
        trace_object(keeper.tracer, span, word * 64 + lowest_bit(slots));
        trace_own(keeper.tracer);
    }
}

/* A refill marks before it allocates: loaded in the other order, what is allocated now shows its
 * mark.  A slot that was freed since stop 1 may be cached without one.  It holds nothing, but is kept: when
 * it is handed out again, what is stored into it counts as written after this look at it. */
static void keep_word(struct span *span, uint32_t word)
{
    struct slot_bits *bits = &span->bits[word];
    uint64_t alloc = load_acquire(&bits->alloc) & ~load_relaxed(&bits->freed);
    uint64_t slots = alloc & ~span_marks(span, word) & ~load_relaxed(&bits->kept);

    if (slots == 0)
        return;
    store_relaxed(&bits->kept, bits->kept | slots);
    tracer_count(&keeper.tracer->kept, count_bits(slots) * span->slot_bytes);
    scan_slots(span, word, slots_without_cached(span, word, slots));
}

/* The worklist could not grow: everything kept is scanned again, until that adds nothing that
 * does not fit. */
static void rescan_all(void)
{
    while (load_relaxed(&keeper.list.overflowed)) {
        store_relaxed(&keeper.list.overflowed, 0);
        for (uint32_t id = 0; id < span_table_size(); id++) {
            const struct span *span = span_by_id(id);
            if (!span_in_use(span) || span_kind(span) == KIND_NOSCAN)
                continue;
            for (uint32_t word = 0; word * 64 < span->slots; word++)
                scan_slots(span, word, load_relaxed(&span->bits[word].kept));
        }
    }
}

void keep_trace(void)
{
    if (!keeper.used)
        return;
    worklist_enter(&keeper.list);
    trace_to_closure(keeper.tracer);
    rescan_all();
}

void keep_unmarked(void)
{
    keeper.used = true;
    for (uint32_t id = 0; id < span_table_size(); id++) {
        struct span *span = span_by_id(id);
        if (!span_in_use(span) || span_kind(span) != KIND_MALLOC)
            continue;
        for (uint32_t word = 0; word * 64 < span->slots; word++)
            keep_word(span, word);
    }
    keep_trace();
}

void keep_rescan(const struct span *span, uint32_t word, uint64_t slots, uintptr_t low,
                 uintptr_t high)
{
    for (; slots != 0; slots &= slots - 1)
        trace_object_part(keeper.tracer, span, word * 64 + lowest_bit(slots), low, high);
    trace_own(keeper.tracer);
}

uint64_t keep_bytes(void)
{
    return keeper.tracer != NULL ? load_relaxed(&keeper.tracer->kept) : 0;
}

uint64_t keep_scanned(void)
{
    return keeper.tracer != NULL ? load_relaxed(&keeper.tracer->scanned) : 0;
}

void keep_limit_blocks(uint32_t blocks)
{
    keeper.list.max_blocks = blocks;
}

void keep_fork_child(void)
{
    keeper.open = false;
    worklist_reset(&keeper.list);
}
