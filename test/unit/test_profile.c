/* How much may be retained, for every profile and level, and that the guarantee is kept with it. */
#include "policy_test.h"

#include "../../trim-policy/options.h"
#include "../../trim-policy/profile.h"
#include "../../trim-policy/watermark.h"

enum { PROFILES = PROFILE_THROUGHPUT + 1, MIB_PAGES = (int)(MIB / PAGE_BYTES) };

static const struct {
    int profile, level;
    struct profile_limits limits;
} table[] = {
    {PROFILE_TIGHT, LEVEL_LOW, {{256, 4}, {128, 4}, {64, 2}, {256, 64}, false, 0}},
    {PROFILE_TIGHT, LEVEL_MODERATE, {{128, 2}, {64, 2}, {64, 2}, {128, 32}, false, 0}},
    {PROFILE_TIGHT, LEVEL_HIGH, {{32, 1}, {32, 1}, {32, 1}, {64, 2}, false, 0}},
    {PROFILE_TIGHT, LEVEL_EXTREME, {{16, 0}, {256, 0}, {0, 0}, {0, 0}, false, 0}},
    {PROFILE_TIGHT, LEVEL_OOM, {{16, 0}, {256, 0}, {0, 0}, {0, 0}, false, 0}},
    {PROFILE_BALANCED, LEVEL_LOW, {{768, 16}, {512, 16}, {256, 15}, {1280, 64}, true, 32}},
    {PROFILE_BALANCED, LEVEL_MODERATE, {{384, 8}, {256, 8}, {256, 8}, {640, 32}, true, 0}},
    {PROFILE_BALANCED, LEVEL_HIGH, {{128, 7}, {128, 7}, {128, 7}, {256, 15}, false, 0}},
    {PROFILE_BALANCED, LEVEL_EXTREME, {{16, 0}, {256, 0}, {0, 0}, {0, 0}, false, 0}},
    {PROFILE_BALANCED, LEVEL_OOM, {{16, 0}, {256, 0}, {0, 0}, {0, 0}, false, 0}},
    {PROFILE_THROUGHPUT, LEVEL_LOW, {{8192, 128}, {4096, 64}, {2048, 32}, {16384, 64}, true, 0}},
    {PROFILE_THROUGHPUT, LEVEL_MODERATE, {{4096, 64}, {2048, 32}, {2048, 32}, {8192, 32}, true, 0}},
    {PROFILE_THROUGHPUT, LEVEL_HIGH, {{1024, 16}, {1024, 16}, {1024, 16}, {2048, 32}, false, 0}},
    {PROFILE_THROUGHPUT, LEVEL_EXTREME, {{16, 0}, {256, 0}, {0, 0}, {0, 0}, false, 0}},
    {PROFILE_THROUGHPUT, LEVEL_OOM, {{16, 0}, {256, 0}, {0, 0}, {0, 0}, false, 0}},
};

static void assert_share(const char *what, struct share found, struct share expected, unsigned row) {
    cr_assert(found.base_pages == expected.base_pages && found.share256 == expected.share256, "row %u: %s is {%u, %u}", row, what,
              found.base_pages, found.share256);
}

Test(profile, limits_of_every_profile_and_level) {
    cr_assert_eq(COUNT(table), PROFILES * LEVELS);
    for (unsigned i = 0; i < COUNT(table); i++) {
        struct profile_limits found = profile_limits(table[i].profile, table[i].level), expected = table[i].limits;
        assert_share("retained", found.retained, expected.retained, i);
        assert_share("magazine", found.magazine, expected.magazine, i);
        assert_share("soft", found.soft, expected.soft, i);
        assert_share("guarantee", found.guarantee, expected.guarantee, i);
        cr_assert_eq(found.may_earn, expected.may_earn, "row %u", i);
        cr_assert_eq(found.spare256, expected.spare256, "row %u", i);
    }
}

/* ---- what must hold of the numbers, whatever they are ---- */

static int64_t pages_of(struct share share, int64_t live) { return share.base_pages + live / 256 * share.share256; }

/* The live pages that each property is tried with: to 64 TiB. */
#define for_live_pages(live) for (int64_t live = 0; live <= (int64_t)1 << 34; live = live * 3 / 2 + 255)
#define for_profiles(profile) for (int profile = 0; profile < PROFILES; profile++)

