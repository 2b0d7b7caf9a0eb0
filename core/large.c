/* For what: large.h. No locks.
 *
 * An owner word is size in bytes (a multiple of 64 KiB) | pages at the end that the program did not
 * ask for. Those are not counted as live: nobody touches them. Mappings that could not be unmapped
 * (too many holes in the address space, or the kernel refused) are parked: released, and kept for
 * reuse in stacks by size, as many as there are.
 */
#include "large.h"

#include "arena.h"
#include "budget.h"
#include "cache.h"
#include "heap.h"
#include "os.h"
#include "pagemap.h"
#include "parked.h"
#include "report.h"

enum {
    LEAST_KEPT_BYTES = 1 << 20,
    MOST_PIECES = 16,
};

static _Atomic(uintptr_t) map_hint;

/* ---- mapping ---- */

static size_t round_up(size_t bytes, size_t unit) { return (bytes + unit - 1) & ~(unit - 1); }

static uintptr_t map_buffer(size_t bytes, size_t alignment) {
    uintptr_t hint = relaxed_load(&map_hint);
    uintptr_t base = os_map(bytes, alignment, hint > bytes ? hint - bytes : 0);
    if (!base) return 0;
    if (!pagemap_reserve(base, bytes)) {
        os_discard(base, bytes);
        return 0;
    }
    address_range_added(base, bytes);
    pagemap_fill(base, bytes, CLASS_LARGE_BODY);
    count_add(&counters.large_mapped_bytes, (int64_t)bytes);
    relaxed_store(&map_hint, base);
    return base;
}

static bool is_seam(uintptr_t at) { return pagemap_class(at + PAGE_BYTES) == CLASS_LARGE_SEAM; }
static void set_seam(uintptr_t at) {
    if (is_seam(at)) return;
    pagemap_fill(at + PAGE_BYTES, PAGE_BYTES, CLASS_LARGE_SEAM);
    count_add(&counters.address_runs, 1);
}

/* The page map and the counters forget a range, before the kernel takes it: its addresses may be
 * another mapping's at once. Called back when it did not. Returns the seams (see "assembling"),
 * whose places the owner words say meanwhile. */
static int64_t forget_range(uintptr_t base, size_t bytes) {
    int64_t seams = 0;
    for (uintptr_t at = base; at < base + bytes; at += OWNER_BYTES) seams += is_seam(at);
    for (uintptr_t at = base; seams && at < base + bytes; at += OWNER_BYTES)
        atomic_store(pagemap_owner(at), is_seam(at));
    if (seams) count_add(&counters.address_runs, -seams);
    pagemap_fill(base, bytes, CLASS_NONE);
    address_range_removed(base, bytes);
    count_add(&counters.large_mapped_bytes, -(int64_t)bytes);
    return seams;
}
static void recall_range(uintptr_t base, size_t bytes, int64_t seams, unsigned first_page) {
    address_range_added(base, bytes);
    pagemap_fill(base, bytes, CLASS_LARGE_BODY);
    for (uintptr_t at = base; seams && at < base + bytes; at += OWNER_BYTES)
        if (atomic_load(pagemap_owner(at))) set_seam(at);
    pagemap_fill(base, PAGE_BYTES, first_page);
    count_add(&counters.large_mapped_bytes, (int64_t)bytes);
}

/* False: it is parked. */
static bool unmap_buffer(uintptr_t base, size_t bytes) {
    if (address_range_removable(base, bytes)) {
        int64_t seams = forget_range(base, bytes);
        if (os_unmap(base, bytes)) {
            relaxed_store(&map_hint, base + bytes);
            return true;
        }
        recall_range(base, bytes, seams, CLASS_FREE);
    }
    os_release(base, bytes);
    pagemap_fill(base, PAGE_BYTES, CLASS_FREE);
    parked_put(base, bytes);
    return false;
}

/* A range in which the kernel has left a hole. Never kept for reuse: should it be refused once
 * more, its addresses are lost. */
static void unmap_torn(uintptr_t base, size_t bytes) {
    forget_range(base, bytes);
    if (!os_unmap(base, bytes)) os_release(base, bytes);
}

bool large_unmap_parked(void) {
    bool any = false;
    size_t bytes;
    for (uintptr_t base; (base = parked_take_any(&bytes)) && unmap_buffer(base, bytes);) any = true;
    return any;
}

