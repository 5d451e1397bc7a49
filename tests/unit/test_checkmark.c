/* test_checkmark.c -- the two that check the collector: they must find what is wrong
 *
 * What must die does so in a forked child, which says why through a pipe.  Each plant breaks
 * one thing in the child's copy of a heap that was just found healthy.
 */
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/check.h"
#include "fake_world.h"
#include "gc/checkmark.h"
#include "gc/dirty.h"
#include "gc/distance.h"
#include "gc/verify.h"
#include "os/vm.h"

static char said[4096];

/* Runs the body in a child; true when that aborted.  `said` is what it wrote to stderr. */
static bool dies(void (*body)(void))
{
    int ends[2], status;
    size_t length = 0;
    ssize_t got;

    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();

    if (child == 0) {
        signal(SIGABRT, SIG_DFL);
        dup2(ends[1], 2);
        body();
        _exit(0);
    }
    close(ends[1]);
    while ((got = read(ends[0], said + length, sizeof said - 1 - length)) > 0)
        length += (size_t)got;
    said[length] = 0;
    close(ends[0]);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status) || WEXITSTATUS(status) == 0);
    return WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT;
}

static void assert_dies_saying(void (*body)(void), const char *text)
{
    if (!dies(body))
        fail_msg("did not die: \"%s\" was expected", text);
    if (strstr(said, text) == NULL)
        fail_msg("died of \"%s\", not of \"%s\"", said, text);
}

static void assert_silent(void (*body)(void))
{
    if (dies(body) || said[0] != 0)
        fail_msg("said \"%s\"", said);
}

/* --- marks ----------------------------------------------------------------------- */

/* A marking that has missed nothing: of every word of every span. */
static void set_marks(bool value)
{
    for (uint32_t id = 0; id < span_table_size(); id++) {
        struct span *span = span_by_id(id);
        for (uint32_t w = 0; span_in_use(span) && w * 64 < span->slots; w++) {
            span->bits[w].mark = value ? span_objects(span, w) : 0;
            span->bits[w].black = span->bits[w].kept = 0;
        }
    }
}

static struct object object_of(const void *address)
{
    struct object object = object_at((uintptr_t)address);

    assert_non_null(object.span);
    return object;
}

static void unmark(const void *address)
{
    struct object object = object_of(address);

    object.span->bits[object.slot / 64].mark &= ~(1ull << object.slot % 64);
    object.span->bits[object.slot / 64].black &= ~(1ull << object.slot % 64);
}

static int setup(void **state)
{
    (void)state;
    fake_clear_roots();
    fake_stop_fails = fake_roots_fail = false;
    options.mode = MODE_COLLECT;
    set_marks(false);
    fake_flush_all();
    fake_open_magazines();
    assert_true(checkmark_prepare());
    return 0;
}

/* --- checkmark: what is missed ----------------------------------------------------- */

static void test_nothing_missed(void **state)
{
    uintptr_t *list = fake_alloc(KIND_MALLOC, 100000);

    (void)state;
    fake_roots[9] = (uintptr_t)list;
    for (int i = 0; i < 100000; i++) {
        uintptr_t *next = fake_alloc((enum kind)(i % 2), 16 + (size_t)i % 500);
        *list = (uintptr_t)next;
        list = next;
    }
    set_marks(true);
    assert_silent(checkmark_stopped);
    checkmark_stopped();
    unmark(list);
    assert_dies_saying(checkmark_stopped, "gccheckmark: missed object");
}

/* The real marking, by whoever runs cycles. */
static void test_after_a_cycle(void **state)
{
    uintptr_t *holder = fake_alloc(KIND_MALLOC, 300), *held = fake_alloc(KIND_GC, 40);

    (void)state;
    fake_roots[100] = (uintptr_t)holder;
    holder[30] = (uintptr_t)held + 7;
    fake_mark();
    assert_silent(checkmark_stopped);
    unmark(held);
    assert_dies_saying(checkmark_stopped, "(320 bytes, malloc) at offset 240");
    span_mark(object_of(held).span, object_of(held).slot);
    sweep_all();
}

