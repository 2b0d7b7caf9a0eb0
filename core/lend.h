/* A thread that sleeps lends its heap, so that what its magazines hold is not out of reach until it
 * wakes up.
 *
 * The owner lends before a blocking call and goes on with heap_none; others may then empty the
 * magazines. It takes its heap back after the call, or at its first slow path: a signal handler
 * that allocates, one that leaves with siglongjmp and a cancelled thread need nothing else.
 * Lending and taking back are one store and one compare-and-swap; only a heap that has something to
 * give back is lent.
 */
#ifndef LOWTIDE_CORE_LEND_H
#define LOWTIDE_CORE_LEND_H

#include "heap.h"

/* The heap that the calling thread has lent, or NULL. */
#define heap_lent heap_thread.lent

HIDDEN void heap_lend(void);
HIDDEN void heap_take_back_slow(void);

/* Afterwards the heap is tended by nobody. For the owner, and for whoever found it dead. */
HIDDEN void heap_end_loan(struct heap *heap);

/* In a forked child: true when the heap was being tended, by a thread that is not here; it is only
 * lent then. */
HIDDEN bool heap_end_orphaned_tending(struct heap *heap);

static inline void heap_take_back(void) {
    if (UNLIKELY(heap_lent != NULL)) heap_take_back_slow();
}

/* Empties the magazines of the heaps that are lent. */
HIDDEN void heap_flush_lent(void);

#endif
