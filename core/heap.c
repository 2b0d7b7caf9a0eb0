/* For what, and who owns what: heap.h. How large magazines are: magazine.c. */
#include "heap.h"

#include "arena.h"
#include "budget.h"
#include "check.h"
#include "core.h"
#include "gate.h"
#include "index.h"
#include "lend.h"
#include "magazine.h"
#include "os.h"
#include "pagemap.h"
#include "pool.h"
#include "report.h"

#include <errno.h>
#include <string.h>

enum {
    HOOK_INTERVAL = 16,
    WARM_BYTES = 2 << 20, /* that processors' caches hold */
};

#define NO_MAGAZINES                                                                          \
    {                                                                                         \
        .magazine = {[0 ... CLASS_BYTES - 1] = {magazine_nothing + 1, magazine_nothing + 1}}, \
        .desk = {[0 ... CLASSES - 1] = {.base = magazine_nothing + 1}},                       \
    }
struct heap heap_none = NO_MAGAZINES, heap_gone = NO_MAGAZINES;
_Thread_local struct heap_thread heap_thread = {.current = &heap_none};
uintptr_t block_key;
TABLE _Atomic(struct heap *) heap_table[MAX_HEAPS];
_Atomic(uint32_t) heap_count;
void (*heap_opened_hook)(void);
void (*heap_slow_path_hook)(void);

static struct index *const closed_index = &index_table[INDEX_CLOSED];

/* ---- opening and closing ---- */

static void give_back(struct heap *heap);

/* The calling thread becomes the owner by whose end others will know. */
static void claim(struct heap *heap) {
    pthread_mutexattr_t robust;
    pthread_mutexattr_init(&robust);
    pthread_mutexattr_setrobust(&robust, PTHREAD_MUTEX_ROBUST);
    pthread_mutex_init(&heap->life, &robust);
    pthread_mutex_lock(&heap->life);
    atomic_store(&heap->has_life, true);
}

void heap_start(void (*opened)(void)) {
    heap_opened_hook = opened;
    if (!heap_is_real(heap_current)) return;
    claim(heap_current);
    opened();
}

static struct heap *heap_create(void) {
    struct heap *heap = (struct heap *)os_map(heap_bytes(), os_page_bytes, 0);
    if (!heap) return NULL;
    uint32_t id = atomic_fetch_add(&heap_count, 1);
    if (id >= MAX_HEAPS) {
        atomic_fetch_sub(&heap_count, 1);
        os_discard((uintptr_t)heap, heap_bytes());
        return NULL;
    }
    memcpy(heap->magazine, heap_none.magazine, sizeof heap->magazine);
    memcpy(heap->desk, heap_none.desk, sizeof heap->desk);
    heap->id = id;
    count_add(&counters.metadata_bytes, (int64_t)heap_bytes());
    atomic_store(&heap_table[id], heap);
    return heap;
}

