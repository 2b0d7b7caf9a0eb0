/* Ranges that the program freed and that wait to be used again: up to 128, each one word, taken by
 * compare-and-swap; no locks. Who takes a range owns it. What is resident of them counts as
 * retained; that, and what the page map says, is the caller's (large.c).
 */
#ifndef LOWTIDE_CORE_CACHE_H
#define LOWTIDE_CORE_CACHE_H

#include "atomics.h"

enum { CACHE_ENTRIES = 128 };

/* At multiples of OWNER_BYTES; no bytes: no range. */
struct range {
    uintptr_t base;
    size_t bytes;
};

/* False when the cache is full. The oldest go first; a range that is put back keeps its age. */
HIDDEN bool cache_store(struct range r, uint64_t arrived);
HIDDEN uint64_t cache_now(void);

/* Each takes a range out, or says that there is none. */
HIDDEN struct range cache_take_fitting(size_t bytes, size_t alignment); /* the smallest */
HIDDEN struct range cache_take_largest(size_t least_bytes);
HIDDEN struct range cache_take_oldest(uint64_t *arrived);
HIDDEN struct range cache_take_nth(uint32_t i);
HIDDEN struct range cache_take_at(uintptr_t base);
HIDDEN struct range cache_take_neighbour(struct range r); /* one that begins or ends beside r */

HIDDEN void cache_visit(void (*visit)(uintptr_t base, size_t bytes, void *context), void *context);

#endif
