/* For what: large.h. No locks: a cache entry is one word, taken by compare-and-swap.
 *
 * An owner word is size in bytes (a multiple of 64 KiB) | pages at the end that the program did not
 * ask for. Those are not counted as live: nobody touches them. Mappings that could not be unmapped
 * (too many holes in the address space, or the kernel refused) are parked: released, and kept for
 * reuse in stacks by size, as many as there are.
 */
#include "large.h"

#include "arena.h"
#include "budget.h"
#include "heap.h"
#include "os.h"
#include "pagemap.h"
#include "report.h"

enum {
    CACHE_ENTRIES = 128,
    ENTRY_BASE_BITS = 31,
    PARKED_STACKS = 35 * 8,
    LEAST_KEPT_BYTES = 1 << 20
};

/* base / 64 KiB in the low 31 bits, size / 64 KiB above. 0 = nothing. */
static word cache_entry[CACHE_ENTRIES];
static _Atomic(uint64_t) cache_stamp[CACHE_ENTRIES], cache_clock; /* order of arrival */
static _Atomic(uintptr_t) map_hint;

/* Parked ranges: a stack for each size class, linked through their first owner words (base of the
 * next); the second holds the size. A head is base / 64 KiB | a count of changes above, so that a
 * stale head is noticed. */
static word parked[PARKED_STACKS];
static _Atomic(int64_t) parked_count;

static uint64_t entry_make(uintptr_t base, size_t bytes) {
    return base >> OWNER_SHIFT | (uint64_t)(bytes >> OWNER_SHIFT) << ENTRY_BASE_BITS;
}
static uintptr_t entry_base(uint64_t e) {
    return (uintptr_t)(e & ((1ull << ENTRY_BASE_BITS) - 1)) << OWNER_SHIFT;
}
static size_t entry_bytes(uint64_t e) { return (size_t)(e >> ENTRY_BASE_BITS) << OWNER_SHIFT; }

static bool cache_store(uint64_t e, uint64_t stamp) {
    for (uint32_t i = 0; i < CACHE_ENTRIES; i++) {
        uint64_t none = 0;
        if (relaxed_load(&cache_entry[i]) ||
            !atomic_compare_exchange_strong(&cache_entry[i], &none, e))
            continue;
        relaxed_store(&cache_stamp[i], stamp);
        return true;
    }
    return false;
}

/* The smallest entry that has `bytes` at a multiple of `alignment`; 0 = none. */
static uint64_t cache_take_fitting(size_t bytes, size_t alignment) {
    for (;;) {
        uint64_t best = 0;
        uint32_t at = 0;
        for (uint32_t i = 0; i < CACHE_ENTRIES; i++) {
            uint64_t e = relaxed_load(&cache_entry[i]);
            if (!e || entry_bytes(e) < bytes || entry_base(e) & (alignment - 1)) continue;
            if (best && entry_bytes(e) >= entry_bytes(best)) continue;
            best = e;
            at = i;
        }
        if (!best || atomic_compare_exchange_strong(&cache_entry[at], &best, 0)) return best;
    }
}

/* An entry that ends where `base` begins or begins where base + bytes ends; 0 = none. */
static uint64_t cache_take_neighbour(uintptr_t base, size_t bytes) {
    for (uint32_t i = 0; i < CACHE_ENTRIES; i++) {
        uint64_t e = relaxed_load(&cache_entry[i]);
        if (!e || (entry_base(e) + entry_bytes(e) != base && entry_base(e) != base + bytes))
            continue;
        if (atomic_compare_exchange_strong(&cache_entry[i], &e, 0)) return e;
    }
    return 0;
}

static uint64_t cache_now(void) {
    return atomic_fetch_add_explicit(&cache_clock, 1, memory_order_relaxed);
}

static uint64_t cache_take_oldest(uint64_t *stamp_of) {
    for (;;) {
        uint64_t best = 0, stamp = 0;
        uint32_t at = 0;
        for (uint32_t i = 0; i < CACHE_ENTRIES; i++) {
            uint64_t e = relaxed_load(&cache_entry[i]), age = relaxed_load(&cache_stamp[i]);
            if (!e || (best && age >= stamp)) continue;
            best = e;
            stamp = age;
            at = i;
        }
        *stamp_of = stamp;
        if (!best || atomic_compare_exchange_strong(&cache_entry[at], &best, 0)) return best;
    }
}

