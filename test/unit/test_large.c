/* Large buffers: mappings of their own, the cache of freed ones, and resizing. */
#include "unit.h"

#include "../../core/arena.h"

#include <stdlib.h>
#include <sys/mman.h>

enum { MIB = 1 << 20, KIB64 = OWNER_BYTES };
static size_t dirty;

static void start(void) {
    core_init();
    unit_watch_kernel();
}
TestSuite(large, .init = start);

static void *allocate(size_t bytes) { return large_alloc(bytes, 1, &dirty); }

ParameterizedTestParameters(large, buffer_is_aligned_zero_and_known_to_the_page_map) {
    static size_t sizes[] = {1, SLAB_MAX + 1, 3 * KIB64 - 1, 3 * KIB64, 3 * KIB64 + 1, MIB, 5 * MIB + 12345};
    return cr_make_param_array(size_t, sizes, COUNT(sizes));
}
ParameterizedTest(size_t *bytes, large, buffer_is_aligned_zero_and_known_to_the_page_map) {
    char *p = allocate(*bytes);
    uintptr_t base = (uintptr_t)p;
    cr_assert(!dirty && base % KIB64 == 0);
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
            void *p = large_alloc(300000, alignment, &dirty), *q = large_alloc(300000, alignment, &dirty);
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
    cr_assert(dirty, "it holds what the last user wrote");
    cr_assert_eq(counters.retained_pages[RING_LARGE], 0);
    cr_assert_eq(unit_kernel.munmaps + unit_kernel.releases, before);
    cr_assert(rings_sum(counters.fresh_pages) == MIB / PAGE_BYTES && rings_sum(counters.reused_pages) == MIB / PAGE_BYTES);
}

