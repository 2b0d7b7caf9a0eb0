/* Large buffers: mappings of their own, the cache of freed ones, and resizing. */
#include "unit.h"

#include "../../core/arena.h"

#include <stdlib.h>

enum { MIB = 1 << 20, KIB64 = OWNER_BYTES };
static bool zero;

static void start(void) {
    core_init();
    unit_watch_kernel();
}
TestSuite(large, .init = start);

static void *allocate(size_t bytes) { return large_alloc(bytes, 1, &zero); }

ParameterizedTestParameters(large, buffer_is_aligned_zero_and_known_to_the_page_map) {
    static size_t sizes[] = {1, SLAB_MAX + 1, 3 * KIB64 - 1, 3 * KIB64, 3 * KIB64 + 1, MIB, 5 * MIB + 12345};
    return cr_make_param_array(size_t, sizes, COUNT(sizes));
}
ParameterizedTest(size_t *bytes, large, buffer_is_aligned_zero_and_known_to_the_page_map) {
    char *p = allocate(*bytes);
    uintptr_t base = (uintptr_t)p;
    cr_assert(zero && base % KIB64 == 0);
    size_t usable = large_usable_bytes(p);
    cr_assert(usable >= *bytes && usable < *bytes + KIB64);
    for (size_t i = 0; i < usable; i += 999) cr_assert_eq(p[i], 0);
    memset(p, 1, usable);
    cr_assert_eq(pagemap_class(base), CLASS_LARGE);
    for (size_t at = PAGE_BYTES; at < usable; at += PAGE_BYTES) cr_assert_eq(pagemap_class(base + at), CLASS_LARGE_BODY);
    cr_assert_eq(pagemap_class(base + usable), CLASS_NONE);
    cr_assert_eq(counters.large_pages, (int64_t)(*bytes + PAGE_BYTES - 1) / PAGE_BYTES, "only what was asked for is live");
    cr_assert(counters.large_count == 1 && counters.large_mapped_bytes == (int64_t)usable);
    large_free(p);
    cr_assert(counters.large_count == 0 && counters.large_pages == 0 && counters.live_pages == 0);
}

Test(large, alignment_is_kept_also_from_the_cache) {
    for (size_t alignment = KIB64; alignment <= 16 * MIB; alignment *= 2)
        for (unsigned i = 0; i < 3; i++) {
            void *p = large_alloc(300000, alignment, &zero), *q = large_alloc(300000, alignment, &zero);
            cr_assert(((uintptr_t)p | (uintptr_t)q) % alignment == 0);
            large_free(p);
            large_free(q);
        }
}

Test(large, usable_bytes_only_at_the_start) {
    char *p = allocate(MIB);
    cr_assert_eq(large_usable_bytes(p), MIB);
    cr_assert_eq(large_usable_bytes(p + KIB64), 0);
    cr_assert_eq(large_usable_bytes(p + 16), 0);
}

Test(large, impossible_or_refused_is_null) {
    cr_assert_null(allocate(SIZE_MAX));
    cr_assert_null(allocate(PTRDIFF_MAX));
    cr_assert_null(allocate((size_t)1 << 50));
    unit_kernel.mmaps_left = 0;
    cr_assert_null(allocate(MIB));
    cr_assert(counters.large_count == 0 && counters.large_mapped_bytes == 0 && counters.address_runs == 0);
}

/* ---- cache ---- */

/* A buffer in use between each two, so that freed ones do not join. */
static void allocate_apart(void **p, unsigned n, size_t bytes) {
    for (unsigned i = 0; i < n; i++) {
        p[i] = allocate(bytes);
        allocate(SLAB_MAX + 1);
    }
}

