/* The budget: the arithmetic of allowances, what is released first, and the guarantee itself on a running program. */
#include "policy_test.h"

#include <stdlib.h>

TestSuite(budget, .init = core_init);

Test(budget, allowance_grows_with_live_pages) {
    struct allowance a = {100, 16};
    static const int64_t rows[][2] = {{0, 100}, {255, 100}, {256, 116}, {2560, 260}, {1 << 24, 100 + (1 << 20)}};
    for (unsigned i = 0; i < COUNT(rows); i++) {
        counters.live_pages = rows[i][0];
        cr_assert_eq(allowance_pages(&a), rows[i][1], "%ld live", (long)rows[i][0]);
    }
}

/* R + 5/4 M <= 8 MiB + a quarter: what the hard cap needs of the two allowances. */
Test(budget, standard_limits_add_up_to_the_guarantee) {
    for (int64_t pages = 0; pages < 1 << 24; pages = pages * 2 + 1) {
        counters.live_pages = pages;
        int64_t free_pages = allowance_pages(&limits.retained), pinned = allowance_pages(&limits.magazine);
        cr_assert_leq(4 * free_pages + 5 * pinned, 4 * 2048 + pages, "%ld live", (long)pages);
        cr_assert_leq(allowance_pages(&limits.soft), 256 + pages * 6 / 100);
    }
}

static void retain_some(void) {
    static void *p[20000];
    for (unsigned i = 0; i < 20000; i++) memset(p[i] = core_malloc(100 + i % 400), 1, 100);
    for (unsigned i = 0; i < 20000; i++) core_free(p[i]);
    for (unsigned i = 0; i < 4; i++) p[i] = core_malloc(SLAB_MAX + 1);
    for (unsigned i = 0; i < 4; i++) core_free(p[i]);
    heap_flush(false);
}

ParameterizedTestParameters(budget, release_goes_down_to_what_was_asked) {
    static int64_t pages[] = {0, 1, 50, 100, 300, 600};
    return cr_make_param_array(int64_t, pages, COUNT(pages));
}
ParameterizedTest(int64_t *pages, budget, release_goes_down_to_what_was_asked) {
    retain_some();
    int64_t before = budget_retained_pages();
    cr_assert_gt(before, 600);
    cr_assert_eq(budget_release_to(*pages, RELEASE_LARGE_FIRST), (size_t)(before - budget_retained_pages()));
    cr_assert_leq(budget_retained_pages(), *pages);
    cr_assert_geq(budget_retained_pages(), *pages - 64, "more than an arena too much");
    cr_assert_eq(budget_release_to(*pages, RELEASE_LARGE_FIRST), 0);
    assert_sound();
}

Test(budget, pass_that_releases_something_is_counted) {
    retain_some();
    int64_t trims = counters.trims;
    budget_release_to(0, RELEASE_LARGE_FIRST);
    cr_assert_eq(counters.trims, trims + 1);
    budget_release_to(0, RELEASE_LARGE_FIRST);
    cr_assert_eq(counters.trims, trims + 1);
}

Test(budget, crossing_releases_an_eighth_more) {
    retain_some();
    relaxed_store(&limits.retained.base_pages, 400);
    relaxed_store(&limits.retained.share256, 0);
    budget_enforce(RELEASE_LARGE_FIRST);
    cr_assert_leq(budget_retained_pages(), 350);
    cr_assert_geq(budget_retained_pages(), 350 - 64);
}

/* Each free that finds the budget exceeded would otherwise ask the kernel for every page again. */
Test(budget, kernel_that_releases_nothing_is_not_asked_at_every_free) {
    retain_some();
    unit_watch_kernel();
    unit_kernel.munmaps_left = unit_kernel.releases_left = 0;
    relaxed_store(&limits.retained.base_pages, 10);
    budget_enforce(RELEASE_LARGE_FIRST);
    long once = unit_kernel.munmaps + unit_kernel.releases;
    cr_assert_gt(once, 0);
    for (unsigned i = 0; i < 1000; i++) budget_enforce(RELEASE_LARGE_FIRST);
    cr_assert_eq(unit_kernel.munmaps + unit_kernel.releases, once);
    unit_kernel.munmaps_left = unit_kernel.releases_left = -1;
    static void *p[20000];
    for (unsigned i = 0; i < 20000; i++) p[i] = core_malloc(512);
    for (unsigned i = 0; i < 20000; i++) core_free(p[i]);
    cr_assert_leq(budget_retained_pages(), 10 + 20000 / 8 / 16, "it is asked again when more is retained");
}

