/* First in, first out: fifo SCALE single|mixed
 *
 * A queue much deeper than any thread's cache: 300,000 blocks of 48 bytes, or of 16..512, the
 * oldest of which leaves when another comes. */
#include "suite.h"

struct slot {
    void *block;
    size_t size;
};

int main(int argc, char **argv) {
    suite_begin(argc, argv);
    bool single = asked_for(argc, argv, 2, "single");
    size_t depth = 300000;
    struct slot *queue = table(depth * sizeof *queue);
    uint64_t state = 1, check = 0;
    size_t oldest = 0;
    for (long i = scaled(single ? 100000000 : 15000000); i > 0; i--) {
        struct slot *slot = &queue[oldest];
        size_t size = single ? 48 : random_between(&state, 16, 512);
        if (slot->block) {
            check += *(uint64_t *)slot->block;
            drop(slot->block, slot->size);
        }
        *slot = (struct slot){take_touched(size, (uint64_t)i), size};
        oldest = oldest + 1 < depth ? oldest + 1 : 0;
    }
    print_check(check);
    return 0;
}
