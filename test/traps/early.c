/* A library whose fork handlers allocate, registered before anybody else's: in the order of preloading it comes first or last. */
#include <pthread.h>
#include <stdlib.h>

static void *kept;
static void renew(void) {
    free(kept);
    kept = malloc(700);
    free(calloc(1, 150000));
    free(realloc(malloc(8), 5000));
}

__attribute__((constructor(101))) static void early_start(void) {
    renew();
    pthread_atfork(renew, renew, renew);
}
__attribute__((destructor)) static void early_end(void) { free(kept); }