static size_t owner_bytes(uintptr_t owner) { return owner & ~(uintptr_t)(OWNER_BYTES - 1); }
static int64_t owner_spare_pages(uintptr_t owner) { return (int64_t)(owner & (OWNER_BYTES - 1)); }
static int64_t owner_live_pages(uintptr_t owner) {
    return (int64_t)(owner_bytes(owner) >> PAGE_SHIFT) - owner_spare_pages(owner);
}

/* Pages that became live, of which so many bytes are reused. */
static void count_live(int64_t pages, size_t reused_bytes) {
    int64_t reused = (int64_t)(reused_bytes >> PAGE_SHIFT);
    if (reused > pages) reused = pages;
    budget_count_live(RING_LARGE, pages - reused, reused);
}

static void count_open(int64_t pages, size_t reused_bytes) {
    count_add(&counters.large_count, 1);
    count_add(&counters.large_pages, pages);
    count_live(pages, reused_bytes);
}

static void count_closed(uintptr_t owner) {
    int64_t pages = owner_live_pages(owner);
    count_add(&counters.large_count, -1);
    count_add(&counters.large_spare_pages, -owner_spare_pages(owner));
    count_add(&counters.large_pages, -pages);
    count_add(&counters.live_pages, -pages);
}

static int64_t set_owner(uintptr_t base, size_t bytes, size_t asked) {
    size_t spare = (bytes - round_up(asked, PAGE_BYTES)) >> PAGE_SHIFT;
    uintptr_t owner = bytes | (spare < OWNER_BYTES ? spare : OWNER_BYTES - 1);
    atomic_store(pagemap_owner(base), owner);
    count_add(&counters.large_spare_pages, owner_spare_pages(owner));
    return owner_live_pages(owner);
}

/* Marks a range of ours, of which the program asked for `asked`, as a buffer; returns its live
 * pages. */
static int64_t open_buffer(uintptr_t base, size_t bytes, size_t asked) {
    pagemap_fill(base, PAGE_BYTES, CLASS_LARGE);
    return set_owner(base, bytes, asked);
}

static void unmap_counted(uintptr_t base, size_t bytes) {
    count_add(&counters.released_pages[RING_LARGE], (int64_t)(bytes >> PAGE_SHIFT));
    unmap_buffer(base, bytes);
}

static void count_cached(int64_t bytes) {
    count_add(&counters.retained_pages[RING_LARGE], bytes >> PAGE_SHIFT);
}

/* A range that is counted as cached goes into the cache, or back to the kernel where that is full.
 */
static void cache_keep(uintptr_t base, size_t bytes) {
    pagemap_fill(base, PAGE_BYTES, CLASS_FREE);
    if (cache_store((struct range){base, bytes}, cache_now())) return;
    count_cached(-(int64_t)bytes);
    unmap_counted(base, bytes);
}

/* The first `bytes` of a range out of the cache are wanted, the rest is not. */
static void cache_cut(struct range r, size_t bytes) {
    count_cached(-(int64_t)bytes);
    if (r.bytes > bytes) cache_keep(r.base + bytes, r.bytes - bytes);
}

/* Joins cached ranges that lie side by side; true if there were any. */
static bool cache_join(void) {
    bool has_joined = false;
    for (uint32_t i = 0; i < CACHE_ENTRIES; i++) {
        struct range r = cache_take_nth(i), n;
        if (!r.bytes) continue;
        for (; (n = cache_take_neighbour(r)).bytes; r.bytes += n.bytes) {
            pagemap_fill(n.base < r.base ? r.base : n.base, PAGE_BYTES, CLASS_LARGE_BODY);
            if (n.base < r.base) r.base = n.base;
            has_joined = true;
        }
        cache_keep(r.base, r.bytes);
    }
    return has_joined;
}

/* A range of `bytes` out of the cache, the rest of its entry put back; 0 = none fits. Ranges stay
 * as they were freed as long as that serves, so that a loop that frees and takes the same sizes
 * finds them; they are joined when nothing fits. */
static uintptr_t cache_take(size_t bytes, size_t alignment) {
    if (relaxed_load(&counters.retained_pages[RING_LARGE]) < (int64_t)(bytes >> PAGE_SHIFT))
        return 0;
    struct range r = cache_take_fitting(bytes, alignment);
    if (!r.bytes && cache_join()) r = cache_take_fitting(bytes, alignment);
    if (r.bytes) cache_cut(r, bytes);
    return r.base;
}

