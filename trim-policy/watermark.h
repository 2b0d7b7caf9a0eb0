/* The arithmetic of the policy: how much memory is to stay free, how short memory is, and what to
 * do about what lies idle.
 *
 * Pure: readings and time come in as arguments; what lasts between calls is the caller's `struct
 * watermark_state`, one a process, zeroed at first and used by one thread at a time.
 *
 *             0       minimum          minimum + 1/4       low watermark
 *   available |--------|---------------------|------------------|-------------->
 *   level       extreme         high               moderate            low
 *
 * Below a quarter of the minimum it is oom. Stalls and growing swap raise the level by up to two:
 * what available memory says comes late, and a machine that swaps frees memory by the very thing
 * that is to be avoided. From low and moderate they raise it to high at most, so that a machine
 * with memory to spare is never treated as one without.
 */
#ifndef LOWTIDE_WATERMARK_H
#define LOWTIDE_WATERMARK_H

#include "sample.h"

/* ---- how much is to stay free ---- */

/* The user's settings; 0 = not given. */
struct minimum_settings {
    int64_t free_bytes; /* beats the other two */
    int64_t pct_total;  /* of the total; the larger result counts where both are given */
    int64_t pct_free;   /* of what is available at start */
};

struct watermarks {
    int64_t min_free_bytes; /* what should stay available; at most the total */
    int64_t low_bytes; /* below it memory is getting short; between the minimum and the middle from
                          there to the total */
};

/* `total_bytes` is the tightest limit. Unknown readings count as 0; without a total there are no
 * watermarks (both 0). */
HIDDEN struct watermarks watermark_compute(const struct minimum_settings *settings,
                                           struct reading total_bytes,
                                           struct reading available_at_start_bytes);

/* ---- how short it is ---- */

enum level { LEVEL_LOW, LEVEL_MODERATE, LEVEL_HIGH, LEVEL_EXTREME, LEVEL_OOM, LEVELS };
HIDDEN const char *watermark_level_name(int level);

enum {
    WATERMARK_HOLD_MS = 1000,         /* a level falls one step after it was too high for as long */
    WATERMARK_STALL_WINDOW_MS = 2000, /* the kernel moves the totals as often */
    WATERMARK_SOME_PERMILLE = 100,    /* of the time, at least one task stalled: raises by one */
    WATERMARK_FULL_PERMILLE = 50,     /* all of them: raises by one more */
    WATERMARK_SWAP_BYTES =
        1 << 20, /* more swap in use than when it last grew or fell: raises by one */
};

/* A total that grows, and how fast it grew when it last did. */
struct stall_rate {
    struct reading total_us;
    int64_t moved_ms; /* when total_us was last seen to change */
    int64_t permille;
};

struct watermark_state {
    int level;
    bool is_calm; /* the level has been too high since calm_ms */
    int64_t calm_ms;
    struct stall_rate some, full;
    struct reading swap_bytes;
    bool has_swapped; /* and when */
    int64_t swapped_ms;
};

/* From the distance alone; LEVEL_LOW where `available` is unknown. */
HIDDEN int watermark_base_level(struct reading available_bytes, const struct watermarks *marks);

/* Raised by `raise` steps, 0 to 2. */
HIDDEN int watermark_raise_level(int base, int raise);

/* The level now, kept in state->level. It rises at once; it falls by one step when, for
 * WATERMARK_HOLD_MS, it would have been lower even with less available, by an eighth of the
 * distance between the watermarks. A clock that stands still or goes back delays a fall, nothing
 * else. */
HIDDEN int watermark_level(const struct sample *sample, const struct watermarks *marks,
                           struct watermark_state *state, int64_t now_ms);

/* ---- what to do ---- */

enum idle_action { IDLE_KEEP, IDLE_REDUCE, IDLE_REDUCE_MORE, IDLE_CLEAN_UP };
enum { IDLE_REDUCE_MS = 45000, IDLE_REDUCE_MORE_MS = 90000, IDLE_CLEAN_UP_MS = 180000 };

/* For a ring that had no hit for `idle_ms`. At high and above whatever is idle is cleaned up. */
HIDDEN enum idle_action watermark_idle_action(int64_t idle_ms, int level);

/* What lasts between looks at one ring; zeroed at first. */
struct idle_state {
    bool is_known;
    int64_t reused_pages; /* ever, at the last look */
    int64_t hit_ms;       /* when a page of it was last reused, or it had none */
    int64_t began_pages;  /* the most it retained since then */
};

/* How many pages the ring may keep: INT64_MAX while it is in use; half, a quarter and nothing of
 * what it had as it is idle for longer. A reused page is a hit. */
HIDDEN int64_t watermark_idle_keep(struct idle_state *state, int64_t reused_pages,
                                   int64_t retained_pages, int level, int64_t now_ms);

/* Until the next rung of that ladder; INT64_MAX past the last. */
HIDDEN int64_t watermark_idle_wait_ms(int64_t idle_ms, int level);

/* Between two rounds of housekeeping. */
HIDDEN int64_t watermark_housekeeping_ms(int level);

#endif
