#include "earn.h"

static int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

static void turn_halves(struct earn_state *s, int64_t now_ms) {
    s->has_turned = false;
    for (int turns = 0; now_ms - s->half_began_ms >= EARN_WINDOW_MS / 2 && turns < 2; turns++) {
        s->credit[1] = s->credit[0];
        s->free_high[1] = s->free_high[0];
        s->credit[0] = s->free_high[0] = 0;
        s->half_began_ms += EARN_WINDOW_MS / 2;
        s->has_turned = true;
    }
    if (now_ms - s->half_began_ms >= EARN_WINDOW_MS / 2) s->half_began_ms = now_ms;
}

static int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }

/* Pages that came back use up credit, the older first; returns how many. */
static int64_t spend_credit(struct earn_state *s, int64_t fresh) {
    int64_t spent = 0;
    for (int half = 1; half >= 0; half--) {
        int64_t back = smaller(fresh, s->credit[half]);
        s->credit[half] -= back;
        spent += back;
        fresh -= back;
    }
    s->used_pages += spent;
    return spent;
}

int64_t earn_update(struct earn_state *s, const struct earn_reading *r) {
    turn_halves(s, r->now_ms);
    int64_t back = spend_credit(s, r->fresh_pages - s->last.fresh_pages);
    int64_t most = larger(s->free_high[0], s->free_high[1]);
    s->earned_pages = larger(s->earned_pages, smaller(s->earned_pages + back, most));
    /* When since the last reading is not known; what may be too old is no credit. */
    int64_t halves = (r->now_ms - s->last.now_ms) / (EARN_WINDOW_MS / 2);
    if (halves >= 0 && halves < 2) s->credit[halves] += r->released_pages - s->last.released_pages;
    s->free_high[0] = larger(s->free_high[0], r->retained_pages + s->credit[0] + s->credit[1]);
    s->used_pages += r->reused_pages - s->last.reused_pages;
    s->last = *r;
    return s->earned_pages;
}

int64_t earn_tick(struct earn_state *s, const struct earn_reading *r) {
    earn_update(s, r);
    int64_t used = s->used_pages;
    s->used_pages = 0;
    /* A loop longer than a tick uses a part in each; an eighth tells it from the odd page. */
    if (used < smaller(r->retained_pages, s->earned_pages) / 8) earn_lose(s);
    return s->earned_pages;
}

void earn_lose(struct earn_state *s) { s->earned_pages = 0; }
