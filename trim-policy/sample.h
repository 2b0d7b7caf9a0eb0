/* What the machine, the container and the process have, read at one moment.
 *
 * `sample_read` composes the readers; each number has its `is_known`, and a source that cannot be
 * read (no /proc, chroot, seccomp that refuses, no cgroup) leaves its numbers unknown and the rest
 * as it is. The roots of /proc and /sys can be pointed elsewhere: `root` goes in front of every
 * path, "" for the real ones.
 *
 * Data: the caller owns the sample, zeroed before the first call, and passes the same one each
 * time: it keeps where the process's groups are, which is found again only when /proc/self/cgroup
 * changes. One thread at a time.
 */
#ifndef LOWTIDE_SAMPLE_H
#define LOWTIDE_SAMPLE_H

#include "cgroup.h"
#include "meminfo.h"
#include "pressure.h"

#include <sys/resource.h>

/* Address space the process may still map, of a limit that is set. */
struct process_limits {
    struct reading address_limit_bytes, address_bytes; /* RLIMIT_AS, and what is mapped */
    struct reading data_limit_bytes, data_bytes;       /* RLIMIT_DATA, and what counts against it */
};

struct sample {
    /* The sources. */
    struct meminfo machine;
    struct cgroup cgroup;
    struct pressure pressure;       /* of the machine */
    struct pressure group_pressure; /* of the own group */
    struct process_limits process;

    /* What decisions are made from. */
    struct reading limit_bytes; /* the least of the machine's total, the tightest group's limit and
                                   the process's limits */
    struct reading available_bytes;  /* the least of the machine's, the tightest group's and the
                                        process's headroom */
    struct reading swap_used_bytes;  /* the own group's, or the machine's */
    struct reading some_us, full_us; /* stall totals: the own group's, or the machine's */

    /* Kept between calls. */
    struct cgroup_place place;
    uint64_t place_fingerprint;
    bool has_place;
    unsigned looks; /* in vain */
};

/* Never fails; keeps errno; less than 4 KiB of stack, one descriptor at a time. Measured on a
 * hybrid host with three levels of v1 and no limit: 34 system calls, 110 to 130 us; so at one
 * reading in 100 ms, a thousandth of the time. */
HIDDEN void sample_read(const char *root, struct sample *sample);

/* ---- pure ---- */

/* VmSize of /proc/self/statm, in bytes. */
HIDDEN struct reading sample_parse_statm(struct text text, int64_t page_bytes);

/* What is left below a limit, at least 0; unknown without a limit. */
HIDDEN struct reading sample_headroom(struct reading limit_bytes, struct reading used_bytes);

/* Fills the second part of the sample from the first. */
HIDDEN void sample_combine(struct sample *sample);

#endif
