/* Sequences of all calls of malloc's family (preload/malloc.c, under names of its own) and of what preload and policy do to core beside them:
 * threads that begin, end, lend their heaps and are left behind by a fork, housekeeping, limits, checked blocks; while the kernel refuses
 * what the input says (door.h). A model knows every block. Checked are contents, alignment, overlap, usable size, errno, that nothing but
 * a refusal makes a call fail, the bound H <= 1.25 L + 8 MiB, the counters against the model and against a walk of the heap; and in the
 * end, when nothing is refused any more, that neither a page nor an address is left. Each input begins with an untouched core. */
#include "door.h"
#include "fuzz.h"

#include "../../core/check.h"
#include "../../core/gate.h"
#include "../../core/lend.h"
#include "../../trim-policy/options.h"
#include "../../trim-policy/profile.h"
#include "../stress/pages.h"
#include "../stress/sound.h"

#include <stdio.h>

#undef must
#define must(condition) ((condition) ? (void)0 : broken(#condition, __LINE__))

void *lowtide_malloc(size_t bytes);
void *lowtide_calloc(size_t count, size_t bytes);
void *lowtide_realloc(void *p, size_t bytes);
void *lowtide_memalign(size_t alignment, size_t bytes);
int lowtide_posix_memalign(void **out, size_t alignment, size_t bytes);
void *lowtide_aligned_alloc(size_t alignment, size_t bytes);
void *lowtide_valloc(size_t bytes);
void *lowtide_pvalloc(size_t bytes);
void lowtide_free(void *p);
void lowtide_cfree(void *p);
void lowtide_free_sized(void *p, size_t bytes);
void lowtide_free_aligned_sized(void *p, size_t alignment, size_t bytes);
size_t lowtide_malloc_usable_size(void *p);
int lowtide_malloc_trim(size_t keep_bytes);

char fuzz_is_single_threaded; /* core's idea of it: fuzz.mk */

enum { SLOTS = 96, THREADS = 4, MOST_BYTES = 48 << 20, MOST_VERIFIED = 2, ERRNO = 4711 };

struct block {
    uint8_t *at;
    size_t bytes, usable, alignment;
    uint8_t tag;
};

static struct {
    struct text input;
    struct block slot[SLOTS];
    struct heap_thread thread[THREADS]; /* of those that do not run */
    unsigned now;
    size_t bytes;
    unsigned verified;
    bool is_checked; /* blocks carry canaries, and wait when they are freed */
    bool is_loose;   /* more than the bound may be retained: something was earned, or could not be given back */
    bool is_holey;   /* runs of addresses may be miscounted: holes were forbidden, or the kernel's door allocates, which is as if threads map side by side */
    void *inner;     /* what the kernel's door allocated */
} test;

static _Noreturn void broken(const char *what, int line) {
    fprintf(stderr, "fuzz_calls.c:%d: does not hold: %s\n", line, what);
    __builtin_trap();
}

/* ---- the input ---- */

static unsigned take(void) {
    if (!test.input.bytes) return 0;
    test.input.bytes--;
    return (uint8_t)*test.input.at++;
}

static size_t take_bytes(void) {
    unsigned how = take();
    size_t n = take();
    n |= take() << 8;
    size_t edges[] = {SMALL_MAX, SLAB_MAX, ARENA_BYTES, OWNER_BYTES};
    size_t kinds[] = {n % (SMALL_MAX + 1), n % (SMALL_MAX + 1), n % 4097, n, 4 * n, n % 1024 << 12, edges[n % 4] + n / 4 % 5 - 2, n};
    if (how % 64 == 63) return (n & 1 ? SIZE_MAX : PTRDIFF_MAX) - n;
    size_t bytes = kinds[how % 8];
    return test.bytes + bytes > MOST_BYTES ? bytes % SMALL_MAX : bytes;
}

static struct block *take_slot(void) { return &test.slot[take() % SLOTS]; }

/* ---- the model ---- */

static bool is_possible(size_t bytes) { return bytes < (size_t)1 << 40; }

