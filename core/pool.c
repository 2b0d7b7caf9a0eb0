/* Pools: the protocol by which threads share them without locks and without owners.
 *
 *   pool_take     partial hint -> LISTED -> LEASED by compare-and-swap, take bits, unlease.
 *   pool_begin    no partial pool: a free one, owned through its arena bit, becomes LEASED, or what
 * a lease would leave at once.
 *   pool_return   set bits; then whatever is read may be stale, and leads only to steps that check
 * again: FULL -> LISTED (who wins sets the hint), LISTED and something to settle -> LEASED.
 *   pool_unlease  ends a lease: settles pages that became free, retires a pool that is all free,
 * else LISTED or FULL, and looks at the bitmap once more after the state is visible, because who
 * returned a block meanwhile saw LEASED and went away.
 *
 * "Settle" moves pages whose blocks are all free from live to retained. In the small tier a page is
 * the pool, so it settles only by retiring. The models test/model/pool.pml and slab.pml have the
 * same names; change both.
 */
#include "pool.h"

#include "arena.h"
#include "budget.h"
#include "check.h"
#include "core.h"
#include "heap.h"
#include "os.h"
#include "release.h"
#include "report.h"

/* How many pools a refill visits: enough to fill a magazine where pools are nearly full, few enough
 * that one malloc stays short; and how many pages it begins where no pool has a block. */
enum { POOLS_VISITED = 8, PAGES_BEGUN = 4 };

/* ---- bitmaps ---- */

static bool has_free_block(const struct pool *pool, const struct class_info *info) {
    for (unsigned w = 0; w < info->words; w++)
        if (atomic_load(&pool->free[w])) return true;
    return false;
}

static bool is_all_free(const struct pool *pool, const struct class_info *info) {
    for (unsigned w = 0; w < info->words; w++)
        if (atomic_load(&pool->free[w]) != class_word_mask(info, w)) return false;
    return true;
}

static void *block_address(const struct pool *pool, const struct class_info *info, unsigned block) {
    return (void *)(pool_base(pool) + block * (uintptr_t)info->block_bytes);
}

static uint64_t block_pages(const struct class_info *info, unsigned block) {
    uint32_t start = block * info->block_bytes, end = start + info->block_bytes - 1;
    unsigned first = start >> PAGE_SHIFT;
    return bit_run(first, (end >> PAGE_SHIFT) - first + 1);
}

/* Pools of several pages have fewer than 64 blocks: one word. */
static uint64_t blocks_pages(const struct class_info *info, uint64_t blocks) {
    uint64_t pages = 0;
    if (blocks == class_word_mask(info, 0))
        return bit_run(0, (info->blocks * info->block_bytes + PAGE_BYTES - 1) >> PAGE_SHIFT);
    for (; blocks; blocks &= blocks - 1) pages |= block_pages(info, lowest_bit(blocks));
    return pages;
}

uint64_t pool_pages_in_use(const struct pool *pool, unsigned class_id) {
    const struct class_info *info = &class_table[class_id];
    if (info->tier == 0) return !is_all_free(pool, info);
    return blocks_pages(info, class_word_mask(info, 0) & ~atomic_load(&pool->free[0]));
}

bool pool_block_is_free(unsigned class_id, const void *block) {
    const struct class_info *info = &class_table[class_id];
    uintptr_t address = (uintptr_t)block;
    if (UNLIKELY(pagemap_class(address) != class_id)) return true;
    struct pool *pool = pool_of_address(address, info->tier);
    uint64_t offset = address & pagemap.check[class_id].offset_mask;
    unsigned i = (unsigned)(offset * info->reciprocal >> 32);
    return atomic_load(&pool->free[i / 64]) >> i % 64 & 1;
}

/* ---- lease ---- */

static bool pool_lease(struct pool *pool) {
    heap_note_lease(pool);
    return state_change(&pool->state, POOL_LISTED, POOL_LEASED);
}

static struct path partial_path(struct pool *pool, unsigned class_id) {
    return arena_path_partial(pool_group(pool), pool_slot(pool), class_id);
}

static void hint_partial(struct pool *pool, unsigned class_id) {
    if (!is_block_class(class_id)) return; /* a late reader saw a record that was released */
    struct path partial = partial_path(pool, class_id);
    path_add(&partial, 1ull << pool_first_page(pool));
}

