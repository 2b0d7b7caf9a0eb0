/* The page map: what pages are, and which addresses are starts of blocks. */
#include "unit.h"

static const uintptr_t GIB = 1ull << LEAF_SHIFT, somewhere = 100ull << LEAF_SHIFT;

TestSuite(pagemap, .init = core_init);

Test(pagemap, unknown_addresses_are_not_ours) {
    int local;
    static const uintptr_t wild[] = {0, 8, 4096, 1ull << 46, (1ull << 47) - 1, 1ull << 47, 1ull << 63, UINTPTR_MAX};
    for (unsigned i = 0; i < COUNT(wild); i++) cr_assert_eq(pagemap_class(wild[i]), CLASS_NONE);
    cr_assert_eq(pagemap_class((uintptr_t)&local), CLASS_NONE);
}

Test(pagemap, filling_changes_its_pages_and_no_other) {
    cr_assert(pagemap_reserve(somewhere, GIB));
    pagemap_fill(somewhere + 5 * PAGE_BYTES, 3 * PAGE_BYTES, 17);
    pagemap_fill(somewhere + 9 * PAGE_BYTES, PAGE_BYTES, CLASS_LARGE);
    for (unsigned page = 0; page < 12; page++) {
        unsigned expected = page >= 5 && page < 8 ? 17 : page == 9 ? CLASS_LARGE : CLASS_NONE;
        cr_assert_eq(pagemap_class(somewhere + page * PAGE_BYTES), expected);
        cr_assert_eq(pagemap_class(somewhere + page * PAGE_BYTES + PAGE_BYTES - 1), expected);
    }
}

Test(pagemap, filling_goes_on_in_the_next_leaf) {
    uintptr_t base = somewhere + GIB - 2 * PAGE_BYTES;
    cr_assert(pagemap_reserve(base, GIB + 4 * PAGE_BYTES));
    pagemap_fill(base, GIB + 4 * PAGE_BYTES, CLASS_LARGE_BODY);
    cr_assert_eq(pagemap_class(base - 1), CLASS_NONE);
    for (uintptr_t at = base; at < base + GIB + 4 * PAGE_BYTES; at += PAGE_BYTES) cr_assert_eq(pagemap_class(at), CLASS_LARGE_BODY);
    cr_assert_eq(pagemap_class(base + GIB + 4 * PAGE_BYTES), CLASS_NONE);
}

Test(pagemap, leaves_are_made_once_for_each_gib) {
    size_t before = pagemap_leaf_bytes();
    cr_assert(pagemap_reserve(somewhere + PAGE_BYTES, PAGE_BYTES));
    cr_assert_eq(pagemap_leaf_bytes() - before, sizeof(struct pagemap_leaf));
    cr_assert(pagemap_reserve(somewhere, GIB));
    cr_assert_eq(pagemap_leaf_bytes() - before, sizeof(struct pagemap_leaf));
    cr_assert(pagemap_reserve(somewhere + GIB - PAGE_BYTES, 2 * PAGE_BYTES));
    cr_assert_eq(pagemap_leaf_bytes() - before, 2 * sizeof(struct pagemap_leaf));
}

Test(pagemap, no_leaf_without_memory_or_beyond_the_address_space) {
    unit_watch_kernel();
    unit_kernel.mmaps_left = 0;
    cr_assert_not(pagemap_reserve(somewhere, PAGE_BYTES));
    cr_assert_eq(pagemap_class(somewhere), CLASS_NONE);
    unit_kernel.mmaps_left = -1;
    cr_assert(pagemap_reserve(somewhere, PAGE_BYTES));
    cr_assert_not(pagemap_reserve((1ull << 47) - PAGE_BYTES, 2 * PAGE_BYTES));
}