/* ---- assembling: what nothing cached is large enough for is put together from its pieces ----
 *
 * To move a page costs a hundredth of a fault. Each piece stays a mapping of its own; a *seam* is
 * where another begins, said by the page map in the second page of its 64 KiB (in the first it says
 * what begins there for us). They count as runs of addresses. */

/* How much of the range is one mapping, as far as we made it. */
static size_t first_mapping_bytes(uintptr_t base, size_t bytes) {
    for (size_t n = OWNER_BYTES; n < bytes; n += OWNER_BYTES)
        if (pagemap_class(base + n + PAGE_BYTES) == CLASS_LARGE_SEAM) return n;
    return bytes;
}

/* Moves a cached piece over a part of a buffer; false: it stays where it was. */
static bool move_piece(uintptr_t from, size_t bytes, uintptr_t to) {
    bool is_room = relaxed_load(&counters.address_runs) < relaxed_load(&limits.max_holes);
    if (!is_room || !address_range_removable(from, bytes)) return false;
    int64_t seams = forget_range(from, bytes);
    if (os_move(from, bytes, to, bytes)) {
        set_seam(to);
        return true;
    }
    recall_range(from, bytes, seams, CLASS_FREE);
    return false;
}

/* Fills the beginning of a fresh range from the cache: with the smallest piece that is large enough
 * for the rest, else with the largest. Returns the bytes filled. *is_whole: false when the kernel
 * has left a hole. */
static size_t assemble(uintptr_t base, size_t bytes, bool *is_whole) {
    size_t filled = 0;
    bool is_moved = true;
    for (unsigned n = 0; n < MOST_PIECES && filled < bytes && is_moved; n++) {
        struct range r = cache_take_fitting(bytes - filled, OWNER_BYTES);
        if (!r.bytes) r = cache_take_largest(OWNER_BYTES);
        if (!r.bytes) break;
        size_t part = first_mapping_bytes(r.base, r.bytes);
        if (part > bytes - filled) part = bytes - filled;
        is_moved = move_piece(r.base, part, base + filled);
        cache_cut(r, is_moved ? part : 0);
        if (is_moved) filled += part;
    }
    if (filled && filled < bytes) set_seam(base + filled);
    *is_whole = is_moved || os_is_mapped(base + filled);
    return filled;
}

static bool has_pieces(void) { return relaxed_load(&counters.retained_pages[RING_LARGE]) > 0; }

/* A buffer on its way to another size. */
struct growth {
    uintptr_t base;
    size_t data_bytes; /* that are to be kept */
    size_t bytes;      /* it has by now */
    size_t asked;      /* it is to have at least */
    size_t roomy;      /* it may have, untouched: a buffer that grows once grows again */
    size_t filled;     /* of what it grew by, out of the cache */
};

/* What lies cached right behind it becomes a part of it. */
static void grow_into_cache(struct growth *g) {
    struct range r;
    while (g->bytes < g->asked && (r = cache_take_at(g->base + g->bytes)).bytes) {
        size_t wanted = g->asked - g->bytes < r.bytes ? g->asked - g->bytes : r.bytes;
        pagemap_fill(r.base, PAGE_BYTES, CLASS_LARGE_BODY);
        cache_cut(r, wanted);
        g->bytes += wanted;
        g->filled += wanted;
    }
}
static void leave_to_cache(struct growth *g) {
    size_t more = g->bytes - g->data_bytes;
    if (!more) return;
    count_cached((int64_t)more);
    cache_keep(g->base + g->data_bytes, more);
}

/* Fills what lies behind g->bytes at a place that is long enough. False: there is a hole now. */
static bool fill_end(uintptr_t base, struct growth *g) {
    bool is_whole = true;
    if (has_pieces()) g->filled += assemble(base + g->bytes, g->asked - g->bytes, &is_whole);
    return is_whole;
}

/* The kernel lengthens its last mapping. It is asked before there are leaves for what may be
 * terabytes, since those stay. */
