/* A library as PHP's extensions are: opened with RTLD_DEEPBIND, it frees what libc and the program allocate, and the other way about. */
#define _GNU_SOURCE
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void (*deep_free)(void *) = free;   /* a reference in data, not in the table of calls */

/* Taken before the references are bound to the preloaded allocator. */
static void *early;
__attribute__((constructor)) static void take_early(void) { early = malloc(100); }
void deep_end(void) { free(early); }

void *deep_take(size_t bytes) { return malloc(bytes); }
void *deep_resize(void *p, size_t bytes) { return realloc(p, bytes); }
size_t deep_room(void *p) { return malloc_usable_size(p); }
void deep_give(void *p) { free(p); }

/* What libc allocates on its behalf. */
int deep_text(void) {
    char *copy = strdup("some text"), *printed = NULL, *line = NULL;
    size_t room = 0;
    FILE *f = fopen("/proc/self/status", "r");
    int n = asprintf(&printed, "%s and more", copy);
    if (!f || getline(&line, &room, f) < 1) return 0;
    fclose(f);
    free(copy);
    free(printed);
    free(line);
    return n;
}
