/* Thousands of threads that live shortly: spawn SCALE
 *
 * Four at a time; each makes 300 blocks of 16..1,024 bytes, frees most of them and leaves 30, which
 * the first thread frees when it has joined it. */
#include "suite.h"

enum { AT_A_TIME = 4, BLOCKS = 300, LEFT = 30 };

struct slot {
    uint64_t *block;
    size_t size;
};

static struct slot left[AT_A_TIME][LEFT];
static uint64_t seed;

static void *work_shortly(void *argument) {
    size_t self = (size_t)argument;
    struct slot slots[BLOCKS];
    uint64_t state = seed + self;
    for (size_t i = 0; i < BLOCKS; i++) {
        size_t size = random_between(&state, 16, 1024);
        slots[i] = (struct slot){take_touched(size, state), size};
    }
    for (size_t i = LEFT; i < BLOCKS; i++) drop(slots[i].block, slots[i].size);
    memcpy(left[self], slots, sizeof left[self]);
    live_flush();
    return NULL;
}

static uint64_t drop_what_is_left(void) {
    uint64_t sum = 0;
    for (size_t i = 0; i < AT_A_TIME; i++)
        for (size_t k = 0; k < LEFT; k++) {
            sum += left[i][k].block[0];
            drop(left[i][k].block, left[i][k].size);
        }
    return sum;
}

int main(int argc, char **argv) {
    pthread_t threads[AT_A_TIME];
    suite_begin(argc, argv);
    uint64_t check = 0;
    seed = 1;
    for (long i = scaled(6000); i > 0; i--, seed += AT_A_TIME) {
        start_threads(threads, AT_A_TIME, work_shortly);
        join_threads(threads, AT_A_TIME);
        check += drop_what_is_left();
    }
    print_check(check);
    return 0;
}
