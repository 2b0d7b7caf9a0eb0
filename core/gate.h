/* The fork gate: a child should not be made while another thread is in the middle of a slow path.
 *
 * A fork copies page after page, so what a thread changes meanwhile arrives in the child torn: a
 * pool that is listed by its descriptor and offered as free by its arena. Therefore slow paths pass
 * a gate; fork closes it, waits until nobody is inside, and opens it again in parent and child.
 * Nobody waits for ever: fork may need a lock of libc's that is held by a thread which waits here,
 * so whoever has waited GATE_WAIT_MS for one fork goes on, and opens it for the others. Magazines
 * change outside of the gate; a child distrusts those of other threads (heap_adopt_orphans).
 */
#ifndef LOWTIDE_CORE_GATE_H
#define LOWTIDE_CORE_GATE_H

#include "heap.h"

enum { GATE_WAIT_MS = 250 };

/* The thread that forks, as a nonzero number; 0 = open. */
extern HIDDEN _Atomic(uintptr_t) gate_owner;

/* Threads without a heap that are inside. */
extern HIDDEN _Atomic(int64_t) gate_others;

/* `heap` is NULL for a thread without one. */
HIDDEN void gate_wait(struct heap *heap);

/* Sleeps 50 us, for what another thread is about to finish. Keeps errno. */
HIDDEN void gate_pause(void);

/* Enters; returns what gate_leave needs. May be nested, also by what the kernel's door calls. */
static inline struct heap *gate_enter(void) {
    struct heap *heap = heap_current;
    bool is_outermost = heap_thread.depth++ == 0;
    atomic_signal_fence(memory_order_seq_cst);
    if (is_single_threaded()) return NULL;
    if (heap == &heap_none || heap == &heap_gone) {
        atomic_fetch_add(&gate_others, 1);
        if (UNLIKELY(atomic_load(&gate_owner)) && is_outermost) gate_wait(NULL);
        return &heap_none;
    }
    uint32_t depth = relaxed_load(&heap->gate_depth);
    atomic_store(&heap->gate_depth, depth + 1);
    if (UNLIKELY(atomic_load(&gate_owner)) && is_outermost) gate_wait(heap);
    return heap;
}

static inline void gate_leave(struct heap *heap) {
    if (heap == &heap_none)
        atomic_fetch_sub(&gate_others, 1);
    else if (heap)
        atomic_store_explicit(&heap->gate_depth, relaxed_load(&heap->gate_depth) - 1,
                              memory_order_release);
    atomic_signal_fence(memory_order_seq_cst);
    heap_thread.depth--;
}

/* Before fork and after it in the parent. In the child: gate_reset. */
HIDDEN void gate_close(void);
HIDDEN void gate_open(void);
HIDDEN void gate_reset(void);

#endif
