/* Policy: reads options and the machine, and sets core's limits. */
#ifndef LOWTIDE_POLICY_H
#define LOWTIDE_POLICY_H

#include <stdint.h>

/* What the machine offers, in bytes; 0 = unknown. */
struct machine {
    int64_t limit_bytes;         /* memory this process can have at most */
    int64_t available_bytes;     /* of it, what is still to be had without swapping */
    int64_t min_free_bytes;      /* what should stay available */
    int64_t low_watermark_bytes; /* below it, memory is getting short */
};

/* Applies the options to core and installs housekeeping. Once, when `options` is set. */
__attribute__((visibility("hidden"))) void policy_init(void);

/* A sample of the machine. Opens /proc/meminfo; not for hot paths. */
__attribute__((visibility("hidden"))) void policy_sample(struct machine *machine);

#endif
