/* A key-value store: store SCALE
 *
 * A hash table of chained entries with values of 16..2,000 bytes: filled, read, nine of ten keys
 * deleted at random, filled again with values of other sizes, and read. */
#include "suite.h"

enum { KEYS = 500000, READS = 2 };

struct entry {
    struct entry *next;
    uint64_t key;
    unsigned char *value;
    size_t size;
};

static struct entry **buckets;
static size_t bucket_count;

static struct entry **find(uint64_t key) {
    struct entry **place = &buckets[key * 0x9e3779b97f4a7c15 % bucket_count];
    while (*place && (*place)->key != key) place = &(*place)->next;
    return place;
}

static void set(uint64_t key, size_t size) {
    struct entry **place = find(key);
    if (!*place) {
        *place = take(sizeof **place);
        **place = (struct entry){.key = key};
    }
    struct entry *entry = *place;
    if (entry->value) drop(entry->value, entry->size);
    entry->value = memset(take(size), (int)key, size);
    entry->size = size;
}

static uint64_t get(uint64_t key) {
    struct entry *entry = *find(key);
    return entry ? entry->value[entry->size - 1] : 0;
}

static void delete (uint64_t key) {
    struct entry **place = find(key), *entry = *place;
    if (!entry) return;
    *place = entry->next;
    drop(entry->value, entry->size);
    drop(entry, sizeof *entry);
}

static uint64_t fill_and_read(uint64_t keys, size_t largest, uint64_t *state) {
    uint64_t sum = 0;
    for (uint64_t key = 0; key < keys; key++) set(key, random_between(state, 16, largest));
    for (uint64_t i = 0; i < READS * keys; i++) sum += get(random_next(state) % keys);
    return sum;
}

int main(int argc, char **argv) {
    suite_begin(argc, argv);
    uint64_t keys = (uint64_t)scaled(KEYS), state = 1;
    bucket_count = keys;
    buckets = table(bucket_count * sizeof(struct entry *));
    uint64_t check = fill_and_read(keys, 600, &state);
    for (uint64_t key = 0; key < keys; key++)
        if (random_next(&state) % 10 != 0) delete (key);
    for (uint64_t i = 0; i < READS * keys; i++) check += get(random_next(&state) % keys);
    check += fill_and_read(keys, 2000, &state);
    print_check(check);
    return 0;
}
