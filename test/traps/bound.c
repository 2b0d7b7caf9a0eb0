/* The promise about memory, checked from outside the allocator: pages resident for the heap <= pages that hold live blocks * 1.25
 * + 8 MiB, and what the metadata needs.
 *
 *   bound small|slab|large|mixed THREADS ramp      blocks only come, then only go, twice: nothing can be earned
 *   bound small|slab|large|mixed THREADS churn     they come and go at random; what comes back within a second may be
 *                                                  retained, up to the most that was live of late
 *
 * At each check all threads stand still, the pages of all live blocks are counted one by one (a page that two blocks
 * share once), and the process's resident memory less what it had before the first block is compared. The program's own
 * tables are mapped and touched before. In the end all threads rest and touch the allocator once more: the promise without the
 * exception must hold again.
 */
#define _GNU_SOURCE
#include "trap.h"

#include <pthread.h>
#include <sys/mman.h>
#include <time.h>

enum { MAX_THREADS = 4, CHECKS = 60, RAMP_CHECKS = 20, TABLE = 1 << 20, RECENT_MS = 1500 };

struct block {
    char *at;
    size_t bytes;
};
struct worker {
    struct block *slot;
    unsigned slots, number;
    uint64_t seed;
};

static struct tier {
    const char *name;
    size_t least, most;
    unsigned slots; /* of all threads together */
    unsigned steps; /* between two checks */
} tiers[] = {
    {"small", 1, 512, 300000, 150000},
    {"slab", 513, 131072, 8000, 4000},
    {"large", 131073, 4u << 20, 300, 200},
    {"mixed", 0, 0, 20000, 8000},
};
static const struct tier *tier;
static bool is_ramp;
static unsigned threads;
static struct worker worker[MAX_THREADS];
static pthread_barrier_t barrier;
static uintptr_t *page_table;
static long baseline_bytes, worst_bytes = INT64_MIN, peak_bytes;
static size_t page;

static void *own(size_t bytes) {
    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    CHECK(p != MAP_FAILED);
    memset(p, 0, bytes);
    return p;
}

/* Small sizes are spread evenly, larger ones over the powers of two of their range. */
static size_t random_size(uint64_t *seed) {
    const struct tier *t = tier;
    if (!t->most) {
        uint64_t r = trap_random(seed) % 1000;
        t = &tiers[r < 900 ? 0 : r < 997 ? 1 : 2];
    }
    size_t most = t == tiers ? t->most : t->least * 2;
    while (most < t->most && trap_random(seed) % 4) most *= 2;
    if (most > t->most) most = t->most;
    return t->least + trap_random(seed) % (most - t->least + 1);
}

/* How full the slots are to be at check n, of 16: up, down to nearly nothing, up half, down. */
static unsigned wanted_fill(int n) {
    static const unsigned fill[] = {2, 6, 10, 14, 16, 16, 12, 8, 4, 1, 0, 3, 8, 8, 2, 1, 15, 15, 0, 0};
    return fill[n % (sizeof fill / sizeof *fill)];
}

static void drop(struct block *b) {
    free(b->at);
    b->at = NULL;
}
static void take(struct worker *w, struct block *b) {
    b->bytes = random_size(&w->seed);
    CHECK(b->at = malloc(b->bytes));
    memset(b->at, 1, b->bytes);
}

static void step(struct worker *w, unsigned fill) {
    struct block *b = &w->slot[trap_random(&w->seed) % w->slots];
    bool want_live = trap_random(&w->seed) % 16 < fill;
    if (b->at) drop(b);
    if (want_live) take(w, b);
}

static void sweep(struct worker *w, unsigned fill) {
    for (unsigned i = 0; i < w->slots; i++)
        if (w->slot[i].at && trap_random(&w->seed) % 16 >= fill) drop(&w->slot[i]);
}

/* ---- the check ---- */

static bool add_page(uintptr_t number) {
    uint64_t at = number * 0x9e3779b97f4a7c15ull >> 44;
    for (;; at = (at + 1) & (TABLE - 1)) {
        if (page_table[at] == number) return false;
        if (page_table[at]) continue;
        page_table[at] = number;
        return true;
    }
}

static long live_bytes(void) {
    long pages = 0;
    memset(page_table, 0, TABLE * sizeof *page_table);
    for (unsigned t = 0; t < threads; t++)
        for (unsigned i = 0; i < worker[t].slots; i++) {
            const struct block *b = &worker[t].slot[i];
            if (!b->at) continue;
            uintptr_t last = ((uintptr_t)b->at + b->bytes - 1) / page;
            for (uintptr_t n = (uintptr_t)b->at / page; n <= last; n++) pages += add_page(n);
        }
    return pages * (long)page;
}

/* The most that was live at a check of the last RECENT_MS. */
static long recent_high(long live) {
    static struct { long ms, live; } seen[CHECKS + 8];
    static int n;
    long high = live, now = trap_now_ms();
    for (int i = 0; i < n; i++)
        if (now - seen[i].ms < RECENT_MS && seen[i].live > high) high = seen[i].live;
    if (n < CHECKS + 8) seen[n].ms = now, seen[n++].live = live;
    return high;
}

