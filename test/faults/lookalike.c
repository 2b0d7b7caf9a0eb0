/* What looks like a mistake and is none; must end with exit code 0 and print "ok".
 *
 *   lookalike marks      live data that equals what the allocator leaves in freed blocks
 *   lookalike passed     second frees with LOWTIDE_CHECK=0, which passes over them: no block comes twice
 *   lookalike null       free(NULL) and its kin
 *   lookalike errno      errno is the same after every kind of free, in every tier
 *   lookalike closed     at the exit blocks are left whose first page the program has closed
 *   lookalike foreign F  pointers of libc's own allocator, by way of library F
 *   lookalike deep F     library F opened with RTLD_DEEPBIND frees what the program and libc allocate
 *   lookalike found F N...  library F opens each N, which its own search path leads to, with RTLD_DEEPBIND or without
 *   lookalike space F    library F in a namespace of its own works beside us
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define CHECK(x) ((x) ? (void)0 : fail(#x, __LINE__))
static void fail(const char *what, int line) {
    fprintf(stderr, "lookalike.c:%d: %s\n", line, what);
    exit(1);
}

static const size_t sizes[] = {1, 16, 24, 100, 512, 600, 3000, 20000, 100000, 200000, 5u << 20};
enum { SIZES = sizeof sizes / sizeof *sizes };

static void (*free_sized_)(void *, size_t);
static void (*free_aligned_sized_)(void *, size_t, size_t);
static void (*cfree_)(void *);

static void find_calls(void) {
    *(void **)&free_sized_ = dlsym(RTLD_DEFAULT, "free_sized");
    *(void **)&free_aligned_sized_ = dlsym(RTLD_DEFAULT, "free_aligned_sized");
    *(void **)&cfree_ = dlsym(RTLD_DEFAULT, "cfree");
}

/* ---- marks ---- */

enum { WORDS = 2 };

/* What a freed block of the size holds, read after the free as a buggy program would; only of sizes whose page stays mapped. */
static void read_mark(size_t bytes, uintptr_t mark[WORDS]) {
    volatile uintptr_t *neighbour = malloc(bytes), *p = malloc(bytes);
    free((void *)p);
    for (int i = 0; i < WORDS; i++) mark[i] = p[i];
    free((void *)neighbour);
}

enum { BLOCKS = 400 };

static void use_marked(size_t bytes, const uintptr_t mark[WORDS]) {
    static void *block[BLOCKS];
    int n = bytes > 20000 ? 8 : BLOCKS;
    for (int i = 0; i < n; i++) {
        block[i] = malloc(bytes < sizeof(uintptr_t) * WORDS ? sizeof(uintptr_t) * WORDS : bytes);
        memcpy(block[i], mark, sizeof(uintptr_t) * WORDS);
    }
    for (int i = 0; i < n; i++) CHECK(malloc_usable_size(block[i]) >= bytes);
    for (int i = 0; i < n; i += 3) CHECK(block[i] = realloc(block[i], bytes + 40));
    for (int i = 0; i < n; i += 3) CHECK(!memcmp(block[i], mark, sizeof(uintptr_t) * WORDS));
    for (int i = 0; i < n; i++) free(block[i]);
}

static void *use_all_marked(void *mark) {
    for (int i = 0; i < SIZES; i++) use_marked(sizes[i], mark);
    return NULL;
}

/* The block was marked by one thread's free and is freed with the same content by another. */
static void test_marks(void) {
    uintptr_t mark[WORDS];
    pthread_t thread;
    for (int i = 1; i < SIZES - 3; i++) {
        read_mark(sizes[i], mark);
        use_all_marked(mark);
        CHECK(!pthread_create(&thread, NULL, use_all_marked, mark));
        pthread_join(thread, NULL);
    }
    for (unsigned value = 0; value < 256; value++) {
        memset(mark, (int)value, sizeof mark);
        use_marked(100, mark);
        use_marked(3000, mark);
    }
}

/* ---- second frees that are passed over ---- */