/* Of large blocks some bytes on each page. */
static size_t stride(size_t bytes) { return bytes <= 2048 ? 1 : bytes <= SLAB_MAX ? 37 : 509; }
static uint8_t value_at(const struct block *b, size_t i) { return (uint8_t)(b->tag + i * 31); }

static void fill(const struct block *b) {
    for (size_t i = 0; i < b->bytes; i += stride(b->bytes)) b->at[i] = value_at(b, i);
    if (b->bytes) b->at[b->bytes - 1] = value_at(b, b->bytes - 1);
}
/* What was filled as `b`, and is at `at` now. */
static void check_contents(const struct block *b, const uint8_t *at, size_t upto) {
    for (size_t i = 0; i < upto; i += stride(b->bytes)) must(at[i] == value_at(b, i));
    if (b->bytes && upto == b->bytes) must(at[upto - 1] == value_at(b, upto - 1));
}

static void check_bound(void) {
    for (unsigned call = DOOR_MUNMAP; call < DOOR_CALLS; call++) test.is_loose |= door.refused[call] > 0;
    if (!test.is_loose) must(sound_pages_over(pages_live()) <= 0);
}

static void check_sums(void) {
    int64_t small = 0, large = 0;
    for (unsigned i = 0; i < SLOTS; i++) {
        const struct block *b = &test.slot[i];
        if (!b->at) continue;
        unsigned class_id = pagemap_class((uintptr_t)b->at);
        if (is_block_class(class_id))
            small += class_table[class_id].block_bytes;
        else
            large++;
    }
    if (test.is_checked) return; /* freed blocks wait */
    if (test.inner) small += class_table[pagemap_class((uintptr_t)test.inner)].block_bytes;
    must(relaxed_load(&counters.taken_bytes) == small + waiting_bytes());
    must(relaxed_load(&counters.large_count) == large);
}

static void verify(void) {
    const char *fault = sound_fault();
    if (fault) broken(fault, __LINE__);
    check_sums();
}

/* Of a block in a pool all pages are live, of a large buffer those that were asked for. */
static size_t live_bytes(const struct block *b) { return b->usable > SLAB_MAX ? b->bytes : b->usable; }

static void add_block(struct block *b) {
    for (unsigned i = 0; i < SLOTS; i++) {
        const struct block *other = &test.slot[i];
        if (other != b && other->at) must(b->at + b->usable <= other->at || other->at + other->usable <= b->at);
    }
    pages_add((uintptr_t)b->at, live_bytes(b));
    test.bytes += b->bytes;
}
static void remove_block(const struct block *b) {
    pages_remove((uintptr_t)b->at, live_bytes(b));
    test.bytes -= b->bytes;
}

static uint64_t refusals(void) {
    uint64_t sum = 0;
    for (unsigned call = 0; call < DOOR_CALLS; call++) sum += door.refused[call];
    return sum;
}

/* Whether the call that gave p may have failed. */
static void check_failure(size_t bytes, uint64_t refused_before) {
    must(errno == ENOMEM);
    must(!is_possible(bytes) || refusals() > refused_before);
}

/* ---- calls ---- */

static void *allocate(struct block *b, unsigned how) {
    static const size_t counts[] = {1, 3, 16, 0};
    void *p = NULL;
    int result;
    b->alignment = 16;
    if (how < 3) return lowtide_malloc(b->bytes);
    if (how == 3) {
        size_t count = counts[take() % 4];
        size_t each = count ? b->bytes / count : b->bytes;
        p = lowtide_calloc(count, each);
        b->bytes = count * each;
        if (p && b->bytes) must(!*(char *)p && !memcmp(p, (char *)p + 1, b->bytes - 1));
        return p;
    }
    b->alignment = (size_t)1 << take() % 24;
    if (how == 4) return lowtide_memalign(b->alignment, b->bytes);
    if (how == 5) return lowtide_aligned_alloc(b->alignment, b->bytes);
    if (how == 6) {
        result = lowtide_posix_memalign(&p, b->alignment, b->bytes);
        must(result == (p ? 0 : b->alignment < sizeof(void *) ? EINVAL : ENOMEM));
        must(errno == ERRNO);
        errno = ENOMEM;
        if (result == EINVAL) b->bytes = SIZE_MAX; /* it had to fail */
        return p;
    }
    b->alignment = os_page_bytes;
    return take() % 2 ? lowtide_valloc(b->bytes) : lowtide_pvalloc(b->bytes);
}

