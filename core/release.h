/* Releasing pages of arenas, many with one system call.
 *
 * Each call that takes pages away interrupts every core that runs a thread of the program: with one
 * other thread at work a run of two pages costs 12 us alone and 1.1 us among 64. So what is to go
 * is collected first. Meanwhile its pools belong to whoever collects, and go back after the call,
 * with their pages released or, where the kernel refused, still retained.
 */
#ifndef LOWTIDE_CORE_RELEASE_H
#define LOWTIDE_CORE_RELEASE_H

#include "os.h"
#include "types.h"

struct release_part {
    struct group *group;
    struct pool *leased; /* a pool in use; NULL: `pools` are free pools */
    uint64_t pools;
    uint64_t pages; /* what is to go, as runs in `range` */
    unsigned slot;
};

struct release {
    struct iovec range[OS_RANGES];
    struct release_part part[OS_RANGES];
    unsigned ranges, parts;
    size_t planned; /* pages retained in the parts */
    size_t done;    /* pages released */
};

/* The pages of one arena that the caller owns: in free pools, taken out of the arena's words, or in
 * a pool that it has leased. Both go back at once when there is nothing in `pages`. */
HIDDEN void release_free_pools(struct release *r, struct group *g, unsigned slot, uint64_t pools,
                               uint64_t pages);
HIDDEN void release_leased_pool(struct release *r, struct pool *pool, uint64_t pages);

/* Makes the calls; call at the end. Returns the pages released since the beginning. */
HIDDEN size_t release_run(struct release *r);

#endif
