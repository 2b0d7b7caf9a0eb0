/* Every call that allocates, against every call that frees or resizes, over sizes and alignments at the edges of the tiers.
 * usage: matrix [small-stack]    in a thread of PTHREAD_STACK_MIN bytes, with fewer sizes */
#define _GNU_SOURCE
#include "trap.h"

#include <dlfcn.h>
#include <limits.h>
#include <malloc.h>
#include <pthread.h>

void *__libc_malloc(size_t), *__libc_calloc(size_t, size_t), *__libc_realloc(void *, size_t);
void *__libc_memalign(size_t, size_t), *__libc_valloc(size_t), *__libc_pvalloc(size_t);
void __libc_free(void *);

static void (*cfree_)(void *), (*free_sized_)(void *, size_t), (*free_aligned_sized_)(void *, size_t, size_t);

static void *by_posix(size_t alignment, size_t bytes) {
    void *p = (void *)1;
    if (alignment < sizeof p) alignment = sizeof p;
    return posix_memalign(&p, alignment, bytes) ? NULL : p;
}
static void *by_malloc(size_t a, size_t n) { return malloc(n); }
static void *by_calloc(size_t a, size_t n) { return calloc(n ? n : 1, 1); }
static void *by_calloc_pairs(size_t a, size_t n) { return calloc((n + 1) / 2, 2); }
static void *by_realloc(size_t a, size_t n) { return realloc(NULL, n); }
static void *by_reallocarray(size_t a, size_t n) { return reallocarray(NULL, n, 1); }
static void *by_grown(size_t a, size_t n) { return realloc(malloc(1), n ? n : 1); }
static void *by_shrunk(size_t a, size_t n) { return realloc(malloc(n + 300000), n ? n : 1); }
static void *by_valloc(size_t a, size_t n) { return valloc(n); }
static void *by_pvalloc(size_t a, size_t n) { return pvalloc(n); }
static void *by_libc_malloc(size_t a, size_t n) { return __libc_malloc(n); }
static void *by_libc_calloc(size_t a, size_t n) { return __libc_calloc(1, n ? n : 1); }
static void *by_libc_realloc(size_t a, size_t n) { return __libc_realloc(NULL, n); }
static void *by_libc_valloc(size_t a, size_t n) { return __libc_valloc(n); }
static void *by_libc_pvalloc(size_t a, size_t n) { return __libc_pvalloc(n); }

enum { ZEROED = 1, ALIGNED = 2, PAGE = 4, WHOLE_PAGES = 8 };
static const struct {
    void *(*take)(size_t alignment, size_t bytes);
    int is;
} takers[] = {
    {by_malloc, 0},         {by_calloc, ZEROED},      {by_calloc_pairs, ZEROED},      {by_realloc, 0},
    {by_reallocarray, 0},   {by_grown, 0},            {by_shrunk, 0},                 {by_valloc, PAGE},
    {by_pvalloc, PAGE | WHOLE_PAGES},                 {by_posix, ALIGNED},            {memalign, ALIGNED},
    {aligned_alloc, ALIGNED},                         {by_libc_malloc, 0},            {by_libc_calloc, ZEROED},
    {by_libc_realloc, 0},   {__libc_memalign, ALIGNED},                               {by_libc_valloc, PAGE},
    {by_libc_pvalloc, PAGE | WHOLE_PAGES},
};
enum { TAKERS = sizeof takers / sizeof *takers };

static void end_free(void *p, size_t a, size_t n) { free(p); }
static void end_cfree(void *p, size_t a, size_t n) { cfree_(p); }
static void end_libc_free(void *p, size_t a, size_t n) { __libc_free(p); }
/* What takers ask for may be more than n; checked blocks know it to the byte. */
static size_t asked(void *p, size_t n) {
    const char *check = getenv("LOWTIDE_CHECK");
    return check && *check == '2' ? malloc_usable_size(p) : n;
}
static void end_sized(void *p, size_t a, size_t n) { free_sized_(p, asked(p, n)); }
static void end_aligned_sized(void *p, size_t a, size_t n) { free_aligned_sized_(p, a, asked(p, n)); }
static void end_realloc_zero(void *p, size_t a, size_t n) { CHECK(realloc(p, 0) == NULL); }
static void end_libc_realloc_zero(void *p, size_t a, size_t n) { CHECK(__libc_realloc(p, 0) == NULL); }
static void end_thread_free(void *p, size_t a, size_t n);

/* What realloc keeps, on the way up through the tiers and down again. */
static void end_chain(void *block, size_t a, size_t n) {
    static const size_t step[] = {1, 40, 513, 5000, 70000, 140000, 1 << 20, 300000, 131072, 4096, 16, 1};
    unsigned char *p = block;
    size_t kept = n;
    trap_fill(p, n, 9);
    for (unsigned i = 0; i < sizeof step / sizeof *step; i++) {
        CHECK(p = realloc(p, step[i]));
        if (step[i] < kept) kept = step[i];
        CHECK(trap_is_filled(p, kept, 9, n));
        CHECK(malloc_usable_size(p) >= step[i] && ((uintptr_t)p & 15) == 0);
        p[step[i] - 1] = kept == step[i] ? p[step[i] - 1] : 1;
    }
    free(p);
}

