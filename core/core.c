/* For what, ways in and failure: core.h. */
#include "core.h"

#include "arena.h"
#include "check.h"
#include "gate.h"
#include "lend.h"
#include "magazine.h"

#include <sched.h>
#include <string.h>
#include <sys/auxv.h>

int core_check_level = 1;
struct foreign_calls core_foreign;

static _Atomic(int) stage; /* of core_init: not begun, at work, done */

/* Libc makes its stack canary and its pointer guard of the same 16 bytes; the product tells neither
 * of them to who finds a mark. */
static uintptr_t random_key(void) {
    uint64_t half[2] = {0x9e3779b97f4a7c15, 0xd1b54a32d192ed03};
    const void *random = (const void *)getauxval(AT_RANDOM);
    if (random) memcpy(half, random, sizeof half);
    unsigned __int128 product = (unsigned __int128)half[0] * half[1];
    return (uintptr_t)(product >> 64 ^ product) | 1ull << 63;
}

/* Preload's constructor calls this before there are threads; without it the first threads may meet
 * here. */
void core_init(void) {
    enum { NOT_BEGUN, AT_WORK, DONE };
    if (LIKELY(acquire_load(&stage) == DONE)) return;
    int expected = NOT_BEGUN;
    if (atomic_compare_exchange_strong(&stage, &expected, AT_WORK)) {
        block_key = random_key();
        os_init();
        class_init();
        pagemap_init();
        atomic_store(&stage, DONE);
    }
    while (acquire_load(&stage) != DONE) sched_yield();
}

static void *out_of_memory(void) {
    errno = ENOMEM;
    return NULL;
}

/* The block on top of a magazine has lost its mark, or looks as if it were in its pool. True when
 * only the latter holds and the bitmap says no: the program left its own address there. Otherwise
 * the block was freed twice and is the program's already, or was written to after its free; either
 * way it is not handed out. */
static bool is_really_free(unsigned class_id, void **block) {
    if (pool_block_is_free(class_id, block)) report_misuse("double free", block);
    if (block[0] == block_mark(block)) return true;
    if (!core_check_level) return false;
    report_misuse(!block[0] || heap_holds(class_id, block) ? "double free"
                                                           : "double free or write after free",
                  block);
}

/* In a slab, the page with a free block's marks may have been released; freed once more, it looks
 * as if it were in the magazine alone, but its second word is zero. */
static ALWAYS_INLINE bool is_surely_sound(unsigned class_id, void **block) {
    return block_is_sound(block) && (class_id <= SMALL_CLASSES || LIKELY(block[1] != NULL) ||
                                     !pool_block_is_free(class_id, block));
}

/* A block of the class from magazine or pools; once more after giving back everything retained,
 * since memory or address space that another tier holds may be what is missing. */
static void *take_block(unsigned class_id, bool *zero) {
    heap_take_back(); /* what it holds is looked at like anything else */
    heap_busy(true);
    struct magazine *m = &heap_current->magazine[class_id];
    for (void **block; (block = m->top[-1]) != magazine_floor;) {
        m->top--;
        if (!is_surely_sound(class_id, block) && !is_really_free(class_id, block)) continue;
        heap_busy(false);
        if (zero) *zero = false;
        block[0] = NULL;
        block[1] = block_mark(block); /* as heap.c leaves it */
        return block;
    }
    void *block = heap_refill(class_id, zero);
    heap_busy(false);
    if (!block && core_trim(0)) block = heap_refill(class_id, zero);
    return block;
}

static void *take_large(size_t bytes, size_t alignment, size_t *dirty) {
    struct heap *gate = gate_enter();
    heap_note_large_call();
    void *p = large_alloc(bytes, alignment, dirty);
    if (!p && is_addressable(alignment, bytes) && core_trim(0))
        p = large_alloc(bytes, alignment, dirty);
    gate_leave(gate);
    return p ? p : out_of_memory();
}

static NOINLINE void *malloc_large(size_t bytes) {
    size_t dirty;
    return take_large(bytes, 1, &dirty);
}

