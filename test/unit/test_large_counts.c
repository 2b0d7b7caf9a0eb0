/* Large buffers: what the page map and the counters say of buffers that were assembled or resized, or could not be. */
#include "unit.h"

#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

TestSuite(large_counts, .init = core_init);

enum { KIB64 = 64 << 10, EACH = 4 * KIB64, PIECES = 3 };

static char *allocate(size_t bytes) {
    size_t dirty;
    char *p = large_alloc(bytes, 16, &dirty);
    cr_assert(p);
    return p;
}

/* Between the pieces there are buffers in use, so none can be joined or lengthened to what is wanted. */
Test(large_counts, each_piece_of_an_assembled_buffer_begins_with_a_seam) {
    char *piece[PIECES];
    relaxed_store(&limits.retained.base_pages, 1 << 20);
    for (unsigned i = 0; i < PIECES; i++) {
        allocate(SLAB_MAX + 1);
        piece[i] = allocate(EACH);
        memset(piece[i], 1, EACH);
    }
    allocate(SLAB_MAX + 1);
    for (unsigned i = 0; i < PIECES; i++) large_free(piece[i]);
    int64_t runs = counters.address_runs;
    uintptr_t p = (uintptr_t)allocate(PIECES * EACH);
    for (unsigned i = 1; i < PIECES; i++)
        cr_assert_eq(pagemap_class(p + i * EACH + PAGE_BYTES), CLASS_LARGE_SEAM, "piece %u", i);
    cr_assert_gt(counters.address_runs, runs);
    assert_sound();
}

Test(large_counts, spare_pages_are_those_of_the_size_at_last) {
    char *p = allocate(3 * KIB64 + 1);
    for (size_t bytes = 3 * KIB64; bytes < 4 << 20; bytes += 50000) {
        p = core_realloc(p, bytes);
        size_t pages = (bytes + PAGE_BYTES - 1) / PAGE_BYTES;
        cr_assert_eq(counters.large_spare_pages, (int64_t)(large_usable_bytes(p) / PAGE_BYTES - pages), "%zu", bytes);
    }
    p = core_realloc(p, 5 * KIB64);
    cr_assert_eq(counters.large_spare_pages, 0);
    core_free(p);
    cr_assert_eq(counters.large_spare_pages, 0);
    assert_sound();
}

/* They stay, and would use up the address space of a program that may have little. */
Test(large_counts, refused_growth_makes_no_leaves) {
    struct rlimit before, less;
    unsigned long pages;
    char *p = allocate(1 << 20);
    size_t leaves = pagemap_leaf_bytes();
    FILE *statm = fopen("/proc/self/statm", "r");
    cr_assert(statm && fscanf(statm, "%lu", &pages) == 1 && !getrlimit(RLIMIT_AS, &before));
    less = before;
    less.rlim_cur = pages * (size_t)sysconf(_SC_PAGESIZE) + ((size_t)1 << 30);
    setrlimit(RLIMIT_AS, &less);
    void *grown = large_resize(p, (size_t)8 << 30), *taken = core_malloc((size_t)8 << 30);
    setrlimit(RLIMIT_AS, &before);
    cr_assert(!grown && !taken);
    cr_assert_eq(pagemap_leaf_bytes(), leaves);
    fclose(statm);
}