static void unhint_partial(struct pool *pool, unsigned class_id) {
    struct path partial = partial_path(pool, class_id);
    uint64_t bit = 1ull << pool_first_page(pool);
    if (atomic_load(partial.bits) & bit) path_remove(&partial, bit);
}

/* Pages of the pool that are live though no block in them is taken. */
static uint64_t pages_to_settle(const struct pool *pool, const struct class_info *info) {
    if (info->tier == 0) return is_all_free(pool, info) ? pool->live : 0;
    uint64_t taken = class_word_mask(info, 0) & ~atomic_load(&pool->free[0]);
    return pool->live & ~blocks_pages(info, taken);
}

static void retain_pages(struct pool *pool, uint64_t pages) {
    if (!pages) return;
    pool->live &= ~pages;
    struct path retained = arena_path_retained(pool_group(pool), pool_slot(pool));
    if (UNLIKELY(os_return_lazily))
        word_clear(&pool_arena(pool)->offered, pages << pool_first_page(pool));
    path_add(&retained, pages << pool_first_page(pool));
    int64_t n = count_bits(pages);
    count_add(&counters.live_pages, -n);
    count_add(&counters.retained_pages[pool_group(pool)->tier], n);
}

/* The page map's bytes of the pool. */
static void mark_pool(struct pool *pool, const struct class_info *info, unsigned class_id) {
    if (info->tier)
        pagemap_fill(pool_base(pool), tier_pool_pages(info->tier) * (size_t)PAGE_BYTES, class_id);
    else
        pagemap_set_page(pool_base(pool), class_id);
}

/* Under the lease, all blocks free: nobody else can come to hold one, so the pool goes back whole.
 * The bitmap stays as it is, for whoever returns one of the blocks a second time just now and has
 * found the page map as it was before. */
static void pool_retire(struct pool *pool, const struct class_info *info, unsigned class_id) {
    unhint_partial(pool, class_id);
    retain_pages(pool, pool->live);
    mark_pool(pool, info, CLASS_FREE);
    state_store(&pool->state, POOL_FREE);
    arena_return_pool(pool);
}

/* All of its pages that a block reaches. */
static uint64_t class_pages(const struct class_info *info) {
    return blocks_pages(info, class_word_mask(info, 0));
}

/* Lists a pool that is FULL. Whoever does so answers for all blocks that came back meanwhile: who
 * returned them saw LEASED, and who ended that lease finds the pool listed; both are gone. Another
 * pool may live here by now, so the class is read again; all its pages are live, since it was full.
 * NULL: somebody else did it. */
static const struct class_info *pool_list(struct pool *pool) {
    if (!state_change(&pool->state, POOL_FULL, POOL_LISTED)) return NULL;
    unsigned class_id = relaxed_load(&pool->class_id);
    if (!is_block_class(class_id)) return NULL; /* gone again, and its record released */
    hint_partial(pool, class_id);
    return &class_table[class_id];
}

/* Whether the pool, LISTED, has become free, or one of those pages, which were live. */
static bool has_to_settle(const struct pool *pool, const struct class_info *info, uint64_t pages) {
    if (is_all_free(pool, info)) return true;
    return info->tier &&
           pages & ~blocks_pages(info, class_word_mask(info, 0) & ~atomic_load(&pool->free[0]));
}

void pool_unlease(struct pool *pool) {
    unsigned class_id = relaxed_load(&pool->class_id);
    const struct class_info *info = &class_table[class_id];
    for (;;) {
        if (is_all_free(pool, info)) {
            pool_retire(pool, info, class_id);
            return;
        }
        if (info->tier) retain_pages(pool, pages_to_settle(pool, info));
        uint64_t live = pool->live;
        if (has_free_block(pool, info)) {
            hint_partial(pool, class_id);
            state_store(&pool->state, POOL_LISTED);
        } else {
            unhint_partial(pool, class_id);
            state_store(&pool->state, POOL_FULL);
            if (!has_free_block(pool, info) || !(info = pool_list(pool))) return;
            live = class_pages(info);
        }
        /* Who freed the last block of a page, or of the pool, while the lease was held left it to
         * us; in the latter case the page may have been settled with the others. */
        if (is_single_threaded() || !has_to_settle(pool, info, live) || !pool_lease(pool)) return;
        class_id = relaxed_load(&pool->class_id);
        info = &class_table[class_id];
    }
}

