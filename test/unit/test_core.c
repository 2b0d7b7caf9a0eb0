/* The face of core: what malloc's callers may rely on. */
#include "unit.h"

#include <stdlib.h>
#include <sys/mman.h>

enum { CANARY = 4711, MIB = 1 << 20 };
static char *held[1 << 15];

/* ---- malloc and free ---- */

Test(core, every_size_is_aligned_and_long_enough) {
    for (size_t bytes = 0; bytes <= SLAB_MAX + 70000; bytes += 1 + bytes / 300) {
        char *p = core_malloc(bytes);
        cr_assert(p && (uintptr_t)p % 16 == 0, "%zu B at %p", bytes, (void *)p);
        cr_assert_geq(core_usable_bytes(p), bytes);
        memset(p, 0xa5, core_usable_bytes(p));
        core_free(p);
    }
    heap_flush(false);
    assert_sound();
}

Test(core, nothing_is_a_unique_pointer) {
    for (unsigned i = 0; i < 1000; i++) {
        held[i] = core_malloc(0);
        cr_assert_not_null(held[i]);
        if (i) cr_assert_neq(held[i], held[i - 1]);
    }
    for (unsigned i = 0; i < 1000; i++) core_free(held[i]);
    core_free(NULL);
}

struct program {
    size_t most_bytes;
    unsigned steps;
    bool is_alone;
};
static struct program programs[] = {{512, 60000, true}, {512, 60000, false}, {40000, 20000, true}, {40000, 20000, false},
                                    {2000000, 4000, true}, {2000000, 4000, false}};
ParameterizedTestParameters(core, blocks_are_the_programs_alone) {
    return cr_make_param_array(struct program, programs, COUNT(programs));
}
ParameterizedTest(struct program *program, core, blocks_are_the_programs_alone) {
    static struct unit_churn churn;
    churn.random = churn.most_bytes = program->most_bytes;
    if (program->is_alone) unit_be_alone();
    for (unsigned i = 0; i < program->steps; i++) {
        unit_churn_step(&churn);
        if (i % 4096 == 0) assert_sound();
    }
    unit_churn_end(&churn);
    cr_assert_null(churn.fault, "%s", churn.fault);
    heap_flush(false);
    cr_assert(counters.taken_bytes == 0 && counters.live_pages == 0);
    assert_sound();
}

Test(core, errno_is_kept_by_what_succeeds) {
    core_trim(0);
    errno = CANARY;
    for (size_t bytes = 1; bytes < 10 * MIB; bytes *= 3) {
        char *p = core_realloc(core_calloc(1, bytes), bytes * 2);
        core_free(p);
        core_free(core_memalign(4096, bytes));
    }
    core_trim(0);
    cr_assert_eq(errno, CANARY);
}

/* What a program writes after its free, beyond the first word, harms nobody. */
Test(core, freed_memory_holds_nothing_but_the_mark) {
    for (unsigned i = 0; i < 5000; i++) held[i] = core_malloc(64);
    for (unsigned i = 0; i < 5000; i++) core_free(held[i]);
    for (unsigned i = 0; i < 5000; i++)
        if (pagemap_class((uintptr_t)held[i]) == class_of_request(64)) memset(held[i] + 8, 0xff, 56);
    for (unsigned i = 0; i < 5000; i++) cr_assert_not_null(held[i] = core_malloc(64));
    assert_sound();
}

Test(core, block_that_looks_like_a_freed_one_can_be_freed) {
    void **p = core_malloc(64);
    core_free(p);
    void *mark = *p;
    cr_assert_eq((void **)core_malloc(64), p);
    cr_assert_neq(*p, mark, "malloc takes the mark away");
    *p = mark;
    core_free(core_malloc(64));
    core_free(p);
    heap_flush(false);
    assert_sound();
}

/* ---- too much ---- */

struct request {
    size_t count, bytes;
};
static struct request impossible[] = {{1, SIZE_MAX}, {1, (size_t)PTRDIFF_MAX + 1}, {1, PTRDIFF_MAX}, {1, PTRDIFF_MAX - 65536},
                                      {SIZE_MAX, 2}, {(size_t)1 << 32, (size_t)1 << 32}, {3, SIZE_MAX / 2}};