static void test_message_names_object_holder_and_offset(void **state)
{
    char expected[200];
    uintptr_t *holder = fake_alloc(KIND_MALLOC, 128), *missed = fake_alloc(KIND_GC, 64);

    (void)state;
    fake_roots[5] = (uintptr_t)holder + 3;
    holder[3] = (uintptr_t)missed + 63;
    set_marks(true);
    unmark(missed);
    snprintf(expected, sizeof expected,
             "libgcalloc: gccheckmark: missed object %p (64 bytes, gc_alloc): reached from "
             "%p (128 bytes, malloc) at offset 24\n",
             (void *)missed, (void *)holder);
    assert_dies_saying(checkmark_stopped, expected);
}

static void test_missed_at_a_distance(void **state)
{
    uintptr_t *holder = fake_alloc(KIND_MALLOC, 128), *missed = fake_alloc(KIND_MALLOC, 64);

    (void)state;
    fake_roots[5] = (uintptr_t)holder;
    holder[3] = (uintptr_t)missed - (uintptr_t)holder;
    set_marks(true);
    unmark(missed);
    assert_silent(checkmark_stopped);
    distance_followed = 1;
    assert_dies_saying(checkmark_stopped, "(128 bytes, malloc) at offset 24\n");
    distance_followed = 0;
}

static void test_missed_from_roots(void **state)
{
    void *object = fake_alloc(KIND_NOSCAN, 64);

    (void)state;
    set_marks(true);
    unmark(object);
    assert_silent(checkmark_stopped);
    fake_stack[7] = (uintptr_t)object + 64;     /* one past the end */
    assert_dies_saying(checkmark_stopped,
                       "(64 bytes, gc_alloc_noscan): reached from a root in stack/registers (word");
    fake_stack[7] = 0;
    fake_roots[7] = (uintptr_t)object + 64;
    assert_silent(checkmark_stopped);
    fake_roots[7] = (uintptr_t)object | 0xfff9000000000000;
    assert_dies_saying(checkmark_stopped, "reached from a root in data (at 0x");
}

/* The kernel may push a frame there while the world is stopped. */
static void test_below_a_parked_threads_stack_pointer(void **state)
{
    void *object = fake_alloc(KIND_NOSCAN, 64);

    (void)state;
    set_marks(true);
    unmark(object);
    fake_stopped.sp = (uintptr_t)&fake_stack[8];
    fake_stack[7] = (uintptr_t)object;
    assert_silent(checkmark_stopped);
    fake_stack[8] = (uintptr_t)object;
    assert_dies_saying(checkmark_stopped, "reached from a root in stack/registers (word");
    fake_stack[8] = 0;
    fake_stopped.frame_low = fake_stopped.frame_high = fake_stopped.sp;
    assert_dies_saying(checkmark_stopped, "reached from a root in stack/registers (word");
    fake_stopped.frame_low = fake_stopped.frame_high = 0;
}

static void test_kept_is_not_marked(void **state)
{
    struct object object = object_of(fake_alloc(KIND_GC, 64));

    (void)state;
    fake_roots[7] = span_slot_address(object.span, object.slot);
    set_marks(true);
    object.span->bits[object.slot / 64].mark &= ~(1ull << object.slot % 64);
    object.span->bits[object.slot / 64].kept |= 1ull << object.slot % 64;
    assert_dies_saying(checkmark_stopped, "; it is kept, but not marked\n");
}

/* What hides pointers hides them from the check too. */
static void test_what_holds_nothing(void **state)
{
    uintptr_t *noscan = fake_alloc(KIND_NOSCAN, 64), *cached = fake_alloc(KIND_MALLOC, 64);
    void *object = fake_alloc(KIND_GC, 64);

    (void)state;
    noscan[1] = cached[1] = (uintptr_t)object;
    fake_roots[0] = (uintptr_t)noscan;
    fake_roots[1] = (uintptr_t)cached;
    set_marks(true);
    unmark(object);
    assert_dies_saying(checkmark_stopped, "(64 bytes, malloc) at offset 8");
    assert_true(fast_push(&fake_threads[0].cache, cached));
    assert_silent(checkmark_stopped);
}

