/* What may be retained, and the counters that say what is.
 *
 * The guarantee (docs/DESIGN.md): heap pages resident <= live * 1.25 + 8 MiB after every free. It
 * is kept in two parts, both in pages and both growing with the live pages: what lies free in
 * arenas and in the large cache, and what magazines could pin (each block counts as the pages it
 * can hold alone, its worst case). Core reads the limits; whoever decides policy writes them.
 */
#ifndef LOWTIDE_CORE_BUDGET_H
#define LOWTIDE_CORE_BUDGET_H

#include "atomics.h"

/* An allowance of base + live / 256 * share256 pages. */
struct allowance {
    _Atomic(uint32_t) base_pages;
    _Atomic(uint32_t) share256;
};

struct limits {
    struct allowance retained;               /* free pages in arenas, and cached large buffers */
    _Atomic(uint32_t) spare256;              /* more of those, in 256ths of the live pages, while
                                                magazines leave it: budget_allowed_pages */
    struct allowance magazine;               /* what all magazines together may pin */
    struct allowance soft;                   /* what housekeeping leaves of `retained` */
    struct allowance guarantee;              /* that room and spare pages keep to */
    _Atomic(int64_t) earned_pages[RINGS];    /* more that may be retained, as far as live + retained
                                                stays below the high water of live: */
    _Atomic(int64_t) high_before[RINGS + 1]; /* counters.live_high of the time before it was last
                                                lowered */
    _Atomic(uint32_t) enlarged_blocks;       /* the most that an enlarged magazine holds */
    _Atomic(uint32_t) flush_round; /* changes when every thread is to empty its magazines */
    _Atomic(uint32_t) max_holes;   /* of address space; past it memory is released, not unmapped;
                                      0: never unmapped */
};
extern HIDDEN struct limits limits;

/* Counters; each changes with the thing it counts, so at rest they equal a walk of the heap. */
struct counters {
    _Atomic(int64_t) live_pages; /* in arenas and large buffers */
    _Atomic(int64_t) retained_pages[RINGS];
    _Atomic(int64_t) taken_bytes;       /* in blocks that are not free in their pools */
    _Atomic(int64_t) held_bytes;        /* in enlarged magazines when last seen */
    _Atomic(int64_t) capacity_bytes;    /* in blocks that all magazines have room for */
    _Atomic(int64_t) heaps_open;        /* threads that have magazines */
    _Atomic(int64_t) large_pages;       /* of live_pages: in large buffers */
    _Atomic(int64_t) large_spare_pages; /* behind them, mapped and not asked for */
    _Atomic(int64_t) large_count;
    _Atomic(int64_t) large_mapped_bytes; /* live, cached or parked */
    _Atomic(int64_t) arenas;
    _Atomic(int64_t) arenas_peak;
    _Atomic(int64_t) arenas_mapped;   /* ever */
    _Atomic(int64_t) arenas_unmapped; /* ever */
    _Atomic(int64_t) address_runs;    /* maximal runs of addresses that arenas and buffers occupy */
    _Atomic(int64_t) live_high[RINGS + 1];  /* the most the program held, of each ring and of all,
                                               since policy last lowered it */
    _Atomic(int64_t) fresh_pages[RINGS];    /* ever made live without being resident */
    _Atomic(int64_t) reused_pages[RINGS];   /* ever made live out of what was retained */
    _Atomic(int64_t) released_pages[RINGS]; /* ever, with madvise or munmap */
    _Atomic(int64_t) trims;                 /* passes that released something */
    _Atomic(int64_t) metadata_bytes; /* groups and heaps mapped; the page map counts its own */
    _Atomic(int64_t) program_bytes;  /* the program's own mappings */
};
extern HIDDEN struct counters counters;

static inline int64_t allowance_pages(const struct allowance *a) {
    return relaxed_load(&a->base_pages) +
           (relaxed_load(&counters.live_pages) >> 8) * (int64_t)relaxed_load(&a->share256);
}

/* Live pages, and what lies behind large buffers: it may be resident after another use, and is
 * retained with the buffer. */
static inline int64_t budget_occupied_pages(void) {
    return relaxed_load(&counters.live_pages) + relaxed_load(&counters.large_spare_pages);
}

/* The same without what was last seen in enlarged magazines: what the program holds. */
static inline int64_t budget_program_pages(void) {
    return budget_occupied_pages() - (relaxed_load(&counters.held_bytes) >> PAGE_SHIFT);
}

/* The sum over all rings of one of the counters or limits that each ring has. */
static inline int64_t rings_sum(_Atomic(int64_t) *of_ring) {
    int64_t sum = 0;
    for (unsigned ring = 0; ring < RINGS; ring++) sum += relaxed_load(&of_ring[ring]);
    return sum;
}

/* What the program holds of one ring, or of all. A page of an arena that was ever made live is
 * live, retained or released. */
