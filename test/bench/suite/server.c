/* A server that runs for long, with a tide of load: server SCALE [SECONDS]
 *
 * Four workers serve requests: a request makes some strings, a body and a response, and frees them.
 * Sessions outlive requests, are kept in a table that all workers share, and number as the load
 * says, which rises and falls; between the tides the server is idle for 200 ms. With SECONDS it goes
 * on for so long, and a line a tide says what is resident at the flood, and after 150 ms of being idle. */
#include <limits.h>
#include <poll.h>
#include "suite.h"

enum { WORKERS = 4, SHARDS = 64, SHARD_SESSIONS = 4000, IDLE_MS = 200, IDLE_BEFORE_READING_MS = 150 };

static const unsigned loads[] = {1, 3, 10, 20, 20, 10, 3, 1}; /* of a tide; the most is 20 */
enum { STEPS = sizeof loads / sizeof *loads, HIGHEST = 20 };

struct session {
    void *block;
    size_t size;
};

static struct {
    pthread_mutex_t lock;
    size_t count;
    struct session sessions[SHARD_SESSIONS];
} * shards;

static pthread_barrier_t tide_is_out;
static long requests_a_load, most_sessions, flood_bytes;
static double end_s; /* 0: the number of tides is given */
static _Atomic long tides;
static _Atomic uint64_t served;

static void *filled(size_t size, int byte) { return memset(take(size), byte, size); }

/* Adds a session to a random shard or, as long as it has more than the load wants, ends some. */
static void change_sessions(uint64_t *state, size_t wanted) {
    struct session dropped[4], new = {.size = random_between(state, 100, 2000)};
    size_t drops = 0, shard = random_next(state) % SHARDS;
    new.block = filled(new.size, 1);
    pthread_mutex_lock(&shards[shard].lock);
    struct session *sessions = shards[shard].sessions;
    size_t *count = &shards[shard].count;
    while (*count >= wanted && *count > 0 && drops < 4) {
        size_t k = random_next(state) % *count;
        dropped[drops++] = sessions[k];
        sessions[k] = sessions[--*count];
    }
    if (*count < SHARD_SESSIONS)
        sessions[(*count)++] = new;
    else
        dropped[drops++] = new;
    pthread_mutex_unlock(&shards[shard].lock);
    while (drops-- > 0) drop(dropped[drops].block, dropped[drops].size);
}

static void serve(uint64_t *state) {
    void *strings[30];
    size_t sizes[30], count = random_between(state, 5, 30);
    for (size_t i = 0; i < count; i++) {
        sizes[i] = random_between(state, 16, 128);
        strings[i] = filled(sizes[i], (int)i);
    }
    size_t body_size = random_between(state, 256, 16 << 10);
    size_t response_size = random_between(state, 512, 32 << 10);
    void *body = filled(body_size, 2), *response = filled(response_size, 3);
    drop(body, body_size);
    for (size_t i = 0; i < count; i++) drop(strings[i], sizes[i]);
    drop(response, response_size);
}

static void serve_tide(uint64_t *state, bool is_reader) {
    for (size_t step = 0; step < STEPS; step++) {
        for (long i = requests_a_load * loads[step]; i > 0; i--) {
            serve(state);
            change_sessions(state, (size_t)most_sessions * loads[step] / HIGHEST);
        }
        if (is_reader && loads[step] == HIGHEST) flood_bytes = resident_bytes();
    }
}

/* So that every ebb is the same: the worker's part of the shards comes down to the lowest load. */
static void end_sessions(size_t worker) {
    for (size_t shard = worker; shard < SHARDS; shard += WORKERS) {
        size_t *count = &shards[shard].count;
        pthread_mutex_lock(&shards[shard].lock); /* somebody may have begun the next tide already */
        for (; *count > (size_t)most_sessions / HIGHEST; --*count)
            drop(shards[shard].sessions[*count - 1].block, shards[shard].sessions[*count - 1].size);
        pthread_mutex_unlock(&shards[shard].lock);
    }
    live_flush();
}

/* The reader's time without load. */
static void idle_and_tell(long tide) {
    poll(NULL, 0, IDLE_BEFORE_READING_MS);
    printf("tide=%ld s=%.1f flood_bytes=%ld ebb_bytes=%ld live_bytes=%ld\n", tide, seconds_now(), flood_bytes, resident_bytes(),
           atomic_load(live_published));
    fflush(stdout);
    poll(NULL, 0, IDLE_MS - IDLE_BEFORE_READING_MS);
}

static void *work(void *argument) {
    uint64_t state = (size_t)argument + 1;
    bool is_reader = end_s > 0 && argument == NULL;
    for (long tide = 0; tide < tides; tide++) {
        serve_tide(&state, is_reader);
        live_flush();
        if (is_reader && seconds_now() >= end_s) tides = tide + 1; /* before anybody passes the barrier */
        pthread_barrier_wait(&tide_is_out);
        if (end_s > 0) end_sessions((size_t)argument);
        if (is_reader)
            idle_and_tell(tide);
        else
            poll(NULL, 0, IDLE_MS);
        atomic_fetch_add(&served, 1);
    }
    return NULL;
}

int main(int argc, char **argv) {
    pthread_t threads[WORKERS];
    suite_begin(argc, argv);
    shards = table(SHARDS * sizeof *shards);
    long seconds = argument(argc, argv, 2, 0);
    if (seconds > 0) end_s = seconds_now() + (double)seconds;
    tides = seconds > 0 ? LONG_MAX : 1 + scaled(3);
    requests_a_load = scaled(1000);
    most_sessions = scaled(1500);
    for (size_t i = 0; i < SHARDS; i++) pthread_mutex_init(&shards[i].lock, NULL);
    pthread_barrier_init(&tide_is_out, NULL, WORKERS);
    start_threads(threads, WORKERS, work);
    join_threads(threads, WORKERS);
    printf("idle_s=%.3f\n", (double)tides * IDLE_MS / 1e3);
    print_check(served);
    return 0;
}
