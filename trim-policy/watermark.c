/* For what: watermark.h. */
#include "watermark.h"

#define MIB (1024 * 1024LL)
static const int64_t most_default_bytes = 1536 * MIB, least_distance_bytes = 128 * MIB;

static int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }

/* Not number * percent / 100, which could overflow. */
static int64_t percent_of(int64_t number, int64_t percent) {
    return number / 100 * percent + number % 100 * percent / 100;
}

/* ---- how much is to stay free ---- */

static int64_t min_free(const struct minimum_settings *settings, int64_t total, int64_t available) {
    if (settings->free_bytes > 0) return smaller(settings->free_bytes, total);
    if (settings->pct_total <= 0 && settings->pct_free <= 0)
        return smaller(most_default_bytes, percent_of(total, 5));
    int64_t of_total = percent_of(total, larger(settings->pct_total, 0)),
            of_free = percent_of(available, larger(settings->pct_free, 0));
    return smaller(larger(of_total, of_free), total);
}

/* 7/16 of minimum and available together, at least 128 MiB above the minimum. But never above the
 * middle between minimum and total: with a limit of 200 MiB, memory would be short from the first
 * moment to the last. */
static int64_t low_watermark(int64_t minimum, int64_t total, int64_t available) {
    int64_t share =
        minimum / 16 * 7 + available / 16 * 7 + (minimum % 16 + available % 16) * 7 / 16;
    int64_t least =
        minimum > INT64_MAX - least_distance_bytes ? INT64_MAX : minimum + least_distance_bytes;
    return smaller(larger(share, least), minimum + (total - minimum) / 2);
}

struct watermarks watermark_compute(const struct minimum_settings *settings,
                                    struct reading total_bytes,
                                    struct reading available_at_start_bytes) {
    if (!total_bytes.is_known) return (struct watermarks){0};
    int64_t total = total_bytes.value, available = smaller(available_at_start_bytes.value, total);
    int64_t minimum = min_free(settings, total, available);
    return (struct watermarks){minimum, low_watermark(minimum, total, available)};
}

/* ---- how short it is ---- */

const char *watermark_level_name(int level) {
    static const char *const names[LEVELS] = {"low", "moderate", "high", "extreme", "oom"};
    return level >= 0 && level < LEVELS ? names[level] : "unknown";
}

int watermark_base_level(struct reading available_bytes, const struct watermarks *marks) {
    int64_t available = available_bytes.value, distance = marks->low_bytes - marks->min_free_bytes;
    if (!available_bytes.is_known || available >= marks->low_bytes) return LEVEL_LOW;
    if (available < marks->min_free_bytes / 4) return LEVEL_OOM;
    if (available < marks->min_free_bytes) return LEVEL_EXTREME;
    return available - marks->min_free_bytes < distance / 4 ? LEVEL_HIGH : LEVEL_MODERATE;
}

int watermark_raise_level(int base, int raise) {
    return base < LEVEL_HIGH ? (int)smaller(base + raise, LEVEL_HIGH)
                             : (int)smaller(base + (raise > 0), LEVEL_OOM);
}

/* How long ago; 0 where the clock went back. */
static int64_t since(int64_t then_ms, int64_t now_ms) {
    int64_t elapsed;
    if (now_ms <= then_ms) return 0;
    return __builtin_sub_overflow(now_ms, then_ms, &elapsed) ? INT64_MAX : elapsed;
}

/* A total of another source, or of a group made anew, is smaller: the count begins again. */
static void follow_stall(struct stall_rate *rate, struct reading total_us, int64_t now_ms) {
    bool is_first =
        !rate->total_us.is_known || !total_us.is_known || total_us.value < rate->total_us.value;
    int64_t elapsed = since(rate->moved_ms, now_ms);
    if (is_first || total_us.value > rate->total_us.value) {
        int64_t window = larger(elapsed, WATERMARK_STALL_WINDOW_MS);
        rate->permille =
            is_first ? 0 : smaller((total_us.value - rate->total_us.value) / window, 1000);
        rate->total_us = total_us;
        rate->moved_ms = now_ms;
    } else if (elapsed > 2 * WATERMARK_STALL_WINDOW_MS) {
        rate->permille = 0;
    }
}

