/* A bitmap of bitmaps: which of up to 65,536 ids (groups, heaps) have something.
 *
 * Three levels of 64-bit words; every search is count-trailing-zeros three times. A bit says
 * "maybe": index_set is called after the thing itself was made visible, index_settle clears the bit
 * and then looks at the thing again, so a bit may be set for nothing but is not missing once both
 * calls have returned. (The same rule holds between the words of an arena and those of its group.)
 * Who finds a bit sees what was made visible before it: the thing's entry in its table, for one.
 * No locks; all-zero is an empty index.
 */
#ifndef LOWTIDE_CORE_INDEX_H
#define LOWTIDE_CORE_INDEX_H

#include "atomics.h"

#define INDEX_NONE UINT32_MAX

/* All there are. The first words of the bottom, which is all that most programs come to use, lie
 * beside the rest, so that the indices of many classes share pages. */
enum { INDEX_NEAR = 4, INDEX_FAR = 1024 - INDEX_NEAR };
enum index_name {
    INDEX_PARTIAL = 0,                 /* groups with listed pools of each class; [0] is nobody's */
    INDEX_RETAINED = CLASSES,          /* groups with retained pages */
    INDEX_READY,                       /* of each tier: groups with free resident pools */
    INDEX_FRESH = INDEX_READY + TIERS, /* ... with untouched ones */
    INDEX_UNMAPPED = INDEX_FRESH + TIERS,  /* ... with slots for arenas */
    INDEX_CLOSED = INDEX_UNMAPPED + TIERS, /* heaps that wait for a thread */
    INDEX_LENT,                            /* heaps of sleeping threads with something in them */
    INDICES,
};

struct index {
    word top; /* 16 bits: a word of middle each */
    word middle[16];
    word near[INDEX_NEAR];
};
extern HIDDEN struct index index_table[INDICES];
extern HIDDEN word index_far[INDICES][INDEX_FAR];

static inline word *index_bottom(struct index *ix, uint32_t w) {
    return w < INDEX_NEAR ? &ix->near[w] : &index_far[ix - index_table][w - INDEX_NEAR];
}

/* Sets `bit` of `upper` unless it is there already. Call after the lower level was set. */
static inline void hint_set(word *upper, unsigned bit) {
    if (!(atomic_load(upper) >> bit & 1)) word_or(upper, 1ull << bit);
}

/* Clears `bit` of `upper` because `lower` was seen to be zero, and takes that back if it no longer
 * is. */
static inline void hint_clear(word *upper, unsigned bit, word *lower) {
    word_clear(upper, 1ull << bit);
    if (atomic_load(lower)) word_or(upper, 1ull << bit);
}

static inline void index_set(struct index *ix, uint32_t id) {
    hint_set(index_bottom(ix, id / 64), id % 64);
    hint_set(&ix->middle[id / 4096], id / 64 % 64);
    hint_set(&ix->top, id / 4096);
}

/* The thing behind `id`, whose word is `lower`, was seen to be empty. */
static inline void index_settle(struct index *ix, uint32_t id, word *lower) {
    word *bottom = index_bottom(ix, id / 64);
    hint_clear(bottom, id % 64, lower);
    if (!atomic_load(bottom)) hint_clear(&ix->middle[id / 4096], id / 64 % 64, bottom);
    if (!atomic_load(&ix->middle[id / 4096]))
        hint_clear(&ix->top, id / 4096, &ix->middle[id / 4096]);
    if (atomic_load(lower)) index_set(ix, id);
}

/* The lowest id at or above `from`, or INDEX_NONE. */
static inline uint32_t index_next(struct index *ix, uint32_t from) {
    if (from >= 65536) return INDEX_NONE;
    uint32_t w = from / 64, m = w / 64;
    uint64_t bits = acquire_load(index_bottom(ix, w)) & ~0ull << from % 64;
    if (bits) return w * 64 + lowest_bit(bits);
    for (;;) { /* more than one turn only where a hint was set for nothing */
        bits = ++w % 64 ? relaxed_load(&ix->middle[m]) & ~0ull << w % 64 : 0;
        if (!bits) {
            uint64_t top = m < 15 ? relaxed_load(&ix->top) & ~0ull << (m + 1) : 0;
            if (!top) return INDEX_NONE;
            m = lowest_bit(top);
            bits = relaxed_load(&ix->middle[m]);
            if (!bits) {
                w = m * 64 + 63;
                continue;
            }
        }
        w = m * 64 + lowest_bit(bits);
        if ((bits = acquire_load(index_bottom(ix, w)))) return w * 64 + lowest_bit(bits);
    }
}

/* The highest id at or below `from`, or INDEX_NONE. */
static inline uint32_t index_previous(struct index *ix, uint32_t from) {
    uint32_t w = from / 64, m = w / 64;
    uint64_t bits = acquire_load(index_bottom(ix, w)) & ~0ull >> (63 - from % 64);
    if (bits) return w * 64 + highest_bit(bits);
    for (;;) {
        bits = w % 64 ? relaxed_load(&ix->middle[m]) & ~0ull >> (64 - w % 64) : 0;
        if (!bits) {
            uint64_t top = m ? relaxed_load(&ix->top) & ~0ull >> (64 - m) : 0;
            if (!top) return INDEX_NONE;
            m = highest_bit(top);
            bits = relaxed_load(&ix->middle[m]);
            if (!bits) {
                w = m * 64;
                continue;
            }
        }
        w = m * 64 + highest_bit(bits);
        if ((bits = acquire_load(index_bottom(ix, w)))) return w * 64 + highest_bit(bits);
    }
}

#endif
