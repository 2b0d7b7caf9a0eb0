/* A server that runs for long, with a tide of load: server SCALE
 *
 * Four workers serve requests: a request makes some strings, a body and a response, and frees them.
 * Sessions outlive requests, are kept in a table that all workers share, and number as the load
 * says, which rises and falls; between the tides the server is idle for 200 ms. */
#include <poll.h>
#include "suite.h"

enum { WORKERS = 4, SHARDS = 64, SHARD_SESSIONS = 4000, IDLE_MS = 200 };

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
static long tides, requests_a_load, most_sessions;
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

static void serve_tide(uint64_t *state) {
    for (size_t step = 0; step < STEPS; step++)
        for (long i = requests_a_load * loads[step]; i > 0; i--) {
            serve(state);
            change_sessions(state, (size_t)most_sessions * loads[step] / HIGHEST);
        }
}

static void *work(void *argument) {
    uint64_t state = (size_t)argument + 1;
    for (long tide = 0; tide < tides; tide++) {
        serve_tide(&state);
        live_flush();
        pthread_barrier_wait(&tide_is_out);
        poll(NULL, 0, IDLE_MS);
        atomic_fetch_add(&served, 1);
    }
    return NULL;
}

int main(int argc, char **argv) {
    pthread_t threads[WORKERS];
    suite_begin(argc, argv);
    shards = table(SHARDS * sizeof *shards);
    tides = 1 + scaled(3);
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
