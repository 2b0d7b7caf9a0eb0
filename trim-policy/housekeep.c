/* When memory goes back: every 100 ms from slow paths, and before a thread blocks. */
#include "live.h"
#include "policy_state.h"

#include "../core/gate.h"
#include "../core/lend.h"

#include <errno.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

/* A page released and faulted back costs about 1 us, so 4 a millisecond are half a percent of a
 * core. Where the whole process falls asleep on much, tokens of the future are spent, too. */
enum { TOKENS_PER_MS = 4, TOKENS_MOST = 4096, TOKENS_FLUSH = 16, MUCH = 128, MOST_DEBT = 65536 };

/* ---- earned retention ---- */

static struct earn_reading read_ring(unsigned ring, int64_t now_ms) {
    return (struct earn_reading){
        .now_ms = now_ms,
        .released_pages = relaxed_load(&counters.released_pages[ring]),
        .fresh_pages = relaxed_load(&counters.fresh_pages[ring]),
        .reused_pages = relaxed_load(&counters.reused_pages[ring]),
        .retained_pages = relaxed_load(&counters.retained_pages[ring]),
    };
}

/* Once for each half of the window. */
static void turn_high_water(void) {
    for (unsigned ring = 0; ring <= ALL_RINGS; ring++) {
        relaxed_store(&limits.high_before[ring], relaxed_load(&counters.live_high[ring]));
        relaxed_store(&counters.live_high[ring], budget_ring_pages(ring));
    }
}

/* The limits follow with policy_apply_earned. */
static void update_rings(int64_t now_ms,
                         int64_t (*update)(struct earn_state *, const struct earn_reading *)) {
    for (unsigned ring = 0; ring < RINGS; ring++) {
        struct earn_reading reading = read_ring(ring, now_ms);
        update(&policy_state.earn[ring], &reading);
    }
    if (policy_state.earn[0].has_turned) turn_high_water(); /* all turn together */
}

/* More is retained than allowed: has what was released lately come back? */
void housekeep_reconsider(void) {
    if (!state_take()) return;
    update_rings(policy_clock_ms(), earn_update);
    policy_apply_earned();
    state_leave();
}

/* What came back until now is counted first, or it would be earned at the next reading. */
static void lose_all(int64_t now_ms) {
    update_rings(now_ms, earn_update);
    for (unsigned ring = 0; ring < RINGS; ring++) earn_lose(&policy_state.earn[ring]);
    policy_apply_earned();
}

/* ---- ticks ---- */

/* What rings may keep that nobody used for a while. */
static void look_at_rings(int64_t now_ms, int64_t keep[RINGS]) {
    for (unsigned ring = 0; ring < RINGS; ring++)
        keep[ring] = watermark_idle_keep(&policy_state.idle[ring],
                                         relaxed_load(&counters.reused_pages[ring]),
                                         relaxed_load(&counters.retained_pages[ring]),
                                         relaxed_load(&policy_state.level), now_ms);
}

/* Once in 100 ms; false when it is too soon, or another thread is at it. */
static bool tick(int64_t now_ms, int64_t keep[RINGS]) {
    if (!state_take()) return false;
    bool is_time = now_ms - policy_state.ticked_ms >= EARN_TICK_MS;
    if (is_time) {
        policy_state.ticked_ms = now_ms;
        update_rings(now_ms, earn_tick);
        policy_look(now_ms);
        policy_apply_earned();
        look_at_rings(now_ms, keep);
    }
    state_leave();
    return is_time;
}

static void release_down(const int64_t keep[RINGS]) {
    struct heap *gate = gate_enter();
    heap_flush_lent();
    budget_release_to(budget_target_pages(), RELEASE_LARGE_FIRST);
    for (unsigned ring = 0; ring < RINGS; ring++) budget_release_ring(ring, keep[ring]);
    gate_leave(gate);
}

/* Once in 100 ms, for the process as a whole. */
static void keep_house(int64_t now_ms) {
    int64_t keep[RINGS];
    if (!tick(now_ms, keep)) return;
    release_down(keep);
    live_update(now_ms);
}

/* Each thread looks after its own magazines; whoever comes first in an interval looks after the
 * pages. */
void housekeep(void) {
    int64_t now = policy_clock_ms();
    if (now - heap_current->housekept_ms < EARN_TICK_MS) return;
    heap_current->housekept_ms = now;
    keeper_note_activity();
    heap_adopt_orphans(1);
    heap_flush(true);
    keep_house(now);
}

/* Until something retained becomes more idle, or the level may have changed; the state is held. */
static int64_t wait_ms(int64_t now_ms) {
    int level = relaxed_load(&policy_state.level);
    int64_t wait = watermark_housekeeping_ms(level);
    for (unsigned ring = 0; ring < RINGS; ring++) {
        if (!relaxed_load(&counters.retained_pages[ring])) continue;
        int64_t until = watermark_idle_wait_ms(now_ms - policy_state.idle[ring].hit_ms, level);
        if (until < wait) wait = until;
    }
    return wait;
}

int64_t housekeep_process(int64_t now_ms) {
    int64_t wait = EARN_TICK_MS;
    keep_house(now_ms);
    if (live_is_trim_asked()) live_update(now_ms); /* there was no tick yet */
    if (!state_take()) return wait;
    wait = wait_ms(now_ms);
    state_leave();
    return wait;
}

/* ---- before sleeping ---- */

/* In tokens: the pages that would go, and a share for the magazines, which are refilled a batch at
 * a time. */
