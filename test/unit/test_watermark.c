/* The policy's arithmetic, by table and with a clock that the test drives. */
#include "policy_test.h"

#include "../../trim-policy/watermark.h"

/* ---- minimum and low watermark ---- */

Test(watermark, minimum_by_every_combination_of_settings) {
    static const struct {
        struct minimum_settings settings;
        int64_t total, available, minimum;
    } rows[] = {
        /* none given: 5 % up to 1.5 GiB */
        {{0, 0, 0}, 10 * GIB, 8 * GIB, 512 * MIB},
        {{0, 0, 0}, 30 * GIB, 8 * GIB, 1536 * MIB},
        {{0, 0, 0}, 256 * GIB, 200 * GIB, 1536 * MIB},
        {{0, 0, 0}, 100 * MIB, 50 * MIB, 5 * MIB},
        /* one */
        {{3 * GIB, 0, 0}, 10 * GIB, 8 * GIB, 3 * GIB},
        {{0, 10, 0}, 10 * GIB, 8 * GIB, GIB},
        {{0, 0, 10}, 10 * GIB, 5 * GIB, 512 * MIB},
        /* two: bytes beat a percentage, of two percentages the larger result counts */
        {{MIB, 10, 0}, 10 * GIB, 8 * GIB, MIB},
        {{MIB, 0, 10}, 10 * GIB, 8 * GIB, MIB},
        {{0, 10, 10}, 10 * GIB, 5 * GIB, GIB},
        {{0, 10, 40}, 10 * GIB, 5 * GIB, 2 * GIB},
        /* all */
        {{MIB, 10, 40}, 10 * GIB, 5 * GIB, MIB},
        {{9 * GIB, 10, 40}, 10 * GIB, 5 * GIB, 9 * GIB},
        /* the ends */
        {{0, 100, 0}, 10 * GIB, 5 * GIB, 10 * GIB},
        {{0, 0, 100}, 10 * GIB, 5 * GIB, 5 * GIB},
        {{0, 1, 0}, 50, 20, 0},
        {{20 * GIB, 0, 0}, 10 * GIB, 5 * GIB, 10 * GIB},
        {{0, 100, 100}, INT64_MAX, INT64_MAX, INT64_MAX},
    };
    for (unsigned i = 0; i < COUNT(rows); i++) {
        struct watermarks marks = watermark_compute(&rows[i].settings, known(rows[i].total), known(rows[i].available));
        cr_assert_eq(marks.min_free_bytes, rows[i].minimum, "row %u: %lld", i, (long long)marks.min_free_bytes);
    }
}

/* The rule once more, in other words. */
static int64_t minimum_in_words(int64_t free_bytes, int64_t pct_total, int64_t pct_free, int64_t total, int64_t available) {
    if (free_bytes) return free_bytes < total ? free_bytes : total;
    if (!pct_total && !pct_free) return total / 20 < 1536 * MIB ? total / 20 : 1536 * MIB;
    int64_t a = total * pct_total / 100, b = available * pct_free / 100;
    return a > b ? a : b;
}

static void compare_with_rule(int64_t free_bytes, int64_t pct_total, int64_t pct_free, int64_t total, int64_t available) {
    struct minimum_settings settings = {free_bytes, pct_total, pct_free};
    struct watermarks found = watermark_compute(&settings, known(total), known(available));
    cr_assert_eq(found.min_free_bytes, minimum_in_words(free_bytes, pct_total, pct_free, total, available),
                 "%lld, %lld %%, %lld %% of %lld, %lld", (long long)free_bytes, (long long)pct_total, (long long)pct_free, (long long)total,
                 (long long)available);
    cr_assert(found.low_bytes >= found.min_free_bytes && found.low_bytes <= total);
}

