/* For what: check.h. */
#include "check.h"

#include "arena.h"
#include "core.h"
#include "gate.h"

#include <string.h>
#include <unistd.h>

enum {
    TRAILER_BYTES = 8,
    CANARY_BYTES = 8, /* at least */
    JUNK = 0xdf,      /* what freed blocks are filled with */
    CANARY = 0xca,
    WAITING_SMALL = 8192, /* blocks up to SMALL_WAIT_BYTES that may wait: 8 MiB of them */
    WAITING_MIDDLE = 128, /* blocks up to MIDDLE_WAIT_BYTES: 4 MiB */
    WAITING_WIDE = 64,    /* the other blocks: 8 MiB */
    WAITING_BUFFERS = 64, /* buffers, of which a page each is resident */
    SMALL_WAIT_BYTES = 1024,
    MIDDLE_WAIT_BYTES = 32768,
    BUFFERS_WAIT_BYTES = 256 << 20, /* of address space */
    FREEING_BUFFERS = 16, /* threads that free one at the same moment; more go unannounced */
    MOST_PAUSES = 1000,   /* for one of them */
    MORE_EARLY = 256,
};

struct quarantine {
    _Atomic(uintptr_t) *place;
    uint32_t places;
    _Atomic(uint32_t) next;
};

/* ---- every block and buffer that is not in its pool ---- */

typedef void taken_visitor(const void *p);

static void visit_blocks(struct pool *pool, unsigned class_id, void *visit) {
    const struct class_info *info = &class_table[class_id];
    for (unsigned i = 0; i < info->blocks; i++)
        if (!(atomic_load(&pool->free[i / 64]) >> i % 64 & 1))
            (*(taken_visitor **)visit)(
                (void *)(pool_base(pool) + i * (uintptr_t)info->block_bytes));
}

static void visit_large(uintptr_t gib, taken_visitor *visit) {
    uintptr_t end = (gib + 1) << LEAF_SHIFT;
    for (uintptr_t at = gib << LEAF_SHIFT; at < end; at += OWNER_BYTES)
        if (pagemap_class(at) == CLASS_LARGE) visit((void *)at);
}

static void visit_taken(taken_visitor *visit) {
    arena_visit_pools(visit_blocks, &visit);
    for (uintptr_t gib = 0; gib < ROOT_ENTRIES; gib++)
        if (relaxed_load(&pagemap.root[gib])) visit_large(gib, visit);
}

/* ---- what was there before ---- */

/* Addresses of unchecked blocks and buffers; 0 = freed since. */
static _Atomic(uintptr_t) *early;
static size_t early_count, early_room;

static void note_early(const void *p) {
    if (early_count < early_room) atomic_store(&early[early_count], (uintptr_t)p);
    early_count++;
}

static void note_everything(void) {
    early_count = 0;
    visit_taken(note_early);
}

/* They are counted first, since there is no telling how many they are; a few more may come while
 * memory for the list is mapped, since who wraps mmap may allocate. */
static bool find_early(void) {
    early_room = 0;
    note_everything();
    size_t bytes = os_round_up((early_count + MORE_EARLY) * sizeof *early);
    early = (_Atomic(uintptr_t) *)os_map(bytes, os_page_bytes, 0);
    if (!early) return false;
    count_add(&counters.metadata_bytes, (int64_t)bytes);
    early_room = bytes / sizeof *early;
    note_everything();
    if (early_count > early_room) early_count = early_room;
    return true;
}

static bool is_early(const void *p, bool forget) {
    for (size_t i = 0; i < early_count; i++) {
        if (relaxed_load(&early[i]) != (uintptr_t)p) continue;
        if (forget) atomic_store(&early[i], 0);
        return true;
    }
    return false;
}

const char *check_start(void) {
    core_init();
    heap_check_magazines();
    bool is_alone = relaxed_load(&counters.heaps_open) <= (heap_current != &heap_none);
    if (!is_alone) return "LOWTIDE_CHECK=2 comes too late, since threads run already: using 1";
    if (!find_early()) return "LOWTIDE_CHECK=2 needs more memory than there is: using 1";
    heap_close();
    core_check_level = 2;
    return NULL;
}

/* ---- one block ---- */

