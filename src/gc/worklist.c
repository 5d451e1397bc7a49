/* worklist.c -- see worklist.h */
#include "gc/worklist.h"

#include <string.h>

#include "base/bits.h"
#include "base/check.h"
#include "base/park.h"
#include "heap/arena.h"

_Static_assert(sizeof(struct work_block) == WORK_BLOCK_BYTES, "a block is a page");

enum {
    /* How long an idle worker looks before it sleeps.  More: work is found sooner, but
     * a machine with other things to do pays for it. */
    SPINS = 400,
    TAG_LOW_BITS = 6,           /* blocks are 64-byte aligned */
    /* An idle worker looks again after this long whatever happens: no lost wake-up may
     * hold a stopped world. */
    SLEEP_NS = 20000000,
};

/* A head is [16 bits of the counter | address | 6 bits of the counter]. */
static struct work_block *head_block(uint64_t head)
{
    return (struct work_block *)(uintptr_t)(head << 16 >> (16 + TAG_LOW_BITS) << TAG_LOW_BITS);
}

static uint64_t head_next(uint64_t head, const struct work_block *block)
{
    uint64_t tag = ((head >> 48 << TAG_LOW_BITS) | (head & ((1 << TAG_LOW_BITS) - 1))) + 1;

    return tag >> TAG_LOW_BITS << 48 | (uintptr_t)block | (tag & ((1 << TAG_LOW_BITS) - 1));
}

static void stack_push(struct work_stack *stack, struct work_block *block)
{
    uint64_t head = load_relaxed(&stack->head);

    do
        store_relaxed(&block->next, head_block(head));
    while (!cas_weak_release(&stack->head, &head, head_next(head, block)));
}

static struct work_block *stack_pop(struct work_stack *stack)
{
    uint64_t head = load_acquire(&stack->head);
    struct work_block *block;

    do {
        block = head_block(head);
        if (block == NULL)
            return NULL;
    } while (!cas_acq_rel(&stack->head, &head, head_next(head, load_relaxed(&block->next))));
    return block;
}

/* An empty block, or NULL. */
static struct work_block *block_get(struct worklist *list)
{
    struct work_block *block = stack_pop(&list->empty);

    if (block != NULL)
        return block;
    if (fetch_add_relaxed(&list->blocks, 1) >= list->max_blocks ||
        (block = meta_alloc(sizeof *block)) == NULL) {
        fetch_sub_relaxed(&list->blocks, 1);
        return NULL;
    }
    return block;
}

static void block_put(struct worklist *list, struct work_block *block)
{
    block->count = 0;
    stack_push(&list->empty, block);
}

/* A sleeper counts itself, then looks for a reason not to sleep; whoever gives a reason
 * does so, then looks at the count.  Both look by read-modify-writes of `sleepers`: whichever
 * comes second sees what the other did. */
static void wake_sleepers(struct worklist *list, int count)
{
    if (fetch_add_acq_rel(&list->sleepers, 0) == 0)
        return;
    fetch_add_acq_rel(&list->wake, 1);
    park_wake(&list->wake, count);
}

static void publish(struct worklist *list, struct work_block *block)
{
    fetch_add_acq_rel(&list->outstanding, 1);
    stack_push(&list->full, block);
    wake_sleepers(list, 1);
}

bool work_local_open(struct worklist *list, struct work_local *local)
{
    local->under = NULL;
    local->top = block_get(list);
    return local->top != NULL;
}

static void surrender(struct worklist *list, struct work_block *block, bool shaded)
{
    if (block == NULL)
        return;
    if (block->count == 0)
        block_put(list, block);
    else if (shaded)
        stack_push(&list->shaded, block);
    else
        publish(list, block);
}

void work_local_surrender(struct worklist *list, struct work_local *local, bool shaded)
{
    surrender(list, local->top, shaded);
    surrender(list, local->under, shaded);
    local->top = local->under = NULL;
}

bool worklist_take_shaded(struct worklist *list)
{
    struct work_block *block;
    bool any = false;

    while ((block = stack_pop(&list->shaded)) != NULL) {
        publish(list, block);
        any = true;
    }
    return any;
}

static void swap_blocks(struct work_local *local)
{
    struct work_block *top = local->top;

    local->top = local->under;
    local->under = top;
}