static void free_twice(size_t bytes) {
    enum { FREED = 8 };
    static void *block[BLOCKS];
    for (int i = 0; i < FREED; i++) block[i] = malloc(bytes);
    for (int i = 0; i < FREED; i++) free(block[i]);
    for (int i = 0; i < FREED - 1; i++) free(block[i]); /* the one freed last would be told */
    for (int i = 0; i < BLOCKS; i++) memset(block[i] = malloc(bytes), i % 251, bytes);
    for (int i = 0; i < BLOCKS; i++) CHECK(*(unsigned char *)block[i] == i % 251 && ((unsigned char *)block[i])[bytes - 1] == i % 251);
    for (int i = 0; i < BLOCKS; i++) free(block[i]);
}

static void test_passed(void) {
    for (int i = 1; sizes[i] <= 3000; i++) free_twice(sizes[i]);
}

/* ---- NULL and errno ---- */

static void test_null(void) {
    free(NULL);
    if (cfree_) cfree_(NULL);
    if (free_sized_) free_sized_(NULL, 100);
    if (free_aligned_sized_) free_aligned_sized_(NULL, 64, 100);
    CHECK(malloc_usable_size(NULL) == 0);
    void *p = realloc(NULL, 0);
    CHECK(p);
    free(p);
}

static void free_in_way(int way, void *p, size_t bytes) {
    if (way == 0 || (way == 1 && !cfree_) || (way >= 2 && !free_sized_)) free(p);
    else if (way == 1) cfree_(p);
    else if (way == 2) free_sized_(p, bytes);
    else free_aligned_sized_(p, 16, bytes);
}

static void test_errno(void) {
    static void *block[BLOCKS];
    for (int s = 0; s < SIZES; s++)
        for (int way = 0; way < 4; way++) {
            int n = sizes[s] > 1u << 20 ? 8 : BLOCKS;
            for (int i = 0; i < n; i++) CHECK(block[i] = malloc(sizes[s]));
            for (int i = 0; i < n; i++) {
                errno = 4000 + i;
                free_in_way(way, block[i], sizes[s]);
                CHECK(errno == 4000 + i);
            }
            errno = 77;
            malloc_trim(0);
            CHECK(errno == 77);
        }
    errno = 78;
    free(NULL);
    CHECK(errno == 78);
}

/* ---- libc's own ---- */

struct library {
    void *(*take)(size_t);
    void *(*take_zero)(size_t);
    void *(*take_aligned)(size_t, size_t);
    void (*give)(void *);
    char *(*copy)(const char *);
};

static struct library open_library(void *handle) {
    struct library l;
    if (!handle) fail(dlerror(), __LINE__);
    *(void **)&l.take = dlsym(handle, "library_take");
    *(void **)&l.take_zero = dlsym(handle, "library_take_zero");
    *(void **)&l.take_aligned = dlsym(handle, "library_take_aligned");
    *(void **)&l.give = dlsym(handle, "library_give");
    *(void **)&l.copy = dlsym(handle, "library_copy");
    CHECK(l.take && l.take_zero && l.take_aligned && l.give && l.copy);
    return l;
}

static void end_of_foreign(const struct library *l, char *p, size_t bytes, int round) {
    memset(p, round, bytes);
    CHECK(malloc_usable_size(p) >= bytes);
    if (round % 4 == 0) free(p);
    if (round % 4 == 1) {
        CHECK(p = realloc(p, bytes * 2 + 50));
        for (size_t i = 0; i < bytes; i++) CHECK(p[i] == (char)round);
        free(p);
    }
    if (round % 4 == 2) CHECK(!realloc(p, 0));
    if (round % 4 == 3) l->give(p);
}

static void *use_foreign(void *library) {
    const struct library *l = library;
    for (int round = 0; round < 40; round++)
        for (int s = 0; s < SIZES - 1; s++) {
            char *a = l->take(sizes[s]), *b = l->take_zero(sizes[s]), *c = l->take_aligned(64, sizes[s]);
            CHECK(a && b && c);
            end_of_foreign(l, a, sizes[s], round);
            end_of_foreign(l, b, sizes[s], round + 1);
            errno = 55;
            free(c);
            CHECK(errno == 55);
            free(l->copy("a string of libc's"));
        }
    return NULL;
}