static bool is_large(const void *p) { return pagemap_class((uintptr_t)p) == CLASS_LARGE; }

/* Up to the OS page without access, the last one that is asked of core. Buffers that came before
 * may be too small for one, or have no bytes. */
static size_t large_room(const void *p) {
    size_t live = large_live_bytes(p);
    return live ? (live - 1) & ~(os_page_bytes - 1) : 0;
}

/* Bytes of a block's memory, trailer included. */
static size_t room_of(const void *p) {
    unsigned class_id = pagemap_class((uintptr_t)p);
    return is_block_class(class_id) ? class_table[class_id].block_bytes : large_room(p);
}

static uint64_t *trailer_of(const void *p) {
    return (uint64_t *)((uintptr_t)p + room_of(p) - TRAILER_BYTES);
}

static uint64_t mark_of(const void *p) { return (uintptr_t)block_mark(p); }

static const uint64_t junk_word = JUNK * 0x0101010101010101ull;
static bool is_junk(const uint64_t *trailer) { return *trailer == junk_word; }

static _Atomic(uintptr_t) waiting_buffers[WAITING_BUFFERS];
static word waiting_bytes; /* of the buffers, and of one that is on its way in or out */

static bool is_waiting_buffer(const void *p) {
    for (unsigned i = 0; i < WAITING_BUFFERS; i++)
        if (atomic_load(&waiting_buffers[i]) == (uintptr_t)p) return true;
    return false;
}

/* Waits, or is in its pool. A program may have copied the mark of a freed block into a live one. */
static bool is_freed(const void *p) {
    if (is_large(p)) return is_waiting_buffer(p);
    return (*(const uint64_t *)p == mark_of(p) && is_junk(trailer_of(p))) ||
           pool_block_is_free(pagemap_class((uintptr_t)p), p);
}

static bool is_whole(const void *p, uint64_t *size) {
    const uint64_t *trailer = trailer_of(p);
    *size = *trailer ^ mark_of(p);
    if (room_of(p) < TRAILER_BYTES + CANARY_BYTES + *size || *size > PTRDIFF_MAX) return false;
    const uint8_t *at = (const uint8_t *)p + *size;
    while (at < (const uint8_t *)trailer && *at == CANARY) at++;
    return at == (const uint8_t *)trailer;
}

static bool has_trailer(const void *p) { return !is_large(p) || large_room(p); }

/* The size asked for; of unchecked memory all of it. `forget`: it is about to be freed. */
static size_t size_of(const void *p, bool forget) {
    uint64_t size;
    if (has_trailer(p) && is_whole(p, &size)) return size;
    if (!is_early(p, forget))
        report_misuse(is_junk(trailer_of(p)) ? "double free or write after free"
                                             : "write past the end of a block",
                      p);
    return is_large(p) ? large_usable_bytes(p) : room_of(p);
}

static void *seal(void *p, size_t bytes) {
    uint64_t *trailer = trailer_of(p);
    memset((char *)p + bytes, CANARY, (size_t)((char *)trailer - (char *)p) - bytes);
    *trailer = bytes ^ mark_of(p);
    return p;
}

/* What is mapped behind a buffer, at least a page. Where the kernel refuses to close it there is
 * the canary alone. */
static bool guard(void *p, bool is_open) {
    size_t room = room_of(p);
    return os_open((uintptr_t)p + room, large_usable_bytes(p) - room, is_open);
}

/* ---- allocating ---- */

/* What has to be asked of core; 0: more than there can be. */
static size_t padded(size_t alignment, size_t bytes) {
    if (!is_addressable(alignment, bytes)) return 0;
    size_t more = bytes + TRAILER_BYTES + CANARY_BYTES;
    if (more <= SLAB_MAX && class_of_aligned(alignment, more)) return more;
    return os_round_up(more) + os_page_bytes;
}

static flag has_had_threads;

void *check_memalign(size_t alignment, size_t bytes) {
    if (!is_single_threaded()) relaxed_store(&has_had_threads, true);
    size_t asked = padded(alignment, bytes);
    void *p = asked ? core_memalign_unchecked(alignment, asked) : NULL;
    if (!p) {
        errno = ENOMEM;
        return NULL;
    }
    if (is_large(p)) guard(p, false);
    return seal(p, bytes);
}

