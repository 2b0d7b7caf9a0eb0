/* Made in one thread, freed in another: handoff SCALE PAIRS single|batch
 *
 * PAIRS producers make blocks of 16..256 bytes, and as many consumers sum and free them. Each
 * producer serves the consumers in turn, through a ring for each two, one block or a list of 64 at
 * a time. */
#include "suite.h"

enum { MOST_PAIRS = 4, RING = 1024, SPINS = 100, BATCH = 64 };

struct block {
    struct block *next;
    uint32_t size, value;
};

struct ring {
    _Alignas(64) _Atomic size_t written;
    size_t seen_read; /* by the producer, when it last found the ring full */
    _Alignas(64) _Atomic size_t read;
    size_t seen_written;
    _Alignas(64) struct block *slots[RING];
};

static struct ring rings[MOST_PAIRS][MOST_PAIRS]; /* of a producer, to a consumer */
static size_t pairs, batch;
static long handovers;
static _Atomic uint64_t check;

/* Until `index` is at least `wanted`. Who finds a ring full or empty waits for a quarter of it:
 * otherwise two threads of like speed would pass the same few cache lines to and fro. */
static void wait_for(_Atomic size_t *index, size_t wanted) {
    for (int spins = 1; (long)(atomic_load_explicit(index, memory_order_acquire) - wanted) < 0;
         spins++)
        if (spins % SPINS == 0) sched_yield();
}

static void ring_put(struct ring *ring, struct block *block) {
    size_t at = atomic_load_explicit(&ring->written, memory_order_relaxed);
    if (at - ring->seen_read == RING) {
        wait_for(&ring->read, at - RING + RING / 4);
        ring->seen_read = atomic_load_explicit(&ring->read, memory_order_acquire);
    }
    ring->slots[at % RING] = block;
    atomic_store_explicit(&ring->written, at + 1, memory_order_release);
}

/* `left` is how many are still to come, this one among them. */
static struct block *ring_get(struct ring *ring, size_t left) {
    size_t at = atomic_load_explicit(&ring->read, memory_order_relaxed);
    if (at == ring->seen_written) {
        wait_for(&ring->written, at + (left < RING / 4 ? left : RING / 4));
        ring->seen_written = atomic_load_explicit(&ring->written, memory_order_acquire);
    }
    struct block *block = ring->slots[at % RING];
    atomic_store_explicit(&ring->read, at + 1, memory_order_release);
    return block;
}

static struct block *make_batch(uint64_t *state) {
    struct block *list = NULL;
    for (size_t i = 0; i < batch; i++) {
        uint32_t size = (uint32_t)random_between(state, 16, 256);
        struct block *block = take(size);
        *block = (struct block){list, size, (uint32_t)*state};
        list = block;
    }
    return list;
}

static void *produce(void *argument) {
    size_t self = (size_t)argument;
    uint64_t state = self + 1;
    for (long i = 0; i < handovers; i++)
        ring_put(&rings[self][(size_t)i % pairs], make_batch(&state));
    live_flush();
    return NULL;
}

static uint64_t consume_batch(struct block *list) {
    uint64_t sum = 0;
    while (list) {
        struct block *next = list->next;
        sum += list->value;
        drop(list, list->size);
        list = next;
    }
    return sum;
}

static void *consume(void *argument) {
    size_t self = (size_t)argument;
    uint64_t sum = 0;
    for (long i = 0; i < handovers; i++)
        sum += consume_batch(ring_get(&rings[(size_t)i % pairs][self],
                                      (size_t)(handovers - i + (long)pairs - 1) / pairs));
    atomic_fetch_add(&check, sum);
    live_flush();
    return NULL;
}

int main(int argc, char **argv) {
    pthread_t threads[2 * MOST_PAIRS];
    suite_begin(argc, argv);
    pairs = (size_t)argument(argc, argv, 2, 1);
    if (pairs < 1 || pairs > MOST_PAIRS) return 2;
    batch = asked_for(argc, argv, 3, "batch") ? BATCH : 1;
    /* A multiple of the pairs: each producer's round ends with the last consumer. */
    handovers = scaled(12000000) / (long)(batch * pairs * pairs) * (long)pairs;
    start_threads(threads, pairs, produce);
    start_threads(threads + pairs, pairs, consume);
    join_threads(threads, 2 * pairs);
    print_check(check);
    return 0;
}