static void call_allocate(struct block *b) {
    unsigned how = take();
    uint64_t before = refusals();
    b->bytes = take_bytes();
    b->tag = (uint8_t)how;
    errno = ERRNO;
    b->at = allocate(b, how % 8);
    if (!b->at) {
        check_failure(b->bytes, before);
        return;
    }
    must(is_possible(b->bytes) && !((uintptr_t)b->at & (b->alignment - 1)) && !((uintptr_t)b->at & 15));
    b->usable = lowtide_malloc_usable_size(b->at);
    must(b->usable >= b->bytes);
    if (how & 64 && is_possible(b->usable)) b->bytes = b->usable;
    fill(b);
    add_block(b);
}

static void call_free(struct block *b) {
    unsigned how = take() % 8;
    check_contents(b, b->at, b->bytes);
    remove_block(b);
    uint8_t *p = b->at;
    size_t asked = test.is_checked ? lowtide_malloc_usable_size(p) : b->bytes; /* to the byte then, and pvalloc rounds */
    b->at = NULL;
    errno = ERRNO;
    if (how == 0)
        lowtide_free_sized(p, asked);
    else if (how == 1)
        lowtide_free_aligned_sized(p, b->alignment, asked);
    else if (how == 2)
        lowtide_cfree(p);
    else if (how == 3)
        must(!lowtide_realloc(p, 0));
    else
        lowtide_free(p);
    must(errno == ERRNO);
    check_bound();
}

static void call_realloc(struct block *b) {
    size_t bytes = take_bytes(), kept = bytes < b->bytes ? bytes : b->bytes;
    uint64_t before = refusals();
    if (!bytes) bytes = kept = 1;
    if (!b->bytes) kept = 0;
    check_contents(b, b->at, b->bytes);
    errno = ERRNO;
    uint8_t *p = lowtide_realloc(b->at, bytes);
    if (!p) {
        check_failure(bytes, before);
        must(test.is_checked || bytes > b->bytes);
        check_contents(b, b->at, b->bytes);
        return;
    }
    check_contents(b, p, kept);
    remove_block(b);
    *b = (struct block){p, bytes, lowtide_malloc_usable_size(p), 1, b->tag};
    must(is_possible(bytes) && b->usable >= bytes);
    fill(b);
    add_block(b);
    check_bound();
}

static void call_slot(void) {
    struct block *b = take_slot();
    if (!b->at)
        call_allocate(b);
    else if (take() % 3 == 0)
        call_realloc(b);
    else
        call_free(b);
}

/* A row of them, so that magazines fill and pages empty. */
static void call_many(void) {
    struct text here;
    unsigned first = take(), n = take() % SLOTS, how = take();
    for (unsigned i = 0; i < n; i++) {
        struct block *b = &test.slot[(first + i) % SLOTS];
        here = test.input; /* all are alike */
        if (!b->at && how & 1) call_allocate(b);
        if (i + 1 < n && how & 1) test.input = here;
        if (b->at && !(how & 1)) call_free(b);
    }
}

/* ---- threads ---- */

static void run_thread(unsigned i) {
    test.thread[test.now] = heap_thread;
    heap_thread = test.thread[i];
    test.now = i;
}

static void end_thread(void) {
    heap_close();
    heap_thread = (struct heap_thread){.current = &heap_none};
}

/* In its child this thread alone is left. The locks that say that heaps have owners are the kernel's to forget there. */
static void fork_off(void) {
    for (uint32_t id = 0; id < atomic_load(&heap_count); id++) {
        struct heap *heap = atomic_load(&heap_table[id]);
        if (heap && !atomic_load(&heap->closed) && !relaxed_load(&heap->is_orphan)) pthread_mutex_unlock(&heap->life);
    }
    gate_close();
    gate_reset();
    heap_after_fork();
    for (unsigned i = 0; i < THREADS; i++)
        if (i != test.now) test.thread[i] = (struct heap_thread){.current = &heap_none};
}