/* ---- rings ---- */

/* Buffers with others in use between them, so that they are released one at a time. */
enum { SINGLES = 6, SINGLE_PAGES = 48 };
static void retain_large(void) {
    void *p[2 * SINGLES];
    for (unsigned i = 0; i < COUNT(p); i++) p[i] = core_malloc(SLAB_MAX + 1);
    for (unsigned i = 0; i < COUNT(p); i += 2) core_free(p[i]);
    cr_assert_eq(retained_in(RING_LARGE), SINGLES * SINGLE_PAGES);
}

static void retain_in_every_ring(void) {
    for (unsigned ring = 0; ring < TIERS; ring++) retain_in(ring, 64);
    retain_large();
    for (unsigned ring = 0; ring < RINGS; ring++) cr_assert_gt(retained_in(ring), 32, "ring %u", ring);
}

Test(budget, one_ring_is_released_alone) {
    retain_in_every_ring();
    for (unsigned ring = 0; ring < RINGS; ring++) {
        int64_t all = budget_retained_pages(), its = retained_in(ring), trims = counters.trims;
        cr_assert_eq(budget_release_ring(ring, INT64_MAX), 0);
        cr_assert_eq(budget_release_ring(ring, its), 0);
        cr_assert_eq(counters.trims, trims, "nothing was released");
        size_t some = budget_release_ring(ring, its - 1);
        cr_assert(some > 0 && some <= (size_t)its);
        cr_assert_eq(retained_in(ring), its - (int64_t)some);
        cr_assert_eq(counters.trims, trims + 1);
        cr_assert_eq(budget_release_ring(ring, 0), (size_t)its - some);
        cr_assert_eq(retained_in(ring), 0);
        cr_assert_eq(budget_retained_pages(), all - its, "ring %u: others lost pages", ring);
        assert_sound();
    }
    cr_assert_eq(budget_retained_pages(), 0);
}

Test(budget, what_was_freed_last_goes_last) {
    retain_in_every_ring();
    int64_t arenas = budget_arena_pages();
    budget_release_to(arenas + SINGLE_PAGES, RELEASE_LARGE_FIRST);
    cr_assert_eq(budget_arena_pages(), arenas);
    cr_assert_leq(retained_in(RING_LARGE), SINGLE_PAGES);
    budget_release_to(0, RELEASE_LARGE_FIRST);
    retain_in_every_ring();
    budget_release_to(SINGLES * SINGLE_PAGES + 10, RELEASE_PAGES_FIRST);
    cr_assert_eq(retained_in(RING_LARGE), SINGLES * SINGLE_PAGES);
    cr_assert_leq(budget_arena_pages(), 10);
}

/* Whatever the order is. */
ParameterizedTestParameters(budget, what_no_ring_earned_goes_first) {
    static int orders[] = {RELEASE_LARGE_FIRST, RELEASE_PAGES_FIRST};
    return cr_make_param_array(int, orders, COUNT(orders));
}
ParameterizedTest(int *order, budget, what_no_ring_earned_goes_first) {
    retain_in_every_ring();
    int64_t all = budget_retained_pages(), large = retained_in(RING_LARGE), slabs = retained_in(1);
    limits.earned_pages[RING_LARGE] = large;
    limits.earned_pages[1] = slabs;
    int64_t unearned = all - large - slabs;
    budget_release_to(all - unearned / 2, *order);
    cr_assert(retained_in(RING_LARGE) == large && retained_in(1) == slabs);
    budget_release_to(all - unearned, *order);
    cr_assert(retained_in(RING_LARGE) == large && retained_in(1) == slabs);
    cr_assert_eq(retained_in(0) + retained_in(2) + retained_in(3), 0);
    cr_assert_eq(budget_release_to(0, *order), (size_t)(large + slabs), "what is earned goes when all must go");
    assert_sound();
}