void *check_malloc(size_t bytes) { return check_memalign(16, bytes); }

void *check_calloc(size_t bytes) {
    void *p = check_malloc(bytes);
    return p ? memset(p, 0, bytes) : NULL;
}

/* ---- freeing ---- */

static _Atomic(uintptr_t) waiting_small[WAITING_SMALL], waiting_middle[WAITING_MIDDLE],
    waiting_wide[WAITING_WIDE];
static struct quarantine small = {waiting_small, WAITING_SMALL, 0},
                         middle = {waiting_middle, WAITING_MIDDLE, 0},
                         wide = {waiting_wide, WAITING_WIDE, 0},
                         buffers = {waiting_buffers, WAITING_BUFFERS, 0};

static void fill_junk(void *p, size_t bytes) {
    memset(p, JUNK, bytes);
    *(uint64_t *)p = mark_of(p);
}

static void look_for_writes(const void *p, size_t bytes) {
    const uint8_t *at = (const uint8_t *)p + sizeof(uint64_t), *end = (const uint8_t *)p + bytes;
    while (at < end && *at == JUNK) at++;
    if (at < end || *(const uint64_t *)p != mark_of(p)) report_misuse("write after free", p);
}

/* Puts `p` in the place of what has waited for longest, or takes only that; 0 = nobody waited
 * there. */
static void *replace_oldest(struct quarantine *q, void *p) {
    uint32_t i = atomic_fetch_add(&q->next, 1) % q->places;
    return (void *)atomic_exchange(&q->place[i], (uintptr_t)p);
}

static void release_block(void *p) {
    look_for_writes(p, room_of(p));
    heap_return_block(p, pagemap_class((uintptr_t)p));
}

static void free_block(void *p) {
    size_t room = room_of(p);
    fill_junk(p, room);
    void *oldest = replace_oldest(room <= SMALL_WAIT_BYTES    ? &small
                                  : room <= MIDDLE_WAIT_BYTES ? &middle
                                                              : &wide,
                                  p);
    if (oldest) release_block(oldest);
}

/* Of a buffer that waits all but the first page is released and without access. */
static bool open_rest(void *p, bool is_open) {
    uintptr_t rest = (uintptr_t)p + os_page_bytes;
    size_t bytes = large_usable_bytes(p) - os_page_bytes;
    if (!is_open) os_release(rest, bytes);
    return os_open(rest, bytes, is_open);
}

/* Buffers on their way back, linked through their first words: those that the kernel leaves without
 * access stay here until it does not. */
static _Atomic(void *) leaving;

static void leave(void *p) {
    *(void **)p = atomic_load(&leaving);
    while (!atomic_compare_exchange_weak(&leaving, (void **)p, p)) continue;
}

static void free_leaving(void) {
    void *next, *p = relaxed_load(&leaving) ? atomic_exchange(&leaving, NULL) : NULL;
    for (; p; p = next) {
        next = *(void **)p;
        if (open_rest(p, true))
            core_free_large(p);
        else
            leave(p);
    }
}

static void release_buffer(void *p) {
    look_for_writes(p, os_page_bytes);
    atomic_fetch_sub(&waiting_bytes, large_usable_bytes(p));
    leave(p);
}

static void free_buffer(void *p) {
    fill_junk(p, os_page_bytes);
    open_rest(p, false);
    atomic_fetch_add(&waiting_bytes, large_usable_bytes(p));
    for (unsigned i = 0; i <= WAITING_BUFFERS; i++, p = NULL) {
        void *oldest = replace_oldest(&buffers, p);
        if (oldest) release_buffer(oldest);
        if (relaxed_load(&waiting_bytes) <= BUFFERS_WAIT_BYTES) break;
    }
    free_leaving();
}

/* Of two threads that free it at the same moment one turns its trailer into junk. */
static void claim(void *p) {
    uint64_t size;
    if (has_trailer(p) && is_whole(p, &size)) {
        uint64_t sealed = size ^ mark_of(p);
        _Atomic(uint64_t) *trailer = (_Atomic(uint64_t) *)trailer_of(p);
        if (!atomic_compare_exchange_strong(trailer, &sealed, junk_word))
            report_misuse("double free", p);
    } else {
        size_of(p, true);
    }
}