/* ---- parked ranges ---- */

/* Eight classes for each doubling: the class a size belongs to, rounded down. */
static unsigned parked_class(size_t granules) {
    unsigned e = highest_bit(granules);
    unsigned step =
        e < 3 ? (unsigned)(granules << (3 - e)) & 7 : (unsigned)(granules >> (e - 3)) & 7;
    return e * 8 + step;
}

static void parked_put(uintptr_t base, size_t bytes) {
    word *head = &parked[parked_class(bytes >> OWNER_SHIFT)];
    uint64_t old = atomic_load(head), new;
    atomic_store(pagemap_owner(base + OWNER_BYTES), bytes);
    do {
        atomic_store(pagemap_owner(base), entry_base(old));
        new = base >> OWNER_SHIFT | ((old >> ENTRY_BASE_BITS) + 1) << ENTRY_BASE_BITS;
    } while (!atomic_compare_exchange_weak(head, &old, new));
    count_add(&parked_count, 1);
}

static uintptr_t parked_pop(word *head) {
    uint64_t old = atomic_load(head), new;
    do {
        if (!entry_base(old)) return 0;
        uintptr_t next = atomic_load(pagemap_owner(entry_base(old)));
        new = next >> OWNER_SHIFT | ((old >> ENTRY_BASE_BITS) + 1) << ENTRY_BASE_BITS;
    } while (!atomic_compare_exchange_weak(head, &old, new));
    count_add(&parked_count, -1);
    return entry_base(old);
}

/* A range of at least *bytes and less than twice that, whole; 0 = none. *bytes becomes its size. */
static uintptr_t parked_take(size_t *bytes, size_t alignment) {
    if (!relaxed_load(&parked_count) || alignment > OWNER_BYTES) return 0;
    unsigned class = parked_class(*bytes >> OWNER_SHIFT);
    for (unsigned c = class; c <= class + 8 && c < PARKED_STACKS; c++) {
        uintptr_t base = parked_pop(&parked[c]);
        if (!base) continue;
        size_t has = atomic_load(pagemap_owner(base + OWNER_BYTES));
        if (has >= *bytes) {
            *bytes = has;
            return base;
        }
        parked_put(base, has); /* its class holds smaller ones, too */
    }
    return 0;
}

/* ---- mapping ---- */

static size_t round_up(size_t bytes, size_t unit) { return (bytes + unit - 1) & ~(unit - 1); }

static uintptr_t map_buffer(size_t bytes, size_t alignment) {
    uintptr_t hint = relaxed_load(&map_hint);
    uintptr_t base = os_map(bytes, alignment, hint > bytes ? hint - bytes : 0);
    if (!base) return 0;
    if (!pagemap_reserve(base, bytes)) {
        os_unmap(base, bytes);
        return 0;
    }
    address_range_added(base, bytes);
    count_add(&counters.large_mapped_bytes, (int64_t)bytes);
    relaxed_store(&map_hint, base);
    return base;
}

/* The range is not mapped any more. */
static void forget_buffer(uintptr_t base, size_t bytes) {
    pagemap_fill(base, bytes, CLASS_NONE);
    address_range_removed(base, bytes);
    count_add(&counters.large_mapped_bytes, -(int64_t)bytes);
}

/* The page map's bytes of the range are in use until the kernel has taken it. */
static void unmap_buffer(uintptr_t base, size_t bytes) {
    if (address_range_removable(base, bytes)) {
        pagemap_fill(base, bytes, CLASS_NONE);
        if (os_unmap(base, bytes)) {
            address_range_removed(base, bytes);
            count_add(&counters.large_mapped_bytes, -(int64_t)bytes);
            relaxed_store(&map_hint, base + bytes);
            return;
        }
        pagemap_fill(base, bytes, CLASS_LARGE_BODY);
    }
    os_release(base, bytes);
    pagemap_fill(base, PAGE_BYTES, CLASS_FREE);
    parked_put(base, bytes);
}