static bool lengthen_to(struct growth *g, size_t bytes) {
    uintptr_t end = g->base + g->bytes, last = g->base;
    if (pagemap_class(end) != CLASS_NONE) return false;
    for (size_t n; (n = first_mapping_bytes(last, end - last)) < end - last;) last += n;
    if (!os_resize_in_place(last, end - last, g->base + bytes - last)) return false;
    if (!pagemap_reserve(end, bytes - g->bytes)) {
        os_discard(end, bytes - g->bytes);
        return false;
    }
    address_range_added(end, bytes - g->bytes);
    pagemap_fill(end, bytes - g->bytes, CLASS_LARGE_BODY);
    count_add(&counters.large_mapped_bytes, (int64_t)(bytes - g->bytes));
    bool is_whole = fill_end(g->base, g);
    if (is_whole)
        g->bytes = bytes;
    else
        unmap_torn(end, bytes - g->bytes);
    return is_whole;
}

/* The largest cached range, where it can be lengthened in its place; 0 = it cannot. */
static uintptr_t lengthen_cached(size_t bytes, size_t *filled) {
    struct range r = cache_take_largest(OWNER_BYTES);
    if (!r.bytes) return 0;
    size_t wanted = r.bytes < bytes ? r.bytes : bytes; /* a larger one may have come meanwhile */
    cache_cut(r, wanted);
    pagemap_fill(r.base, PAGE_BYTES, CLASS_LARGE_BODY);
    struct growth g = {r.base, wanted, wanted, bytes, bytes, wanted};
    grow_into_cache(&g);
    bool is_long = g.bytes >= bytes || lengthen_to(&g, bytes);
    *filled = is_long ? g.filled : 0;
    if (is_long) return g.base;
    count_cached((int64_t)g.bytes);
    cache_keep(g.base, g.bytes);
    return 0;
}

/* A range of `bytes` with what the cache has for it: *filled at the beginning, the rest is fresh. 0
 * when the kernel refuses. */
static uintptr_t map_assembled(size_t bytes, size_t alignment, size_t *filled) {
    bool is_whole = true;
    *filled = 0;
    if (has_pieces() && alignment <= OWNER_BYTES) {
        uintptr_t place = lengthen_cached(bytes, filled);
        if (place) return place;
    }
    uintptr_t base = map_buffer(bytes, alignment);
    if (base && has_pieces()) *filled = assemble(base, bytes, &is_whole);
    if (is_whole) return base;
    unmap_torn(base, bytes);
    *filled = 0;
    return map_buffer(bytes, alignment);
}

void *large_alloc(size_t bytes, size_t alignment, size_t *dirty) {
    if (!is_addressable(alignment, bytes)) return NULL;
    size_t size = round_up(bytes ? bytes : 1, OWNER_BYTES), reused = 0;
    if (alignment < OWNER_BYTES) alignment = OWNER_BYTES;
    uintptr_t base = cache_take(size, alignment);
    if (base)
        *dirty = reused = size;
    else if ((base = parked_take(&size, alignment)))
        *dirty = size;
    else if ((base = map_assembled(size, alignment, &reused)))
        *dirty = reused;
    else
        return NULL;
    count_open(open_buffer(base, size, bytes), reused);
    return (void *)base;
}

void large_free(void *p) {
    uintptr_t base = (uintptr_t)p;
    unsigned class_id = pagemap_class(base);
    /* It was a buffer's when the caller looked: another thread has just freed it. */
    if (class_id < CLASS_LARGE) report_misuse("double free", p);
    if (base & (OWNER_BYTES - 1) || class_id != CLASS_LARGE)
        report_misuse("free of an interior pointer", p);
    uintptr_t owner = atomic_exchange(pagemap_owner(base), 0);
    if (!owner) report_misuse("double free", p);
    count_closed(owner);
    size_t bytes = owner_bytes(owner);
    int64_t pages = (int64_t)(bytes >> PAGE_SHIFT);
    if (budget_retained_pages() + pages > budget_allowed_pages() && budget_over_hook)
        budget_over_hook();
    if (pages <= budget_allowed_pages()) {
        count_cached((int64_t)bytes);
        cache_keep(base, bytes);
        relaxed_store(&heap_current->is_dirty, true);
    } else
        unmap_counted(base, bytes);
    budget_enforce(RELEASE_PAGES_FIRST); /* also because the allowance fell with the live pages */
}

size_t large_usable_bytes(const void *p) {
    uintptr_t base = (uintptr_t)p;
    if (base & (OWNER_BYTES - 1) || pagemap_class(base) != CLASS_LARGE) return 0;
    return owner_bytes(atomic_load(pagemap_owner(base)));
}

