/* Under limits: of address space, of locked memory, of mappings.
 *
 *   limits space            malloc fails with ENOMEM at RLIMIT_AS and works again after frees
 *   limits locked           all memory locked: what is released is refused by the kernel, and calloc is zero all the same
 *   limits maps BYTES N     N blocks, every other freed: the process goes on and can still map for itself
 *   limits moved N          N buffers that realloc grew or moved; limits regrown N: few at a time, N times
 */
#define _GNU_SOURCE
#include "trap.h"

#include <malloc.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>

static const size_t sizes[] = {24, 100, 512, 600, 3000, 20000, 100000, 200000, 5ul << 20};
enum { SIZES = sizeof sizes / sizeof *sizes };

/* ---- address space ---- */

/* Blocks linked through their first word, so that the list needs no memory of its own. */
static long fill(void **list, size_t bytes) {
    long n = 0;
    for (void **p; (errno = 0, p = malloc(bytes)) != NULL; n++) {
        *p = *list;
        *list = p;
    }
    CHECK(errno == ENOMEM);
    return n;
}
static void free_list(void *list) {
    while (list) {
        void *next = *(void **)list;
        free(list);
        list = next;
    }
}

static void test_space(void) {
    for (int round = 0; round < 2; round++)
        for (int s = 0; s < SIZES; s++) {
            void *list = NULL, *other = NULL;
            long n = fill(&list, sizes[s]);
            CHECK(n * sizes[s] > 20 * MIB || sizes[s] > MIB);
            errno = 0;
            CHECK(calloc(1, 8 * MIB) == NULL && errno == ENOMEM);
            void *kept = list;
            CHECK(realloc(list, 40 * MIB) == NULL && list == kept);
            free_list(list);
            CHECK((other = malloc(10 * MIB)));
            free(other);
            for (int t = 0; t < SIZES; t++) {
                CHECK(other = malloc(sizes[t]));
                free(other);
            }
        }
}

/* ---- locked memory ---- */

static void check_zero(const unsigned char *p, size_t n) {
    for (size_t i = 0; i < n; i++) CHECK(p[i] == 0);
}

static void test_locked(void) {
    if (mlockall(MCL_CURRENT | MCL_FUTURE)) {
        printf("cannot lock memory: %s; needs root or a larger RLIMIT_MEMLOCK\n", strerror(errno));
        exit(1);
    }
    enum { N = 120 };
    static void *p[N];
    for (int round = 0; round < 12; round++)
        for (int s = 0; s < SIZES - 1; s++) {
            for (int i = 0; i < N; i++) {
                CHECK(p[i] = calloc(1, sizes[s]));
                check_zero(p[i], sizes[s]);
                memset(p[i], 0xcc, sizes[s]);
            }
            for (int i = round % 2; i < N; i += 2) free(p[i]);
            if (round % 3 == 0) malloc_trim(0);
            for (int i = round % 2; i < N; i += 2) {
                CHECK(p[i] = calloc(1, sizes[s]));
                check_zero(p[i], sizes[s]);
                memset(p[i], 0xdd, sizes[s]);
            }
            for (int i = 0; i < N; i++) free(p[i]);
        }
}

/* ---- mappings ---- */

static double seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static int mappings_in_use(void) {
    char text[65536];
    int fd = open("/proc/self/maps", O_RDONLY), lines = 0;
    ssize_t n;
    CHECK(fd >= 0);
    while ((n = read(fd, text, sizeof text)) > 0)
        for (ssize_t i = 0; i < n; i++) lines += text[i] == '\n';
    close(fd);
    return lines;
}

