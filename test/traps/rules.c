/* The letter of the calls: what is refused and how, sizes near the end of the address space, and the calls that tell of
 * the heap. */
#define _GNU_SOURCE
#include "trap.h"

#include <malloc.h>
#include <stdint.h>

#define REFUSED(call, error) \
    do { errno = 0; CHECK((call) == NULL); CHECK(errno == (error)); } while (0)

static void *const untouched = (void *)0x1234;

static void test_posix_memalign(void) {
    static const size_t bad[] = {0, 1, 2, 3, 4, 7, 9, 12, 24, 48, 100, SIZE_MAX, SIZE_MAX - 7};
    for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++) {
        void *p = untouched;
        errno = 99;
        CHECK(posix_memalign(&p, bad[i], 100) == EINVAL && p == untouched && errno == 99);
    }
    void *p = untouched;
    errno = 99;
    CHECK(posix_memalign(&p, 8, SIZE_MAX - 100) == ENOMEM && p == untouched && errno == 99);
    CHECK(posix_memalign(&p, 1ul << 62, 1) == ENOMEM && p == untouched && errno == 99);
    CHECK(posix_memalign(&p, 1ul << 63, 1) == ENOMEM && p == untouched && errno == 99);
    CHECK(posix_memalign(&p, 64, 0) == 0);
    free(p);
}

static void test_sizes_too_large(void) {
    static const size_t large[] = {SIZE_MAX, SIZE_MAX - 1, SIZE_MAX - 15, SIZE_MAX - 4095, SIZE_MAX - 65536, SIZE_MAX / 2 + 1,
                                   (size_t)PTRDIFF_MAX, (size_t)PTRDIFF_MAX - 15, (size_t)PTRDIFF_MAX - 65536, 1ul << 62, 1ul << 47};
    for (unsigned i = 0; i < sizeof large / sizeof *large; i++) {
        REFUSED(malloc(large[i]), ENOMEM);
        REFUSED(calloc(1, large[i]), ENOMEM);
        REFUSED(calloc(large[i], 2), ENOMEM);
        REFUSED(realloc(NULL, large[i]), ENOMEM);
        REFUSED(valloc(large[i]), ENOMEM);
        REFUSED(pvalloc(large[i]), ENOMEM);
        for (size_t alignment = 1; alignment; alignment *= 2) {
            void *p = untouched;
            REFUSED(memalign(alignment, large[i]), ENOMEM);
            REFUSED(aligned_alloc(alignment, large[i]), ENOMEM);
            CHECK(alignment < sizeof p || (posix_memalign(&p, alignment, large[i]) == ENOMEM && p == untouched));
        }
    }
    REFUSED(calloc(SIZE_MAX / 2 + 1, 2), ENOMEM);
    REFUSED(calloc(1ul << 32, 1ul << 32), ENOMEM);
    REFUSED(calloc(SIZE_MAX, SIZE_MAX), ENOMEM);
    REFUSED(reallocarray(NULL, 1ul << 33, 1ul << 33), ENOMEM);
    REFUSED(memalign(1ul << 62, 1), ENOMEM);
    REFUSED(memalign(1ul << 63, 1), ENOMEM);
    REFUSED(memalign((1ul << 62) + 1, 1), ENOMEM);
    REFUSED(memalign(SIZE_MAX, 1), EINVAL);
    REFUSED(memalign(SIZE_MAX / 2 + 2, 1), EINVAL);
}

/* A realloc that is refused leaves the block as it was. */
static void test_realloc_refused(void) {
    static const size_t size[] = {1, 100, 600, 20000, 200000, 2000000};
    for (unsigned i = 0; i < sizeof size / sizeof *size; i++) {
        char *p = malloc(size[i]);
        trap_fill(p, size[i], 4);
        REFUSED(realloc(p, SIZE_MAX), ENOMEM);
        REFUSED(realloc(p, SIZE_MAX - 70000), ENOMEM);
        REFUSED(realloc(p, (size_t)PTRDIFF_MAX), ENOMEM);
        REFUSED(realloc(p, (size_t)PTRDIFF_MAX + 1), ENOMEM);
        REFUSED(realloc(p, 1ul << 47), ENOMEM);
        REFUSED(reallocarray(p, SIZE_MAX / 2, 3), ENOMEM);
        CHECK(trap_is_filled(p, size[i], 4, size[i]) && malloc_usable_size(p) >= size[i]);
        free(p);
    }
}