/* The fast path of slabs; NULL where it ends. */
static ALWAYS_INLINE void *pop_slab_block(size_t bytes) {
    unsigned class_id = class_of_request(bytes);
    heap_busy(true);
    struct magazine *m = &heap_current->magazine[class_id];
    void **block = m->top[-1];
    bool is_sound = is_surely_sound(class_id, block);
    if (LIKELY(is_sound)) {
        m->top--;
        block[0] = NULL;
    }
    heap_busy(false);
    return is_sound ? block : NULL;
}

static void *malloc_unchecked(size_t bytes) {
    if (bytes - SMALL_MAX - 1 < SLAB_MAX - SMALL_MAX) {
        void *block = pop_slab_block(bytes);
        if (LIKELY(block != NULL)) return block;
    }
    core_init();
    if (bytes > SLAB_MAX) return malloc_large(bytes);
    void *block = take_block(class_of_request(bytes), NULL);
    return block ? block : out_of_memory();
}

void *core_malloc_slow(size_t bytes) {
    return UNLIKELY(core_check_level > 1) ? check_malloc(bytes) : malloc_unchecked(bytes);
}

static NOINLINE void *calloc_slow(size_t bytes) {
    if (UNLIKELY(core_check_level > 1)) return check_calloc(bytes);
    size_t dirty = bytes;
    bool zero = false;
    void *block = bytes > SLAB_MAX ? NULL : pop_slab_block(bytes);
    if (!block) {
        core_init();
        block = bytes > SLAB_MAX
                    ? take_large(bytes, 1, &dirty)
                    : take_block(class_of_request(bytes), bytes > PAGE_BYTES ? &zero : NULL);
    }
    if (!block) return out_of_memory();
    if (!zero) memset(block, 0, dirty < bytes ? dirty : bytes);
    return block;
}

void *core_calloc(size_t count, size_t bytes) {
    size_t total;
    if (__builtin_mul_overflow(count, bytes, &total)) return out_of_memory();
    if (total > SMALL_MAX) return calloc_slow(total);
    void *block = core_malloc(total);
    return block ? memset(block, 0, total) : NULL;
}

void *core_memalign_unchecked(size_t alignment, size_t bytes) {
    if (alignment <= 16) return malloc_unchecked(bytes);
    core_init();
    unsigned class_id = class_of_aligned(alignment, bytes);
    size_t dirty;
    if (!class_id) return take_large(bytes, alignment, &dirty);
    void *block = take_block(class_id, NULL);
    return block ? block : out_of_memory();
}

void *core_memalign(size_t alignment, size_t bytes) {
    if (alignment <= 16) return core_malloc(bytes);
    return UNLIKELY(core_check_level > 1) ? check_memalign(alignment, bytes)
                                          : core_memalign_unchecked(alignment, bytes);
}

/* ---- pointers from outside ---- */

/* Freed, and in its pool or a magazine. Its mark says so; but the page of a slab that held it may
 * have been released, and reads as zero then. */
static NOINLINE bool is_really_freed(unsigned class_id, void *const *block) {
    return pool_block_is_free(class_id, block) ||
           (block[0] == block_mark(block) && heap_holds(class_id, block));
}
static ALWAYS_INLINE bool is_freed(unsigned class_id, void *const *block) {
    bool is_blank = class_id > SMALL_CLASSES && !block[0] && !block[1];
    return UNLIKELY(block[0] == block_mark(block) || is_blank) && is_really_freed(class_id, block);
}

static ALWAYS_INLINE bool is_block_in_use(const void *p, unsigned class_id) {
    return is_block_class(class_id) && pagemap_is_block_start((uintptr_t)p, class_id) &&
           !is_freed(class_id, p);
}

size_t core_owned_bytes(const void *p, const char *call) {
    unsigned byte = pagemap_byte((uintptr_t)p), class_id = byte & ~(unsigned)PAGE_INHERITED;
    bool is_inherited = byte != class_id; /* and has no marks */
    if (is_block_in_use(p, class_id) && !(is_inherited && is_really_freed(class_id, p)))
        return class_table[class_id].block_bytes;
    if (class_id == CLASS_NONE) return 0;
    size_t bytes = 0;
    if (class_id == CLASS_LARGE) bytes = large_usable_bytes(p);
    if (!bytes && call) report_misuse(call, p);
    return bytes;
}

bool core_may_have_asked(const void *p, size_t bytes) {
    size_t have = core_owned_bytes(p, NULL);
    if (!have) return true;
    return UNLIKELY(core_check_level > 1) ? check_may_have_asked(p, bytes) : bytes <= have;
}