static void change_threads(void) {
    unsigned how = take();
    switch (how % 8) {
    case 0: run_thread(how / 8 % THREADS); break;
    case 1: end_thread(); break;
    case 2: heap_close(); break; /* what runs later has no heap */
    case 3: heap_lend(); break;
    case 4: heap_take_back(); break;
    case 5: heap_flush_lent(); break;
    case 6: heap_adopt_orphans(how / 8); break;
    case 7: fork_off(); break;
    }
}

/* ---- policy ---- */

static void set(struct allowance *to, struct share from) {
    relaxed_store(&to->base_pages, from.base_pages);
    relaxed_store(&to->share256, from.share256);
}

static void change_level(unsigned how) {
    struct profile_limits p = profile_limits(how & 1 ? PROFILE_BALANCED : PROFILE_TIGHT, (int)(how >> 1) % LEVELS);
    set(&limits.retained, p.retained);
    set(&limits.magazine, p.magazine);
    set(&limits.soft, p.soft);
    set(&limits.guarantee, p.guarantee);
}

static void earn(unsigned how) {
    unsigned ring = how % RINGS;
    relaxed_store(&limits.earned_pages[ring], (int64_t)take() << 4);
    relaxed_store(&limits.high_before[how & 8 ? ring : ALL_RINGS], (int64_t)take() << 6);
    test.is_loose = true;
}

/* What a reader's request or the program's malloc_trim does; afterwards the bound holds again if nothing is refused. */
static void trim(size_t keep_bytes) {
    errno = ERRNO;
    lowtide_malloc_trim(keep_bytes);
    must(errno == ERRNO);
}

static void keep_house(void) {
    static const uint32_t holes[] = {65530 / 4, 0, 1, 2, 3, 8};
    unsigned how = take(), more = take();
    switch (how % 10) {
    case 0: trim(more & 1 ? 0 : (size_t)more << 12); break;
    case 1: heap_flush(true); break;
    case 2: heap_flush(false); break;
    case 3: change_level(more); break;
    case 4: earn(more); break;
    case 5: atomic_fetch_add(&limits.flush_round, 1); break;
    case 6:
        relaxed_store(&limits.max_holes, holes[more % 6]);
        test.is_holey |= more % 6;
        break;
    case 7: budget_release_ring(more % RINGS, more); break;
    case 8: budget_release_to(budget_target_pages(), more & 1 ? RELEASE_LARGE_FIRST : RELEASE_PAGES_FIRST); break;
    case 9: relaxed_store(&limits.enlarged_blocks, more & 1 ? 16383 : 0); break;
    }
}

/* ---- the kernel ---- */

static void allocate_inside(void) {
    if (test.inner) lowtide_free(test.inner);
    test.inner = lowtide_malloc(24);
}

static void refuse(void) {
    static const int errors[] = {ENOMEM, EAGAIN, EINVAL, EPERM};
    unsigned how = take(), when = take();
    door.error = errors[how >> 3 & 3];
    door.takes_target = how & 32;
    for (unsigned call = 0; call < DOOR_CALLS; call++) {
        if (how % 8 != call && how % 8 < DOOR_CALLS) continue;
        door.skip[call] = when & 7;
        door.refuse[call] = when >> 3 == 31 ? UINT32_MAX : when >> 3;
    }
}

/* Nothing is refused any more, and what was is made up for: the bound holds again. */
static void relent(void) {
    door_lift();
    for (unsigned ring = 0; ring < RINGS; ring++) relaxed_store(&limits.earned_pages[ring], 0);
    if (os_return_lazily) return;
    for (unsigned i = 0; i < THREADS; i++) { /* each gives up what it was allowed meanwhile */
        run_thread(i);
        heap_flush(false);
    }
    trim(0);
    must(test.is_checked || budget_retained_pages() == 0);
    memset(door.refused, 0, sizeof door.refused);
    test.is_loose = test.is_checked;
}

