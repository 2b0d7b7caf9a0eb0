/* A program linked to another allocator, from which it takes blocks by names that only that one has:
 * its free, realloc and malloc_usable_size are the preloaded ones. redis does this with jemalloc. */
#include "trap.h"

#include <malloc.h>

void *mallocx(size_t bytes, int flags);

int main(void) {
    for (size_t bytes = 8; bytes < 8 << 20; bytes *= 2) {
        char *p = mallocx(bytes, 0), *q = mallocx(bytes, 0), *ours = malloc(bytes);
        CHECK(p && q && ours);
        memset(p, 1, bytes);
        memset(q, 2, bytes);
        CHECK(malloc_usable_size(p) >= bytes);
        CHECK((q = realloc(q, bytes * 3)) && q[bytes - 1] == 2);
        free(p);
        free(q);
        free(ours);
    }
    puts("ok");
    return 0;
}
