/* Earned retention: memory that was released and came right back may be kept, for as long as it
 * keeps coming.
 *
 * Pure: readings and time come in as arguments. What was released within the last second is a
 * credit; pages that become live without being resident while there is credit have bounced, and are
 * earned, up to what was free at one time within that second, retained or released: a job that
 * builds and drops its buffers in a loop pays for one round and keeps them from the second on, and
 * one whose memory does not come back earns nothing. Core keeps what is earned below the high water
 * of live pages of the last second. Earned retention is lost when nothing of it was used for a
 * tick.
 */
#ifndef LOWTIDE_EARN_H
#define LOWTIDE_EARN_H

#include <stdbool.h>
#include <stdint.h>

struct earn_reading {
    int64_t now_ms;
    int64_t released_pages; /* ever */
    int64_t fresh_pages;    /* ever */
    int64_t reused_pages;   /* ever */
    int64_t retained_pages; /* now */
};

enum { EARN_WINDOW_MS = 1000, EARN_TICK_MS = 100 };

struct earn_state {
    struct earn_reading last;
    int64_t half_began_ms;
    int64_t
        credit[2]; /* released and not yet back: in this half of the window, in the one before */
    int64_t free_high[2]; /* the most retained and not yet back, likewise */
    int64_t earned_pages;
    int64_t used_pages; /* reused or bounced since the last tick */
    bool has_turned;    /* a half began: the high water of live pages is to be taken anew */
};

/* Takes a reading into the state; returns the pages earned. Call before every release and at ticks.
 */
__attribute__((visibility("hidden"))) int64_t earn_update(struct earn_state *state,
                                                          const struct earn_reading *reading);

/* At a tick: what was not used since the last one is lost. Returns the pages that may stay
 * retained. */
__attribute__((visibility("hidden"))) int64_t earn_tick(struct earn_state *state,
                                                        const struct earn_reading *reading);

/* The process blocks, or memory is short: all is lost. */
__attribute__((visibility("hidden"))) void earn_lose(struct earn_state *state);

#endif
