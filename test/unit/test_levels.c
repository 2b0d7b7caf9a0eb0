/* What a level does: the limits that core gets, what is left after a tick, magazines that are emptied, and mappings of the program's
 * that make room. The machine and the clock are the test's. */
#include "policy_test.h"

#include "../../trim-policy/options.h"
#include "../../trim-policy/policy_state.h"
#include "../../trim-policy/profile.h"

#include <pthread.h>

TestSuite(levels, .fini = machine_remove);

enum { MUCH = 4 * 256, ENOUGH = 600 }; /* pages: more than may be retained; enough to look at the machine for */

static int level_now(void) { return relaxed_load(&policy_state.level); }
static bool has_looked_now(void) { return policy_state.machine.looked_ms == driven_ms; }
static int64_t soft(void) { return allowance_pages(&limits.soft); }

/* ---- limits ---- */

static void assert_allowance(const char *what, const struct allowance *found, struct share expected) {
    uint32_t base = relaxed_load(&found->base_pages), share = relaxed_load(&found->share256);
    cr_assert(base == expected.base_pages && share == expected.share256, "level %d: %s is {%u, %u}", level_now(), what, base, share);
}

static void assert_limits_of(int profile, int level) {
    struct profile_limits expected = profile_limits(profile, level);
    cr_assert_eq(level_now(), level);
    assert_allowance("retained", &limits.retained, expected.retained);
    assert_allowance("magazine", &limits.magazine, expected.magazine);
    cr_assert_eq(limits.spare256, expected.spare256);
    assert_allowance("soft", &limits.soft, expected.soft);
    assert_allowance("guarantee", &limits.guarantee, expected.guarantee);
}

Test(levels, core_gets_the_limits_of_each_level) {
    policy_start(NULL);
    assert_limits_of(PROFILE_BALANCED, LEVEL_LOW);
    for (int level = LEVEL_MODERATE; level < LEVELS; level++) {
        retain_in(0, ENOUGH);
        reach_level(level);
        assert_limits_of(PROFILE_BALANCED, level);
    }
    machine_set_memory(1024, 1000);
    for (int level = LEVEL_OOM; level > LEVEL_LOW; level--) {
        housekeep_after(100);
        assert_limits_of(PROFILE_BALANCED, level);
        housekeep_after(1000);
        assert_limits_of(PROFILE_BALANCED, level - 1);
    }
}

Test(levels, profiles_have_limits_of_their_own) {
    static char *const entries[] = {"LOWTIDE_PROFILE=tight", "LOWTIDE_PROFILE=balanced", "LOWTIDE_PROFILE=throughput"};
    int64_t before = 0;
    for (int profile = PROFILE_TIGHT; profile <= PROFILE_THROUGHPUT; profile++) {
        policy_start(entries[profile]);
        assert_limits_of(profile, LEVEL_LOW);
        budget_release_to(0, RELEASE_LARGE_FIRST);
        retain_in(0, 6 * MUCH);
        cr_assert_gt(budget_retained_pages(), before, "more is retained than with the profile before");
        cr_assert_leq(budget_retained_pages(), allowance_pages(&limits.retained));
        before = budget_retained_pages();
    }
}

Test(levels, the_profile_counts_at_every_level) {
    policy_start("LOWTIDE_PROFILE=throughput");
    for (int level = LEVEL_MODERATE; level < LEVELS; level++) {
        retain_in(0, ENOUGH);
        reach_level(level);
        assert_limits_of(PROFILE_THROUGHPUT, level);
    }
}

/* ---- what is left ---- */

/* What comes next is no return of what was released before, and so earns nothing. */
static void let_credit_pass(void) {
    for (unsigned i = 0; i < 3; i++) housekeep_after(2000);
    driven_ms += 2000;
}

Test(levels, retained_pages_follow_the_level) {
    policy_start(NULL);
    for (int level = LEVEL_LOW; level < LEVELS; level++) {
        retain_in(0, ENOUGH);
        reach_level(level);
        let_credit_pass();
        retain_in(0, MUCH);
        cr_assert_leq(budget_retained_pages(), allowance_pages(&limits.retained), "level %d: at once", level);
        cr_assert_geq(budget_retained_pages(), allowance_pages(&limits.retained) * 7 / 8 - 64, "level %d: %ld", level, (long)budget_retained_pages());
        int64_t most = soft();
        housekeep_after(100);
        cr_assert_leq(budget_retained_pages(), most, "level %d: %ld after a tick", level, (long)budget_retained_pages());
        if (level < LEVEL_HIGH) cr_assert_geq(budget_retained_pages(), most - 64, "level %d: more than an arena too much", level);
        if (level >= LEVEL_EXTREME) cr_assert_eq(budget_retained_pages(), 0);
        assert_sound();
    }
}