static inline int64_t budget_ring_pages(unsigned ring) {
    if (ring == ALL_RINGS) return budget_program_pages();
    if (ring == RING_LARGE)
        return relaxed_load(&counters.large_pages) + relaxed_load(&counters.large_spare_pages);
    int64_t held = ring ? 0 : relaxed_load(&counters.held_bytes) >> PAGE_SHIFT;
    return relaxed_load(&counters.fresh_pages[ring]) -
           relaxed_load(&counters.released_pages[ring]) -
           relaxed_load(&counters.retained_pages[ring]) - held;
}

/* The most of that in the last second. */
static inline int64_t budget_high_pages(unsigned ring) {
    int64_t high = relaxed_load(&counters.live_high[ring]),
            before = relaxed_load(&limits.high_before[ring]);
    return high > before ? high : before;
}

static inline void budget_note_ring(unsigned ring) {
    int64_t pages = budget_ring_pages(ring);
    if (pages > relaxed_load(&counters.live_high[ring]))
        relaxed_store(&counters.live_high[ring], pages);
}
static inline void budget_note_high(unsigned ring) {
    budget_note_ring(ring);
    budget_note_ring(ALL_RINGS);
}

/* Pages became live: `fresh` that were not resident, `reused` out of what was retained. */
static inline void budget_count_live(unsigned ring, int64_t fresh, int64_t reused) {
    count_add(&counters.live_pages, fresh + reused);
    if (fresh) count_add(&counters.fresh_pages[ring], fresh);
    if (reused) count_add(&counters.reused_pages[ring], reused);
    budget_note_high(ring);
}

static inline int64_t budget_retained_pages(void) { return rings_sum(counters.retained_pages); }

/* What is free in arenas. */
static inline int64_t budget_arena_pages(void) {
    return budget_retained_pages() - relaxed_load(&counters.retained_pages[RING_LARGE]);
}

/* What is earned may wait in magazines as well as in free pages: what they have room for counts
 * half, since it is hardly ever filled in all classes at once. */
static inline int64_t budget_earned_room_bytes(void) {
    int64_t room = 2 * rings_sum(limits.earned_pages), high = budget_high_pages(ALL_RINGS) * 3 / 2;
    return (room < high ? room : high) * PAGE_BYTES;
}

/* Bytes that all magazines may have room for: the guarantee holds whatever they pin if it holds
 * with the live pages underestimated as the bytes that the program must hold at least, which are
 * those taken from pools less that room; and they pin no more pages than there are. INT64_MAX: any
 * number; may be negative. */
static inline int64_t budget_magazine_room_bytes(void) {
    int64_t live = relaxed_load(&counters.live_pages), large = relaxed_load(&counters.large_pages);
    int64_t beyond =
        live + allowance_pages(&limits.retained) - relaxed_load(&limits.guarantee.base_pages);
    int64_t least = beyond * 256 / (256 + relaxed_load(&limits.guarantee.share256)) - large;
    if (least <= 0 || live - large <= relaxed_load(&limits.magazine.base_pages)) return INT64_MAX;
    int64_t room = relaxed_load(&counters.taken_bytes) - least * PAGE_BYTES;
    int64_t earned = rings_sum(limits.earned_pages) ? budget_earned_room_bytes() : room;
    return room > earned ? room : earned;
}

/* Whether that is enough for what they have now and `more_bytes`. */
static inline bool budget_has_magazine_room(int64_t more_bytes) {
    return relaxed_load(&counters.capacity_bytes) <= budget_magazine_room_bytes() - more_bytes;
}

/* A heap's part of what all have, of which there is enough where `whole` is INT64_MAX. */
static inline int64_t budget_heap_part(int64_t whole) {
    int64_t open = relaxed_load(&counters.heaps_open);
    return whole == INT64_MAX ? whole : whole / (open > 1 ? open : 1);
}

/* Releases what is retained above `pages`; returns the pages released. What no ring has earned goes
 * first. Whoever just freed a large buffer begins with the pages of arenas and the other way round:
 * what was freed last is what will be wanted next. */
enum release_order { RELEASE_LARGE_FIRST, RELEASE_PAGES_FIRST };
HIDDEN size_t budget_release_to(int64_t pages, enum release_order order);

/* The same for what one ring retains. */
HIDDEN size_t budget_release_ring(unsigned ring, int64_t pages);

/* What may be retained now: the allowance; more, up to spare256, as far as the guarantee holds
 * whatever magazines pin; and what is earned. */
HIDDEN int64_t budget_allowed_pages(void);

/* What housekeeping leaves, earned retention included. */
HIDDEN int64_t budget_target_pages(void);

/* Called when more is retained than allowed, before anything is released: policy may change the
 * limits. May be NULL. */
extern HIDDEN void (*budget_over_hook)(void);

HIDDEN void budget_enforce_slow(enum release_order order);

/* Call after anything that can have made a page free, holding nothing. */
static inline void budget_enforce(enum release_order order) {
    if (UNLIKELY(budget_retained_pages() > allowance_pages(&limits.retained)))
        budget_enforce_slow(order);
}

#endif