static void (*const enders[])(void *, size_t, size_t) = {
    end_free,         end_cfree,        end_libc_free, end_sized,       end_aligned_sized,
    end_realloc_zero, end_libc_realloc_zero,           end_thread_free, end_chain,
};
enum { ENDERS = sizeof enders / sizeof *enders };

static void *free_there(void *p) {
    free(p);
    return NULL;
}
static void end_thread_free(void *p, size_t a, size_t n) {
    pthread_t t;
    CHECK(!pthread_create(&t, NULL, free_there, p));
    CHECK(!pthread_join(t, NULL));
}

static bool is_zero(const unsigned char *p, size_t n) {
    while (n--)
        if (*p++) return false;
    return true;
}

static void try_one(int taker, int ender, size_t alignment, size_t bytes) {
    int is = takers[taker].is;
    if (ender == 7 && bytes % 3) return; /* a thread a call: not for every size */
    void *p = takers[taker].take(alignment, bytes), *second = takers[taker].take(alignment, bytes);
    CHECK(p && second && p != second);
    size_t page = (size_t)sysconf(_SC_PAGESIZE), usable = malloc_usable_size(p);
    CHECK(((uintptr_t)p & 15) == 0 || (bytes < 16 && ((uintptr_t)p & 7) == 0));
    if (is & ALIGNED) CHECK(((uintptr_t)p & (alignment - 1)) == 0);
    if (is & PAGE) CHECK(((uintptr_t)p & (page - 1)) == 0);
    CHECK(usable >= bytes);
    if (is & WHOLE_PAGES) CHECK(usable >= (bytes + page - 1) / page * page);
    if (is & ZEROED) CHECK(is_zero(p, bytes));
    memset(p, 0xee, usable);
    memset(second, 0x11, malloc_usable_size(second));
    CHECK(bytes == 0 || (((unsigned char *)p)[0] == 0xee && ((unsigned char *)p)[usable - 1] == 0xee));
    free(second);
    enders[ender](p, is & ALIGNED ? alignment : 16, bytes);
}

static const size_t sizes[] = {0,    1,    8,    15,    16,    17,    31,     33,     100,    511,    512,     513,     1000,   1024,  1025,
                               2049, 4095, 4096, 4097,  8193,  16384, 32767,  32769,  65535,  65537,  131071,  131072,  131073, 200000, 262144,
                               262145, 1 << 20, (1 << 20) + 1};
enum { SIZES = sizeof sizes / sizeof *sizes };

static void run_matrix(int size_step) {
    for (int s = 0; s < SIZES; s += size_step)
        for (int t = 0; t < TAKERS; t++)
            for (int e = 0; e < ENDERS; e++) try_one(t, e, 64, sizes[s]);
}

static void run_alignments(void) {
    for (size_t alignment = 1; alignment <= 1 << 20; alignment *= 2)
        for (int s = 0; s < SIZES; s += sizes[s] > 4097 ? 3 : 1)
            for (int t = 0; t < TAKERS; t++)
                if (takers[t].is & ALIGNED) try_one(t, s % 2 ? 0 : 8, alignment, sizes[s]);
}

/* Blocks of one size live at once do not overlap. */
static void run_apart(void) {
    enum { N = 200 };
    static unsigned char *p[N];
    for (int s = 0; s < SIZES; s++) {
        int n = sizes[s] > 70000 ? 12 : N;
        for (int i = 0; i < n; i++) trap_fill(p[i] = malloc(sizes[s]), sizes[s], (unsigned)i);
        for (int i = 0; i < n; i++) CHECK(trap_is_filled(p[i], sizes[s], (unsigned)i, sizes[s]));
        for (int i = 0; i < n; i++) free(p[i]);
    }
}

static void *on_small_stack(void *unused) {
    run_matrix(4);
    return NULL;
}

static void run_on_small_stack(void) {
    pthread_attr_t attributes;
    pthread_t thread;
    pthread_attr_init(&attributes);
    CHECK(!pthread_attr_setstacksize(&attributes, (size_t)sysconf(_SC_THREAD_STACK_MIN)));
    CHECK(!pthread_create(&thread, &attributes, on_small_stack, NULL));
    CHECK(!pthread_join(thread, NULL));
}

int main(int argc, char **argv) {
    *(void **)&cfree_ = dlsym(RTLD_DEFAULT, "cfree");
    *(void **)&free_sized_ = dlsym(RTLD_DEFAULT, "free_sized");
    *(void **)&free_aligned_sized_ = dlsym(RTLD_DEFAULT, "free_aligned_sized");
    CHECK(cfree_ && free_sized_ && free_aligned_sized_);
    if (argc > 1) run_on_small_stack();
    else {
        run_matrix(1);
        run_alignments();
        run_apart();
    }
    puts("ok");
    return 0;
}