Test(large, freed_buffer_is_kept_and_used_again) {
    char *p = allocate(MIB);
    memset(p, 1, MIB);
    long before = unit_kernel.munmaps + unit_kernel.releases;
    large_free(p);
    cr_assert_eq(counters.retained_pages[RING_LARGE], MIB / PAGE_BYTES);
    cr_assert_eq(pagemap_class((uintptr_t)p), CLASS_FREE);
    cr_assert_eq(allocate(MIB), p);
    cr_assert_not(zero, "it holds what the last user wrote");
    cr_assert_eq(counters.retained_pages[RING_LARGE], 0);
    cr_assert_eq(unit_kernel.munmaps + unit_kernel.releases, before);
    cr_assert(rings_sum(counters.fresh_pages) == MIB / PAGE_BYTES && rings_sum(counters.reused_pages) == MIB / PAGE_BYTES);
}

Test(large, kept_buffer_is_cut_and_grows_together_again) {
    char *p = allocate(2 * MIB);
    large_free(p);
    cr_assert_neq(allocate(2 * MIB + 1), p, "too short");
    cr_assert_eq(allocate(MIB), p);
    cr_assert_eq(counters.retained_pages[RING_LARGE], MIB / PAGE_BYTES);
    cr_assert_eq(large_usable_bytes(p), MIB);
    cr_assert_eq(allocate(MIB - KIB64), p + MIB);
    cr_assert_eq(counters.retained_pages[RING_LARGE], 16);
    large_free(p);
    large_free(p + MIB);
    cr_assert_eq(counters.retained_pages[RING_LARGE], 2 * MIB / PAGE_BYTES);
    cr_assert_eq(allocate(2 * MIB), p);
    cr_assert_eq(counters.large_count, 2);
}

Test(large, best_fit_is_taken) {
    void *p[3];
    allocate_apart(p, 1, 12 * KIB64);
    allocate_apart(p + 1, 1, 10 * KIB64);
    allocate_apart(p + 2, 1, 11 * KIB64);
    for (unsigned i = 0; i < 3; i++) large_free(p[i]);
    cr_assert_eq(allocate(10 * KIB64), p[1]);
    cr_assert_eq(allocate(10 * KIB64), p[2]);
}

Test(large, buffer_beyond_the_allowance_goes_back_at_once) {
    void *p = allocate(64 * MIB);
    large_free(p);
    cr_assert_eq(counters.retained_pages[RING_LARGE], 0);
    cr_assert_eq(counters.large_mapped_bytes, 0);
    cr_assert_eq(rings_sum(counters.released_pages), 64 * MIB / PAGE_BYTES);
    cr_assert_eq(pagemap_class((uintptr_t)p), CLASS_NONE);
    cr_assert_eq(counters.address_runs, 0);
}

Test(large, oldest_is_released_first) {
    void *p[5];
    allocate_apart(p, 5, 3 * KIB64);
    for (unsigned i = 0; i < 5; i++) large_free(p[i]);
    cr_assert_eq(large_release(1), 48);
    cr_assert_eq(pagemap_class((uintptr_t)p[0]), CLASS_NONE);
    cr_assert_eq(large_release(60), 96);
    cr_assert_eq(pagemap_class((uintptr_t)p[2]), CLASS_NONE);
    cr_assert_eq(pagemap_class((uintptr_t)p[3]), CLASS_FREE);
    cr_assert_eq(large_release(SIZE_MAX), 96);
    cr_assert_eq(counters.retained_pages[RING_LARGE], 0);
}

Test(large, full_cache_lets_buffers_go) {
    static void *p[200];
    relaxed_store(&limits.retained.base_pages, 1 << 20);
    allocate_apart(p, 200, 4 * KIB64);
    int64_t others = counters.large_mapped_bytes - 200 * 4 * KIB64;
    for (unsigned i = 0; i < 200; i++) large_free(p[i]);
    cr_assert_eq(counters.retained_pages[RING_LARGE], 128 * 64);
    cr_assert_eq(counters.large_mapped_bytes, others + 128 * 4 * KIB64);
}

/* ---- what cannot be unmapped ---- */

