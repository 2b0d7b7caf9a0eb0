/* The face of core: the calls of malloc's family, and what stands behind them.
 *
 * Theory of operation. malloc pops the thread's magazine for the class (heap.h); an empty one
 * refills from the lowest pools that have free blocks (pool.h), a full one spills its older half
 * into their bitmaps. Pools come from arenas (arena.h); a page whose last block came back is
 * retained, and what is retained beyond the budget (budget.h) goes back to the kernel (os.h). free
 * learns everything it needs from one byte of the page map (pagemap.h). Above 128 KiB a buffer is a
 * mapping of its own (large.h).
 *
 * Start-up: static data is valid before any constructor ran; the first call that misses a magazine
 * runs core_init. Ways in: the calls below, from any thread at any time, also from inside libc's
 * mmap family when somebody wrapped it; not from signal handlers that interrupted one of them, as
 * with every malloc.
 *
 * Locks: none that guards data; every shared word changes by one atomic operation, so there is no
 * lock order. A heap's robust mutex only tells that its owner lives. fork keeps other threads out
 * of slow paths for a bounded time (gate.h), and its child takes over what they held
 * (heap_adopt_orphans).
 *
 * Out of memory: NULL, after everything retained was released and tried again; never an abort.
 */
#ifndef LOWTIDE_CORE_H
#define LOWTIDE_CORE_H

#include "budget.h"
#include "heap.h"
#include "large.h"
#include "os.h"
#include "pagemap.h"
#include "pool.h"
#include "report.h"

#include <errno.h>

/* How much misuse is looked for. 1: a block in a magazine that has lost its mark, and is not free
 * in its pool either, is reported. 0: it is never used again. 2: check.h. */
extern HIDDEN int core_check_level;

/* What to do with pointers that are not ours: libc's own allocator may have made them. Each may be
 * NULL: then the pointer is reported. `usable` returns 0 for a pointer it does not know. */
struct foreign_calls {
    bool (*free)(void *p);
    size_t (*usable_bytes)(const void *p);
};
extern HIDDEN struct foreign_calls core_foreign;

/* Idempotent and safe to race; called by the slow paths themselves. */
HIDDEN void core_init(void);

/* malloc for what the fast path does not serve. NULL and ENOMEM when there is no memory. */
HIDDEN void *core_malloc_slow(size_t bytes);
HIDDEN void core_free_slow(void *p);
HIDDEN void *core_calloc(size_t count, size_t bytes);
/* glibc's realloc: p == NULL allocates, bytes == 0 frees and returns NULL. */
HIDDEN void *core_realloc(void *p, size_t bytes);
/* `alignment` is a power of two. */
HIDDEN void *core_memalign(size_t alignment, size_t bytes);
/* 0 for NULL; a foreign pointer is asked of libc. */
HIDDEN size_t core_usable_bytes(const void *p);

/* For check.c: memory without canaries; a large buffer's free; bytes at p if it is a pointer of
 * ours that may be used, 0 if it is not ours: anything in between is reported as misuse in `call`,
 * or is 0 as well where `call` is NULL. */
HIDDEN void *core_memalign_unchecked(size_t alignment, size_t bytes);
HIDDEN void *core_resize_large(void *p, size_t bytes); /* NULL: it is as it was */
HIDDEN void core_free_large(void *p);
HIDDEN size_t core_owned_bytes(const void *p, const char *call);

/* Whether so much can have been asked for when `p` was allocated: at most what it has; exactly
 * where blocks are checked. What may not be freed at all is left for core_free to tell. */
HIDDEN bool core_may_have_asked(const void *p, size_t bytes);

/* Flushes the calling thread's magazines and releases all that is retained but `keep_bytes`; true
 * if anything was. */
HIDDEN bool core_trim(size_t keep_bytes);

/* Double frees. A free block is marked in its first word (block_mark), and in its pool carries its
 * own address in the second: whoever returns it writes that, refill clears it. malloc looks at both
 * and takes the mark away, so that a block is handed out once for each time it was freed, by
 * whichever thread. free looks for the mark, too, which tells every second free at once; but in a
 * heap larger than the caches the miss would stall the caller (half again the time for random frees
 * over 26 MB, measured), where a store does not. There it compares the block with the one freed
 * last, and other double frees are found before the block would be handed out for the second time,
 * or by the pool's bitmap at the spill. */
static ALWAYS_INLINE bool block_is_sound(void *const *block) {
    return block[0] == block_mark(block) && block[1] != block;
}

static ALWAYS_INLINE void *core_malloc(size_t bytes) {
    if (UNLIKELY(bytes > SMALL_MAX)) return core_malloc_slow(bytes);
    heap_busy(true);
    struct magazine *m =
        (struct magazine *)((char *)heap_current->magazine + ((bytes + 15) & ~(size_t)15));
    void **top = m->top;
    void **block = top[-1];
    if (UNLIKELY(!block_is_sound(block))) return core_malloc_slow(bytes);
    m->top = top - 1;
    heap_busy(false);
    __builtin_prefetch(top[-2]);
    block[0] = NULL;
    return block;
}

/* pagemap_class, pagemap_is_block_start and a push, but written around one base register and one
 * index: the class in steps of 16 bytes reaches the check and the magazine. The
 * empty asm statements keep the compiler from computing either anew. */
static ALWAYS_INLINE void core_free(void *p) {
    uintptr_t address = (uintptr_t)p, gib = address >> LEAF_SHIFT;
    if (UNLIKELY(gib >= ROOT_ENTRIES)) goto slow;
    heap_busy(true);
    struct pagemap *map = &pagemap;
    __asm__("" : "+r"(map));
    uintptr_t leaf = acquire_load(&map->root[gib]);
    if (UNLIKELY(!leaf)) goto slow;
    size_t step = (size_t)relaxed_load((_Atomic(uint8_t) *)(leaf + (address >> PAGE_SHIFT))) *
                  sizeof(struct magazine);
    __asm__("" : "+r"(step));
    CHECK_BLOCK_START(map, step, address, slow);
    struct magazine *m = (struct magazine *)((char *)heap_current->magazine + step);
    void **top = m->top;
    void *mark = block_mark(p);
    if (LIKELY(!heap_thread.is_heap_cold)) {
        if (UNLIKELY(*(void **)p == mark)) goto slow;
    } else if (UNLIKELY(top[-1] == p)) {
        goto slow;
    }
    if (UNLIKELY(top == m->limit)) {
        heap_spill(p, m);
        return;
    }
    *(void **)p = mark;
    *top = p;
    atomic_signal_fence(memory_order_seq_cst); /* as set_top: a child may be forked in between */
    m->top = top + 1;
    heap_busy(false);
    return;
slow:
    core_free_slow(p);
}

_Static_assert(sizeof(struct class_check) == 2 * sizeof(struct magazine), "one step for both");

#endif