size_t large_live_bytes(const void *p) {
    uintptr_t owner = atomic_load(pagemap_owner((uintptr_t)p));
    return (size_t)owner_live_pages(owner) << PAGE_SHIFT;
}

/* To another place, if it is one mapping. The end is filled first, so that nothing of the program's
 * is lost if that fails. */
static bool move_to(struct growth *g, size_t bytes) {
    if (first_mapping_bytes(g->base, g->bytes) < g->bytes) return false;
    uintptr_t to = map_buffer(bytes, OWNER_BYTES);
    if (!to) return false;
    size_t before = g->filled;
    bool is_whole = fill_end(to, g);
    size_t replaced = g->filled > before ? g->bytes : bytes;
    if (is_whole) {
        uintptr_t owner = atomic_load(pagemap_owner(g->base));
        int64_t seams = forget_range(g->base, g->bytes);
        if (os_move(g->base, g->bytes, to, replaced)) {
            set_seam(to);
            g->base = to;
            g->bytes = bytes;
            return true;
        }
        recall_range(g->base, g->bytes, seams, CLASS_LARGE);
        atomic_store(pagemap_owner(g->base), owner);
    }
    g->filled = before;
    if (is_whole && !os_is_mapped(to)) {
        forget_range(to, replaced);
        to += replaced;
        bytes -= replaced;
    }
    if (!is_whole)
        unmap_torn(to, bytes);
    else if (bytes)
        unmap_buffer(to, bytes);
    return false;
}

static bool grow(struct growth *g) {
    grow_into_cache(g);
    if (g->bytes >= g->asked || lengthen_to(g, g->roomy) || lengthen_to(g, g->asked) ||
        move_to(g, g->roomy) || move_to(g, g->asked))
        return true;
    leave_to_cache(g);
    return false;
}

static void shrink(struct growth *g) {
    unmap_buffer(g->base + g->asked, g->bytes - g->asked);
    g->bytes = g->asked;
}

void *large_resize(void *p, size_t bytes) {
    uintptr_t base = (uintptr_t)p, owner = atomic_load(pagemap_owner(base));
    if (!is_addressable(OWNER_BYTES, bytes)) return NULL;
    size_t old_bytes = owner_bytes(owner), asked = round_up(bytes, OWNER_BYTES);
    if (bytes <= old_bytes &&
        round_up(bytes, PAGE_BYTES) >> PAGE_SHIFT <= (size_t)owner_live_pages(owner) &&
        old_bytes - asked <= old_bytes / 8)
        return p;
    struct growth g = {base, old_bytes, old_bytes, asked, round_up(bytes + bytes / 8, OWNER_BYTES),
                       0};
    if (asked > old_bytes) {
        if (!grow(&g)) return NULL;
    } else if (old_bytes - asked > old_bytes / 8)
        shrink(&g);
    count_add(&counters.large_spare_pages, -owner_spare_pages(owner));
    /* If it was moved the old owner word is read by nobody: its page is not ours any more. */
    int64_t more = open_buffer(g.base, g.bytes, bytes) - owner_live_pages(owner);
    count_add(&counters.large_pages, more);
    if (more > 0)
        count_live(more, g.filled);
    else
        count_add(&counters.live_pages, more);
    budget_enforce(RELEASE_PAGES_FIRST);
    return (void *)g.base;
}

/* Of a range much larger than what is asked for only the end goes: joined ranges may be all that a
 * program cycles through. */
size_t large_release(size_t pages) {
    size_t done = 0;
    while (done < pages) {
        uint64_t arrived;
        struct range r = cache_take_oldest(&arrived);
        if (!r.bytes) break;
        size_t left = pages - done, has = r.bytes >> PAGE_SHIFT;
        size_t want = left < has ? round_up(left << PAGE_SHIFT, OWNER_BYTES) : r.bytes;
        if (r.bytes >= 2 * want && r.bytes - want >= LEAST_KEPT_BYTES &&
            cache_store((struct range){r.base, r.bytes - want}, arrived)) {
            r.base += r.bytes - want;
            r.bytes = want;
        }
        count_cached(-(int64_t)r.bytes);
        unmap_counted(r.base, r.bytes);
        done += r.bytes >> PAGE_SHIFT;
    }
    return done;
}
