/* The kernel refuses one of the mappings that a first allocation needs (heap, group, arena, leaf of the page map): nothing is lost. And
 * other refusals that no program brings about at will. */
#include "unit.h"

#include "../../core/check.h"
#include "../../core/gate.h"

static size_t sizes[] = {16, 5000, 100000, 1 << 20};
enum { MOST_MAPPINGS = 12 };

struct refusal {
    size_t bytes;
    long after;
};

ParameterizedTestParameters(refusals, is_made_up_for_later) {
    static struct refusal refusals[COUNT(sizes) * MOST_MAPPINGS];
    for (unsigned i = 0; i < COUNT(refusals); i++) refusals[i] = (struct refusal){sizes[i / MOST_MAPPINGS], i % MOST_MAPPINGS};
    return cr_make_param_array(struct refusal, refusals, COUNT(refusals));
}
ParameterizedTest(struct refusal *refusal, refusals, is_made_up_for_later) {
    unit_watch_kernel();
    unit_kernel.mmaps_left = refusal->after;
    errno = 0;
    char *p = core_malloc(refusal->bytes);
    cr_assert(p || errno == ENOMEM);
    bool is_refused = !unit_kernel.mmaps_left;
    cr_assert(p || is_refused);
    unit_kernel.mmaps_left = -1;
    if (p) core_free(p);
    p = core_malloc(refusal->bytes);
    cr_assert_not_null(p);
    memset(p, 1, refusal->bytes);
    assert_sound();
    core_free(p);
    core_trim(0);
    assert_sound();
    cr_assert(counters.live_pages == 0 && counters.arenas == 0 && counters.large_mapped_bytes == 0);
    int64_t needed = counters.metadata_bytes + (int64_t)pagemap_leaf_bytes();
    cr_assert_eq(unit_kernel.mapped_bytes, needed, "%ld bytes of addresses are lost", (long)(unit_kernel.mapped_bytes - needed));
}

/* Where there are many arenas several are mapped at once; if that is refused, one. */
static void refuse_first(void) {
    static unsigned calls;
    unit_kernel.mmaps_left = calls++ ? -1 : 0;
}
Test(refusals, one_arena_where_several_are_refused) {
    enum { BLOCKS = 34 * 2 };
    void *blocks[BLOCKS + 1];
    unit_watch_kernel();
    for (unsigned i = 0; i < BLOCKS; i++) blocks[i] = core_malloc(SLAB_MAX);
    while (atomic_load(&index_table[INDEX_FRESH + 3].top)) cr_assert_not_null(core_malloc(SLAB_MAX));
    int64_t arenas = counters.arenas;
    cr_assert_geq(arenas, 32);
    unit_kernel.on_call = refuse_first;
    cr_assert_not_null(blocks[BLOCKS] = core_malloc(SLAB_MAX));
    cr_assert_eq(counters.arenas, arenas + 1);
    assert_sound();
    core_free(blocks[BLOCKS]);
}

/* With as many runs of addresses as there may be, a hole is not made. */
Test(refusals, too_many_holes) {
    enum { BYTES = 1 << 20 };
    char *p[3] = {core_malloc(BYTES), core_malloc(BYTES), core_malloc(BYTES)};
    relaxed_store(&limits.retained.base_pages, 0);
    relaxed_store(&limits.retained.share256, 0);
    for (unsigned tries = 0; p[0] - p[2] != 2 * BYTES; tries++) { /* until three lie side by side */
        cr_assert_lt(tries, 1000);
        p[0] = p[1];
        p[1] = p[2];
        p[2] = core_malloc(BYTES);
    }
    relaxed_store(&limits.max_holes, 1);
    int64_t mapped = counters.large_mapped_bytes;
    core_free(p[1]);
    cr_assert_eq(counters.large_mapped_bytes, mapped, "it stays, for reuse");
    cr_assert_eq(core_malloc(BYTES), p[1]);
    assert_sound();
}

