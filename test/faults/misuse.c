/* One mistake a program can make with the allocator, chosen by name: misuse KIND [BYTES].
 *
 * Prints "at 0x..." with the pointer that is wrong, then makes the mistake, and "survived" if nothing stopped it at once. Then it
 * takes blocks of the same size, all of which must be different and none of which the block somebody holds
 * ("handed out twice" and exit code 4 otherwise), and ends by exit, so that a mistake found late is found by then.
 * Built with -fno-builtin, or the compiler would take the mistakes out.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <malloc.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static size_t bytes = 100;
static char static_area[4096] __attribute__((aligned(64)));
static volatile uintptr_t hidden; /* keeps the compiler from knowing what is freed */

/* Not dprintf, which allocates: the block must not be in use again when the mistake is made. */
static void *wrong(void *p) {
    char line[64];
    int n = snprintf(line, sizeof line, "at 0x%lx\n", (unsigned long)p);
    if (write(STDOUT_FILENO, line, (size_t)n) != n) exit(3);
    hidden = (uintptr_t)p;
    return (void *)hidden;
}
static void *wrong_at(void *p, size_t offset) { return wrong((char *)p + offset); }

static char *block(void) {
    char *p = malloc(bytes);
    if (!p) exit(3);
    memset(p, 0x5a, bytes);
    return p;
}

static char *freed(void) {
    char *p = block();
    free(p);
    return p;
}

static void *free_there(void *p) {
    free(p);
    return NULL;
}

static void free_in_thread(void *p) {
    pthread_t thread;
    if (pthread_create(&thread, NULL, free_there, p)) exit(3);
    pthread_join(thread, NULL);
}

/* ---- double frees ---- */

static void double_now(void) { free(wrong(freed())); }

/* A block of libc's own allocator, as a library opened with RTLD_DEEPBIND allocates them. */
static const char *own_path;
static void double_foreign(void) {
    char path[4096];
    snprintf(path, sizeof path, "%.*slibrary.so", (int)(strrchr(own_path, '/') + 1 - own_path), own_path);
    void *library = dlopen(path, RTLD_NOW | RTLD_DEEPBIND), *(*take)(size_t) = NULL;
    if (library) *(void **)&take = dlsym(library, "library_take");
    if (!take) exit(3);
    char *p = take(bytes);
    hidden = (uintptr_t)take(bytes); /* or p would become a part of what libc has at its end */
    memset(p, 0x5a, bytes);
    free(p);
    free(wrong(p));
}

enum { OTHERS = 300 };

/* Blocks of the same class and of others are freed in between, so that the magazine spills. */
static void double_later(void) {
    static void *other[OTHERS];
    char *p = block();
    for (int i = 0; i < OTHERS; i++) other[i] = malloc(i % 2 && bytes < 100000 ? bytes : 16 + (size_t)i * 7);
    free(p);
    for (int i = 0; i < OTHERS; i++) free(other[i]);
    free(wrong(p));
}

static void double_thread(void) { free_in_thread(wrong(freed())); }

static void double_after_thread(void) {
    char *p = block();
    free_in_thread(p);
    free(wrong(p));
}

static void double_trimmed(void) {
    char *p = freed();
    malloc_trim(0);
    free(wrong(p));
}

/* Neighbours stay, so that the pool stays in use while the block's own pages go back. */
static void double_trimmed_neighbour(void) {
    char *before = block(), *p = block(), *after = block();
    free(p);
    malloc_trim(0);
    free(wrong(p));
    hidden = (uintptr_t)before ^ (uintptr_t)after;
}

/* A write after the free took away whatever the allocator left in the block. */
static void double_overwritten(void) {
    char *keep = block(), *p = block(), *other = block();
    free(p);
    memset(p, 0x11, bytes < 64 ? bytes : 64);
    free(other);
    free(wrong(p));
    malloc_trim(0);
    hidden = (uintptr_t)keep;
}

/* Another block was freed in between, so that the first free is not the last thing the thread did. */
static void double_between(void) {
    char *p = block(), *other = block();
    free(p);
    free(other);
    free(wrong(p));
}

