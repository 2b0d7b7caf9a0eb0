/* Looks at an idle ring by any clock, with any counters, at any level; and the limits of that level for any number of live pages. */
#include "fuzz.h"

#include "../../trim-policy/options.h"
#include "../../trim-policy/profile.h"

enum { SOME_PAGES = 1 << 30 };

static int64_t pages_of(struct share share, int64_t live) { return share.base_pages + live / 256 * share.share256; }

/* Each level allows no more than the one below it, and its soft target is never above what may be retained. */
static void check_limits(int profile, int level, int64_t live) {
    struct profile_limits at = profile_limits(profile, level), below = profile_limits(profile, level > LEVEL_LOW ? level - 1 : level);
    must(pages_of(at.retained, live) <= pages_of(below.retained, live));
    must(pages_of(at.soft, live) <= pages_of(below.soft, live));
    must(pages_of(at.soft, live) <= pages_of(at.retained, live));
    must(below.may_earn || !at.may_earn);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    struct text input = fuzz_text(data, bytes);
    struct idle_state state = {0};
    while (input.bytes) {
        int64_t what = fuzz_number(&input), now_ms = fuzz_number(&input), reused = fuzz_number(&input), retained = what >> 16 & (SOME_PAGES - 1);
        int level = (int)(what & 0xff) % LEVELS, profile = (int)(what >> 8 & 0xff) % 3;
        struct idle_state before = state;
        bool is_hit = !before.is_known || reused != before.reused_pages || !retained || now_ms < before.hit_ms;
        int64_t keep = watermark_idle_keep(&state, reused, retained, level, now_ms);
        must(state.is_known && state.reused_pages == reused && state.began_pages >= retained && state.hit_ms <= now_ms);
        must(keep == INT64_MAX || (keep >= 0 && keep <= state.began_pages / 2));
        must(is_hit ? keep == INT64_MAX && state.hit_ms == now_ms && state.began_pages == retained : state.hit_ms == before.hit_ms);
        check_limits(profile, level, retained);
    }
    return 0;
}
