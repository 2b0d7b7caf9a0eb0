/* Heaps: a thread's magazines, in front of the pools.
 *
 * A magazine is a stack of free blocks of one class. `top` points behind the last block, and the
 * slot below the first points to the floor, which is a block without a mark: malloc's test of
 * the mark is its test for "empty", too, and free compares `top` with `limit` for "full". A
 * class that the thread does not use, and every page-map byte that is no class at all, has an empty
 * magazine of no capacity, so the fast paths need no test for them either.
 *
 * A heap belongs to one thread; nobody else touches its magazines while that thread lives and has
 * not lent it (core/lend.h). Heaps
 * are never unmapped: a thread that ends flushes its heap and leaves it to the next one. A thread
 * without a heap yet has `heap_none`, one that is past its end (or has no memory for a heap)
 * `heap_gone`; their magazines are all empty for good, so each call goes to the pools.
 */
#ifndef LOWTIDE_CORE_HEAP_H
#define LOWTIDE_CORE_HEAP_H

#include "class.h"
#include "atomics.h"

#include <pthread.h>

struct magazine {
    void **top;
    void **limit;
};

/* What the fast paths do not read; core/magazine.c. */
struct desk {
    void **base;       /* the first slot; base[-1] is magazine_floor */
    uint16_t capacity; /* limit - base; the heap's share of the budget */
    uint16_t seen; /* blocks in it when housekeeping looked; ACTIVE = refilled or spilled since */
    uint16_t spilled;   /* blocks, since then, that did not come back yet */
    uint16_t came_back; /* blocks refilled after as many had been spilled, since then */
};

struct heap {
    struct magazine magazine[CLASS_BYTES];
    struct desk desk[CLASSES];
    uint8_t rests[CLASSES];        /* so many more looks a magazine is not enlarged; owner only */
    _Atomic(struct pool *) leased; /* the last pool it tried to lease; a forked child ends that */
    _Atomic(uint32_t) gate_depth;  /* in how many slow paths the owner is */
    _Atomic(uint64_t) refills;     /* written by the owner alone */
    _Atomic(uint64_t) spills;
    int64_t capacity_pages;    /* what the capacities could pin; owner only */
    int64_t capacity_bytes;    /* what they have room for; owner only */
    int64_t wide_pages;        /* of capacity_pages: for blocks above 32 KiB */
    int64_t tolerated_pages;   /* of that, since less could not be had; owner only */
    _Atomic(bool) is_dirty;    /* something may be given back since it was last flushed whole;
                                  heap_none's is shared */
    _Atomic(bool) is_asleep;   /* the owner is in a blocking call */
    flag is_orphan;            /* the owner was not forked with the rest */
    _Atomic(uint32_t) lending; /* core/lend.c */
    word has_news;             /* core/lend.c */
    uint32_t flush_round; /* limits.flush_round when it was last emptied for that; owner only */
    int64_t housekept_ms; /* for the slow-path hook's use; owner only */
    _Atomic(int64_t) refused_ms; /* for policy's use: when it last refused to give back */
    int64_t held_bytes;          /* in its magazines when last seen; 0 while none is enlarged */
    uint32_t enlarged;           /* magazines beyond their normal capacity */
    uint32_t classes_in_use;     /* with a capacity; owner only */
    uint32_t id;
    word closed;            /* 1: waits for a thread */
    pthread_mutex_t life;   /* robust, held by the owner; who finds that one dead takes over */
    _Atomic(bool) has_life; /* not yet for what was opened before heap_start */
} __attribute__((aligned(CACHE_LINE)));

/* What each thread has of its own, together so that one look-up finds all. A signal handler may
 * interrupt malloc or free and then make a blocking call, which must not flush the magazines under
 * their hands: in the fast paths `is_busy` says so, in slow paths, which may nest, `depth`. */
struct heap_thread {
    struct heap *current;
    struct heap *lent;       /* core/lend.h */
    volatile bool is_busy;   /* in malloc or free */
    bool is_heap_cold;       /* larger than caches: free does not look into blocks */
    volatile uint32_t depth; /* slow paths entered (core/gate.h) */
};
extern HIDDEN _Thread_local struct heap_thread heap_thread
    __attribute__((tls_model("initial-exec")));
