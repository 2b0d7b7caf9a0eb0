/* What rings keep over time: idle ones less and less, those in use all, and what a ring earned goes last. The clock is the test's. */
#include "policy_test.h"

#include "../../trim-policy/policy_state.h"

TestSuite(rings, .fini = machine_remove);

enum { SMALL = 0, SLABS = 1, ARENA = 64 /* pages are released by arenas: so many more, at most */ };

static int64_t soft(void) { return allowance_pages(&limits.soft); }
static int64_t earned(void) { return rings_sum(limits.earned_pages); }

/* ---- idle rings ---- */

/* The program goes on in another tier, whose pages come and go. */
static void work_elsewhere(void) {
    void *p[4];
    for (unsigned i = 0; i < COUNT(p); i++) memset(p[i] = core_malloc(20000), 1, 20000);
    for (unsigned i = 0; i < COUNT(p); i++) core_free(p[i]);
    heap_flush(false);
}

/* Ticks a second apart until this time has passed. */
static void pass_seconds(int64_t seconds) {
    for (int64_t s = 0; s < seconds; s++) {
        work_elsewhere();
        housekeep_after(1000);
    }
}

ParameterizedTestParameters(rings, idle_ring_loses_half_three_quarters_and_all) {
    static unsigned rings[] = {0, 1, RING_LARGE};
    return cr_make_param_array(unsigned, rings, COUNT(rings));
}
/* Not side by side, so that they can be given back one at a time. */
static void retain_single_buffers(void) {
    void *p[8];
    budget_release_to(0, RELEASE_LARGE_FIRST);
    for (unsigned i = 0; i < COUNT(p); i++) p[i] = core_malloc(SLAB_MAX + 1);
    for (unsigned i = 0; i < COUNT(p); i += 2) core_free(p[i]);
}

/* What the soft target left, about a MiB. */
ParameterizedTest(unsigned *ring, rings, idle_ring_loses_half_three_quarters_and_all, .fini = machine_remove) {
    policy_start(NULL);
    retain_in(*ring, 220);
    if (*ring == RING_LARGE) retain_single_buffers();
    housekeep_after(100);
    int64_t all = retained_in(*ring), unit = *ring == RING_LARGE ? 48 : ARENA;
    cr_assert(all > 180 && all <= soft(), "%ld pages", (long)all);
    pass_seconds(44);
    cr_assert_eq(retained_in(*ring), all, "44 s");
    pass_seconds(2);
    cr_assert(retained_in(*ring) <= all / 2 && retained_in(*ring) > all / 2 - unit, "46 s: %ld of %ld", (long)retained_in(*ring), (long)all);
    int64_t half = retained_in(*ring);
    pass_seconds(43);
    cr_assert_eq(retained_in(*ring), half, "89 s");
    pass_seconds(2);
    cr_assert(retained_in(*ring) <= all / 4, "91 s: %ld of %ld", (long)retained_in(*ring), (long)all);
    pass_seconds(90);
    cr_assert_eq(retained_in(*ring), 0, "181 s");
    assert_sound();
}

Test(rings, ring_in_use_is_kept) {
    policy_start(NULL);
    retain_in(SMALL, 200);
    retain_in(SLABS, 50);
    housekeep_after(100);
    int64_t small = retained_in(SMALL);
    for (unsigned i = 0; i < 20; i++) {
        pass_seconds(30);
        retain_in(SMALL, 10); /* of those that are retained */
        cr_assert_eq(retained_in(SMALL), small, "after %u s", 30 * (i + 1));
    }
    cr_assert_eq(retained_in(SLABS), 0, "the other lay idle");
}

Test(rings, a_hit_begins_the_time_anew) {
    policy_start(NULL);
    retain_in(SMALL, 200);
    housekeep_after(100);
    int64_t all = retained_in(SMALL);
    pass_seconds(44);
    retain_in(SMALL, 10);
    pass_seconds(44);
    cr_assert_eq(retained_in(SMALL), all);
    pass_seconds(3);
    cr_assert_leq(retained_in(SMALL), all / 2);
}

