/* How much may be retained: what the user's profile says, less where memory is short.
 *
 * Pure. Numbers are allowances of core/budget.h: pages, and 256ths of the live pages.
 */
#ifndef LOWTIDE_PROFILE_H
#define LOWTIDE_PROFILE_H

#include "text.h"

#include <stdint.h>

struct share {
    uint32_t base_pages;
    uint32_t share256;
};

/* As in core's `struct limits`. */
struct profile_limits {
    struct share retained, magazine, soft, guarantee;
    bool may_earn;
    uint32_t spare256;
};

/* `profile` is enum PROFILE_*, `level` enum level. Low: the profile's numbers. Moderate: half of
 * them, nothing spared, and the soft target at most that. High: retained pages and magazines
 * together keep to the soft target all the time, and nothing is earned. Extreme and oom: the soft
 * target is nothing, and between two ticks there are no more than 64 KiB of free pages, so that not
 * every page is a system call of its own, and what magazines could pin in a MiB. */
HIDDEN struct profile_limits profile_limits(int profile, int level);

#endif
