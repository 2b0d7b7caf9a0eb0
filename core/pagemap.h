/* The page map: what each 4 KiB page of the address space is to us, one byte a page.
 *
 * Two levels: a root entry for each GiB, and leaves of 256 KiB, mapped when first needed and never
 * unmapped. free() reads this byte and, beyond the block itself, nothing else of the heap; every
 * pointer from outside is judged by it before anything near that pointer is touched. Beside the
 * bytes a leaf holds an owner for each 64 KiB: the record of an arena, or the bytes of the large
 * buffer that begins there.
 *
 * Whoever owns a page writes its byte; readers of a page they have no block in may see any moment
 * of it.
 */
#ifndef LOWTIDE_CORE_PAGEMAP_H
#define LOWTIDE_CORE_PAGEMAP_H

#include "atomics.h"
#include "class.h"

enum {
    LEAF_SHIFT = 30,
    LEAF_PAGES = 1 << (LEAF_SHIFT - PAGE_SHIFT),
    ROOT_ENTRIES = 1 << (ADDRESS_BITS - LEAF_SHIFT),
    OWNER_SHIFT = 16,
    OWNER_BYTES = 1 << OWNER_SHIFT,
    LEAF_OWNERS = 1 << (LEAF_SHIFT - OWNER_SHIFT),
};

struct pagemap_leaf {
    _Atomic(uint8_t) page[LEAF_PAGES];
    _Atomic(uintptr_t) owner[LEAF_OWNERS];
};

/* What a free needs to tell a block's start from other addresses, by the byte of its page.
 * offset * multiplier (mod 2^64) is below `bound` exactly for the starts of the pool's blocks:
 * multiplier = floor((2^64 - 1) / size) + 1, so a multiple k * size gives k * (size * multiplier -
 * 2^64), a small number that grows with k, and everything else something larger. All-zero (what is
 * no class, and every class before pagemap_init) holds for no address. Twice the step of a heap's
 * magazines, so that one index, scaled, serves both. */
struct class_check {
    uint64_t multiplier;
    uint64_t bound;
    uint64_t offset_mask; /* pool bytes - 1 */
    uint64_t unused;
};

/* One structure, so that free() has all of it behind one base register. A root entry is a leaf's
 * address less (GiB number << 18), so that it is indexed by the page number of the whole address; 0
 * = no leaf. */
struct pagemap {
    _Atomic(uintptr_t) root[ROOT_ENTRIES];
    struct class_check check[PAGE_VALUES];
} __attribute__((aligned(PAGE_BYTES)));
extern HIDDEN struct pagemap pagemap;

/* Fills the checks from the class table. */
HIDDEN void pagemap_init(void);

/* The byte of the page that holds `address`; CLASS_NONE for everything unknown. */
static ALWAYS_INLINE unsigned pagemap_byte(uintptr_t address) {
    uintptr_t gib = address >> LEAF_SHIFT;
    if (UNLIKELY(gib >= ROOT_ENTRIES)) return CLASS_NONE;
    uintptr_t leaf = acquire_load(&pagemap.root[gib]);
    if (UNLIKELY(!leaf)) return CLASS_NONE;
    return relaxed_load((_Atomic(uint8_t) *)(leaf + (address >> PAGE_SHIFT)));
}

/* Its class. */
static ALWAYS_INLINE unsigned pagemap_class(uintptr_t address) {
    return pagemap_byte(address) & ~(unsigned)PAGE_INHERITED;
}

/* True when a block of the class, which is that of the address's page, begins at the address. */
static ALWAYS_INLINE bool pagemap_is_block_start(uintptr_t address, unsigned class_id) {
    const struct class_check *check = &pagemap.check[class_id];
    return (address & check->offset_mask) * check->multiplier < check->bound;
}

/* The same for free(): goes to `label` when no block begins there. `step` is the class times 16.
 * The compiler spends two instructions more on the plain form. */
#ifdef __x86_64__
#define CHECK_BLOCK_START(map, step, address, label)                                               \
    __asm__ goto(                                                                                  \
        "mov %c[mask](%[m],%[s],2), %%rcx\n\tand %[a], %%rcx\n\t"                                  \
        "imul %c[multiplier](%[m],%[s],2), %%rcx\n\tcmp %c[bound](%[m],%[s],2), %%rcx\n\t"         \
        "jae %l[" #label "]"                                                                       \
        :                                                                                          \
        : [m] "r"(map), [s] "r"(step), [a] "r"(address),                                           \
          [mask] "i"(offsetof(struct pagemap, check) + offsetof(struct class_check, offset_mask)), \
          [multiplier] "i"(offsetof(struct pagemap, check)),                                       \
          [bound] "i"(offsetof(struct pagemap, check) + offsetof(struct class_check, bound))       \
        : "rcx", "cc", "memory"                                                                    \
        : label)
#else
#define CHECK_BLOCK_START(map, step, address, label) \
    if (!pagemap_is_block_start(address, (unsigned)((step) / 16))) goto label
#endif

static inline struct pagemap_leaf *pagemap_leaf(uintptr_t address) {
    uintptr_t gib = address >> LEAF_SHIFT;
    return (struct pagemap_leaf *)(acquire_load(&pagemap.root[gib]) +
                                   (gib << (LEAF_SHIFT - PAGE_SHIFT)));
}

/* The owner word for `address`, whose page is known to be ours. */
static inline _Atomic(uintptr_t) *pagemap_owner(uintptr_t address) {
    return &pagemap_leaf(address)->owner[address >> OWNER_SHIFT & (LEAF_OWNERS - 1)];
}

/* Makes leaves for the range; false when the kernel gives no memory for them. */
HIDDEN bool pagemap_reserve(uintptr_t base, size_t bytes);

/* Sets the bytes of a range whose leaves exist. */
HIDDEN void pagemap_fill(uintptr_t base, size_t bytes, unsigned class_id);

/* Sets the byte of one page. */
static inline void pagemap_set_page(uintptr_t base, unsigned class_id) {
    struct pagemap_leaf *leaf = pagemap_leaf(base);
    relaxed_store(&leaf->page[base >> PAGE_SHIFT & (LEAF_PAGES - 1)], (uint8_t)class_id);
}

/* In a forked child, before anything else: pages that it shares with its parent. What it frees in
 * them goes to their pools unmarked, since a mark would be the write that makes the kernel copy the
 * page; a page from which it takes a block is its own. `pages` begin at `base`, within a leaf. */
HIDDEN void pagemap_inherit(uintptr_t base, unsigned pages);
extern HIDDEN bool pagemap_has_inherited;

/* Bytes of leaves mapped. */
HIDDEN size_t pagemap_leaf_bytes(void);

#endif
