/* Arenas: who owns a free pool, in which order pools come, and how memory goes back. */
#include "unit.h"

#include <stdlib.h>
#include <sys/mman.h>

static void start(void) {
    core_init();
    unit_watch_kernel();
}
TestSuite(arena, .init = start);

static const unsigned class_of_tier[TIERS] = {4, 40, 56, 80};

ParameterizedTestParameters(arena, claimed_pool_is_whole_and_knows_its_place) {
    static unsigned tiers[] = {0, 1, 2, 3};
    return cr_make_param_array(unsigned, tiers, TIERS);
}
ParameterizedTest(unsigned *tier, arena, claimed_pool_is_whole_and_knows_its_place) {
    unsigned last = 0;
    for (unsigned i = 0; i < 64 / tier_pool_pages(*tier); i++) {
        struct pool *pool = arena_claim_pool(*tier);
        uintptr_t base = pool_base(pool);
        cr_assert_eq(pool->state, POOL_FREE);
        cr_assert_eq(base % (tier_pool_pages(*tier) * PAGE_BYTES), 0);
        cr_assert_eq(pagemap_class(base), CLASS_FREE);
        cr_assert_eq(pool_of_address(base + PAGE_BYTES - 1, *tier), pool);
        cr_assert_eq(&pool_group(pool)->record[pool_slot(pool)].pool[pool_first_page(pool)], pool);
        cr_assert_eq(pool_group(pool)->tier, *tier);
        cr_assert(i == 0 || pool_first_page(pool) > last, "lowest first");
        last = pool_first_page(pool);
    }
    cr_assert_eq(counters.arenas, 1);
    arena_claim_pool(*tier);
    cr_assert_eq(counters.arenas, 2);
}

Test(arena, lowest_returned_pool_comes_first) {
    struct pool *pool[8];
    for (unsigned i = 0; i < 8; i++) pool[i] = arena_claim_pool(0);
    arena_return_pool(pool[5]);
    arena_return_pool(pool[2]);
    cr_assert_eq(arena_claim_pool(0), pool[2]);
    cr_assert_eq(arena_claim_pool(0), pool[5]);
}

/* Fills `n` pools of the tier's class, returns their blocks' number. */
static unsigned take_pools(unsigned tier, unsigned n, void **blocks) {
    unsigned class_id = class_of_tier[tier], want = n * class_table[class_id].blocks, got = 0;
    while (got < want) got += pool_take(class_id, want - got, blocks + got, NULL);
    for (unsigned i = 0; i < want; i++) memset(blocks[i], 1, class_table[class_id].block_bytes);
    return want;
}

static void *blocks[1 << 16];

Test(arena, resident_pool_comes_before_a_fresh_one) {
    unsigned n = take_pools(0, 2, blocks), half = n / 2;
    struct pool *first = pool_of_address((uintptr_t)blocks[0], 0), *second = pool_of_address((uintptr_t)blocks[half], 0);
    pool_return(class_of_tier[0], blocks, half);
    arena_release(1, ALL_TIERS);
    pool_return(class_of_tier[0], blocks + half, half);
    cr_assert_lt(first, second);
    cr_assert_eq(arena_claim_pool(0), second);
    cr_assert_eq(arena_claim_pool(0), first);
}