static void test_zero(void) {
    enum { N = 2000 };
    static void *p[N];
    for (int i = 0; i < N; i++) {
        CHECK(p[i] = i % 2 ? malloc(0) : calloc(0, 5));
        for (int j = i > 20 ? i - 20 : 0; j < i; j++) CHECK(p[i] != p[j]);
    }
    for (int i = 0; i < N; i++) CHECK(realloc(p[i], 0) == NULL);
    void *q = malloc(10);
    CHECK(reallocarray(q, 0, 10) == NULL);
    CHECK((q = memalign(4096, 0)) && ((uintptr_t)q & 4095) == 0);
    free(q);
}

/* A memalign alignment that is no power of two is rounded up, as glibc does. */
static void test_odd_alignments(void) {
    for (size_t alignment = 0; alignment < 300; alignment++) {
        size_t power = 16;
        while (power < alignment) power *= 2;
        void *p = memalign(alignment, 40);
        CHECK(p && (uintptr_t)p % power == 0);
        free(p);
    }
}

/* A calloc of every size is zero where dirty blocks were freed before. */
static void test_calloc_zero(void) {
    static const size_t size[] = {24, 512, 513, 3000, 4096, 4097, 20000, 40000, 70000, 131072, 131073, 200000, 1 << 20, 5 << 20};
    for (unsigned i = 0; i < sizeof size / sizeof *size; i++)
        for (int round = 0; round < (size[i] < MIB ? 20 : 5); round++) {
            void *dirty[8];
            for (int j = 0; j < 8; j++) memset(dirty[j] = malloc(size[i]), 0xff, size[i]);
            for (int j = 0; j < 8; j++) free(dirty[j]);
            if (round % 5 == 4) malloc_trim(0);
            for (int j = 0; j < 8; j++) {
                const unsigned char *p = dirty[j] = calloc(1, size[i]);
                CHECK(p[0] == 0 && !memcmp(p, p + 1, size[i] - 1));
                memset(dirty[j], 0xff, size[i]);
            }
            for (int j = 0; j < 8; j++) free(dirty[j]);
        }
}

/* ---- what tells of the heap ---- */

static void test_mallinfo(void) {
    struct mallinfo2 before = mallinfo2();
    enum { N = 1000 };
    static void *p[N];
    for (int i = 0; i < N; i++) p[i] = malloc(1000);
    void *large = malloc(10 * MIB);
    struct mallinfo2 full = mallinfo2();
    size_t small = full.uordblks - before.uordblks, mapped = full.hblkhd - before.hblkhd;
    CHECK(small >= N * 1000ul && small <= N * 1000ul * 5 / 4);
    CHECK(mapped >= 10 * MIB && mapped <= 12 * MIB && full.hblks == before.hblks + 1);
    CHECK(full.arena >= full.uordblks);
    struct mallinfo old = mallinfo();
    CHECK((size_t)old.hblkhd == full.hblkhd && old.uordblks > 0);
    for (int i = 0; i < N; i++) free(p[i]);
    free(large);
    struct mallinfo2 after = mallinfo2();
    CHECK(after.hblks == before.hblks && after.uordblks < full.uordblks - N * 900ul);
}

static void test_trim(void) {
    enum { N = 4000 };
    static void *p[N];
    for (int i = 0; i < N; i++) memset(p[i] = malloc(1000), 1, 1000);
    for (int i = 0; i < N; i++) free(p[i]);
    CHECK(mallinfo2().keepcost > 0);
    CHECK(malloc_trim(0) == 1);
    CHECK(malloc_trim(0) == 0);
    CHECK(mallinfo2().keepcost == 0);
}

static void test_knobs_and_reports(void) {
    static const int known[] = {M_MXFAST, M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD, M_MMAP_MAX, M_CHECK_ACTION, M_PERTURB, M_ARENA_TEST, M_ARENA_MAX};
    for (unsigned i = 0; i < sizeof known / sizeof *known; i++) CHECK(mallopt(known[i], 1) == 1);
    CHECK(mallopt(12345, 1) == 0);
    char *text = NULL;
    size_t n = 0;
    FILE *to = open_memstream(&text, &n);
    CHECK(malloc_info(0, to) == 0 && malloc_info(1, to) == EINVAL);
    fclose(to);
    CHECK(!strncmp(text, "<malloc version=\"lowtide-", 25) && strstr(text, "</malloc>\n") == text + n - 10);
    CHECK(strstr(text, "live_bytes"));
    free(text);
    malloc_stats(); /* on stderr: the runner looks */
}

int main(void) {
    test_posix_memalign();
    test_sizes_too_large();
    test_realloc_refused();
    test_zero();
    test_odd_alignments();
    test_calloc_zero();
    test_mallinfo();
    test_trim();
    test_knobs_and_reports();
    puts("ok");
    return 0;
}
