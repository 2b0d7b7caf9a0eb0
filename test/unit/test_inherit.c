/* Pages that a forked child shares with its parent: what it frees there is not written to; what it takes there is its own from then on. */
#include "unit.h"

enum { BLOCKS = 1000 };
static const size_t sizes[] = {16, 48, 512, 700, 5000, 60000};

/* Blocks of one size, filled with a pattern, with those of the magazines flushed. */
static void fill(unsigned char **blocks, size_t bytes) {
    for (unsigned i = 0; i < BLOCKS; i++) blocks[i] = memset(core_malloc(bytes), 0xa5, bytes);
    heap_flush(false);
    heap_after_fork();
}

static bool is_untouched(const unsigned char *block, size_t bytes) {
    for (size_t i = 0; i < bytes; i++)
        if (block[i] != 0xa5) return false;
    return true;
}

ParameterizedTestParameters(inherit, what_is_freed_is_not_written_to) {
    static unsigned numbers[] = {0, 1, 2, 3, 4, 5};
    return cr_make_param_array(unsigned, numbers, COUNT(sizes));
}
ParameterizedTest(unsigned *number, inherit, what_is_freed_is_not_written_to) {
    static unsigned char *blocks[BLOCKS];
    size_t bytes = sizes[*number];
    unsigned class_id = class_of_request(bytes);
    fill(blocks, bytes);
    uint64_t random = 1;
    unsigned freed = 0;
    for (unsigned i = 0; i < BLOCKS; i++) {
        if (unit_random(&random) % 2) continue;
        core_free(blocks[i]);
        freed++;
        bool is_there = pagemap_class((uintptr_t)blocks[i]) == class_id;
        cr_assert(!is_there || pool_block_is_free(class_id, blocks[i]));
        /* The page of a slab's block may have gone back to the kernel. */
        if (bytes <= SMALL_MAX && is_there) cr_assert(is_untouched(blocks[i], bytes), "block %u", i);
        blocks[i] = NULL;
    }
    cr_assert_gt(freed, BLOCKS / 4);
    for (unsigned i = 0; i < BLOCKS; i++) {
        if (!blocks[i]) continue;
        cr_assert(is_untouched(blocks[i], bytes));
        core_free(blocks[i]);
    }
    cr_assert_eq(counters.taken_bytes, 0);
    assert_sound();
}

Test(inherit, a_page_that_gives_a_block_is_the_child_s_own) {
    static unsigned char *blocks[BLOCKS];
    fill(blocks, 64);
    unsigned class_id = class_of_request(64);
    cr_assert_eq(pagemap_byte((uintptr_t)blocks[500]), class_id | PAGE_INHERITED);
    core_free(blocks[500]);
    void *p = NULL;
    for (unsigned i = 0; i < BLOCKS && p != blocks[500]; i++) p = core_malloc(64);
    cr_assert_eq(p, blocks[500]);
    cr_assert_eq(pagemap_byte((uintptr_t)p), class_id);
    core_free(p);
    cr_assert(heap_holds(class_id, p), "now it goes to the magazine");
    assert_sound();
}

Test(inherit, a_page_that_is_begun_anew_is_not_inherited) {
    static unsigned char *blocks[BLOCKS];
    fill(blocks, 512);
    for (unsigned i = 0; i < BLOCKS; i++) core_free(blocks[i]);
    for (unsigned i = 0; i < BLOCKS; i++) {
        void *p = core_malloc(100);
        cr_assert_eq(pagemap_byte((uintptr_t)p), class_of_request(100));
    }
    assert_sound();
}

Test(inherit, realloc_moves_and_sizes_are_told) {
    static unsigned char *blocks[BLOCKS];
    fill(blocks, 64);
    cr_assert_eq(core_usable_bytes(blocks[3]), 64);
    cr_assert_eq(core_realloc(blocks[3], 60), blocks[3]);
    unsigned char *p = core_realloc(blocks[3], 600);
    cr_assert(p != blocks[3] && is_untouched(p, 64));
    cr_assert(pool_block_is_free(class_of_request(64), blocks[3]));
}

/* What waited in the forking thread's magazine, in shared pages. */
Test(inherit, magazines_go_on) {
    void *p = core_malloc(64), *q = core_malloc(64);
    core_free(p);
    heap_after_fork();
    cr_assert_eq(core_malloc(64), p);
    core_free(q);
    cr_assert(pool_block_is_free(class_of_request(64), q));
    core_free(p);
    heap_flush(false);
    cr_assert_eq(counters.taken_bytes, 0);
    assert_sound();
}

static void churn_after_fork(unsigned index, void *context) {
    struct unit_churn *churn = (struct unit_churn *)context + index;
    for (unsigned i = 0; i < 20000; i++) unit_churn_step(churn);
    unit_churn_end(churn);
}
/* Blocks from before, threads from after. */
Test(inherit, threads_share_inherited_pages) {
    static struct unit_churn churns[4];
    for (unsigned i = 0; i < COUNT(churns); i++) {
        churns[i] = (struct unit_churn){.random = i + 1, .most_bytes = 3000};
        for (unsigned n = 0; n < 5000; n++) unit_churn_step(&churns[i]);
    }
    heap_after_fork();
    unit_run_threads(COUNT(churns), churn_after_fork, churns);
    for (unsigned i = 0; i < COUNT(churns); i++) cr_assert_null(churns[i].fault, "%s", churns[i].fault);
    heap_flush(false);
    cr_assert_eq(counters.taken_bytes, 0);
    assert_sound();
}
