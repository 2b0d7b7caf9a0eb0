/* Large buffers: large SCALE
 *
 * 24 buffers of 100 KB to 16 MB, small ones more often, are filled, summed and dropped in another
 * order, over and over, as jobs over images and arrays do. */
#include "suite.h"

enum { BUFFERS = 24, CACHE_LINE = 64 };

struct slot {
    unsigned char *block;
    size_t size;
};

static size_t random_size(uint64_t *state) {
    size_t most = (size_t)16000000 >> random_between(state, 0, 6);
    return random_between(state, most < 200000 ? 100000 : most / 2, most);
}

static uint64_t sum_of(struct slot slot) {
    uint64_t sum = 0;
    for (size_t i = 0; i < slot.size; i += CACHE_LINE) sum += slot.block[i];
    return sum;
}

int main(int argc, char **argv) {
    suite_begin(argc, argv);
    struct slot slots[BUFFERS];
    uint64_t state = 1, check = 0;
    for (long round = scaled(100); round > 0; round--) {
        for (size_t i = 0; i < BUFFERS; i++) {
            size_t size = random_size(&state);
            slots[i] = (struct slot){memset(take(size), (int)i, size), size};
        }
        for (size_t left = BUFFERS; left > 0; left--) {
            size_t k = random_next(&state) % left;
            check += sum_of(slots[k]);
            drop(slots[k].block, slots[k].size);
            slots[k] = slots[left - 1];
        }
    }
    print_check(check);
    return 0;
}
