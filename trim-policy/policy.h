/* Policy: reads options and the machine, sets core's limits, and has memory given back in time. */
#ifndef LOWTIDE_POLICY_H
#define LOWTIDE_POLICY_H

#include "../core/core.h"

/* Applies the options to core and installs housekeeping. Once, when `options` is set. */
HIDDEN void policy_init(void);

/* In a forked child: the thread that was changing policy's state may be gone. */
HIDDEN void policy_after_fork(void);

/* The calling thread ends; it has no heap any more. */
HIDDEN void policy_thread_ends(void);

/* At the exit of the process: nothing of it stays behind. */
HIDDEN void policy_end(void);

/* What the machine, the container and the process have, in bytes; 0 = unknown. */
struct policy_numbers {
    int64_t limit_bytes;         /* memory this process can have at most */
    int64_t available_bytes;     /* of it, what is still to be had without swapping */
    int64_t min_free_bytes;      /* what should stay available */
    int64_t low_watermark_bytes; /* below it, memory is getting short */
    int level;                   /* enum level */
};

/* As of now, or the last 100 ms. */
HIDDEN void policy_snapshot(struct policy_numbers *numbers);

/* ---- before sleeping ---- */

enum policy_sleep { SLEEP_NOTHING_TO_DO, SLEEP_DONE, SLEEP_LATER };

/* The calling thread is about to block: its magazines and what is retained above the soft target go
 * back, if 100 ms have passed since that last happened or it is cheap enough to do more often
 * (`may_hurry`). SLEEP_LATER: too soon; *wait_ms says how long to sleep before asking again. errno
 * is kept. */
HIDDEN enum policy_sleep policy_before_sleep(bool may_hurry, int *wait_ms);

/* True when policy_before_sleep would find something to do. Not in a signal handler that
 * interrupted malloc or free, since blocking calls may be made there. */
static inline bool policy_has_sleep_work(void) {
    bool is_dirty = relaxed_load(&heap_current->is_dirty);
    return (is_dirty || budget_retained_pages() > allowance_pages(&limits.soft)) &&
           !heap_is_in_use();
}

/* The kernel's sigprocmask for all signals, also those that libc keeps for itself: bit n - 1 =
 * signal n. Returns the mask as it was; errno is kept. */
HIDDEN uint64_t policy_change_mask(int how, uint64_t mask);

/* ---- the program's own mappings ---- */

/* The program is about to map so much anonymous memory: under pressure the heap makes room. */
HIDDEN void policy_before_mapping(size_t bytes);

#endif