static size_t resident_pages(const void *address, size_t bytes)
{
    static unsigned char resident[64 << 10];
    size_t count = 0;

    assert_true(vm_resident(address, bytes, resident));
    for (size_t i = 0; i < bytes / VM_PAGE; i++)
        count += resident[i] & 1;
    return count;
}

static void check_large_in_child(void)
{
    const void *large = (const void *)fake_roots[3];

    checkmark_stopped();
    if (resident_pages(large, 32 << 20) > 4)
        die("read what was never written");
}

static void test_large_objects(void **state)
{
    enum { BYTES = 32 << 20 };
    bool zeroed;
    void *missed = fake_alloc(KIND_GC, 32);
    struct span *span = pages_alloc_large(KIND_GC, BYTES, 1, sweep_generation, &zeroed);

    (void)state;
    assert_non_null(span);
    assert_true(vm_release((void *)span->base, BYTES));
    ((uintptr_t *)span->base)[BYTES / 8 - 1] = (uintptr_t)missed;
    fake_roots[3] = span->base;
    set_marks(true);
    assert_silent(check_large_in_child);
    unmark(missed);
    assert_dies_saying(checkmark_stopped, "(33554432 bytes, gc_alloc) at offset 33554424");
}

/* The kernel does not say any more whether something is swapped out. */
static void silence_sysinfo(void)
{
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_sysinfo, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = { sizeof filter / sizeof filter[0], filter };

    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
        prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0)
        die("no filter");
}

static void mark_large_in_child(void)
{
    enum { BYTES = 8 << 20 };
    bool zeroed;
    struct span *span = pages_alloc_large(KIND_GC, BYTES, 1, sweep_generation, &zeroed);

    fake_roots[4] = span->base;
    fake_own_task = true;
    fake_running = silence_sysinfo;
    vm_release((void *)span->base, BYTES);
    fake_mark();
    if (resident_pages((void *)span->base, BYTES) != BYTES / VM_PAGE)
        die("what may be swapped out was not read");
}

/* Swapping begins while a cycle marks. */
static void test_absent_pages_are_read_when_in_doubt(void **state)
{
    (void)state;
    if (!dirty_open()) {
        print_message("SKIP: swapping that begins while a cycle marks: no userfaultfd here (Linux 6.7)\n");
        return;
    }
    dirty_close();
    assert_silent(mark_large_in_child);
}

static void test_manual_mode(void **state)
{
    uintptr_t *block = fake_alloc(KIND_MALLOC, 256), *held = fake_alloc(KIND_GC, 256);

    (void)state;
    block[31] = (uintptr_t)held;
    set_marks(true);
    unmark(held);
    assert_silent(checkmark_stopped);
    options.mode = MODE_MANUAL;
    assert_dies_saying(checkmark_stopped, "(256 bytes, malloc) at offset 248");
    set_marks(true);
    unmark(block);
    assert_dies_saying(checkmark_stopped, "malloc blocks are roots in mode manual");
}

static void test_unreadable_roots_accuse_nobody(void **state)
{
    (void)state;
    set_marks(true);
    fake_roots_fail = true;
    assert_false(dies(checkmark_stopped));
    assert_non_null(strstr(said, "gccheckmark: this cycle is not checked: told to fail"));
}

/* The memory was reserved before most of the spans were there. */
static void test_spans_younger_than_prepare(void **state)
{
    enum { OBJECTS = 30000 };
    uintptr_t *holder = fake_alloc(KIND_GC, OBJECTS * 8);

    (void)state;
    fake_roots[0] = (uintptr_t)holder;
    assert_true(checkmark_prepare());
    for (int i = 0; i < OBJECTS; i++)
        holder[i] = (uintptr_t)fake_alloc(KIND_GC, 3072);
    set_marks(true);
    checkmark_stopped();
    unmark((void *)holder[OBJECTS - 1]);
    assert_dies_saying(checkmark_stopped, "(3072 bytes, gc_alloc): reached from");
}

/* --- checkmark: marks of a snapshot ------------------------------------------------- */

