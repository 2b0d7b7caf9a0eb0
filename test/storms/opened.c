/* A library that is opened and closed again and again: its constructors and destructors allocate, its thread-local storage is
 * found dynamically, and threads that used it may end after it is gone. */
#include <stdlib.h>
#include <string.h>

static __thread char local[3000];
static __thread void *block;
static void *kept[50];

static void renew(void) {
    for (size_t i = 0; i < sizeof kept / sizeof *kept; i++) {
        free(kept[i]);
        kept[i] = malloc(10 + i * i * 70);
    }
}

__attribute__((constructor)) static void begin(void) {
    renew();
    free(calloc(1, 200000));
}
__attribute__((destructor)) static void end(void) {
    renew();
    for (size_t i = 0; i < sizeof kept / sizeof *kept; i++) free(kept[i]);
}

/* Returns what the thread's last call allocated, for the caller to free. */
void *opened_use(int n) {
    void *last = block;
    memset(local, n, sizeof local);
    block = malloc(100 + (size_t)n % 4000);
    return local[n % (int)sizeof local] == (char)n ? last : NULL;
}