/* The program's own use of mappings: alternate protections, so that none merges with the next. */
static void map_for_itself(void) {
    enum { OWN = 2000 };
    static void *own[OWN];
    for (int i = 0; i < OWN; i++) {
        own[i] = mmap(NULL, 8192, i % 2 ? PROT_READ : PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        CHECK(own[i] != MAP_FAILED);
    }
    for (int i = 0; i < OWN; i++) CHECK(!munmap(own[i], 8192));
}

static void *own_array(size_t n) {
    void *p = mmap(NULL, n * sizeof(void *), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    CHECK(p != MAP_FAILED);
    return p;
}

static void go_on(void) {
    pthread_t t;
    map_for_itself();
    for (int s = 0; s < SIZES; s++) {
        void *p = calloc(1, sizes[s]);
        CHECK(p);
        CHECK(p = realloc(p, sizes[s] * 2));
        free(p);
    }
    CHECK(!pthread_create(&t, NULL, (void *(*)(void *))malloc, (void *)100));
    pthread_join(t, NULL);
}

/* After alternate frees: the freed half is given back, the process can map, and taking the same blocks again needs
 * little more address space. */
static void test_maps(size_t bytes, long n) {
    char **p = own_array((size_t)n);
    for (long i = 0; i < n; i++) {
        CHECK(p[i] = malloc(bytes));
        p[i][0] = p[i][bytes - 1] = 1;
    }
    long rss = trap_rss_bytes(), space = trap_proc_bytes("/proc/self/status", "VmSize:");
    double started = seconds();
    for (long i = 0; i < n; i += 2) free(p[i]);
    double took = seconds() - started;
    malloc_trim(0);
    long rss_after = trap_rss_bytes();
    int maps = mappings_in_use();
    printf("%ld MiB resident, %ld after; %d mappings; %.1f us a free\n", rss >> 20, rss_after >> 20, maps, took * 2e6 / (double)n);
    go_on();
    CHECK(rss_after < rss * 65 / 100);
    CHECK(maps < 60000);
    for (long i = 0; i < n; i += 2) CHECK(p[i] = malloc(bytes));
    long space_again = trap_proc_bytes("/proc/self/status", "VmSize:");
    printf("address space %ld MiB, %ld after freed blocks were taken again\n", space >> 20, space_again >> 20);
    for (long i = 0; i < n; i++) free(p[i]);
    CHECK(space_again < space + space / 4);
    malloc_trim(0);
    printf("%ld MiB resident in the end, %d mappings\n", trap_rss_bytes() >> 20, mappings_in_use());
    /* What stays: page map and arenas' words, some 0.2 % of the address space there ever was. */
    CHECK(trap_rss_bytes() - (long)(n * sizeof *p) < 16 * (long)MIB + space / 512);
}

/* Buffers that grew, every other into the place its neighbour moved out of. What is believed of mappings (vmas_holes, which the runner
 * compares) must not drift. */
static void test_moved(long n) {
    char **p = own_array((size_t)n);
    for (long i = 0; i < n; i++) {
        CHECK(p[i] = malloc(140000));
        p[i][0] = p[i][139999] = 7;
    }
    for (long i = 0; i < n; i++) {
        CHECK(p[i] = realloc(p[i], 300000));
        CHECK(p[i][0] == 7 && p[i][139999] == 7);
    }
    int maps = mappings_in_use();
    printf("%d mappings for %ld buffers\n", maps, n);
    go_on();
    CHECK(maps < 60000);
    for (long i = 0; i < n; i++) free(p[i]);
    malloc_trim(0);
    printf("%d mappings in the end\n", mappings_in_use());
}

/* The same in a process that stays small. */
static void test_regrown(long n) {
    for (long i = 0; i < n; i++) {
        char *a = malloc(150000), *b = malloc(150000), *c = malloc(150000);
        CHECK(a && b && c);
        free(b);
        malloc_trim(0);
        CHECK(a = realloc(a, 240000));
        CHECK(c = realloc(c, 240000));
        free(i % 2 ? a : c);
        free(i % 2 ? c : a);
        malloc_trim(0);
    }
    printf("%d mappings in the end\n", mappings_in_use());
}

int main(int argc, char **argv) {
    setvbuf(stdout, NULL, _IOLBF, 0); /* a failing check leaves by _exit */
    if (argc < 2) return 2;
    if (!strcmp(argv[1], "space")) test_space();
    else if (!strcmp(argv[1], "locked")) test_locked();
    else if (!strcmp(argv[1], "maps") && argc > 3) test_maps(strtoul(argv[2], NULL, 10), atol(argv[3]));
    else if (!strcmp(argv[1], "moved") && argc > 2) test_moved(atol(argv[2]));
    else if (!strcmp(argv[1], "regrown") && argc > 2) test_regrown(atol(argv[2]));
    else return 2;
    puts("ok");
    return 0;
}