ParameterizedTestParameters(arena, what_is_free_goes_back) {
    static unsigned tiers[] = {0, 1, 2, 3};
    return cr_make_param_array(unsigned, tiers, TIERS);
}
ParameterizedTest(unsigned *tier, arena, what_is_free_goes_back) {
    unsigned pools = 3 * 64 / tier_pool_pages(*tier), n = take_pools(*tier, pools, blocks);
    uintptr_t base = pool_base(pool_of_address((uintptr_t)blocks[0], *tier));
    cr_assert_eq(counters.arenas, 3);
    pool_return(class_of_tier[*tier], blocks, n);
    int64_t retained = budget_arena_pages();
    cr_assert_gt(retained, 0);
    assert_sound();
    cr_assert_eq(arena_release(SIZE_MAX, ALL_TIERS), (size_t)retained);
    cr_assert(budget_arena_pages() == 0 && counters.arenas == 0 && counters.arenas_unmapped == 3);
    cr_assert_eq(rings_sum(counters.released_pages), retained);
    cr_assert_eq(counters.address_runs, 0);
    cr_assert_eq(pagemap_class(base), CLASS_NONE);
    assert_sound();
    take_pools(*tier, 1, blocks);
    cr_assert(counters.arenas == 1 && counters.arenas_peak == 3);
    assert_sound();
}

/* The record reads as zero for whoever comes late. */
Test(arena, record_of_an_unmapped_arena_is_zero) {
    unsigned n = take_pools(0, 64, blocks);
    struct pool *pool = pool_of_address((uintptr_t)blocks[0], 0);
    pool_return(class_of_tier[0], blocks, n);
    cr_assert_eq(pool->class_id, class_of_tier[0]);
    arena_release(SIZE_MAX, ALL_TIERS);
    cr_assert(pool->class_id == 0 && pool->state == POOL_FREE);
}

Test(arena, release_begins_at_the_highest_and_stops_when_done) {
    unsigned n = take_pools(0, 3 * 64, blocks), each = class_table[class_of_tier[0]].blocks;
    struct pool *lowest = pool_of_address((uintptr_t)blocks[0], 0);
    pool_return(class_of_tier[0], blocks, 64 * each);
    pool_return(class_of_tier[0], blocks + 128 * each, 64 * each);
    cr_assert_eq(arena_release(10, ALL_TIERS), 64);
    cr_assert_eq(budget_arena_pages(), 64);
    cr_assert_eq(arena_claim_pool(0), lowest, "the lower arena is still resident");
    arena_return_pool(lowest);
    pool_return(class_of_tier[0], blocks + 64 * each, n - 128 * each);
    assert_sound();
}

static bool is_resident(uintptr_t page) {
    unsigned char in;
    return mincore((void *)page, PAGE_BYTES, &in) == 0 && (in & 1);
}

Test(arena, free_page_beside_live_ones_is_released_alone) {
    unsigned n = take_pools(0, 3, blocks), each = n / 3;
    uintptr_t page = pool_base(pool_of_address((uintptr_t)blocks[each], 0));
    pool_return(class_of_tier[0], blocks + each, each);
    cr_assert(is_resident(page));
    cr_assert_eq(arena_release(1, ALL_TIERS), 1);
    cr_assert(!is_resident(page) && is_resident(page - PAGE_BYTES) && is_resident(page + PAGE_BYTES));
    cr_assert_eq(counters.arenas, 1);
    assert_sound();
}

Test(arena, page_inside_a_slab_is_released_alone) {
    unsigned n = take_pools(2, 1, blocks), class_id = class_of_tier[2];
    pool_return(class_id, blocks + n / 2, n - n / 2);
    int64_t retained = budget_arena_pages();
    cr_assert_gt(retained, 4);
    cr_assert_eq(arena_release(SIZE_MAX, ALL_TIERS), (size_t)retained);
    for (unsigned i = 0; i < n / 2; i++) cr_assert_eq(*((char *)blocks[i] + 100), 1);
    assert_sound();
}

/* ---- a kernel that refuses ---- */

Test(arena, without_memory_there_is_no_pool) {
    unit_kernel.mmaps_left = 0;
    cr_assert_null(arena_claim_pool(1));
    unit_kernel.mmaps_left = 1; /* a group, but no arena */
    cr_assert_null(arena_claim_pool(1));
    cr_assert_eq(counters.arenas, 0);
    unit_kernel.mmaps_left = -1;
    cr_assert_not_null(arena_claim_pool(1));
    cr_assert_eq(counters.arenas, 1);
}

