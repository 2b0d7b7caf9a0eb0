/* For what: lend.h. The state of a heap is OWNED, OFFERED, LENT, or TENDED while another thread is
 * at work on it; `has_news` says that it was lent since it was last tended, and is what the index
 * of lent heaps hints at. */
#include "lend.h"

#include "gate.h"
#include "index.h"

static struct index *const lent_index = &index_table[INDEX_LENT];

enum { OWNED, OFFERED, LENT, TENDED };

/* A signal handler may come by at any point and allocate or block: it takes the heap back or lends
 * it for itself, after which it is no longer OFFERED. */
void heap_lend(void) {
    struct heap *heap = heap_current;
    uint32_t offered = OFFERED;
    if (heap == &heap_none || heap == &heap_gone) return;
    atomic_store(&heap->lending, OFFERED);
    heap_lent = heap;
    atomic_signal_fence(memory_order_seq_cst);
    heap_current = &heap_none;
    if (!atomic_compare_exchange_strong(&heap->lending, &offered, LENT)) {
        heap_current = heap;
        heap_lent = NULL;
        return;
    }
    if (atomic_load(&heap->has_news)) return;
    atomic_store(&heap->has_news, 1);
    index_set(lent_index, heap->id);
}

/* Whoever tends a heap is in the middle of some thousand instructions, or was preempted there. */
void heap_end_loan(struct heap *heap) {
    for (;;) {
        uint32_t state = atomic_load(&heap->lending);
        if (state == OWNED) return;
        if (state == TENDED)
            gate_pause();
        else if (atomic_compare_exchange_strong(&heap->lending, &state, OWNED))
            return;
    }
}

bool heap_end_orphaned_tending(struct heap *heap) {
    uint32_t tended = TENDED;
    return atomic_compare_exchange_strong(&heap->lending, &tended, LENT);
}

void heap_take_back_slow(void) {
    struct heap *heap = heap_lent;
    if (!heap) return; /* a handler was here since the caller looked */
    heap_end_loan(heap);
    heap_current = heap; /* first: a handler that finds neither would open another */
    atomic_signal_fence(memory_order_seq_cst);
    heap_lent = NULL;
}

void heap_flush_lent(void) {
    for (uint32_t id = index_next(lent_index, 0); id != INDEX_NONE;
         id = index_next(lent_index, id + 1)) {
        struct heap *gate = gate_enter(), *heap = atomic_load(&heap_table[id]);
        uint32_t lent = LENT;
        atomic_store(&heap->has_news, 0);
        index_settle(lent_index, id, &heap->has_news);
        if (atomic_compare_exchange_strong(&heap->lending, &lent, TENDED)) {
            heap_empty(heap);
            atomic_store(&heap->lending, LENT);
        }
        gate_leave(gate);
    }
}
