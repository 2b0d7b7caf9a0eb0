/* Statistics whose sums hold in every snapshot, and the verifier, each of whose findings can be provoked. */
#include "unit.h"

#include <sys/mman.h>

static void check_sums(const struct stats *s) {
    cr_assert_eq(s->live_bytes + s->free_in_live_bytes, s->live_pages_bytes);
    cr_assert_eq(s->live_bytes + s->free_in_live_bytes + s->retained_bytes + s->metadata_bytes, s->resident_heap_bytes);
    cr_assert_eq(s->resident_heap_bytes + s->nonresident_bytes, s->mapped_bytes);
    cr_assert(s->nonresident_bytes >= 0 && s->free_in_live_bytes >= 0 && s->live_bytes >= 0);
    cr_assert_geq(s->retained_bytes, budget_arena_pages() * PAGE_BYTES);
    cr_assert_leq(s->retained_bytes, budget_retained_pages() * PAGE_BYTES);
    cr_assert_eq(s->live_pages_bytes + s->large_untouched_bytes, counters.live_pages * PAGE_BYTES);
    cr_assert_eq(s->large_current_bytes + s->large_untouched_bytes, counters.large_pages * PAGE_BYTES);
    cr_assert_eq(s->arenas_current, s->arenas_mapped_total - s->arenas_unmapped_total);
    cr_assert_leq(s->arenas_current, s->arenas_peak);
    cr_assert_leq(s->slab_bytes + s->large_current_bytes + s->pools_in_use * PAGE_BYTES, s->live_pages_bytes);
}

/* Block sizes of what is held; of large buffers the pages asked for. One that was made smaller by less than an
 * eighth keeps what it had: *kept. */
static int64_t held_bytes(const struct unit_churn *churn, int64_t *kept) {
    int64_t bytes = 0;
    *kept = 0;
    for (unsigned i = 0; i < CHURN_BLOCKS; i++) {
        const struct churned *b = &churn->block[i];
        if (!b->p) continue;
        bool is_large = pagemap_class((uintptr_t)b->p) == CLASS_LARGE;
        bytes += is_large ? (int64_t)(b->bytes + PAGE_BYTES - 1) & -PAGE_BYTES : (int64_t)core_usable_bytes(b->p);
        if (is_large) *kept += (int64_t)(core_usable_bytes(b->p) - b->bytes);
    }
    return bytes;
}

ParameterizedTestParameters(stats, sums_hold_in_every_snapshot) {
    static size_t most[] = {100, 512, 5000, 50000, 1000000};
    return cr_make_param_array(size_t, most, COUNT(most));
}
ParameterizedTest(size_t *most, stats, sums_hold_in_every_snapshot) {
    static struct unit_churn churn;
    struct stats s;
    churn.random = churn.most_bytes = *most;
    stats_collect(&s);
    check_sums(&s);
    for (unsigned i = 0; i < 3000; i++) {
        unit_churn_step(&churn);
        if (i % 20) continue;
        if (i % 500 == 0) core_trim(0);
        stats_collect(&s);
        check_sums(&s);
        int64_t counted = s.live_bytes + s.large_untouched_bytes, kept, held = held_bytes(&churn, &kept);
        cr_assert(held <= counted && counted <= held + kept, "%ld counted, %ld held", (long)counted, (long)held);
    }
    cr_assert_null(churn.fault);
    assert_sound();
}

/* What the kernel cannot be asked is taken for resident. */
Test(stats, sums_hold_behind_a_seccomp_filter) {
    static struct unit_churn churn;
    struct stats s;
    churn.random = 7, churn.most_bytes = 1000000;
    for (unsigned i = 0; i < 3000; i++) unit_churn_step(&churn);
    atomic_store(&os_is_filtered, true);
    stats_collect(&s);
    check_sums(&s);
    cr_assert_eq(s.large_untouched_bytes, 0);
    cr_assert_gt(s.large_current_bytes, 0);
    cr_assert_null(heap_verify());
}

Test(stats, an_untouched_heap_is_all_zero) {
    struct stats s, zero = {0};
    stats_collect(&s);
    cr_assert_eq(memcmp(&s, &zero, sizeof s), 0);
    cr_assert_null(heap_verify());
}

