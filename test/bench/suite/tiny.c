/* Tiny objects that live shortly: tiny SCALE
 *
 * A list of 1..24 objects of 16..64 bytes is built, summed and dropped, over and over, as a parser
 * or an interpreter makes temporaries. */
#include "suite.h"

struct item {
    struct item *next;
    uint32_t size, value;
};

static struct item *build(size_t count, uint64_t *state) {
    struct item *list = NULL;
    for (size_t i = 0; i < count; i++) {
        uint64_t random = random_next(state);
        uint32_t size = 16 + (uint32_t)(random >> 32) % 49;
        struct item *item = take(size);
        *item = (struct item){list, size, (uint32_t)random};
        list = item;
    }
    return list;
}

static uint64_t sum_and_drop(struct item *list) {
    uint64_t sum = 0;
    while (list) {
        struct item *next = list->next;
        sum += list->value;
        drop(list, list->size);
        list = next;
    }
    return sum;
}

int main(int argc, char **argv) {
    suite_begin(argc, argv);
    uint64_t state = 1, check = 0;
    for (long i = scaled(7000000); i > 0; i--)
        check += sum_and_drop(build(random_between(&state, 1, 24), &state));
    print_check(check);
    return 0;
}