/* The block was handed out again before the second free, which takes it away from its new owner. */
static void double_after_reuse(void) {
    char *p = freed(), *again = block();
    for (int i = 0; again != p && i < 1000; i++) again = block();
    if (again != p) exit(3);
    free(again);
    free(wrong(p));
}

static void double_realloc(void) {
    char *p = block();
    if (!realloc(p, 4 * bytes + 600)) exit(3);
    free(wrong(p));
}

static void double_realloc_zero(void) {
    char *p = block();
    if (realloc(p, 0)) exit(3);
    free(wrong(p));
}

static void double_aligned(void) {
    void *p;
    if (posix_memalign(&p, 256, bytes)) exit(3);
    free(p);
    free(wrong(p));
}

static void double_cfree(void) {
    void (*second)(void *) = (void (*)(void *))dlsym(RTLD_DEFAULT, "cfree");
    if (!second) exit(3);
    second(wrong(freed()));
}

static void double_child(void) {
    char *p = freed();
    if (fork()) _exit(0); /* the runner judges by the line; the parent leaves at once */
    free(wrong(p));
}

/* ---- pointers that were never given out ---- */

static char *wild_page(void) {
    char *page = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED) exit(3);
    munmap(page, 4096);
    return page + 64;
}

/* Freed, and in its pool. */
static char *trimmed(void) {
    char *before = block(), *p = freed();
    malloc_trim(0);
    hidden = (uintptr_t)before;
    return p;
}

static void *pointer_named(const char *name) {
    static char on_stack_guard;
    char *mapped;
    if (!strcmp(name, "static")) return static_area + 64;
    if (!strcmp(name, "text")) return (void *)(((uintptr_t)pointer_named + 15) & ~(uintptr_t)15);
    if (!strcmp(name, "wild")) return wild_page();
    if (!strcmp(name, "low")) return (void *)0x10;
    if (!strcmp(name, "odd")) return (void *)0x7;
    if (!strcmp(name, "noncanonical")) return (void *)0x4141414141414141;
    if (!strcmp(name, "kernel")) return (void *)0xffffffff81000000;
    if (!strcmp(name, "last")) return (void *)~(uintptr_t)15;
    if (!strcmp(name, "minus-one")) return (void *)~(uintptr_t)0;
    if (!strcmp(name, "mapped")) {
        mapped = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        return mapped + 16;
    }
    if (!strcmp(name, "unreadable")) return mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (!strcmp(name, "environment")) return getenv("PATH") - 5;
    if (!strcmp(name, "freed")) return freed();
    if (!strcmp(name, "trimmed")) return trimmed();
    if (!strcmp(name, "interior")) return block() + 16;
    if (!strcmp(name, "plus-one")) return block() + 1;
    if (!strcmp(name, "plus-eight")) return block() + 8;
    if (!strcmp(name, "middle")) return block() + (bytes < 32 ? 16 : bytes / 2 & ~(size_t)15);
    if (!strcmp(name, "next-page")) return block() + 4096;
    if (!strcmp(name, "end")) return block() + bytes - 1;
    hidden = (uintptr_t)&on_stack_guard;
    return NULL;
}

/* ---- sized frees, which libc may not have ---- */

static void free_sized_wrong(void) {
    void (*sized)(void *, size_t) = (void (*)(void *, size_t))dlsym(RTLD_DEFAULT, "free_sized");
    if (!sized) exit(3);
    sized(wrong(block()), bytes * 2 + 70000);
}

static void free_aligned_sized_wrong(void) {
    void (*sized)(void *, size_t, size_t) = (void (*)(void *, size_t, size_t))dlsym(RTLD_DEFAULT, "free_aligned_sized");
    if (!sized) exit(3);
    char *p = block();
    sized(wrong(p), 1ul << 45, bytes);
}

/* ---- writes outside of what was asked for ---- */