static void test_snapshot(void **state)
{
    uintptr_t *holder = fake_alloc(KIND_MALLOC, 512);
    struct object freed = object_of(fake_alloc(KIND_MALLOC, 512));
    void *dropped = fake_alloc(KIND_GC, 512);

    (void)state;
    fake_roots[0] = (uintptr_t)holder;
    fake_roots[1] = span_slot_address(freed.span, freed.slot);
    holder[0] = (uintptr_t)dropped;
    checkmark_record_stopped();
    /* The program goes on. */
    fake_roots[2] = (uintptr_t)fake_alloc(KIND_GC, 20000);
    holder[0] = fake_roots[1] = 0;
    set_marks(true);
    unmark((void *)fake_roots[2]);
    freed.span->slot_state[freed.slot] = SLOT_IN;
    freed.span->bits[freed.slot / 64].mark &= ~(1ull << freed.slot % 64);
    assert_silent(checkmark_compare_stopped);
    unmark(dropped);
    assert_dies_saying(checkmark_compare_stopped,
                       "(512 bytes, gc_alloc): reached from the roots of the snapshot\n");
    freed.span->slot_state[freed.slot] = SLOT_OUT;
}

/* --- verify --------------------------------------------------------------------------- */

static void verify_idle(void)
{
    verify_stopped(false);
}

static void verify_marking(void)
{
    verify_stopped(true);
}

static void close_magazines(void)
{
    for (int i = 0; i < FAKE_THREADS; i++)
        mcache_close(&fake_threads[i].cache);
}

static void test_healthy_heaps(void **state)
{
    (void)state;
    for (int i = 0; i < 20000; i++) {
        enum kind kind = (enum kind)(i % KINDS);
        size_t bytes = (size_t)(i * 37) % (i % 50 == 0 ? 3 * SMALL_MAX : 1000) + 1;
        void *object = bytes > SMALL_MAX ? fake_alloc(kind, bytes)
                                         : fake_alloc_on(&fake_threads[i % 4], kind, bytes);
        if (i % 3 == 0 && bytes <= SMALL_MAX)
            fast_push(&fake_threads[i % 2].cache, object);
        if (i % 7 == 0)
            fake_roots[i] = (uintptr_t)object;
    }
    assert_silent(verify_idle);
    verify_idle();
    set_marks(true);
    close_magazines();
    assert_silent(verify_marking);
    assert_dies_saying(verify_idle, "has a mark bit, but no cycle marks");
    set_marks(false);
    for (int i = 0; i < 3; i++) {
        fake_collect();
        assert_silent(verify_idle);
    }
    fake_flush_all();
    mcache_abandon(&fake_threads[3].cache);
    assert_silent(verify_idle);
}

/* I3: stopped between two instructions of malloc or free. */
static void test_slots_in_flight(void **state)
{
    unsigned class = span_class_of(KIND_MALLOC, sizeclass_of(80));
    struct mcache *cache = &fake_threads[0].cache;
    uint32_t fill;
    struct object object = object_of(fake_alloc(KIND_MALLOC, 80));
    uint8_t *slot_state = &object.span->slot_state[object.slot];

    (void)state;
    fill = magazine_fill(cache, class);
    assert_ptr_equal(magazine_entry(cache, class, fill)->state, slot_state);
    *slot_state = SLOT_IN;              /* counted, not yet the program's */
    assert_silent(verify_idle);
    magazine_set_fill(cache, class, fill + 1);  /* taken, not yet counted */
    assert_silent(verify_idle);
    *slot_state = SLOT_OUT;
    assert_silent(verify_idle);
    magazine_set_fill(cache, class, fill);
    assert_silent(verify_idle);
}

/* The same of a strip: not counted any more, not yet the program's.  But one at a time. */
static void test_slots_in_flight_from_a_strip(void **state)
{
    struct object first = object_of(fake_alloc(KIND_GC, 80));
    struct object last = object_of(fake_alloc(KIND_GC, 80));

    (void)state;
    last.span->slot_state[last.slot] = SLOT_IN;
    assert_silent(verify_idle);
    first.span->slot_state[first.slot] = SLOT_IN;
    assert_dies_saying(verify_idle, "lost: allocated, but neither the program's nor in a magazine");
    first.span->slot_state[first.slot] = last.span->slot_state[last.slot] = SLOT_OUT;
}