Test(levels, what_nobody_used_since_the_last_tick_goes_at_high) {
    policy_start(NULL);
    retain_in(0, ENOUGH);
    reach_level(LEVEL_HIGH);
    for (unsigned i = 0; i < 5; i++) {
        retain_in(0, 100);
        retain_in(0, 50); /* of these pages */
        housekeep_after(100);
        cr_assert_geq(retained_in(0), 90, "used just now");
    }
    housekeep_after(100);
    cr_assert_eq(retained_in(0), 0);
}

Test(levels, large_buffers_go_too) {
    policy_start(NULL);
    retain_in(RING_LARGE, ENOUGH);
    cr_assert_gt(retained_in(RING_LARGE), soft());
    reach_level(LEVEL_EXTREME);
    cr_assert_eq(budget_retained_pages(), 0);
    cr_assert_eq(counters.large_mapped_bytes, 0);
}

/* ---- when it is looked at all ---- */

Test(levels, little_is_not_worth_a_look) {
    policy_start(NULL);
    machine_set_memory(1024, 5);
    for (unsigned i = 0; i < 20; i++) {
        retain_in(0, 200); /* less than a MiB */
        housekeep_after(1000);
        cr_assert_not(has_looked_now());
    }
    cr_assert_eq(level_now(), LEVEL_LOW);
    retain_in(0, ENOUGH);
    housekeep_after(100);
    cr_assert(has_looked_now());
    cr_assert_eq(level_now(), LEVEL_OOM);
}

/* What magazines have room for could be given back as well. */
Test(levels, magazines_are_worth_a_look) {
    static void *p[2000];
    policy_start(NULL);
    machine_set_memory(1024, 30);
    for (size_t bytes = 600; bytes <= 30000; bytes += bytes / 8)
        for (unsigned n = 0; n < 2; n++) {
            for (unsigned i = 0; i < 300; i++) p[i] = core_malloc(bytes);
            for (unsigned i = 0; i < 300; i++) core_free(p[i]);
        }
    cr_assert_gt(counters.capacity_bytes, 1 << 20);
    budget_release_to(0, RELEASE_LARGE_FIRST);
    housekeep_after(100);
    cr_assert_eq(level_now(), LEVEL_EXTREME);
}

Test(levels, where_memory_was_short_it_is_looked_at_with_nothing_retained) {
    policy_start(NULL);
    retain_in(0, ENOUGH);
    reach_level(LEVEL_EXTREME);
    heap_flush(false);
    cr_assert_eq(budget_retained_pages() + counters.capacity_bytes, 0);
    reach_level(LEVEL_LOW);
    cr_assert_eq(budget_retained_pages(), 0);
    assert_limits_of(PROFILE_BALANCED, LEVEL_LOW);
}

Test(levels, no_look_after_stop) {
    policy_start(NULL);
    retain_in(0, ENOUGH);
    reach_level(LEVEL_EXTREME);
    atomic_store(&os_is_filtered, true);
    retain_in(0, ENOUGH);
    housekeep_after(100);
    assert_limits_of(PROFILE_BALANCED, LEVEL_LOW);
}

/* ---- magazines ---- */

enum { THREADS = 3, SMALL_BYTES = 64, UNUSED_BYTES = 480 };
static pthread_barrier_t turn;
static _Atomic(unsigned) emptied, kept;

