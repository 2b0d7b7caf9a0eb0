#include "class.h"

struct class_info class_table[CLASSES];

static uint32_t class_bytes(unsigned class_id) {
    if (class_id <= SMALL_CLASSES) return class_id * 16;
    unsigned n = class_id - SMALL_CLASSES - 1, e = 9 + n / 8;
    return (1u << e) + ((n % 8 + 1) << (e - 3));
}

static unsigned class_tier(uint32_t bytes) {
    return bytes <= 512 ? 0 : bytes <= 2048 ? 1 : bytes <= 8192 ? 2 : 3;
}

/* A magazine may pin a page a block, so the larger the block the fewer. */
static uint8_t class_magazine_blocks(uint32_t bytes) {
    if (bytes <= 512) return MAGAZINE_BLOCKS;
    return bytes <= 1024    ? 63
           : bytes <= 2048  ? 31
           : bytes <= 4096  ? 15
           : bytes <= 8192  ? 7
           : bytes <= 32768 ? 3
                            : 1;
}

void class_init(void) {
    unsigned in_tier[TIERS] = {0};
    for (unsigned c = 1; c < CLASSES; c++) {
        struct class_info *info = &class_table[c];
        uint32_t bytes = class_bytes(c);
        info->block_bytes = bytes;
        info->reciprocal = (uint32_t)((1ull << 32) / bytes + ((1ull << 32) % bytes != 0));
        info->tier = (uint8_t)class_tier(bytes);
        info->in_tier = (uint8_t)in_tier[info->tier]++;
        info->blocks = (uint16_t)(tier_pool_pages(info->tier) * PAGE_BYTES / bytes);
        info->words = (uint8_t)((info->blocks + 63) / 64);
        info->magazine_blocks = class_magazine_blocks(bytes);
        info->page_weight = (uint8_t)(1u + (bytes > SMALL_MAX) + (bytes - 1) / PAGE_BYTES);
    }
}

unsigned class_of_aligned(size_t alignment, size_t bytes) {
    if (bytes > SLAB_MAX || alignment > ARENA_BYTES) return 0;
    for (unsigned c = class_of_request(bytes); c < CLASSES; c++) {
        const struct class_info *info = &class_table[c];
        if (info->block_bytes % alignment == 0 &&
            alignment <= tier_pool_pages(info->tier) * (size_t)PAGE_BYTES)
            return c;
    }
    return 0;
}