/* What is broken in the children. */
static struct span *victim, *large;
static uint32_t victim_slot;
static struct cached *victim_magazine;  /* its entries */
static struct strip *victim_strip;      /* of another class */

static uint64_t victim_bit(void)
{
    return 1ull << victim_slot % 64;
}

static struct slot_bits *victim_bits(void)
{
    return &victim->bits[victim_slot / 64];
}

#define PLANT(name, ...)                \
    static void plant_##name(void)      \
    {                                   \
        __VA_ARGS__;                    \
        verify_idle();                  \
    }

PLANT(lost, victim->slot_state[victim_slot] = SLOT_IN)
PLANT(free_but_out, victim_bits()->alloc &= ~victim_bit())
PLANT(freed_but_out, victim_bits()->freed |= victim_bit(); victim->live--)
PLANT(freed_only, victim_bits()->alloc &= ~victim_bit(); victim_bits()->freed |= victim_bit())
PLANT(both, victim_bits()->condemned |= victim_bit())
PLANT(half_condemned, victim_bits()->alloc &= ~victim_bit();
      victim_bits()->condemned |= victim_bit())
PLANT(condemned_state, victim->slot_state[victim_slot] = SLOT_CONDEMNED)
PLANT(state, victim->slot_state[victim_slot] = 7)
PLANT(kept, victim->bits[victim_slot / 64].kept |= victim_bit())
PLANT(past_the_end, victim->bits[victim->words - 1].freed |= 1ull << 63)
PLANT(live, victim->live++)
PLANT(shape, victim->pages++)
PLANT(unswept, victim->sweepgen -= 2)
PLANT(unclaimed, victim->claimed = 0)
PLANT(page_map, arena.pagemap[heap_offset(victim->base) >> PAGE_SHIFT] += 1)
PLANT(page_map_end, size_t page = (heap_offset(large->base) >> PAGE_SHIFT) + large->pages - 1;
      arena.pagemap[page] = make_entry(victim, 0))
PLANT(large_idle, large->claimed = 0)
PLANT(large_grown, large->requested = large->slot_bytes + 1)
PLANT(large_freed, large->slot_state[0] = SLOT_IN)
PLANT(large_is_small, large->state = SPAN_SMALL)
PLANT(no_owner, fake_threads[0].cache.classes[victim->span_class].current = NULL)
PLANT(two_lists, fake_threads[1].cache.classes[victim->span_class].taken = victim)
PLANT(wrong_list, fake_threads[1].cache.classes[victim->span_class + 1].taken = victim)
PLANT(no_span, fake_threads[1].cache.classes[3].taken = (struct span *)fake_roots)
PLANT(circle, central[victim->span_class].head = victim; victim->next = victim;
      fake_threads[0].cache.classes[victim->span_class].current = NULL)
PLANT(cached_twice, victim_magazine[0] = victim_magazine[1])
PLANT(cached_elsewhere, struct mcache *other = &fake_threads[1].cache;
      *magazine_entry(other, victim->span_class, 0) = victim_magazine[0];
      magazine_set_fill(other, victim->span_class, 1))
PLANT(two_outboxes, *outbox_entry(&fake_threads[1].cache, 0) = victim_magazine[0];
      fake_threads[1].cache.outbox.top = fake_threads[1].cache.entries_end + sizeof(struct cached);
      fake_threads[1].cache.outbox.room = 1)
PLANT(outbox_top, fake_threads[1].cache.outbox.top = 8)
PLANT(bundle, fake_threads[1].cache.bundles[1].span = victim)
PLANT(cached_and_out, *victim_magazine[0].state = SLOT_OUT)
PLANT(cached_condemned,
      uint32_t slot = (uint32_t)(victim_magazine[0].state - victim->slot_state);
      victim->bits[slot / 64].alloc &= ~(1ull << slot % 64);
      victim->bits[slot / 64].condemned |= 1ull << slot % 64)
