/* For what, and how exact: stats.h. */
#include "stats.h"

#include "arena.h"
#include "budget.h"
#include "heap.h"
#include "cache.h"
#include "large.h"
#include "magazine.h"
#include "os.h"
#include "pool.h"

#include <sys/mman.h>
#include <string.h>

static unsigned taken_blocks(const struct pool *pool, const struct class_info *info) {
    unsigned taken = info->blocks;
    for (unsigned w = 0; w < info->words; w++)
        taken -= count_bits(atomic_load(&pool->free[w]) & class_word_mask(info, w));
    return taken;
}

static void count_pool(struct pool *pool, unsigned class_id, void *context) {
    struct stats *s = context;
    const struct class_info *info = &class_table[class_id];
    int64_t pages = info->tier ? count_bits(pool_pages_in_use(pool, class_id)) : 1;
    s->live_bytes += (int64_t)taken_blocks(pool, info) * info->block_bytes;
    s->live_pages_bytes += pages * PAGE_BYTES;
    if (info->tier) {
        s->slabs_current++;
        s->slab_bytes += pages * PAGE_BYTES;
    } else
        s->pools_in_use++;
}

/* ---- metadata: what the kernel says is resident of it ---- */

static int64_t resident_bytes(const void *start, size_t bytes) {
    unsigned char pages[256];
    uintptr_t at = (uintptr_t)start & ~(uintptr_t)(os_page_bytes - 1),
              end = (uintptr_t)start + bytes;
    int64_t resident = 0;
    while (at < end) {
        size_t n = (end - at + os_page_bytes - 1) / os_page_bytes;
        if (n > sizeof pages) n = sizeof pages;
        if (relaxed_load(&os_is_filtered) || mincore((void *)at, n * os_page_bytes, pages))
            memset(pages, 1, n); /* not to be known: assume the worst */
        for (size_t i = 0; i < n; i++) resident += pages[i] & 1 ? (int64_t)os_page_bytes : 0;
        at += n * os_page_bytes;
    }
    return resident;
}

static void add_resident(const void *start, size_t bytes, void *sum) {
    *(int64_t *)sum += resident_bytes(start, bytes);
}

static int64_t metadata_resident_bytes(void) {
    int64_t resident = 0;
    for (uint32_t id = 0; id < atomic_load(&group_count); id++)
        if (atomic_load(&group_table[id]))
            resident += resident_bytes(atomic_load(&group_table[id]), sizeof(struct group));
    for (uint32_t id = 0; id < atomic_load(&heap_count); id++) {
        struct heap *heap = atomic_load(&heap_table[id]);
        if (!heap) continue;
        resident += resident_bytes(heap, heap_bytes());
        magazines_visit_enlarged(heap, add_resident, &resident);
    }
    for (unsigned gib = 0; gib < ROOT_ENTRIES; gib++)
        if (relaxed_load(&pagemap.root[gib]))
            resident += resident_bytes(pagemap_leaf((uintptr_t)gib << LEAF_SHIFT),
                                       sizeof(struct pagemap_leaf));
    return resident;
}

/* ---- large buffers: the program may never have touched all of what it asked for ---- */

static void count_cached_range(uintptr_t base, size_t bytes, void *context) {
    add_resident((void *)base, bytes, context);
}

static int64_t cached_resident_bytes(void) {
    int64_t resident = 0;
    cache_visit(count_cached_range, &resident);
    return resident;
}

/* What was asked for where the kernel cannot be asked. */
static int64_t buffer_resident_bytes(const void *p) {
    if (relaxed_load(&os_is_filtered)) return (int64_t)large_live_bytes(p);
    return resident_bytes(p, large_usable_bytes(p));
}

/* Buffers in use are found by the page map's bytes. Where those were never written they are not
 * read either: the kernel would map its page of zeros, and call the leaf resident. */
static int64_t large_resident_in(const struct pagemap_leaf *leaf, uintptr_t gib) {
    int64_t resident = 0;
    for (uintptr_t page = 0; page < LEAF_PAGES; page += OWNER_BYTES / PAGE_BYTES) {
        uintptr_t base = (gib << LEAF_SHIFT) + (page << PAGE_SHIFT);
        if (page % os_page_bytes == 0 && !resident_bytes(&leaf->page[page], 1)) {
            page += os_page_bytes - OWNER_BYTES / PAGE_BYTES;
            continue;
        }
        if (relaxed_load(&leaf->page[page]) == CLASS_LARGE)
            resident += buffer_resident_bytes((void *)base);
    }
    return resident;
}

