/* What the heap looks like from outside, and programs for the runner to look at.
 *
 *   heap huge         no transparent huge page backs the heap or the library's tables, whatever the system's setting
 *   heap single       one thread, and no file descriptor of the library's stays open
 *   heap released     every release is seen by a library that counts them (counted.so preloaded after)
 *   heap edge         allocations and frees across an arena's edge, a million; the runner counts system calls
 *   heap edge-large[-after-small]   the same with mappings of their own
 *   heap many         time of a free with few and with 80,000 arenas
 *   heap stats [threads|fork|exec]   work whose statistics the runner checks; prints what it holds
 */
#define _GNU_SOURCE
#include "trap.h"

#include <dirent.h>
#include <dlfcn.h>
#include <malloc.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>

/* ---- huge pages ---- */

static void check_vma(FILE *maps, void *block) {
    char line[512];
    unsigned long from, to, at = (unsigned long)block;
    bool inside = false, is_huge_off = false;
    long huge_kib = -1;
    rewind(maps);
    while (fgets(line, sizeof line, maps)) {
        if (sscanf(line, "%lx-%lx ", &from, &to) == 2) inside = at >= from && at < to;
        if (!inside) continue;
        sscanf(line, "AnonHugePages: %ld", &huge_kib);
        if (!strncmp(line, "VmFlags:", 8)) is_huge_off = strstr(line, " nh") != NULL;
    }
    if (huge_kib || !is_huge_off) printf("block %p: AnonHugePages %ld kB, nh flag %d\n", block, huge_kib, is_huge_off);
    CHECK(huge_kib == 0 && is_huge_off);
}

/* The first mapping without a name behind a library's own. */
static void *tables_of(FILE *maps, const char *library) {
    char line[512];
    unsigned long from, to, end = 0;
    rewind(maps);
    while (fgets(line, sizeof line, maps)) {
        if (sscanf(line, "%lx-%lx ", &from, &to) != 2) continue;
        if (end == from && !strchr(line, '/')) return (void *)from;
        end = strstr(line, library) ? to : 0;
    }
    return NULL;
}

static void test_huge(void) {
    static const size_t size[] = {24, 500, 3000, 50000, 200000, 5 * MIB, 20 * MIB};
    enum { N = 3000 };
    static void *p[N];
    for (int i = 0; i < N; i++) {
        size_t n = size[i % 7];
        if (n > MIB && i > 60) n = 24;
        memset(p[i] = malloc(n), 1, n);
    }
    for (int i = 0; i < N; i += 50) p[i] = realloc(p[i], 30000);
    void *grown = malloc(MIB);
    for (size_t n = 1; n < 40; n++) memset(grown = realloc(grown, n * MIB), 1, n * MIB);
    FILE *maps = fopen("/proc/self/smaps", "r");
    CHECK(maps);
    for (int i = 0; i < N; i += i < 60 ? 1 : 97) check_vma(maps, p[i]);
    check_vma(maps, grown);
    void *tables = tables_of(maps, "/liblowtide.so");
    CHECK(tables);
    check_vma(maps, tables);
    fclose(maps);
}

/* ---- threads and descriptors ---- */

static int entries(const char *path) {
    DIR *d = opendir(path);
    CHECK(d);
    int n = 0;
    for (struct dirent *e; (e = readdir(d));) n += e->d_name[0] != '.';
    closedir(d);
    return n;
}

static void test_single(void) {
    for (int i = 0; i < 100000; i++) free(malloc((size_t)i));
    malloc_trim(0);
    CHECK(entries("/proc/self/task") == 1);
    CHECK(entries("/proc/self/fd") == 4); /* three and the directory's own */
}

/* ---- releases ---- */

