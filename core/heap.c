/* For what, and who owns what: heap.h.
 *
 * Capacities begin with 7 and double at each refill or spill, as far as the class and the thread's
 * share of the budget allow, but one block is always allowed, so that the common malloc/free pair
 * stays out of the pools. A heap's slots: a first part of 7 and fewer slots a class, together a
 * page, and a second with the full capacities, of which only what is used gets touched.
 */
#include "heap.h"

#include "budget.h"
#include "gate.h"
#include "index.h"
#include "lend.h"
#include "os.h"
#include "pagemap.h"
#include "pool.h"

#include <errno.h>
#include <string.h>

enum { FIRST_CAPACITY = 7, HOOK_INTERVAL = 16 };

static void *empty_slot[2]; /* NULL below the top: an empty magazine without capacity */

#define NO_MAGAZINES                                                              \
    {                                                                             \
        .magazine = {[0 ... CLASS_BYTES - 1] = {empty_slot + 1, empty_slot + 1}}, \
        .desk = {[0 ... CLASSES - 1] = {.base = empty_slot + 1}},                 \
    }
struct heap heap_none = NO_MAGAZINES, heap_gone = NO_MAGAZINES;
_Thread_local struct heap *heap_current = &heap_none;
_Atomic(struct heap *) heap_table[MAX_HEAPS];
_Atomic(uint32_t) heap_count;
void (*heap_opened_hook)(void);
void (*heap_slow_path_hook)(void);

static struct index closed_index; /* heaps that wait for a thread */

/* ---- slots ---- */

static unsigned first_capacity(unsigned class_id) {
    unsigned most = class_table[class_id].magazine_blocks;
    return most < FIRST_CAPACITY ? most : FIRST_CAPACITY;
}

/* Slots a class needs in one part: its capacity and the NULL below. */
static size_t slots_before(unsigned class_id, bool full) {
    size_t slots = 0;
    for (unsigned c = 1; c < class_id; c++)
        slots += 1 + (full ? class_table[c].magazine_blocks : first_capacity(c));
    return slots;
}

static void **heap_slots(struct heap *heap, unsigned class_id, bool full) {
    void **slots = (void **)(heap + 1);
    if (full) slots += slots_before(CLASSES, false);
    return slots + slots_before(class_id, full) + 1;
}

size_t heap_bytes(void) {
    size_t bytes = sizeof(struct heap) +
                   (slots_before(CLASSES, false) + slots_before(CLASSES, true)) * sizeof(void *);
    return os_round_up(bytes);
}

/* ---- opening and closing ---- */

static void give_back(struct heap *heap);

static void life_init(struct heap *heap) {
    pthread_mutexattr_t robust;
    pthread_mutexattr_init(&robust);
    pthread_mutexattr_setrobust(&robust, PTHREAD_MUTEX_ROBUST);
    pthread_mutex_init(&heap->life, &robust);
}

static struct heap *heap_create(void) {
    struct heap *heap = (struct heap *)os_map(heap_bytes(), os_page_bytes, 0);
    if (!heap) return NULL;
    uint32_t id = atomic_fetch_add(&heap_count, 1);
    if (id >= MAX_HEAPS) {
        atomic_fetch_sub(&heap_count, 1);
        os_unmap((uintptr_t)heap, heap_bytes());
        return NULL;
    }
    memcpy(heap->magazine, heap_none.magazine, sizeof heap->magazine);
    memcpy(heap->desk, heap_none.desk, sizeof heap->desk);
    heap->id = id;
    life_init(heap);
    count_add(&counters.metadata_bytes, (int64_t)heap_bytes());
    atomic_store(&heap_table[id], heap);
    return heap;
}

static struct heap *take_closed(void) {
    for (uint32_t id = index_next(&closed_index, 0); id != INDEX_NONE;
         id = index_next(&closed_index, id + 1)) {
        struct heap *heap = atomic_load(&heap_table[id]);
        bool is_ours = atomic_exchange(&heap->closed, 0);
        index_settle(&closed_index, id, &heap->closed);
        if (is_ours) return heap;
    }
    return NULL;
}

/* A thread whose first allocation came in the last round of its key destructors is gone without
 * having closed its heap. Each new heap first looks at two others, so all are found in the end. */
