/* How large magazines are, and how they are emptied.
 *
 * Capacities begin with 7 and double at each refill or spill, up to what the class has normally
 * (class_table) and the thread's share of the budget, but one block up to 32 KiB is always allowed,
 * so that the common malloc/free pair stays out of the pools. Where blocks that were spilled come
 * right back, a magazine is enlarged beyond that, as long as all together have room for no more
 * than the base of the budget's allowance, or what is earned (budget_earned_room_bytes), and falls
 * back when nothing moves in it or the budget shrinks.
 *
 * A heap's slots: a first part of 7 and fewer slots a class, together a page; a second with the
 * normal capacities, of which only what is used gets touched; enlarged magazines have mappings of
 * their own.
 */
#ifndef LOWTIDE_CORE_MAGAZINE_H
#define LOWTIDE_CORE_MAGAZINE_H

#include "budget.h"
#include "heap.h"

enum { MAGAZINE_ACTIVE = UINT16_MAX };

/* [0] is the floor, below the top of a magazine without capacity. */
extern HIDDEN void *magazine_nothing[2];

/* A forked child sees a magazine as of any moment; what lies below `top` at that moment must be its
 * blocks and nothing else. */
static inline void set_top(struct magazine *m, void **top) {
    atomic_signal_fence(memory_order_seq_cst);
    m->top = top;
    atomic_signal_fence(memory_order_seq_cst);
}

/* Blocks came from the pools. */
static inline void magazine_note_refill(struct desk *d, unsigned blocks) {
    unsigned back = blocks < d->spilled ? blocks : d->spilled;
    d->spilled = (uint16_t)(d->spilled - back);
    d->came_back = (uint16_t)(d->came_back < UINT16_MAX - back ? d->came_back + back : UINT16_MAX);
    d->seen = MAGAZINE_ACTIVE;
}

/* Raises the capacity to the next step; false when the class or the budget allows no more. */
HIDDEN bool magazine_grow(struct heap *heap, unsigned class_id);

/* Returns the older half to the pools. */
HIDDEN void magazine_spill(struct heap *heap, unsigned class_id);

/* All magazines have room for more than they may; this heap's for more than its part, and for more
 * than is left where each class in use has one block. */
static inline bool magazines_are_too_large(const struct heap *heap) {
    return heap->capacity_pages > heap->tolerated_pages && !budget_has_magazine_room(0) &&
           heap->capacity_pages > budget_heap_part(allowance_pages(&limits.magazine)) &&
           heap->capacity_bytes > budget_heap_part(budget_magazine_room_bytes());
}

/* The heap could pin more than its share: idle magazines go, the others shrink by half, to no less
 * than three quarters of what is fair, so that the next spill does not come here again. */
HIDDEN void magazines_shrink(struct heap *heap);

/* Returns to the pools what all magazines hold, or those that nothing moved in since the last
 * call. */
HIDDEN void magazines_flush(struct heap *heap);
HIDDEN void magazines_flush_idle(struct heap *heap);

/* Looks at what the heap's magazines hold, if one is enlarged. */
HIDDEN void magazines_note_held_slow(struct heap *heap);
static inline void magazines_note_held(struct heap *heap) {
    if (UNLIKELY(heap->enlarged || heap->held_bytes)) magazines_note_held_slow(heap);
}

/* True when the block waits in the heap's magazine of the class. */
static inline bool magazine_holds(const struct heap *heap, unsigned class_id, const void *block) {
    void **slot = heap->desk[class_id].base, **end = heap->magazine[class_id].top;
    while (slot < end && *slot != block) slot++;
    return slot < end;
}

/* Leaves what the magazine holds to the caller. */
HIDDEN void magazine_forget(struct heap *heap, unsigned class_id);

/* What enlarged magazines of the heap have mapped: visit(start, bytes, context) for each. */
HIDDEN void magazines_visit_enlarged(struct heap *heap,
                                     void (*visit)(const void *start, size_t bytes, void *context),
                                     void *context);

#endif