/* The first thread looks at the machine while the others rest; then each passes one slow path. */
static void *p[400 * 8];
static void rest_while_level_rises(unsigned index, void *level) {
    unsigned c = class_of_request(SMALL_BYTES);
    for (size_t bytes = 16; bytes < UNUSED_BYTES; bytes += 16) core_free(core_malloc(bytes));
    pthread_barrier_wait(&turn);
    if (index == 0) {
        for (unsigned i = 0; i < 400 * 8; i++) p[i] = core_malloc(512);
        for (unsigned i = 0; i < 400 * 8; i++) core_free(p[i]);
        driven_ms += 100;
        housekeep();
        if (level_now() != *(int *)level) kept = 100;
    }
    pthread_barrier_wait(&turn);
    void *block = core_malloc(UNUSED_BYTES);
    atomic_fetch_add(heap_current->desk[c].capacity ? &kept : &emptied, 1);
    core_free(block);
    core_free(core_malloc(SMALL_BYTES));
    core_free(core_malloc(SMALL_BYTES + 16)); /* another slow path */
    if (!heap_current->desk[c].capacity) kept = 200; /* once a round, then they fill again */
}

ParameterizedTestParameters(levels, threads_empty_their_magazines) {
    static int levels[] = {LEVEL_LOW, LEVEL_MODERATE, LEVEL_HIGH, LEVEL_EXTREME, LEVEL_OOM};
    return cr_make_param_array(int, levels, COUNT(levels));
}
ParameterizedTest(int *level, levels, threads_empty_their_magazines, .fini = machine_remove) {
    policy_start(NULL);
    heap_slow_path_hook = NULL; /* only when the test says */
    machine_set_memory(1024, available_for_level[*level]);
    pthread_barrier_init(&turn, NULL, THREADS);
    unit_run_threads(THREADS, rest_while_level_rises, level);
    cr_assert_eq(emptied, *level >= LEVEL_HIGH ? THREADS : 0, "%u emptied, %u kept", emptied, kept);
    cr_assert_eq(kept, *level >= LEVEL_HIGH ? 0 : THREADS);
    assert_sound();
}

/* At high once, when it begins; above it at each tick. */
Test(levels, rounds_of_emptying) {
    policy_start(NULL);
    uint32_t round = limits.flush_round;
    retain_in(0, ENOUGH);
    reach_level(LEVEL_MODERATE);
    cr_assert_eq(limits.flush_round, round);
    reach_level(LEVEL_HIGH);
    cr_assert_eq(limits.flush_round, round + 1);
    for (unsigned i = 0; i < 5; i++) housekeep_after(100);
    cr_assert_eq(limits.flush_round, round + 1);
    reach_level(LEVEL_EXTREME);
    for (unsigned i = 0; i < 5; i++) housekeep_after(100);
    cr_assert_eq(limits.flush_round, round + 7);
    machine_set_memory(1024, 1000);
    housekeep_after(100);
    housekeep_after(1000); /* falls to high */
    cr_assert_eq(level_now(), LEVEL_HIGH);
    round = limits.flush_round;
    for (unsigned i = 0; i < 5; i++) housekeep_after(100);
    cr_assert_eq(limits.flush_round, round, "memory gets less short");
}

/* ---- the program's own mappings ---- */

static const size_t mapping = 2 << 20;
static size_t room_above_minimum(void) { return (size_t)(1000 * MIB - policy_state.machine.marks.min_free_bytes); }

Test(levels, mapping_does_nothing_where_there_is_room) {
    policy_start(NULL);
    retain_in(0, ENOUGH);
    int64_t before = budget_retained_pages();
    policy_before_mapping(mapping);
    cr_assert(has_looked_now());
    cr_assert_eq(budget_retained_pages(), before);
    policy_before_mapping(room_above_minimum());
    cr_assert_eq(budget_retained_pages(), before, "there is as much above the minimum");
}

Test(levels, mapping_that_is_larger_than_the_room_makes_some) {
    policy_start(NULL);
    retain_in(0, ENOUGH);
    driven_ms += 100;
    policy_before_mapping(room_above_minimum() + 1);
    cr_assert_eq(budget_retained_pages(), 0);
    assert_sound();
}

Test(levels, mapping_makes_room_where_memory_is_short) {
    for (int level = LEVEL_MODERATE; level < LEVELS; level++) {
        policy_start(NULL);
        retain_in(0, ENOUGH);
        machine_set_memory(1024, available_for_level[level]);
        driven_ms += 100;
        policy_before_mapping(mapping - 1);
        cr_assert_eq(level_now(), level, "it looks itself");
        cr_assert_eq(budget_retained_pages(), 0);
        reach_level(LEVEL_LOW);
    }
}