void core_free_large(void *p) {
    struct heap *gate = gate_enter();
    heap_note_large_call();
    large_free(p);
    gate_leave(gate);
}

void core_free_slow(void *p) {
    heap_busy(false);
    if (!p) return;
    uintptr_t address = (uintptr_t)p;
    unsigned class_id = pagemap_class(address);
    if (is_block_class(class_id)) {
        if (!pagemap_is_block_start(address, class_id))
            report_misuse("free of an interior pointer", p);
        /* Else its page is inherited, or was until another thread took a block of it just now. */
        if (heap_current->magazine[class_id].top[-1] == p) report_misuse("double free", p);
        if (UNLIKELY(core_check_level > 1))
            check_free(p);
        else
            heap_return_block(p, class_id);
    } else if (class_id >= CLASS_LARGE) {
        if (UNLIKELY(core_check_level > 1) && large_usable_bytes(p))
            check_free(p);
        else
            core_free_large(p);
    } else if (class_id == CLASS_FREE) {
        report_misuse("double free", p);
    } else if (!core_foreign.free || !core_foreign.free(p)) {
        report_misuse("invalid free", p);
    }
}

size_t core_usable_bytes(const void *p) {
    if (!p) return 0;
    if (UNLIKELY(core_check_level > 1) && pagemap_class((uintptr_t)p)) return check_usable_bytes(p);
    size_t bytes = core_owned_bytes(p, "invalid pointer in malloc_usable_size");
    if (bytes) return bytes;
    if (core_foreign.usable_bytes) bytes = core_foreign.usable_bytes(p);
    if (!bytes) report_misuse("invalid pointer in malloc_usable_size", p);
    return bytes;
}

/* A smaller request keeps its block unless that would waste more than a quarter of it. */
static bool fits_in_place(size_t have, size_t bytes) {
    return bytes <= have && bytes >= have - have / 4;
}

void *core_resize_large(void *p, size_t bytes) {
    struct heap *gate = gate_enter();
    void *q = large_resize(p, bytes);
    gate_leave(gate);
    return q;
}

static NOINLINE void *move_block(void *p, size_t bytes) {
    if (!p) return core_malloc(bytes);
    size_t have = core_owned_bytes(p, "invalid pointer in realloc");
    if (!have && core_foreign.usable_bytes) have = core_foreign.usable_bytes(p);
    if (!have) report_misuse("invalid pointer in realloc", p);
    if (!bytes) {
        core_free(p);
        return NULL;
    }
    if (UNLIKELY(core_check_level > 1) && pagemap_class((uintptr_t)p))
        return check_realloc(p, bytes);
    bool is_large = pagemap_class((uintptr_t)p) == CLASS_LARGE;
    if (!is_large && fits_in_place(have, bytes)) return p;
    void *q = is_large && bytes > SLAB_MAX ? core_resize_large(p, bytes) : NULL;
    if (q) return q;
    q = core_malloc(bytes); /* also when a large buffer is to be copied */
    if (!q) return bytes <= have ? p : NULL;
    memcpy(q, p, have < bytes ? have : bytes);
    core_free(p);
    return q;
}

/* What stays where it is comes back at once; pages inherited by a forked child go the long way. */
void *core_realloc(void *p, size_t bytes) {
    unsigned class_id = pagemap_byte((uintptr_t)p); /* not ours for NULL */
    bool stays = LIKELY(core_check_level < 2) && is_block_in_use(p, class_id) &&
                 fits_in_place(class_table[class_id].block_bytes, bytes);
    return LIKELY(stays) ? p : move_block(p, bytes);
}

bool core_trim(size_t keep_bytes) {
    if (UNLIKELY(core_check_level > 1)) check_drain();
    heap_adopt_orphans(UINT32_MAX);
    struct heap *gate = gate_enter();
    heap_flush(false);
    size_t released = budget_release_to((int64_t)(keep_bytes >> PAGE_SHIFT), RELEASE_LARGE_FIRST);
    bool unmapped = os_unmap_owed();
    unmapped |= large_unmap_parked();
    unmapped |= arena_unmap_kept();
    gate_leave(gate);
    return released > 0 || unmapped;
}
