/* The program's own mmap family through the preloaded library: results, errors and effects are those of the raw system
 * calls. */
#define _GNU_SOURCE
#include "trap.h"

#include <malloc.h>

#include <signal.h>
#include <setjmp.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#define RW (PROT_READ | PROT_WRITE)
#define PRIVATE (MAP_PRIVATE | MAP_ANONYMOUS)
static size_t page;

static bool is_mapped(void *p) {
    unsigned char state;
    return mincore(p, page, &state) == 0;
}

static char *map(size_t pages) {
    char *p = mmap(NULL, pages * page, RW, PRIVATE, -1, 0);
    CHECK(p != MAP_FAILED);
    return p;
}

static void test_zero_and_fixed(void) {
    char *p = map(8);
    for (size_t i = 0; i < 8 * page; i++) CHECK(p[i] == 0);
    memset(p, 1, 8 * page);
    CHECK(mmap(p + 2 * page, 2 * page, RW, PRIVATE | MAP_FIXED, -1, 0) == p + 2 * page);
    CHECK(p[2 * page - 1] == 1 && p[2 * page] == 0 && p[4 * page - 1] == 0 && p[4 * page] == 1);
    errno = 0;
    CHECK(mmap(p, page, RW, PRIVATE | MAP_FIXED_NOREPLACE, -1, 0) == MAP_FAILED && errno == EEXIST);
    CHECK(!munmap(p, 8 * page));
    /* Freed and mapped again: zero once more, so nothing was cached. */
    for (int round = 0; round < 50; round++) {
        p = map(300);
        for (size_t i = 0; i < 300; i++) CHECK(p[i * page] == 0);
        memset(p, 0xff, 300 * page);
        CHECK(!munmap(p, 300 * page) && !is_mapped(p));
    }
}

static void test_partial_unmap(void) {
    char *p = map(10);
    memset(p, 7, 10 * page);
    CHECK(!munmap(p + 3 * page, 4 * page));
    CHECK(is_mapped(p + 2 * page) && !is_mapped(p + 3 * page) && !is_mapped(p + 6 * page) && is_mapped(p + 7 * page));
    CHECK(p[3 * page - 1] == 7 && p[7 * page] == 7);
    CHECK(!munmap(p, 10 * page)); /* over the hole */
    CHECK(!is_mapped(p) && !is_mapped(p + 9 * page));
    CHECK(!munmap(p, page)); /* nothing there: no error */
}

static void test_remap(void) {
    char *p = map(4), *q;
    memset(p, 9, 4 * page);
    CHECK((q = mremap(p, 4 * page, 400 * page, MREMAP_MAYMOVE)) != MAP_FAILED);
    CHECK(q[0] == 9 && q[4 * page - 1] == 9 && q[4 * page] == 0);
    CHECK(mremap(q, 400 * page, 2 * page, 0) == q && !is_mapped(q + 2 * page) && q[0] == 9);
    char *to = map(2);
    CHECK(mremap(q, 2 * page, 2 * page, MREMAP_MAYMOVE | MREMAP_FIXED, to) == to && to[0] == 9 && !is_mapped(q));
    char *wall = mmap(to + 2 * page, page, RW, PRIVATE | MAP_FIXED_NOREPLACE, -1, 0);
    if (wall != MAP_FAILED || errno == EEXIST) {
        errno = 0;
        CHECK(mremap(to, 2 * page, 3 * page, 0) == MAP_FAILED && errno == ENOMEM);
    }
    CHECK(!munmap(to, 2 * page));
#ifdef MREMAP_DONTUNMAP
    p = map(2);
    p[0] = 5;
    CHECK((q = mremap(p, 2 * page, 2 * page, MREMAP_MAYMOVE | MREMAP_DONTUNMAP, NULL)) != MAP_FAILED);
    CHECK(q != p && q[0] == 5 && p[0] == 0);
    munmap(p, 2 * page);
    munmap(q, 2 * page);
#endif
}