Test(watermark, minimum_agrees_with_the_rule) {
    static const int64_t frees[] = {0, 1, 700 * MIB, 90 * GIB}, percents[] = {0, 1, 5, 33, 100}, totals[] = {64 * MIB, 2000000000, 64 * GIB};
    for (unsigned f = 0; f < COUNT(frees); f++)
        for (unsigned p = 0; p < COUNT(percents) * COUNT(percents); p++)
            for (unsigned t = 0; t < COUNT(totals) * 3; t++) {
                int64_t total = totals[t / 3], available = total / 3 * (t % 3 + 1);
                compare_with_rule(frees[f], percents[p / COUNT(percents)], percents[p % COUNT(percents)], total, available);
            }
}

Test(watermark, low_watermark) {
    static const struct minimum_settings none = {0, 0, 0}, all = {0, 100, 0};
    static const struct {
        const struct minimum_settings *settings;
        int64_t total, available, low;
    } rows[] = {
        {&none, 32 * GIB, 24 * GIB, (1536 * MIB + 24 * GIB) / 16 * 7}, /* 7/16 of both */
        {&none, 32 * GIB, GIB, 1664 * MIB},                          /* 128 MiB above the minimum */
        {&none, 1000 * MIB, 200 * MIB, 178 * MIB},
        {&none, 200 * MIB, 150 * MIB, 105 * MIB}, /* between minimum and total */
        {&none, 40 * MIB, 30 * MIB, 21 * MIB},
        {&all, 10 * GIB, 5 * GIB, 10 * GIB},
    };
    for (unsigned i = 0; i < COUNT(rows); i++) {
        struct watermarks marks = watermark_compute(rows[i].settings, known(rows[i].total), known(rows[i].available));
        cr_assert_eq(marks.low_bytes, rows[i].low, "row %u: %lld", i, (long long)marks.low_bytes);
    }
}

Test(watermark, nothing_known_is_level_low) {
    struct minimum_settings settings = {GIB, 10, 10};
    struct watermarks marks = watermark_compute(&settings, reading_of(UNKNOWN), known(GIB));
    cr_assert_eq(marks.min_free_bytes, 0);
    cr_assert_eq(marks.low_bytes, 0);
    cr_assert_eq(watermark_base_level(known(0), &marks), LEVEL_LOW);
    marks = watermark_compute(&settings, known(10 * GIB), reading_of(UNKNOWN));
    cr_assert_eq(marks.min_free_bytes, GIB);
    cr_assert_eq(watermark_base_level(reading_of(UNKNOWN), &marks), LEVEL_LOW);
}

/* ---- levels ---- */

static const struct watermarks marks = {.min_free_bytes = 1000 * MIB, .low_bytes = 5000 * MIB};

Test(watermark, level_by_distance) {
    static const struct {
        int64_t available_mib;
        int level;
    } rows[] = {
        {50000, LEVEL_LOW}, {5000, LEVEL_LOW},     {4999, LEVEL_MODERATE}, {2000, LEVEL_MODERATE}, {1999, LEVEL_HIGH},
        {1000, LEVEL_HIGH}, {999, LEVEL_EXTREME}, {250, LEVEL_EXTREME},   {249, LEVEL_OOM},       {0, LEVEL_OOM},
    };
    for (unsigned i = 0; i < COUNT(rows); i++)
        cr_assert_eq(watermark_base_level(known(rows[i].available_mib * MIB), &marks), rows[i].level, "%lld MiB", (long long)rows[i].available_mib);
}

Test(watermark, raising) {
    static const int expected[LEVELS][3] = {
        {LEVEL_LOW, LEVEL_MODERATE, LEVEL_HIGH}, {LEVEL_MODERATE, LEVEL_HIGH, LEVEL_HIGH}, {LEVEL_HIGH, LEVEL_EXTREME, LEVEL_EXTREME},
        {LEVEL_EXTREME, LEVEL_OOM, LEVEL_OOM},   {LEVEL_OOM, LEVEL_OOM, LEVEL_OOM},
    };
    for (int base = 0; base < LEVELS; base++)
        for (int raise = 0; raise < 3; raise++) cr_assert_eq(watermark_raise_level(base, raise), expected[base][raise], "%d + %d", base, raise);
}