Test(pagemap, owners_are_one_for_each_64_kib) {
    cr_assert(pagemap_reserve(somewhere, 2 * GIB));
    for (uintptr_t i = 0; i < 2 * LEAF_OWNERS; i++) relaxed_store(pagemap_owner(somewhere + i * OWNER_BYTES), i + 1);
    for (uintptr_t i = 0; i < 2 * LEAF_OWNERS; i++) {
        cr_assert_eq(relaxed_load(pagemap_owner(somewhere + i * OWNER_BYTES)), i + 1);
        cr_assert_eq(relaxed_load(pagemap_owner(somewhere + i * OWNER_BYTES + OWNER_BYTES - 1)), i + 1);
    }
    cr_assert_eq(pagemap_class(somewhere), CLASS_NONE, "owners and bytes do not overlap");
}

/* Every address of a pool of every class. */
Test(pagemap, blocks_begin_at_multiples_and_nowhere_else) {
    for (unsigned c = 1; c < CLASSES; c++) {
        const struct class_info *info = &class_table[c];
        uintptr_t pool = tier_pool_pages(info->tier) * (uintptr_t)PAGE_BYTES;
        for (uintptr_t offset = 0; offset < pool; offset++) {
            bool is_start = offset % info->block_bytes == 0 && offset / info->block_bytes < info->blocks;
            if (pagemap_is_block_start(somewhere + offset, c) != is_start) cr_assert_fail("class %u, offset %lu", c, offset);
        }
    }
}

Test(pagemap, what_is_no_class_has_no_blocks) {
    static const unsigned none[] = {CLASS_NONE, CLASS_FREE, CLASS_LARGE, CLASS_LARGE_BODY};
    for (unsigned i = 0; i < COUNT(none); i++)
        for (uintptr_t offset = 0; offset < PAGE_BYTES; offset++) cr_assert_not(pagemap_is_block_start(somewhere + offset, none[i]));
}

static void reserve_everywhere(unsigned index, void *context) {
    (void)index;
    for (uintptr_t gib = 0; gib < 64; gib++) {
        uintptr_t at = somewhere + gib * GIB;
        if (!pagemap_reserve(at, GIB)) atomic_fetch_add((_Atomic(int) *)context, 1);
        relaxed_store(pagemap_owner(at + index * (uintptr_t)OWNER_BYTES), gib + 1);
    }
}

/* Two leaves for one GiB would lose what was written to the first. */
Test(pagemap, threads_make_one_leaf_between_them) {
    _Atomic(int) refused = 0;
    size_t before = pagemap_leaf_bytes();
    unit_watch_kernel();
    unit_run_threads(4, reserve_everywhere, &refused);
    cr_assert_eq(refused, 0);
    cr_assert_eq(pagemap_leaf_bytes() - before, 64 * sizeof(struct pagemap_leaf));
    cr_assert_eq((size_t)unit_kernel.mapped_bytes, 64 * sizeof(struct pagemap_leaf), "the loser's leaf was not unmapped");
    for (uintptr_t gib = 0; gib < 64; gib++)
        for (unsigned i = 0; i < 4; i++) cr_assert_eq(*pagemap_owner(somewhere + gib * GIB + i * (uintptr_t)OWNER_BYTES), gib + 1);
}

static bool is_overtaken;
static void overtake(void) {
    if (is_overtaken) return;
    is_overtaken = true;
    cr_assert(pagemap_reserve(somewhere, PAGE_BYTES));
    relaxed_store(pagemap_owner(somewhere), 1);
}

/* Another leaf is published while the kernel is asked for ours. */
Test(pagemap, second_leaf_for_a_gib_is_given_back) {
    unit_watch_kernel();
    unit_kernel.on_call = overtake;
    cr_assert(pagemap_reserve(somewhere, PAGE_BYTES));
    cr_assert_eq(relaxed_load(pagemap_owner(somewhere)), 1, "what was written to the first leaf is lost");
    cr_assert_eq((size_t)unit_kernel.mapped_bytes, sizeof(struct pagemap_leaf));
    cr_assert_eq(pagemap_leaf_bytes(), sizeof(struct pagemap_leaf));
}