static void check_bound(int n, bool may_have_earned) {
    long live = live_bytes(), heap = trap_rss_bytes() - baseline_bytes;
    if (live > peak_bytes) peak_bytes = live;
    /* Between two checks a little more was live than at either. */
    long high = may_have_earned ? recent_high(live) * 17 / 16 : live;
    /* Metadata: 1 MiB for each 64 MiB the heap ever had, and what every process has. */
    long metadata = (long)MIB + peak_bytes / 64 + (long)threads * 64 * 1024;
    long allowed = live + live / 4 + 8 * (long)MIB + metadata, earned = high + 8 * (long)MIB + metadata;
    if (earned > allowed) allowed = earned;
    if (heap - allowed > worst_bytes) worst_bytes = heap - allowed;
    if (heap <= allowed) return;
    printf("check %d: %ld KiB resident, %ld KiB live, %ld KiB allowed\n", n, heap / 1024, live / 1024, allowed / 1024);
    CHECK(heap <= allowed);
}

static void meet(const struct worker *w, int n, bool may_have_earned) {
    pthread_barrier_wait(&barrier);
    if (!w->number) check_bound(n, may_have_earned);
    pthread_barrier_wait(&barrier);
}

static void churn(struct worker *w) {
    for (int n = 0; n < CHECKS; n++) {
        unsigned fill = wanted_fill(n), steps = tier->steps / threads;
        if (n && fill < wanted_fill(n - 1)) sweep(w, fill);
        for (unsigned i = 0; i < steps; i++) step(w, fill);
        meet(w, n, true);
    }
    sweep(w, 1);
    meet(w, CHECKS, true);
}

/* Blocks come in order and go at random, but for an eighth, which stays. */
static void ramp(struct worker *w) {
    for (int round = 0; round < 2; round++) {
        for (int n = 0; n < RAMP_CHECKS; n++) {
            for (unsigned i = w->slots * n / RAMP_CHECKS; i < w->slots * (n + 1) / RAMP_CHECKS; i++)
                if (!w->slot[i].at) take(w, &w->slot[i]);
            meet(w, n, false);
        }
        for (int n = 0; n < RAMP_CHECKS; n++) {
            for (unsigned i = 0; i < w->slots; i++)
                if (w->slot[i].at && trap_random(&w->seed) % (RAMP_CHECKS - n) == 0 && i % 8 != (unsigned)round) drop(&w->slot[i]);
            meet(w, RAMP_CHECKS + n, false);
        }
        usleep(1200000); /* what was released is forgotten, so that the next round earns nothing */
    }
}

/* After a rest, a few hundred calls let housekeeping look at its clock. */
static void rest(struct worker *w) {
    usleep(250000);
    for (int round = 0; round < 3; round++) {
        void *p[300];
        for (int i = 0; i < 300; i++) CHECK(p[i] = malloc(16 + (size_t)i));
        for (int i = 0; i < 300; i++) free(p[i]);
        usleep(120000);
    }
    for (int i = 0; i < 100000; i++) free(malloc(16 + (size_t)i % 5000));
    meet(w, 1000, false);
}

static void *run(void *argument) {
    struct worker *w = argument;
    if (is_ramp) ramp(w);
    else churn(w);
    rest(w);
    sweep(w, 0);
    rest(w);
    return NULL;
}

static void *settle(void *unused) {
    pthread_barrier_wait(&barrier);
    return run(unused);
}

int main(int argc, char **argv) {
    if (argc < 4) return 2;
    setvbuf(stdout, NULL, _IOLBF, 0); /* a failing check leaves by _exit */
    pthread_t t[MAX_THREADS];
    for (unsigned i = 0; i < sizeof tiers / sizeof *tiers; i++)
        if (!strcmp(argv[1], tiers[i].name)) tier = &tiers[i];
    threads = (unsigned)atoi(argv[2]);
    is_ramp = !strcmp(argv[3], "ramp");
    if (!tier || !threads || threads > MAX_THREADS) return 2;
    page = (size_t)sysconf(_SC_PAGESIZE);
    page_table = own(TABLE * sizeof *page_table);
    pthread_barrier_init(&barrier, NULL, threads);
    for (unsigned i = 0; i < threads; i++)
        worker[i] = (struct worker){own(tier->slots / threads * sizeof(struct block)), tier->slots / threads, i, 12345 + i};
    for (unsigned i = 1; i < threads; i++) CHECK(!pthread_create(&t[i], NULL, settle, &worker[i]));
    trap_rss_bytes();
    baseline_bytes = trap_rss_bytes();
    settle(&worker[0]);
    for (unsigned i = 1; i < threads; i++) pthread_join(t[i], NULL);
    printf("%ld MiB live at most; nearest to the bound by %ld KiB\n", peak_bytes >> 20, -worst_bytes / 1024);
    puts("ok");
    return 0;
}