/* A buffer's pages are closed while it is freed, so a second thread that frees it must not look at
 * them: each says first what it frees, and waits for who said the same before. Not for ever: that
 * may be what a fork left behind of a thread. */
static _Atomic(uintptr_t) freeing[FREEING_BUFFERS];

static _Atomic(uintptr_t) *announce(void *p) {
    for (unsigned i = 0; i < FREEING_BUFFERS; i++) {
        uintptr_t other = 0;
        if (atomic_compare_exchange_strong(&freeing[i], &other, (uintptr_t)p)) return &freeing[i];
        for (int n = 0; n < MOST_PAUSES && atomic_load(&freeing[i]) == (uintptr_t)p; n++)
            gate_pause();
    }
    return NULL;
}

static void check_free_buffer(void *p) {
    _Atomic(uintptr_t) *place = announce(p);
    if (!is_large(p) || is_waiting_buffer(p)) report_misuse("double free", p);
    claim(p);
    free_buffer(p);
    if (place) atomic_store(place, 0);
}

void check_free(void *p) {
    if (is_large(p)) {
        check_free_buffer(p);
        return;
    }
    if (is_freed(p)) report_misuse("double free", p);
    claim(p);
    free_block(p);
}

static void drain(struct quarantine *q, void (*release)(void *p)) {
    for (uint32_t i = 0; i < q->places; i++) {
        void *p = relaxed_load(&q->place[i]) ? (void *)atomic_exchange(&q->place[i], 0) : NULL;
        if (p) release(p);
    }
}

void check_drain(void) {
    drain(&small, release_block);
    drain(&middle, release_block);
    drain(&wide, release_block);
    drain(&buffers, release_buffer);
    free_leaving();
}

/* The program's own bytes are not looked at unless something is wrong: it may have closed them, as
 * the ends of its stacks. */
static void look_for_overflow(const void *p) {
    uint64_t size;
    bool is_well = has_trailer(p) && is_whole(p, &size);
    if (!is_well && !is_freed(p)) size_of(p, false);
}

/* Another thread, or one that a fork left behind, may have taken a block and not yet sealed it. */
void check_end(void) {
    check_drain();
    bool is_alone = is_single_threaded() && !relaxed_load(&has_had_threads) && !heap_is_in_use();
    if (is_alone && !relaxed_load(&leaving)) visit_taken(look_for_overflow);
}

/* ---- the others ---- */

/* 0 when it is not ours. */
static size_t size_in_use(const void *p, const char *call) {
    if (!core_owned_bytes(p, call)) return 0;
    if (is_freed(p)) report_misuse(call, p);
    return size_of(p, false);
}

bool check_may_have_asked(const void *p, size_t bytes) {
    uint64_t size;
    return is_freed(p) || !has_trailer(p) || !is_whole(p, &size) || size == bytes;
}

size_t check_usable_bytes(const void *p) {
    return size_in_use(p, "invalid pointer in malloc_usable_size");
}

/* To copy a buffer for each line that is added to it would take hours. */
static bool may_stay(const void *p, size_t old, size_t bytes) {
    return is_large(p) && padded(16, bytes) > SLAB_MAX && bytes >= old - old / 4 &&
           bytes <= old + old / 4 && !is_early(p, false);
}

static void *resize_buffer(void *p, size_t bytes) {
    if (!guard(p, true)) return NULL;
    void *q = core_resize_large(p, padded(16, bytes));
    guard(q ? q : p, false);
    return q ? seal(q, bytes) : NULL;
}

/* To another place, so that old pointers are found out. */
void *check_realloc(void *p, size_t bytes) {
    size_t old = size_in_use(p, "invalid pointer in realloc");
    void *q = may_stay(p, old, bytes) ? resize_buffer(p, bytes) : NULL;
    if (q) return q;
    q = check_malloc(bytes);
    if (!q) return NULL;
    memcpy(q, p, old < bytes ? old : bytes);
    check_free(p);
    return q;
}

/* Xorshift; threads may disturb each other, which does not make it less random. */
unsigned check_random(unsigned n) {
    static word state;
    uint64_t x = relaxed_load(&state);
    if (!x) x = block_key;
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    relaxed_store(&state, x);
    return (unsigned)((x >> 32) * n >> 32);
}
