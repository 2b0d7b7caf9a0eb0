/* Growth by realloc: grow SCALE bytes|double|large
 *
 * bytes: strings that grow byte by byte to 4,000 while others do the same; double: 64 arrays that
 * double in turn from 16 bytes to 2 MB; large: one buffer that grows by 1 MB up to 64 MB. */
#include "suite.h"

enum { STRINGS = 64, LONGEST = 4000, ARRAYS = 64, LARGEST = 64 << 20, STEP = 1 << 20 };

static char *resize(char *block, size_t from, size_t to) {
    live_change((long)(to - from));
    block = realloc(block, to);
    if (!block) {
        dprintf(2, "realloc to %zu failed\n", to);
        exit(1);
    }
    memset(block + from, (int)(to % 251), to - from);
    return block;
}

static uint64_t drop_all(char **blocks, size_t count, size_t size) {
    uint64_t sum = 0;
    for (size_t i = 0; i < count; i++) {
        sum += (unsigned char)blocks[i][size / 2];
        drop(blocks[i], size);
    }
    return sum;
}

static uint64_t grow_bytes(void) {
    char *strings[STRINGS] = {NULL};
    for (size_t length = 0; length < LONGEST; length++)
        for (size_t i = 0; i < STRINGS; i++) strings[i] = resize(strings[i], length, length + 1);
    return drop_all(strings, STRINGS, LONGEST);
}

static uint64_t grow_doubling(void) {
    char *arrays[ARRAYS] = {NULL};
    size_t size = 0;
    for (size_t next = 16; next <= 2 << 20; size = next, next *= 2)
        for (size_t i = 0; i < ARRAYS; i++) arrays[i] = resize(arrays[i], size, next);
    return drop_all(arrays, ARRAYS, size);
}

static uint64_t grow_large(void) {
    char *buffer = NULL;
    for (size_t size = 0; size < LARGEST; size += STEP) buffer = resize(buffer, size, size + STEP);
    return drop_all(&buffer, 1, LARGEST);
}

int main(int argc, char **argv) {
    suite_begin(argc, argv);
    uint64_t check = 0;
    if (asked_for(argc, argv, 2, "bytes"))
        for (long i = scaled(500); i > 0; i--) check += grow_bytes();
    else if (asked_for(argc, argv, 2, "double"))
        for (long i = scaled(30); i > 0; i--) check += grow_doubling();
    else
        for (long i = scaled(20); i > 0; i--) check += grow_large();
    print_check(check);
    return 0;
}