void pool_end_orphaned_lease(struct pool *pool) {
    if (relaxed_load(&pool->state) == POOL_LEASED && is_block_class(relaxed_load(&pool->class_id)))
        pool_unlease(pool);
}

/* ---- taking ---- */

/* A random one of the bits that are set, where blocks are checked; with them goes want = 1. */
static uint64_t any_bit(uint64_t bits) {
    for (unsigned skip = bits ? check_random(count_bits(bits)) : 0; skip; skip--) bits &= bits - 1;
    return bits & -bits;
}

/* The caller holds the lease. */
static void make_own(struct pool *pool, const struct class_info *info) {
    if (pagemap_byte(pool_base(pool)) & PAGE_INHERITED)
        mark_pool(pool, info, relaxed_load(&pool->class_id));
}

/* Likewise. */
static unsigned take_leased(struct pool *pool, const struct class_info *info, unsigned want,
                            void **out, bool *zero) {
    uintptr_t base = pool_base(pool);
    unsigned got = 0;
    uint64_t taken = 0;
    if (UNLIKELY(pagemap_has_inherited)) make_own(pool, info);
    for (unsigned w = 0; w < info->words && got < want; w++) {
        uint64_t offered = relaxed_load(&pool->free[w]);
        if (UNLIKELY(core_check_level > 1)) offered = any_bit(offered);
        uint64_t left = offered;
        for (; left && got < want; left &= left - 1)
            out[got++] =
                (void *)(base + (w * 64 + lowest_bit(left)) * (uintptr_t)info->block_bytes);
        taken = offered & ~left;
        if (taken) word_clear(&pool->free[w], taken);
    }
    if (zero) *zero = false;
    if (info->tier == 0) return got;

    uint64_t fresh = blocks_pages(info, taken) & ~pool->live;
    struct path path = arena_path_retained(pool_group(pool), pool_slot(pool));
    uint64_t resident = atomic_load(path.bits) & fresh << pool_first_page(pool);
    if (zero) *zero = !resident && fresh == blocks_pages(info, taken);
    if (resident) {
        path_remove(&path, resident);
        count_add(&counters.retained_pages[info->tier], -(int64_t)count_bits(resident));
    }
    pool->live |= fresh;
    if (fresh)
        budget_count_live(info->tier, count_bits(fresh & ~(resident >> pool_first_page(pool))),
                          count_bits(resident));
    return got;
}

/* The hint led to a pool that was FULL or FREE. It may have been claimed since by a thread that has
 * set the hint and not yet the state, so LEASED counts like LISTED; a hint too many is harmless. */
static void drop_stale_hint(struct pool *pool, unsigned class_id) {
    unhint_partial(pool, class_id);
    uint32_t state = atomic_load(&pool->state);
    if ((state == POOL_LISTED || state == POOL_LEASED) && relaxed_load(&pool->class_id) == class_id)
        hint_partial(pool, class_id);
}

static unsigned take_from(struct pool *pool, unsigned class_id, unsigned want, void **out,
                          bool *zero) {
    uint32_t state = atomic_load(&pool->state);
    if (state != POOL_LISTED) {
        if (state != POOL_LEASED) drop_stale_hint(pool, class_id);
        return 0;
    }
    if (!pool_lease(pool)) return 0;
    unsigned got = 0;
    if (relaxed_load(&pool->class_id) == class_id)
        got = take_leased(pool, &class_table[class_id], want, out, zero);
    else
        unhint_partial(pool, class_id);
    pool_unlease(pool);
    return got;
}

static unsigned take_partial(unsigned class_id, unsigned want, void **out, bool *zero) {
    struct index *index = &index_table[INDEX_PARTIAL + class_id];
    unsigned got = 0, visits = POOLS_VISITED;
    for (uint32_t id = index_next(index, 0); id != INDEX_NONE; id = index_next(index, id + 1)) {
        struct group *g = atomic_load(&group_table[id]);
        struct path p = arena_path_partial(g, 0, class_id);
        uint64_t slots = atomic_load(p.sum);
        if (!slots) index_settle(index, id, p.sum);
        for (; slots; slots &= slots - 1) {
            p = arena_path_partial(g, lowest_bit(slots), class_id);
            uint64_t pools = atomic_load(p.bits);
            if (!pools) path_remove(&p, 0);
            for (; pools; pools &= pools - 1) {
                got += take_from(&g->record[p.slot].pool[lowest_bit(pools)], class_id, want - got,
                                 out + got, zero);
                if (got == want || (got && !--visits)) return got;
            }
        }
    }
    return got;
}

