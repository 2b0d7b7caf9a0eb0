/* For what: profile.h. */
#include "profile.h"

#include "options.h"
#include "watermark.h"

enum { MIB = 256 }; /* pages */

/* Each keeps the guarantee of docs/DESIGN.md but throughput, whose own is 2 L + 64 MiB. That of
 * balanced is 5 MiB and not 8: a page pinned in an arena of its own holds a page of metadata too.
 */
static const struct profile_limits profiles[] = {
    [PROFILE_TIGHT] = {{MIB, 4}, {MIB / 2, 4}, {MIB / 4, 2}, {MIB, 64}, false, 0},
    [PROFILE_BALANCED] = {{3 * MIB, 16}, {2 * MIB, 16}, {MIB, 15}, {5 * MIB, 64}, true, 32},
    [PROFILE_THROUGHPUT] =
        {{32 * MIB, 128}, {16 * MIB, 64}, {8 * MIB, 32}, {64 * MIB, 64}, true, 0},
};

static struct share half(struct share s) {
    return (struct share){s.base_pages / 2, s.share256 / 2};
}

static uint32_t smaller(uint32_t a, uint32_t b) { return a < b ? a : b; }

static struct share at_most(struct share s, struct share most) {
    return (struct share){smaller(s.base_pages, most.base_pages),
                          smaller(s.share256, most.share256)};
}

struct profile_limits profile_limits(int profile, int level) {
    struct profile_limits p = profiles[profile];
    if (level == LEVEL_LOW) return p;
    if (level >= LEVEL_EXTREME)
        return (struct profile_limits){.retained = {MIB / 16, 0}, .magazine = {MIB, 0}};
    if (level == LEVEL_HIGH)
        return (struct profile_limits){half(p.soft), half(p.soft), half(p.soft), p.soft, false, 0};
    return (struct profile_limits){
        half(p.retained),  half(p.magazine), at_most(p.soft, half(p.retained)),
        half(p.guarantee), p.may_earn,       0};
}
