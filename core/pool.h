/* Pools: taking blocks under the lease, returning them from anywhere. States: types.h; protocol:
 * pool.c. */
#ifndef LOWTIDE_CORE_POOL_H
#define LOWTIDE_CORE_POOL_H

#include "types.h"

/* Takes up to `want` blocks of a class, from the lowest pools that have some; a free pool is begun
 * only when none has. Stores them at `out` in ascending order for each pool, returns how many: 0 =
 * out of memory. `zero` may be NULL; else, with want = 1, it says whether the block is known to be
 * all zero. */
HIDDEN unsigned pool_take(unsigned class_id, unsigned want, void **out, bool *zero);

/* Returns `n` blocks of one class, in any order. A block that is free already is reported and ends
 * the process. */
HIDDEN void pool_return(unsigned class_id, void *const *blocks, unsigned n);

/* Leases a pool in use, for its retained pages to be released; nothing when another thread holds
 * it. Who ends a lease settles what happened meanwhile. */
struct release;
HIDDEN void pool_release_pages(struct release *r, struct pool *pool);
HIDDEN void pool_unlease(struct pool *pool);

/* True when the block of that class is marked free in its pool, or the pool is gone. */
HIDDEN bool pool_block_is_free(unsigned class_id, const void *block);

/* Ends the lease of a thread that no longer exists. For a forked child only. */
HIDDEN void pool_end_orphaned_lease(struct pool *pool);

/* Under the lease or at rest: the pages that hold a taken block. */
HIDDEN uint64_t pool_pages_in_use(const struct pool *pool, unsigned class_id);

#endif
