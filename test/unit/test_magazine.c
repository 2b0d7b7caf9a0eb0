/* When magazines are enlarged beyond what is normal for their class, and when they fall back. */
#include "unit.h"

#include "../../core/magazine.h"

TestSuite(magazine, .init = core_init);

enum { BYTES = 64, BLOCKS = 4000, LOOKS = 50 };
static void *blocks[BLOCKS];

static unsigned capacity(void) { return heap_current->desk[class_of_request(BYTES)].capacity; }
static bool is_enlarged(void) { return capacity() > MAGAZINE_BLOCKS; }

/* As a loop that builds and drops; `stride`: how far apart in the order of building they are freed. */
static void build_and_drop(unsigned rounds, unsigned stride) {
    while (rounds--) {
        for (unsigned i = 0; i < BLOCKS; i++) blocks[i] = core_malloc(BYTES);
        for (unsigned i = 0, at = 0; i < BLOCKS; i++, at = (at + stride) % BLOCKS) core_free(blocks[at]);
    }
}

Test(magazine, what_comes_right_back_enlarges_it) {
    build_and_drop(2, 1);
    cr_assert(is_enlarged());
    build_and_drop(40, 1);
    unsigned large = capacity();
    cr_assert_gt(large, 1000);
    uint64_t spills = heap_current->spills;
    build_and_drop(5, 1);
    cr_assert_leq(heap_current->spills - spills, 5 * BLOCKS / (large / 2) + 5, "few are needed any more");
    assert_sound();
}

ParameterizedTestParameters(magazine, it_holds_no_more_than_the_limit) {
    static uint32_t most[] = {0, 100, 128, 300, 1000};
    return cr_make_param_array(uint32_t, most, COUNT(most));
}
ParameterizedTest(uint32_t *most, magazine, it_holds_no_more_than_the_limit) {
    relaxed_store(&limits.enlarged_blocks, *most);
    build_and_drop(40, 1);
    cr_assert_eq(capacity(), *most > MAGAZINE_BLOCKS ? *most : MAGAZINE_BLOCKS);
}

/* A stride that has nothing in common with the number of blocks visits all, each far from the one before. */
Test(magazine, blocks_in_no_order_go_back_to_the_pools) {
    build_and_drop(40, 1);
    build_and_drop(5, 1237);
    cr_assert(is_enlarged());
    heap_flush(true);
    cr_assert_not(is_enlarged());
    for (unsigned look = 1; look < LOOKS; look++) {
        build_and_drop(10, 1);
        cr_assert_not(is_enlarged(), "after %u looks", look);
        heap_flush(true);
    }
    heap_flush(true);
    build_and_drop(40, 1);
    cr_assert(is_enlarged(), "it is tried again");
    assert_sound();
}

Test(magazine, blocks_in_order_stay) {
    build_and_drop(40, 1);
    heap_flush(true);
    build_and_drop(1, BLOCKS - 1); /* the other way round is an order, too */
    void *one = core_malloc(BYTES); /* or as many as before would look as if nothing had moved */
    heap_flush(true);
    cr_assert(is_enlarged());
    core_free(one);
}

/* Many threads with few blocks each in all small classes, which share a small heap. */
enum { THREADS = 16, LIVE = 1000, REPLACEMENTS = 20000 };
static _Atomic(uint64_t) slow_paths;
static void replace_at_random(unsigned index, void *unused) {
    (void)unused;
    void *held[LIVE];
    uint64_t random = index + 1;
    for (unsigned i = 0; i < LIVE; i++) held[i] = core_malloc(16 + unit_random(&random) % 497);
    for (unsigned i = 0; i < REPLACEMENTS; i++) {
        uint64_t place = unit_random(&random) % LIVE;
        core_free(held[place]);
        held[place] = core_malloc(16 + unit_random(&random) % 497);
    }
    for (unsigned i = 0; i < LIVE; i++) core_free(held[i]);
    atomic_fetch_add(&slow_paths, heap_current->refills + heap_current->spills);
}
Test(magazine, many_threads_stay_out_of_the_pools) {
    unit_run_threads(THREADS, replace_at_random, NULL);
    uint64_t filling = THREADS * LIVE * 2 / 7;
    cr_assert_lt(slow_paths, filling + THREADS * REPLACEMENTS * 2 / 10);
}