static void reap(void) {
    static _Atomic(uint32_t) next;
    uint32_t heaps = atomic_load(&heap_count);
    for (int probes = 0; probes < 2 && heaps; probes++) {
        struct heap *heap = atomic_load(&heap_table[atomic_fetch_add(&next, 1) % heaps]);
        if (!heap || atomic_load(&heap->closed)) continue;
        int result = pthread_mutex_trylock(&heap->life);
        if (result == EOWNERDEAD) {
            pthread_mutex_consistent(&heap->life);
            heap_end_loan(heap);
            give_back(heap);
        } else if (!result) /* its owner is about to lock it */
            pthread_mutex_unlock(&heap->life);
    }
}

static struct heap *heap_open(void) {
    int saved = errno;
    struct heap *heap = take_closed();
    if (!heap) {
        reap();
        heap = take_closed();
    }
    if (!heap) heap = heap_create();
    if (heap) pthread_mutex_lock(&heap->life);
    errno = saved;
    return heap;
}

/* The calling thread's heap, opened if it has none yet; NULL when it cannot have one. */
static struct heap *heap_of_thread(void) {
    struct heap *heap = heap_current;
    if (LIKELY(heap != &heap_none)) return heap == &heap_gone ? NULL : heap;
    if (heap_lent) {
        heap_take_back();
        return heap_current;
    }
    heap_current = &heap_gone; /* what the kernel's door calls may allocate */
    heap = heap_open();
    heap_current = heap ? heap : &heap_none;
    if (!heap) return NULL;
    count_add(&counters.heaps_open, 1);
    if (heap_opened_hook) heap_opened_hook();
    return heap;
}

/* ---- capacity ---- */

/* A forked child sees a magazine as of any moment; what lies below `top` at that moment must be its
 * blocks and nothing else. */
static void set_top(struct magazine *m, void **top) {
    atomic_signal_fence(memory_order_seq_cst);
    m->top = top;
    atomic_signal_fence(memory_order_seq_cst);
}

static void set_capacity(struct heap *heap, unsigned class_id, unsigned capacity) {
    struct desk *d = &heap->desk[class_id];
    const struct class_info *info = &class_table[class_id];
    int64_t more = (int64_t)capacity - d->capacity;
    heap->capacity_pages += more * info->page_weight;
    count_add(&counters.capacity_bytes, more * info->block_bytes);
    heap->classes_in_use += (uint32_t)(capacity > 0) - (uint32_t)(d->capacity > 0);
    d->capacity = (uint8_t)capacity;
    heap->magazine[class_id].limit = d->base + capacity;
}

/* The largest capacity a class may grow to now: what the thread's share allows if its classes share
 * alike. */
static unsigned fair_capacity(const struct heap *heap, unsigned class_id) {
    const struct class_info *info = &class_table[class_id];
    int64_t share = budget_magazine_share();
    if (share == INT64_MAX) return info->magazine_blocks;
    int64_t fair = share / ((heap->classes_in_use + 1) * info->page_weight);
    return fair < 1 ? 1 : fair < info->magazine_blocks ? (unsigned)fair : info->magazine_blocks;
}

/* Raises the capacity to the next step; false when the class or the budget allows no more. */
static bool magazine_grow(struct heap *heap, unsigned class_id) {
    struct magazine *m = &heap->magazine[class_id];
    struct desk *d = &heap->desk[class_id];
    unsigned first = first_capacity(class_id), fair = fair_capacity(heap, class_id);
    unsigned next = d->capacity < first ? first : 2u * d->capacity + 1;
    if (next > fair) next = fair;
    if (next <= d->capacity) return false;
    size_t held = (size_t)(m->top - d->base);
    void **base = heap_slots(heap, class_id, next > first);
    set_top(m, empty_slot + 1);
    base[-1] = NULL;
    memmove(base, d->base, held * sizeof *base);
    d->base = base;
    set_top(m, base + held);
    set_capacity(heap, class_id, next);
    return true;
}

static void magazine_flush(struct heap *heap, unsigned class_id) {
    struct magazine *m = &heap->magazine[class_id];
    struct desk *d = &heap->desk[class_id];
    unsigned held = (unsigned)(m->top - d->base);
    set_top(m, d->base);
    set_capacity(heap, class_id, 0);
    if (held) pool_return(class_id, d->base, held);
}

static void flush(struct heap *heap, bool idle_only) {
    for (unsigned c = 1; c < CLASSES; c++) {
        if (heap->desk[c].capacity && !(idle_only && heap->desk[c].is_active))
            magazine_flush(heap, c);
        heap->desk[c].is_active = false;
    }
}