/* Of what is not earned, too, what was freed last goes last. */
Test(budget, order_among_what_no_ring_earned) {
    retain_in_every_ring();
    limits.earned_pages[1] = retained_in(1);
    int64_t all = budget_retained_pages(), small = retained_in(0), large = retained_in(RING_LARGE);
    budget_release_to(all - 10, RELEASE_LARGE_FIRST);
    cr_assert(retained_in(0) == small && retained_in(RING_LARGE) == large - SINGLE_PAGES);
    all = budget_retained_pages();
    budget_release_to(all - 10, RELEASE_PAGES_FIRST);
    cr_assert(retained_in(0) < small && retained_in(RING_LARGE) == large - SINGLE_PAGES);
}

Test(budget, ring_gives_what_it_has_above_what_it_earned) {
    retain_in_every_ring();
    int64_t all = budget_retained_pages();
    for (unsigned ring = 0; ring < TIERS; ring++) limits.earned_pages[ring] = retained_in(ring);
    limits.earned_pages[RING_LARGE] = 3 * SINGLE_PAGES;
    budget_release_to(all - 3 * SINGLE_PAGES, RELEASE_PAGES_FIRST);
    cr_assert_eq(retained_in(RING_LARGE), 3 * SINGLE_PAGES);
    for (unsigned ring = 0; ring < TIERS; ring++) cr_assert_eq(retained_in(ring), limits.earned_pages[ring], "ring %u", ring);
}

/* While magazines are small, but no further than the guarantee holds if the program holds no more than it must. */
Test(budget, free_pages_may_have_what_magazines_leave) {
    static const struct {
        int64_t taken_pages, capacity_pages, large_pages, allowed;
    } rows[] = {{25600, 0, 0, 2368 + 3200},  {25600, 2560, 0, 4480}, {23040, 0, 0, 4480}, {23040, 0, 2560, 2368 + 3200},
                {25600, 4096, 0, 2560},      {25600, 7680, 0, 2368}, {2560, 0, 0, 2368},  {0, 2560, 0, 2368},
                {12800, 2560, 12800, 4480}};
    counters.live_pages = 25600;
    for (unsigned i = 0; i < COUNT(rows); i++) {
        counters.taken_bytes = rows[i].taken_pages * PAGE_BYTES;
        counters.capacity_bytes = rows[i].capacity_pages * PAGE_BYTES;
        counters.large_pages = rows[i].large_pages;
        cr_assert_eq(budget_allowed_pages(), rows[i].allowed, "row %u: %ld", i, (long)budget_allowed_pages());
        int64_t program = rows[i].taken_pages - rows[i].capacity_pages + rows[i].large_pages;
        if (rows[i].allowed > 2368) cr_assert_leq(4 * (25600 + rows[i].allowed), 5 * program + 4 * 2048);
    }
    limits.spare256 = 0;
    cr_assert_eq(budget_allowed_pages(), 2368);
    counters.live_pages = counters.taken_bytes = counters.capacity_bytes = counters.large_pages = 0;
}

Test(budget, magazines_that_grow_take_it_back) {
    static void *p[2000];
    limits.spare256 = 255;
    for (unsigned i = 0; i < COUNT(p); i++) p[i] = core_malloc(30000);
    for (unsigned i = 0; i < COUNT(p); i += 2) core_free(p[i]);
    cr_assert_gt(budget_retained_pages(), allowance_pages(&limits.retained));
    for (unsigned c = 1; c < CLASSES; c++) {
        core_malloc(class_table[c].block_bytes);
        cr_assert_leq(budget_retained_pages(), budget_allowed_pages(), "class %u", c);
    }
    assert_sound();
}