/* A second look 100 ms after the first finds it idle. */
Test(rings, idle_rings_are_cleaned_at_once_where_memory_is_short) {
    policy_start(NULL);
    retain_in(SMALL, 600);
    retain_in(SLABS, 60);
    reach_level(LEVEL_HIGH);
    for (unsigned i = 0; i < 5; i++) {
        retain_in(SMALL, 60);
        retain_in(SMALL, 60);
        housekeep_after(100);
        cr_assert_gt(retained_in(SMALL), 0, "in use");
        cr_assert_eq(retained_in(SLABS), 0, "not in use");
    }
    housekeep_after(100);
    cr_assert_eq(budget_retained_pages(), 0);
}

/* The keeper sleeps until something happens or becomes more idle. */
Test(rings, process_waits_until_something_becomes_more_idle) {
    policy_start(NULL);
    budget_release_to(0, RELEASE_LARGE_FIRST);
    housekeep_after(100);
    cr_assert_eq(housekeep_process(driven_ms), 180000, "nothing is retained");
    retain_in(SMALL, 4 * ARENA);
    driven_ms += 100;
    int64_t hit = driven_ms - 100; /* it was empty then */
    cr_assert_eq(housekeep_process(driven_ms), hit + 45000 - driven_ms);
    driven_ms += 20000;
    cr_assert_eq(housekeep_process(driven_ms), hit + 45000 - driven_ms);
    driven_ms = hit + 45000;
    cr_assert_eq(housekeep_process(driven_ms), 45000);
    cr_assert_eq(retained_in(SMALL), 2 * ARENA);
    driven_ms = hit + 90000;
    cr_assert_eq(housekeep_process(driven_ms), 90000);
    cr_assert_eq(retained_in(SMALL), ARENA);
    driven_ms = hit + 180000;
    cr_assert_eq(housekeep_process(driven_ms), 180000, "nothing is left");
    cr_assert_eq(budget_retained_pages(), 0);
}

Test(rings, process_looks_more_often_where_memory_is_short) {
    static const int64_t longest[] = {180000, 5000, 100, 100, 100};
    policy_start(NULL);
    for (int level = LEVEL_MODERATE; level < LEVELS; level++) {
        retain_in(SMALL, 600);
        reach_level(level);
        driven_ms += 100;
        int64_t wait = housekeep_process(driven_ms);
        cr_assert(wait >= 1 && wait <= longest[level], "level %d: %lld ms", level, (long long)wait);
        if (!budget_retained_pages()) cr_assert_eq(wait, longest[level]);
    }
}

/* ---- earned retention ---- */

enum { BUFFERS = 8, BUFFER_BYTES = 1 << 20, BUFFER_PAGES = BUFFER_BYTES / PAGE_BYTES };
static void *buffer[BUFFERS];

static void build(void) {
    for (unsigned i = 0; i < BUFFERS; i++) memset(buffer[i] = core_malloc(BUFFER_BYTES), 1, 16);
}
static void drop(unsigned from, unsigned to) {
    for (unsigned i = from; i < to; i++) core_free(buffer[i]);
}

/* A job that builds and drops its buffers, ten times between two ticks. */
static void bounce(unsigned ticks) {
    for (unsigned i = 0; i < ticks * 10; i++) {
        build();
        drop(0, BUFFERS);
        driven_ms += 10;
        if (i % 10 == 9) housekeep_after(0);
    }
}

Test(rings, what_bounces_is_earned_and_stays) {
    policy_start(NULL);
    bounce(30);
    cr_assert_geq(limits.earned_pages[RING_LARGE], BUFFER_PAGES * (BUFFERS - 3));
    int64_t released = counters.released_pages[RING_LARGE];
    bounce(30);
    cr_assert_eq(counters.released_pages[RING_LARGE], released, "it costs nothing any more");
    cr_assert_gt(budget_retained_pages(), soft());
    for (unsigned i = 0; i < 3; i++) housekeep_after(100);
    cr_assert_eq(earned(), 0, "not used for a tick");
    cr_assert_leq(budget_retained_pages(), soft());
}

