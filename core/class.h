/* Size classes: which class serves a request, and the arithmetic of its pools.
 *
 * Small: 16-byte steps to 512 B, in pools of one page. Slabs: 8 classes for each doubling to 128
 * KiB (at most 12.5 % apart), in pools of 4, 16 and 64 pages, so that at least 8 blocks share one
 * up to 32 KiB and what a pool leaves at its end is never touched, hence not resident. The class of
 * a small request is its size in 16-byte steps, so the fast path needs no table.
 */
#ifndef LOWTIDE_CORE_CLASS_H
#define LOWTIDE_CORE_CLASS_H

#include "types.h"

struct class_info {
    uint32_t block_bytes;
    uint32_t reciprocal; /* ceil(2^32 / block_bytes): offset * reciprocal >> 32 = block's index */
    uint16_t blocks;     /* in a pool */
    uint8_t tier;
    uint8_t in_tier;         /* index among the tier's classes */
    uint8_t words;           /* of the bitmap in use */
    uint8_t magazine_blocks; /* the most a thread may hold; 0: no magazine */
    uint8_t page_weight;     /* pages one block can pin */
};

extern HIDDEN struct class_info class_table[CLASSES];

/* Fills the table; called once, before anything else of core. */
HIDDEN void class_init(void);

/* The class for a request of 1 to SLAB_MAX bytes (0 counts as 1). */
static inline unsigned class_of_request(size_t bytes) {
    if (bytes <= SMALL_MAX) return bytes ? (unsigned)(bytes + 15) / 16 : 1;
    size_t top = bytes - 1;
    unsigned e = 63u - (unsigned)__builtin_clzll(top);
    return 1 + SMALL_CLASSES + (e - 9) * 8 + (unsigned)(top >> (e - 3) & 7);
}

static inline bool is_block_class(unsigned class_id) { return class_id - 1u < CLASSES - 1u; }

static inline unsigned tier_pool_pages(unsigned tier) { return 1u << 2 * tier; }

/* The first pages of all pools of an arena of this tier. */
static inline uint64_t tier_pool_mask(unsigned tier) {
    static const uint64_t mask[TIERS] = {~0ull, 0x1111111111111111ull, 0x0001000100010001ull, 1ull};
    return mask[tier];
}

/* The bits of bitmap word `w` that stand for blocks. */
static inline uint64_t class_word_mask(const struct class_info *info, unsigned w) {
    unsigned rest = info->blocks - w * 64u;
    return rest >= 64 ? ~0ull : (1ull << rest) - 1;
}

/* The smallest class that serves `bytes` at addresses that are multiples of `alignment` (a power of
 * two), or 0 if only a mapping of its own can. */
HIDDEN unsigned class_of_aligned(size_t alignment, size_t bytes);

#endif
