/* The model-based random test: millions of mixed calls against core, each block's contents known.
 *
 *   model [-t threads] [-n operations each | -T seconds] [-s seed] [-v verify every so many operations]
 *
 * The model holds what the program would: address, size and a pattern for every block, and for each
 * page the number of blocks on it. A wrong or overlapping block shows as a broken pattern. Every
 * block's whole contents are checked when it is freed or resized, so each block is checked. With
 * one thread the bound of the design (heap pages resident <= live * 1.25
 * + 8 MiB) is checked after every operation, from the model's live pages. With several, blocks
 * change hands through a shared board, threads end and others take their places, and all meet at a
 * barrier now and then. There, with any number of threads, the whole heap is looked at (sound.h),
 * the bound is checked when all sleep, the limits change, and now and then the process forks: the child checks
 * and frees every block of every thread, after which nothing may be left. Heaps are lent and taken
 * back, flushed and trimmed in between. The closing lines count what was done; `operations` are the
 * calls that allocated, resized or freed a block whose contents were checked.
 */
#include "../../core/gate.h"
#include "../../core/lend.h"
#include "pages.h"
#include "sound.h"

#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#ifdef __SANITIZE_THREAD__ /* whose own thread a child lacks */
enum { CAN_FORK = false };
#else
enum { CAN_FORK = true };
#endif

enum {
    SLOTS = 20000,
    BOARD = 4096,
    MAX_THREADS = 64,
    ROUNDS_AN_EBB = 3,  /* a round ends at the barrier */
    ROUNDS_A_LIFE = 2,  /* of a thread */
    ROUNDS_A_FORK = 4,
};

struct block {
    unsigned char *at;
    size_t bytes;
    uint64_t pattern;
};

struct worker {
    struct block slot[SLOTS];
    uint64_t random;
    unsigned number;
    uint64_t frees, resizes, allocations, handed, rests;
    long rounds;
    int64_t most_over; /* pages: the closest the heap came to its bound (0 = reached) */
};

