/* Arenas: where pools come from and go back to, and how their free pages return to the kernel.
 *
 * No locks. A free pool is owned by whoever cleared its bit in the arena's `ready` or `fresh` word;
 * an arena by whoever holds all its pools. Lowest first: pools are handed out from the lowest
 * group, arena and page, resident ones before others, and released from the highest, so that high
 * arenas drain.
 */
#ifndef LOWTIDE_CORE_ARENA_H
#define LOWTIDE_CORE_ARENA_H

#include "class.h"
#include "index.h"
#include "pagemap.h"

enum { GROUP_ALIGNMENT = 1 << 19 }; /* so that a descriptor's address tells its group */
_Static_assert(sizeof(struct group) <= GROUP_ALIGNMENT, "a group fits its alignment");

extern HIDDEN _Atomic(struct group *) group_table[MAX_GROUPS];
extern HIDDEN _Atomic(uint32_t) group_count;

/* A bit's way up: the word in an arena, the same word's sum in the group, the index over groups. */
struct path {
    word *bits;
    word *sum;
    struct index *index;
    uint32_t group;
    unsigned slot;
};

/* Adds bits, then their hints. */
static inline void path_add(const struct path *p, uint64_t bits) {
    word_or(p->bits, bits);
    hint_set(p->sum, p->slot);
    index_set(p->index, p->group);
}

/* Removes bits, settles the hints of words that became empty, returns the word as it was. */
static inline uint64_t path_remove(const struct path *p, uint64_t bits) {
    uint64_t old = word_clear(p->bits, bits);
    if (old & ~bits) return old;
    hint_clear(p->sum, p->slot, p->bits);
    if (!atomic_load(p->sum)) index_settle(p->index, p->group, p->sum);
    return old;
}

static inline struct group *pool_group(const struct pool *pool) {
    return (struct group *)((uintptr_t)pool & ~(uintptr_t)(GROUP_ALIGNMENT - 1));
}
static inline unsigned pool_slot(const struct pool *pool) {
    return (unsigned)((uintptr_t)pool / sizeof(struct record) % GROUP_ARENAS);
}
static inline struct arena *pool_arena(const struct pool *pool) {
    return &pool_group(pool)->arena[pool_slot(pool)];
}
static inline unsigned pool_first_page(const struct pool *pool) {
    return (unsigned)((uintptr_t)pool / sizeof(struct pool) % ARENA_PAGES);
}
static inline uintptr_t pool_base(const struct pool *pool) {
    return relaxed_load(&pool_arena(pool)->base) + (uintptr_t)pool_first_page(pool) * PAGE_BYTES;
}
/* The pool of a class that holds an address in a page of that class. */
static inline struct pool *pool_of_address(uintptr_t address, unsigned tier) {
    struct record *record = (struct record *)relaxed_load(pagemap_owner(address));
    return &record->pool[address >> PAGE_SHIFT & (ARENA_PAGES - 1) &
                         ~(uintptr_t)(tier_pool_pages(tier) - 1)];
}

static inline struct path arena_path_partial(struct group *g, unsigned slot, unsigned class_id) {
    unsigned i = class_table[class_id].in_tier;
    return (struct path){&g->arena[slot].partial[i], &g->partial[i],
                         &index_table[INDEX_PARTIAL + class_id], g->id, slot};
}
static inline struct path arena_path_retained(struct group *g, unsigned slot) {
    return (struct path){&g->arena[slot].retained, &g->retained, &index_table[INDEX_RETAINED],
                         g->id, slot};
}

/* What a call to the kernel could release. */
static inline uint64_t arena_unreleased(struct arena *arena) {
    return atomic_load(&arena->retained) & ~atomic_load(&arena->offered);
}

/* A pool of the tier, whole and owned by the caller (state FREE, bit in neither word), or NULL when
 * the kernel gives no memory. */
HIDDEN struct pool *arena_claim_pool(unsigned tier);

/* Gives whole free pools of an arena back, their pages' bytes and counters already settled. */
HIDDEN void arena_return_pools(struct group *g, unsigned slot, uint64_t pools);
static inline void arena_return_pool(struct pool *pool) {
    arena_return_pools(pool_group(pool), pool_slot(pool), 1ull << pool_first_page(pool));
}

/* Releases about `pages` pages that the tiers (bit t = tier t) retain, highest arenas first;
 * returns how many were. */
enum { ALL_TIERS = (1 << TIERS) - 1 };
HIDDEN size_t arena_release(size_t pages, unsigned tiers);

/* Tries again to unmap wholly free arenas, if the kernel refused that before, until it refuses once
 * more; true when any was unmapped. */
HIDDEN bool arena_unmap_kept(void);

/* Every pool that is not POOL_FREE. */
typedef void pool_visitor(struct pool *pool, unsigned class_id, void *context);
HIDDEN void arena_visit_pools(pool_visitor *visit, void *context);

/* In a forked child: pagemap_inherit for all arenas. */
HIDDEN void arenas_inherit(void);

/* So many pages that were retained are released. */
HIDDEN void arena_count_released(unsigned tier, unsigned pages);

/* What an address range's coming or going does to the number of runs of addresses in use. */
HIDDEN void address_range_added(uintptr_t base, size_t bytes);
HIDDEN bool address_range_removable(uintptr_t base, size_t bytes);
HIDDEN void address_range_removed(uintptr_t base, size_t bytes);

HIDDEN void address_runs_recount(void);

#endif
