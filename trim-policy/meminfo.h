/* /proc/meminfo: what the machine has, and what of it can be had without swapping. */
#ifndef LOWTIDE_MEMINFO_H
#define LOWTIDE_MEMINFO_H

#include "text.h"

/* In bytes. */
struct meminfo {
    struct reading total, free;
    struct reading available; /* free and what the kernel would drop for it; estimated where the
                                 kernel does not say */
    struct reading active_file, inactive_file, reclaimable;
    struct reading swap_total, swap_free;
};

/* `available` stays unknown where the kernel does not say it (before 3.14). */
HIDDEN void meminfo_parse(struct text text, struct meminfo *meminfo);

/* Where `available` is unknown, estimates it as the kernel has done since 3.14: free memory above
 * the low watermark, and of page cache and reclaimable slabs what exceeds the smaller of their half
 * and that watermark.
 *
 * The kernel adds the zones' low watermarks up. /proc/zoneinfo has them, but is hundreds of KiB
 * long on large machines; by its definition a zone's low mark is 5/4 of its min mark, and
 * vm.min_free_kbytes is the sum of the min marks, so `min_free_kib` x 5/4 is the same number. Not
 * known: half of the caches counts and nothing is taken from the free memory. */
HIDDEN void meminfo_estimate_available(struct meminfo *meminfo, struct reading min_free_kib);

/* Both, from root + /proc. */
HIDDEN void meminfo_read(const char *root, struct meminfo *meminfo);

#endif
