/* Live statistics: what is published, when, and the answer to a trim. For what: live.h; the file is
 * live_file.c. */
#include "live.h"

#include "../core/gate.h"
#include "../core/lend.h"
#include "live_file.h"
#include "policy_state.h"

#include <string.h>
#include <sys/auxv.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { LEAST_AGE_MS = 100, LEAST_PAGES = 256 };

/* Guarded by policy's state but for what is atomic. */
static struct {
    _Atomic(bool) is_wanted; /* a page may be made or was; false for good once the process exits */
    bool is_tried;
    _Atomic(struct live_page *) page;
    int pid;          /* whose page that is; a child without fork handlers has another */
    int64_t begun_ms; /* the process, about */
    _Atomic(uint32_t) trim_begun; /* the last trim that somebody serves or served */
} live;

/* ---- a snapshot ---- */

static int64_t known_or_zero(struct reading reading) {
    return reading.is_known ? reading.value : 0;
}

/* All from counters, in constant time. Blocks in magazines of normal size count as live, as do the
 * pages of large buffers that were never touched; of what enlarged magazines hold, as much as they
 * had when last seen is not. */
static void read_counters(struct live_values *v) {
    struct stats *s = &v->heap;
    int64_t large = relaxed_load(&counters.large_pages) * PAGE_BYTES;
    int64_t small = relaxed_load(&counters.taken_bytes) - relaxed_load(&counters.held_bytes);
    s->live_bytes = large + (small > 0 ? small : 0); /* what was held may have gone back since */
    s->live_pages_bytes = relaxed_load(&counters.live_pages) * PAGE_BYTES;
    s->free_in_live_bytes = s->live_pages_bytes - s->live_bytes;
    s->retained_bytes = budget_retained_pages() * PAGE_BYTES;
    s->arenas_current = relaxed_load(&counters.arenas);
    s->mapped_bytes = s->arenas_current * ARENA_BYTES + relaxed_load(&counters.large_mapped_bytes) +
                      relaxed_load(&counters.metadata_bytes) + (int64_t)pagemap_leaf_bytes();
    s->released_bytes_total = rings_sum(counters.released_pages) * PAGE_BYTES;
    s->arenas_peak = relaxed_load(&counters.arenas_peak);
    s->arenas_mapped_total = relaxed_load(&counters.arenas_mapped);
    s->arenas_unmapped_total = relaxed_load(&counters.arenas_unmapped);
    s->large_current = relaxed_load(&counters.large_count);
    s->program_mmap_bytes = relaxed_load(&counters.program_bytes);
    s->heaps_current = relaxed_load(&counters.heaps_open);
    s->trims_total = relaxed_load(&counters.trims);
    s->vmas_holes = relaxed_load(&counters.address_runs);
    v->large_asked_bytes = large;
    v->magazine_room_bytes = relaxed_load(&counters.capacity_bytes);
}

static void read_machine(struct live_values *v) {
    const struct machine *machine = &policy_state.machine;
    v->level = relaxed_load(&policy_state.level);
    if (!machine->has_looked) return;
    v->min_free_bytes = machine->marks.min_free_bytes;
    v->low_watermark_bytes = machine->marks.low_bytes;
    v->available_bytes = known_or_zero(machine->sample.available_bytes);
    v->limit_bytes = known_or_zero(machine->sample.limit_bytes);
}

/* Stores with release order keep each value behind the odd number that announces it. */
static void write_snapshot(struct live_page *page, int64_t now_ms) {
    union {
        struct live_values values;
        int64_t number[LIVE_VALUES];
    } now;
    for (unsigned i = 0; i < LIVE_VALUES; i++) now.number[i] = LIVE_UNKNOWN;
    read_counters(&now.values);
    read_machine(&now.values);
    uint64_t sequence = relaxed_load(&page->sequence);
    relaxed_store(&page->sequence, sequence + 1);
    atomic_store_explicit(&page->written_ms, now_ms, memory_order_release);
    for (unsigned i = 0; i < LIVE_VALUES; i++)
        atomic_store_explicit(&page->value[i], now.number[i], memory_order_release);
    atomic_store_explicit(&page->sequence, sequence + 2, memory_order_release);
}