/* Begins a free pool of several pages; they become live when blocks in them are taken. */
static unsigned begin_slab(struct pool *pool, unsigned class_id, unsigned want, void **out,
                           bool *zero) {
    const struct class_info *info = &class_table[class_id];
    relaxed_store(&pool->free[0], class_word_mask(info, 0));
    pool->live = 0;
    mark_pool(pool, info, class_id);
    state_store(&pool->state, POOL_LEASED);
    unsigned got = take_leased(pool, info, want, out, zero);
    pool_unlease(pool);
    return got;
}

static void page_becomes_live(struct pool *pool) {
    struct path retained = arena_path_retained(pool_group(pool), pool_slot(pool));
    uint64_t page = 1ull << pool_first_page(pool);
    bool is_resident = atomic_load(retained.bits) & page;
    if (is_resident) {
        path_remove(&retained, page);
        count_add(&counters.retained_pages[0], -1);
    }
    pool->live = 1;
    budget_count_live(0, !is_resident, is_resident);
}

/* Begins a free pool of one page: its first blocks are taken. Where that is all of them it need not
 * be LEASED, since nobody can return a block before one was handed out. */
static unsigned begin_page(struct pool *pool, unsigned class_id, unsigned want, void **out,
                           bool *zero) {
    const struct class_info *info = &class_table[class_id];
    uintptr_t base = pool_base(pool);
    unsigned got = want < info->blocks ? want : info->blocks;
    unsigned first = UNLIKELY(core_check_level > 1) ? check_random(info->blocks) : 0;
    for (unsigned i = 0; i < got; i++) out[i] = block_address(pool, info, first + i);
    for (unsigned w = 0; w < info->words; w++) {
        uint64_t taken = got <= w * 64 ? 0 : bit_run(0, got - w * 64);
        if (first) taken = first / 64 == w ? 1ull << first % 64 : 0;
        relaxed_store(&pool->free[w], class_word_mask(info, w) & ~taken);
    }
    if (zero) *zero = false;
    page_becomes_live(pool);
    pagemap_set_page(base, class_id);
    if (got < info->blocks) {
        state_store(&pool->state, POOL_LEASED); /* before the hint: see drop_stale_hint */
        hint_partial(pool, class_id);
    }
    state_store(&pool->state, got < info->blocks ? POOL_LISTED : POOL_FULL);
    return got;
}

/* Blocks of a pool that was free; 0 = the kernel has no more memory. */
static unsigned pool_begin(unsigned class_id, unsigned want, void **out, bool *zero) {
    struct pool *pool = arena_claim_pool(class_table[class_id].tier);
    if (!pool) return 0;
    heap_note_lease(pool);
    relaxed_store(&pool->class_id, (uint8_t)class_id);
    return class_table[class_id].tier ? begin_slab(pool, class_id, want, out, zero)
                                      : begin_page(pool, class_id, want, out, zero);
}

unsigned pool_take(unsigned class_id, unsigned want, void **out, bool *zero) {
    const struct class_info *info = &class_table[class_id];
    unsigned got = take_partial(class_id, want, out, zero), pages = got ? PAGES_BEGUN : 0;
    for (; pages < PAGES_BEGUN && got < want; pages += tier_pool_pages(info->tier)) {
        unsigned more = pool_begin(class_id, want - got, out + got, zero);
        if (!more) break;
        got += more;
    }
    count_add(&counters.taken_bytes, (int64_t)got * info->block_bytes);
    return got;
}

/* ---- returning ---- */

/* After blocks were returned: lists the pool if it was FULL, settles what they made free if nobody
 * holds the lease. Owns nothing: every step checks again. */