Test(levels, small_mapping_never_looks) {
    policy_start(NULL);
    retain_in(0, ENOUGH);
    machine_set_memory(1024, 5);
    policy_before_mapping(1);
    policy_before_mapping((1 << 20) - 1);
    cr_assert_not(has_looked_now());
    cr_assert_gt(budget_retained_pages(), 0);
}

Test(levels, mapping_with_nothing_retained_never_looks) {
    policy_start(NULL);
    machine_set_memory(1024, 5);
    policy_before_mapping((size_t)10 << 30);
    cr_assert_not(has_looked_now());
}

Test(levels, mapping_while_another_thread_is_at_policy) {
    policy_start(NULL);
    retain_in(0, ENOUGH);
    machine_set_memory(1024, 5);
    cr_assert(state_take());
    policy_before_mapping(mapping);
    cr_assert_not(has_looked_now());
    cr_assert_gt(budget_retained_pages(), 0);
    state_leave();
}

Test(levels, mapping_on_a_machine_that_says_nothing) {
    policy_start(NULL);
    machine_write("/proc/meminfo", "");
    retain_in(0, ENOUGH);
    policy_before_mapping((size_t)10 << 30);
    cr_assert(has_looked_now());
    cr_assert_gt(budget_retained_pages(), 0);
}

/* What was true before a seccomp filter came must not cost every mapping its retained memory for ever. */
Test(levels, mapping_after_stop_makes_no_room) {
    policy_start(NULL);
    retain_in(0, ENOUGH);
    reach_level(LEVEL_EXTREME);
    atomic_store(&os_is_filtered, true);
    retain_in(0, ENOUGH);
    housekeep_after(100);
    retain_in(0, ENOUGH);
    int64_t before = budget_retained_pages();
    policy_before_mapping(mapping);
    cr_assert_eq(budget_retained_pages(), before);
}

/* ---- the options that set the watermarks ---- */

Test(levels, minimum_by_option) {
    static const struct {
        const char *entry;
        int64_t min_free;
    } rows[] = {
        {NULL, 53687091}, {"LOWTIDE_MINMEM_FREE=200M", 200 * MIB}, {"LOWTIDE_MINMEM_PCT_FREE=20", 200 * MIB}, {"LOWTIDE_MINMEM_PCT_TOTAL=50", 512 * MIB}};
    for (unsigned i = 0; i < COUNT(rows); i++) {
        struct policy_numbers numbers;
        policy_start(rows[i].entry);
        driven_ms += 100;
        policy_snapshot(&numbers);
        cr_assert_eq(numbers.min_free_bytes, rows[i].min_free, "%s: %lld", rows[i].entry, (long long)numbers.min_free_bytes);
        cr_assert_eq(numbers.limit_bytes, 1024 * MIB);
        cr_assert_eq(numbers.available_bytes, 1000 * MIB);
        cr_assert_eq(numbers.level, LEVEL_LOW);
    }
}

/* A snapshot may see the change first; policy acts on it all the same. */
Test(levels, level_that_a_snapshot_saw_first) {
    struct policy_numbers numbers;
    policy_start(NULL);
    retain_in(0, ENOUGH);
    machine_set_memory(1024, 30);
    policy_snapshot(&numbers);
    cr_assert_eq(numbers.level, LEVEL_EXTREME);
    housekeep_after(100);
    assert_limits_of(PROFILE_BALANCED, LEVEL_EXTREME);
    cr_assert_eq(budget_retained_pages(), 0);
}

static void keep_house_in_child(void *unused) {
    (void)unused;
    policy_start("LOWTIDE_VERBOSE=1");
    retain_in(0, ENOUGH);
    machine_set_memory(1024, 30);
    for (unsigned i = 0; i < 3; i++) housekeep_after(100);
}
Test(levels, verbose_says_the_level) {
    char said[1000];
    policy_start(NULL);
    cr_assert_eq(unit_in_child(keep_house_in_child, NULL, said, sizeof said), 0);
    cr_assert(strstr(said, "lowtide: memory pressure is extreme: 30M available of 1024M (minimum free 51M, low watermark 459M)\n"), "said '%s'", said);
    cr_assert_eq(strstr(strstr(said, "is extreme") + 1, "is extreme"), NULL, "said '%s'", said);
}