ParameterizedTestParameters(core, too_much_is_null_and_enomem) {
    return cr_make_param_array(struct request, impossible, COUNT(impossible));
}
static void expect_no_memory(void *p) {
    cr_assert_null(p);
    cr_assert_eq(errno, ENOMEM);
    errno = 0;
}
ParameterizedTest(struct request *r, core, too_much_is_null_and_enomem) {
    char *p = core_malloc(100);
    strcpy(p, "kept");
    core_free(core_malloc(100000));
    unit_watch_kernel();
    expect_no_memory(core_calloc(r->count, r->bytes));
    if (r->count == 1) {
        expect_no_memory(core_malloc(r->bytes));
        expect_no_memory(core_realloc(p, r->bytes));
        expect_no_memory(core_memalign(64, r->bytes));
        expect_no_memory(core_memalign(1 << 24, r->bytes));
        expect_no_memory(core_memalign((size_t)1 << 63, r->bytes));
        expect_no_memory(core_memalign((size_t)1 << 63, 1));
    }
    cr_assert_eq(unit_kernel.releases + unit_kernel.munmaps, 0, "nothing is given back for it");
    cr_assert_str_eq(p, "kept");
    core_free(p);
    cr_assert_not_null(core_malloc(100));
}

Test(core, kernel_that_refuses_is_enomem) {
    unit_watch_kernel();
    void *small = core_malloc(16), *large = core_malloc(MIB);
    unit_kernel.mmaps_left = unit_kernel.mremaps_left = 0;
    expect_no_memory(core_malloc(100000));
    expect_no_memory(core_malloc(2 * MIB));
    expect_no_memory(core_calloc(1, 5000));
    expect_no_memory(core_memalign(8192, 8192));
    expect_no_memory(core_realloc(small, 70000));
    expect_no_memory(core_realloc(large, 20 * MIB));
    cr_assert_eq(core_realloc(large, MIB / 2), large, "smaller needs no memory");
    core_free(small);
    core_free(large);
    unit_kernel.mmaps_left = -1;
    cr_assert_not_null(core_malloc(100000));
    assert_sound();
}

static bool refuses;
static void refuse_while_mapped(void) {
    if (refuses && unit_kernel.munmaps == 0 && unit_kernel.releases == 0) unit_kernel.mmaps_left = 0;
    if (unit_kernel.munmaps || unit_kernel.releases) unit_kernel.mmaps_left = -1;
}

/* Address space that one tier retains may be what another lacks. */
Test(core, what_is_retained_goes_back_before_giving_up) {
    unit_watch_kernel();
    for (unsigned i = 0; i < 8000; i++) held[i] = core_malloc(200);
    for (unsigned i = 0; i < 8000; i++) core_free(held[i]);
    cr_assert_gt(budget_retained_pages(), 100);
    unit_kernel.munmaps = unit_kernel.releases = 0;
    refuses = true;
    unit_kernel.on_call = refuse_while_mapped;
    cr_assert_not_null(core_malloc(MIB));
    cr_assert_gt(unit_kernel.munmaps + unit_kernel.releases, 0);
}

/* ---- calloc ---- */

ParameterizedTestParameters(core, calloc_clears_what_was_used_before) {
    static size_t sizes[] = {1, 16, 100, 512, 513, 4096, 5000, 20000, 40000, 131072, 200000, 3 * MIB};
    return cr_make_param_array(size_t, sizes, COUNT(sizes));
}
ParameterizedTest(size_t *bytes, core, calloc_clears_what_was_used_before) {
    for (unsigned round = 0; round < 4; round++) {
        for (unsigned i = 0; i < 20; i++) {
            held[i] = core_calloc(1, *bytes);
            cr_assert(held[i][0] == 0 && !memcmp(held[i], held[i] + 1, *bytes - 1), "%zu B", *bytes);
            memset(held[i], 0xff, core_usable_bytes(held[i]));
        }
        for (unsigned i = round % 2; i < 20; i++) core_free(held[i]);
        if (round == 1) core_trim(0);
        if (round == 2) heap_flush(false);
    }
}

Test(core, calloc_multiplies) {
    cr_assert_geq(core_usable_bytes(core_calloc(100, 33)), 3300);
    cr_assert_not_null(core_calloc(0, 10));
    cr_assert_not_null(core_calloc(SIZE_MAX, 0));
}

/* ---- realloc ---- */

Test(core, realloc_of_null_allocates_and_to_nothing_frees) {
    char *p = core_realloc(NULL, 100);
    cr_assert_geq(core_usable_bytes(p), 100);
    cr_assert_null(core_realloc(p, 0));
    cr_assert_eq(core_malloc(100), p, "it was freed");
    cr_assert_not_null(core_realloc(NULL, 0));
    cr_assert_null(core_realloc(core_malloc(MIB), 0));
    cr_assert_eq(counters.large_count, 0);
}

