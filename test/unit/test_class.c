/* Size classes: the arithmetic that everything else trusts. */
#include "unit.h"

TestSuite(class, .init = class_init);

Test(class, request_gets_the_smallest_class_that_serves_it) {
    for (size_t bytes = 1; bytes <= SLAB_MAX; bytes++) {
        unsigned c = class_of_request(bytes);
        cr_assert(is_block_class(c), "%zu B got class %u", bytes, c);
        cr_assert_geq(class_table[c].block_bytes, bytes);
        cr_assert_lt(class_table[c - 1].block_bytes, bytes, "%zu B fit class %u too", bytes, c - 1);
    }
}

Test(class, nothing_counts_as_one_byte) { cr_assert_eq(class_of_request(0), class_of_request(1)); }

Test(class, small_classes_are_steps_of_16) {
    for (unsigned c = 1; c <= SMALL_CLASSES; c++) cr_assert_eq(class_table[c].block_bytes, 16 * c);
    cr_assert_eq(class_table[SMALL_CLASSES].block_bytes, SMALL_MAX);
}

Test(class, slab_classes_are_at_most_an_eighth_apart) {
    for (unsigned c = SMALL_CLASSES + 1; c < CLASSES; c++) {
        uint32_t here = class_table[c].block_bytes, before = class_table[c - 1].block_bytes;
        cr_assert_gt(here, before);
        cr_assert_leq((uint64_t)(here - before) * 8, before, "class %u: %u after %u", c, here, before);
    }
    cr_assert_eq(class_table[CLASSES - 1].block_bytes, SLAB_MAX);
}

Test(class, all_block_sizes_are_multiples_of_16) {
    for (unsigned c = 1; c < CLASSES; c++) cr_assert_eq(class_table[c].block_bytes % 16, 0);
}

Test(class, pool_holds_as_many_blocks_as_fit) {
    for (unsigned c = 1; c < CLASSES; c++) {
        const struct class_info *info = &class_table[c];
        uint64_t pool = (uint64_t)tier_pool_pages(info->tier) * PAGE_BYTES, used = (uint64_t)info->blocks * info->block_bytes;
        cr_assert_leq(used, pool);
        cr_assert_gt(used + info->block_bytes, pool);
    }
}

Test(class, eight_blocks_share_a_pool_up_to_32_kib) {
    for (unsigned c = 1; c < CLASSES; c++)
        cr_assert(class_table[c].blocks >= 8 || class_table[c].block_bytes > 32768, "class %u: %u blocks", c, class_table[c].blocks);
}

/* Pools of several pages are handled as one word of blocks. */
Test(class, bitmap_words_stand_for_the_blocks) {
    for (unsigned c = 1; c < CLASSES; c++) {
        const struct class_info *info = &class_table[c];
        unsigned bits = 0;
        for (unsigned w = 0; w < info->words; w++) bits += count_bits(class_word_mask(info, w));
        cr_assert_eq(bits, info->blocks);
        cr_assert_leq(info->words, info->tier ? 1 : 4);
    }
}

Test(class, reciprocal_gives_the_index_of_every_block) {
    for (unsigned c = 1; c < CLASSES; c++)
        for (uint64_t block = 0; block < class_table[c].blocks; block++)
            cr_assert_eq(block * class_table[c].block_bytes * class_table[c].reciprocal >> 32, block, "class %u, block %lu", c, block);
}

Test(class, every_class_has_a_place_of_its_own_in_its_tier) {
    bool is_used[TIERS][TIER_CLASSES] = {0};
    for (unsigned c = 1; c < CLASSES; c++) {
        const struct class_info *info = &class_table[c];
        cr_assert_lt(info->tier, TIERS);
        cr_assert_lt(info->in_tier, TIER_CLASSES);
        cr_assert_not(is_used[info->tier][info->in_tier]);
        is_used[info->tier][info->in_tier] = true;
    }
}

static unsigned most_pages_of_a_block(const struct class_info *info) {
    unsigned most = 0;
    for (uint32_t i = 0; i < info->blocks; i++) {
        uint32_t start = i * info->block_bytes, end = start + info->block_bytes - 1;
        unsigned pages = (end >> PAGE_SHIFT) - (start >> PAGE_SHIFT) + 1;
        if (pages > most) most = pages;
    }
    return most;
}

/* Less would let magazines pin more than their allowance. */
Test(class, page_weight_covers_what_a_block_can_pin) {
    for (unsigned c = 1; c < CLASSES; c++) {
        unsigned most = most_pages_of_a_block(&class_table[c]), weight = class_table[c].page_weight;
        cr_assert(weight >= most && weight <= most + 1, "class %u: weight %u, a block is on %u pages", c, weight, most);
    }
}

Test(class, magazines_get_smaller_with_the_block) {
    cr_assert_eq(class_table[1].magazine_blocks, MAGAZINE_BLOCKS);
    for (unsigned c = 2; c < CLASSES; c++) {
        cr_assert_leq(class_table[c].magazine_blocks, class_table[c - 1].magazine_blocks);
        cr_assert_eq(class_table[c].magazine_blocks == 1, class_table[c].block_bytes > 32768);
    }
}

Test(class, pool_mask_has_a_bit_a_pool) {
    static const unsigned pages[TIERS] = {1, 4, 16, 64};
    for (unsigned tier = 0; tier < TIERS; tier++) {
        uint64_t mask = 0;
        for (unsigned page = 0; page < ARENA_PAGES; page += pages[tier]) mask |= 1ull << page;
        cr_assert_eq(tier_pool_pages(tier), pages[tier]);
        cr_assert_eq(tier_pool_mask(tier), mask);
    }
}

Test(class, only_classes_hold_blocks) {
    for (unsigned c = 0; c < 256; c++) cr_assert_eq(is_block_class(c), c > 0 && c < CLASSES);
    cr_assert_lt(CLASS_LARGE_BODY, 256, "the page map has a byte a page");
}

ParameterizedTestParameters(class, aligned_request_gets_the_smallest_fitting_class) {
    static size_t alignments[20];
    for (unsigned i = 0; i < COUNT(alignments); i++) alignments[i] = (size_t)1 << i;
    return cr_make_param_array(size_t, alignments, COUNT(alignments));
}

/* By the meaning: every block of the pool begins at a multiple of the alignment. */
static unsigned smallest_aligned(size_t alignment, size_t bytes) {
    for (unsigned c = 1; c < CLASSES; c++) {
        size_t pool = (size_t)tier_pool_pages(class_table[c].tier) * PAGE_BYTES;
        if (class_table[c].block_bytes >= bytes && class_table[c].block_bytes % alignment == 0 && pool % alignment == 0) return c;
    }
    return 0;
}

ParameterizedTest(size_t *alignment, class, aligned_request_gets_the_smallest_fitting_class) {
    for (size_t bytes = 1; bytes < SLAB_MAX + 100; bytes += 1 + bytes / 16)
        cr_assert_eq(class_of_aligned(*alignment, bytes), smallest_aligned(*alignment, bytes), "alignment %zu, %zu B", *alignment, bytes);
}

Test(class, aligned_request_beyond_slabs_has_no_class) {
    cr_assert_eq(class_of_aligned(16, SLAB_MAX + 1), 0);
    cr_assert_eq(class_of_aligned(2 * ARENA_BYTES, 16), 0);
    cr_assert_neq(class_of_aligned(SLAB_MAX, SLAB_MAX), 0);
}
