/* Heaps that are lent: what others may do to them meanwhile, and every way in which they come back. */
#include "lend_test.h"

#include <sys/wait.h>

TestSuite(lend, .init = core_init);

/* ---- lending ---- */

Test(lend, others_empty_what_is_lent) {
    fill_magazines();
    struct heap *heap = heap_current;
    cr_assert_gt(counters.taken_bytes, 0);
    cr_assert(heap->is_dirty);
    heap_lend();
    cr_assert_eq(heap_current, &heap_none);
    cr_assert_eq(heap_lent, heap);
    others_flush();
    cr_assert_eq(counters.taken_bytes, 0);
    cr_assert_eq(counters.capacity_bytes, 0);
    cr_assert_eq(all_waiting_blocks(), 0);
    cr_assert_eq(heap->capacity_pages, 0);
    cr_assert_not(heap->is_dirty, "nothing is left to give back");
    cr_assert_eq(counters.heaps_open, 1, "it is still the thread's");
    assert_sound();
    heap_take_back();
    assert_mine(heap);
    use_much();
    assert_empty();
}

/* Magazines that have slots of their own; others unmap those. */
Test(lend, others_empty_enlarged_magazines) {
    static void *held[2000];
    unsigned c = class_of_request(64);
    fill_magazines();
    int64_t metadata = counters.metadata_bytes;
    for (unsigned round = 0; round < 40; round++) {
        for (unsigned i = 0; i < COUNT(held); i++) held[i] = core_malloc(64);
        for (unsigned i = 0; i < COUNT(held); i++) core_free(held[i]);
    }
    struct heap *heap = heap_current;
    cr_assert_gt(heap->enlarged, 0);
    cr_assert_gt(heap_waiting_blocks(c), MAGAZINE_BLOCKS);
    heap_lend();
    others_flush();
    cr_assert(heap->enlarged == 0 && heap->held_bytes == 0 && counters.held_bytes == 0);
    cr_assert_eq(counters.metadata_bytes, metadata);
    cr_assert_eq(counters.taken_bytes, 0);
    heap_take_back();
    assert_mine(heap);
    use_much();
    assert_empty();
}

Test(lend, what_is_not_lent_is_left_alone) {
    fill_magazines();
    size_t waiting = all_waiting_blocks();
    others_flush();
    cr_assert_eq(all_waiting_blocks(), waiting, "never lent");
    heap_lend();
    heap_take_back();
    others_flush();
    cr_assert_eq(all_waiting_blocks(), waiting, "taken back");
    assert_mine(heap_table[0]);
    assert_empty();
}

/* Whoever flushes forgets that the heap was lent; the next loan must say so again. */
Test(lend, each_loan_is_seen) {
    for (unsigned round = 0; round < 20; round++) {
        fill_magazines();
        for (unsigned i = 0; i < round % 4; i++) heap_lend(), heap_take_back();
        if (round % 3 == 0) others_flush();
        heap_lend();
        others_flush();
        cr_assert_eq(all_waiting_blocks(), 0, "round %u", round);
        if (round % 5 == 0) others_flush();
        heap_take_back();
        assert_mine(heap_table[0]);
    }
    assert_empty();
}

Test(lend, twice_is_once) {
    fill_magazines();
    struct heap *heap = heap_current;
    heap_lend();
    heap_lend();
    cr_assert_eq(heap_lent, heap);
    others_flush();
    heap_lend();
    heap_take_back();
    assert_mine(heap);
    heap_take_back();
    assert_mine(heap);
    assert_empty();
}

Test(lend, without_a_heap_there_is_nothing_to_lend) {
    cr_assert_eq(heap_current, &heap_none);
    heap_lend();
    heap_take_back();
    cr_assert(heap_current == &heap_none && !heap_lent);
    fill_magazines();
    heap_close();
    heap_lend();
    cr_assert(heap_current == &heap_gone && !heap_lent);
    others_flush();
    heap_take_back();
    cr_assert_eq(heap_current, &heap_gone);
    cr_assert_eq(heap_table[0]->lending, OWNED);
    assert_empty();
}

/* ---- calls while it is lent, as of a signal handler ---- */