static void test_released(void) {
    void (*start)(void) = (void (*)(void))dlsym(RTLD_DEFAULT, "counted_start"), (*end)(void) = (void (*)(void))dlsym(RTLD_DEFAULT, "counted_stop");
    long *munmaps = dlsym(RTLD_DEFAULT, "counted_munmaps"), *madvises = dlsym(RTLD_DEFAULT, "counted_madvises");
    long *mremaps = dlsym(RTLD_DEFAULT, "counted_mremaps"), *mmaps = dlsym(RTLD_DEFAULT, "counted_mmaps");
    CHECK(start && end && munmaps && madvises && mremaps && mmaps);
    enum { N = 20000 };
    static void *p[N];
    static const size_t size[] = {24, 500, 3000, 20000, 90000, 200000, 600000};
    start();
    for (int i = 0; i < N; i++) {
        size_t n = size[i % 7] / (i % 700 > 50 ? 20 : 1) + 1;
        memset(p[i] = malloc(n), 1, n);
    }
    for (int i = 0; i < N; i += 77) p[i] = realloc(p[i], 900000);
    for (int i = 0; i < N; i++) free(p[i]);
    malloc_trim(0);
    end();
    CHECK(*munmaps > 0 && *madvises > 0);
    printf("counted %ld munmap %ld madvise %ld mremap %ld mmap\n", *munmaps, *madvises, *mremaps, *mmaps);
}

/* ---- an arena's edge ---- */

/* `live` blocks stay; at the end of what they fill, `batch` more come and go. */
static void cross_edge(size_t bytes, int live, int batch, long calls) {
    void **kept = malloc((size_t)live * sizeof *kept), *more[600];
    for (int i = 0; i < live; i++) CHECK(kept[i] = malloc(bytes));
    for (long done = 0; done < calls; done += batch) {
        for (int i = 0; i < batch; i++) {
            CHECK(more[i] = malloc(bytes));
            *(char *)more[i] = 1;
        }
        for (int i = 0; i < batch; i++) free(more[i]);
    }
    for (int i = 0; i < live; i++) free(kept[i]);
    free(kept);
}

static void test_edge(void) {
    for (int live = 0; live <= 600; live += 8) cross_edge(512, live, 600, 7200);
    for (int live = 0; live <= 20; live++) cross_edge(16384, live, 20, 8000);
    for (int live = 0; live <= 6; live++) cross_edge(100000, live, 3, 10000);
    for (int live = 0; live <= 6; live++) cross_edge(131072, live, 1, 10000);
    cross_edge(4096, 63, 1, 100000);
    cross_edge(512, 511, 512, 100000);
}

/* Mappings of their own: two at a time, well within what may be retained. */
static void test_edge_large(void) {
    for (int live = 0; live <= 4; live++) cross_edge(200000, live, 1, 10000);
    for (int live = 0; live <= 4; live++) cross_edge(1 << 20, live, 2, 10000);
}

/* The same where what may be retained is taken up by pages of smaller blocks that nobody uses any more. */
static void test_edge_large_after_small(void) {
    test_edge();
    test_edge_large();
}

/* ---- many arenas ---- */

static double seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* Mean time of free and malloc of a block of `bytes`, while `arenas` arenas are in use. */
static double time_pair(size_t bytes) {
    enum { PAIRS = 20000, BATCH = 50 };
    static void *p[BATCH];
    double best = 1;
    for (int round = 0; round < 5; round++) {
        double started = seconds();
        for (int i = 0; i < PAIRS / BATCH; i++) {
            for (int j = 0; j < BATCH; j++) *(char *)(p[j] = malloc(bytes)) = 1;
            for (int j = 0; j < BATCH; j++) free(p[j]);
        }
        double took = (seconds() - started) / PAIRS;
        if (took < best) best = took;
    }
    return best * 1e9;
}

static void fill_arenas(char **p, int blocks) { /* two an arena */
    for (int i = 0; i < blocks; i++) {
        CHECK(p[i] = malloc(131072));
        p[i][0] = 1;
    }
}

/* Nanoseconds for each. */
static double free_all(char **p, int blocks) {
    double started = seconds();
    for (int i = 0; i < blocks / 2; i++) free(p[i * 2]);
    for (int i = 0; i < blocks / 2; i++) free(p[i * 2 + 1]);
    return (seconds() - started) / blocks * 1e9;
}

