/* The door to the kernel: alignment, refusals, errno. */
#include "unit.h"

#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { CANARY = 4711 };
static bool is_mapped(uintptr_t base) {
    unsigned char page;
    return mincore((void *)base, PAGE_BYTES, &page) == 0;
}

static void watch(void) {
    unit_watch_kernel();
    errno = CANARY;
}
/* Not an assertion: Criterion does not count those that fail here. */
static void errno_is_kept(void) {
    if (errno != CANARY) abort();
}
TestSuite(os, .init = watch, .fini = errno_is_kept);

ParameterizedTestParameters(os, mapping_is_aligned_zero_and_writable) {
    static size_t alignments[] = {1 << 12, 1 << 14, 1 << 16, 1 << 18, 1 << 19, 1 << 21, 1 << 24};
    return cr_make_param_array(size_t, alignments, COUNT(alignments));
}
ParameterizedTest(size_t *alignment, os, mapping_is_aligned_zero_and_writable) {
    enum { BYTES = 5 * PAGE_BYTES };
    for (unsigned i = 0; i < 20; i++) {
        uintptr_t base = os_map(BYTES, *alignment, 0);
        cr_assert(base && base % *alignment == 0);
        for (size_t at = 0; at < BYTES; at += 512) cr_assert_eq(*(char *)(base + at), 0);
        memset((void *)base, 1, BYTES);
        cr_assert_eq(unit_kernel.mapped_bytes, (i + 1) * BYTES, "what was cut off stayed mapped");
    }
    cr_assert_not(unit_kernel.is_crooked);
}

Test(os, hint_is_followed_where_it_is_free) {
    uintptr_t base = os_map(16 * ARENA_BYTES, ARENA_BYTES, 0);
    cr_assert(os_unmap(base, 16 * ARENA_BYTES));
    cr_assert_eq(os_map(ARENA_BYTES, ARENA_BYTES, base + 4 * ARENA_BYTES), base + 4 * ARENA_BYTES);
    uintptr_t other = os_map(ARENA_BYTES, ARENA_BYTES, base + 4 * ARENA_BYTES);
    cr_assert(other && other != base + 4 * ARENA_BYTES && other % ARENA_BYTES == 0);
}

Test(os, refused_mapping_is_zero) {
    unit_kernel.mmaps_left = 0;
    cr_assert_eq(os_map(PAGE_BYTES, PAGE_BYTES, 0), 0);
}

Test(os, nothing_stays_when_the_wider_mapping_is_refused) {
    for (unsigned i = 0; i < 20; i++) {
        unit_kernel.mmaps_left = 1;
        uintptr_t base = os_map(PAGE_BYTES, 1 << 24, 0);
        cr_assert_eq(unit_kernel.mapped_bytes, base ? PAGE_BYTES : 0);
        if (base) os_unmap(base, PAGE_BYTES);
    }
}

Test(os, impossible_sizes_are_refused) {
    cr_assert_eq(os_map(~(size_t)0 - PAGE_BYTES + 1, 1 << 21, 0), 0);
    cr_assert_eq(os_map((size_t)1 << 60, PAGE_BYTES, 0), 0);
}

Test(os, what_is_not_taken_back_is_unmapped_later) {
    uintptr_t base = os_map(3 * PAGE_BYTES, PAGE_BYTES, 0), other = os_map(PAGE_BYTES, PAGE_BYTES, 0);
    memset((void *)base, 1, 3 * PAGE_BYTES);
    unit_kernel.munmaps_left = 0;
    os_discard(base, 3 * PAGE_BYTES);
    os_discard(other, PAGE_BYTES);
    cr_assert_eq(*(char *)(base + PAGE_BYTES), 0, "it was released");
    cr_assert_not(os_unmap_owed());
    unit_kernel.munmaps_left = 1;
    cr_assert(os_unmap_owed());
    unit_kernel.munmaps_left = -1;
    cr_assert(os_unmap_owed());
    cr_assert_eq(unit_kernel.mapped_bytes, 0);
    cr_assert_not(os_unmap_owed());
    errno = CANARY;
}

/* The place that the hint led to, and what is cut off at both ends. */
Test(os, what_cannot_be_cut_off_is_unmapped_later) {
    for (unsigned i = 0; i < 20; i++) {
        unit_kernel.munmaps_left = 0;
        uintptr_t base = os_map(PAGE_BYTES, 1 << 24, 0);
        cr_assert(base && base % (1 << 24) == 0);
        unit_kernel.munmaps_left = -1;
        os_unmap_owed();
        cr_assert_eq(unit_kernel.mapped_bytes, (i + 1) * PAGE_BYTES);
    }
}