/* A refused move has left a hole, and what is around it cannot be unmapped: nobody gets it. */
Test(refusals, what_the_kernel_has_torn_is_not_used_again) {
    enum { BYTES = 1 << 20 };
    char *pieces[] = {core_malloc(BYTES), core_malloc(BYTES)};
    for (unsigned i = 0; i < COUNT(pieces); i++) core_free(pieces[i]);
    unit_watch_kernel();
    unit_kernel.mremaps_left = unit_kernel.munmaps_left = 0;
    unit_kernel.takes_target = true;
    char *p = core_malloc(3 * BYTES);
    cr_assert_not_null(p);
    cr_assert_gt(unit_kernel.mremaps, 0);
    memset(p, 1, 3 * BYTES);
    unit_kernel.mremaps_left = unit_kernel.munmaps_left = -1;
    char *q = core_malloc(3 * BYTES);
    memset(q, 2, 3 * BYTES);
    cr_assert_eq(p[3 * BYTES - 1], 1);
    core_free(p);
    core_free(q);
    core_trim(0);
    cr_assert_eq(counters.large_mapped_bytes, 0);
    assert_sound();
}

/* Who wraps mmap may allocate there, in the middle of a refill. */
static void *kept[4000];
static unsigned first_kept, kept_blocks;
static void trim_inside(void) {
    unit_kernel.on_call = NULL;
    core_trim(0); /* as where the inner call finds no memory */
}
static void free_inside(void) {
    while (first_kept < kept_blocks && first_kept % 3 < 2) core_free(kept[first_kept++]);
    if (first_kept < kept_blocks) first_kept++;
}

static void everything_comes_back(void) {
    for (; first_kept < COUNT(kept); first_kept++) core_free(kept[first_kept]);
    core_trim(0);
    cr_assert_eq(counters.taken_bytes, 0, "%ld bytes are lost", (long)counters.taken_bytes);
    assert_sound();
}

Test(refusals, a_refill_is_disturbed_by_a_trim) {
    core_free(core_malloc(16));
    unit_watch_kernel();
    unit_kernel.on_call = trim_inside;
    kept[0] = core_malloc(600);
    cr_assert_null(unit_kernel.on_call);
    everything_comes_back();
}
Test(refusals, a_refill_is_disturbed_by_frees) {
    unit_watch_kernel();
    unit_kernel.on_call = free_inside;
    for (; kept_blocks < COUNT(kept); kept_blocks++) kept[kept_blocks] = core_malloc(600);
    unit_kernel.on_call = NULL;
    cr_assert_gt(first_kept, 2);
    for (unsigned i = 2; i < first_kept; i += 3) core_free(kept[i]);
    everything_comes_back();
}

/* The same in the middle of a realloc, at each of the moves that it makes. */
enum { MOST_MOVES = 5, GROWTHS = 3 };
static size_t sizes_after[GROWTHS] = {2 << 20, 4 << 20, 9 << 20};

ParameterizedTestParameters(refusals, realloc_survives_what_was_torn) {
    static unsigned cases[GROWTHS * MOST_MOVES * 2];
    for (unsigned i = 0; i < COUNT(cases); i++) cases[i] = i;
    return cr_make_param_array(unsigned, cases, COUNT(cases));
}
ParameterizedTest(unsigned *which, refusals, realloc_survives_what_was_torn) {
    enum { BYTES = 1 << 20 };
    char *pieces[3], *p;
    for (unsigned i = 0; i < COUNT(pieces); i++) pieces[i] = core_malloc(BYTES / 2 + i * 65536);
    p = core_malloc(BYTES);
    memset(p, 5, BYTES);
    for (unsigned i = 0; i < COUNT(pieces); i++) core_free(pieces[i]);
    unit_watch_kernel();
    unit_kernel.takes_target = true;
    unit_kernel.mremaps_left = *which / 2 / GROWTHS;
    unit_kernel.munmaps_left = *which % 2 ? 0 : -1;
    size_t bytes = sizes_after[*which / 2 % GROWTHS];
    p = core_realloc(p, bytes);
    cr_assert_not_null(p);
    unit_kernel.mremaps_left = unit_kernel.munmaps_left = -1;
    for (size_t i = 0; i < BYTES; i++) cr_assert_eq(p[i], 5);
    memset(p, 6, bytes);
    char *q = core_malloc(5 * BYTES);
    memset(q, 7, 5 * BYTES);
    core_free(p);
    core_free(q);
    core_trim(0);
    cr_assert_eq(counters.large_mapped_bytes, 0);
    assert_sound();
}