void heap_empty(struct heap *heap) {
    flush(heap, false);
    relaxed_store(&heap->is_dirty, false);
}

void heap_flush(bool idle_only) {
    heap_take_back();
    struct heap *gate = gate_enter();
    if (heap_current != &heap_none && heap_current != &heap_gone) flush(heap_current, idle_only);
    budget_enforce(RELEASE_LARGE_FIRST);
    gate_leave(gate);
}

void heap_check_magazines(void) {
    heap_take_back();
    struct heap *gate = gate_enter();
    if (heap_current != &heap_none && heap_current != &heap_gone) flush(heap_current, false);
    gate_leave(gate);
}

static void give_back(struct heap *heap) {
    flush(heap, false);
    count_add(&counters.heaps_open, -1);
    relaxed_store(&heap->is_asleep, false); /* the thread may have been cancelled */
    pthread_mutex_unlock(&heap->life);
    atomic_store(&heap->closed, 1);
    index_set(&closed_index, heap->id);
}

void heap_close(void) {
    heap_take_back();
    struct heap *gate = gate_enter();
    struct heap *heap = heap_current;
    heap_current = &heap_gone;
    if (heap != &heap_none && heap != &heap_gone) give_back(heap);
    budget_enforce(RELEASE_LARGE_FIRST);
    gate_leave(gate);
}

/* ---- refill and spill ---- */

/* Memory is short: every thread is to empty its magazines. */
static NOINLINE void follow_flush_round(struct heap *heap) {
    heap->flush_round = relaxed_load(&limits.flush_round);
    flush(heap, false);
    budget_enforce(RELEASE_LARGE_FIRST);
}

static void count_slow_path(struct heap *heap, _Atomic(uint64_t) *counter) {
    relaxed_store(counter, relaxed_load(counter) + 1);
    relaxed_store(&heap->is_dirty, true);
    if (UNLIKELY(heap->flush_round != relaxed_load(&limits.flush_round))) follow_flush_round(heap);
    uint64_t n = relaxed_load(&heap->refills) + relaxed_load(&heap->spills);
    if (n % HOOK_INTERVAL == 0 && heap_slow_path_hook) heap_slow_path_hook();
}

/* As freed into the magazine, and no longer as returned to its pool (pool.c writes that). */
static void block_mark(void *block, struct magazine *m) {
    ((void **)block)[0] = m;
    ((void **)block)[1] = NULL;
}

static void *take_one(unsigned class_id, bool *zero) {
    void *block = NULL;
    if (!pool_take(class_id, 1, &block, zero)) return NULL;
    block_mark(block, NULL);
    return block;
}

static void *refill(unsigned class_id, bool *zero) {
    struct heap *heap = heap_of_thread();
    if (!heap || zero || !class_table[class_id].magazine_blocks) return take_one(class_id, zero);
    count_slow_path(heap, &heap->refills);
    struct magazine *m = &heap->magazine[class_id];
    struct desk *d = &heap->desk[class_id];
    if (m->top > d->base) return *--m->top; /* the hook freed */
    magazine_grow(heap, class_id);
    d->is_active = true;
    void *ascending[MAGAZINE_BLOCKS];
    unsigned want = (d->capacity + 1u) / 2, got = pool_take(class_id, want, ascending, NULL);
    if (!got) return NULL;
    for (unsigned i = 0; i < got; i++) { /* what came in ascending order goes out in it */
        block_mark(ascending[i], m);     /* which fetches the line, too */
        d->base[got - 1 - i] = ascending[i];
    }
    set_top(m, d->base + got - 1);
    return d->base[got - 1];
}

void *heap_refill(unsigned class_id, bool *zero) {
    struct heap *gate = gate_enter();
    void *block = refill(class_id, zero);
    gate_leave(gate);
    return block;
}

/* The older blocks go to the pools, `keep` stay. */
static void spill_to(struct heap *heap, unsigned class_id, unsigned keep) {
    struct magazine *m = &heap->magazine[class_id];
    struct desk *d = &heap->desk[class_id];
    unsigned held = (unsigned)(m->top - d->base);
    if (held <= keep) return;
    void *older[MAGAZINE_BLOCKS];
    memcpy(older, d->base, (held - keep) * sizeof *older);
    set_top(m, d->base);
    memmove(d->base, d->base + (held - keep), keep * sizeof *d->base);
    set_top(m, d->base + keep);
    pool_return(class_id, older, held - keep);
}