bool work_make_room(struct worklist *list, struct work_local *local)
{
    if (local->under != NULL && local->under->count < WORK_ENTRIES) {
        swap_blocks(local);
        return true;
    }
    struct work_block *fresh = block_get(list);
    if (fresh == NULL) {
        store_relaxed(&list->overflowed, 1);
        return false;
    }
    if (local->under != NULL)
        publish(list, local->under);
    local->under = local->top;
    local->top = fresh;
    return true;
}

static bool use_under(struct work_local *local)
{
    if (local->under == NULL || local->under->count == 0)
        return false;
    swap_blocks(local);
    return true;
}

bool work_refill(struct worklist *list, struct work_local *local)
{
    if (use_under(local))
        return true;
    struct work_block *block = stack_pop(&list->full);
    if (block == NULL)
        return false;
    fetch_sub_acq_rel(&list->outstanding, 1);
    block_put(list, local->top);
    local->top = block;
    return true;
}

bool work_pop_own(struct work_local *local, struct work *work)
{
    if (local->top->count == 0 && !use_under(local))
        return false;
    *work = local->top->entries[--local->top->count];
    return true;
}

/* The older half goes: it leads to more work than the newer. */
void work_share(struct worklist *list, struct work_local *local)
{
    struct work_block *top = local->top;

    if (local->under != NULL && local->under->count > 0) {
        publish(list, local->under);
        local->under = NULL;
        return;
    }
    if (top->count == 0)
        return;
    struct work_block *fresh = local->under != NULL ? local->under : block_get(list);
    if (fresh == NULL)
        return;
    local->under = NULL;
    uint32_t given = (top->count + 1) / 2;
    memcpy(fresh->entries, top->entries, given * sizeof top->entries[0]);
    fresh->count = given;
    top->count -= given;
    memmove(top->entries, top->entries + given, top->count * sizeof top->entries[0]);
    publish(list, fresh);
}

void worklist_enter(struct worklist *list)
{
    fetch_add_acq_rel(&list->outstanding, 1);
}

/* Sleeps unless there is a reason not to; see wake_sleepers. */
static void sleep_for_work(struct worklist *list)
{
    fetch_add_acq_rel(&list->sleepers, 1);
    uint32_t wake = load_acquire(&list->wake);
    if (head_block(load_acquire(&list->full.head)) == NULL && load_acquire(&list->outstanding) != 0)
        park_wait(&list->wake, wake, SLEEP_NS);
    fetch_sub_relaxed(&list->sleepers, 1);
}

/* The block's share of `outstanding` becomes the worker's. */
static bool wait_for_block(struct worklist *list, struct work_local *local)
{
    for (uint32_t i = 0;; i++) {
        struct work_block *block = stack_pop(&list->full);
        if (block != NULL) {
            block_put(list, local->top);
            local->top = block;
            return true;
        }
        if (load_acquire(&list->outstanding) == 0)
            return false;
        if (i < SPINS)
            CPU_RELAX();
        else
            sleep_for_work(list);
    }
}

bool worklist_wait(struct worklist *list, struct work_local *local)
{
    ASSERT(local->top->count == 0);
    fetch_add_relaxed(&list->hungry, 1);
    if (fetch_sub_acq_rel(&list->outstanding, 1) == 1)
        wake_sleepers(list, INT32_MAX);
    bool found = wait_for_block(list, local);
    fetch_sub_relaxed(&list->hungry, 1);
    return found;
}

void worklist_leave(struct worklist *list)
{
    if (fetch_sub_acq_rel(&list->outstanding, 1) == 1)
        wake_sleepers(list, INT32_MAX);
}

void worklist_drop(struct worklist *list)
{
    struct work_block *block;

    while ((block = stack_pop(&list->full)) != NULL) {
        block_put(list, block);
        fetch_sub_acq_rel(&list->outstanding, 1);
    }
}

void worklist_reset(struct worklist *list)
{
    struct work_block *block;

    while ((block = stack_pop(&list->full)) != NULL)
        block_put(list, block);
    while ((block = stack_pop(&list->shaded)) != NULL)
        block_put(list, block);
    store_relaxed(&list->outstanding, 0);
    store_relaxed(&list->hungry, 0);
    store_relaxed(&list->sleepers, 0);
    store_relaxed(&list->overflowed, 0);
}

bool worklist_is_empty(const struct worklist *list)
{
    return load_acquire(&list->outstanding) == 0;
}
