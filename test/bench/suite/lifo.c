/* Last in, first out: lifo SCALE
 *
 * A stack of blocks of 16..256 bytes grows and shrinks by up to 3,000 at a time, up to 200,000
 * deep, as recursion and nested scopes make and drop things. */
#include "suite.h"

enum { DEEPEST = 200000, MOST_AT_A_TIME = 3000 };

struct slot {
    void *block;
    size_t size;
};

int main(int argc, char **argv) {
    suite_begin(argc, argv);
    struct slot *stack = table(DEEPEST * sizeof *stack);
    uint64_t state = 1, check = 0;
    size_t depth = 0;
    for (long i = scaled(60000); i > 0; i--) {
        for (size_t push = random_between(&state, 0, MOST_AT_A_TIME); push && depth < DEEPEST;
             push--) {
            size_t size = random_between(&state, 16, 256);
            stack[depth++] = (struct slot){take_touched(size, state), size};
        }
        for (size_t pop = random_between(&state, 0, MOST_AT_A_TIME); pop && depth; pop--) {
            struct slot top = stack[--depth];
            check += *(uint64_t *)top.block;
            drop(top.block, top.size);
        }
    }
    print_check(check + depth);
    return 0;
}