Test(watermark, names) {
    static const char *const names[] = {"low", "moderate", "high", "extreme", "oom"};
    for (int level = 0; level < LEVELS; level++) cr_assert_str_eq(watermark_level_name(level), names[level]);
    cr_assert_str_eq(watermark_level_name(LEVELS), "unknown");
    cr_assert_str_eq(watermark_level_name(-1), "unknown");
}

/* A machine in time. */
struct world {
    struct sample sample;
    struct watermark_state state;
    int64_t now_ms;
};

static int at(struct world *w, int64_t after_ms, int64_t available_mib) {
    w->now_ms += after_ms;
    w->sample.available_bytes = known(available_mib * MIB);
    return watermark_level(&w->sample, &marks, &w->state, w->now_ms);
}

Test(watermark, a_level_rises_at_once) {
    static struct world w = {.now_ms = 1000000};
    cr_assert_eq(at(&w, 0, 9000), LEVEL_LOW);
    cr_assert_eq(at(&w, 100, 4000), LEVEL_MODERATE);
    cr_assert_eq(at(&w, 100, 1500), LEVEL_HIGH);
    cr_assert_eq(at(&w, 100, 900), LEVEL_EXTREME);
    cr_assert_eq(at(&w, 100, 100), LEVEL_OOM);
}

Test(watermark, it_falls_a_step_for_each_time_it_held) {
    static struct world w = {.now_ms = 1000000};
    int64_t began = 0;
    cr_assert_eq(at(&w, 0, 100), LEVEL_OOM);
    for (int64_t ms = 0, level = LEVEL_OOM; level > LEVEL_LOW; ms += 100) {
        cr_assert_leq(ms, 10000, "still at %lld", (long long)level);
        int now = at(&w, 100, 9000);
        cr_assert_geq(now, level - 1);
        if (now == level) continue;
        cr_assert_geq(ms - began, began ? WATERMARK_HOLD_MS : 0);
        level = now;
        began = ms;
    }
    cr_assert_leq(began, 4 * (WATERMARK_HOLD_MS + 200));
}

Test(watermark, it_falls_only_with_a_margin) {
    static struct world w = {.now_ms = 1000000};
    cr_assert_eq(at(&w, 0, 4900), LEVEL_MODERATE);
    for (int i = 0; i < 100; i++) cr_assert_eq(at(&w, 100, 5499), LEVEL_MODERATE); /* an eighth of 4000 above 5000 is wanted */
    for (int i = 0; i < 10; i++) cr_assert_eq(at(&w, 100, 5500), LEVEL_MODERATE);
    cr_assert_eq(at(&w, 100, 5500), LEVEL_LOW);
}

Test(watermark, one_bad_reading_begins_the_wait_anew) {
    static struct world w = {.now_ms = 1000000};
    at(&w, 0, 4000);
    for (int i = 0; i < 50; i++) cr_assert_eq(at(&w, 100, i % 8 ? 9000 : 4000), LEVEL_MODERATE);
}

Test(watermark, a_level_does_not_flap) {
    static struct world w = {.now_ms = 1000000};
    uint64_t random = 3;
    int changes = 0, level = at(&w, 0, 5000);
    for (int i = 0; i < 36000; i++) { /* an hour */
        int now = at(&w, 100, 4900 + (int64_t)(unit_random(&random) % 500));
        changes += now != level;
        level = now;
    }
    cr_assert_leq(changes, 1);
}

