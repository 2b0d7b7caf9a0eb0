/* The model-based random test: millions of mixed calls against core, each block's contents known.
 *
 *   model [-t threads] [-n operations each] [-s seed] [-v verify every so many operations]
 *
 * The model holds what the program would: address, size and a pattern for every block, and for each
 * page the number of blocks on it. A wrong or overlapping block shows as a broken pattern. Every
 * block's whole contents are checked when it is freed or resized, so each block is checked. With
 * one thread the bound of the design (heap pages resident <= live * 1.25
 * + 8 MiB) is checked after every operation, from the model's live pages. With several, blocks
 * change hands through a shared board, and all meet at a barrier now and then; there the heap is
 * walked (heap_verify), and with one thread too. Every call's model is its own line in
 * `operations`; the closing line counts what was done.
 */
#include "../../core/arena.h"
#include "../../core/core.h"
#include "../../core/stats.h"
#include "pages.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { SLOTS = 20000, BOARD = 4096, MAX_THREADS = 64 };

struct block {
    unsigned char *at;
    size_t bytes;
    uint64_t pattern;
};

struct worker {
    struct block slot[SLOTS];
    uint64_t random;
    unsigned number;
    uint64_t frees, resizes, allocations, handed;
    int64_t most_over; /* pages: the closest the heap came to its bound (0 = reached) */
};

static struct {
    unsigned threads;
    long operations, verify_every;
    uint64_t seed;
    pthread_barrier_t barrier;
    _Atomic(struct block *) board[BOARD];
} test = {.threads = 1, .operations = 1000000, .verify_every = 100000, .seed = 1};

static void fail(const char *what, const struct block *b) {
    fprintf(stderr, "model: %s (block %p of %zu bytes, seed %llu)\n", what,
            b ? (void *)b->at : NULL, b ? b->bytes : 0, (unsigned long long)test.seed);
    abort();
}

static uint64_t draw(struct worker *w) {
    w->random ^= w->random << 13;
    w->random ^= w->random >> 7;
    return w->random ^= w->random << 17;
}

/* ---- contents ---- */

static void fill(const struct block *b, size_t from) {
    for (size_t i = from; i < b->bytes; i++) {
        if (i % 8 == 0 && i + 8 <= b->bytes) {
            uint64_t value = b->pattern + i;
            memcpy(b->at + i, &value, 8);
            i += 7;
        } else
            b->at[i] = (unsigned char)(b->pattern + i);
    }
}

/* `upto` is a multiple of 8 or the block's size, so that whole words stay whole. */
static void check(const struct block *b, size_t upto) {
    for (size_t i = 0; i < upto; i++) {
        if (i % 8 == 0 && i + 8 <= b->bytes) {
            uint64_t value;
            if (i + 8 > upto) return;
            memcpy(&value, b->at + i, 8);
            if (value != b->pattern + i) fail("contents changed", b);
            i += 7;
        } else if (b->at[i] != (unsigned char)(b->pattern + i))
            fail("contents changed", b);
    }
}

static void check_zero(const struct block *b) {
    for (size_t i = 0; i < b->bytes; i++)
        if (b->at[i]) fail("calloc gave memory that is not zero", b);
}

/* ---- the model's pages, with one thread ---- */

static void model_add(const struct block *b) {
    if (test.threads == 1) pages_add((uintptr_t)b->at, b->bytes);
}
static void model_remove(const struct block *b) {
    if (test.threads == 1) pages_remove((uintptr_t)b->at, b->bytes);
}

static void check_bound(struct worker *w) {
    if (test.threads > 1) return;
    int64_t live = pages_live(),
            resident = relaxed_load(&counters.live_pages) + budget_retained_pages();
    int64_t over = resident - (live + live / 4 + (8 << 8));
    if (over > w->most_over || !w->most_over) w->most_over = over;
    if (over > 0) {
        fprintf(stderr, "model: bound broken: %lld pages resident, %lld live\n",
                (long long)resident, (long long)live);
        abort();
    }
}