static void release_all(unsigned pools) {
    unsigned n = take_pools(0, pools, blocks);
    pool_return(class_of_tier[0], blocks, n);
    arena_release(SIZE_MAX, ALL_TIERS);
}

Test(arena, what_cannot_be_unmapped_is_released_in_place) {
    unit_kernel.munmaps_left = 0;
    release_all(64);
    cr_assert(counters.arenas == 1 && budget_arena_pages() == 0 && rings_sum(counters.released_pages) == 64);
    assert_sound();
    take_pools(0, 64, blocks);
    cr_assert_eq(counters.arenas, 1, "it is used again");
    assert_sound();
}

Test(arena, what_could_not_be_unmapped_is_tried_again) {
    cr_assert_not(arena_unmap_kept());
    unit_kernel.munmaps_left = 0;
    release_all(64);
    cr_assert_not(arena_unmap_kept());
    cr_assert_eq(counters.arenas, 1);
    unit_kernel.munmaps_left = -1;
    cr_assert(arena_unmap_kept());
    cr_assert_eq(counters.arenas, 0);
    cr_assert_not(arena_unmap_kept());
    assert_sound();
    take_pools(0, 64, blocks);
    assert_sound();
}

Test(arena, too_many_holes_are_not_made) {
    relaxed_store(&limits.max_holes, 0);
    release_all(64);
    cr_assert(counters.arenas == 1 && budget_arena_pages() == 0);
    assert_sound();
}

Test(arena, what_cannot_be_released_stays_retained) {
    unit_kernel.munmaps_left = unit_kernel.releases_left = 0;
    release_all(64);
    cr_assert(counters.arenas == 1 && budget_arena_pages() == 64 && rings_sum(counters.released_pages) == 0);
    assert_sound();
    unit_kernel.munmaps_left = unit_kernel.releases_left = -1;
    cr_assert_eq(arena_release(SIZE_MAX, ALL_TIERS), 64);
    cr_assert_eq(counters.arenas, 0);
}

/* ---- LOWTIDE_RETURN=free ---- */

ParameterizedTestParameters(arena, what_the_kernel_may_take_is_offered_once) {
    static unsigned tiers[] = {0, 1, 2, 3};
    return cr_make_param_array(unsigned, tiers, TIERS);
}
ParameterizedTest(unsigned *tier, arena, what_the_kernel_may_take_is_offered_once) {
    os_return_lazily = true;
    relaxed_store(&limits.max_holes, 0);
    unsigned class_id = class_of_tier[*tier], n = take_pools(*tier, 64 / tier_pool_pages(*tier), blocks), kept = n / 2;
    pool_return(class_id, blocks + kept, n - kept);
    int64_t retained = budget_arena_pages();
    cr_assert_eq(arena_release(SIZE_MAX, ALL_TIERS), 0);
    cr_assert(budget_arena_pages() == retained && rings_sum(counters.released_pages) == 0, "it is never counted as released");
    long calls = unit_kernel.releases;
    cr_assert_gt(calls, 0);
    arena_release(SIZE_MAX, ALL_TIERS);
    cr_assert_eq(unit_kernel.releases, calls, "again");
    cr_assert_eq(pool_take(class_id, 1, blocks + kept, NULL), 1);
    pool_return(class_id, blocks + kept, 1);
    arena_release(SIZE_MAX, ALL_TIERS);
    cr_assert_eq(unit_kernel.releases, calls + 1, "only what was used since");
    unit_kernel.releases_left = 0;
    pool_return(class_id, blocks, kept);
    arena_release(SIZE_MAX, ALL_TIERS);
    unit_kernel.releases_left = -1;
    calls = unit_kernel.releases;
    arena_release(SIZE_MAX, ALL_TIERS);
    cr_assert_gt(unit_kernel.releases, calls, "what was refused is tried again");
    assert_sound();
}

/* ---- larger OS pages ---- */