static struct {
    unsigned threads;
    long operations, verify_every, forks;
    uint64_t seed;
    time_t end;
    bool is_over;
    struct worker *workers;
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

/* Each whole word of a block holds the pattern and its place, so do the bytes that are left. */
static void fill(const struct block *b) {
    size_t i = 0;
    for (; i + 8 <= b->bytes; i += 8) {
        uint64_t value = b->pattern + i;
        memcpy(b->at + i, &value, 8);
    }
    for (; i < b->bytes; i++) b->at[i] = (unsigned char)(b->pattern + i);
}

/* `upto` is a multiple of 8 or the block's size, so that whole words stay whole. */
static void check(const struct block *b, size_t upto) {
    size_t i = 0;
    for (; i + 8 <= upto; i += 8) {
        uint64_t value;
        memcpy(&value, b->at + i, 8);
        if (value != b->pattern + i) fail("contents changed", b);
    }
    for (; i < upto; i++)
        if (b->at[i] != (unsigned char)(b->pattern + i)) fail("contents changed", b);
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

static void fail_bound(int64_t over) {
    fprintf(stderr, "model: bound broken: %lld pages too many: %lld live, %lld pinned by magazines, %lld retained (seed %llu)\n",
            (long long)over, (long long)pages_live(), (long long)(relaxed_load(&counters.live_pages) - pages_live()),
            (long long)budget_retained_pages(), (unsigned long long)test.seed);
    abort();
}

static void check_bound(struct worker *w) {
    if (test.threads > 1) return;
    int64_t over = sound_pages_over(pages_live());
    if (over > w->most_over || !w->most_over) w->most_over = over;
    if (over > 0) fail_bound(over);
}

/* ---- operations ---- */

static size_t draw_bytes(struct worker *w) {
    uint64_t r = draw(w), kind = r % 2000;
    r >>= 11;
    if (kind < 1600) return r % 513;
    if (kind < 1900) return r % 4097;
    if (kind < 1990) return r % 32769;
    if (kind < 1999) return r % 262145;
    return r % (3 << 20);
}

/* Any power of two up to 8 KiB, and rarely up to 2 MiB. */
static size_t draw_alignment(struct worker *w) { return (size_t)16 << draw(w) % (draw(w) % 64 ? 10 : 18); }

static void new_block(struct worker *w, struct block *b) {
    size_t bytes = draw_bytes(w), alignment = 16;
    uint64_t how = draw(w) % 16;
    b->bytes = bytes;
    b->pattern = draw(w);
    if (how == 0) {
        b->at = core_calloc(1, bytes);
        check_zero(b);
    } else if (how == 1) {
        alignment = draw_alignment(w);
        b->at = core_memalign(alignment, bytes);
    } else
        b->at = core_malloc(bytes);
    if (!b->at) fail("out of memory", b);
    if ((uintptr_t)b->at % alignment) fail("not aligned", b);
    size_t usable = core_usable_bytes(b->at);
    if (usable < bytes) fail("usable size is too small", b);
    if (how == 2) b->bytes = usable; /* the program may use all of it */
    fill(b);
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
    fill(&moved);
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

/* What a blocking call does: the heap is lent, and others empty it meanwhile. Taken back here, or at the first slow path. */
static void rest(struct worker *w) {
    uint64_t how = draw(w);
    heap_lend();
    if (how & 1)
        heap_flush_lent();
    else
        sched_yield();
    if (how & 6) heap_take_back();
    w->rests++;
}

static void keep_house(struct worker *w) {
    uint64_t how = draw(w) % 1024;
    if (how < 900)
        rest(w);
    else if (how < 1020)
        heap_flush(how & 1);
    else
        core_trim(how & 1 ? 0 : 1 << 20);
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
    if (how == 63 && draw(w) % 16 == 0) keep_house(w);
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

/* ---- at the barrier ---- */

static void for_all_blocks(void (*act)(struct block *)) {
    for (unsigned t = 0; t < test.threads; t++)
        for (unsigned i = 0; i < SLOTS; i++)
            if (test.workers[t].slot[i].at) act(&test.workers[t].slot[i]);
    for (unsigned i = 0; i < BOARD; i++) {
        struct block *parcel = atomic_load(&test.board[i]);
        if (parcel) act(parcel);
    }
}

static void verify_heap(void) {
    const char *fault = sound_fault();
    if (fault) fail(fault, NULL);
}

static void add_pages(struct block *b) { pages_add((uintptr_t)b->at, b->bytes); }

static void verify_bound(void) {
    pages_clear();
    for_all_blocks(add_pages);
    for (unsigned i = 0; i < BOARD; i++)
        if (test.board[i]) pages_add((uintptr_t)test.board[i], sizeof(struct block));
    int64_t over = sound_pages_over(pages_live());
    if (over > 0) fail_bound(over);
}

static void check_nothing_left(void) {
    core_trim(0);
    verify_heap();
    int64_t left = relaxed_load(&counters.live_pages) + budget_retained_pages();
    if (left || relaxed_load(&counters.taken_bytes))
        fail("pages are left after everything was freed", NULL);
}

/* Levels as policy has them, from all of the budget to next to nothing, and an address space with too many holes to unmap anything. */
static void change_limits(struct worker *w) {
    unsigned level = (unsigned)(draw(w) % 6);
    level = level < 3 ? 0 : level - 2;
    relaxed_store(&limits.retained.base_pages, 3u << 8 >> 2 * level);
    relaxed_store(&limits.retained.share256, 16u >> 2 * level);
    relaxed_store(&limits.magazine.base_pages, 2u << 8 >> level);
    relaxed_store(&limits.magazine.share256, 16u >> 2 * level);
    if (level == 3) atomic_fetch_add(&limits.flush_round, 1);
    relaxed_store(&limits.max_holes, draw(w) % 4 ? 65530 / 4 : 0);
}

static void check_and_free(struct block *b) {
    check(b, b->bytes);
    core_free(b->at);
    b->at = NULL;
}

static void live_in_child(void) {
    gate_reset();
    heap_after_fork();
    for_all_blocks(check_and_free);
    for (unsigned i = 0; i < BOARD; i++) core_free(atomic_exchange(&test.board[i], NULL));
    check_nothing_left();
    _exit(0);
}

static void fork_once(void) {
    int status = 0;
    gate_close();
    pid_t child = fork();
    if (!child) live_in_child();
    gate_open();
    if (child < 0 || waitpid(child, &status, 0) != child || status) fail("a forked child failed", NULL);
    test.forks++;
}

/* Twice: with magazines as they are; and when all threads sleep and their magazines were emptied by another. The bound is for the latter: a
 * thread that does nothing keeps the magazines it had when there was more room. */
static void verify(struct worker *w) {
    pthread_barrier_wait(&test.barrier);
    if (w->number == 0) {
        verify_heap();
        if (CAN_FORK && w->rounds % ROUNDS_A_FORK == 0) fork_once();
    }
    pthread_barrier_wait(&test.barrier);
    heap_lend();
    pthread_barrier_wait(&test.barrier);
    if (w->number == 0) {
        heap_flush_lent();
        heap_flush(false);
        verify_bound();
        change_limits(w);
        test.is_over = test.end ? time(NULL) >= test.end : w->rounds * test.verify_every >= test.operations;
    }
    pthread_barrier_wait(&test.barrier);
}

/* ---- threads ---- */

static void *live(void *context) {
    struct worker *w = context;
    do {
        for (long n = 0; n < test.verify_every; n++) operate(w);
        if (++w->rounds % ROUNDS_AN_EBB == 0) ebb(w);
        verify(w);
    } while (!test.is_over && (!w->number || w->rounds % ROUNDS_A_LIFE));
    for (unsigned i = 0; i < SLOTS && test.is_over; i++)
        if (w->slot[i].at) free_block(w, &w->slot[i]);
    if (w->number) heap_close();
    return NULL;
}

static void *live_often(void *context) {
    while (!test.is_over) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, live, context)) fail("no thread", NULL);
        pthread_join(thread, NULL);
    }
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

static void print_sums(void) {
    struct worker sum = {.most_over = test.workers[0].most_over};
    for (unsigned i = 0; i < test.threads; i++) {
        sum.allocations += test.workers[i].allocations;
        sum.resizes += test.workers[i].resizes;
        sum.frees += test.workers[i].frees;
        sum.handed += test.workers[i].handed;
        sum.rests += test.workers[i].rests;
    }
    printf("model: %u threads, seed %llu: %llu allocations, %llu resizes, %llu frees, %llu handed over, %llu rests, %ld forks",
           test.threads, (unsigned long long)test.seed, (unsigned long long)sum.allocations, (unsigned long long)sum.resizes,
           (unsigned long long)sum.frees, (unsigned long long)sum.handed, (unsigned long long)sum.rests, test.forks);
    if (test.threads == 1) printf("; closest to the bound: %lld pages below", (long long)-sum.most_over);
    printf("\noperations=%llu\n", (unsigned long long)(sum.allocations + sum.resizes + sum.frees));
}

static void read_arguments(int argc, char **argv) {
    for (int c; (c = getopt(argc, argv, "t:n:T:s:v:")) != -1;) {
        long value = optarg ? strtol(optarg, NULL, 10) : 0;
        if (c == '?' || value <= 0) exit(2);
        if (c == 't') test.threads = value > MAX_THREADS ? MAX_THREADS : (unsigned)value;
        if (c == 'n') test.operations = value;
        if (c == 'T') test.end = time(NULL) + value;
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
    test.workers = calloc(test.threads, sizeof *test.workers);
    pthread_barrier_init(&test.barrier, NULL, test.threads);
    for (unsigned i = 0; i < test.threads; i++) {
        struct worker *w = &test.workers[i];
        w->number = i;
        w->random = (test.seed * 1000003 + i) * 0x9e3779b97f4a7c15ull | 1;
        if (i && pthread_create(&thread[i], NULL, live_often, w)) fail("no thread", NULL);
    }
    live(&test.workers[0]);
    for (unsigned i = 1; i < test.threads; i++) pthread_join(thread[i], NULL);
    empty_board(&test.workers[0]);
    check_nothing_left();
    print_sums();
    free(test.workers);
    return 0;
}