static int64_t large_resident_bytes(void) {
    int64_t resident = 0;
    for (uintptr_t gib = 0; gib < ROOT_ENTRIES; gib++)
        if (relaxed_load(&pagemap.root[gib]))
            resident += large_resident_in(pagemap_leaf(gib << LEAF_SHIFT), gib);
    return resident;
}

/* Resident pages without a block; a page of a pool is counted by the arena's word. */
static int64_t retained_pages_walked(void) {
    int64_t pages = 0;
    for (uint32_t id = 0; id < atomic_load(&group_count); id++) {
        struct group *g = atomic_load(&group_table[id]);
        for (unsigned slot = 0; g && slot < GROUP_ARENAS; slot++)
            if (relaxed_load(&g->arena[slot].base))
                pages += count_bits(atomic_load(&g->arena[slot].retained));
    }
    return pages;
}

static uint64_t live_pages_of(const struct group *g, unsigned slot) {
    uint64_t live = 0;
    for (uint64_t pools = tier_pool_mask(g->tier); pools; pools &= pools - 1) {
        const struct pool *pool = &g->record[slot].pool[lowest_bit(pools)];
        if (atomic_load(&pool->state) != POOL_FREE) live |= pool->live << lowest_bit(pools);
    }
    return live;
}

/* Of those, the pages that share an OS page with a live one, and cannot go without it. */
static int64_t bound_pages_walked(void) {
    int64_t pages = 0;
    for (uint32_t id = 0; id < atomic_load(&group_count); id++) {
        struct group *g = atomic_load(&group_table[id]);
        for (unsigned slot = 0; g && slot < GROUP_ARENAS; slot++)
            if (relaxed_load(&g->arena[slot].base))
                pages += count_bits(atomic_load(&g->arena[slot].retained) &
                                    os_page_spread(live_pages_of(g, slot)));
    }
    return pages;
}

static void count_heaps(struct stats *s) {
    for (uint32_t id = 0; id < atomic_load(&heap_count); id++) {
        struct heap *heap = atomic_load(&heap_table[id]);
        if (!heap) continue;
        s->refills_total += (int64_t)relaxed_load(&heap->refills);
        s->spills_total += (int64_t)relaxed_load(&heap->spills);
    }
    for (unsigned c = 1; c < CLASSES; c++) {
        int64_t blocks = (int64_t)heap_waiting_blocks(c);
        s->magazine_blocks += blocks;
        s->magazine_bytes += blocks * class_table[c].block_bytes;
    }
}

void stats_collect(struct stats *s) {
    memset(s, 0, sizeof *s);
    arena_visit_pools(count_pool, s);
    count_heaps(s);
    int64_t large = large_resident_bytes(), bound = bound_pages_walked() * PAGE_BYTES;
    s->live_bytes += large - s->magazine_bytes;
    s->live_pages_bytes += large + bound;
    s->free_in_live_bytes = s->live_pages_bytes - s->live_bytes;
    s->retained_bytes = retained_pages_walked() * PAGE_BYTES - bound + cached_resident_bytes();
    s->metadata_bytes = metadata_resident_bytes();
    s->resident_heap_bytes =
        s->live_bytes + s->free_in_live_bytes + s->retained_bytes + s->metadata_bytes;
    s->arenas_current = relaxed_load(&counters.arenas);
    s->mapped_bytes = s->arenas_current * ARENA_BYTES + relaxed_load(&counters.large_mapped_bytes) +
                      relaxed_load(&counters.metadata_bytes) + (int64_t)pagemap_leaf_bytes();
    s->nonresident_bytes = s->mapped_bytes - s->resident_heap_bytes;
    s->released_bytes_total = rings_sum(counters.released_pages) * PAGE_BYTES;
    s->arenas_peak = relaxed_load(&counters.arenas_peak);
    s->arenas_mapped_total = relaxed_load(&counters.arenas_mapped);
    s->arenas_unmapped_total = relaxed_load(&counters.arenas_unmapped);
    s->large_current_bytes = large;
    int64_t untouched = relaxed_load(&counters.large_pages) * PAGE_BYTES - large;
    s->large_untouched_bytes = untouched > 0 ? untouched : 0; /* threads may have freed meanwhile */
    s->large_current = relaxed_load(&counters.large_count);
    s->program_mmap_bytes = relaxed_load(&counters.program_bytes);
    s->heaps_current = relaxed_load(&counters.heaps_open);
    s->trims_total = relaxed_load(&counters.trims);
    s->vmas_holes = relaxed_load(&counters.address_runs);
}