ParameterizedTestParameters(arena, only_whole_os_pages_are_released) {
    static size_t sizes[] = {16384, 65536};
    return cr_make_param_array(size_t, sizes, COUNT(sizes));
}
ParameterizedTest(size_t *page, arena, only_whole_os_pages_are_released) {
    os_page_bytes = *page;
    unsigned n = take_pools(0, 64, blocks), each = n / 64, whole = (unsigned)(*page / PAGE_BYTES);
    pool_return(class_of_tier[0], blocks + each, (2 * whole - 1) * each);
    cr_assert_eq(budget_arena_pages(), 2 * whole - 1);
    cr_assert_eq(arena_release(SIZE_MAX, ALL_TIERS), whole);
    cr_assert_eq(budget_arena_pages(), whole - 1);
    cr_assert_eq(*((char *)blocks[0] + 20), 1, "a neighbour on the same OS page is untouched");
    cr_assert_not(unit_kernel.is_crooked);
    assert_sound();
}

/* ---- many ---- */

/* Tier 3 has one pool an arena, a group has 64 arenas. */
Test(arena, more_than_one_group) {
    static struct pool *pool[300];
    for (unsigned i = 0; i < 300; i++) pool[i] = arena_claim_pool(3);
    cr_assert(counters.arenas >= 300 && counters.arenas < 320, "%ld", (long)counters.arenas);
    cr_assert_geq(group_count, 5);
    for (unsigned i = 0; i < 300; i++) arena_return_pool(pool[i]);
    for (unsigned i = 0; i < 300; i++) cr_assert_eq(arena_claim_pool(3), pool[i]);
    for (unsigned i = 0; i < 300; i++) arena_return_pool(pool[i]);
    assert_sound();
}

static _Atomic(uint8_t) claims[8][GROUP_ARENAS][ARENA_PAGES];
static _Atomic(uint8_t) *claims_of(const struct pool *pool) {
    return &claims[pool_group(pool)->id % 8][pool_slot(pool)][pool_first_page(pool)];
}

static void claim_and_return(unsigned index, void *twice) {
    struct pool *mine[32];
    (void)index;
    for (unsigned round = 0; round < 200; round++) {
        for (unsigned i = 0; i < 32; i++) {
            mine[i] = arena_claim_pool(0);
            if (atomic_fetch_add(claims_of(mine[i]), 1)) atomic_fetch_add((_Atomic(int) *)twice, 1);
        }
        for (unsigned i = 0; i < 32; i++) {
            atomic_fetch_sub(claims_of(mine[i]), 1);
            arena_return_pool(mine[i]);
        }
    }
}

Test(arena, threads_never_own_the_same_pool) {
    _Atomic(int) twice = 0;
    unit_run_threads(4, claim_and_return, &twice);
    cr_assert_eq(twice, 0);
    assert_sound();
}

static void take_and_return_or_release(unsigned index, void *context) {
    (void)context;
    void *mine[200];
    unsigned class_id = class_of_tier[index % TIERS];
    for (unsigned round = 0; round < 300; round++) {
        if (index >= 4) {
            arena_release(SIZE_MAX, ALL_TIERS);
            continue;
        }
        unsigned want = class_table[class_id].blocks * 3, n = pool_take(class_id, want < 200 ? want : 200, mine, NULL);
        for (unsigned i = 0; i < n; i++) memset(mine[i], (int)index + 1, 16);
        for (unsigned i = 0; i < n; i++)
            if (*(char *)mine[i] != (char)(index + 1)) abort();
        pool_return(class_id, mine, n);
    }
}

Test(arena, release_races_with_take_and_return) {
    unit_run_threads(6, take_and_return_or_release, NULL);
    assert_sound();
    cr_assert_eq(counters.taken_bytes, 0);
    arena_release(SIZE_MAX, ALL_TIERS);
    cr_assert_eq(budget_arena_pages(), 0);
    assert_sound();
}