/* The high water of live pages is of the last second at least, also where that second's first half has just ended and much
 * is dropped already. */
Test(rings, what_is_earned_stays_when_half_a_second_ends_in_the_middle_of_a_round) {
    policy_start(NULL);
    for (unsigned round = 0; round < 30; round++) {
        bounce(10);
        int64_t released = counters.released_pages[RING_LARGE];
        build();
        drop(0, BUFFERS / 2);
        housekeep_after(100);
        drop(BUFFERS / 2, BUFFERS);
        if (round > 2) cr_assert_eq(counters.released_pages[RING_LARGE], released, "round %u", round);
    }
}

Test(rings, nothing_is_earned_where_memory_is_short) {
    policy_start(NULL);
    bounce(20);
    cr_assert_gt(earned(), 0);
    machine_set_memory(1024, 100);
    bounce(1);
    cr_assert_eq(relaxed_load(&policy_state.level), LEVEL_HIGH);
    cr_assert_eq(earned(), 0, "lost at once");
    for (unsigned i = 0; i < 30; i++) {
        bounce(1);
        cr_assert_eq(earned(), 0, "never granted");
        cr_assert_leq(budget_retained_pages(), allowance_pages(&limits.retained));
    }
    machine_set_memory(1024, 1000);
    for (unsigned ticks = 0; relaxed_load(&policy_state.level) >= LEVEL_HIGH; ticks++) {
        cr_assert_leq(ticks, 30);
        bounce(1);
    }
    bounce(20);
    cr_assert_gt(earned(), 0, "earned anew");
}

/* Between two ticks. */
Test(rings, level_that_a_mapping_found_takes_what_is_earned) {
    policy_start(NULL);
    bounce(20);
    machine_set_memory(1024, 100);
    driven_ms += 100;
    policy_before_mapping(2 << 20);
    cr_assert_eq(relaxed_load(&policy_state.level), LEVEL_HIGH);
    cr_assert_eq(earned(), 0);
}

Test(rings, nothing_is_earned_in_the_tight_profile) {
    policy_start("LOWTIDE_PROFILE=tight");
    bounce(20);
    cr_assert_eq(earned(), 0);
    cr_assert_leq(budget_retained_pages(), soft());
}

/* A second is a second, also where nothing happened since the pages were released. */
Test(rings, what_was_released_long_ago_is_not_earned) {
    policy_start(NULL);
    retain_in(SMALL, 700);
    housekeep_after(100);
    cr_assert_gt(counters.released_pages[SMALL], 300);
    driven_ms += 3600000;
    retain_in(SMALL, 1500);
    housekeep_after(100);
    cr_assert_eq(earned(), 0, "%ld pages", (long)earned());
}

Test(rings, last_thread_that_sleeps_loses_what_is_earned) {
    int wait_ms;
    policy_start(NULL);
    bounce(20);
    cr_assert_gt(budget_retained_pages(), soft());
    cr_assert_eq(policy_before_sleep(true, &wait_ms), SLEEP_DONE);
    cr_assert_eq(earned(), 0);
    cr_assert_leq(budget_retained_pages(), soft());
}

/* Though large buffers would go first. */
Test(rings, what_is_not_earned_goes_first) {
    policy_start(NULL);
    bounce(20);
    int64_t large = retained_in(RING_LARGE);
    cr_assert_gt(large, soft());
    retain_in(SMALL, 700);
    bounce(1);
    for (unsigned i = 0; i < 20; i++) bounce(1);
    cr_assert_leq(retained_in(SMALL), soft(), "%ld small pages", (long)retained_in(SMALL));
    cr_assert_geq(retained_in(RING_LARGE), large - BUFFER_PAGES, "%ld large pages", (long)retained_in(RING_LARGE));
}
