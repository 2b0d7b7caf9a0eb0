/* What must hold of the whole heap while nobody is at work in it: heap_verify, and what it leaves to the tests because it needs a walk of
 * the page map or a question to the kernel. */
#ifndef LOWTIDE_TEST_SOUND_H
#define LOWTIDE_TEST_SOUND_H

#include "../../core/arena.h"
#include "../../core/cache.h"
#include "../../core/core.h"
#include "../../core/stats.h"

#include <sys/mman.h>

/* What the kernel says is resident in arenas, a page for each of its own pages; the counters may only be on the safe side of it. */
static int64_t resident_arena_pages(void) {
    int64_t total = 0;
    for (uint32_t id = 0; id < atomic_load(&group_count); id++)
        for (unsigned slot = 0; slot < GROUP_ARENAS; slot++) {
            unsigned char resident[ARENA_PAGES] = {0};
            uintptr_t base = atomic_load(&group_table[id])->arena[slot].base;
            if (!base || mincore((void *)base, ARENA_BYTES, resident)) continue;
            for (unsigned i = 0; i < ARENA_PAGES; i++) total += resident[i] & 1;
        }
    return total;
}

struct large_sums {
    int64_t buffers, live_pages, spare_pages, pages_of_ours;
};

static void add_page(struct large_sums *sums, uintptr_t at) {
    unsigned class_id = pagemap_class(at);
    sums->pages_of_ours += class_id != CLASS_NONE;
    if (class_id != CLASS_LARGE) return;
    size_t live = large_live_bytes((void *)at), usable = large_usable_bytes((void *)at);
    sums->buffers++;
    sums->live_pages += (int64_t)(live >> PAGE_SHIFT);
    sums->spare_pages += (int64_t)((usable - live) >> PAGE_SHIFT);
}

/* Most of it is nobody's: eight pages at a time. */
static void add_leaf(struct large_sums *sums, uintptr_t gib) {
    word *eight = (word *)(uintptr_t)pagemap_leaf(gib << LEAF_SHIFT)->page;
    for (uintptr_t i = 0; i < LEAF_PAGES / 8; i++)
        for (uintptr_t j = i * 8; relaxed_load(&eight[i]) && j < i * 8 + 8; j++) add_page(sums, (gib << LEAF_SHIFT) + (j << PAGE_SHIFT));
}

static void add_cached(uintptr_t base, size_t bytes, void *sum) {
    (void)base;
    *(int64_t *)sum += (int64_t)(bytes >> PAGE_SHIFT);
}

static const char *large_fault(void) {
    struct large_sums sums = {0};
    int64_t cached = 0;
    for (uintptr_t gib = 0; gib < ROOT_ENTRIES; gib++)
        if (relaxed_load(&pagemap.root[gib])) add_leaf(&sums, gib);
    cache_visit(add_cached, &cached);
    if (sums.buffers != relaxed_load(&counters.large_count)) return "large buffers were miscounted";
    if (sums.live_pages != relaxed_load(&counters.large_pages)) return "pages of large buffers were miscounted";
    if (sums.spare_pages != relaxed_load(&counters.large_spare_pages)) return "pages behind large buffers were miscounted";
    if (cached != relaxed_load(&counters.retained_pages[RING_LARGE])) return "cached pages were miscounted";
    if (sums.pages_of_ours != relaxed_load(&counters.arenas) * ARENA_PAGES + (relaxed_load(&counters.large_mapped_bytes) >> PAGE_SHIFT))
        return "the page map knows of other pages than are counted as mapped";
    return NULL;
}

static const char *heaps_fault(void) {
    int64_t capacity = 0, held = 0;
    for (uint32_t id = 0; id < atomic_load(&heap_count); id++) {
        const struct heap *heap = atomic_load(&heap_table[id]);
        if (!heap) continue;
        capacity += heap->capacity_bytes;
        held += heap->held_bytes;
    }
    if (capacity != relaxed_load(&counters.capacity_bytes)) return "the magazines' room was miscounted";
    if (held != relaxed_load(&counters.held_bytes)) return "what enlarged magazines hold was miscounted";
    return NULL;
}

/* Bytes in blocks that wait in magazines. */
static inline int64_t waiting_bytes(void) {
    int64_t bytes = 0;
    for (unsigned c = 1; c < CLASSES; c++) bytes += (int64_t)(heap_waiting_blocks(c) * class_table[c].block_bytes);
    return bytes;
}

/* NULL, or what does not hold. */
static const char *sound_fault(void) {
    const char *fault = heap_verify();
    if (!fault) fault = large_fault();
    if (!fault) fault = heaps_fault();
    int64_t counted = relaxed_load(&counters.live_pages) - relaxed_load(&counters.large_pages) + budget_arena_pages();
    if (!fault && resident_arena_pages() > counted) fault = "the kernel has more pages resident than are counted";
    return fault;
}

/* How far the heap is above the guarantee, H <= 1.25 L + 8 MiB, with so many live pages; in pages, negative below it. */
static int64_t sound_pages_over(int64_t live) {
    return relaxed_load(&counters.live_pages) + budget_retained_pages() - (live + live / 4 + (8 << 8));
}

#endif
