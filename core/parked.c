/* For what: parked.h. */
#include "parked.h"

#include "pagemap.h"

enum { PARKED_BASE_BITS = ADDRESS_BITS - OWNER_SHIFT, PARKED_STACKS = 35 * 8 };

/* A stack for each size class, linked through the ranges' first owner words (base of the next); the
 * second holds the size, but those of one granule, the first stack's, have none: the word behind
 * is another's. A head is base / 64 KiB | a count of changes above, so that a stale head is
 * noticed. */
static word parked[PARKED_STACKS];
static _Atomic(int64_t) parked_count;

static uintptr_t parked_base(uint64_t head) {
    return (uintptr_t)(head & ((1ull << PARKED_BASE_BITS) - 1)) << OWNER_SHIFT;
}

/* Eight classes for each doubling: the class a size belongs to, rounded down. */
static unsigned parked_class(size_t granules) {
    unsigned e = highest_bit(granules);
    unsigned step =
        e < 3 ? (unsigned)(granules << (3 - e)) & 7 : (unsigned)(granules >> (e - 3)) & 7;
    return e * 8 + step;
}

void parked_put(uintptr_t base, size_t bytes) {
    word *head = &parked[parked_class(bytes >> OWNER_SHIFT)];
    uint64_t old = atomic_load(head), new;
    if (bytes > OWNER_BYTES) atomic_store(pagemap_owner(base + OWNER_BYTES), bytes);
    do {
        atomic_store(pagemap_owner(base), parked_base(old));
        new = base >> OWNER_SHIFT | ((old >> PARKED_BASE_BITS) + 1) << PARKED_BASE_BITS;
    } while (!atomic_compare_exchange_weak(head, &old, new));
    count_add(&parked_count, 1);
}

static uintptr_t parked_pop(word *head) {
    uint64_t old = atomic_load(head), new;
    do {
        if (!parked_base(old)) return 0;
        uintptr_t next = atomic_load(pagemap_owner(parked_base(old)));
        new = next >> OWNER_SHIFT | ((old >> PARKED_BASE_BITS) + 1) << PARKED_BASE_BITS;
    } while (!atomic_compare_exchange_weak(head, &old, new));
    count_add(&parked_count, -1);
    return parked_base(old);
}

static size_t parked_bytes(uintptr_t base, unsigned class) {
    return class ? atomic_load(pagemap_owner(base + OWNER_BYTES)) : OWNER_BYTES;
}

uintptr_t parked_take(size_t *bytes, size_t alignment) {
    if (!relaxed_load(&parked_count) || alignment > OWNER_BYTES) return 0;
    unsigned class = parked_class(*bytes >> OWNER_SHIFT);
    for (unsigned c = class; c <= class + 8 && c < PARKED_STACKS; c++) {
        uintptr_t base = parked_pop(&parked[c]);
        if (!base) continue;
        size_t has = parked_bytes(base, c);
        if (has >= *bytes) {
            *bytes = has;
            return base;
        }
        parked_put(base, has); /* its class holds smaller ones, too */
    }
    return 0;
}

uintptr_t parked_take_any(size_t *bytes) {
    for (unsigned c = 0; relaxed_load(&parked_count) && c < PARKED_STACKS; c++) {
        uintptr_t base = parked_pop(&parked[c]);
        if (!base) continue;
        *bytes = parked_bytes(base, c);
        return base;
    }
    return 0;
}