ParameterizedTestParameters(core, realloc_keeps_the_contents) {
    static size_t sizes[] = {1, 24, 512, 600, 5000, 70000, 131072, 131073, MIB, 5 * MIB};
    return cr_make_param_array(size_t, sizes, COUNT(sizes));
}
ParameterizedTest(size_t *from, core, realloc_keeps_the_contents) {
    for (size_t to = 1; to < 6 * MIB; to += 1 + to / 2) {
        size_t least = *from < to ? *from : to;
        char *p = core_malloc(*from);
        for (size_t i = 0; i < *from; i += 17) p[i] = (char)(i * 31 >> 3);
        p = core_realloc(p, to);
        cr_assert(p && core_usable_bytes(p) >= to && (uintptr_t)p % 16 == 0);
        for (size_t i = 0; i < least; i += 17)
            if (p[i] != (char)(i * 31 >> 3)) cr_assert_fail("byte %zu, %zu to %zu", i, *from, to);
        memset(p, 1, to);
        core_free(p);
    }
}

Test(core, realloc_keeps_its_place_unless_a_quarter_would_be_wasted) {
    char *p = core_malloc(400);
    cr_assert_eq(core_realloc(p, 400), p);
    cr_assert_eq(core_realloc(p, 300), p);
    cr_assert_neq(core_realloc(p, 299), p);
    p = core_malloc(MIB);
    cr_assert_eq(core_realloc(p, MIB / 2), p);
    cr_assert_lt(core_usable_bytes(core_realloc(p, 1000)), 2000, "a small one is no mapping any more");
}

/* ---- memalign and usable ---- */

ParameterizedTestParameters(core, memalign_aligns) {
    static size_t alignments[20];
    for (unsigned i = 0; i < COUNT(alignments); i++) alignments[i] = (size_t)8 << i;
    return cr_make_param_array(size_t, alignments, COUNT(alignments));
}
ParameterizedTest(size_t *alignment, core, memalign_aligns) {
    for (size_t bytes = 0; bytes < MIB; bytes += 1 + bytes / 2) {
        char *p = core_memalign(*alignment, bytes), *q = core_memalign(*alignment, bytes);
        cr_assert(p && q && p != q && ((uintptr_t)p | (uintptr_t)q) % *alignment == 0);
        cr_assert(core_usable_bytes(p) >= bytes && core_usable_bytes(q) >= bytes);
        memset(p, 1, bytes);
        core_free(p);
        p = core_realloc(q, bytes + 1);
        core_free(p);
    }
    assert_sound();
}

Test(core, nothing_usable_at_null) { cr_assert_eq(core_usable_bytes(NULL), 0); }

/* ---- pointers of others ---- */

static char others[64] __attribute__((aligned(16)));
static void *freed_for_others;
static bool free_others(void *p) {
    freed_for_others = p;
    return p == others;
}
static size_t usable_others(const void *p) { return p == others ? sizeof others : 0; }

Test(core, pointers_of_others_are_theirs) {
    core_foreign = (struct foreign_calls){free_others, usable_others};
    core_free(others);
    cr_assert_eq(freed_for_others, others);
    freed_for_others = NULL;
    cr_assert_eq(core_usable_bytes(others), sizeof others);
    strcpy(others, "theirs");
    char *p = core_realloc(others, 200);
    cr_assert(p != others && freed_for_others == others);
    cr_assert_str_eq(p, "theirs");
    cr_assert_neq(pagemap_class((uintptr_t)p), CLASS_NONE);
}

/* ---- trim ---- */

Test(core, trim_says_whether_it_released_something) {
    for (unsigned i = 0; i < 8000; i++) held[i] = core_malloc(300);
    for (unsigned i = 0; i < 8000; i++) core_free(held[i]);
    cr_assert(core_trim(100 * PAGE_BYTES));
    cr_assert(budget_retained_pages() <= 100 && budget_retained_pages() > 0);
    cr_assert(core_trim(0));
    cr_assert_eq(budget_retained_pages(), 0);
    cr_assert_eq(counters.taken_bytes, 0, "magazines too");
    cr_assert_not(core_trim(0));
    assert_sound();
}

Test(core, init_is_safe_to_repeat) {
    core_init();
    void *p = core_malloc(50);
    core_init();
    cr_assert_eq(class_table[4].block_bytes, 64);
    core_free(p);
    assert_sound();
}
