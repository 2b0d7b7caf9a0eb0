/* For what: magazine.h. */
#include "magazine.h"

#include "budget.h"
#include "os.h"
#include "pool.h"

#include <string.h>

enum {
    FIRST_CAPACITY = 7,
    MODEST_CAPACITY = 15,
    RESTS = 50, /* ticks of 100 ms */
    WIDE_BLOCK_BYTES = 32 << 10,
    MOST_WIDE_PAGES = 64,
};

void *magazine_floor[2], *magazine_nothing[2] = {magazine_floor, NULL};

/* ---- slots ---- */

static unsigned normal_capacity(unsigned class_id) { return class_table[class_id].magazine_blocks; }

static unsigned first_capacity(unsigned class_id) {
    unsigned most = normal_capacity(class_id);
    return most < FIRST_CAPACITY ? most : FIRST_CAPACITY;
}

/* Slots a class needs in one part: its capacity and the floor below. */
static size_t slots_before(unsigned class_id, bool full) {
    size_t slots = 0;
    for (unsigned c = 1; c < class_id; c++)
        slots += 1 + (full ? normal_capacity(c) : first_capacity(c));
    return slots;
}

size_t heap_bytes(void) {
    size_t bytes = sizeof(struct heap) +
                   (slots_before(CLASSES, false) + slots_before(CLASSES, true)) * sizeof(void *);
    return os_round_up(bytes);
}

static size_t enlarged_bytes(unsigned capacity) {
    return os_round_up((capacity + 1) * sizeof(void *));
}

/* Slots for a capacity, with the floor below the first; NULL when the kernel has no memory. */
static void **find_slots(struct heap *heap, unsigned class_id, unsigned capacity) {
    void **slots = (void **)(heap + 1);
    if (capacity > normal_capacity(class_id)) {
        slots = (void **)os_map(enlarged_bytes(capacity), os_page_bytes, 0);
        if (slots) count_add(&counters.metadata_bytes, (int64_t)enlarged_bytes(capacity));
    } else if (capacity > first_capacity(class_id)) {
        slots += slots_before(CLASSES, false) + slots_before(class_id, true);
    } else {
        slots += slots_before(class_id, false);
    }
    if (!slots) return NULL;
    slots[0] = magazine_floor;
    return slots + 1;
}

/* The slots are not used any more. */
static void leave_slots(unsigned class_id, void **base, unsigned capacity) {
    if (capacity <= normal_capacity(class_id)) return;
    os_discard((uintptr_t)(base - 1), enlarged_bytes(capacity));
    count_add(&counters.metadata_bytes, -(int64_t)enlarged_bytes(capacity));
}

void magazines_visit_enlarged(struct heap *heap,
                              void (*visit)(const void *start, size_t bytes, void *context),
                              void *context) {
    for (unsigned c = 1; c < CLASSES; c++) {
        const struct desk *d = &heap->desk[c];
        if (d->capacity > normal_capacity(c))
            visit(d->base - 1, enlarged_bytes(d->capacity), context);
    }
}

/* ---- capacity ---- */

/* Above 32 KiB: such blocks pin much, and what waits in magazines counts as the program's in its
 * high water. So there are few in each heap, and none where there is no room. */
static bool is_wide(unsigned class_id) {
    return class_table[class_id].block_bytes > WIDE_BLOCK_BYTES;
}

static void set_capacity(struct heap *heap, unsigned class_id, unsigned capacity) {
    struct desk *d = &heap->desk[class_id];
    const struct class_info *info = &class_table[class_id];
    int64_t more = (int64_t)capacity - d->capacity;
    heap->capacity_pages += more * info->page_weight;
    heap->capacity_bytes += more * info->block_bytes;
    if (is_wide(class_id)) heap->wide_pages += more * info->page_weight;
    count_add(&counters.capacity_bytes, more * info->block_bytes);
    heap->classes_in_use += (uint32_t)(capacity > 0) - (uint32_t)(d->capacity > 0);
    unsigned normal = normal_capacity(class_id);
    heap->enlarged += (uint32_t)(capacity > normal) - (uint32_t)(d->capacity > normal);
    d->capacity = (uint16_t)capacity;
    heap->magazine[class_id].limit = d->base + capacity;
}

