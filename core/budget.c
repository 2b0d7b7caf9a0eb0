/* For what: budget.h. No locks: releases of several threads at once take different pages. */
#include "budget.h"

#include "arena.h"
#include "large.h"
#include "os.h"

/* With C = pages that hold a taken block, M <= 2 MiB + C/16 pinned by magazines and R <= 3 MiB +
 * C/16 free, the pages live for the program are L >= C - M, and R + M <= 8 MiB + L/4 since R + 5/4
 * M <= 5.5 MiB + 0.15 C. What is left of the guarantee covers what happens between two checks.
 * Where magazines are small R may be larger (with_spare). */
struct limits limits = {
    .retained = {3 << 8, 16},
    .magazine = {2 << 8, 16},
    .spare256 = 32,
    .soft = {1 << 8, 15},
    /* Not 8 MiB: a page pinned in an arena of its own holds a page of metadata too. */
    .guarantee = {5 << 8, 64},
    .enlarged_blocks = 16383,
    .max_holes = 65530 / 4,
};
struct counters counters;
void (*budget_over_hook)(void);

/* After a pass that left more than is allowed (pages of leased pools, locked in memory, or parts of
 * larger OS pages): do not look again before more than this is retained, a share more than it left.
 */
static _Atomic(int64_t) fruitless_above;
enum { RETRY_LEAST_PAGES = 4, RETRY_MOST_PAGES = 64, MOST_MORE_PAGES = 256 };

static size_t release_large(size_t want) {
    return relaxed_load(&counters.retained_pages[RING_LARGE]) ? large_release(want) : 0;
}

static int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

/* What a ring retains above `pages`. */
static size_t release_ring(unsigned ring, int64_t pages, size_t most) {
    int64_t excess = relaxed_load(&counters.retained_pages[ring]) - pages;
    if (excess <= 0) return 0;
    size_t want = (size_t)excess < most ? (size_t)excess : most;
    return ring == RING_LARGE ? release_large(want) : arena_release(want, 1u << ring);
}

/* From rings that retain more than they earned, as far as that goes. */
static size_t release_unearned(size_t want, enum release_order order) {
    size_t released = 0;
    for (unsigned i = 0; i < RINGS && released < want; i++) {
        unsigned ring = order == RELEASE_LARGE_FIRST ? RINGS - 1 - i : i;
        released += release_ring(ring, relaxed_load(&limits.earned_pages[ring]), want - released);
    }
    return released;
}

/* No more than the excess at the beginning: somebody who wraps munmap may free memory from inside
 * it, for ever. */
size_t budget_release_to(int64_t pages, enum release_order order) {
    int64_t excess = budget_retained_pages() - pages;
    if (excess <= 0) return 0;
    size_t want = (size_t)excess, released = 0;
    if (rings_sum(limits.earned_pages)) released = release_unearned(want, order);
    if (released < want && order == RELEASE_PAGES_FIRST)
        released += arena_release(want - released, ALL_TIERS);
    if (released < want) released += release_large(want - released);
    if (released < want && order == RELEASE_LARGE_FIRST)
        released += arena_release(want - released, ALL_TIERS);
    if (released) count_add(&counters.trims, 1);
    return released;
}

size_t budget_release_ring(unsigned ring, int64_t pages) {
    size_t released = release_ring(ring, pages, SIZE_MAX);
    if (released) count_add(&counters.trims, 1);
    return released;
}

/* `allowed`, and what is earned on top of that, as far as the rings that earned it held so much
 * more of late. Not the program as a whole: one whose buffers and small objects take turns needs
 * both. */
static int64_t with_earned(int64_t allowed) {
    int64_t earned = 0, room = 0;
    for (unsigned ring = 0; ring < RINGS; ring++) {
        int64_t of_ring = relaxed_load(&limits.earned_pages[ring]);
        int64_t more = of_ring ? budget_high_pages(ring) - budget_ring_pages(ring) : 0;
        earned += of_ring;
        room += more > 0 ? more : 0;
    }
    if (room <= allowed) return allowed;
    return earned < room - allowed ? allowed + earned : room;
}

/* `allowed`, and what magazines leave of the guarantee: the program holds at least the bytes taken
 * from pools less those that all magazines have room for. A heap whose blocks of many sizes come
 * and go is short of free pages in one class while others have them: a quarter of the faults are
 * left where it may keep so much more. */
static int64_t with_spare(int64_t allowed) {
    int64_t live = relaxed_load(&counters.live_pages),
            bytes = relaxed_load(&counters.taken_bytes) - relaxed_load(&counters.capacity_bytes),
            least = relaxed_load(&counters.large_pages) + (bytes > 0 ? bytes >> PAGE_SHIFT : 0);
    int64_t room = relaxed_load(&limits.guarantee.base_pages) + least +
                   (least >> 8) * relaxed_load(&limits.guarantee.share256) - live;
    int64_t most = allowed + (live >> 8) * relaxed_load(&limits.spare256);
    return room > allowed ? smaller(room, most) : allowed;
}

int64_t budget_allowed_pages(void) {
    return with_earned(with_spare(allowance_pages(&limits.retained)));
}
int64_t budget_target_pages(void) { return with_earned(allowance_pages(&limits.soft)); }

void budget_enforce_slow(enum release_order order) {
    int64_t allowed = budget_allowed_pages(), retained = budget_retained_pages();
    if (retained <= allowed || retained < relaxed_load(&fruitless_above)) return;
    if (budget_over_hook) {
        budget_over_hook();
        allowed = budget_allowed_pages();
        if (retained <= allowed) return;
    }
    /* Somewhat more than asked, so that the next free page does not come here again. But not for a
     * large buffer: what a loop cycles through would lack it in the next round. */
    int64_t more = order == RELEASE_LARGE_FIRST ? smaller(allowed / 8, MOST_MORE_PAGES) : 0;
    budget_release_to(allowed - more, order);
    int64_t left = budget_retained_pages(),
            most = RETRY_MOST_PAGES * (int64_t)(os_page_bytes / PAGE_BYTES),
            step = smaller(RETRY_LEAST_PAGES + left / 8, most);
    relaxed_store(&fruitless_above, left > allowed ? left + step : 0);
}