PLANT(cached_free, uint32_t slot =
          (uint32_t)(victim_magazine[0].state - victim->slot_state);
      victim->bits[slot / 64].alloc &= ~(1ull << slot % 64))
PLANT(cached_interior,
      victim_magazine[0].slot = (char *)victim_magazine[0].slot + 8)
PLANT(cached_state, victim_magazine[0].state++)
PLANT(overfull, magazine_set_fill(&fake_threads[0].cache, victim->span_class, 100000))
PLANT(not_empty, victim_magazine[-1].slot = fake_roots)
PLANT(strip_and_out, victim_strip->states[lowest_bit(victim_strip->free)] = SLOT_OUT)
PLANT(strip_free, struct span *span = span_of(victim_strip->first);
      span->bits[(victim_strip->states - span->slot_state) / 64].alloc &= ~victim_strip->free)
PLANT(strip_freed, struct span *span = span_of(victim_strip->first);
      span->bits[(victim_strip->states - span->slot_state) / 64].freed |= victim_strip->free)
PLANT(strip_twice, struct mcache *other = &fake_threads[1].cache;
      other->strips[victim_strip - fake_threads[0].cache.strips] = *victim_strip;
      other->strips_used = true)
PLANT(strip_elsewhere, victim_strip->first += victim_strip->slot_bytes)
PLANT(strip_states, victim_strip->states++)
PLANT(totals, large->state = SPAN_UNUSED)

static const struct {
    void (*plant)(void);
    const char *message;
} plants[] = {
    { plant_lost, "lost: allocated, but neither the program's nor in a magazine" },
    { plant_free_but_out, "in the program's hands, but free in its span" },
    { plant_freed_but_out, "in the program's hands, but its freed bit is set" },
    { plant_freed_only, "is freed, but was not allocated" },
    { plant_both, "is both allocated and condemned" },
    { plant_half_condemned, "condemned, but can be freed the fast way" },
    { plant_condemned_state, "its state says condemned, its bits do not" },
    { plant_state, "its state byte is none" },
    { plant_kept, "has a kept bit, but no cycle marks" },
    { plant_past_the_end, "has bits, but is past the last slot" },
    { plant_live, "its live count is not what its bits say" },
    { plant_shape, "not as its class says" },
    { plant_unswept, "not swept" },
    { plant_unclaimed, "on a list, but idle" },
    { plant_page_map, "a page of it maps to another class" },
    { plant_page_map_end, "a page of it maps to another span" },
    { plant_large_idle, "large, but idle" },
    { plant_large_grown, "larger than its pages" },
    { plant_large_freed, "lost: allocated, but neither" },
    { plant_large_is_small, "small, with a large class" },
    { plant_no_owner, "claimed, but nobody has it and it is on no list" },
    { plant_two_lists, "on two lists" },
    { plant_wrong_list, "on a list of another class" },
    { plant_no_span, "is no span" },
    { plant_circle, "on two lists" },
    { plant_cached_twice, "is in two magazines" },
    { plant_cached_elsewhere, "is in two magazines" },
    { plant_two_outboxes, "is in two magazines" },
    { plant_outbox_top, ": top " },
    { plant_bundle, "bundle 1 is not empty" },
    { plant_cached_and_out, "is in a magazine, but in the program's hands" },
    { plant_cached_condemned, "is in a magazine, but condemned" },
    { plant_cached_free, "is in a magazine, but free in its span" },
    { plant_cached_interior, "names no slot of its class" },
    { plant_cached_state, "names no slot of its class" },
    { plant_overfull, ": top " },
    { plant_not_empty, "its empty entry is not empty" },
    { plant_strip_and_out, "is in a strip, but in the program's hands" },
    { plant_strip_free, "is in a strip, but free in its span" },
    { plant_strip_freed, "is in a strip, but its freed bit is set" },
    { plant_strip_twice, "is in two strips" },
    { plant_strip_elsewhere, "no word of a span of its class" },
    { plant_strip_states, "no word of a span of its class" },
    { plant_totals, "the page heap counts" },
};

