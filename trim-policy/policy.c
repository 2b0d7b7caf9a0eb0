/* What is allowed: the options, and the limits that profile, level and earned retention make. When
 * memory goes back is housekeep.c. */
#include "policy_state.h"

#include "live.h"
#include "options.h"
#include "profile.h"

#include <errno.h>
#include <time.h>

struct policy_state policy_state;

static int64_t coarse_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
    return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}
int64_t (*policy_clock_ms)(void) = coarse_ms;

/* ---- limits ---- */

static void set_allowance(struct allowance *to, struct share from) {
    relaxed_store(&to->base_pages, from.base_pages);
    relaxed_store(&to->share256, from.share256);
}

static void apply_level(int level) {
    struct profile_limits p = profile_limits(options.profile, level);
    set_allowance(&limits.retained, p.retained);
    relaxed_store(&limits.spare256, p.spare256);
    set_allowance(&limits.magazine, p.magazine);
    set_allowance(&limits.soft, p.soft);
    set_allowance(&limits.guarantee, p.guarantee);
    policy_state.may_earn = p.may_earn;
    relaxed_store(&policy_state.level, level);
}

void policy_apply_earned(void) {
    for (unsigned ring = 0; ring < RINGS; ring++)
        relaxed_store(&limits.earned_pages[ring],
                      policy_state.may_earn ? policy_state.earn[ring].earned_pages : 0);
}

/* What could be given back is worth a look from a MiB on; and where memory was short at the last
 * look, so is that it no longer is. */
static bool is_worth_a_look(void) {
    int64_t could = budget_retained_pages() * PAGE_BYTES + relaxed_load(&counters.capacity_bytes);
    return could > 1 << 20 || relaxed_load(&policy_state.level) > LEVEL_LOW;
}

void policy_look(int64_t now_ms) {
    int before = relaxed_load(&policy_state.level);
    if (!is_worth_a_look()) return;
    int level = machine_look(&policy_state.machine, now_ms);
    if (level != before) apply_level(level);
    if (level >= LEVEL_EXTREME || (level >= LEVEL_HIGH && level > before))
        atomic_fetch_add(&limits.flush_round, 1);
}

/* ---- options ---- */

void policy_init(void) {
    int saved = errno;
    core_check_level = options.check > 0; /* 2 begins with check_start */
    os_keep_huge_pages = options.thp;
    os_return_lazily = options.return_how == RETURN_FREE;
    if (options.return_how != RETURN_UNMAP) relaxed_store(&limits.max_holes, 0);
    machine_init(&policy_state.machine, options.root ? options.root : "",
                 (struct minimum_settings){options.minmem_free.number, options.minmem_pct_total,
                                           options.minmem_pct_free},
                 options.verbose);
    apply_level(LEVEL_LOW);
    budget_over_hook = housekeep_reconsider;
    heap_slow_path_hook = housekeep;
    live_init(options.root ? options.root : "", options.live);
    if (options.housekeep == HOUSEKEEP_THREAD) keeper_init();
    errno = saved;
}

void policy_after_fork(void) {
    state_leave();
    heap_current->housekept_ms = policy_clock_ms(); /* most children go on to exec */
    live_after_fork();
    keeper_after_fork();
}

void policy_thread_ends(void) { keeper_note_thread_end(); }

void policy_end(void) { live_close(); }

/* ---- for others ---- */

static int64_t value_of(struct reading reading) { return reading.is_known ? reading.value : 0; }

void policy_snapshot(struct policy_numbers *numbers) {
    *numbers = (struct policy_numbers){0};
    if (!state_take()) return;
    struct machine *machine = &policy_state.machine;
    int level = machine_look(machine, policy_clock_ms());
    *numbers = (struct policy_numbers){
        .limit_bytes = value_of(machine->sample.limit_bytes),
        .available_bytes = value_of(machine->sample.available_bytes),
        .min_free_bytes = machine->marks.min_free_bytes,
        .low_watermark_bytes = machine->marks.low_bytes,
        .level = level,
    };
    state_leave();
}
