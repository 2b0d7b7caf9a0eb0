/* What the tests of lent heaps share. */
#ifndef LOWTIDE_LEND_TEST_H
#define LOWTIDE_LEND_TEST_H

#include "unit.h"

#include "../../core/lend.h"

/* heap.lending when nobody else may touch the heap, and while another thread is at work on it (core/lend.c). */
enum { OWNED = 0, TENDED = 3 };

static const size_t lend_sizes[] = {16, 64, 300, 512, 600, 3000, 20000};
enum { EACH = 40 };

static inline void fill_magazines(void) {
    void *p[EACH];
    for (unsigned s = 0; s < COUNT(lend_sizes); s++) {
        for (unsigned i = 0; i < EACH; i++) memset(p[i] = core_malloc(lend_sizes[s]), 1, 16);
        for (unsigned i = 0; i < EACH; i++) core_free(p[i]);
    }
}

static inline void flush_lent(unsigned index, void *context) {
    (void)index, (void)context;
    heap_flush_lent();
}
static inline void others_flush(void) { unit_run_threads(1, flush_lent, NULL); }

static inline size_t all_waiting_blocks(void) {
    size_t blocks = 0;
    for (unsigned c = 1; c < CLASSES; c++) blocks += heap_waiting_blocks(c);
    return blocks;
}

static inline void assert_mine(struct heap *heap) {
    cr_assert_eq(heap_current, heap);
    cr_assert_null(heap_lent);
    cr_assert_eq(heap->lending, OWNED);
}

/* No block is handed out twice, and none loses what is written to it. */
static inline void use_much(void) {
    static struct unit_churn churn = {.random = 5, .most_bytes = 60000};
    for (unsigned i = 0; i < 10000; i++) unit_churn_step(&churn);
    unit_churn_end(&churn);
    cr_assert_null(churn.fault, "%s", churn.fault);
}

static inline void assert_empty(void) {
    heap_flush(false);
    cr_assert_eq(counters.taken_bytes, 0, "%ld bytes", (long)counters.taken_bytes);
    cr_assert_eq(counters.live_pages, 0);
    assert_sound();
}

#endif
