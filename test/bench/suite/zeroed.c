/* calloc: zeroed SCALE small|large
 *
 * Random replacement among 20,000 blocks of 16..1,024 bytes or among 64 of 64 KB..2 MB. A program
 * that wants zeros reads all of a small block, and writes a part of a large one. */
#include "suite.h"

enum { SMALL_BLOCKS = 20000, LARGE_BLOCKS = 64 };

struct slot {
    unsigned char *block;
    size_t size;
};

static unsigned char *take_zeroed(size_t size) {
    unsigned char *block = calloc(1, size);
    if (!block) {
        dprintf(2, "calloc(1, %zu) failed\n", size);
        exit(1);
    }
    live_change((long)size);
    return block;
}

/* Zero, unless calloc gave something that is not. */
static uint64_t use(struct slot slot, bool small) {
    uint64_t sum = 0;
    size_t used = small ? slot.size : slot.size / 4;
    for (size_t i = 0; i < used; i += small ? 1 : 512) sum += slot.block[i];
    memset(slot.block, 1, used);
    return sum;
}

int main(int argc, char **argv) {
    suite_begin(argc, argv);
    bool small = asked_for(argc, argv, 2, "small");
    size_t count = small ? SMALL_BLOCKS : LARGE_BLOCKS;
    struct slot *slots = table(count * sizeof *slots);
    uint64_t state = 1, check = 0;
    for (long i = scaled(small ? 5000000 : 20000); i > 0; i--) {
        struct slot *slot = &slots[random_next(&state) % count];
        size_t size =
            small ? random_between(&state, 16, 1024) : random_between(&state, 64 << 10, 2 << 20);
        if (slot->block) drop(slot->block, slot->size);
        *slot = (struct slot){take_zeroed(size), size};
        check += use(*slot, small);
    }
    if (check != 0) {
        dprintf(2, "calloc gave memory that is not zero\n");
        return 1;
    }
    print_check(state);
    return 0;
}
