/* The face of core: the calls of malloc's family, and what stands behind them.
 *
 * Theory of operation. malloc pops the thread's magazine for the class (heap.h); an empty one refills from the
 * lowest pools that have free blocks (pool.h), a full one spills its older half into their bitmaps. Pools
 * come from arenas (arena.h); a page whose last block came back is retained, and what is retained beyond
 * the budget (budget.h) goes back to the kernel (os.h). free learns everything it needs from one byte of
 * the page map (pagemap.h). Above 128 KiB a buffer is a mapping of its own (large.h).
 *
 * Start-up: static data is valid before any constructor ran; the first call that misses a magazine runs core_init. Ways in: the calls below,
 * from any thread at any time, also from inside libc's mmap family when somebody wrapped it; not from signal
 * handlers that interrupted one of them, as with every malloc.
 *
 * Locks: none. Every shared word changes by one atomic operation, so there is no lock order, fork has nothing to
 * acquire, and a child inherits at worst a lease or a claim of a thread that is gone
 * (heap_adopt_after_fork ends the leases).
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

/* How much misuse is looked for. 0: what the bitmaps and the page map show by themselves. 1: a freed block's mark
 * is followed up at the second free, not only when the block reaches its pool. */
extern HIDDEN int core_check_level;

/* What to do with pointers that are not ours: libc's own allocator may have made them. Each may be NULL: then the
 * pointer is reported. `usable` returns 0 for a pointer it does not know. */
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
/* Flushes the calling thread's magazines and releases all that is retained but `keep_bytes`; true if anything was. */
HIDDEN bool core_trim(size_t keep_bytes);

/* The mark of a freed block is the address of the page map: in a register anyway, unknown outside, and no program's data. */
static ALWAYS_INLINE bool block_is_marked(const void *p) { return *(void *const *)p == (const void *)&pagemap; }

static ALWAYS_INLINE void *core_malloc(size_t bytes) {
    struct heap *heap = heap_current;
    if (LIKELY(bytes <= SMALL_MAX)) {
        struct magazine *m = (struct magazine *)((char *)heap + ((bytes + 15) & ~(size_t)15));
        void **top = m->top;
        void *block = top[-1];
        if (LIKELY(block != NULL)) {
            m->top = top - 1;
            *(void **)block = NULL; /* the mark */
            return block;
        }
    }
    return core_malloc_slow(bytes);
}

/* As pagemap_class, pagemap_is_block_start and a push, but written around one base register and one index (the
 * class in steps of 16 bytes reaches the check, the offset mask and the magazine): 30 instructions, where the
 * compiler makes 35 of the plain form. The empty asm statements keep it from computing both anew. */
static ALWAYS_INLINE void core_free(void *p) {
    uintptr_t address = (uintptr_t)p, gib = address >> LEAF_SHIFT;
    if (UNLIKELY(gib >= ROOT_ENTRIES)) goto slow;
    struct pagemap *map = &pagemap;
    __asm__("" : "+r"(map));
    uintptr_t leaf = relaxed_load(&map->root[gib]);
    if (UNLIKELY(!leaf)) goto slow;
    size_t step = (size_t)relaxed_load((_Atomic(uint8_t) *)(leaf + (address >> PAGE_SHIFT))) * sizeof(struct magazine);
    __asm__("" : "+r"(step));
    const struct class_check *check = (struct class_check *)((char *)map->check + step);
    uint64_t offset = address & ((struct class_offset *)((char *)map->offset + step))->mask;
    if (UNLIKELY(offset * check->multiplier >= check->bound || *(struct pagemap **)p == map)) goto slow;
    *(struct pagemap **)p = map; /* the mark */
    struct magazine *m = (struct magazine *)((char *)heap_current->magazine + step);
    void **top = m->top;
    if (UNLIKELY(top == m->limit)) {
        heap_spill((unsigned)(step / sizeof(struct magazine)), p);
        return;
    }
    *top = p;
    m->top = top + 1;
    return;
slow:
    core_free_slow(p);
}

_Static_assert(sizeof(struct class_check) == sizeof(struct magazine) && sizeof(struct class_offset) == sizeof(struct magazine),
               "one step for all three");

#endif