/* Moves what the magazine holds to slots for another capacity. */
static bool change_capacity(struct heap *heap, unsigned class_id, unsigned capacity) {
    struct magazine *m = &heap->magazine[class_id];
    struct desk *d = &heap->desk[class_id];
    unsigned old = d->capacity;
    void **base = find_slots(heap, class_id, capacity), **left = d->base;
    if (!base) return false;
    if (d->capacity != old) { /* who wraps mmap has allocated */
        leave_slots(class_id, base, capacity);
        return false;
    }
    size_t held = (size_t)(m->top - left);
    set_top(m, magazine_nothing + 1);
    base[-1] = magazine_floor;
    memmove(base, left, held * sizeof *base);
    d->base = base;
    set_top(m, base + held);
    set_capacity(heap, class_id, capacity);
    leave_slots(class_id, left, old);
    return true;
}

/* The largest normal capacity a class may have with room for `more_bytes`. Where there is none, the
 * open heaps share what there is, by bytes or, each block taken for the pages it can hold alone, by
 * pages, and a heap's classes share alike; but one block is allowed in any case, unless it is very
 * large. */
static unsigned fair_capacity(const struct heap *heap, unsigned class_id, int64_t more_bytes) {
    const struct class_info *info = &class_table[class_id];
    if (budget_has_magazine_room(more_bytes)) return info->magazine_blocks;
    int64_t classes = heap->classes_in_use + 1;
    int64_t by_bytes =
        budget_heap_part(budget_magazine_room_bytes()) / (classes * info->block_bytes);
    int64_t by_pages =
        budget_heap_part(allowance_pages(&limits.magazine)) / (classes * info->page_weight);
    int64_t fair = by_bytes > by_pages ? by_bytes : by_pages;
    if (fair < 1) return !is_wide(class_id);
    return fair < info->magazine_blocks ? (unsigned)fair : info->magazine_blocks;
}

/* Whether most of its blocks lie beside the one before. A large stack whose blocks are in no order
 * hands them out so, and what is built together lies apart; the pools hand them out in order. */
static bool is_ordered(const struct magazine *m, const struct desk *d) {
    size_t near = 0, held = (size_t)(m->top - d->base);
    for (size_t i = 1; i < held; i++) {
        intptr_t step = (intptr_t)d->base[i] - (intptr_t)d->base[i - 1];
        near += step < 2 * PAGE_BYTES && step > -2 * PAGE_BYTES;
    }
    return near * 2 >= held;
}

/* The next step beyond the normal capacity: half as much again for a magazine that has let go and
 * taken back as many blocks as it has room for. 0 = not now. */
static unsigned enlarged_capacity(struct heap *heap, unsigned class_id) {
    struct desk *d = &heap->desk[class_id];
    unsigned next = d->capacity + d->capacity / 2u + 1,
             most = relaxed_load(&limits.enlarged_blocks);
    if (next > most) next = most;
    if (d->came_back < d->capacity || heap->rests[class_id]) return 0;
    int64_t room = relaxed_load(&counters.capacity_bytes) +
                   (int64_t)(next - d->capacity) * class_table[class_id].block_bytes;
    int64_t base = (int64_t)relaxed_load(&limits.magazine.base_pages) * PAGE_BYTES;
    int64_t earned = budget_earned_room_bytes() / 16 * 15; /* which moves a little all the time */
    if (room > (earned > base ? earned : base)) return 0;
    d->came_back = 0;
    return next;
}

/* What growing to `next` blocks is taken for: the blocks, and for the larger magazines, which are
 * worth less, as much as all have room for, so that those of other threads find room to grow. */
static int64_t growth_bytes(const struct desk *d, unsigned class_id, unsigned next) {
    int64_t bytes = (next - d->capacity) * (int64_t)class_table[class_id].block_bytes;
    return next > MODEST_CAPACITY ? bytes + relaxed_load(&counters.capacity_bytes) : bytes;
}

bool magazine_grow(struct heap *heap, unsigned class_id) {
    struct desk *d = &heap->desk[class_id];
    if (is_wide(class_id) && heap->wide_pages + class_table[class_id].page_weight > MOST_WIDE_PAGES)
        return false;
    unsigned first = first_capacity(class_id),
             next = d->capacity < first ? first : 2u * d->capacity + 1;
    unsigned fair = fair_capacity(heap, class_id, growth_bytes(d, class_id, next));
    if (next > fair) next = fair;
    if (d->capacity >= normal_capacity(class_id) && fair == normal_capacity(class_id))
        next = enlarged_capacity(heap, class_id);
    return next > d->capacity && change_capacity(heap, class_id, next);
}

/* ---- emptying ---- */

static void magazine_flush(struct heap *heap, unsigned class_id) {
    struct magazine *m = &heap->magazine[class_id];
    struct desk *d = &heap->desk[class_id];
    unsigned held = (unsigned)(m->top - d->base), capacity = d->capacity;
    void **base = d->base;
    set_top(m, base);
    set_capacity(heap, class_id, 0);
    if (held) pool_return(class_id, base, held);
    if (capacity <= normal_capacity(class_id)) return;
    magazine_forget(heap, class_id);
    leave_slots(class_id, base, capacity);
}