static void expect_parked_and_reused(void) {
    char *p = allocate(64 * MIB);
    memset(p, 1, 64 * MIB);
    large_free(p);
    cr_assert_eq(counters.retained_pages[RING_LARGE], 0);
    cr_assert_eq(counters.large_mapped_bytes, 64 * MIB);
    cr_assert_eq(pagemap_class((uintptr_t)p), CLASS_FREE);
    cr_assert_eq(allocate(64 * MIB), p);
    for (size_t i = 0; i < 64 * MIB; i += PAGE_BYTES) cr_assert_eq(p[i], 0, "it was released");
    cr_assert_eq(counters.large_count, 1);
}
Test(large, buffer_that_cannot_be_unmapped_is_released_and_reused) {
    unit_kernel.munmaps_left = 0;
    expect_parked_and_reused();
}
Test(large, buffer_is_not_unmapped_when_that_makes_too_many_holes) {
    relaxed_store(&limits.max_holes, 0);
    expect_parked_and_reused();
    cr_assert_eq(unit_kernel.munmaps, 0);
}

/* ---- resizing ---- */

static void fill(char *p, size_t bytes) {
    for (size_t i = 0; i < bytes; i += 512) p[i] = (char)(i / 512 * 7);
}
static void expect_filled(const char *p, size_t bytes) {
    for (size_t i = 0; i < bytes; i += 512) cr_assert_eq(p[i], (char)(i / 512 * 7));
}

Test(large, resizing_keeps_the_contents) {
    uint64_t random = 11;
    size_t bytes = MIB;
    char *p = allocate(bytes);
    fill(p, bytes);
    for (unsigned i = 0; i < 200; i++) {
        size_t to = SLAB_MAX + 1 + unit_random(&random) % (4 * MIB);
        cr_assert_not_null(p = large_resize(p, to));
        expect_filled(p, bytes < to ? bytes : to);
        fill(p, bytes = to);
        cr_assert_geq(large_usable_bytes(p), bytes);
        cr_assert_eq(counters.large_count, 1);
        cr_assert_leq(counters.large_pages, counters.large_mapped_bytes / PAGE_BYTES);
        if (i % 4 == 0) allocate(SLAB_MAX + 1), counters.large_count--; /* something in the way */
    }
    cr_assert_not(unit_kernel.is_crooked);
}

Test(large, growing_by_little_seldom_calls_the_kernel) {
    size_t bytes = MIB;
    char *p = allocate(bytes);
    for (; bytes < 8 * MIB; bytes += KIB64) p = large_resize(p, bytes);
    cr_assert_lt(unit_kernel.mremaps + unit_kernel.mmaps, 60, "%ld + %ld", (long)unit_kernel.mremaps, (long)unit_kernel.mmaps);
}

Test(large, shrinking_gives_the_end_back) {
    char *p = allocate(8 * MIB);
    fill(p, 8 * MIB);
    cr_assert_eq(large_resize(p, MIB), p);
    expect_filled(p, MIB);
    cr_assert_eq(counters.large_mapped_bytes, MIB);
    cr_assert_eq(counters.live_pages, MIB / PAGE_BYTES);
    cr_assert_eq(pagemap_class((uintptr_t)p + MIB), CLASS_NONE);
    large_free(p);
    cr_assert_eq(counters.live_pages, 0);
}

Test(large, moved_buffer_leaves_nothing_behind) {
    char *p = allocate(MIB), *q;
    fill(p, MIB);
    unit_kernel.mremaps_left = 0; /* not in place */
    cr_assert_null(large_resize(p, 2 * MIB));
    expect_filled(p, MIB);
    cr_assert(large_usable_bytes(p) == MIB && counters.large_count == 1 && counters.live_pages == MIB / PAGE_BYTES);
    unit_kernel.mremaps_left = -1;
    pagemap_fill((uintptr_t)p + MIB, PAGE_BYTES, CLASS_LARGE_BODY); /* a neighbour */
    q = large_resize(p, 2 * MIB);
    cr_assert(q && q != p);
    expect_filled(q, MIB);
    cr_assert_eq(pagemap_class((uintptr_t)p), CLASS_NONE);
    cr_assert_eq(counters.large_count, 1);
    cr_assert_eq(counters.live_pages, 2 * MIB / PAGE_BYTES);
}

