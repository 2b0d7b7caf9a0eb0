/* For what, threads and order: arena.h. On failure of the kernel nothing is lost: what cannot be
 * mapped is NULL, what cannot be unmapped is released in place, what cannot be released stays
 * retained. */
#include "arena.h"

#include "budget.h"
#include "os.h"
#include "pool.h"
#include "release.h"

TABLE _Atomic(struct group *) group_table[MAX_GROUPS];
_Atomic(uint32_t) group_count;
struct index index_table[INDICES];
TABLE word index_far[INDICES][INDEX_FAR];

enum { REFUSALS_A_RECOUNT = 4096 };
static _Atomic(uintptr_t) map_hint; /* where the next arenas would continue the last ones */

static ALWAYS_INLINE struct path path_ready(struct group *g, unsigned slot) {
    return (struct path){&g->arena[slot].ready, &g->ready, &index_table[INDEX_READY + g->tier],
                         g->id, slot};
}
static ALWAYS_INLINE struct path path_fresh(struct group *g, unsigned slot) {
    return (struct path){&g->arena[slot].fresh, &g->fresh, &index_table[INDEX_FRESH + g->tier],
                         g->id, slot};
}

/* ---- runs of addresses: each is a VMA, of which a process may have 65,530 ---- */

static int neighbours(uintptr_t base, size_t bytes) {
    return (pagemap_class(base - 1) != CLASS_NONE) + (pagemap_class(base + bytes) != CLASS_NONE);
}
void address_range_added(uintptr_t base, size_t bytes) {
    count_add(&counters.address_runs, 1 - neighbours(base, bytes));
}
void address_range_removed(uintptr_t base, size_t bytes) {
    count_add(&counters.address_runs, neighbours(base, bytes) - 1);
}
/* Threads that map and unmap side by side can miscount each other; so where it matters the runs are
 * counted anew. */
void address_runs_recount(void) {
    int64_t runs = 0;
    bool was_ours = false;
    for (uintptr_t gib = 0; gib < ROOT_ENTRIES; gib++) {
        struct pagemap_leaf *leaf =
            relaxed_load(&pagemap.root[gib]) ? pagemap_leaf(gib << LEAF_SHIFT) : NULL;
        for (uintptr_t page = 0; leaf && page < LEAF_PAGES; page++) {
            unsigned class_id = relaxed_load(&leaf->page[page]);
            bool is_ours = class_id != CLASS_NONE;
            runs += (is_ours && !was_ours) + (class_id == CLASS_LARGE_SEAM);
            was_ours = is_ours;
        }
        was_ours &= leaf != NULL;
    }
    relaxed_store(&counters.address_runs, runs);
}

bool address_range_removable(uintptr_t base, size_t bytes) {
    static _Atomic(uint32_t) refusals;
    uint32_t most = relaxed_load(&limits.max_holes);
    if (!most) return false;
    if (neighbours(base, bytes) < 2 || relaxed_load(&counters.address_runs) < most) return true;
    if (atomic_fetch_add(&refusals, 1) % REFUSALS_A_RECOUNT == 0) address_runs_recount();
    return relaxed_load(&counters.address_runs) < most;
}

/* ---- mapping ---- */

static struct group *group_create(unsigned tier) {
    struct group *g = (struct group *)os_map(os_round_up(sizeof *g), GROUP_ALIGNMENT, 0);
    if (!g) return NULL;
    uint32_t id = atomic_fetch_add(&group_count, 1);
    if (id >= MAX_GROUPS) {
        atomic_fetch_sub(&group_count, 1);
        os_discard((uintptr_t)g, os_round_up(sizeof *g));
        return NULL;
    }
    g->id = id;
    g->tier = tier;
    atomic_store(&g->unmapped, ~0ull);
    atomic_store(&group_table[id], g);
    count_add(&counters.metadata_bytes, (int64_t)os_round_up(sizeof *g));
    return g;
}

