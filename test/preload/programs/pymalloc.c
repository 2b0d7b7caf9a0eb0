/* Imitates a CPython that does not ask for PYTHONMALLOC: its allocators of objects, which may be replaced, and the first arena.
 * Prints who served what came after the first object: "malloc", or "pymalloc" when its own were left in place.
 *
 * A library; with -DLOADER the program that opens it; with -DPROGRAM both in one. What else may differ: -DHOOKS, something is around
 * pymalloc already; -DFREE_THREADED; -DASKS, it asks, and its allocators stay, whatever they are; -DOLD, PyMem_Malloc's are malloc's
 * already, as in 3.5; -DARENA_KIB=N.
 *
 * usage: pymalloc LIBRARY; of both in one: pymalloc
 */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#ifndef ARENA_KIB
#define ARENA_KIB 1024
#endif

#ifndef LOADER
struct allocator {
    void *context;
    void *(*malloc)(void *, size_t);
    void *(*calloc)(void *, size_t, size_t);
    void *(*realloc)(void *, void *, size_t);
    void (*free)(void *, void *);
};

enum { ARENA = ARENA_KIB << 10, BLOCK = 512 };
static char *arena, *next;
static int live;

static int is_in_arena(const void *p) { return (const char *)p >= arena && (const char *)p < arena + ARENA; }

static void *arena_malloc(void *context, size_t bytes) {
    if (!arena) next = arena = mmap(NULL, ARENA, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (bytes > BLOCK) return malloc(bytes);
    live++;
    return next += BLOCK;
}
static void *arena_calloc(void *context, size_t count, size_t bytes) { return arena_malloc(context, count * bytes); }
static void arena_free(void *context, void *p) {
    if (p && is_in_arena(p))
        live--;
    else
        free(p);
}
static void *arena_realloc(void *context, void *p, size_t bytes) {
    if (p && !is_in_arena(p)) return realloc(p, bytes);
    void *q = arena_malloc(context, bytes);
    if (p) memcpy(q, p, bytes < BLOCK ? bytes : BLOCK), arena_free(context, p);
    return q;
}
static void *raw_malloc(void *context, size_t bytes) { return malloc(bytes); }

#ifdef HOOKS
#define CONTEXT &live
#else
#define CONTEXT NULL
#endif
static struct allocator domains[3] = {
    {NULL, raw_malloc},
#ifdef OLD
    {NULL, raw_malloc},
#else
    {CONTEXT, arena_malloc, arena_calloc, arena_realloc, arena_free},
#endif
    {CONTEXT, arena_malloc, arena_calloc, arena_realloc, arena_free},
};

void PyMem_GetAllocator(int domain, struct allocator *found) { *found = domains[domain]; }
void PyMem_SetAllocator(int domain, const struct allocator *wanted) { domains[domain] = *wanted; }
void *PyMem_RawCalloc(size_t count, size_t bytes) { return calloc(count, bytes); }
void *PyObject_Malloc(size_t bytes) { return domains[2].malloc(domains[2].context, bytes); }
#ifdef FREE_THREADED
void _Py_MergeZeroLocalRefcount(void) {}
#endif

static int fails(const char *what) {
    printf("%s\n", what);
    return 1;
}

int work(void) {
#ifdef ASKS
    getenv("PYTHONMALLOC");
#endif
    char *first = PyObject_Malloc(100);     /* for which the arena is */
    char *other = arena_malloc(NULL, 100);  /* as if it were from before */
    struct allocator *now = &domains[2];
    char *next = PyObject_Malloc(100);
    printf("%s\n", is_in_arena(next) ? "pymalloc" : "malloc");
#ifdef OLD
    if (domains[1].malloc != raw_malloc) return fails("what was malloc's has been replaced");
#else
    if (domains[1].malloc != now->malloc) return fails("the two domains differ");
#endif
    if (!is_in_arena(first)) return fails("the first object is not where it was made");
    strcpy(first, "the first");
    first = now->realloc(now->context, first, 200);
    first = now->realloc(now->context, first, 3000);
    if (strcmp(first, "the first")) return fails("the first object's contents are lost");
    now->free(now->context, first);
    now->free(now->context, other);
    char *zero = now->calloc(now->context, 3, 100);
    for (int i = 0; i < 300; i++)
        if (zero[i]) return fails("calloc is not zero");
    next = now->realloc(now->context, next, 0);
    if (!next) return fails("realloc to nothing freed");
    now->free(now->context, next);
    now->free(now->context, zero);
    now->free(now->context, NULL);
    return live ? fails("the arena is not empty") : 0;
}
#endif

#ifdef LOADER
int main(int argc, char **argv) {
    void *library = argc == 2 ? dlopen(argv[1], RTLD_NOW) : NULL;
    int (*work)(void);
    if (!library) return 2;
    *(void **)&work = dlsym(library, "work");
    return work();
}
#elif defined PROGRAM
int main(void) { return work(); }
#endif