/* Rises, does not fall, computes nothing absurd. */
Test(watermark, a_clock_that_stands_or_goes_back) {
    static struct world w = {.now_ms = 1000000};
    at(&w, 0, 9000);
    cr_assert_eq(at(&w, 0, 100), LEVEL_OOM);
    for (int i = 0; i < 1000; i++) cr_assert_eq(at(&w, 0, 9000), LEVEL_OOM);
    for (int i = 0; i < 1000; i++) cr_assert_eq(at(&w, -100, 9000), LEVEL_OOM);
    w.sample.some_us = w.sample.full_us = known(1);
    at(&w, -100, 9000);
    w.sample.some_us = w.sample.full_us = known(INT64_MAX);
    cr_assert_eq(at(&w, -100, 9000), LEVEL_OOM);
    cr_assert_eq(w.state.some.permille, 1000);
    cr_assert_eq(at(&w, INT64_MAX - w.now_ms, 9000), LEVEL_OOM - 1);
}

/* ---- signals ---- */

/* Totals move every 2 s; the readings come every 100 ms. */
static int stalled(struct world *w, int64_t seconds, int64_t some_permille, int64_t full_permille, int64_t available_mib) {
    int level = -1;
    if (!w->sample.some_us.is_known) w->sample.some_us = w->sample.full_us = known(5000000);
    for (int64_t i = 1; i <= seconds * 10; i++) {
        if (i % 20 == 0) {
            w->sample.some_us.value += 2000 * some_permille;
            w->sample.full_us.value += 2000 * full_permille;
        }
        level = at(w, 100, available_mib);
    }
    return level;
}

Test(watermark, stalls_raise) {
    static const struct {
        int64_t some, full, available_mib;
        int level;
    } rows[] = {
        {0, 0, 9000, LEVEL_LOW},          {99, 0, 9000, LEVEL_LOW},      {100, 0, 9000, LEVEL_MODERATE}, {100, 49, 9000, LEVEL_MODERATE},
        {100, 50, 9000, LEVEL_HIGH},      {1000, 1000, 9000, LEVEL_HIGH}, {100, 0, 4000, LEVEL_HIGH},     {1000, 1000, 4000, LEVEL_HIGH},
        {100, 0, 1500, LEVEL_EXTREME},    {1000, 1000, 1500, LEVEL_EXTREME}, {100, 0, 900, LEVEL_OOM},
    };
    for (unsigned i = 0; i < COUNT(rows); i++) {
        struct world w = {.now_ms = 1000000};
        int level = stalled(&w, 10, rows[i].some, rows[i].full, rows[i].available_mib);
        cr_assert_eq(level, rows[i].level, "row %u: %s", i, watermark_level_name(level));
    }
}

Test(watermark, stalls_pass) {
    static struct world w = {.now_ms = 1000000};
    cr_assert_eq(stalled(&w, 10, 500, 200, 9000), LEVEL_HIGH);
    cr_assert_eq(stalled(&w, 3, 0, 0, 9000), LEVEL_HIGH, "the total did not move for one window only");
    cr_assert_eq(stalled(&w, 8, 0, 0, 9000), LEVEL_LOW);
}

Test(watermark, a_total_that_begins_anew_is_no_stall) {
    static struct world w = {.now_ms = 1000000};
    stalled(&w, 10, 0, 0, 9000);
    w.sample.some_us = w.sample.full_us = known(7); /* another group */
    cr_assert_eq(at(&w, 100, 9000), LEVEL_LOW);
    w.sample.some_us = w.sample.full_us = reading_of(UNKNOWN);
    cr_assert_eq(at(&w, 100, 9000), LEVEL_LOW);
    w.sample.some_us = w.sample.full_us = known(900000000);
    cr_assert_eq(at(&w, 100, 9000), LEVEL_LOW);
}

/* The kernel may move a total just after it was first read. */
Test(watermark, a_short_window_is_not_blown_up) {
    static struct world w = {.now_ms = 1000000, .sample = {.some_us = {0, true}}};
    at(&w, 0, 9000);
    w.sample.some_us.value += 20000;
    cr_assert_eq(at(&w, 100, 9000), LEVEL_LOW);
    cr_assert_eq(w.state.some.permille, 10);
}

