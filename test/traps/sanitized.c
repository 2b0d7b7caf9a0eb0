/* Threads that allocate, a large buffer, and, when told so, a read behind a block: to be built with sanitizers, and to run under
 * valgrind. */
#include "trap.h"

#include <pthread.h>

static void *churn(void *unused) {
    for (size_t i = 0; i < 20000; i++) {
        char *p = malloc(i % 3000 + 1);
        CHECK(p);
        p[i % 3000] = 1;
        free(p);
    }
    return unused;
}

int main(int argc, char **argv) {
    pthread_t thread[4];
    for (int i = 0; i < 4; i++) CHECK(!pthread_create(&thread[i], NULL, churn, NULL));
    for (int i = 0; i < 4; i++) pthread_join(thread[i], NULL);
    volatile char *p = malloc(1 << 20);
    CHECK(p && (p = realloc((void *)p, 4 << 20)));
    if (argc > 1) printf("%s: %d\n", argv[1], p[4 << 20]);
    free((void *)p);
    puts("ok");
    return 0;
}
