/* Policy: reads options and the machine, and sets core's limits. */
#ifndef LOWTIDE_POLICY_H
#define LOWTIDE_POLICY_H

#include "../core/core.h"

/* What the machine, the container and the process have, in bytes; 0 = unknown. */
struct machine {
    int64_t limit_bytes;         /* memory this process can have at most */
    int64_t available_bytes;     /* of it, what is still to be had without swapping */
    int64_t min_free_bytes;      /* what should stay available */
    int64_t low_watermark_bytes; /* below it, memory is getting short */
    int level;                   /* enum level, from the distance alone */
};

/* Applies the options to core and installs housekeeping. Once, when `options` is set. */
__attribute__((visibility("hidden"))) void policy_init(void);

/* In a forked child: the thread that was changing policy's state may be gone. */
__attribute__((visibility("hidden"))) void policy_after_fork(void);

/* A sample of the machine: some 34 system calls, so not for slow paths under a seccomp filter. */
__attribute__((visibility("hidden"))) void policy_sample(struct machine *machine);

enum policy_sleep { SLEEP_NOTHING_TO_DO, SLEEP_DONE, SLEEP_LATER };

/* The calling thread is about to block: its magazines and what is retained above the soft target go
 * back, if 100 ms have passed since that last happened or it is cheap enough to do more often
 * (`may_hurry`). SLEEP_LATER: too soon; *wait_ms says how long to sleep before asking again. errno
 * is kept. */
__attribute__((visibility("hidden"))) enum policy_sleep policy_before_sleep(bool may_hurry,
                                                                            int *wait_ms);

/* True when policy_before_sleep would find something to do. */
static inline bool policy_has_sleep_work(void) {
    return relaxed_load(&heap_current->is_dirty) || relaxed_load(&limits.earned_pages);
}

#endif