/* ---- against the kernel ---- */

static int64_t resident_arena_pages(void) {
    int64_t pages = 0;
    for (uint32_t id = 0; id < group_count; id++)
        for (unsigned slot = 0; slot < GROUP_ARENAS; slot++) {
            unsigned char in[ARENA_PAGES] = {0};
            uintptr_t base = group_table[id]->arena[slot].base;
            if (!base || mincore((void *)base, ARENA_BYTES, in)) continue;
            for (unsigned i = 0; i < ARENA_PAGES; i++) pages += in[i] & 1;
        }
    return pages;
}

static char *held[20000];
static size_t bytes_of(unsigned i) { return 16 + i * 37 % 6000; }

Test(stats, live_and_retained_are_what_the_kernel_says_is_resident) {
    for (unsigned i = 0; i < COUNT(held); i++) memset(held[i] = core_malloc(bytes_of(i)), 1, bytes_of(i));
    heap_flush(false);
    for (unsigned round = 0; round < 3; round++) {
        for (unsigned i = round; i < COUNT(held); i += 3)
            if (i % 50) core_free(held[i]);
        heap_flush(false);
        struct stats s;
        stats_collect(&s);
        int64_t resident = resident_arena_pages(), counted = (s.live_pages_bytes + s.retained_bytes) / PAGE_BYTES;
        cr_assert(resident >= counted * 99 / 100 && resident <= counted, "%ld resident, %ld counted", (long)resident, (long)counted);
    }
    core_trim(0);
    cr_assert_leq(resident_arena_pages(), counters.live_pages);
}

/* ---- single numbers ---- */

Test(stats, things_are_counted) {
    struct stats s;
    for (unsigned i = 0; i < 10; i++) memset(held[i] = core_malloc(SLAB_MAX + 1), 1, SLAB_MAX + 1);
    core_malloc(4 << 20);
    for (unsigned i = 10; i < 14; i++) held[i] = core_malloc(100000);
    held[14] = core_malloc(16);
    core_free(core_malloc(16));
    relaxed_store(&counters.program_bytes, 12345);
    stats_collect(&s);
    cr_assert(s.large_current == 11 && s.large_current_bytes == 10 * (SLAB_MAX + PAGE_BYTES));
    cr_assert_eq(s.large_untouched_bytes, 4 << 20);
    cr_assert(s.slabs_current == 2 && s.pools_in_use == 1, "%ld %ld", (long)s.slabs_current, (long)s.pools_in_use);
    cr_assert(s.heaps_current == 1 && s.refills_total == 5 && s.spills_total == 0);
    cr_assert(s.magazine_blocks == 3 && s.magazine_bytes == 48);
    cr_assert_eq(s.program_mmap_bytes, 12345);
    cr_assert_eq(s.trims_total, 0);
    for (unsigned i = 0; i < 15; i++) core_free(held[i]);
    core_trim(0);
    stats_collect(&s);
    cr_assert(s.trims_total > 0 && s.released_bytes_total > 0 && s.live_bytes == 0 && s.large_current == 1 && s.retained_bytes == 0);
    cr_assert(s.arenas_current == 0 && s.vmas_holes == 1 && s.magazine_blocks == 0);
}

/* ---- the verifier ---- */

struct scene {
    struct pool *small, *slab, *fresh;
    struct arena *arena;
    struct group *group;
    unsigned slot;
};