/* ---- operations ---- */

static size_t draw_bytes(struct worker *w) {
    uint64_t r = draw(w), kind = r % 1000;
    r >>= 10;
    if (kind < 700) return r % 513;
    if (kind < 900) return r % 4097;
    if (kind < 985) return r % 32769;
    if (kind < 998) return r % 262145;
    return r % (3 << 20);
}

static void new_block(struct worker *w, struct block *b) {
    size_t bytes = draw_bytes(w), alignment = 16;
    uint64_t how = draw(w) % 16;
    b->bytes = bytes;
    b->pattern = draw(w);
    if (how == 0) {
        b->at = core_calloc(1, bytes);
        check_zero(b);
    } else if (how == 1) {
        alignment = (size_t)16 << draw(w) % 10;
        b->at = core_memalign(alignment, bytes);
    } else
        b->at = core_malloc(bytes);
    if (!b->at) fail("out of memory", b);
    if ((uintptr_t)b->at % alignment) fail("not aligned", b);
    if (core_usable_bytes(b->at) < bytes) fail("usable size is too small", b);
    fill(b, 0);
    model_add(b);
    w->allocations++;
}

static void free_block(struct worker *w, struct block *b) {
    check(b, b->bytes);
    model_remove(b);
    core_free(b->at);
    b->at = NULL;
    w->frees++;
}

static void resize_block(struct worker *w, struct block *b) {
    size_t bytes = draw(w) % 4 ? draw_bytes(w) : b->bytes + draw(w) % 64;
    if (!bytes) bytes = 1;
    check(b, b->bytes);
    model_remove(b);
    size_t kept = b->bytes < bytes ? b->bytes : bytes;
    struct block moved = {core_realloc(b->at, bytes), b->bytes, b->pattern};
    if (!moved.at) fail("realloc failed", b);
    check(&moved, kept == b->bytes ? kept : kept & ~(size_t)7);
    moved.bytes = bytes;
    fill(&moved, 0);
    *b = moved;
    model_add(b);
    w->resizes++;
}

/* Leaves a block for whoever comes next, and frees or keeps what was there. */
static void hand_over(struct worker *w, struct block *b) {
    struct block *parcel = core_malloc(sizeof *parcel);
    *parcel = *b;
    b->at = NULL;
    struct block *other = atomic_exchange(&test.board[draw(w) % BOARD], parcel);
    w->handed++;
    if (!other) return;
    *b = *other;
    core_free(other);
    if (draw(w) % 2) free_block(w, b);
}

static void operate(struct worker *w) {
    struct block *b = &w->slot[draw(w) % SLOTS];
    uint64_t how = draw(w) % 64;
    if (!b->at)
        new_block(w, b);
    else if (how < 8)
        resize_block(w, b);
    else if (how < 16 && test.threads > 1)
        hand_over(w, b);
    else
        free_block(w, b);
    if (how == 63 && draw(w) % 20000 == 0) core_trim(0);
    check_bound(w);
}

/* A tide: now and then nearly everything goes, so that arenas empty and come back. */
static void ebb(struct worker *w) {
    for (unsigned i = 0; i < SLOTS; i++) {
        struct block *b = &w->slot[i];
        if (!b->at || draw(w) % 64 == 0) continue;
        free_block(w, b);
        check_bound(w);
    }
}

/* What the kernel says is resident in arenas, a page for each of its own pages; the counters may only
 * be on the safe side of it. */
static int64_t resident_arena_pages(void) {
    int64_t total = 0;
    for (uint32_t id = 0; id < atomic_load(&group_count); id++)
        for (unsigned slot = 0; slot < GROUP_ARENAS; slot++) {
            unsigned char resident[ARENA_PAGES] = {0};
            uintptr_t base = atomic_load(&group_table[id])->arena[slot].base;
            if (!base || mincore((void *)base, ARENA_BYTES, resident)) continue;
            for (unsigned i = 0; i < ARENA_PAGES; i++) total += resident[i] & 1;
        }
    return total;
}