void magazine_forget(struct heap *heap, unsigned class_id) {
    heap->desk[class_id].base = magazine_nothing + 1;
    set_top(&heap->magazine[class_id], magazine_nothing + 1);
    set_capacity(heap, class_id, 0);
}

void magazines_flush(struct heap *heap) {
    for (unsigned c = 1; c < CLASSES; c++) {
        if (heap->desk[c].capacity) magazine_flush(heap, c);
        heap->desk[c].spilled = heap->desk[c].came_back = 0;
    }
    magazines_note_held(heap);
}

void magazines_note_held_slow(struct heap *heap) {
    int64_t held = 0;
    for (unsigned c = 1; c < CLASSES && heap->enlarged; c++)
        held += (heap->magazine[c].top - heap->desk[c].base) * (int64_t)class_table[c].block_bytes;
    count_add(&counters.held_bytes, held - heap->held_bytes);
    heap->held_bytes = held;
    budget_note_high(0);
}

/* The older blocks go to the pools, `keep` stay. Meanwhile the newer ones stand on a floor of
 * their own. */
static void spill_to(struct heap *heap, unsigned class_id, unsigned keep) {
    struct magazine *m = &heap->magazine[class_id];
    struct desk *d = &heap->desk[class_id];
    unsigned held = (unsigned)(m->top - d->base);
    if (held <= keep) return;
    unsigned n = held - keep;
    void *last = d->base[n - 1];
    d->base[n - 1] = magazine_floor;
    atomic_signal_fence(memory_order_seq_cst);
    pool_return(class_id, d->base, n - 1);
    pool_return(class_id, &last, 1);
    set_top(m, d->base);
    memmove(d->base, d->base + n, keep * sizeof *d->base);
    set_top(m, d->base + keep);
    d->spilled = (uint16_t)(d->spilled < UINT16_MAX - n ? d->spilled + n : UINT16_MAX);
}

void magazine_spill(struct heap *heap, unsigned class_id) {
    spill_to(heap, class_id, heap->desk[class_id].capacity / 2u);
    heap->desk[class_id].seen = MAGAZINE_ACTIVE;
}

static bool is_idle(const struct heap *heap, unsigned class_id) {
    const struct desk *d = &heap->desk[class_id];
    return d->seen == (uint16_t)(heap->magazine[class_id].top - d->base);
}

void magazines_shrink(struct heap *heap) {
    int64_t before = heap->capacity_pages;
    for (unsigned c = 1; c < CLASSES; c++) {
        struct desk *d = &heap->desk[c];
        if (!d->capacity) continue;
        unsigned fair = fair_capacity(heap, c, 0) * 3 / 4, half = d->capacity / 2u,
                 keep = half > fair ? half : fair;
        if (keep > normal_capacity(c)) keep = normal_capacity(c);
        if (is_idle(heap, c) || !keep)
            magazine_flush(heap, c);
        else if (d->capacity > keep) {
            spill_to(heap, c, keep / 2);
            if (d->capacity > normal_capacity(c))
                change_capacity(heap, c, keep);
            else
                set_capacity(heap, c, keep);
        }
    }
    int64_t left = heap->capacity_pages;
    heap->tolerated_pages = left > before - before / 8 ? left + left / 8 : 0;
}

/* What went around in an enlarged magazine would else have gone through free pages. */
static void count_as_reused(unsigned class_id, const struct desk *d) {
    const struct class_info *info = &class_table[class_id];
    if (d->capacity > normal_capacity(class_id))
        count_add(&counters.reused_pages[info->tier],
                  (int64_t)d->capacity * info->block_bytes >> PAGE_SHIFT);
}

void magazines_flush_idle(struct heap *heap) {
    for (unsigned c = 1; c < CLASSES; c++) {
        struct desk *d = &heap->desk[c];
        if (!d->capacity) continue;
        if (heap->rests[c]) heap->rests[c]--;
        if (d->capacity > normal_capacity(c) && !is_ordered(&heap->magazine[c], d)) {
            magazine_flush(heap, c);
            heap->rests[c] = RESTS;
        } else if (is_idle(heap, c))
            magazine_flush(heap, c);
        else
            count_as_reused(c, d);
        d->seen = (uint16_t)(heap->magazine[c].top - d->base);
        d->spilled = d->came_back = 0;
    }
    heap->tolerated_pages = 0;
    if (magazines_are_too_large(heap)) magazines_shrink(heap);
}
