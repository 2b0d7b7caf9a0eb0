/* Statistics by walking the heap, and the check of everything that must hold in it. Linear in the
 * heap; for dumps and tests.
 *
 * Exact while no other thread allocates; otherwise each number is of some moment during the walk,
 * and the sums still hold, because the parts are counted and the totals are made from them or from
 * the mapping.
 */
#ifndef LOWTIDE_CORE_STATS_H
#define LOWTIDE_CORE_STATS_H

#include "types.h"

struct stats {
#define STAT(key, text) int64_t key;
#include "stats.def"
#undef STAT
};

HIDDEN void stats_collect(struct stats *s);

/* NULL, or what does not hold: state, bitmaps, hints and page map of every pool, every word's sums,
 * and the counters against the walk. Only while all other threads are outside of lowtide. */
HIDDEN const char *heap_verify(void);

#endif