static void follow_swap(struct watermark_state *state, struct reading swap_bytes, int64_t now_ms) {
    bool is_comparable = swap_bytes.is_known && state->swap_bytes.is_known;
    int64_t grown = is_comparable ? swap_bytes.value - state->swap_bytes.value : 0;
    if (grown >= WATERMARK_SWAP_BYTES) {
        state->has_swapped = true;
        state->swapped_ms = now_ms;
    }
    if (!is_comparable || grown < 0 || grown >= WATERMARK_SWAP_BYTES)
        state->swap_bytes = swap_bytes;
    if (since(state->swapped_ms, now_ms) > WATERMARK_STALL_WINDOW_MS) state->has_swapped = false;
}

static int signals(const struct watermark_state *state) {
    int raise = (state->some.permille >= WATERMARK_SOME_PERMILLE) +
                (state->full.permille >= WATERMARK_FULL_PERMILLE) + state->has_swapped;
    return raise > 2 ? 2 : raise;
}

/* The same with less available, for a fall that will not be taken back at once. */
static int careful_level(struct reading available_bytes, const struct watermarks *marks,
                         int raise) {
    int64_t margin = (marks->low_bytes - marks->min_free_bytes) / 8;
    available_bytes.value = larger(available_bytes.value - margin, 0);
    return watermark_raise_level(watermark_base_level(available_bytes, marks), raise);
}

int watermark_level(const struct sample *sample, const struct watermarks *marks,
                    struct watermark_state *state, int64_t now_ms) {
    follow_stall(&state->some, sample->some_us, now_ms);
    follow_stall(&state->full, sample->full_us, now_ms);
    follow_swap(state, sample->swap_used_bytes, now_ms);
    int raise = signals(state);
    int level = watermark_raise_level(watermark_base_level(sample->available_bytes, marks), raise);
    bool was_calm = state->is_calm;
    state->is_calm =
        careful_level(sample->available_bytes, marks, raise) < state->level && level < state->level;
    if (level > state->level) state->level = level;
    if (!state->is_calm) return state->level;
    if (!was_calm || now_ms < state->calm_ms) state->calm_ms = now_ms;
    if (since(state->calm_ms, now_ms) >= WATERMARK_HOLD_MS) {
        state->level--;
        state->is_calm = false; /* the next step waits as long again */
    }
    return state->level;
}

/* ---- what to do ---- */

enum idle_action watermark_idle_action(int64_t idle_ms, int level) {
    if (level >= LEVEL_HIGH && idle_ms > 0) return IDLE_CLEAN_UP;
    if (idle_ms >= IDLE_CLEAN_UP_MS) return IDLE_CLEAN_UP;
    if (idle_ms >= IDLE_REDUCE_MORE_MS) return IDLE_REDUCE_MORE;
    return idle_ms >= IDLE_REDUCE_MS ? IDLE_REDUCE : IDLE_KEEP;
}

int64_t watermark_idle_keep(struct idle_state *state, int64_t reused_pages, int64_t retained_pages,
                            int level, int64_t now_ms) {
    bool is_hit = !state->is_known || reused_pages != state->reused_pages || !retained_pages;
    if (is_hit || now_ms < state->hit_ms)
        *state = (struct idle_state){true, reused_pages, now_ms, retained_pages};
    if (retained_pages > state->began_pages) state->began_pages = retained_pages;
    switch (watermark_idle_action(since(state->hit_ms, now_ms), level)) {
    case IDLE_KEEP:
        return INT64_MAX;
    case IDLE_REDUCE:
        return state->began_pages / 2;
    case IDLE_REDUCE_MORE:
        return state->began_pages / 4;
    default:
        return 0;
    }
}

int64_t watermark_idle_wait_ms(int64_t idle_ms, int level) {
    static const int64_t rungs[] = {IDLE_REDUCE_MS, IDLE_REDUCE_MORE_MS, IDLE_CLEAN_UP_MS};
    if (level >= LEVEL_HIGH) return idle_ms > 0 ? INT64_MAX : 1;
    for (unsigned i = 0; i < sizeof rungs / sizeof *rungs; i++)
        if (idle_ms < rungs[i]) return rungs[i] - idle_ms;
    return INT64_MAX;
}

int64_t watermark_housekeeping_ms(int level) {
    if (level >= LEVEL_HIGH) return 100;
    return level == LEVEL_MODERATE ? 5000 : 180000;
}
