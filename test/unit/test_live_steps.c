/* A reader at every few instructions of a snapshot: what it reads under an even number is whole. */
#include "live_test.h"
#include "steps.h"

#include "../../trim-policy/live.h"

#include <unistd.h>

TestSuite(live_steps, .fini = machine_remove);

#ifdef CAN_STEP

enum { STRIDE = 7 };
static struct live_page *page;
static int64_t next_ms;
static uint64_t old_sequence;
static int64_t old_ms;
static unsigned torn;

static void write_next(void) { live_update(next_ms); }
static void read_page(void) { torn += page->sequence == old_sequence && page->written_ms != old_ms; }

Test(live_steps, a_snapshot_is_announced_before_it_is_written) {
    live_begin_holding(NULL);
    housekeep_after(100);
    page = live_map_page(getpid());
    cr_assert(page);
    handle_steps();
    in_handler = read_page;
    next_ms = page->written_ms;
    bool is_inside = true;
    for (unsigned at = 1; is_inside; at += STRIDE) {
        old_sequence = page->sequence;
        old_ms = page->written_ms;
        next_ms++;
        is_inside = interrupt(write_next, at);
        cr_assert_eq(page->sequence, old_sequence + 2);
        cr_assert_eq(page->written_ms, next_ms);
    }
    cr_assert_eq(torn, 0);
}

#endif