Test(os, unmapping_takes_the_range_away_or_leaves_it) {
    uintptr_t base = os_map(2 * PAGE_BYTES, PAGE_BYTES, 0);
    unit_kernel.munmaps_left = 0;
    cr_assert_not(os_unmap(base, 2 * PAGE_BYTES));
    cr_assert(is_mapped(base));
    unit_kernel.munmaps_left = -1;
    cr_assert(os_unmap(base, PAGE_BYTES));
    cr_assert_not(is_mapped(base));
    cr_assert(is_mapped(base + PAGE_BYTES));
    errno = CANARY;
}

Test(os, released_pages_read_as_zero) {
    uintptr_t base = os_map(2 * PAGE_BYTES, PAGE_BYTES, 0);
    memset((void *)base, 1, 2 * PAGE_BYTES);
    cr_assert(os_release(base, PAGE_BYTES));
    cr_assert_eq(*(char *)base, 0);
    cr_assert_eq(*(char *)(base + PAGE_BYTES), 1);
}

Test(os, refused_release_is_told) {
    uintptr_t base = os_map(PAGE_BYTES, PAGE_BYTES, 0);
    *(char *)base = 1;
    unit_kernel.releases_left = 0;
    cr_assert_not(os_release(base, PAGE_BYTES));
    cr_assert_eq(*(char *)base, 1);
}

/* Of pages that are locked; with one call, and where there is none for many ranges. */
ParameterizedTestParameters(os, refused_ranges_stay_and_the_others_go) {
    static unsigned locked[] = {0, 1, 2, 4, 8, 5, 10, 15, 16 + 0, 16 + 1, 16 + 2, 16 + 6, 16 + 15};
    return cr_make_param_array(unsigned, locked, COUNT(locked));
}
ParameterizedTest(unsigned *locked, os, refused_ranges_stay_and_the_others_go) {
    enum { RANGES = 4 };
    uintptr_t base = os_map(2 * RANGES * PAGE_BYTES, PAGE_BYTES, 0);
    struct iovec ranges[RANGES];
    memset((void *)base, 1, 2 * RANGES * PAGE_BYTES);
    for (unsigned i = 0; i < RANGES; i++) {
        ranges[i] = (struct iovec){(void *)(base + 2 * i * PAGE_BYTES), PAGE_BYTES};
        if (*locked >> i & 1) cr_assert_eq(syscall(SYS_mlock, ranges[i].iov_base, PAGE_BYTES), 0);
    }
    if (*locked & 16) os_calls.release_ranges = NULL;
    cr_assert_eq(os_release_ranges(ranges, RANGES), ~*locked & 15);
    for (unsigned i = 0; i < 2 * RANGES; i++)
        cr_assert_eq(*(char *)(base + i * PAGE_BYTES), i % 2 || *locked >> i / 2 & 1, "page %u", i);
}

Test(os, lazy_return_offers_the_pages) {
    uintptr_t base = os_map(PAGE_BYTES, PAGE_BYTES, 0);
    os_return_lazily = true;
    cr_assert(os_release(base, PAGE_BYTES));
    cr_assert(unit_kernel.advice & 1u << MADV_FREE);
    cr_assert_not(unit_kernel.advice & 1u << MADV_DONTNEED);
}

Test(os, resizing_in_place_grows_and_shrinks) {
    uintptr_t base = os_map(8 * PAGE_BYTES, PAGE_BYTES, 0);
    cr_assert(os_resize_in_place(base, 8 * PAGE_BYTES, 2 * PAGE_BYTES));
    cr_assert_not(is_mapped(base + 2 * PAGE_BYTES));
    cr_assert(os_resize_in_place(base, 2 * PAGE_BYTES, 4 * PAGE_BYTES));
    cr_assert(is_mapped(base + 3 * PAGE_BYTES));
    uintptr_t behind = os_map(PAGE_BYTES, PAGE_BYTES, base + 4 * PAGE_BYTES);
    cr_assert_eq(behind, base + 4 * PAGE_BYTES);
    cr_assert_not(os_resize_in_place(base, 4 * PAGE_BYTES, 5 * PAGE_BYTES));
    errno = CANARY;
}

Test(os, moving_carries_the_contents) {
    uintptr_t from = os_map(2 * PAGE_BYTES, PAGE_BYTES, 0), to = os_map(4 * PAGE_BYTES, PAGE_BYTES, 0);
    memset((void *)from, 7, 2 * PAGE_BYTES);
    memset((void *)to, 9, 4 * PAGE_BYTES);
    unit_kernel.mremaps_left = 0;
    cr_assert_not(os_move(from, 2 * PAGE_BYTES, to, 4 * PAGE_BYTES));
    cr_assert(*(char *)from == 7 && *(char *)to == 9);
    unit_kernel.mremaps_left = -1;
    cr_assert(os_move(from, 2 * PAGE_BYTES, to, 4 * PAGE_BYTES));
    cr_assert_eq(*(char *)(to + 2 * PAGE_BYTES - 1), 7);
    cr_assert_eq(*(char *)(to + 2 * PAGE_BYTES), 0, "the rest is new");
    cr_assert_not(is_mapped(from));
    errno = CANARY;
}