/* The heap could pin more than its share: idle magazines go, the others shrink by half, to no less
 * than three quarters of what is fair, so that the next spill does not come here again. */
static NOINLINE void shrink(struct heap *heap) {
    for (unsigned c = 1; c < CLASSES; c++) {
        struct desk *d = &heap->desk[c];
        unsigned fair = fair_capacity(heap, c) * 3 / 4, half = d->capacity / 2u,
                 keep = half > fair ? half : fair;
        if (d->capacity && (!d->is_active || !keep))
            magazine_flush(heap, c);
        else if (d->capacity > keep) {
            spill_to(heap, c, keep / 2);
            set_capacity(heap, c, keep);
        }
    }
}

static void spill(void *block, unsigned class_id) {
    struct magazine *m;
    struct heap *heap = heap_of_thread();
    if (!heap || !class_table[class_id].magazine_blocks) {
        pool_return(class_id, &block, 1);
        budget_enforce(RELEASE_LARGE_FIRST);
        return;
    }
    count_slow_path(heap, &heap->spills);
    m = &heap->magazine[class_id];
    if (UNLIKELY(heap->capacity_pages > budget_magazine_share())) shrink(heap);
    if (m->top == m->limit && !magazine_grow(heap, class_id))
        spill_to(heap, class_id, heap->desk[class_id].capacity / 2);
    *(struct magazine **)block = m;
    *m->top = block;
    set_top(m, m->top + 1);
    heap->desk[class_id].is_active = true;
    budget_enforce(RELEASE_LARGE_FIRST);
}

void heap_spill(void *block, struct magazine *m) {
    unsigned class_id = (unsigned)(m - heap_current->magazine);
    struct heap *gate = gate_enter();
    spill(block, class_id);
    gate_leave(gate);
}

/* ---- the others ---- */

/* What a magazine of a thread that is gone holds, as far as pool and page map agree. */
static void adopt_magazine(struct heap *heap, unsigned class_id) {
    struct magazine *m = &heap->magazine[class_id];
    for (void **slot = m->top; slot[-1]; slot--) {
        uintptr_t address = (uintptr_t)slot[-1];
        if (pagemap_class(address) != class_id || !pagemap_is_block_start(address, class_id))
            continue;
        if (!pool_block_is_free(class_id, slot[-1])) pool_return(class_id, &slot[-1], 1);
    }
    heap->desk[class_id].base = m->top = empty_slot + 1;
    set_capacity(heap, class_id, 0);
}

void heap_adopt_after_fork(void) {
    heap_lent = NULL; /* forked from a signal handler while asleep: it is adopted like the others */
    struct heap *mine = heap_current;
    if (mine != &heap_none && mine != &heap_gone) {
        life_init(mine); /* the thread's id is another one here */
        pthread_mutex_lock(&mine->life);
    }
    for (uint32_t id = 0; id < atomic_load(&heap_count); id++) {
        struct heap *heap = atomic_load(&heap_table[id]);
        if (!heap || heap == mine || atomic_load(&heap->closed)) continue;
        struct pool *leased = relaxed_load(&heap->leased);
        if (leased) pool_end_orphaned_lease(leased);
        for (unsigned c = 1; c < CLASSES; c++) adopt_magazine(heap, c);
        relaxed_store(&heap->gate_depth, 0);
        relaxed_store(&heap->lending, 0);
        life_init(heap);
        pthread_mutex_lock(&heap->life);
        give_back(heap);
    }
}

bool heap_holds(unsigned class_id, const void *block) {
    for (uint32_t id = 0; id < atomic_load(&heap_count); id++) {
        struct heap *heap = atomic_load(&heap_table[id]);
        if (!heap) continue;
        void **slot = heap->desk[class_id].base, **end = heap->magazine[class_id].top;
        for (; slot < end; slot++)
            if (*slot == block) return true;
    }
    return false;
}

size_t heap_waiting_blocks(unsigned class_id) {
    size_t blocks = 0;
    for (uint32_t id = 0; id < atomic_load(&heap_count); id++) {
        struct heap *heap = atomic_load(&heap_table[id]);
        if (heap) blocks += (size_t)(heap->magazine[class_id].top - heap->desk[class_id].base);
    }
    return blocks;
}