static void test_refusals(void) {
    errno = 0;
    CHECK(mmap(NULL, 0, RW, PRIVATE, -1, 0) == MAP_FAILED && errno == EINVAL);
    errno = 0;
    CHECK(mmap(NULL, page, RW, MAP_PRIVATE, 999, 0) == MAP_FAILED && errno == EBADF);
    errno = 0;
    CHECK(mmap(NULL, page, RW, PRIVATE, -1, 1) == MAP_FAILED && errno == EINVAL);
    errno = 0;
    CHECK(mmap(NULL, SIZE_MAX - page, RW, PRIVATE, -1, 0) == MAP_FAILED && errno == ENOMEM);
    errno = 0;
    CHECK(munmap((void *)1, page) == -1 && errno == EINVAL);
    errno = 0;
    CHECK(munmap(NULL, 0) == -1 && errno == EINVAL);
    errno = 0;
    CHECK(mremap((void *)page, page, 2 * page, 0) == MAP_FAILED && errno == EFAULT);
}

static void same_advice(void *at, size_t bytes, int advice) {
    errno = 0;
    int raw = (int)syscall(SYS_madvise, at, bytes, advice), raw_errno = errno;
    errno = 0;
    int through = madvise(at, bytes, advice);
    CHECK(raw == through && raw_errno == errno);
}

static void test_advice(void) {
    static const int advice[] = {MADV_NORMAL, MADV_RANDOM, MADV_SEQUENTIAL, MADV_WILLNEED, MADV_DONTNEED, MADV_FREE, MADV_HUGEPAGE,
                                 MADV_NOHUGEPAGE, MADV_DONTFORK, MADV_DOFORK, MADV_DONTDUMP, 99, 12345, -1};
    char *p = map(10);
    munmap(p + 5 * page, page);
    for (unsigned i = 0; i < sizeof advice / sizeof *advice; i++) {
        same_advice(p, 2 * page, advice[i]);
        same_advice(p, 10 * page, advice[i]); /* over a hole: ENOMEM */
        same_advice(p + 1, page, advice[i]);
        same_advice(p, 0, advice[i]);
        same_advice((void *)(page * 16), page, advice[i]);
    }
    memset(p, 3, page);
    CHECK(!madvise(p, page, MADV_DONTNEED) && p[0] == 0);
    munmap(p, 10 * page);
}

static void test_files(void) {
    int fd = memfd_create("trap", 0);
    CHECK(fd >= 0 && !ftruncate(fd, (off_t)(3 * page)));
    char *p = mmap(NULL, 2 * page, RW, MAP_SHARED, fd, (off_t)page), c = 0;
    CHECK(p != MAP_FAILED);
    p[0] = 42;
    CHECK(pread(fd, &c, 1, (off_t)page) == 1 && c == 42);
    char *q = mmap64(NULL, page, PROT_READ, MAP_SHARED, fd, (off_t)page);
    CHECK(q != MAP_FAILED && q[0] == 42);
    CHECK(!munmap(p, 2 * page) && !munmap(q, page));
    close(fd);
}

/* The program maps over address space beside the heap, and allocations go on. */
static void test_beside_heap(void) {
    void *p[100];
    for (int i = 0; i < 100; i++) {
        CHECK(p[i] = malloc(i % 2 ? 200000 : 3000));
        char *own = map(16);
        memset(own, 1, 16 * page);
        if (i % 3) CHECK(!munmap(own, 16 * page));
        trap_fill(p[i], 3000, (unsigned)i);
    }
    for (int i = 0; i < 100; i++) CHECK(trap_is_filled(p[i], 3000, (unsigned)i, 3000));
    for (int i = 0; i < 100; i++) free(p[i]);
}

/* What the library says that the program has mapped itself; -1 without the library. */
static long counted_bytes(void) {
    char *text = NULL, *at;
    size_t bytes;
    FILE *to = open_memstream(&text, &bytes);
    CHECK(to && !malloc_info(0, to) && !fclose(to));
    at = strstr(text, "program_mmap_bytes\" value=\"");
    long counted = at ? strtol(strchr(at, '=') + 2, NULL, 10) : -1;
    free(text);
    return counted;
}

static void test_count(void) {
    long before = counted_bytes();
    if (before < 0) return;
    char *p = map(100);
    CHECK(counted_bytes() == before + 100 * (long)page);
    CHECK((p = mremap(p, 100 * page, 150 * page, MREMAP_MAYMOVE)) != MAP_FAILED);
    CHECK(counted_bytes() == before + 150 * (long)page);
    CHECK(!munmap(p, 150 * page));
    CHECK(counted_bytes() == before);
}

int main(void) {
    page = (size_t)sysconf(_SC_PAGESIZE);
    test_zero_and_fixed();
    test_partial_unmap();
    test_remap();
    test_refusals();
    test_advice();
    test_files();
    test_beside_heap();
    test_count();
    puts("ok");
    return 0;
}