Test(profile, levels_are_as_the_words_say) {
    for_profiles(profile) {
        struct profile_limits low = profile_limits(profile, LEVEL_LOW), moderate = profile_limits(profile, LEVEL_MODERATE),
                              high = profile_limits(profile, LEVEL_HIGH), extreme = profile_limits(profile, LEVEL_EXTREME);
        for_live_pages(live) {
            int64_t most = pages_of(moderate.retained, live);
            cr_assert_leq(2 * most, pages_of(low.retained, live), "moderate: half is retained");
            cr_assert_leq(2 * pages_of(moderate.magazine, live), pages_of(low.magazine, live));
            cr_assert_leq(pages_of(moderate.soft, live), most, "moderate: the soft target is no more than what may be retained");
            cr_assert_leq(pages_of(moderate.soft, live), pages_of(low.soft, live));
            cr_assert_leq(pages_of(high.retained, live) + pages_of(high.magazine, live), pages_of(low.soft, live), "high: the soft target for all");
            cr_assert_leq(pages_of(high.soft, live), pages_of(high.retained, live));
            cr_assert_eq(pages_of(extreme.soft, live), 0, "extreme: housekeeping leaves nothing");
            cr_assert_leq(pages_of(extreme.retained, live), 64 * KIB / PAGE_BYTES);
            cr_assert_leq(pages_of(extreme.magazine, live), MIB_PAGES);
        }
        cr_assert_gt(extreme.retained.base_pages, 0, "not every page is a system call of its own");
        cr_assert_not(high.may_earn || extreme.may_earn || profile_limits(profile, LEVEL_OOM).may_earn);
        cr_assert_eq(moderate.spare256 + high.spare256 + extreme.spare256, 0, "what may be spared only where memory is not short");
    }
}

Test(profile, more_level_is_never_more_memory) {
    for_profiles(profile) for (int level = LEVEL_MODERATE; level < LEVELS; level++) {
        struct profile_limits less = profile_limits(profile, level), more = profile_limits(profile, level - 1);
        for_live_pages(live) {
            cr_assert_leq(pages_of(less.retained, live), pages_of(more.retained, live), "profile %d, level %d", profile, level);
            cr_assert_leq(pages_of(less.soft, live), pages_of(more.soft, live), "profile %d, level %d", profile, level);
            cr_assert_leq(pages_of(less.guarantee, live), pages_of(more.guarantee, live), "profile %d, level %d", profile, level);
        }
        cr_assert(more.may_earn || !less.may_earn);
    }
}

Test(profile, profiles_are_in_order) {
    for (int level = 0; level < LEVEL_EXTREME; level++)
        for_live_pages(live) for (int profile = PROFILE_BALANCED; profile < PROFILES; profile++) {
            struct profile_limits less = profile_limits(profile - 1, level), more = profile_limits(profile, level);
            cr_assert_lt(pages_of(less.retained, live), pages_of(more.retained, live));
            cr_assert_lt(pages_of(less.magazine, live), pages_of(more.magazine, live));
            cr_assert_lt(pages_of(less.soft, live), pages_of(more.soft, live));
        }
}

/* Of `live` pages that hold a block taken, M are held by magazines alone; L = live - M are the program's. The resident pages are
 * live + R with both allowances used up, and the promise is H <= a quarter more than L + 8 MiB, or 2 L + 64 MiB for throughput. */
static void check_guarantee(int profile, int level, int64_t live) {
    struct profile_limits p = profile_limits(profile, level);
    int64_t resident = live + pages_of(p.retained, live), program = live - pages_of(p.magazine, live);
    if (program < 0) program = 0;
    int64_t promised = profile == PROFILE_THROUGHPUT ? 2 * program + 64 * MIB_PAGES : program + program / 4 + 8 * MIB_PAGES;
    cr_assert_leq(resident, promised, "profile %d, level %d: %lld live pages", profile, level, (long long)live);
}

/* Where magazines are left alone because the pages are dense, the bound is that of `guarantee` itself. */
static void check_waiver(int profile, int level, int64_t program) {
    struct share guarantee = profile_limits(profile, level).guarantee;
    int64_t promised = profile == PROFILE_THROUGHPUT ? 2 * program + 64 * MIB_PAGES : program + program / 4 + 8 * MIB_PAGES;
    cr_assert_leq(program + pages_of(guarantee, program), promised, "profile %d, level %d: %lld pages", profile, level, (long long)program);
}

Test(profile, the_guarantee_holds_with_all_allowances_used_up) {
    for_profiles(profile) for (int level = 0; level < LEVELS; level++) for_live_pages(live) {
        check_guarantee(profile, level, live);
        check_waiver(profile, level, live);
    }
}

Test(profile, the_soft_target_is_as_promised) {
    for (int profile = PROFILE_TIGHT; profile <= PROFILE_BALANCED; profile++)
        for (int level = 0; level < LEVELS; level++)
            for_live_pages(live) cr_assert_leq(pages_of(profile_limits(profile, level).soft, live), live * 6 / 100 + MIB_PAGES);
}
