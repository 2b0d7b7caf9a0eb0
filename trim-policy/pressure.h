/* Pressure stall information: how long tasks waited for memory (kernel 4.20, where it is
 * configured). */
#ifndef LOWTIDE_PRESSURE_H
#define LOWTIDE_PRESSURE_H

#include "text.h"

struct stall {
    struct reading avg10, avg60, avg300; /* hundredths of a percent of the last 10, 60, 300 s */
    struct reading
        total_us; /* since boot, or since the group was made; the kernel moves it every 2 s */
};
struct pressure {
    struct stall some; /* at least one task waited */
    struct stall full; /* all did */
};

HIDDEN void pressure_parse(struct text text, struct pressure *pressure);

/* root + /proc/pressure/memory. */
HIDDEN void pressure_read(const char *root, struct pressure *pressure);

/* memory.pressure of a cgroup's directory. */
HIDDEN void pressure_read_group(struct text directory, struct pressure *pressure);

#endif
