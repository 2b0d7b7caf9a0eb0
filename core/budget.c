/* For what: budget.h. No locks: releases of several threads at once take different pages. */
#include "budget.h"

#include "arena.h"
#include "large.h"

/* With C = pages that hold a taken block, M <= 2 MiB + C/16 pinned by magazines and R <= 3 MiB +
 * C/16 free, the pages live for the program are L >= C - M, and R + M <= 8 MiB + L/4 since R + 5/4
 * M <= 5.5 MiB + 0.15 C. What is left of the guarantee covers what happens between two checks. */
struct limits limits = {
    .retained = {3 << 8, 16},
    .magazine = {2 << 8, 16},
    .soft = {1 << 8, 15},
    .guarantee_pages =
        5 << 8, /* not 8: a page pinned in an arena of its own holds a page of metadata too */
    .max_holes = 65530 / 4,
};
struct counters counters;
void (*budget_over_hook)(void);

/* After a pass that found nothing to release (pages of leased pools, or locked in memory): do not
 * look again before this many more pages are retained. */
static _Atomic(int64_t) fruitless_above;
enum { RETRY_PAGES = 64 };

/* No more than the excess at the beginning: somebody who wraps munmap may free memory from inside
 * it, for ever. */
size_t budget_release_to(int64_t pages, enum release_order order) {
    int64_t excess = budget_retained_pages() - pages;
    if (excess <= 0) return 0;
    size_t want = (size_t)excess, released = 0;
    if (order == RELEASE_PAGES_FIRST) released = arena_release(want);
    if (released < want && relaxed_load(&counters.cached_pages))
        released += large_release(want - released);
    if (released < want && order == RELEASE_LARGE_FIRST) released += arena_release(want - released);
    if (released) count_add(&counters.trims, 1);
    return released;
}

int64_t budget_allowed_pages(void) {
    int64_t allowed = allowance_pages(&limits.retained),
            earned = relaxed_load(&limits.earned_pages);
    int64_t high = relaxed_load(&counters.live_high), before = relaxed_load(&limits.high_before);
    int64_t room = (high > before ? high : before) - relaxed_load(&counters.live_pages);
    if (earned > room) earned = room;
    return earned > allowed ? earned : allowed;
}

void budget_enforce_slow(enum release_order order) {
    int64_t allowed = budget_allowed_pages(), retained = budget_retained_pages();
    if (retained <= allowed || retained < relaxed_load(&fruitless_above)) return;
    if (budget_over_hook) {
        budget_over_hook();
        allowed = budget_allowed_pages();
        if (retained <= allowed) return;
    }
    /* An eighth more than asked, so that the next free page does not come here again. */
    int64_t floor = budget_release_to(allowed - allowed / 8, order) ? 0 : retained + RETRY_PAGES;
    relaxed_store(&fruitless_above, floor);
}