/* A span with slots in the program's hands, in a magazine and free. */
static void make_victim(void)
{
    void *object = fake_alloc(KIND_MALLOC, 208);

    fake_alloc(KIND_MALLOC, 208);
    victim = object_of(object).span;
    victim_slot = object_of(object).slot;
    victim_magazine = magazine_entry(&fake_threads[0].cache, victim->span_class, 0);
    assert_ptr_equal(fake_threads[0].cache.classes[victim->span_class].current, victim);
    assert_true(magazine_fill(&fake_threads[0].cache, victim->span_class) >= 4);
    large = object_of(fake_alloc(KIND_MALLOC, SMALL_MAX + 100000)).span;
    unsigned class = object_of(fake_alloc(KIND_GC, 208)).span->span_class;
    victim_strip = mcache_strip(&fake_threads[0].cache, class);
    while (mcache_cached(&fake_threads[0].cache, class) < 2)
        fake_alloc(KIND_GC, 208);
}

static void test_everything_planted_is_found(void **state)
{
    (void)state;
    make_victim();
    assert_silent(verify_idle);
    for (size_t i = 0; i < sizeof plants / sizeof plants[0]; i++) {
        assert_dies_saying(plants[i].plant, plants[i].message);
        assert_non_null(strstr(said, "libgcalloc: verify: "));
    }
    assert_silent(verify_idle);
}

static void test_message_names_span_and_slot(void **state)
{
    char expected[200];

    (void)state;
    make_victim();
    snprintf(expected, sizeof expected, "verify: span %u at %p (class %u, %u slots of 208 bytes), "
                                        "slot %u at %p (state 1): is both",
             victim->id, (void *)victim->base, (unsigned)victim->span_class, victim->slots,
             victim_slot, (void *)span_slot_address(victim, victim_slot));
    assert_dies_saying(plant_both, expected);
}

/* I2. */
static void test_cached_slots_are_marked(void **state)
{
    (void)state;
    make_victim();
    set_marks(true);
    assert_silent(verify_marking);
    span_free_black = 1;
    assert_dies_saying(verify_marking, "open for frees while a copy marks");
    close_magazines();
    assert_silent(verify_marking);
    span_free_black = 0;
    unmark(victim_magazine[0].slot);
    assert_dies_saying(verify_marking, "in a magazine, but not marked");
    set_marks(true);
    unmark((void *)(victim_strip->first + lowest_bit(victim_strip->free) * victim_strip->slot_bytes));
    assert_dies_saying(verify_marking, "in a magazine, but not marked");
    set_marks(true);
    void *object = fake_alloc(KIND_MALLOC, 208);
    struct object foreign = object_of(object);

    foreign.span->slot_state[foreign.slot] = SLOT_IN;
    mcache_push(&fake_threads[1].cache, foreign.span,
                (struct cached){ object, &foreign.span->slot_state[foreign.slot] });
    assert_int_equal(outbox_fill(&fake_threads[1].cache), 1);
    span_free_black = 1;
    assert_dies_saying(verify_marking, "open for frees while a copy marks");
    close_magazines();
    span_free_black = 0;
    unmark(object);
    assert_dies_saying(verify_marking, "in a magazine, but not marked");
}

#define TEST(f) cmocka_unit_test_setup(f, setup)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_nothing_missed),
        TEST(test_after_a_cycle),
        TEST(test_message_names_object_holder_and_offset),
        TEST(test_missed_at_a_distance),
        TEST(test_missed_from_roots),
        TEST(test_below_a_parked_threads_stack_pointer),
        TEST(test_kept_is_not_marked),
        TEST(test_what_holds_nothing),
        TEST(test_large_objects),
        TEST(test_absent_pages_are_read_when_in_doubt),
        TEST(test_manual_mode),
        TEST(test_unreadable_roots_accuse_nobody),
        TEST(test_spans_younger_than_prepare),
        TEST(test_snapshot),
        TEST(test_healthy_heaps),
        TEST(test_slots_in_flight),
        TEST(test_slots_in_flight_from_a_strip),
        TEST(test_everything_planted_is_found),
        TEST(test_message_names_span_and_slot),
        TEST(test_cached_slots_are_marked),
    };

    fake_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