/* The failed attempts' targets may stay parked or cached, but not live. */
Test(large, refused_resize_leaves_the_buffer_as_it_was) {
    char *p = allocate(MIB);
    fill(p, MIB);
    unit_kernel.mremaps_left = unit_kernel.mmaps_left = 0;
    cr_assert_null(large_resize(p, 64 * MIB));
    cr_assert_null(large_resize(p, SIZE_MAX));
    cr_assert_null(large_resize(p, PTRDIFF_MAX));
    expect_filled(p, MIB);
    cr_assert(large_usable_bytes(p) == MIB && counters.large_mapped_bytes == MIB);
    large_free(p);
    cr_assert(counters.live_pages == 0 && counters.large_count == 0);
}

/* ---- threads ---- */

struct race {
    _Atomic(char *) place[8];
    _Atomic(int) faults;
};

static void swap_buffers(unsigned index, void *context) {
    struct race *race = context;
    uint64_t random = index + 1;
    for (unsigned i = 0; i < 600; i++) {
        bool is_zero;
        size_t bytes = SLAB_MAX + 1 + unit_random(&random) % (3 * KIB64);
        char *p = large_alloc(bytes, 1, &is_zero);
        if (!p || (is_zero && (p[0] || p[bytes - 1]))) atomic_fetch_add(&race->faults, 1);
        if (i % 5 == 0) p = core_realloc(p, bytes = bytes * 2);
        p[0] = p[bytes - 1] = (char)(index + 1);
        memcpy(p + 64, &bytes, sizeof bytes);
        if (i % 50 == 0) large_release(1 + i);
        if (p[0] != (char)(index + 1) || p[bytes - 1] != (char)(index + 1)) atomic_fetch_add(&race->faults, 1);
        p = atomic_exchange(&race->place[unit_random(&random) % 8], p);
        if (!p) continue;
        memcpy(&bytes, p + 64, sizeof bytes);
        if (large_usable_bytes(p) < bytes || p[0] != p[bytes - 1]) atomic_fetch_add(&race->faults, 1);
        large_free(p);
    }
}

Test(large, cache_races) {
    static struct race race;
    unit_run_threads(4, swap_buffers, &race);
    cr_assert_eq(race.faults, 0);
    for (unsigned i = 0; i < 8; i++)
        if (race.place[i]) large_free(race.place[i]);
    cr_assert(counters.large_count == 0 && counters.large_pages == 0 && counters.live_pages == 0);
    assert_sound();
    large_release(SIZE_MAX);
    cr_assert(counters.retained_pages[RING_LARGE] == 0 && counters.large_mapped_bytes == 0);
}

static void map_and_unmap(unsigned index, void *context) {
    (void)context;
    for (unsigned i = 0; i < 3000; i++) large_free(large_alloc((5 + index) * MIB, 1, &(bool){0}));
}

/* Neighbours that come and go at once can miscount each other; at the limit, where nothing is unmapped any more, it is counted anew. */
Test(large, runs_of_addresses_are_counted_anew_where_it_matters) {
    unit_run_threads(4, map_and_unmap, NULL);
    cr_assert_eq(counters.large_mapped_bytes, 0);
    address_runs_recount();
    cr_assert_eq(counters.address_runs, 0, "%ld", (long)counters.address_runs);
}

/* Against a count of the page map. */
Test(large, one_thread_counts_runs_of_addresses_exactly) {
    static void *p[60];
    uint64_t random = 3;
    for (unsigned i = 0; i < 1000; i++) {
        void **at = &p[unit_random(&random) % COUNT(p)];
        size_t bytes = SLAB_MAX + 1 + unit_random(&random) % (8 * MIB);
        if (*at && unit_random(&random) % 3)
            *at = (core_free(*at), NULL);
        else
            *at = core_realloc(*at, bytes);
        int64_t counted = counters.address_runs;
        if (i % 10) continue;
        address_runs_recount();
        cr_assert_eq(counted, counters.address_runs, "step %u: %ld, there are %ld", i, (long)counted, (long)counters.address_runs);
    }
}