/* Half an hour of sleep with some stalls in it is not a stall now. */
Test(watermark, a_long_gap_is_averaged) {
    static struct world w = {.now_ms = 1000000, .sample = {.some_us = {0, true}}};
    at(&w, 0, 9000);
    w.sample.some_us.value += 10000000;
    cr_assert_eq(at(&w, 1800000, 9000), LEVEL_LOW);
}

Test(watermark, growing_swap_raises) {
    static struct world w = {.now_ms = 1000000, .sample = {.swap_used_bytes = {100 * MIB, true}}};
    cr_assert_eq(at(&w, 0, 4000), LEVEL_MODERATE, "what is swapped already says nothing");
    w.sample.swap_used_bytes.value += MIB - 1;
    cr_assert_eq(at(&w, 100, 4000), LEVEL_MODERATE);
    w.sample.swap_used_bytes.value += 1;
    cr_assert_eq(at(&w, 100, 4000), LEVEL_HIGH);
    w.sample.swap_used_bytes.value -= 50 * MIB;
    for (int i = 0; i < 40; i++) at(&w, 100, 4000);
    cr_assert_eq(at(&w, 100, 4000), LEVEL_MODERATE);
    w.sample.swap_used_bytes.value += 2 * MIB; /* from the lower mark */
    cr_assert_eq(at(&w, 100, 4000), LEVEL_HIGH);
}

/* ---- what to do ---- */

Test(watermark, ladder_of_idle_rings) {
    static const struct {
        int64_t idle_ms, wait_ms;
        enum idle_action calm, high;
    } rows[] = {
        {0, 45000, IDLE_KEEP, IDLE_KEEP},
        {1, 44999, IDLE_KEEP, IDLE_CLEAN_UP},
        {44999, 1, IDLE_KEEP, IDLE_CLEAN_UP},
        {45000, 45000, IDLE_REDUCE, IDLE_CLEAN_UP},
        {89999, 1, IDLE_REDUCE, IDLE_CLEAN_UP},
        {90000, 90000, IDLE_REDUCE_MORE, IDLE_CLEAN_UP},
        {179999, 1, IDLE_REDUCE_MORE, IDLE_CLEAN_UP},
        {180000, INT64_MAX, IDLE_CLEAN_UP, IDLE_CLEAN_UP},
        {INT64_MAX, INT64_MAX, IDLE_CLEAN_UP, IDLE_CLEAN_UP},
    };
    for (unsigned i = 0; i < COUNT(rows); i++)
        for (int level = 0; level < LEVELS; level++) {
            enum idle_action expected = level < LEVEL_HIGH ? rows[i].calm : rows[i].high;
            cr_assert_eq(watermark_idle_action(rows[i].idle_ms, level), expected, "%lld ms, level %d", (long long)rows[i].idle_ms, level);
            if (level < LEVEL_HIGH) cr_assert_eq(watermark_idle_wait_ms(rows[i].idle_ms, level), rows[i].wait_ms);
        }
    cr_assert_eq(watermark_idle_wait_ms(0, LEVEL_HIGH), 1);
    cr_assert_eq(watermark_idle_wait_ms(1, LEVEL_OOM), INT64_MAX);
}

Test(watermark, housekeeping_interval) {
    static const int64_t expected[LEVELS] = {180000, 5000, 100, 100, 100};
    for (int level = 0; level < LEVELS; level++) cr_assert_eq(watermark_housekeeping_ms(level), expected[level]);
}

/* ---- what an idle ring may keep ---- */

enum { USED = 1, RETAINED = 1000 };

