/* A program that has always something retained, and says how much.
 *
 *   falling CYCLES THREADS BASE_MIB WAVE_MIB CYCLE_MS
 *
 * The threads hold BASE_MIB together from the first to the last moment. In each cycle they build WAVE_MIB more, at an
 * eighth of the cycle they drop it again, and all the time they churn a little, so that slow paths never cease. A wave
 * comes back more than a second after it was dropped, so that nothing of it is earned. CYCLE_MS 0 = without any pause
 * or churn, for the checksum.
 *
 * Prints, every 50 ms, eight times during each drop and when all threads have dropped:
 *
 *   sample HOW MILLISECONDS LIVE RETAINED MAGAZINES     HOW = timer, drop (of any thread) or end; CLOCK_MONOTONIC; bytes,
 *                                                       LIVE in pages
 *
 * and in the end, which SIGTERM brings about: cycles N checksum X, the same for the same numbers under every allocator.
 */
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define CHECK(x) ((x) ? (void)0 : fail(__LINE__, #x))
#define MIB (1 << 20)

enum { THREADS_MOST = 8, LIST_MOST = 16384, BURST = 100, SPELL_MS = 10, SIZES = 8, BUFFER_BYTES = 140000, SAMPLE_MS = 50, STEPS_A_DROP = 8 };

struct block {
    unsigned char *at;
    size_t bytes;
};
struct list {
    size_t count;
    struct block block[LIST_MOST];
};
struct worker {
    unsigned number;
    uint64_t seed, sum;
    struct list base, wave;
};

static struct worker workers[THREADS_MOST];
static unsigned thread_count;
static size_t base_bytes, wave_bytes; /* of each thread */
static double cycle_ms, next_sample_ms;
static atomic_uint begun_cycles, begun_drops, dropped_waves;
static atomic_bool is_over;
static volatile sig_atomic_t should_end;

static void fail(int line, const char *what) {
    fprintf(stderr, "falling.c:%d: %s\n", line, what);
    _exit(1);
}

static void on_term(int signal) {
    (void)signal;
    should_end = 1;
}

static double now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

/* Not libc's nanosleep: before that lowtide gives back to the soft target, and here it is to be seen what happens
 * without. */
static void pause_ms(long ms) { syscall(SYS_nanosleep, &(struct timespec){0, ms * 1000000}, NULL); }

static uint64_t random_next(uint64_t *state) {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    return *state ^= *state << 17;
}

static void sample(const char *how) {
    char line[128];
    struct mallinfo2 m = mallinfo2();
    int n = snprintf(line, sizeof line, "sample %s %.1f %zu %zu %zu\n", how, now_ms(), m.arena - m.keepcost + m.hblkhd, m.keepcost,
                     m.fsmblks);
    CHECK(write(STDOUT_FILENO, line, (size_t)n) == n);
}

static void sample_in_time(void) {
    if (now_ms() < next_sample_ms) return;
    sample(atomic_load(&begun_drops) > atomic_load(&dropped_waves) ? "drop" : "timer");
    next_sample_ms += SAMPLE_MS;
}

/* ---- the data ---- */

static size_t random_size(uint64_t *seed) {
    uint64_t r = random_next(seed), s = r >> 16;
    if (r % 64 == 1) return 140000 + s % 250000;
    return r % 8 == 0 ? 1024 + s % 64000 : 16 + s % 497;
}

static void build(struct list *list, uint64_t *seed, size_t bytes) {
    for (size_t total = 0; total < bytes; list->count++) {
        CHECK(list->count < LIST_MOST);
        struct block *block = &list->block[list->count];
        *block = (struct block){NULL, random_size(seed)};
        CHECK(block->at = malloc(block->bytes));
        memset(block->at, (int)random_next(seed), block->bytes);
        total += block->bytes;
    }
}

static void drop_block(struct block *block, uint64_t *sum) {
    unsigned char first = block->at[0];
    CHECK(block->at[block->bytes / 2] == first && block->at[block->bytes - 1] == first);
    *sum = (*sum ^ block->bytes ^ first) * 0x100000001b3;
    free(block->at);
}

/* In the order in which it was built, so that pages become free all the way. */
static void drop(struct worker *w, struct list *list) {
    size_t step = list->count / STEPS_A_DROP + 1;
    for (size_t i = 0; i < list->count; i++) {
        drop_block(&list->block[i], &w->sum);
        if (!w->number && cycle_ms > 0 && i % step == step - 1) sample("drop");
    }
    list->count = 0;
}

/* Small blocks, which magazines may come to serve without a slow path; little, so that next to nothing bounces. */
static void churn(void) {
    unsigned char *block[BURST];
    size_t bytes = 16 * (1 + (size_t)(now_ms() / SPELL_MS) % SIZES);
    for (int i = 0; i < BURST; i++) {
        CHECK(block[i] = malloc(bytes));
        block[i][0] = block[i][bytes - 1] = (unsigned char)i;
    }
    for (int i = 0; i < BURST; i++) {
        CHECK(block[i][0] == i && block[i][bytes - 1] == i);
        free(block[i]);
    }
}

/* A buffer always takes the slow path. Only the first thread has one: of others it would be seen half freed. */
static void churn_buffer(void) {
    unsigned char *buffer = malloc(BUFFER_BYTES);
    CHECK(buffer);
    buffer[0] = 1;
    free(buffer);
}

/* ---- the cycles ---- */

static void churn_until(struct worker *w, double ms) {
    while (now_ms() < ms) {
        churn();
        if (!w->number) {
            churn_buffer();
            sample_in_time();
        }
        pause_ms(2);
    }
}

/* The first thread says when a cycle begins and when all is over, so that each has made the same number of them. */
static bool begin_cycle(struct worker *w, unsigned cycle, unsigned cycles) {
    if (!w->number) {
        bool is_last = should_end || cycle == cycles;
        is_last ? atomic_store(&is_over, true) : atomic_store(&begun_cycles, cycle + 1);
    }
    while (atomic_load(&begun_cycles) <= cycle && !atomic_load(&is_over)) pause_ms(1);
    return atomic_load(&begun_cycles) > cycle;
}

static void wait_for_drops(unsigned waves) {
    while (atomic_load(&dropped_waves) < waves) pause_ms(1);
    if (cycle_ms > 0) sample("end");
}

static unsigned cycles_wanted;

static void *work(void *argument) {
    struct worker *w = argument;
    unsigned cycle = 0;
    build(&w->base, &w->seed, base_bytes);
    for (; begin_cycle(w, cycle, cycles_wanted); cycle++) {
        build(&w->wave, &w->seed, wave_bytes);
        churn_until(w, now_ms() + cycle_ms / 8);
        atomic_fetch_add(&begun_drops, 1);
        drop(w, &w->wave);
        atomic_fetch_add(&dropped_waves, 1);
        if (!w->number) wait_for_drops((cycle + 1) * thread_count);
        churn_until(w, now_ms() + cycle_ms * 7 / 8);
    }
    drop(w, &w->base);
    return NULL;
}

int main(int argc, char **argv) {
    pthread_t thread[THREADS_MOST];
    CHECK(argc == 6);
    cycles_wanted = (unsigned)atoi(argv[1]);
    thread_count = (unsigned)atoi(argv[2]);
    CHECK(thread_count >= 1 && thread_count <= THREADS_MOST);
    base_bytes = (size_t)atoi(argv[3]) * MIB / thread_count;
    wave_bytes = (size_t)atoi(argv[4]) * MIB / thread_count;
    cycle_ms = atoi(argv[5]);
    next_sample_ms = now_ms();
    CHECK(signal(SIGTERM, on_term) != SIG_ERR);
    for (unsigned i = 0; i < thread_count; i++) {
        workers[i].number = i;
        workers[i].seed = 1000003 * (i + 1);
        if (i) CHECK(pthread_create(&thread[i], NULL, work, &workers[i]) == 0);
    }
    work(&workers[0]);
    uint64_t sum = workers[0].sum;
    for (unsigned i = 1; i < thread_count; i++) {
        CHECK(pthread_join(thread[i], NULL) == 0);
        sum ^= workers[i].sum * (2 * i + 1);
    }
    printf("cycles %u checksum %016llx\n", atomic_load(&begun_cycles), (unsigned long long)sum);
    return 0;
}
