/* Log-normal sizes with log-normal lifetimes: lognormal SCALE
 *
 * Most blocks are small and die young, some are large and a few live for long, independently. Time
 * is counted in allocations; a wheel of lists says which blocks die next. */
#include "../lognormal.h"
#include "suite.h"

enum { DRAWS = 1 << 16, WHEEL = 1 << 20, SMALLEST = 16, LARGEST = 1 << 20 };

struct block {
    struct block *next;
    uint32_t size, value;
};

static uint32_t sizes[DRAWS], lifetimes[DRAWS];

static uint64_t drop_list(struct block *list) {
    uint64_t sum = 0;
    while (list) {
        struct block *next = list->next;
        sum += list->value;
        drop(list, list->size);
        list = next;
    }
    return sum;
}

int main(int argc, char **argv) {
    suite_begin(argc, argv);
    struct block **wheel = table(WHEEL * sizeof(struct block *));
    uint64_t state = 1, check = 0;
    for (size_t i = 0; i < DRAWS; i++) {
        sizes[i] = draw_lognormal(&state, 80, 1.3, SMALLEST, LARGEST);
        lifetimes[i] = draw_lognormal(&state, 2000, 2.5, 1, WHEEL - 1);
    }
    for (long now = scaled(12000000); now > 0; now--) {
        uint64_t random = random_next(&state);
        uint32_t size = sizes[random % DRAWS];
        size_t end = ((size_t)now - lifetimes[(random >> 32) % DRAWS]) % WHEEL;
        struct block *block = take(size);
        *block = (struct block){wheel[end], size, (uint32_t)random};
        wheel[end] = block;
        if (size > 256) memset(block + 1, 1, size - sizeof *block);
        check += drop_list(wheel[(size_t)now % WHEEL]);
        wheel[(size_t)now % WHEEL] = NULL;
    }
    print_check(check);
    return 0;
}