/* Beyond the allowance only what was live a short while ago, in the rings that earned it. */
Test(budget, earned_retention_is_bounded_by_the_high_water) {
    int64_t base = allowance_pages(&limits.retained);
    counters.live_high[0] = 9999;
    counters.live_high[2] = 2000;
    counters.live_high[RING_LARGE] = 3000;
    cr_assert_eq(budget_allowed_pages(), base, "nothing is earned");
    limits.earned_pages[2] = limits.earned_pages[RING_LARGE] = 10000;
    cr_assert_eq(budget_allowed_pages(), 5000);
    limits.high_before[2] = 3000;
    cr_assert_eq(budget_allowed_pages(), 6000, "of the half second before");
    counters.large_pages = 256;
    counters.fresh_pages[2] = 500;
    cr_assert_eq(budget_allowed_pages(), 6000 - 256 - 500);
    counters.released_pages[2] = 100;
    counters.retained_pages[2] = 200;
    cr_assert_eq(budget_allowed_pages(), 6000 - 256 - 200, "of what was made live so much is live");
    counters.large_pages = 3001;
    counters.fresh_pages[2] = 3500;
    cr_assert_eq(budget_allowed_pages(), base, "no ring makes room for another");
    counters.large_pages = counters.fresh_pages[2] = counters.released_pages[2] = counters.retained_pages[2] = 0;
}

/* ---- the guarantee ---- */

enum { BLOCKS = 30000 };
static struct held {
    char *p;
    size_t bytes;
} held[BLOCKS];
static uintptr_t page_of[BLOCKS * 4];

static int by_page(const void *a, const void *b) {
    uintptr_t x = *(const uintptr_t *)a, y = *(const uintptr_t *)b;
    return (x > y) - (x < y);
}

/* Pages that the program's own blocks are on. */
static int64_t live_pages(void) {
    size_t n = 0, distinct = 0;
    for (unsigned i = 0; i < BLOCKS; i++)
        for (uintptr_t at = (uintptr_t)held[i].p; held[i].p && at < (uintptr_t)held[i].p + held[i].bytes; at = (at | (PAGE_BYTES - 1)) + 1)
            page_of[n++] = at >> PAGE_SHIFT;
    qsort(page_of, n, sizeof *page_of, by_page);
    for (size_t i = 0; i < n; i++) distinct += i == 0 || page_of[i] != page_of[i - 1];
    return (int64_t)distinct;
}

static void check_free_pages(void) {
    int64_t retained = budget_retained_pages();
    cr_assert_leq(retained, budget_allowed_pages());
    cr_assert_leq(retained, 768 + counters.live_pages * 3 / 16, "whatever is allowed");
}

static void check_guarantee(void) {
    int64_t live = live_pages(), resident = relaxed_load(&counters.live_pages) + budget_retained_pages();
    cr_assert_leq(resident * 4, live * 5 + 4 * 2048, "%ld resident, %ld live pages", (long)resident, (long)live);
    check_free_pages();
}

static void replace(struct held *h, uint64_t *random, size_t most_bytes) {
    if (h->p) core_free(h->p);
    h->bytes = 1 + unit_random(random) % most_bytes;
    h->p = core_malloc(h->bytes);
    *h->p = 1;
}

struct phases {
    size_t most_bytes;
    bool is_alone;
};
ParameterizedTestParameters(budget, resident_stays_near_live) {
    static struct phases rows[] = {{64, true}, {512, false}, {3000, true}, {9000, false}};
    return cr_make_param_array(struct phases, rows, COUNT(rows));
}
/* Fill, free most at random, fill with other sizes, free from the top: the cap holds after every free. */
ParameterizedTest(struct phases *row, budget, resident_stays_near_live) {
    uint64_t random = row->most_bytes;
    if (row->is_alone) unit_be_alone();
    for (unsigned phase = 0; phase < 4; phase++) {
        for (unsigned i = 0; i < BLOCKS; i++) replace(&held[i], &random, row->most_bytes >> phase % 3);
        check_guarantee();
        for (unsigned i = 0; i < BLOCKS; i++) {
            if (!held[i].p || (unit_random(&random) % 16 == 0 && phase < 3)) continue;
            core_free(held[i].p);
            held[i].p = NULL;
            check_free_pages();
            if (i % 1500 == 0) check_guarantee();
        }
        check_guarantee();
    }
    heap_flush(false);
    assert_sound();
}