static void *block;
static void call_malloc(void) { core_free(core_malloc(64)); }
static void call_malloc_slab(void) { core_free(core_malloc(3000)); }
static void call_calloc(void) { core_free(core_calloc(3, 700)); }
static void call_calloc_small(void) { core_free(core_calloc(1, 24)); }
static void call_memalign(void) { core_free(core_memalign(256, 100)); }
static void call_realloc(void) { block = core_realloc(block, core_usable_bytes(block) > 1000 ? 30 : 5000); }
static void call_free(void) {
    core_free(block);
    heap_lend();
    block = core_malloc(30);
}
static void call_flush(void) { heap_flush(true); }
static void call_trim(void) { core_trim(0); }
static void call_check(void) { heap_check_magazines(); }
static const struct {
    const char *name;
    void (*act)(void);
} calls[] = {
    {"malloc", call_malloc},     {"malloc of a slab's block", call_malloc_slab},
    {"calloc", call_calloc},     {"calloc of a small block", call_calloc_small},
    {"memalign", call_memalign}, {"realloc", call_realloc},
    {"free", call_free},         {"flush", call_flush},
    {"trim", call_trim},         {"check of magazines", call_check},
};

Test(lend, the_first_slow_path_takes_it_back) {
    block = core_malloc(30);
    struct heap *heap = heap_current;
    for (unsigned i = 0; i < 2 * COUNT(calls); i++) {
        fill_magazines();
        heap_lend();
        if (i % 2) others_flush();
        calls[i / 2].act();
        cr_assert_eq(heap_current, heap, "%s", calls[i / 2].name);
        assert_mine(heap);
        cr_assert_eq(heap_count, 1, "%s", calls[i / 2].name);
    }
    use_much();
    core_free(block);
    assert_empty();
}

/* A large buffer needs no magazine. */
Test(lend, large_buffers_come_and_go_meanwhile) {
    fill_magazines();
    struct heap *heap = heap_current;
    heap_lend();
    void *p = core_malloc(300000);
    others_flush();
    p = core_realloc(p, 900000);
    core_free(p);
    heap_take_back();
    assert_mine(heap);
    budget_release_to(0, RELEASE_LARGE_FIRST);
    assert_empty();
}

/* ---- marks ---- */

static void *p, *q;

static void free_again_after_the_loan(void *unused) {
    (void)unused;
    core_free(p);
    heap_flush(false);
}
/* In the magazine twice when the handler asks for it. */
static void hand_out_while_lent(void *unused) {
    (void)unused;
    core_free(p), core_free(q), core_free(p);
    heap_lend();
    for (unsigned i = 0; i < 3; i++) core_malloc(64);
}
static void hand_out_after_the_loan(void *unused) {
    (void)unused;
    core_free(p), core_free(q), core_free(p);
    heap_lend();
    heap_take_back();
    for (unsigned i = 0; i < 3; i++) core_malloc(64);
}
static void write_after_free_while_lent(void *unused) {
    (void)unused;
    core_free(p);
    heap_lend();
    *(uint64_t *)p = 12345;
    core_malloc(64);
}
/* Its page has other blocks, so the pool is still there. */
static void flush_twice_freed(void *unused) {
    (void)unused;
    core_free(p), core_free(q), core_free(p);
    heap_lend();
    heap_flush_lent();
}

static void expect_report(void (*act)(void *), const char *what) {
    char said[300];
    int status = unit_in_child(act, NULL, said, sizeof said);
    cr_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT, "%s: ended with status %x, said '%s'", what, status, said);
    cr_assert(strstr(said, "double free"), "%s: said '%s'", what, said);
}

static void make_neighbours(void) {
    for (unsigned i = 0; i < 100; i++) core_malloc(64);
    p = core_malloc(64);
    q = core_malloc(64);
}

Test(lend, block_freed_before_and_after_a_loan_is_reported) {
    make_neighbours();
    core_free(p);
    heap_lend();
    others_flush();
    heap_take_back();
    expect_report(free_again_after_the_loan, "freed again");
}

Test(lend, block_freed_twice_is_reported_after_a_loan) {
    make_neighbours();
    expect_report(hand_out_after_the_loan, "handed out");
    expect_report(flush_twice_freed, "flushed by others");
}

/* The call that takes the heap back finds blocks in it, and must look at them as malloc always does. */
Test(lend, block_freed_twice_is_not_handed_out_twice_while_lent) {
    make_neighbours();
    expect_report(hand_out_while_lent, "handed out");
}
Test(lend, block_written_to_after_its_free_is_reported_while_lent) {
    make_neighbours();
    expect_report(write_after_free_while_lent, "written to");
}
