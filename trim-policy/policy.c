/* Default policy: the limits core begins with, and housekeeping that brings what is retained down
 * to the soft target at most every 100 ms, from slow paths, by the coarse clock. */
#include "policy.h"

#include "../core/core.h"
#include "earn.h"
#include "options.h"
#include "sample.h"
#include "watermark.h"

#include <fcntl.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

/* Guarded by `is_busy`: whoever finds it taken goes on with the limits as they are. */
static struct {
    _Atomic(bool) is_busy;
    struct earn_state earn;
    bool may_earn; /* by the profile */
    int64_t ticked_ms;
    int64_t slept_ms; /* when a thread last gave back before it slept */
    int64_t
        tokens; /* what may be given back before 100 ms have passed since; see before_sleep_cost */
    int64_t counted_ms; /* when tokens were last added */
} state;

/* A page released and faulted back costs about 1 us, so 4 a millisecond are half a percent of a
 * core. */
enum { TOKENS_PER_MS = 4, TOKENS_MOST = 4096, TOKENS_FLUSH = 16 };

static int64_t coarse_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
    return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static bool state_take(void) { return !atomic_exchange(&state.is_busy, true); }
static void state_leave(void) { atomic_store(&state.is_busy, false); }

void policy_after_fork(void) { state_leave(); }

static struct earn_reading read_counters(int64_t now_ms) {
    return (struct earn_reading){
        .now_ms = now_ms,
        .released_pages = relaxed_load(&counters.released_pages),
        .fresh_pages = relaxed_load(&counters.fresh_pages),
        .reused_pages = relaxed_load(&counters.reused_pages),
        .retained_pages = budget_retained_pages(),
    };
}

static void apply_earned(void) {
    relaxed_store(&limits.earned_pages, state.may_earn ? state.earn.earned_pages : 0);
    if (!state.earn.has_turned) return;
    relaxed_store(&limits.high_before, relaxed_load(&counters.live_high));
    relaxed_store(&counters.live_high, relaxed_load(&counters.live_pages));
}

/* More is retained than allowed: has what was released lately come back? */
static void consider_earning(void) {
    if (!state_take()) return;
    struct earn_reading reading = read_counters(coarse_ms());
    earn_update(&state.earn, &reading);
    apply_earned();
    state_leave();
}

/* Down to the soft target, but for what is earned and in use. */
static void tick(int64_t now_ms) {
    if (!state_take()) return;
    if (now_ms - state.ticked_ms < EARN_TICK_MS) {
        state_leave();
        return;
    }
    state.ticked_ms = now_ms;
    struct earn_reading reading = read_counters(now_ms);
    earn_tick(&state.earn, &reading);
    apply_earned();
    state_leave();
    int64_t earned = relaxed_load(&limits.earned_pages), soft = allowance_pages(&limits.soft);
    budget_release_to(earned > soft ? earned : soft, RELEASE_LARGE_FIRST);
}

/* Each thread looks after its own magazines; whoever comes first in an interval looks after the
 * pages. */
static void housekeep(void) {
    int64_t now = coarse_ms();
    if (now - heap_current->housekept_ms < EARN_TICK_MS) return;
    heap_current->housekept_ms = now;
    heap_flush(true);
    tick(now);
}

/* ---- before sleeping ---- */

/* In tokens: the pages that would go, and a share for the magazines, which are refilled a batch at
 * a time. */
static int64_t before_sleep_cost(void) {
    int64_t excess = budget_retained_pages() - allowance_pages(&limits.soft);
    return TOKENS_FLUSH + heap_current->capacity_pages / 16 + (excess > 0 ? excess : 0);
}

static void add_tokens(int64_t now_ms) {
    int64_t passed = now_ms - state.counted_ms;
    state.counted_ms = now_ms;
    if (passed > TOKENS_MOST / TOKENS_PER_MS) passed = TOKENS_MOST / TOKENS_PER_MS;
    state.tokens += passed * TOKENS_PER_MS;
    if (state.tokens > TOKENS_MOST) state.tokens = TOKENS_MOST;
}

/* Whether this thread may give back now, paid with tokens where 100 ms have not passed; `state` is
 * held. */
static bool may_release(int64_t now_ms, bool may_hurry) {
    add_tokens(now_ms);
    int64_t cost = before_sleep_cost();
    if (now_ms - state.slept_ms < EARN_TICK_MS) {
        if (!may_hurry || state.tokens < cost) return false;
        state.tokens -= cost;
    }
    state.slept_ms = now_ms;
    return true;
}

/* All heaps are asked, which only happens while something is earned and at most every 100 ms; a
 * count kept at each blocking call would cost every wake-up two atomic operations on one cache
 * line. */