/* ---- when ---- */

static int own_pid(void) { return (int)syscall(SYS_getpid); }

/* The page is this process's: not so in a child made without libc's fork, or between vfork and
 * exec, which shares its parent's memory. Behind a seccomp filter nobody is asked. */
static bool is_own_page(void) { return relaxed_load(&os_is_filtered) || own_pid() == live.pid; }

static bool is_time_for_a_page(int64_t now_ms) {
    return !live.is_tried && !relaxed_load(&os_is_filtered) &&
           now_ms - live.begun_ms >= LEAST_AGE_MS &&
           relaxed_load(&counters.live_pages) + budget_retained_pages() >= LEAST_PAGES;
}

/* With the state held. */
static struct live_page *page_if_any(int64_t now_ms) {
    struct live_page *page = relaxed_load(&live.page);
    if (page) return is_own_page() ? page : NULL;
    if (!is_time_for_a_page(now_ms) || own_pid() != live.pid) return NULL;
    live.is_tried = true;
    struct heap *gate = gate_enter(); /* no child is to inherit the descriptors */
    page = live_file_make(live.pid);
    gate_leave(gate);
    if (!page) return NULL;
    write_snapshot(page, now_ms);
    atomic_store_explicit(&page->magic, LIVE_MAGIC, memory_order_release);
    atomic_store_explicit(&live.page, page, memory_order_release);
    return page;
}

static void publish(int64_t now_ms) {
    if (!state_take()) return;
    struct live_page *page = page_if_any(now_ms);
    if (page) write_snapshot(page, now_ms);
    state_leave();
}

/* ---- a trim that was asked for ---- */

bool live_is_trim_asked(void) {
    struct live_page *page = acquire_load(&live.page);
    return page && relaxed_load(&page->trim_asked) != relaxed_load(&live.trim_begun);
}

/* Threads at work empty their magazines at their next slow path. */
static void serve_trim(int64_t now_ms) {
    struct live_page *page = acquire_load(&live.page);
    uint32_t asked = relaxed_load(&page->trim_asked);
    if (!is_own_page() || atomic_exchange(&live.trim_begun, asked) == asked) return;
    int64_t before = rings_sum(counters.released_pages);
    atomic_fetch_add(&limits.flush_round, 1);
    struct heap *gate = gate_enter();
    heap_flush_lent();
    gate_leave(gate);
    core_trim(0);
    int64_t released = rings_sum(counters.released_pages) - before;
    publish(now_ms);
    relaxed_store(&page->trim_bytes, released * PAGE_BYTES);
    atomic_store_explicit(&page->trim_served, asked, memory_order_release);
}

void live_update(int64_t now_ms) {
    if (!relaxed_load(&live.is_wanted)) return;
    if (UNLIKELY(live_is_trim_asked())) serve_trim(now_ms);
    publish(now_ms);
}

_Atomic(uint32_t) *live_bell(void) {
    struct live_page *page = acquire_load(&live.page);
    if (!page) return NULL;
    relaxed_store(&page->has_keeper, 1);
    return &page->bell;
}

/* ---- moments of life ---- */

static void begin(void) {
    live.pid = relaxed_load(&os_is_filtered) ? 0 : own_pid();
    live.begun_ms = policy_clock_ms();
    live.is_tried = false;
    relaxed_store(&live.trim_begun, 0);
}

void live_init(const char *root, bool is_wanted) {
    relaxed_store(&live.is_wanted, is_wanted && !getauxval(AT_SECURE));
    if (!relaxed_load(&live.is_wanted)) return;
    live_file_init(root);
    begin();
}

void live_after_fork(void) {
    struct live_page *page = relaxed_load(&live.page);
    if (!relaxed_load(&live.is_wanted)) return;
    if (page) os_unmap_file(page, PAGE_BYTES);
    relaxed_store(&live.page, NULL);
    begin();
}

/* The page stays mapped: other threads may be at it. */
void live_close(void) {
    if (!relaxed_load(&live.is_wanted) || !is_own_page()) return;
    relaxed_store(&live.is_wanted, false);
    if (relaxed_load(&live.page) && !relaxed_load(&os_is_filtered)) live_file_remove();
}