static void pool_tend(struct pool *pool, const struct class_info *info, uint64_t pages) {
    uint32_t state = atomic_load(&pool->state);
    if (state == POOL_FULL) {
        const struct class_info *listed = NULL;
        if (!info->tier && is_all_free(pool, info)) { /* at once: it need not be listed */
            heap_note_lease(pool);
            if (state_change(&pool->state, POOL_FULL, POOL_LEASED)) {
                pool_unlease(pool);
                return;
            }
        } else if ((listed = pool_list(pool))) {
            info = listed;
            pages = class_pages(info);
        }
        state = atomic_load(&pool->state);
    }
    if (state != POOL_LISTED && atomic_load(&pool->state) != POOL_LISTED) return;
    if (has_to_settle(pool, info, pages) && pool_lease(pool)) pool_unlease(pool);
}

static void return_to_word(struct pool *pool, unsigned w, uint64_t bits, unsigned class_id) {
    const struct class_info *info = &class_table[class_id];
    uint64_t pages = info->tier ? blocks_pages(info, bits) : 0;
    uint64_t twice = word_or(&pool->free[w], bits) & bits;
    if (UNLIKELY(twice))
        report_misuse("double free", block_address(pool, info, w * 64 + lowest_bit(twice)));
    pool_tend(pool, info, pages);
}

/* A few at a time: first where each belongs, so that the descriptors' cache lines are on their way,
 * then one atomic operation for each run of blocks of one word. */
enum { RETURN_BATCH = 32 };

struct place {
    struct pool *pool;
    uint64_t bits;
    unsigned word;
};

static unsigned find_places(unsigned class_id, void *const *blocks, unsigned n,
                            struct place *places) {
    const uint64_t offset_mask = pagemap.check[class_id].offset_mask;
    const uint32_t reciprocal = class_table[class_id].reciprocal;
    const unsigned tier = class_table[class_id].tier;
    struct place last = {0}; /* not at `places`: a mark could be written there, for all the compiler
                                knows */
    unsigned found = 0;
    uintptr_t base = 0; /* of its pool */
    bool is_inherited = false;
    for (unsigned i = 0; i < n; i++) {
        uintptr_t address = (uintptr_t)blocks[i];
        unsigned block = (unsigned)((address & offset_mask) * reciprocal >> 32);
        uint64_t bit = 1ull << block % 64;
        if ((address & ~offset_mask) == base && block / 64 == last.word && !(last.bits & bit)) {
            last.bits |= bit;
        } else {
            unsigned byte = pagemap_byte(address);
            is_inherited = byte == (class_id | PAGE_INHERITED);
            if (UNLIKELY(byte != class_id && !is_inherited))
                report_misuse("double free", blocks[i]); /* its pool is gone */
            if (base) places[found++] = last;
            base = address & ~offset_mask;
            last = (struct place){pool_of_address(address, tier), bit, block / 64};
            __builtin_prefetch(last.pool, 1);
        }
        /* the second mark: it is in its pool (core.h) */
        if (LIKELY(!is_inherited)) ((void **)address)[1] = blocks[i];
    }
    places[found++] = last;
    return found;
}

void pool_return(unsigned class_id, void *const *blocks, unsigned n) {
    struct place places[RETURN_BATCH];
    count_add(&counters.taken_bytes, -(int64_t)n * class_table[class_id].block_bytes);
    for (unsigned done = 0; done < n;) {
        unsigned batch = n - done < RETURN_BATCH ? n - done : RETURN_BATCH;
        unsigned found = find_places(class_id, blocks + done, batch, places);
        for (unsigned i = 0; i < found; i++)
            return_to_word(places[i].pool, places[i].word, places[i].bits, class_id);
        done += batch;
    }
}

/* ---- release inside a pool ---- */

void pool_release_pages(struct release *r, struct pool *pool) {
    /* FULL too: an earlier class may have touched pages that this one's blocks do not reach. */
    if (!pool_lease(pool) && !state_change(&pool->state, POOL_FULL, POOL_LEASED)) return;
    unsigned class_id = relaxed_load(&pool->class_id), first = pool_first_page(pool);
    uint64_t idle =
        ~(pool->live << first) & bit_run(first, tier_pool_pages(class_table[class_id].tier));
    release_leased_pool(
        r, pool, os_page_fold(idle) & os_page_spread(arena_unreleased(pool_arena(pool)) & idle));
}