static bool is_last_awake(void) {
    if (is_single_threaded()) return true;
    for (uint32_t id = 0; id < atomic_load(&heap_count); id++) {
        struct heap *heap = atomic_load(&heap_table[id]);
        if (heap && heap != heap_current && !atomic_load(&heap->closed) &&
            !relaxed_load(&heap->is_asleep))
            return false;
    }
    return true;
}

enum policy_sleep policy_before_sleep(bool may_hurry, int *wait_ms) {
    if (!policy_has_sleep_work()) return SLEEP_NOTHING_TO_DO;
    int64_t now = coarse_ms();
    if (!state_take()) return SLEEP_NOTHING_TO_DO;
    bool may = may_release(now, may_hurry);
    *wait_ms = (int)(EARN_TICK_MS - (now - state.slept_ms));
    if (may && state.earn.earned_pages && is_last_awake()) earn_lose(&state.earn);
    if (may) apply_earned();
    state_leave();
    if (!may) return SLEEP_LATER;
    int64_t earned = relaxed_load(&limits.earned_pages), soft = allowance_pages(&limits.soft);
    relaxed_store(&heap_current->is_dirty, false);
    heap_flush(false);
    budget_release_to(earned > soft ? earned : soft, RELEASE_LARGE_FIRST);
    return SLEEP_DONE;
}

static void read_number_file(const char *path, _Atomic(uint32_t) *value, uint32_t divisor) {
    char text[32] = "";
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return;
    ssize_t n = read(fd, text, sizeof text - 1);
    close(fd);
    long number = n > 0 ? strtol(text, NULL, 10) : 0;
    if (number > 0) relaxed_store(value, (uint32_t)(number / divisor));
}

/* Numbers where nobody wants to read the table: pages and 256ths of live, free while running, in
 * magazines, and after. Each keeps the guarantee of docs/DESIGN.md but throughput, whose own is 2 L
 * + 64 MiB. */
static const struct {
    struct allowance retained, magazine, soft;
    bool may_earn;
} profiles[] = {
    [PROFILE_TIGHT] = {{1 << 8, 4}, {1 << 7, 4}, {1 << 6, 2}, false},
    [PROFILE_BALANCED] = {{3 << 8, 16}, {2 << 8, 16}, {1 << 8, 15}, true},
    [PROFILE_THROUGHPUT] = {{32 << 8, 128}, {16 << 8, 64}, {8 << 8, 32}, true},
};

static void set_allowance(struct allowance *to, const struct allowance *from) {
    relaxed_store(&to->base_pages, relaxed_load(&from->base_pages));
    relaxed_store(&to->share256, relaxed_load(&from->share256));
}

static void apply_profile(int profile) {
    set_allowance(&limits.retained, &profiles[profile].retained);
    set_allowance(&limits.magazine, &profiles[profile].magazine);
    set_allowance(&limits.soft, &profiles[profile].soft);
    if (profile == PROFILE_TIGHT) relaxed_store(&limits.guarantee_pages, 1 << 8);
    if (profile == PROFILE_THROUGHPUT) relaxed_store(&limits.guarantee_pages, 64 << 8);
    state.may_earn = profiles[profile].may_earn;
    budget_over_hook = consider_earning;
}

void policy_init(void) {
    int saved = errno;
    core_check_level = options.check;
    os_keep_huge_pages = options.thp;
    os_return_lazily = options.return_how == RETURN_FREE;
    if (options.return_how != RETURN_UNMAP)
        relaxed_store(&limits.max_holes, 0);
    else
        read_number_file("/proc/sys/vm/max_map_count", &limits.max_holes, 4);
    apply_profile(options.profile);
    heap_slow_path_hook = housekeep;
    errno = saved;
}

void policy_sample(struct machine *machine) {
    static struct sample sample; /* keeps where the process's groups are */
    if (!state_take()) return;
    sample_read("", &sample);
    struct minimum_settings settings = {options.minmem_free.number, options.minmem_pct_total,
                                        options.minmem_pct_free};
    struct watermarks marks =
        watermark_compute(&settings, sample.limit_bytes, sample.available_bytes);
    *machine = (struct machine){
        .limit_bytes = sample.limit_bytes.is_known ? sample.limit_bytes.value : 0,
        .available_bytes = sample.available_bytes.is_known ? sample.available_bytes.value : 0,
        .min_free_bytes = marks.min_free_bytes,
        .low_watermark_bytes = marks.low_bytes,
        .level = watermark_base_level(sample.available_bytes, &marks),
    };
    state_leave();
}