static void verify_heap(void) {
    const char *fault = heap_verify();
    if (fault) fail(fault, NULL);
    int64_t counted = relaxed_load(&counters.live_pages) - relaxed_load(&counters.large_pages) +
                      budget_arena_pages();
    if (resident_arena_pages() > counted)
        fail("the kernel has more pages resident than are counted", NULL);
}

static void verify(struct worker *w) {
    pthread_barrier_wait(&test.barrier);
    if (w->number == 0) verify_heap();
    pthread_barrier_wait(&test.barrier);
}

static void *work(void *context) {
    struct worker *w = context;
    for (long n = 1; n <= test.operations; n++) {
        operate(w);
        if (n % (test.verify_every * 3) == 0) ebb(w);
        if (n % test.verify_every == 0) verify(w);
    }
    for (unsigned i = 0; i < SLOTS; i++)
        if (w->slot[i].at) free_block(w, &w->slot[i]);
    if (w->number) heap_close();
    return NULL;
}

/* ---- the end: nothing is left ---- */

static void empty_board(struct worker *w) {
    for (unsigned i = 0; i < BOARD; i++) {
        struct block *parcel = atomic_exchange(&test.board[i], NULL);
        if (!parcel) continue;
        free_block(w, parcel);
        core_free(parcel);
    }
}

static void check_nothing_left(void) {
    core_trim(0);
    verify_heap();
    int64_t left = relaxed_load(&counters.live_pages) + budget_retained_pages();
    if (left || relaxed_load(&counters.taken_bytes))
        fail("pages are left after everything was freed", NULL);
}

static void read_arguments(int argc, char **argv) {
    for (int c; (c = getopt(argc, argv, "t:n:s:v:")) != -1;) {
        long value = optarg ? strtol(optarg, NULL, 10) : 0;
        if (c == '?' || value <= 0) exit(2);
        if (c == 't') test.threads = value > MAX_THREADS ? MAX_THREADS : (unsigned)value;
        if (c == 'n') test.operations = value;
        if (c == 's') test.seed = (uint64_t)value;
        if (c == 'v') test.verify_every = value;
    }
}

int main(int argc, char **argv) {
    read_arguments(argc, argv);
    core_init(); /* as preload's constructor does, before there are threads */
    os_calls = (struct os_calls){mmap, munmap, madvise,
                                 mremap, NULL}; /* which TSan knows; it must see memory change hands */
    pthread_t thread[MAX_THREADS];
    struct worker *workers = calloc(test.threads, sizeof *workers);
    pthread_barrier_init(&test.barrier, NULL, test.threads);
    for (unsigned i = 0; i < test.threads; i++) {
        workers[i].number = i;
        workers[i].random = (test.seed * 1000003 + i) * 0x9e3779b97f4a7c15ull | 1;
        if (i) pthread_create(&thread[i], NULL, work, &workers[i]);
    }
    work(&workers[0]);
    struct worker sum = {.most_over = workers[0].most_over};
    for (unsigned i = 0; i < test.threads; i++) {
        if (i) pthread_join(thread[i], NULL);
        sum.allocations += workers[i].allocations;
        sum.resizes += workers[i].resizes;
        sum.frees += workers[i].frees;
        sum.handed += workers[i].handed;
    }
    empty_board(&workers[0]);
    check_nothing_left();
    printf("model: %u threads, seed %llu: %llu allocations, %llu resizes, %llu frees, %llu handed "
           "over",
           test.threads, (unsigned long long)test.seed, (unsigned long long)sum.allocations,
           (unsigned long long)sum.resizes, (unsigned long long)sum.frees,
           (unsigned long long)sum.handed);
    if (test.threads == 1)
        printf("; closest to the bound: %lld pages below", (long long)-sum.most_over);
    printf("\n");
    free(workers);
    return 0;
}
