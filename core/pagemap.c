/* For what, threads and failure: pagemap.h. Leaves are published with a compare-and-swap; the loser
 * unmaps its own. */
#include "pagemap.h"

#include "os.h"

TABLE struct pagemap pagemap;
static _Atomic(int64_t) leaves;

static uintptr_t leaf_bias(uintptr_t gib) { return gib << (LEAF_SHIFT - PAGE_SHIFT); }

void pagemap_init(void) {
    for (unsigned c = 1; c < CLASSES; c++) {
        const struct class_info *info = &class_table[c];
        uint64_t multiplier = ~0ull / info->block_bytes + 1;
        pagemap.check[c] = (struct class_check){
            .multiplier = multiplier,
            .bound = (info->blocks - 1u) * (multiplier * info->block_bytes) + 1,
            .offset_mask = tier_pool_pages(info->tier) * (uint64_t)PAGE_BYTES - 1};
    }
}

bool pagemap_reserve(uintptr_t base, size_t bytes) {
    if (base + bytes > (uintptr_t)ROOT_ENTRIES << LEAF_SHIFT) return false;
    for (uintptr_t gib = base >> LEAF_SHIFT; gib <= (base + bytes - 1) >> LEAF_SHIFT; gib++) {
        if (acquire_load(&pagemap.root[gib])) continue;
        uintptr_t leaf = os_map(sizeof(struct pagemap_leaf), os_page_bytes, 0);
        if (!leaf) return false;
        uintptr_t none = 0;
        if (atomic_compare_exchange_strong(&pagemap.root[gib], &none, leaf - leaf_bias(gib)))
            count_add(&leaves, 1);
        else
            os_discard(leaf, sizeof(struct pagemap_leaf));
    }
    return true;
}

/* Readers may look at any moment, so no memset: relaxed stores, eight bytes at a time where they
 * fit. */
static void fill_bytes(_Atomic(uint8_t) *byte, size_t n, unsigned class_id) {
    uint64_t eight = class_id * 0x0101010101010101ull;
    while (n && ((uintptr_t)byte % 8 || n < 8)) {
        relaxed_store(byte++, (uint8_t)class_id);
        n--;
    }
    for (; n >= 8; n -= 8, byte += 8) relaxed_store((word *)byte, eight);
    for (; n; n--) relaxed_store(byte++, (uint8_t)class_id);
}

void pagemap_fill(uintptr_t base, size_t bytes, unsigned class_id) {
    while (bytes) {
        uintptr_t first = base >> PAGE_SHIFT & (LEAF_PAGES - 1);
        size_t pages = bytes >> PAGE_SHIFT;
        if (pages > LEAF_PAGES - first) pages = LEAF_PAGES - first;
        fill_bytes(&pagemap_leaf(base)->page[first], pages, class_id);
        base += pages << PAGE_SHIFT;
        bytes -= pages << PAGE_SHIFT;
    }
}

bool pagemap_has_inherited;

void pagemap_inherit(uintptr_t base, unsigned pages) {
    _Atomic(uint8_t) *byte = &pagemap_leaf(base)->page[base >> PAGE_SHIFT & (LEAF_PAGES - 1)];
    for (unsigned i = 0; i < pages; i++) {
        unsigned class_id = relaxed_load(&byte[i]);
        if (is_block_class(class_id)) relaxed_store(&byte[i], (uint8_t)(class_id | PAGE_INHERITED));
    }
    pagemap_has_inherited = true;
}

size_t pagemap_leaf_bytes(void) {
    return (size_t)relaxed_load(&leaves) * sizeof(struct pagemap_leaf);
}