/* Up to `want` slots of a group of the tier, taken from its unmapped ones. */
static uint64_t take_slots(unsigned tier, unsigned want, struct group **group) {
    for (uint32_t id = 0;;) {
        id = index_next(&index_table[INDEX_UNMAPPED + tier], id);
        struct group *g = id == INDEX_NONE ? group_create(tier) : atomic_load(&group_table[id]);
        if (!g) return 0;
        uint64_t slots = 0, left = atomic_load(&g->unmapped);
        for (unsigned n = 0; n < want && left; n++, left &= left - 1) slots |= left & -left;
        slots &= word_clear(&g->unmapped, slots);
        if (!atomic_load(&g->unmapped))
            index_settle(&index_table[INDEX_UNMAPPED + tier], g->id, &g->unmapped);
        else
            index_set(&index_table[INDEX_UNMAPPED + tier], g->id);
        *group = g;
        if (slots) return slots;
        id = g->id + 1;
    }
}

static void give_slots_back(struct group *g, uint64_t slots) {
    word_or(&g->unmapped, slots);
    index_set(&index_table[INDEX_UNMAPPED + g->tier], g->id);
}

static void arena_open(struct group *g, unsigned slot, uintptr_t base) {
    struct arena *arena = &g->arena[slot];
    relaxed_store(&arena->base, base);
    for (unsigned i = 0; i < ARENA_BYTES / OWNER_BYTES; i++)
        relaxed_store(pagemap_owner(base + (uintptr_t)i * OWNER_BYTES),
                      (uintptr_t)&g->record[slot]);
    pagemap_fill(base, ARENA_BYTES, CLASS_FREE);
    struct path fresh = path_fresh(g, slot);
    path_add(&fresh, tier_pool_mask(g->tier));
}

static void count_arenas(int64_t mapped) {
    int64_t now = count_add(&counters.arenas, mapped);
    count_add(mapped > 0 ? &counters.arenas_mapped : &counters.arenas_unmapped,
              mapped > 0 ? mapped : -mapped);
    if (now > relaxed_load(&counters.arenas_peak)) relaxed_store(&counters.arenas_peak, now);
}

/* Maps some arenas side by side: a sixteenth of what there is, so that a growing heap makes few
 * calls and address space stays within a few percent of what is in use. */
static bool arena_map(unsigned tier) {
    unsigned want = (unsigned)(relaxed_load(&counters.arenas) / 16);
    want = want < 1 ? 1 : want > 16 ? 16 : want;
    struct group *g;
    uint64_t slots = take_slots(tier, want, &g);
    if (!slots) return false;
    size_t bytes = count_bits(slots) * (size_t)ARENA_BYTES;
    uintptr_t hint = relaxed_load(&map_hint);
    uintptr_t base = os_map(bytes, ARENA_BYTES, hint > bytes ? hint - bytes : 0);
    if (!base && want > 1) { /* little address space left: only what is needed */
        give_slots_back(g, slots & (slots - 1));
        slots &= -slots;
        base = os_map(bytes = ARENA_BYTES, ARENA_BYTES, 0);
    }
    if (!base || !pagemap_reserve(base, bytes)) {
        if (base) os_discard(base, bytes);
        give_slots_back(g, slots);
        return false;
    }
    relaxed_store(&map_hint, base);
    address_range_added(base, bytes);
    count_arenas(count_bits(slots));
    for (; slots; slots &= slots - 1, base += ARENA_BYTES) arena_open(g, lowest_bit(slots), base);
    return true;
}

/* ---- pools out and in ---- */

/* The lowest pool with a bit in the words that `path_of` names; its bit is cleared. */
static ALWAYS_INLINE struct pool *claim_lowest(struct index *index,
                                               struct path (*path_of)(struct group *, unsigned)) {
    for (uint32_t id = index_next(index, 0); id != INDEX_NONE; id = index_next(index, id + 1)) {
        struct group *g = atomic_load(&group_table[id]);
        struct path p = path_of(g, 0);
        uint64_t slots = atomic_load(p.sum);
        if (!slots) index_settle(index, id, p.sum);
        for (; slots; slots &= slots - 1) {
            unsigned slot = lowest_bit(slots);
            p = path_of(g, slot);
            uint64_t bits = atomic_load(p.bits);
            if (!bits) path_remove(&p, 0);
            for (; bits; bits = atomic_load(p.bits)) {
                uint64_t bit = bits & -bits;
                if (path_remove(&p, bit) & bit) return &g->record[slot].pool[lowest_bit(bit)];
            }
        }
    }
    return NULL;
}