static char *overflown(void) {
    char *p = wrong(block());
    p[bytes]++;
    return p;
}
static void overflow(void) { free(overflown()); }
static void overflow_resized(void) { hidden = (uintptr_t)realloc(overflown(), bytes + 100); }
static void overflow_asked(void) { hidden = malloc_usable_size(overflown()); }
static void overflow_page(void) {
    char *p = wrong(block());
    p[bytes + 2 * (size_t)getpagesize()] = 1;
}

/* Found when the block is to be used again, or at the end. */
static void write_after(void) { *((char *)wrong(freed()) + bytes / 2) = 1; }
static void write_after_resize(void) {
    char *p = block(), *q = realloc(p, bytes * 3);
    ((char *)wrong(p))[bytes - 1] = 1;
    hidden = (uintptr_t)q;
}

static const struct {
    const char *name;
    void (*make)(void);
} mistakes[] = {
    {"double", double_now},
    {"double-later", double_later},
    {"double-thread", double_thread},
    {"double-after-thread", double_after_thread},
    {"double-trimmed", double_trimmed},
    {"double-trimmed-neighbour", double_trimmed_neighbour},
    {"double-overwritten", double_overwritten},
    {"overflow", overflow},
    {"overflow-resized", overflow_resized},
    {"overflow-asked", overflow_asked},
    {"overflow-page", overflow_page},
    {"write-after", write_after},
    {"write-after-resize", write_after_resize},
    {"double-between", double_between},
    {"double-after-reuse", double_after_reuse},
    {"double-realloc", double_realloc},
    {"double-realloc-zero", double_realloc_zero},
    {"double-aligned", double_aligned},
    {"double-cfree", double_cfree},
    {"double-child", double_child},
    {"double-foreign", double_foreign},
    {"free-sized", free_sized_wrong},
    {"free-aligned-sized", free_aligned_sized_wrong},
};

/* free-NAME, realloc-NAME, realloc0-NAME, usable-NAME for a pointer of pointer_named. */
static void misuse_pointer(const char *kind) {
    char on_stack[256] __attribute__((aligned(16)));
    const char *name = strchr(kind, '-');
    if (!name) exit(2);
    void *p = strcmp(name, "-stack") ? pointer_named(name + 1) : on_stack + 64;
    if (!p) exit(2);
    p = wrong_at(p, 0);
    if (!strncmp(kind, "free-", 5)) free(p);
    else if (!strncmp(kind, "realloc-", 8)) hidden = (uintptr_t)realloc(p, bytes + 1000);
    else if (!strncmp(kind, "realloc0-", 9)) hidden = (uintptr_t)realloc(p, 0);
    else if (!strncmp(kind, "usable-", 7)) hidden = malloc_usable_size(p);
    else exit(2);
}

static int compare(const void *a, const void *b) {
    uintptr_t p = *(const uintptr_t *)a, q = *(const uintptr_t *)b;
    return p < q ? -1 : p > q;
}

/* A block that is in two places must not be in two hands. */
static void take_more(void) {
    static uintptr_t taken[1500];
    int n = bytes > 20000 ? 40 : 1500;
    for (int i = 0; i < n; i++) taken[i] = (uintptr_t)malloc(bytes);
    qsort(taken, (size_t)n, sizeof *taken, compare);
    for (int i = 1; i < n; i++)
        if (taken[i] == taken[i - 1]) {
            dprintf(STDOUT_FILENO, "handed out twice\n");
            _exit(4);
        }
}

int main(int argc, char **argv) {
    if (argc < 2) return 2;
    own_path = argv[0];
    if (argc > 2) bytes = strtoul(argv[2], NULL, 0);
    if (argc > 3 && !strcmp(argv[3], "closed")) close(STDERR_FILENO);
    size_t i = 0, n = sizeof mistakes / sizeof *mistakes;
    while (i < n && strcmp(mistakes[i].name, argv[1])) i++;
    if (i < n) mistakes[i].make();
    else misuse_pointer(argv[1]);
    dprintf(STDOUT_FILENO, "survived\n");
    take_more();
    return 0;
}
