/* The words of lowtide and every shared structure, in one place.
 *
 *   block     the bytes handed to the program
 *   pool      a naturally aligned run of 1, 4, 16 or 64 pages that holds blocks of one class; the
 *             tiers differ in nothing else: 1 page is the small tier, more pages are its slabs
 *   page      PAGE_BYTES (4 KiB), the unit of all bookkeeping
 *   OS page   the kernel's page, read at run time (4, 16 or 64 KiB)
 *   arena     ARENA_BYTES (256 KiB), aligned to its size: 64 pages, nothing but blocks
 *   tier      the arenas whose pools have one size: tier t has pools of 4^t pages
 *   record    an arena's descriptors, elsewhere: 64 cache lines, line i describes the pool that
 *             begins at page i
 *   group     64 arenas of one tier: their records, their words and the sums of those words
 *   large     a buffer with a mapping of its own
 *   live      a page with at least one block taken (by the program or by a magazine), or a page
 *             of a large buffer in use
 *   retained  a page resident but not live: kept for reuse
 *   released  given back to the kernel: unmapped, or MADV_DONTNEED
 *   ring      what one tier retains, or the cache of large buffers: within it any page serves any
 *             class, so memory that lies idle or bounces does so a ring at a time
 *   magazine  a thread's stack of blocks of one class, in front of the pools
 *
 * A pool is a bitmap (a bit set = that block is free) and a state:
 *
 *   FREE      the whole pool is free; the arena's `fresh` or `ready` word has its bit, or somebody
 *             who cleared that bit is at work on it. All other fields mean nothing. An all-zero
 *             descriptor is a FREE pool: a record that the kernel took reads as "nothing to do".
 *   LEASED    one thread holds it; only it may clear bits of `free`, read or write `live`, and
 *             return the pool to its arena.
 *   LISTED    some blocks are free; the arena's partial[class] word has (or will get) its bit.
 *   FULL      no block was free when the lease ended.
 *
 * Anybody returns blocks at any time by setting bits; blocks are taken only under the lease. The
 * protocol is core/pool.c; test/model/pool.pml and slab.pml check it.
 *
 * Words are 64 bits and are searched lowest first; an index (core/index.h) is a bitmap of bitmaps
 * over groups. A bit in a higher word is a hint: it may be set for nothing, but is never missing
 * for long.
 */
#ifndef LOWTIDE_CORE_TYPES_H
#define LOWTIDE_CORE_TYPES_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#if UINTPTR_MAX != UINT64_MAX
#error "lowtide is for 64-bit programs: i386, x32 and 32-bit ARM are not supported"
#endif

#define LIKELY(x)     __builtin_expect(!!(x), 1)
#define UNLIKELY(x)   __builtin_expect(!!(x), 0)
#define CACHE_LINE    64
#define HIDDEN        __attribute__((visibility("hidden")))
#define NOINLINE      __attribute__((noinline))
#define ALWAYS_INLINE inline __attribute__((always_inline))
/* For large static data of which little gets touched: apart, so that all small data shares a few
 * pages. The linker sorts sections by name. */
#define TABLE __attribute__((section(".bss.table")))

/* ---- geometry ---- */
enum {
#ifdef __x86_64__
    ADDRESS_BITS = 47, /* that the kernel gives to those who do not ask for more by a hint */
#else
    ADDRESS_BITS = 48,
#endif
    PAGE_SHIFT = 12,
    PAGE_BYTES = 1 << PAGE_SHIFT,
    ARENA_SHIFT = 18,
    ARENA_BYTES = 1 << ARENA_SHIFT,
    ARENA_PAGES = ARENA_BYTES / PAGE_BYTES, /* 64: one bit each in a word */
    TIERS = 4,                              /* pools of 1, 4, 16, 64 pages */
    GROUP_ARENAS = 64,
    MAX_GROUPS = 1 << 16, /* 1 TiB of blocks up to SLAB_MAX; large buffers do not count */
    MAX_HEAPS = 1 << 16,
    MAGAZINE_BLOCKS = 127,
};

/* False for what no address space holds, whatever is given back. What passes is small enough that
 * sums with it cannot wrap. */
static inline bool is_addressable(size_t alignment, size_t bytes) {
    const size_t end = (size_t)1 << ADDRESS_BITS;
    return alignment < end && bytes < end - alignment;
}

/* ---- classes: the byte of the page map, and the index of a magazine ---- */
enum {
    CLASS_NONE = 0, /* not ours */
    SMALL_CLASSES = 32,
    SMALL_MAX = SMALL_CLASSES * 16, /* 512 B: class c holds 16 * c bytes */
    SLAB_CLASSES = 64,              /* 8 for each doubling, so at most 12.5 % apart */
    SLAB_MAX = 1 << 17,             /* 128 KiB; above it a mapping of its own */
    CLASSES = 1 + SMALL_CLASSES + SLAB_CLASSES,
    CLASS_FREE = CLASSES, /* a page of ours that holds no block */
    CLASS_LARGE,          /* the first page of a large buffer */
    CLASS_LARGE_BODY,     /* the others */
    CLASS_LARGE_SEAM,     /* of those, the second of 64 KiB with which another mapping begins */
    CLASS_BYTES,          /* how many there are */
    TIER_CLASSES = 32,    /* classes of one tier, at most */
    PAGE_INHERITED =
        128,           /* added to a block class: a page that a forked child has not used itself */
    PAGE_VALUES = 256, /* of a page-map byte */
};
_Static_assert((int)CLASS_BYTES <= (int)PAGE_INHERITED, "a bit beside the class");

/* ---- rings: tier t's is t ---- */
enum { RING_LARGE = TIERS, RINGS, ALL_RINGS = RINGS };

typedef _Atomic(uint64_t) word;
typedef _Atomic(uint32_t) flag; /* a truth that is exchanged: not all machines exchange bytes */

enum pool_state { POOL_FREE = 0, POOL_FULL, POOL_LISTED, POOL_LEASED };

struct pool {
    word free[4];              /* a bit a block; set = free. 4 KiB / 16 B = 256 bits */
    _Atomic(uint32_t) state;   /* enum pool_state */
    _Atomic(uint8_t) class_id; /* unless FREE; a late reader may see another pool's */
    uint64_t live;             /* bit a page of this pool: live. Guarded by the lease */
} __attribute__((aligned(CACHE_LINE)));

_Static_assert(sizeof(struct pool) == CACHE_LINE, "a pool's descriptor is one cache line");

struct record {
    struct pool pool[ARENA_PAGES]; /* of pools of n pages only every n-th is used */
};

struct arena {
    _Atomic(uintptr_t) base;    /* 0 = not mapped */
    word fresh;                 /* free pools with no resident page (bit = pool's first page) */
    word ready;                 /* free pools with a resident page */
    word retained;              /* pages resident and not live; guarded like `live`, bits by RMW */
    word offered;               /* of those, the ones that the kernel may take (os_return_lazily) */
    word partial[TIER_CLASSES]; /* bit a pool of that class (within the tier) that is LISTED */
} __attribute__((aligned(CACHE_LINE)));

/* Sums: bit a = arena a's word of that name has a bit. */
struct group {
    struct record record[GROUP_ARENAS];
    struct arena arena[GROUP_ARENAS];
    uint32_t id;
    uint32_t tier;
    word unmapped; /* arenas that have no memory: slots to map into */
    word fresh;
    word ready;
    word retained;
    word partial[TIER_CLASSES];
};

#endif