struct pool *arena_claim_pool(unsigned tier) {
    for (;;) {
        struct pool *pool = claim_lowest(&index_table[INDEX_READY + tier], path_ready);
        if (!pool) pool = claim_lowest(&index_table[INDEX_FRESH + tier], path_fresh);
        if (pool || !arena_map(tier)) return pool;
    }
}

static uint64_t pages_of_pools(uint64_t pools, unsigned tier) {
    return tier == 3 ? (pools ? ~0ull : 0) : pools * ((1ull << tier_pool_pages(tier)) - 1);
}

/* The pools among `pools` that have a page in `pages`. */
static uint64_t pools_with_pages(uint64_t pools, uint64_t pages, unsigned tier) {
    if (tier == 0) return pools & pages;
    uint64_t with = 0;
    for (; pools; pools &= pools - 1)
        if (pages & pages_of_pools(pools & -pools, tier)) with |= pools & -pools;
    return with;
}

void arena_return_pools(struct group *g, unsigned slot, uint64_t pools) {
    uint64_t resident = pools_with_pages(pools, atomic_load(&g->arena[slot].retained), g->tier);
    struct path ready = path_ready(g, slot), fresh = path_fresh(g, slot);
    if (resident) path_add(&ready, resident);
    if (pools & ~resident) path_add(&fresh, pools & ~resident);
}

/* ---- release ---- */

void arena_count_released(unsigned tier, unsigned pages) {
    count_add(&counters.retained_pages[tier], -(int64_t)pages);
    count_add(&counters.released_pages[tier], pages);
}

/* There may be wholly free arenas that the kernel refused to unmap. */
static flag some_kept_mapped;

/* Unmaps an arena of which the caller owns every pool; false: released in place instead. */
static bool arena_close(struct group *g, unsigned slot) {
    struct arena *arena = &g->arena[slot];
    uintptr_t base = relaxed_load(&arena->base);
    if (!address_range_removable(base, ARENA_BYTES)) return false;
    pagemap_fill(base, ARENA_BYTES, CLASS_NONE);
    if (!os_unmap(base, ARENA_BYTES)) {
        pagemap_fill(base, ARENA_BYTES, CLASS_FREE);
        relaxed_store(&some_kept_mapped, true);
        return false;
    }
    address_range_removed(base, ARENA_BYTES);
    relaxed_store(&map_hint, base + ARENA_BYTES);
    relaxed_store(&arena->base, 0);
    if (os_page_bytes == sizeof(struct record))
        os_release((uintptr_t)&g->record[slot], sizeof(struct record));
    count_arenas(-1);
    give_slots_back(g, 1ull << slot);
    return true;
}

/* Unmaps an arena none of whose pools is in use or resident. */
static bool close_untouched(struct group *g, unsigned slot) {
    uint64_t all = tier_pool_mask(g->tier);
    struct path fresh = path_fresh(g, slot);
    if (atomic_load(fresh.bits) != all) return false;
    uint64_t mine = path_remove(&fresh, all);
    if (mine == all && arena_close(g, slot)) return true;
    if (mine) path_add(&fresh, mine);
    return false;
}

bool arena_unmap_kept(void) {
    bool any = false;
    if (!relaxed_load(&some_kept_mapped) || !atomic_exchange(&some_kept_mapped, false))
        return false;
    for (uint32_t id = 0; id < atomic_load(&group_count); id++) {
        struct group *g = atomic_load(&group_table[id]);
        uint64_t slots = g ? atomic_load(&g->fresh) : 0;
        for (; slots && !relaxed_load(&some_kept_mapped); slots &= slots - 1)
            any |= close_untouched(g, lowest_bit(slots));
    }
    return any;
}

