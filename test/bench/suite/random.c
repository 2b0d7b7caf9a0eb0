/* Random lifetimes: random SCALE LIVE REPLACEMENTS
 *
 * LIVE blocks of 16..256 bytes exist; again and again a random one goes and another takes its
 * place. */
#include "suite.h"

struct slot {
    void *block;
    size_t size;
};

int main(int argc, char **argv) {
    suite_begin(argc, argv);
    size_t live = (size_t)argument(argc, argv, 2, 100000);
    struct slot *slots = table(live * sizeof *slots);
    uint64_t state = 1, check = 0;
    for (size_t i = 0; i < live; i++) {
        size_t size = random_between(&state, 16, 256);
        slots[i] = (struct slot){take_touched(size, i), size};
    }
    for (long i = scaled(argument(argc, argv, 3, 10000000)); i > 0; i--) {
        uint64_t random = random_next(&state);
        struct slot *slot = &slots[(random >> 32) % live];
        size_t size = 16 + (random & 0xffffffff) % 241;
        check += *(uint64_t *)slot->block;
        drop(slot->block, slot->size);
        *slot = (struct slot){take_touched(size, random), size};
    }
    print_check(check);
    return 0;
}
