/* For what: cache.h. */
#include "cache.h"

#include "pagemap.h"

enum { ENTRIES = CACHE_ENTRIES, BASE_BITS = ADDRESS_BITS - OWNER_SHIFT };

/* base / 64 KiB in the low BASE_BITS, size / 64 KiB above. 0 = nothing. */
static word entry[ENTRIES];
static _Atomic(uint64_t) stamp[ENTRIES], clock; /* order of arrival */

static uint64_t packed(struct range r) {
    return r.base >> OWNER_SHIFT | (uint64_t)(r.bytes >> OWNER_SHIFT) << BASE_BITS;
}
static struct range unpacked(uint64_t e) {
    return (struct range){(uintptr_t)(e & ((1ull << BASE_BITS) - 1)) << OWNER_SHIFT,
                          (size_t)(e >> BASE_BITS) << OWNER_SHIFT};
}
static struct range range_of(uint32_t i) { return unpacked(relaxed_load(&entry[i])); }

static bool take(uint32_t i, struct range r) {
    uint64_t e = packed(r);
    return atomic_compare_exchange_strong(&entry[i], &e, 0);
}

uint64_t cache_now(void) { return atomic_fetch_add_explicit(&clock, 1, memory_order_relaxed); }

bool cache_store(struct range r, uint64_t arrived) {
    for (uint32_t i = 0; i < ENTRIES; i++) {
        uint64_t none = 0;
        if (relaxed_load(&entry[i]) || !atomic_compare_exchange_strong(&entry[i], &none, packed(r)))
            continue;
        relaxed_store(&stamp[i], arrived);
        return true;
    }
    return false;
}

/* The best range by that judgement, which is 0 for none and else the higher the better. */
static ALWAYS_INLINE struct range take_best(uint64_t (*judge)(struct range r, uint64_t arrived,
                                                              size_t bytes, size_t alignment),
                                            size_t bytes, size_t alignment, uint64_t *arrived) {
    for (;;) {
        struct range best = {0};
        uint64_t highest = 0, when = 0;
        uint32_t at = 0;
        for (uint32_t i = 0; i < ENTRIES; i++) {
            struct range r = range_of(i);
            if (!r.bytes) continue;
            uint64_t came = relaxed_load(&stamp[i]), worth = judge(r, came, bytes, alignment);
            if (worth <= highest) continue;
            best = r;
            highest = worth;
            when = came;
            at = i;
        }
        if (arrived) *arrived = when;
        if (!highest) return (struct range){0};
        if (take(at, best)) return best;
    }
}

static uint64_t smallest(struct range r, uint64_t arrived, size_t bytes, size_t alignment) {
    (void)arrived;
    return r.bytes >= bytes && !(r.base & (alignment - 1)) ? UINT64_MAX - r.bytes : 0;
}
static uint64_t largest(struct range r, uint64_t arrived, size_t bytes, size_t alignment) {
    (void)arrived, (void)alignment;
    return r.bytes >= bytes ? r.bytes : 0;
}
static uint64_t oldest(struct range r, uint64_t arrived, size_t bytes, size_t alignment) {
    (void)r, (void)bytes, (void)alignment;
    return UINT64_MAX - arrived;
}

struct range cache_take_fitting(size_t bytes, size_t alignment) {
    return take_best(smallest, bytes, alignment, NULL);
}
struct range cache_take_largest(size_t least_bytes) {
    return take_best(largest, least_bytes, 1, NULL);
}
struct range cache_take_oldest(uint64_t *arrived) {
    return take_best(oldest, 0, 1, arrived);
}

struct range cache_take_nth(uint32_t i) {
    if (i >= ENTRIES) return (struct range){0};
    struct range r = range_of(i);
    return r.bytes && take(i, r) ? r : (struct range){0};
}

struct range cache_take_at(uintptr_t base) {
    for (uint32_t i = 0; i < ENTRIES; i++) {
        struct range r = range_of(i);
        if (r.bytes && r.base == base && take(i, r)) return r;
    }
    return (struct range){0};
}

struct range cache_take_neighbour(struct range r) {
    for (uint32_t i = 0; i < ENTRIES; i++) {
        struct range n = range_of(i);
        bool is_beside = n.base + n.bytes == r.base || n.base == r.base + r.bytes;
        if (n.bytes && is_beside && take(i, n)) return n;
    }
    return (struct range){0};
}

void cache_visit(void (*visit)(uintptr_t base, size_t bytes, void *context), void *context) {
    for (uint32_t i = 0; i < ENTRIES; i++) {
        struct range r = range_of(i);
        if (r.bytes) visit(r.base, r.bytes, context);
    }
}