static struct heap *take_closed(void) {
    for (uint32_t id = index_next(closed_index, 0); id != INDEX_NONE;
         id = index_next(closed_index, id + 1)) {
        struct heap *heap = atomic_load(&heap_table[id]);
        bool is_ours = atomic_exchange(&heap->closed, 0);
        index_settle(closed_index, id, &heap->closed);
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
        if (!heap || atomic_load(&heap->closed) || !acquire_load(&heap->has_life)) continue;
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
    if (heap && relaxed_load(&heap->has_life))
        pthread_mutex_lock(&heap->life);
    else if (heap && heap_opened_hook)
        claim(heap);
    errno = saved;
    return heap;
}

/* The calling thread's heap, opened if it has none yet; NULL when it cannot have one. */
static struct heap *heap_of_thread(void) {
    struct heap *heap = heap_current;
    if (LIKELY(heap != &heap_none)) return heap == &heap_gone ? NULL : heap;
    if (UNLIKELY(core_check_level > 1)) return NULL;
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

/* ---- flushing ---- */

void heap_empty(struct heap *heap) {
    magazines_flush(heap);
    relaxed_store(&heap->is_dirty, false);
}

void heap_flush(bool idle_only) {
    heap_take_back();
    struct heap *gate = gate_enter();
    if (heap_is_real(heap_current))
        idle_only ? magazines_flush_idle(heap_current) : magazines_flush(heap_current);
    budget_enforce(RELEASE_LARGE_FIRST);
    gate_leave(gate);
}

void heap_check_magazines(void) {
    heap_take_back();
    struct heap *gate = gate_enter();
    if (heap_is_real(heap_current)) magazines_flush(heap_current);
    gate_leave(gate);
}

static void give_back(struct heap *heap) {
    magazines_flush(heap);
    count_add(&counters.heaps_open, -1);
    relaxed_store(&heap->is_asleep, false); /* the thread may have been cancelled */
    if (relaxed_load(&heap->has_life)) pthread_mutex_unlock(&heap->life);
    atomic_store(&heap->closed, 1);
    index_set(closed_index, heap->id);
}

void heap_close(void) {
    heap_take_back();
    struct heap *gate = gate_enter();
    struct heap *heap = heap_current;
    heap_current = &heap_gone;
    if (heap_is_real(heap)) give_back(heap);
    budget_enforce(RELEASE_LARGE_FIRST);
    gate_leave(gate);
}

/* ---- refill and spill ---- */

/* Memory is short: every thread is to empty its magazines. */
static NOINLINE void follow_flush_round(struct heap *heap) {
    heap->flush_round = relaxed_load(&limits.flush_round);
    magazines_flush(heap);
    budget_enforce(RELEASE_LARGE_FIRST);
}

static void count_slow_path(struct heap *heap, _Atomic(uint64_t) *counter) {
    relaxed_store(counter, relaxed_load(counter) + 1);
    relaxed_store(&heap->is_dirty, true);
    if (UNLIKELY(heap->flush_round != relaxed_load(&limits.flush_round))) follow_flush_round(heap);
    uint64_t n = relaxed_load(&heap->refills) + relaxed_load(&heap->spills);
    if (n % HOOK_INTERVAL) return;
    magazines_note_held(heap);
    heap_thread.is_heap_cold = relaxed_load(&counters.taken_bytes) > WARM_BYTES;
    if (heap_slow_path_hook) heap_slow_path_hook();
}

/* As freed into a magazine, and no longer as returned to its pool (pool.c writes that). The second
 * word is not zero, and stays so unless the program makes it zero, which saves malloc a question
 * where it is a slab's block. */
static void put_marks(void **block) { block[0] = block[1] = block_mark(block); }
static void *without_marks(void **block) {
    put_marks(block);
    block[0] = NULL;
    return block;
}

static void *take_one(unsigned class_id, bool *zero) {
    void **block = NULL;
    if (!pool_take(class_id, 1, (void **)&block, zero)) return NULL;
    without_marks(block);
    if (zero && *zero) block[1] = NULL;
    return block;
}

static void *refill(unsigned class_id, bool *zero) {
    struct heap *heap = heap_of_thread();
    if (heap) count_slow_path(heap, &heap->refills);
    if (!heap || zero) return take_one(class_id, zero);
    struct magazine *m = &heap->magazine[class_id];
    struct desk *d = &heap->desk[class_id];
    if (m->top > d->base) return without_marks(*--m->top); /* the hook freed */
    if (magazine_grow(heap, class_id)) budget_enforce(RELEASE_LARGE_FIRST);
    if (!d->capacity) return take_one(class_id, zero);
    void *ascending[MAGAZINE_BLOCKS];
    unsigned want = (d->capacity + 1u) / 2;
    if (want > MAGAZINE_BLOCKS) want = MAGAZINE_BLOCKS;
    unsigned got = pool_take(class_id, want, ascending, NULL);
    if (!got) return NULL;
    if (UNLIKELY(m->top > d->base || d->capacity < got)) { /* who wraps mmap has been here */
        if (got > 1) pool_return(class_id, ascending + 1, got - 1);
        return without_marks(ascending[0]);
    }
    magazine_note_refill(d, got);
    for (unsigned i = 0; i < got; i++) { /* what came in ascending order goes out in it */
        put_marks(ascending[i]);         /* which fetches the line, too */
        d->base[got - 1 - i] = ascending[i];
    }
    set_top(m, d->base + got - 1);
    return without_marks(ascending[0]);
}

void *heap_refill(unsigned class_id, bool *zero) {
    struct heap *gate = gate_enter();
    void *block = refill(class_id, zero);
    gate_leave(gate);
    return block;
}

static void spill(void *block, unsigned class_id) {
    struct heap *heap = heap_of_thread();
    if (heap) count_slow_path(heap, &heap->spills);
    if (heap && UNLIKELY(magazines_are_too_large(heap))) magazines_shrink(heap);
    struct magazine *m = &heap_current->magazine[class_id];
    if (m->top == m->limit && heap && !magazine_grow(heap, class_id))
        magazine_spill(heap, class_id);
    *(void **)block = block_mark(block);
    if (m->top == m->limit) { /* no heap, or no capacity */
        pool_return(class_id, &block, 1);
    } else {
        *m->top = block;
        set_top(m, m->top + 1);
    }
    budget_enforce(RELEASE_LARGE_FIRST);
}

void heap_spill(void *block, struct magazine *m) {
    unsigned class_id = (unsigned)(m - heap_current->magazine);
    if (UNLIKELY(core_check_level > 1)) {
        heap_busy(false);
        check_free(block);
        return;
    }
    struct heap *gate = gate_enter();
    spill(block, class_id);
    gate_leave(gate);
    heap_busy(false);
}

void heap_return_block(void *block, unsigned class_id) {
    if (UNLIKELY(*(void **)block == block_mark(block)) && heap_holds(class_id, block)) {
        if (core_check_level) report_misuse("double free", block);
        return;
    }
    struct heap *gate = gate_enter();
    struct heap *heap = heap_of_thread();
    if (heap) count_slow_path(heap, &heap->spills);
    pool_return(class_id, &block, 1);
    budget_enforce(RELEASE_LARGE_FIRST);
    gate_leave(gate);
}

/* ---- the others ---- */

/* What a magazine of a thread that is gone holds, as far as pool and page map agree. */
static void adopt_magazine(struct heap *heap, unsigned class_id) {
    void *blocks[MAGAZINE_BLOCKS];
    unsigned n = 0;
    for (void **slot = heap->magazine[class_id].top; slot[-1] != magazine_floor; slot--) {
        uintptr_t address = (uintptr_t)slot[-1];
        if (pagemap_class(address) != class_id || !pagemap_is_block_start(address, class_id) ||
            pool_block_is_free(class_id, slot[-1]))
            continue;
        blocks[n++] = slot[-1];
        if (n < MAGAZINE_BLOCKS) continue;
        pool_return(class_id, blocks, n);
        n = 0;
    }
    if (n) pool_return(class_id, blocks, n);
    magazine_forget(heap, class_id);
}

static void adopt_magazines(struct heap *heap) {
    for (unsigned c = 1; c < CLASSES; c++) adopt_magazine(heap, c);
}

static _Atomic(uint32_t) orphans;

void heap_adopt_orphans(unsigned most) {
    for (uint32_t id = 0; most && relaxed_load(&orphans) && id < atomic_load(&heap_count); id++) {
        struct heap *heap = atomic_load(&heap_table[id]);
        if (!heap || !atomic_exchange(&heap->is_orphan, false)) continue;
        atomic_fetch_sub(&orphans, 1);
        struct heap *gate = gate_enter();
        adopt_magazines(heap);
        claim(heap);
        give_back(heap);
        gate_leave(gate);
        most--;
    }
}

void heap_after_fork(void) {
    arenas_inherit();
    /* Forked by a signal handler that interrupted a blocking call, or what surrounds it: the heap
     * is this thread's also where it is lent. */
    struct heap *mine = heap_lent ? heap_lent : heap_current;
    if (heap_is_real(mine)) {
        claim(mine); /* the thread's id is another one here */
        if (heap_end_orphaned_tending(mine)) adopt_magazines(mine);
    }
    atomic_store(&orphans, 0);
    for (uint32_t id = 0; id < atomic_load(&heap_count); id++) {
        struct heap *heap = atomic_load(&heap_table[id]);
        if (!heap || heap == mine || atomic_load(&heap->closed)) continue;
        struct pool *leased = relaxed_load(&heap->leased);
        if (leased) pool_end_orphaned_lease(leased);
        relaxed_store(&heap->gate_depth, 0);
        relaxed_store(&heap->lending, 0);
        relaxed_store(&heap->is_asleep, true);
        atomic_store(&heap->is_orphan, true);
        atomic_fetch_add(&orphans, 1);
    }
}

bool heap_holds(unsigned class_id, const void *block) {
    for (uint32_t id = 0; id < atomic_load(&heap_count); id++) {
        struct heap *heap = atomic_load(&heap_table[id]);
        if (heap && magazine_holds(heap, class_id, block)) return true;
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
