/* What the parts of policy share: policy.c (what is allowed), housekeep.c (when memory goes back),
 * keeper.c (the thread that only LOWTIDE_HOUSEKEEP=thread has). */
#ifndef LOWTIDE_POLICY_STATE_H
#define LOWTIDE_POLICY_STATE_H

#include "../core/core.h"
#include "earn.h"
#include "machine.h"
#include "policy.h"
#include "watermark.h"

/* Guarded by `is_busy`: whoever finds it taken goes on with the limits as they are. */
struct policy_state {
    flag is_busy;
    struct machine machine;
    _Atomic(int) level; /* that the limits are set for; read by anyone */
    struct earn_state earn[RINGS];
    struct idle_state idle[RINGS];
    bool may_earn; /* by profile and level */
    int64_t ticked_ms;
    _Atomic(int64_t) slept_ms; /* when a thread last gave back before it slept */
    int64_t tokens;     /* what may be given back before 100 ms have passed since; housekeep.c */
    int64_t counted_ms; /* when tokens were last added */
};
extern HIDDEN struct policy_state policy_state;

static inline bool state_take(void) { return !atomic_exchange(&policy_state.is_busy, true); }
static inline void state_leave(void) { atomic_store(&policy_state.is_busy, false); }

/* The coarse monotonic clock in ms. */
extern HIDDEN int64_t (*policy_clock_ms)(void);

/* With the state held: looks at the machine if that is worth its price, and sets core's limits
 * where the level changed. */
HIDDEN void policy_look(int64_t now_ms);

/* With the state held: what the rings earned goes into core's limits. */
HIDDEN void policy_apply_earned(void);

/* Housekeeping for the calling thread and the process (housekeep.c), from slow paths. */
HIDDEN void housekeep(void);
HIDDEN void housekeep_reconsider(void); /* core's budget_over_hook */

/* For the process alone, now; returns after how many ms it should be done again if nothing happens
 * until then. */
HIDDEN int64_t housekeep_process(int64_t now_ms);

/* The keeper: starts on the first slow path after policy_init; is told of activity. */
HIDDEN void keeper_init(void);
HIDDEN void keeper_note_activity(void);
HIDDEN void keeper_note_thread_end(void);
HIDDEN void keeper_after_fork(void);

#endif