/* Two mappings side by side cannot be moved in one call. Kernels from 6.17 on can, if they are not lengthened; the others unmap the
 * target and then refuse. */
Test(os, refused_move_leaves_the_target) {
    uintptr_t from = os_map(2 * PAGE_BYTES, PAGE_BYTES, 0), to = os_map(4 * PAGE_BYTES, PAGE_BYTES, 0);
    mprotect((void *)from, PAGE_BYTES, PROT_READ);
    *(char *)to = 9;
    cr_assert_not(os_move(from, 2 * PAGE_BYTES, to, 4 * PAGE_BYTES));
    cr_assert_not(os_move(from, 2 * PAGE_BYTES, to, 2 * PAGE_BYTES), "the kernel is not asked");
    cr_assert(is_mapped(from) && is_mapped(from + PAGE_BYTES));
    cr_assert(is_mapped(to), "another thread may map something there now, which the caller then unmaps");
    cr_assert_eq(*(char *)to, 9);
}

Test(os, heap_does_without_huge_pages_unless_told) {
    os_keep_huge_pages = true;
    os_map(PAGE_BYTES, PAGE_BYTES, 0);
    cr_assert_not(unit_kernel.advice & 1u << MADV_NOHUGEPAGE);
    os_keep_huge_pages = false;
    os_map(PAGE_BYTES, PAGE_BYTES, 0);
    cr_assert(unit_kernel.advice & 1u << MADV_NOHUGEPAGE);
}

Test(os, page_size_is_the_kernels) {
    os_init();
    cr_assert_eq(os_page_bytes, (size_t)sysconf(_SC_PAGESIZE));
    unit_set_auxval(AT_PAGESZ, 65536);
    os_init();
    cr_assert_eq(os_page_bytes, 65536);
    errno = CANARY;
}

/* ---- words of pages ---- */

ParameterizedTestParameters(os, words_fold_and_spread_to_os_pages) {
    static size_t sizes[] = {4096, 16384, 65536};
    return cr_make_param_array(size_t, sizes, COUNT(sizes));
}

static uint64_t whole_or_any(uint64_t pages, unsigned n, bool whole) {
    uint64_t result = 0;
    for (unsigned i = 0; i < 64; i += n) {
        uint64_t run = bit_run(i, n), in = pages & run;
        if (whole ? in == run : in != 0) result |= run;
    }
    return result;
}

ParameterizedTest(size_t *page, os, words_fold_and_spread_to_os_pages) {
    uint64_t random = 3;
    unsigned n = (unsigned)(*page / PAGE_BYTES);
    os_page_bytes = *page;
    for (unsigned i = 0; i < 10000; i++) {
        uint64_t bits = unit_random(&random) << 32 ^ unit_random(&random);
        for (unsigned runs = (unsigned)(unit_random(&random) % 4); runs; runs--)
            bits |= bit_run((unsigned)(unit_random(&random) % 40), (unsigned)(unit_random(&random) % 25));
        cr_assert_eq(os_page_fold(bits), whole_or_any(bits, n, true));
        cr_assert_eq(os_page_spread(bits & bits >> 7), n == 1 ? bits & bits >> 7 : whole_or_any(bits & bits >> 7, n, false));
    }
    cr_assert_eq(os_page_fold(~0ull), ~0ull);
    cr_assert_eq(os_page_fold(0) | os_page_spread(0), 0);
}

Test(os, errno_is_kept_where_the_kernel_refuses) {
    unit_watch_kernel();
    uintptr_t base = os_map(4 * PAGE_BYTES, PAGE_BYTES, 0);
    unit_kernel.mmaps_left = unit_kernel.munmaps_left = unit_kernel.releases_left = unit_kernel.mremaps_left = 0;
    errno = CANARY;
    cr_assert_not(os_release(base, PAGE_BYTES));
    cr_assert_eq(errno, CANARY);
    unit_kernel.mmaps_left = unit_kernel.munmaps_left = unit_kernel.mremaps_left = 0;
    cr_assert_not(os_unmap(base, PAGE_BYTES));
    cr_assert_eq(errno, CANARY);
    cr_assert_not(os_resize_in_place(base, PAGE_BYTES, 64 * PAGE_BYTES));
    cr_assert_eq(errno, CANARY);
    cr_assert_not(os_map(PAGE_BYTES, PAGE_BYTES, 0));
    cr_assert_eq(errno, CANARY);
}