/* Looks at one ring: `reused` pages were reused since the last look, so many are retained. */
struct ring {
    struct idle_state state;
    int64_t reused_pages, now_ms;
};
static int64_t look(struct ring *ring, int64_t after_ms, int64_t reused, int64_t retained, int level) {
    ring->now_ms += after_ms;
    ring->reused_pages += reused;
    return watermark_idle_keep(&ring->state, ring->reused_pages, retained, level, ring->now_ms);
}
static struct ring used_ring(void) {
    struct ring ring = {.now_ms = 5000, .reused_pages = 77};
    cr_assert_eq(look(&ring, 0, 0, RETAINED, LEVEL_LOW), INT64_MAX, "seen for the first time");
    return ring;
}

Test(watermark, idle_ring_keeps_half_a_quarter_and_nothing) {
    static const struct {
        int64_t idle_ms, keep;
    } rows[] = {
        {0, INT64_MAX},          {1, INT64_MAX},          {44900, INT64_MAX},      {44999, INT64_MAX},      {45000, RETAINED / 2},
        {45100, RETAINED / 2},   {89900, RETAINED / 2},   {89999, RETAINED / 2},   {90000, RETAINED / 4},   {179900, RETAINED / 4},
        {179999, RETAINED / 4},  {180000, 0},             {180001, 0},             {INT64_MAX - 5000, 0},
    };
    for (unsigned i = 0; i < COUNT(rows); i++)
        for (int level = LEVEL_LOW; level <= LEVEL_MODERATE; level++) {
            struct ring ring = used_ring();
            cr_assert_eq(look(&ring, rows[i].idle_ms, 0, RETAINED, level), rows[i].keep, "at once: %lld ms", (long long)rows[i].idle_ms);
        }
}

/* Looked at every 100 ms, and released as it says: half and quarter are of what there was at first. */
Test(watermark, idle_ring_falls_in_steps) {
    struct ring ring = used_ring();
    int64_t retained = RETAINED;
    for (int64_t ms = 100; ms <= 200000; ms += 100) {
        int64_t keep = look(&ring, 100, 0, retained, LEVEL_LOW);
        int64_t expected = ms < 45000 ? INT64_MAX : ms < 90000 ? RETAINED / 2 : ms < 180000 ? RETAINED / 4 : 0;
        if (retained) cr_assert_eq(keep, expected, "%lld ms: keeps %lld", (long long)ms, (long long)keep);
        if (keep < retained) retained = keep;
    }
    cr_assert_eq(retained, 0);
}

Test(watermark, hit_begins_the_ladder_anew) {
    struct ring ring = used_ring();
    cr_assert_eq(look(&ring, 44000, 0, RETAINED, LEVEL_LOW), INT64_MAX);
    cr_assert_eq(look(&ring, 900, USED, RETAINED, LEVEL_LOW), INT64_MAX);
    cr_assert_eq(look(&ring, 44999, 0, RETAINED, LEVEL_LOW), INT64_MAX, "44.999 s after the hit");
    cr_assert_eq(look(&ring, 1, 0, RETAINED, LEVEL_LOW), RETAINED / 2);
    cr_assert_eq(look(&ring, 50000, 0, RETAINED / 2, LEVEL_LOW), RETAINED / 4);
    cr_assert_eq(look(&ring, 100, USED, 100, LEVEL_LOW), INT64_MAX);
    cr_assert_eq(look(&ring, 45000, 0, 100, LEVEL_LOW), 50, "half of what it had at the hit");
    cr_assert_eq(look(&ring, 45000, 0, 50, LEVEL_LOW), 25);
    cr_assert_eq(look(&ring, 90000, 0, 25, LEVEL_LOW), 0);
}

/* A ring that had nothing was not idle with anything. */
Test(watermark, empty_ring_is_not_idle) {
    struct ring ring = used_ring();
    look(&ring, 200000, 0, 0, LEVEL_LOW);
    cr_assert_eq(look(&ring, 100, 0, RETAINED, LEVEL_LOW), INT64_MAX);
    cr_assert_eq(look(&ring, 44800, 0, RETAINED, LEVEL_LOW), INT64_MAX, "since it was seen empty");
    cr_assert_eq(look(&ring, 100, 0, RETAINED, LEVEL_LOW), RETAINED / 2);
}