/* ---- verification ---- */

struct verdict {
    const char *fault;
    int64_t live_pages, taken_bytes;
};

static void verify_pool(struct pool *pool, unsigned class_id, void *context) {
    struct verdict *v = context;
    const struct class_info *info = &class_table[class_id];
    unsigned first = pool_first_page(pool), taken = taken_blocks(pool, info);
    uint32_t state = atomic_load(&pool->state);
    struct path partial = arena_path_partial(pool_group(pool), pool_slot(pool), class_id);
    bool is_hinted =
        atomic_load(partial.bits) >> first & 1 && atomic_load(partial.sum) >> partial.slot & 1;
    uint64_t in_use = info->tier ? pool_pages_in_use(pool, class_id) : taken > 0;
    const struct arena *arena = pool_arena(pool);

    v->live_pages += count_bits(pool->live);
    v->taken_bytes += (int64_t)taken * info->block_bytes;
    for (unsigned w = 0; w < info->words; w++)
        if (atomic_load(&pool->free[w]) & ~class_word_mask(info, w))
            v->fault = "a bit beyond the pool's blocks is set";
    if (state == POOL_LEASED)
        v->fault = "a pool is leased though nobody is at work";
    else if (!taken)
        v->fault = "a pool without taken blocks was not retired";
    if (state == POOL_LISTED && !is_hinted)
        v->fault = "a listed pool has no hint"; /* it may have no free block: a late return */
    if (state == POOL_FULL && taken != info->blocks) v->fault = "a full pool has free blocks";
    if (pool->live != in_use) v->fault = "a pool's live pages are not those with taken blocks";
    if (atomic_load(&arena->retained) & pool->live << first)
        v->fault = "a live page is counted as retained";
    if ((atomic_load(&arena->ready) | atomic_load(&arena->fresh)) >> first & 1)
        v->fault = "a pool in use is offered as free";
    for (unsigned page = 0; page < tier_pool_pages(info->tier); page++)
        if (pagemap_class(pool_base(pool) + page * (uintptr_t)PAGE_BYTES) != class_id)
            v->fault = "the page map has another class for a pool";
}

static bool is_hint_missing(const struct group *g, unsigned slot) {
    const struct arena *a = &g->arena[slot];
    bool missing = (atomic_load(&a->ready) && !(atomic_load(&g->ready) >> slot & 1)) ||
                   (atomic_load(&a->fresh) && !(atomic_load(&g->fresh) >> slot & 1));
    return missing || (atomic_load(&a->retained) && !(atomic_load(&g->retained) >> slot & 1));
}

static void verify_arena(const struct group *g, unsigned slot, struct verdict *v) {
    const struct arena *a = &g->arena[slot];
    uint64_t offered = atomic_load(&a->ready) | atomic_load(&a->fresh), in_use = 0;
    for (uint64_t pools = tier_pool_mask(g->tier); pools; pools &= pools - 1)
        if (atomic_load(&g->record[slot].pool[lowest_bit(pools)].state) != POOL_FREE)
            in_use |= pools & -pools;
    if (atomic_load(&a->ready) & atomic_load(&a->fresh))
        v->fault = "a pool is both ready and fresh";
    if ((offered | in_use) != tier_pool_mask(g->tier))
        v->fault = "a free pool is offered by no word";
    if (atomic_load(&g->unmapped) >> slot & 1) v->fault = "an arena in use is marked as unmapped";
    if (is_hint_missing(g, slot)) v->fault = "a sum does not know of an arena's word";
}

const char *heap_verify(void) {
    struct verdict v = {0};
    arena_visit_pools(verify_pool, &v);
    for (uint32_t id = 0; id < atomic_load(&group_count); id++) {
        struct group *g = atomic_load(&group_table[id]);
        for (unsigned slot = 0; g && slot < GROUP_ARENAS; slot++)
            if (relaxed_load(&g->arena[slot].base)) verify_arena(g, slot, &v);
    }
    if (v.live_pages != relaxed_load(&counters.live_pages) - relaxed_load(&counters.large_pages))
        v.fault = "live pages were miscounted";
    if (v.taken_bytes != relaxed_load(&counters.taken_bytes))
        v.fault = "taken bytes were miscounted";
    if (retained_pages_walked() != budget_arena_pages()) v.fault = "retained pages were miscounted";
    return v.fault;
}