static int64_t before_sleep_cost(void) {
    int64_t excess = budget_retained_pages() - allowance_pages(&limits.soft);
    return TOKENS_FLUSH + heap_current->capacity_pages / 16 + (excess > 0 ? excess : 0);
}

/* All heaps are asked, which happens at most every 100 ms or when tokens pay; a count kept at each
 * blocking call would cost every wake-up two atomic operations on one cache line. */
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

static void add_tokens(int64_t now_ms) {
    int64_t passed = now_ms - policy_state.counted_ms;
    policy_state.counted_ms = now_ms;
    if (passed > TOKENS_MOST / TOKENS_PER_MS) passed = TOKENS_MOST / TOKENS_PER_MS;
    policy_state.tokens += passed * TOKENS_PER_MS;
    if (policy_state.tokens > TOKENS_MOST) policy_state.tokens = TOKENS_MOST;
}

static bool is_time_to_release(int64_t now_ms) {
    return now_ms - relaxed_load(&policy_state.slept_ms) >= EARN_TICK_MS;
}

/* The more would stay behind, the deeper a debt is taken. */
static bool can_pay(int64_t cost, bool may_hurry) {
    if (may_hurry && policy_state.tokens >= cost) return true;
    int64_t debt = 4 * cost < MOST_DEBT ? 4 * cost : MOST_DEBT;
    return cost >= MUCH && policy_state.tokens >= cost - debt && is_last_awake();
}

/* Whether this thread may give back now, paid with tokens where 100 ms have not passed; the state
 * is held. */
static bool may_release(int64_t now_ms, bool may_hurry) {
    add_tokens(now_ms);
    int64_t cost = before_sleep_cost();
    if (!is_time_to_release(now_ms)) {
        if (!can_pay(cost, may_hurry)) return false;
        policy_state.tokens -= cost;
    }
    relaxed_store(&policy_state.slept_ms, now_ms);
    return true;
}

/* Whether more than the soft target allows could be given back, whatever the magazines pin. */
static bool is_above_target(void) {
    int64_t most = allowance_pages(&limits.soft), live = relaxed_load(&counters.live_pages);
    int64_t pinned = heap_current->capacity_pages < live ? heap_current->capacity_pages : live;
    return budget_retained_pages() + pinned > most;
}

/* An event loop comes here at each wake-up: what was refused is refused again until the clock
 * ticks. Where nothing much would be left behind there is no need to come back. */
static enum policy_sleep refuse(int64_t now_ms, int *wait) {
    relaxed_store(&heap_current->refused_ms, now_ms);
    *wait = (int)(EARN_TICK_MS - (now_ms - relaxed_load(&policy_state.slept_ms)));
    return is_above_target() ? SLEEP_LATER : SLEEP_NOTHING_TO_DO;
}

static enum policy_sleep give_back(int64_t now_ms, bool may_hurry, int *wait) {
    if (!state_take()) return SLEEP_NOTHING_TO_DO;
    bool may = may_release(now_ms, may_hurry), is_last = may && is_last_awake();
    if (is_last) lose_all(now_ms);
    state_leave();
    if (!may) return refuse(now_ms, wait);
    relaxed_store(&heap_current->is_dirty, false);
    heap_adopt_orphans(1);
    struct heap *gate = gate_enter();
    heap_flush(false);
    if (is_last) heap_flush_lent();
    budget_release_to(budget_target_pages(), RELEASE_LARGE_FIRST);
    gate_leave(gate);
    live_update(now_ms);
    return SLEEP_DONE;
}

uint64_t policy_change_mask(int how, uint64_t mask) {
    uint64_t before = 0;
    int saved = errno;
    syscall(SYS_rt_sigprocmask, how, &mask, &before, sizeof mask);
    errno = saved;
    return before;
}

/* No handler may run meanwhile: it may leave a blocking call with siglongjmp, and would leave what
 * is held here with it. Where a seccomp filter may forbid the system call that is so nevertheless.
 */
enum policy_sleep policy_before_sleep(bool may_hurry, int *wait) {
    if (!policy_has_sleep_work()) return SLEEP_NOTHING_TO_DO;
    int64_t now = policy_clock_ms();
    bool is_refused = now == relaxed_load(&heap_current->refused_ms);
    if (is_refused && before_sleep_cost() < MUCH) return refuse(now, wait);
    bool has_filter = relaxed_load(&os_is_filtered);
    uint64_t before = has_filter ? 0 : policy_change_mask(SIG_BLOCK, ~0ull);
    enum policy_sleep answer = give_back(now, may_hurry, wait);
    if (has_filter) return answer == SLEEP_LATER ? SLEEP_NOTHING_TO_DO : answer;
    policy_change_mask(SIG_SETMASK, before);
    return answer;
}

/* ---- the program's own mappings ---- */

enum { LARGE_MAPPING_BYTES = 1 << 20 };

void policy_before_mapping(size_t bytes) {
    if (bytes < LARGE_MAPPING_BYTES || !budget_retained_pages() || relaxed_load(&os_is_filtered))
        return;
    if (heap_is_in_use() || !state_take()) return;
    policy_look(policy_clock_ms());
    const struct machine *machine = &policy_state.machine;
    int64_t room = machine->sample.available_bytes.value - machine->marks.min_free_bytes;
    bool is_short = relaxed_load(&policy_state.level) > LEVEL_LOW ||
                    (machine->sample.available_bytes.is_known && (int64_t)bytes > room);
    state_leave();
    if (is_short) core_trim(0);
}