static void change_small_bits(struct scene *s) { s->small->free[1] |= 1ull << 63; }
static void lease(struct scene *s) { s->small->state = POOL_LEASED; }
static void empty(struct scene *s) {
    const struct class_info *info = &class_table[s->small->class_id];
    for (unsigned w = 0; w < info->words; w++) s->small->free[w] = class_word_mask(info, w);
    s->small->live = 0;
}
static void unlist(struct scene *s) { s->arena->partial[class_table[s->small->class_id].in_tier] = 0; }
static void unsum(struct scene *s) { s->group->partial[class_table[s->small->class_id].in_tier] = 0; }
static void fill(struct scene *s) { s->small->state = POOL_FULL; }
static void enliven(struct scene *s) {
    s->slab->live = ~s->slab->live & 0xffff ? s->slab->live | (s->slab->live + 1) : 1;
    counters.live_pages += 1;
}
static void retain_live(struct scene *s) {
    s->arena->retained |= 1ull << pool_first_page(s->small);
    s->group->retained |= 1ull << s->slot;
    counters.retained_pages[0] += 1;
}
static void offer(struct scene *s) { s->arena->fresh |= 1ull << pool_first_page(s->small); }
static void remap(struct scene *s) { pagemap_fill(pool_base(s->small), PAGE_BYTES, 1); }
static void offer_twice(struct scene *s) {
    s->arena->ready |= 1ull << pool_first_page(s->fresh);
    s->group->ready |= 1ull << s->slot;
}
static void lose(struct scene *s) { s->arena->fresh &= s->arena->fresh - 1; }
static void unmap(struct scene *s) { s->group->unmapped |= 1ull << s->slot; }
static void forget_fresh(struct scene *s) { s->group->fresh = 0; }
static void forget_retained(struct scene *s) {
    s->arena->retained |= 1ull << 63;
    counters.retained_pages[0] += 1;
    s->group->retained = 0;
}
static void miscount_live(struct scene *s) { counters.live_pages += (s != NULL); }
static void miscount_taken(struct scene *s) { counters.taken_bytes += 16 * (s != NULL); }
static void miscount_retained(struct scene *s) { counters.retained_pages[0] += (s != NULL); }

static const struct {
    void (*corrupt)(struct scene *);
    const char *fault;
} faults[] = {
    {change_small_bits, "a bit beyond the pool's blocks is set"},
    {lease, "a pool is leased though nobody is at work"},
    {empty, "a pool without taken blocks was not retired"},
    {unlist, "a listed pool has no hint"},
    {unsum, "a listed pool has no hint"},
    {fill, "a full pool has free blocks"},
    {enliven, "a pool's live pages are not those with taken blocks"},
    {retain_live, "a live page is counted as retained"},
    {offer, "a pool in use is offered as free"},
    {remap, "the page map has another class for a pool"},
    {offer_twice, "a pool is both ready and fresh"},
    {lose, "a free pool is offered by no word"},
    {unmap, "an arena in use is marked as unmapped"},
    {forget_fresh, "a sum does not know of an arena's word"},
    {forget_retained, "a sum does not know of an arena's word"},
    {miscount_live, "live pages were miscounted"},
    {miscount_taken, "taken bytes were miscounted"},
    {miscount_retained, "retained pages were miscounted"},
};

ParameterizedTestParameters(stats, verifier_finds_each_fault) {
    static unsigned rows[COUNT(faults)];
    for (unsigned i = 0; i < COUNT(faults); i++) rows[i] = i;
    return cr_make_param_array(unsigned, rows, COUNT(faults));
}

static void set_scene(struct scene *s) {
    void *small = core_malloc(48), *slab = core_malloc(5000);
    core_trim(0);
    s->small = pool_of_address((uintptr_t)small, 0);
    s->slab = pool_of_address((uintptr_t)slab, class_table[class_of_request(5000)].tier);
    s->arena = pool_arena(s->small);
    s->group = pool_group(s->small);
    s->slot = pool_slot(s->small);
    s->fresh = &s->group->record[s->slot].pool[lowest_bit(s->arena->fresh)];
    cr_assert_eq(s->small->state, POOL_LISTED);
}

/* What an emptied pool does to the counts is set right, so that the pool itself is what is found. */
static void settle_counts(const struct scene *s) {
    if (s->small->live) return;
    counters.live_pages -= 1;
    counters.taken_bytes -= 48;
}

ParameterizedTest(unsigned *row, stats, verifier_finds_each_fault) {
    struct scene s;
    set_scene(&s);
    assert_sound();
    faults[*row].corrupt(&s);
    settle_counts(&s);
    const char *found = heap_verify();
    cr_assert_not_null(found, "not found: %s", faults[*row].fault);
    cr_assert_str_eq(found, faults[*row].fault);
}