/* What the kernel alone takes to release one half of such an arena and to unmap it: nanoseconds for each of the two. */
static double kernel_free_all(int arenas) {
    enum { ARENA_BYTES = 1 << 18, HALF_BYTES = ARENA_BYTES / 2 };
    size_t bytes = (size_t)arenas * ARENA_BYTES;
    char *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    CHECK(at != MAP_FAILED && madvise(at, bytes, MADV_NOHUGEPAGE) == 0);
    for (size_t i = 0; i < bytes; i += HALF_BYTES) at[i] = 1;
    double started = seconds();
    for (size_t i = 0; i < bytes; i += ARENA_BYTES) CHECK(madvise(at + i, HALF_BYTES, MADV_DONTNEED) == 0);
    for (size_t i = 0; i < bytes; i += ARENA_BYTES) CHECK(munmap(at + i, ARENA_BYTES) == 0);
    return (seconds() - started) / arenas / 2 * 1e9;
}

static void test_many(void) {
    enum { MANY = 160000, FEW = MANY / 20 };
    char **p = mmap(NULL, MANY * sizeof *p, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(p != MAP_FAILED);
    double few_small = time_pair(300), few_slab = time_pair(40000);
    fill_arenas(p, MANY);
    double many_small = time_pair(300), many_slab = time_pair(40000);
    double many_all = free_all(p, MANY), kernel_all = kernel_free_all(FEW / 2);
    printf("few arenas %.0f and %.0f ns, 80,000 arenas %.0f and %.0f ns; to free and unmap each %.0f ns, the kernel alone %.0f\n",
           few_small, few_slab, many_small, many_slab, many_all, kernel_all);
    CHECK(many_small < few_small * 4 + 50 && many_slab < few_slab * 4 + 200 && many_all < kernel_all * 4);
}

/* ---- statistics ---- */

enum { HELD = 3000 };
static void *held[HELD];

static size_t hold(void) {
    static const size_t size[] = {24, 500, 3000, 20000, 200000, 1 << 20};
    size_t sum = 0;
    for (int i = 0; i < HELD; i++) {
        size_t n = size[i % 100 ? i % 3 : i / 100 % 6];
        memset(held[i] = malloc(n), 1, n);
        sum += n;
        free(malloc(n * 2));
    }
    for (int i = 1; i < HELD; i += 3) {
        sum -= i % 100 ? 500 : size[i / 100 % 6];
        free(held[i]);
    }
    return sum;
}

static void *work(void *unused) {
    for (int i = 0; i < 20000; i++) free(malloc((size_t)i % 5000 + 1));
    return NULL;
}
static void *work_on(void *unused) {
    for (;;) work(NULL);
}

static void run_stats(const char *how) {
    size_t sum = hold();
    pthread_t t;
    if (!strcmp(how, "threads")) {
        for (int i = 0; i < 4; i++) CHECK(!pthread_create(&t, NULL, i ? work_on : work, NULL));
        usleep(20000);
    }
    if (!strcmp(how, "fork")) {
        pid_t child = fork();
        if (!child) {
            hold();
            exit(0);
        }
        int status;
        waitpid(child, &status, 0);
        CHECK(status == 0);
        printf("child %d\n", (int)child);
    }
    printf("held %zu anonymous %ld\n", sum, trap_proc_bytes("/proc/self/smaps_rollup", "\nAnonymous:"));
    if (!strcmp(how, "exec")) {
        fflush(stdout);
        execlp("env", "env", NULL);
    }
}

int main(int argc, char **argv) {
    if (argc < 2) return 2;
    setvbuf(stdout, NULL, _IOLBF, 0); /* a failing check leaves by _exit */
    if (!strcmp(argv[1], "huge")) test_huge();
    else if (!strcmp(argv[1], "single")) test_single();
    else if (!strcmp(argv[1], "released")) test_released();
    else if (!strcmp(argv[1], "edge")) test_edge();
    else if (!strcmp(argv[1], "edge-large")) test_edge_large();
    else if (!strcmp(argv[1], "edge-large-after-small")) test_edge_large_after_small();
    else if (!strcmp(argv[1], "many")) test_many();
    else if (!strcmp(argv[1], "stats")) run_stats(argc > 2 ? argv[2] : "");
    else return 2;
    puts("ok");
    return 0;
}