/* From a second thread they come of another of libc's arenas. */
static void test_foreign(const char *file) {
    struct library l = open_library(dlopen(file, RTLD_NOW));
    pthread_t thread;
    use_foreign(&l);
    CHECK(!pthread_create(&thread, NULL, use_foreign, &l));
    pthread_join(thread, NULL);
}

static void test_deep(const char *file) {
    void *library = dlopen(file, RTLD_LAZY | RTLD_DEEPBIND), *(*take)(size_t), *(*resize)(void *, size_t), **deep_free;
    void (*give)(void *);
    size_t (*room)(void *);
    int (*text)(void);
    void (*end)(void);
    if (!library) fail(dlerror(), __LINE__);
    *(void **)&take = dlsym(library, "deep_take");
    *(void **)&resize = dlsym(library, "deep_resize");
    *(void **)&give = dlsym(library, "deep_give");
    *(void **)&room = dlsym(library, "deep_room");
    *(void **)&text = dlsym(library, "deep_text");
    *(void **)&end = dlsym(library, "deep_end");
    CHECK((deep_free = dlsym(library, "deep_free")) && *deep_free == dlsym(RTLD_DEFAULT, "free"));
    for (int round = 0; round < 5; round++)
        for (int s = 0; s < SIZES; s++) {
            char *ours = malloc(sizes[s]), *theirs = take(sizes[s]);
            CHECK(text() == 18 && room(ours) == malloc_usable_size(theirs));
            CHECK(ours = resize(ours, sizes[s] + 3000));
            give(ours);
            free(theirs);
        }
    end();
}

/* As programs do with stacks of their own. */
static void test_closed(void) {
    size_t page = (size_t)getpagesize();
    for (size_t pages = 2; pages < 1000; pages *= 3) {
        void *p;
        CHECK(!posix_memalign(&p, page, pages * page));
        CHECK(!mprotect(p, page, PROT_NONE));
    }
}

static void test_found(const char *file, char **names) {
    void *opener = dlopen(file, RTLD_NOW), *(*open)(const char *, int) = NULL;
    if (opener) *(void **)&open = dlsym(opener, "opener_open");
    CHECK(open && *names);
    for (; *names; names++)
        for (int deep = 0; deep <= RTLD_DEEPBIND; deep += RTLD_DEEPBIND) {
            CHECK(!dlopen(*names, RTLD_NOW | deep) && strstr(dlerror(), "found.so"));
            void *library = open(*names, RTLD_NOW | deep);
            CHECK(library && !dlclose(library));
        }
}

static void test_space(const char *file) {
    struct library l = open_library(dlmopen(LM_ID_NEWLM, file, RTLD_NOW));
    for (int round = 0; round < 1000; round++) {
        void *theirs = l.take(sizes[round % SIZES]), *ours = malloc(sizes[round % SIZES]);
        CHECK(theirs && ours && theirs != ours);
        memset(theirs, 1, sizes[round % SIZES]);
        memset(ours, 2, sizes[round % SIZES]);
        l.give(theirs);
        free(ours);
    }
}

int main(int argc, char **argv) {
    if (argc < 2) return 2;
    find_calls();
    if (!strcmp(argv[1], "marks")) test_marks();
    else if (!strcmp(argv[1], "passed")) test_passed();
    else if (!strcmp(argv[1], "null")) test_null();
    else if (!strcmp(argv[1], "errno")) test_errno();
    else if (!strcmp(argv[1], "foreign") && argc > 2) test_foreign(argv[2]);
    else if (!strcmp(argv[1], "deep") && argc > 2) test_deep(argv[2]);
    else if (!strcmp(argv[1], "closed")) test_closed();
    else if (!strcmp(argv[1], "found") && argc > 2) test_found(argv[2], argv + 3);
    else if (!strcmp(argv[1], "space") && argc > 2) test_space(argv[2]);
    else return 2;
    puts("ok");
    return 0;
}