/* Takes every free pool of the arena, to be released and put back; an arena that is wholly free is
 * unmapped. */
static void take_free_pools(struct release *r, struct group *g, unsigned slot) {
    struct path ready = path_ready(g, slot), fresh = path_fresh(g, slot),
                retained = arena_path_retained(g, slot);
    uint64_t all = tier_pool_mask(g->tier);
    uint64_t mine = path_remove(&ready, all);
    if (!mine) return;
    if (os_page_bytes > PAGE_BYTES || (mine | atomic_load(fresh.bits)) == all)
        mine |= path_remove(&fresh, all);
    uint64_t pages = pages_of_pools(mine, g->tier);
    if (mine == all) {
        uint64_t held = path_remove(&retained, ~0ull);
        if (arena_close(g, slot)) {
            arena_count_released(g->tier, count_bits(held));
            r->done += count_bits(held);
            return;
        }
        path_add(&retained, held);
    }
    release_free_pools(r, g, slot, mine,
                       os_page_fold(pages) &
                           os_page_spread(arena_unreleased(&g->arena[slot]) & pages));
}

/* The pages retained inside pools that are in use. */
static void take_live_pools(struct release *r, struct group *g, unsigned slot) {
    uint64_t free_pools = atomic_load(&g->arena[slot].ready) | atomic_load(&g->arena[slot].fresh);
    uint64_t pools = pools_with_pages(tier_pool_mask(g->tier) & ~free_pools,
                                      atomic_load(&g->arena[slot].retained), g->tier);
    for (; pools; pools &= pools - 1)
        pool_release_pages(r, &g->record[slot].pool[lowest_bit(pools)]);
}

/* The calls are made when what is planned would do, and it goes on if the kernel refused some. */
static bool is_enough(struct release *r, size_t pages) {
    return (r->done + r->planned >= pages ? release_run(r) : r->done) >= pages;
}

size_t arena_release(size_t pages, unsigned tiers) {
    struct release r;
    r.ranges = r.parts = 0;
    r.planned = r.done = 0;
    uint32_t id = index_previous(&index_table[INDEX_RETAINED], MAX_GROUPS - 1);
    while (id != INDEX_NONE && !is_enough(&r, pages)) {
        struct group *g = atomic_load(&group_table[id]);
        uint64_t slots = tiers >> g->tier & 1 ? atomic_load(&g->retained) : 0;
        for (; slots && !is_enough(&r, pages); slots &= ~(1ull << highest_bit(slots))) {
            unsigned slot = highest_bit(slots);
            take_free_pools(&r, g, slot);
            if (g->tier && !is_enough(&r, pages)) take_live_pools(&r, g, slot);
        }
        id = id ? index_previous(&index_table[INDEX_RETAINED], id - 1) : INDEX_NONE;
    }
    return release_run(&r);
}

void arenas_inherit(void) {
    for (uint32_t id = 0; id < atomic_load(&group_count); id++) {
        struct group *g = atomic_load(&group_table[id]);
        for (unsigned slot = 0; g && slot < GROUP_ARENAS; slot++) {
            uintptr_t base = relaxed_load(&g->arena[slot].base);
            if (base) pagemap_inherit(base, ARENA_PAGES);
        }
    }
}

void arena_visit_pools(pool_visitor *visit, void *context) {
    for (uint32_t id = 0; id < atomic_load(&group_count); id++) {
        struct group *g = atomic_load(&group_table[id]);
        for (unsigned slot = 0; g && slot < GROUP_ARENAS; slot++) {
            if (!relaxed_load(&g->arena[slot].base)) continue;
            for (uint64_t pools = tier_pool_mask(g->tier); pools; pools &= pools - 1) {
                struct pool *pool = &g->record[slot].pool[lowest_bit(pools)];
                unsigned class_id = relaxed_load(&pool->class_id);
                if (atomic_load(&pool->state) != POOL_FREE && is_block_class(class_id))
                    visit(pool, class_id, context);
            }
        }
    }
}