static void change_mode(void) {
    unsigned how = take() % 8;
    if (how == 0 && !test.is_checked && !test.inner && !check_start()) test.is_checked = test.is_loose = true;
    if (how == 1) os_return_lazily = test.is_loose = true;
    if (how == 2) os_return_lazily = false;
    if (how == 3) os_keep_huge_pages = !os_keep_huge_pages;
    if (how == 4 && test.verified++ < MOST_VERIFIED) verify();
    if (how > 4) relent();
}

/* ---- one input ---- */

/* Back to the state before core's first call, as far as it is not in static variables of single files. */
static void forget_everything(void) {
    for (uint32_t id = 0; id < atomic_load(&group_count); id++) {
        struct group *g = atomic_exchange(&group_table[id], NULL);
        for (unsigned slot = 0; slot < GROUP_ARENAS; slot++)
            if (g->arena[slot].base) os_unmap(g->arena[slot].base, ARENA_BYTES);
        os_unmap((uintptr_t)g, os_round_up(sizeof *g));
    }
    for (uint32_t id = 0; id < atomic_load(&heap_count); id++) os_unmap((uintptr_t)atomic_exchange(&heap_table[id], NULL), heap_bytes());
    for (uintptr_t gib = 0; gib < ROOT_ENTRIES; gib++) {
        if (!pagemap.root[gib]) continue;
        os_unmap((uintptr_t)pagemap_leaf(gib << LEAF_SHIFT), sizeof(struct pagemap_leaf));
        pagemap.root[gib] = 0;
    }
    group_count = heap_count = 0;
    memset(index_table, 0, sizeof index_table);
    memset(&counters, 0, sizeof counters);
    pagemap_has_inherited = false;
}

static void begin(const uint8_t *data, size_t bytes) {
    static struct limits first;
    if (!os_calls.release_ranges) first = limits;
    core_init();
    limits = first;
    memset(&test, 0, sizeof test);
    memset(&door, 0, sizeof door);
    pages_clear();
    door_install();
    door.error = ENOMEM;
    test.input = fuzz_text(data, bytes);
    for (unsigned i = 0; i < THREADS; i++) test.thread[i] = (struct heap_thread){.current = &heap_none};
    heap_thread = test.thread[0];
    unsigned how = take();
    fuzz_is_single_threaded = how & 1;
    door.in_one_call = how & 2;
    test.is_holey = how % 16 == 0;
    door.on_call = test.is_holey ? allocate_inside : NULL;
    os_keep_huge_pages = os_return_lazily = false;
}

static void check_nothing_left(void) {
    must(!relaxed_load(&counters.live_pages) && !budget_retained_pages() && !relaxed_load(&counters.taken_bytes));
    must(!relaxed_load(&counters.large_mapped_bytes) && !relaxed_load(&counters.capacity_bytes) && !relaxed_load(&counters.heaps_open));
    must(test.is_holey || relaxed_load(&counters.address_runs) <= relaxed_load(&counters.arenas)); /* mapped in advance, and untouched */
    /* The list that check_start made; and the slots of enlarged magazines that a forked child's orphans had, which nobody unmaps. */
    int64_t others = relaxed_load(&counters.metadata_bytes) - (int64_t)(group_count * os_round_up(sizeof(struct group)) + heap_count * heap_bytes());
    forget_everything();
    must(door.has_torn || door.mapped_bytes == others);
}

static void end(void) {
    door.on_call = NULL;
    lowtide_free(test.inner);
    test.inner = NULL;
    verify();
    door_lift();
    os_return_lazily = false;
    relaxed_store(&limits.max_holes, 65530 / 4);
    for (unsigned i = 0; i < SLOTS; i++)
        if (test.slot[i].at) call_free(&test.slot[i]);
    for (unsigned i = 0; i < THREADS; i++) {
        run_thread(i);
        end_thread();
    }
    trim(0);
    core_check_level = 1;
    must(!heap_verify());
    check_nothing_left();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    begin(data, bytes);
    while (test.input.bytes) {
        unsigned how = take() % 16;
        if (how < 9) call_slot();
        else if (how < 11) call_many();
        else if (how == 11) change_threads();
        else if (how == 12) keep_house();
        else if (how == 13) change_mode();
        else refuse();
    }
    end();
    return 0;
}
