/* For what, and who owns what meanwhile: release.h. */
#include "release.h"

#include "arena.h"
#include "budget.h"
#include "pool.h"

static void give_pools_back(const struct release_part *part) {
    if (part->leased)
        pool_unlease(part->leased);
    else
        arena_return_pools(part->group, part->slot, part->pools);
}

/* The first run of pages in the word. */
static uint64_t first_run(uint64_t pages) {
    unsigned from = lowest_bit(pages);
    uint64_t rest = ~(pages >> from);
    return bit_run(from, rest ? lowest_bit(rest) : 64 - from);
}

static unsigned count_runs(uint64_t pages) { return count_bits(pages & ~(pages << 1)); }

static void add_ranges(struct release *r, uintptr_t base, uint64_t pages) {
    while (pages) {
        uint64_t run = first_run(pages);
        r->range[r->ranges++] = (struct iovec){(void *)(base + lowest_bit(run) * PAGE_BYTES),
                                               count_bits(run) * (size_t)PAGE_BYTES};
        pages &= ~run;
    }
}

static void add_part(struct release *r, struct release_part part) {
    if (!part.pages) {
        give_pools_back(&part);
        return;
    }
    if (r->ranges + count_runs(part.pages) > OS_RANGES) release_run(r);
    const struct arena *arena = &part.group->arena[part.slot];
    add_ranges(r, relaxed_load(&arena->base), part.pages);
    r->part[r->parts++] = part;
    r->planned += count_bits(part.pages & atomic_load(&arena->retained));
}

void release_free_pools(struct release *r, struct group *g, unsigned slot, uint64_t pools,
                        uint64_t pages) {
    add_part(r, (struct release_part){.group = g, .slot = slot, .pools = pools, .pages = pages});
}

void release_leased_pool(struct release *r, struct pool *pool, uint64_t pages) {
    add_part(
        r, (struct release_part){
               .group = pool_group(pool), .slot = pool_slot(pool), .leased = pool, .pages = pages});
}

/* `done` has a bit for each run, the part's first lowest. */
static size_t settle_part(const struct release_part *part, uint64_t done) {
    uint64_t released = 0;
    for (uint64_t left = part->pages; left; done >>= 1) {
        uint64_t run = first_run(left);
        if (done & 1) released |= run;
        left &= ~run;
    }
    if (os_return_lazily) { /* they stay retained, and need not be offered again */
        word_or(&part->group->arena[part->slot].offered, released);
        released = 0;
    }
    struct path retained = arena_path_retained(part->group, part->slot);
    unsigned pages = count_bits(released & path_remove(&retained, released));
    arena_count_released(part->group->tier, pages);
    give_pools_back(part);
    return pages;
}

size_t release_run(struct release *r) {
    uint64_t done = os_release_ranges(r->range, r->ranges);
    for (unsigned i = 0; i < r->parts; i++) {
        unsigned runs = count_runs(r->part[i].pages);
        r->done += settle_part(&r->part[i], done);
        done = runs < 64 ? done >> runs : 0;
    }
    r->ranges = r->parts = 0;
    r->planned = 0;
    return r->done;
}