static size_t owner_bytes(uintptr_t owner) { return owner & ~(uintptr_t)(OWNER_BYTES - 1); }
static int64_t owner_spare_pages(uintptr_t owner) { return (int64_t)(owner & (OWNER_BYTES - 1)); }
static int64_t owner_live_pages(uintptr_t owner) {
    return (int64_t)(owner_bytes(owner) >> PAGE_SHIFT) - owner_spare_pages(owner);
}

static void count_open(int64_t fresh, int64_t reused) {
    count_add(&counters.large_count, 1);
    count_add(&counters.large_pages, fresh + reused);
    budget_count_live(RING_LARGE, fresh, reused);
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

/* Marks a mapping of `bytes`, of which the program asked for `asked`, as a buffer; returns its live
 * pages. */
static int64_t open_buffer(uintptr_t base, size_t bytes, size_t asked) {
    pagemap_fill(base, bytes, CLASS_LARGE_BODY);
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
    if (cache_store(entry_make(base, bytes), cache_now())) return;
    count_cached(-(int64_t)bytes);
    unmap_counted(base, bytes);
}

/* Joins cached ranges that lie side by side; true if there were any. */
static bool cache_join(void) {
    bool has_joined = false;
    for (uint32_t i = 0; i < CACHE_ENTRIES; i++) {
        uint64_t e = relaxed_load(&cache_entry[i]);
        if (!e || !atomic_compare_exchange_strong(&cache_entry[i], &e, 0)) continue;
        uintptr_t base = entry_base(e);
        size_t bytes = entry_bytes(e);
        for (uint64_t n; (n = cache_take_neighbour(base, bytes)); bytes += entry_bytes(n)) {
            if (entry_base(n) < base) base = entry_base(n);
            has_joined = true;
        }
        cache_keep(base, bytes);
    }
    return has_joined;
}

/* A range of `bytes` out of the cache, the rest of its entry put back; 0 = none fits. Ranges stay
 * as they were freed as long as that serves, so that a loop that frees and takes the same sizes
 * finds them; they are joined when nothing fits. */
static uintptr_t cache_take(size_t bytes, size_t alignment) {
    if (relaxed_load(&counters.retained_pages[RING_LARGE]) < (int64_t)(bytes >> PAGE_SHIFT))
        return 0;
    uint64_t e = cache_take_fitting(bytes, alignment);
    if (!e && cache_join()) e = cache_take_fitting(bytes, alignment);
    if (!e) return 0;
    count_cached(-(int64_t)bytes);
    if (entry_bytes(e) > bytes) cache_keep(entry_base(e) + bytes, entry_bytes(e) - bytes);
    return entry_base(e);
}

void *large_alloc(size_t bytes, size_t alignment, bool *zero) {
    if (bytes > PTRDIFF_MAX - alignment - OWNER_BYTES) return NULL;
    size_t size = round_up(bytes ? bytes : 1, OWNER_BYTES);
    if (alignment < OWNER_BYTES) alignment = OWNER_BYTES;
    uintptr_t base = cache_take(size, alignment);
    bool is_reused = base != 0;
    if (!base) base = parked_take(&size, alignment);
    *zero = !base;
    if (!base) base = map_buffer(size, alignment);
    if (!base) return NULL;
    int64_t pages = open_buffer(base, size, bytes);
    count_open(is_reused ? 0 : pages, is_reused ? pages : 0);
    return (void *)base;
}

void large_free(void *p) {
    uintptr_t base = (uintptr_t)p;
    if (base & (OWNER_BYTES - 1) || pagemap_class(base) != CLASS_LARGE)
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

/* The buffer keeps its place: give the end back, or let the kernel lengthen the mapping. */
static bool resize_in_place(uintptr_t base, size_t old_bytes, size_t new_bytes) {
    if (new_bytes < old_bytes) {
        uintptr_t end = base + new_bytes;
        unmap_buffer(end, old_bytes - new_bytes);
        return true;
    }
    if (new_bytes == old_bytes) return true;
    if (!pagemap_reserve(base, new_bytes) || pagemap_class(base + old_bytes) != CLASS_NONE)
        return false;
    if (!os_resize_in_place(base, old_bytes, new_bytes)) return false;
    address_range_added(base + old_bytes, new_bytes - old_bytes);
    count_add(&counters.large_mapped_bytes, (int64_t)(new_bytes - old_bytes));
    return true;
}

static uintptr_t move_buffer(uintptr_t base, size_t old_bytes, size_t new_bytes) {
    uintptr_t to = map_buffer(new_bytes, OWNER_BYTES);
    if (!to) return 0;
    pagemap_fill(to, new_bytes, CLASS_LARGE_BODY); /* the runs of addresses are counted by it */
    pagemap_fill(base, old_bytes,
                 CLASS_NONE); /* before: the addresses may be another mapping's at once */
    if (!os_move(base, old_bytes, to, new_bytes)) {
        pagemap_fill(base, old_bytes, CLASS_LARGE_BODY);
        pagemap_fill(base, PAGE_BYTES, CLASS_LARGE);
        if (os_is_mapped(to))
            unmap_buffer(to, new_bytes);
        else
            forget_buffer(to, new_bytes);
        return 0;
    }
    address_range_removed(base, old_bytes);
    count_add(&counters.large_mapped_bytes, -(int64_t)old_bytes);
    return to;
}

void *large_resize(void *p, size_t bytes) {
    uintptr_t base = (uintptr_t)p, owner = atomic_load(pagemap_owner(base));
    size_t old_bytes = owner_bytes(owner), new_bytes = round_up(bytes, OWNER_BYTES);
    /* A buffer that grows once grows again: an eighth more of address space, untouched, saves most
     * calls. */
    size_t roomy = bytes > old_bytes ? round_up(bytes + bytes / 8, OWNER_BYTES) : new_bytes;
    if (bytes > PTRDIFF_MAX - OWNER_BYTES) return NULL;
    if (bytes <= old_bytes && old_bytes - new_bytes <= old_bytes / 8) {
        if (round_up(bytes, PAGE_BYTES) >> PAGE_SHIFT <= (size_t)owner_live_pages(owner)) return p;
        new_bytes = roomy = old_bytes;
    }

    uintptr_t to = base;
    if (resize_in_place(base, old_bytes, roomy))
        new_bytes = roomy;
    else if (!resize_in_place(base, old_bytes, new_bytes)) {
        to = move_buffer(base, old_bytes, roomy);
        if (to)
            new_bytes = roomy;
        else if (!(to = move_buffer(base, old_bytes, new_bytes)))
            return NULL;
    }
    int64_t old_pages = owner_live_pages(owner), pages;
    count_add(&counters.large_spare_pages, -owner_spare_pages(owner));
    if (to != base) /* the old owner word is read by nobody: its page is not ours any more */
        pages = open_buffer(to, new_bytes, bytes);
    else {
        if (new_bytes > old_bytes)
            pagemap_fill(base + old_bytes, new_bytes - old_bytes, CLASS_LARGE_BODY);
        pages = set_owner(base, new_bytes, bytes);
    }
    count_add(&counters.large_pages, pages - old_pages);
    if (pages > old_pages)
        budget_count_live(RING_LARGE, pages - old_pages, 0);
    else
        count_add(&counters.live_pages, pages - old_pages);
    budget_enforce(RELEASE_PAGES_FIRST);
    return (void *)to;
}

void large_visit_cached(void (*visit)(uintptr_t base, size_t bytes, void *context), void *context) {
    for (uint32_t i = 0; i < CACHE_ENTRIES; i++) {
        uint64_t e = relaxed_load(&cache_entry[i]);
        if (e) visit(entry_base(e), entry_bytes(e), context);
    }
}

/* Of a range much larger than what is asked for only the end goes: joined ranges may be all that a
 * program cycles through. */
size_t large_release(size_t pages) {
    size_t done = 0;
    while (done < pages) {
        uint64_t stamp, e = cache_take_oldest(&stamp);
        if (!e) break;
        uintptr_t base = entry_base(e);
        size_t bytes = entry_bytes(e), want = round_up((pages - done) << PAGE_SHIFT, OWNER_BYTES);
        if (bytes >= 2 * want && bytes - want >= LEAST_KEPT_BYTES &&
            cache_store(entry_make(base, bytes - want), stamp)) {
            base += bytes - want;
            bytes = want;
        }
        count_cached(-(int64_t)bytes);
        unmap_counted(base, bytes);
        done += bytes >> PAGE_SHIFT;
    }
    return done;
}