Test(watermark, idle_ring_that_grows_keeps_half_of_the_most) {
    struct ring ring = used_ring();
    look(&ring, 10000, 0, 3 * RETAINED, LEVEL_LOW);
    look(&ring, 10000, 0, 2 * RETAINED, LEVEL_LOW);
    cr_assert_eq(look(&ring, 25000, 0, 2 * RETAINED, LEVEL_LOW), 3 * RETAINED / 2);
    cr_assert_eq(look(&ring, 45000, 0, 4 * RETAINED, LEVEL_LOW), RETAINED, "more came while it was idle");
    cr_assert_eq(look(&ring, 90000, 0, RETAINED, LEVEL_LOW), 0);
}

Test(watermark, idle_ring_and_a_clock_that_goes_back_or_stands) {
    struct ring ring = used_ring();
    look(&ring, 60000, 0, RETAINED, LEVEL_LOW);
    cr_assert_eq(look(&ring, -61000, 0, RETAINED, LEVEL_LOW), INT64_MAX, "before the hit: it begins anew");
    cr_assert_eq(look(&ring, 44999, 0, RETAINED, LEVEL_LOW), INT64_MAX);
    cr_assert_eq(look(&ring, 1, 0, RETAINED, LEVEL_LOW), RETAINED / 2);
    cr_assert_eq(look(&ring, -1, 0, RETAINED, LEVEL_LOW), INT64_MAX, "back, but not before the hit");
    for (unsigned i = 0; i < 10000; i++) cr_assert_eq(look(&ring, 0, 0, RETAINED, LEVEL_LOW), INT64_MAX, "it stands");
    ring = used_ring();
    ring.state.hit_ms = INT64_MIN;
    cr_assert_eq(look(&ring, 0, 0, RETAINED, LEVEL_LOW), 0, "longer than 64 bits can say");
}

Test(watermark, idle_ring_is_cleaned_at_the_second_look_where_memory_is_short) {
    for (int level = LEVEL_HIGH; level < LEVELS; level++) {
        struct ring ring = {.now_ms = 5000};
        cr_assert_eq(look(&ring, 0, 0, RETAINED, level), INT64_MAX, "what is not known may be in use");
        cr_assert_eq(look(&ring, 0, 0, RETAINED, level), INT64_MAX, "no time has passed");
        cr_assert_eq(look(&ring, 1, 0, RETAINED, level), 0);
        cr_assert_eq(look(&ring, 100, USED, RETAINED, level), INT64_MAX, "it is used");
        cr_assert_eq(look(&ring, 100, 0, RETAINED, level), 0);
        cr_assert_eq(look(&ring, 100, 0, RETAINED, LEVEL_MODERATE), INT64_MAX, "no longer short");
    }
}

/* Until when nothing changes for an idle ring, the process need not be woken. */
Test(watermark, the_wait_leads_to_the_next_rung) {
    struct ring ring = used_ring();
    int64_t idle_ms = 0, keep = INT64_MAX;
    unsigned rungs = 0;
    for (int64_t wait; (wait = watermark_idle_wait_ms(idle_ms, LEVEL_LOW)) != INT64_MAX; idle_ms += wait, rungs++) {
        cr_assert_eq(look(&ring, wait - 1, 0, RETAINED, LEVEL_LOW), keep, "a millisecond before");
        int64_t next = look(&ring, 1, 0, RETAINED, LEVEL_LOW);
        cr_assert_lt(next, keep, "after %lld ms", (long long)(idle_ms + wait));
        keep = next;
    }
    cr_assert_eq(rungs, 3);
    cr_assert_eq(idle_ms, IDLE_CLEAN_UP_MS);
}