#define heap_current heap_thread.current

/* Around what touches magazines outside of the gate. Whoever leaves a fast path for a slow one
 * leaves this to it. */
static inline void heap_busy(bool is_busy) {
    atomic_signal_fence(memory_order_seq_cst);
    heap_thread.is_busy = is_busy;
    atomic_signal_fence(memory_order_seq_cst);
}

/* The thread is in malloc or free, so the caller runs in a signal handler. */
static inline bool heap_is_in_use(void) { return heap_thread.is_busy || heap_thread.depth; }
extern HIDDEN struct heap heap_none, heap_gone;
extern HIDDEN void *magazine_floor[2];

/* The first word of a free block: its address, coded with a key of this process. The key's top bit
 * is set, so that no mark is NULL or an address. */
extern HIDDEN uintptr_t block_key;
static inline void *block_mark(const void *block) { return (void *)((uintptr_t)block ^ block_key); }

extern HIDDEN _Atomic(struct heap *) heap_table[MAX_HEAPS];
extern HIDDEN _Atomic(uint32_t) heap_count;

static inline bool heap_is_real(const struct heap *heap) {
    return heap != &heap_none && heap != &heap_gone;
}

/* libc's mutexes can be used from now on: before the constructors have run they may be those of a
 * library (a sanitizer, a tracer) that is not ready for calls. `opened` is called in each thread
 * that has or gets a heap, so that preload can arrange to hear of the thread's end. */
HIDDEN void heap_start(void (*opened)(void));

/* heap_start's; and what is called now and then on slow paths, holding nothing, so that policy can
 * look at its clock. Either may be NULL. */
extern HIDDEN void (*heap_opened_hook)(void);
extern HIDDEN void (*heap_slow_path_hook)(void);

/* Large buffers do not pass through a heap's slow paths; this is theirs. */
static inline void heap_note_large_call(void) {
    if (heap_is_real(heap_current) && heap_slow_path_hook) heap_slow_path_hook();
}

static inline void heap_note_lease(struct pool *pool) {
    relaxed_store(&heap_current->leased, pool);
}

/* The magazine of the class was empty (or the class has none): a block from the pools, or NULL when
 * the kernel has no more memory. *zero as pool_take. */
HIDDEN void *heap_refill(unsigned class_id, bool *zero);

/* The magazine of the block's class was full (or the class has none): the block goes on top or to
 * its pool. `m` is a magazine of heap_current. */
HIDDEN void heap_spill(void *block, struct magazine *m);

/* The block goes to its pool at once; unmarked, if its page is inherited. */
HIDDEN void heap_return_block(void *block, unsigned class_id);

/* Returns to the pools what the magazines hold of a heap that the caller owns or tends. */
HIDDEN void heap_empty(struct heap *heap);

/* Returns to the pools what the calling thread's magazines hold: of all classes, or of those not
 * used since the last call. */
HIDDEN void heap_flush(bool idle_only);

/* Returns everything to the pools and gives nothing to the kernel: for the end of the process, so
 * that a block freed twice whose second copy was never asked for is still reported. */
HIDDEN void heap_check_magazines(void);

/* The thread is about to end: flush, give the heap up, and go on without one. */
HIDDEN void heap_close(void);

/* In a forked child, at once: the heaps of the threads that are gone become orphans. */
HIDDEN void heap_after_fork(void);

/* Takes over what up to `most` orphans held. Their magazines may have been copied in the middle of
 * a change, so each block is asked for in the page map and its pool first. Not at once, since most
 * children go on to exec, and taking over unshares the pages of the blocks. */
HIDDEN void heap_adopt_orphans(unsigned most);

/* True when the block waits in a magazine of the class; other threads' are read without their
 * leave, so the answer for them is a guess that is right while they rest. */
HIDDEN bool heap_holds(unsigned class_id, const void *block);

/* Address space of one heap, without enlarged magazines. */
HIDDEN size_t heap_bytes(void);

/* Blocks of a class that wait in the magazines of all threads. */
HIDDEN size_t heap_waiting_blocks(unsigned class_id);

#endif