Test(large, kept_buffer_is_cut_and_grows_together_again) {
    char *p = allocate(2 * MIB);
    large_free(p);
    cr_assert_eq(allocate(MIB), p);
    cr_assert_eq(counters.retained_pages[RING_LARGE], MIB / PAGE_BYTES);
    cr_assert_eq(large_usable_bytes(p), MIB);
    cr_assert_eq(allocate(MIB - KIB64), p + MIB);
    cr_assert_eq(counters.retained_pages[RING_LARGE], 16);
    large_free(p);
    large_free(p + MIB);
    cr_assert_eq(counters.retained_pages[RING_LARGE], 2 * MIB / PAGE_BYTES);
    cr_assert_eq(allocate(2 * MIB), p);
    cr_assert_eq(counters.large_count, 1);
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
Test(large, buffer_that_could_not_be_unmapped_goes_with_the_next_trim) {
    unit_kernel.munmaps_left = 0;
    expect_parked_and_reused();
    char *p = allocate(32 * MIB), *q = allocate(16 * MIB);
    large_free(p);
    large_free(q);
    core_trim(0);
    cr_assert_eq(counters.large_mapped_bytes, (64 + 32 + 16) * MIB);
    unit_kernel.munmaps_left = -1;
    cr_assert(core_trim(0));
    cr_assert_eq(counters.large_mapped_bytes, 64 * MIB);
    assert_sound();
}
Test(large, buffer_is_not_unmapped_when_that_makes_too_many_holes) {
    relaxed_store(&limits.max_holes, 0);
    expect_parked_and_reused();
    cr_assert_eq(unit_kernel.munmaps, 0);
}

/* The word behind a range of 64 KiB is another buffer's. */
Test(large, least_range_that_cannot_be_unmapped_leaves_its_neighbour_alone) {
    char *p = allocate(6 * KIB64), *q;
    memset(p, 1, 6 * KIB64);
    large_free(p);
    cr_assert_eq(allocate(3 * KIB64), p);
    cr_assert_eq(q = allocate(KIB64), p + 3 * KIB64);
    cr_assert_eq(allocate(2 * KIB64), p + 4 * KIB64);
    large_free(q);
    unit_kernel.munmaps_left = 0;
    cr_assert_eq(large_release(SIZE_MAX), KIB64 / PAGE_BYTES);
    cr_assert_eq(large_usable_bytes(p + 4 * KIB64), 2 * KIB64);
    cr_assert_eq(allocate(KIB64), q, "it is used again");
    cr_assert_eq(*q, 0);
    large_free(p + 4 * KIB64);
    cr_assert_eq(counters.large_count, 2);
    assert_sound();
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
    long steps = 0;
    for (; bytes < 8 * MIB; bytes += KIB64, steps++) p = large_resize(p, bytes);
    /* Usually 20 to 40; how many depends on where the kernel puts things. */
    cr_assert_lt(unit_kernel.mremaps + unit_kernel.mmaps, steps * 2 / 3, "%ld + %ld", (long)unit_kernel.mremaps, (long)unit_kernel.mmaps);
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

/* ---- assembling ---- */

/* Two buffers in use around each, so that what is freed neither joins nor can be lengthened; each page says where it was. */
static void cache_pieces(char **p, unsigned n, size_t bytes) {
    relaxed_store(&limits.retained.base_pages, 1 << 20);
    for (unsigned i = 0; i < n; i++) {
        allocate(SLAB_MAX + 1);
        p[i] = allocate(bytes);
        for (size_t at = 0; at < bytes; at += PAGE_BYTES) p[i][at] = (char)(i + 1);
    }
    allocate(SLAB_MAX + 1);
    for (unsigned i = 0; i < n; i++) large_free(p[i]);
}

static size_t count_dirty(const char *p, size_t bytes) {
    size_t pages = 0;
    for (size_t at = 0; at < bytes; at += PAGE_BYTES) pages += p[at] != 0;
    return pages * PAGE_BYTES;
}

ParameterizedTestParameters(large, what_nothing_is_large_enough_for_is_assembled) {
    static size_t sizes[] = {7 * KIB64, 8 * KIB64, 11 * KIB64, 12 * KIB64 - 1, 12 * KIB64, 13 * KIB64, 20 * KIB64};
    return cr_make_param_array(size_t, sizes, COUNT(sizes));
}
ParameterizedTest(size_t *bytes, large, what_nothing_is_large_enough_for_is_assembled) {
    enum { EACH = 4 * KIB64, ALL = 3 * EACH };
    char *piece[3];
    size_t whole = (*bytes + KIB64 - 1) / KIB64 * KIB64, used = whole < ALL ? whole : ALL;
    cache_pieces(piece, 3, EACH);
    int64_t mapped = counters.large_mapped_bytes, live = counters.live_pages;
    char *p = allocate(*bytes);
    cr_assert_eq(dirty, used);
    cr_assert_eq(count_dirty(p, *bytes), used < *bytes ? used : (*bytes + PAGE_BYTES - 1) / PAGE_BYTES * PAGE_BYTES);
    for (size_t at = dirty; at < *bytes; at += 100) cr_assert_eq(p[at], 0);
    cr_assert_eq(counters.retained_pages[RING_LARGE], (int64_t)(ALL - used) / PAGE_BYTES);
    cr_assert_eq(counters.reused_pages[RING_LARGE] * PAGE_BYTES, (int64_t)(used < *bytes ? used : (*bytes + PAGE_BYTES - 1) / PAGE_BYTES * PAGE_BYTES));
    cr_assert_eq(counters.large_mapped_bytes, mapped + (int64_t)(whole - used), "the pages have moved");
    cr_assert_eq(counters.live_pages, live + (int64_t)(*bytes + PAGE_BYTES - 1) / PAGE_BYTES);
    memset(p, 7, *bytes);
    assert_sound();
    int64_t runs = counters.address_runs;
    address_runs_recount();
    cr_assert_eq(counters.address_runs, runs);
    large_free(p);
    large_release(SIZE_MAX);
    cr_assert_eq(counters.large_mapped_bytes, 4 * 3 * KIB64);
    address_runs_recount();
    cr_assert_leq(counters.address_runs, 4);
    assert_sound();
}

/* Before the first move, and before the second: the pieces stay cached, the rest is fresh. */
ParameterizedTestParameters(large, refused_moves_leave_pieces_cached) {
    static long moves[] = {0, 1, 2};
    return cr_make_param_array(long, moves, COUNT(moves));
}
ParameterizedTest(long *moves, large, refused_moves_leave_pieces_cached) {
    char *piece[3];
    cache_pieces(piece, 3, MIB);
    unit_kernel.mremaps_left = *moves + 1; /* the first tries to lengthen, and what is there is in its way */
    char *p = allocate(3 * MIB);
    cr_assert_eq(dirty, (size_t)*moves * MIB, "%zu", dirty);
    cr_assert_eq(counters.retained_pages[RING_LARGE], (3 - *moves) * MIB / PAGE_BYTES);
    memset(p, 7, 3 * MIB);
    unit_kernel.mremaps_left = -1;
    assert_sound();
    large_free(p);
    large_release(SIZE_MAX);
    cr_assert_eq(counters.large_mapped_bytes, 4 * 3 * KIB64);
}

/* The page map must go on saying where the kernel's mappings begin. */
Test(large, assembled_buffer_that_cannot_be_unmapped_keeps_its_seams) {
    char *piece[3];
    cache_pieces(piece, 3, MIB);
    char *p = allocate(3 * MIB + 8);
    int64_t runs = counters.address_runs;
    relaxed_store(&limits.retained.base_pages, 0);
    unit_kernel.munmaps_left = 0;
    large_free(p);
    cr_assert_eq(counters.retained_pages[RING_LARGE], 0);
    cr_assert_eq(counters.address_runs, runs);
    address_runs_recount();
    cr_assert_eq(counters.address_runs, runs);
    unit_kernel.munmaps_left = -1;
    cr_assert(large_unmap_parked());
    cr_assert_eq(counters.large_mapped_bytes, 4 * 3 * KIB64);
    assert_sound();
}

Test(large, nothing_is_moved_where_that_makes_too_many_holes) {
    char *piece[3];
    cache_pieces(piece, 3, MIB);
    relaxed_store(&limits.max_holes, 1);
    allocate(3 * MIB);
    cr_assert_eq(dirty, 0, "%zu, %ld runs", dirty, (long)counters.address_runs);
    cr_assert_eq(counters.retained_pages[RING_LARGE], 3 * MIB / PAGE_BYTES);
}

/* A piece of several mappings is moved one after the other, and a buffer of several is copied by realloc. */
Test(large, assembled_buffers_are_assembled_from_again) {
    char *piece[4], *p;
    cache_pieces(piece, 4, MIB);
    p = allocate(3 * MIB);
    fill(p, 3 * MIB);
    large_free(p);
    cr_assert_eq(counters.retained_pages[RING_LARGE], 4 * MIB / PAGE_BYTES);
    p = allocate(4 * MIB);
    cr_assert_eq(dirty, 4 * MIB);
    fill(p, 4 * MIB);
    pagemap_fill((uintptr_t)p + 4 * MIB, PAGE_BYTES, CLASS_LARGE_BODY); /* a neighbour */
    if (pagemap_class((uintptr_t)p + PAGE_BYTES) == CLASS_LARGE_SEAM) cr_assert_null(large_resize(p, 5 * MIB));
    p = core_realloc(p, 6 * MIB);
    expect_filled(p, 4 * MIB);
}

Test(large, growing_takes_what_is_cached_behind_without_a_call) {
    relaxed_store(&limits.retained.base_pages, 1 << 20);
    char *p = allocate(8 * MIB);
    memset(p, 1, 8 * MIB);
    large_free(p);
    cr_assert_eq(allocate(MIB), p);
    fill(p, MIB);
    long calls = unit_kernel.mmaps + unit_kernel.munmaps + unit_kernel.mremaps + unit_kernel.releases;
    for (size_t bytes = MIB; bytes <= 8 * MIB; bytes += 3 * KIB64) cr_assert_eq(large_resize(p, bytes), p);
    cr_assert_eq(large_resize(p, 8 * MIB), p);
    cr_assert_eq(unit_kernel.mmaps + unit_kernel.munmaps + unit_kernel.mremaps + unit_kernel.releases, calls);
    cr_assert_eq(counters.retained_pages[RING_LARGE], 0);
    cr_assert_eq(counters.fresh_pages[RING_LARGE] * PAGE_BYTES, 8 * MIB);
    expect_filled(p, MIB);
    cr_assert_eq(count_dirty(p + MIB, 7 * MIB), 7 * MIB);
    assert_sound();
}

/* In place or moved: the end comes from the cache. */
ParameterizedTestParameters(large, what_a_buffer_grows_by_comes_from_the_cache) {
    static bool moves[] = {false, true};
    return cr_make_param_array(bool, moves, COUNT(moves));
}
ParameterizedTest(bool *moves, large, what_a_buffer_grows_by_comes_from_the_cache) {
    char *piece[2], *p, *q;
    cache_pieces(piece, 2, MIB);
    cr_assert_eq(large_release(MIB / PAGE_BYTES), MIB / PAGE_BYTES);
    p = large_alloc(2 * MIB, 2 * MIB, &dirty); /* not from the cache */
    size_t old_dirty = dirty;
    cr_assert_eq(old_dirty % MIB, 0);
    fill(p, 2 * MIB);
    int64_t had = counters.retained_pages[RING_LARGE];
    if (*moves) pagemap_fill((uintptr_t)p + 2 * MIB, PAGE_BYTES, CLASS_LARGE_BODY);
    q = core_realloc(p, 3 * MIB);
    cr_assert_not_null(q);
    expect_filled(q, 2 * MIB);
    if (had) cr_assert_lt(counters.retained_pages[RING_LARGE], had);
    memset(q, 1, 3 * MIB);
    assert_sound();
}

/* A growth that fails gives back to the cache what it had taken from it. */
Test(large, refused_growth_keeps_buffer_and_cache) {
    relaxed_store(&limits.retained.base_pages, 1 << 20);
    char *p = allocate(2 * MIB);
    memset(p, 1, 2 * MIB);
    large_free(p);
    p = allocate(MIB);
    fill(p, MIB);
    unit_kernel.mremaps_left = unit_kernel.mmaps_left = 0;
    cr_assert_null(large_resize(p, 64 * MIB));
    expect_filled(p, MIB);
    cr_assert(large_usable_bytes(p) == MIB && counters.retained_pages[RING_LARGE] == MIB / PAGE_BYTES);
    assert_sound();
}

/* The kernel lengthens it beyond what the page map has leaves for, and refuses these. */
Test(large, leaves_refused_after_lengthening) {
    size_t bytes = (size_t)1 << 30, room = 3 * bytes;
    char *above = mmap(NULL, room, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    cr_assert_neq(above, MAP_FAILED);
    char *p = allocate(bytes); /* too large for a gap elsewhere, so right below it */
    cr_assert(p + bytes <= above && above - p < (ptrdiff_t)(bytes + 16 * MIB), "%p is not below %p", (void *)p, (void *)above);
    fill(p, MIB);
    munmap(above, room);
    int64_t mapped = unit_kernel.mapped_bytes;
    unit_kernel.mmaps_left = 0;
    unit_kernel.mremaps_left = 1;
    cr_assert_null(large_resize(p, room));
    cr_assert_eq(unit_kernel.mapped_bytes, mapped);
    expect_filled(p, MIB);
    cr_assert_eq(large_usable_bytes(p), bytes);
    unit_kernel.mmaps_left = unit_kernel.mremaps_left = -1;
    cr_assert_eq(large_resize(p, room), p); /* nothing has stayed in the way */
    assert_sound();
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
        size_t unclean;
        size_t bytes = SLAB_MAX + 1 + unit_random(&random) % (3 * KIB64);
        char *p = large_alloc(bytes, 1, &unclean);
        if (!p || (!unclean && (p[0] || p[bytes - 1]))) atomic_fetch_add(&race->faults, 1);
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
    cr_assert(counters.retained_pages[RING_LARGE] == 0 && counters.large_mapped_bytes == 0, "%ld pages retained, %ld bytes mapped",
              (long)counters.retained_pages[RING_LARGE], (long)counters.large_mapped_bytes);
}

static void map_and_unmap(unsigned index, void *context) {
    (void)context;
    for (unsigned i = 0; i < 3000; i++) large_free(large_alloc((5 + index) * MIB, 1, &(size_t){0}));
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
