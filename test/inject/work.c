/* A fixed piece of work for the allocator that touches all of it, while the kernel refuses. A request may be refused with ENOMEM, and is
 * made again later; contents, zeros of calloc and errno are checked all the time. Then the fault is lifted: everything is served again,
 * and in the end everything is freed.
 *
 *   work                      under inject.so (inject.c), under a limit, or under strace
 *   work closed               all descriptors closed but one, on which it prints in the end
 *   work reused               the same, and the program's own files take their numbers; nobody may touch those
 *   work nofile               no descriptor can be opened any more
 *   work chroot DIR           in an empty root directory, entered after start
 *   work user ID              rights given up for good
 *   work seccomp CALL ERRNO   a filter refuses all calls of that kind from now on; nothing is lifted
 *   work midway ...           the same, but only after the first round
 *   work brief                one thread and a tenth of the work, in which each call can be refused in turn
 *
 * Prints the address space in the end, how many requests were refused, and ok. */
#define _GNU_SOURCE
#include "../traps/trap.h"

#include <dlfcn.h>
#include <grp.h>
#include <malloc.h>
#include <pthread.h>
#include <seccomp.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

enum { SLOTS = 3000 };
struct slot {
    unsigned char *p;
    size_t bytes;
    uint64_t tag;
};
struct work {
    struct slot slot[SLOTS];
    uint64_t seed;
    long refused;
};
static struct work main_work;
static bool may_refuse = true, is_brief;

/* ---- contents ---- */

enum { STEP = 1024 };

static void fill(struct slot *s, uint64_t tag) {
    s->tag = tag;
    memset(s->p, (int)tag, s->bytes < 64 ? s->bytes : 64);
    for (size_t at = 0; at < s->bytes; at += STEP) s->p[at] = (unsigned char)(tag + at / STEP);
    s->p[s->bytes - 1] = (unsigned char)~tag;
}

/* The first `bytes`, which another size may have left. */
static void check_filled(const struct slot *s, size_t bytes) {
    for (size_t i = 1; i < 64 && i < s->bytes - 1 && i < bytes; i++) CHECK(s->p[i] == (unsigned char)s->tag);
    for (size_t at = 0; at < bytes && at < s->bytes - 1; at += STEP) CHECK(s->p[at] == (unsigned char)(s->tag + at / STEP));
    if (bytes >= s->bytes) CHECK(s->p[s->bytes - 1] == (unsigned char)~s->tag);
}

static void check_zero(const unsigned char *p, size_t bytes) { CHECK(!*p && !memcmp(p, p + 1, bytes - 1)); }

/* ---- requests ---- */

static void *served(struct work *w, void *p) {
    if (p) return p;
    CHECK(may_refuse);
    CHECK(errno == ENOMEM);
    w->refused++;
    return NULL;
}

enum { MALLOC, CALLOC, ALIGNED, KINDS };

static void give(struct slot *s) {
    if (!s->p) return;
    check_filled(s, s->bytes);
    errno = 1234;
    free(s->p);
    CHECK(errno == 1234);
    s->p = NULL;
}

static void take(struct work *w, struct slot *s, size_t bytes, int kind) {
    size_t alignment = 16;
    give(s);
    errno = 0;
    if (kind == CALLOC) {
        s->p = served(w, calloc(1, bytes));
        if (s->p) check_zero(s->p, bytes);
    } else if (kind == ALIGNED) {
        alignment = 64ul << trap_random(&w->seed) % 16; /* to 2 MiB */
        s->p = served(w, memalign(alignment, bytes));
    } else
        s->p = served(w, malloc(bytes));
    if (!s->p) return;
    CHECK((uintptr_t)s->p % alignment == 0);
    s->bytes = bytes;
    fill(s, trap_random(&w->seed));
}

static void resize(struct work *w, struct slot *s, size_t bytes) {
    if (!s->p) {
        take(w, s, bytes, MALLOC);
        return;
    }
    errno = 0;
    unsigned char *p = served(w, realloc(s->p, bytes));
    if (p) {
        struct slot moved = {p, s->bytes, s->tag};
        check_filled(&moved, bytes < s->bytes ? bytes : s->bytes);
        s->p = p;
        s->bytes = bytes;
        fill(s, trap_random(&w->seed));
    } else
        check_filled(s, s->bytes);
}

static size_t between(struct work *w, size_t least, size_t most) { return least + trap_random(&w->seed) % (most - least); }
static int any_kind(struct work *w) { return (int)(trap_random(&w->seed) % KINDS); }
static void give_some(struct work *w, int from, int to, int of) {
    for (int i = from; i < to; i++)
        if (trap_random(&w->seed) % (unsigned)of) give(&w->slot[i]);
}

/* ---- pieces of work ---- */

static void small_blocks(struct work *w, int n) {
    for (int i = 0; i < n; i++) take(w, &w->slot[i], between(w, 1, 512), i % 4 ? MALLOC : CALLOC);
    give_some(w, 0, n, 8);
    for (int i = 0; i < n; i += 2) resize(w, &w->slot[i], between(w, 1, 700));
    give_some(w, 0, n, 4);
}

static void slabs(struct work *w) {
    int end = is_brief ? 2016 : 2160;
    for (int i = 2000; i < end; i++) take(w, &w->slot[i], between(w, 513, i % 3 ? 9000 : 128000), any_kind(w));
    give_some(w, 2000, end, 3);
    malloc_trim(0);
    for (int i = 2000; i < end; i += 3) take(w, &w->slot[i], between(w, 4097, 60000), CALLOC);
    for (int i = 2001; i < end; i += 3) resize(w, &w->slot[i], between(w, 600, 100000));
    give_some(w, 2000, end, 5);
}

static void large_buffers(struct work *w) {
    int end = is_brief ? 2206 : 2216;
    size_t most = is_brief ? 1000000 : 3000000; /* to touch pages is most of the time */
    for (int i = 2200; i < end; i++) take(w, &w->slot[i], between(w, 140000, most / 6), any_kind(w));
    for (int i = 2200; i < end; i += 2) give(&w->slot[i]);
    take(w, &w->slot[2220], most * 3 / 10, MALLOC); /* of pieces */
    take(w, &w->slot[2221], most * 11 / 30, CALLOC);
    for (int i = 2201; i < end; i += 2) resize(w, &w->slot[i], w->slot[i].bytes + between(w, 60000, most / 6));
    resize(w, &w->slot[2220], most * 2 / 3);
    resize(w, &w->slot[2221], 200000);
    for (size_t bytes = 150000; bytes < most / 2; bytes += bytes / 3) resize(w, &w->slot[2222], bytes);
    resize(w, &w->slot[2222], 900);
    take(w, &w->slot[2223], most, CALLOC);
    give_some(w, 2200, 2224, 3);
}

/* ---- threads ---- */

static _Atomic(unsigned char *) handed[64];

static void hand_over(struct work *w, int i) {
    size_t bytes = i % 16 ? between(w, 16, 4000) : 200000;
    unsigned char *p = served(w, malloc(bytes));
    if (p) p[0] = p[bytes - 1] = 0x5a;
    p = __atomic_exchange_n((unsigned char **)&handed[i % 64], p, __ATOMIC_ACQ_REL);
    if (p) CHECK(p[0] == 0x5a);
    free(p);
}

static void *thread_main(void *work) {
    struct work *w = work;
    for (int i = 0; i < 400; i++) hand_over(w, i);
    small_blocks(w, 200);
    for (int i = 0; i < SLOTS; i++) give(&w->slot[i]);
    return NULL;
}

static void threads(struct work *w) {
    static struct work own[2];
    static char stack[2][256 << 10] __attribute__((aligned(4096))); /* libc would keep as many of its own as met */
    pthread_t t[2];
    bool runs[2];
    pthread_attr_t attr;
    pthread_attr_init(&attr);
    for (int i = 0; i < 2; i++) {
        own[i].seed = w->seed + (uint64_t)i;
        pthread_attr_setstack(&attr, stack[i], sizeof stack[i]);
        int failed = pthread_create(&t[i], &attr, thread_main, &own[i]);
        CHECK(!failed || (may_refuse && (failed == EAGAIN || failed == ENOMEM)));
        runs[i] = !failed;
    }
    for (int i = 0; i < 400; i++) hand_over(w, i);
    for (int i = 0; i < 2; i++)
        if (runs[i]) pthread_join(t[i], NULL);
    for (int i = 0; i < 2; i++) w->refused += own[i].refused, own[i].refused = 0;
    for (int i = 0; i < 64; i++) free(handed[i]), handed[i] = NULL;
    pthread_attr_destroy(&attr);
}

/* ---- fork, sleep ---- */

static void child(struct work *w) {
    int status;
    pid_t pid = fork();
    if (pid < 0) {
        CHECK(may_refuse && (errno == ENOMEM || errno == EAGAIN));
        return;
    }
    if (!pid) {
        small_blocks(w, 500);
        slabs(w);
        for (int i = 0; i < SLOTS; i++) give(&w->slot[i]);
        malloc_trim(0);
        _exit(0);
    }
    CHECK(waitpid(pid, &status, 0) == pid);
    CHECK(status == 0);
}

static void round_of_work(struct work *w) {
    small_blocks(w, is_brief ? 200 : 2000);
    slabs(w);
    large_buffers(w);
    if (!is_brief) threads(w);
    malloc_trim(0);
    if (!is_brief) child(w);
    usleep(1000);
    large_buffers(w);
    for (int i = 0; i < SLOTS; i += 2) give(&w->slot[i]);
    usleep(1000);
    malloc_trim(0);
}

/* ---- surroundings ---- */

/* The bit that lets anybody load a filter is set directly: libc's prctl would tell the allocator of it. */
static void refuse_by_filter(const char *name, const char *error) {
    unsigned number = !strcmp(error, "ENOMEM") ? ENOMEM : !strcmp(error, "EAGAIN") ? EAGAIN : EINVAL;
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);
    CHECK(filter && !seccomp_attr_set(filter, SCMP_FLTATR_CTL_NNP, 0));
    CHECK(!seccomp_rule_add(filter, SCMP_ACT_ERRNO(number), seccomp_syscall_resolve_name(name), 0));
    CHECK(!syscall(SYS_prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
    CHECK(!seccomp_load(filter));
    seccomp_release(filter);
}

static void call_injector(const char *name) {
    void (*function)(void) = (void (*)(void))dlsym(RTLD_DEFAULT, name);
    if (function) function();
}

enum { OUT = 900, OWN_FILES = 60 };
static ino_t own_file[OWN_FILES];

static ino_t inode_of(int fd) {
    struct stat s;
    CHECK(!fstat(fd, &s) && !s.st_size);
    return s.st_ino;
}

static void close_all(void) {
    CHECK(fcntl(STDOUT_FILENO, F_DUPFD, OUT) == OUT);
    CHECK(!close_range(0, OUT - 1, 0) && !close_range(OUT + 1, ~0u, 0));
}

static void take_descriptors(void) {
    for (int i = 0; i < OWN_FILES; i++) {
        CHECK(memfd_create("own", 0) == i);
        own_file[i] = inode_of(i);
    }
}

static void open_nothing_more(void) {
    struct rlimit none = {0, 0};
    CHECK(!setrlimit(RLIMIT_NOFILE, &none) && open("/dev/null", O_RDONLY) < 0);
}

static void change_surroundings(char **what) {
    if (!*what) return;
    if (!strcmp(*what, "closed") || !strcmp(*what, "reused")) close_all();
    if (!strcmp(*what, "reused")) take_descriptors();
    if (!strcmp(*what, "nofile")) open_nothing_more();
    if (!strcmp(*what, "chroot")) CHECK(!chroot(what[1]) && !chdir("/"));
    if (!strcmp(*what, "user")) CHECK(!setgroups(0, NULL) && !setgid((gid_t)atoi(what[1])) && !setuid((uid_t)atoi(what[1])));
    if (!strcmp(*what, "seccomp")) refuse_by_filter(what[1], what[2]);
}

/* What of the address space is not the allocator's, by its own account. Both are read with nothing in between that could allocate. */
static long unknown_space(long *space) {
    static char text[8192];
    FILE *out = fmemopen(text, sizeof text, "w");
    *space = 0;
    if (!out && getenv("WORK_MAY_REFUSE")) return 0;
    CHECK(out);
    setbuf(out, NULL);
    *space = trap_proc_bytes("/proc/self/status", "VmSize:");
    CHECK(!malloc_info(0, out));
    fclose(out);
    char *mapped = strstr(text, "mapped_bytes");
    return mapped ? *space - strtol(mapped + strcspn(mapped, "0123456789"), NULL, 10) : 0;
}

int main(int argc, char **argv) {
    struct work *w = &main_work;
    bool is_midway = argc > 1 && !strcmp(argv[1], "midway");
    is_brief = argc > 1 && !strcmp(argv[1], "brief");
    char **what = argv + 1 + (is_midway || is_brief);
    w->seed = 88172645463325252ull;
    if (!is_midway) change_surroundings(what);
    syscall(SYS_munmap, 0x111000, 0); /* seen in a trace: what comes before is not the work's */
    call_injector("inject_begin");
    round_of_work(w);
    if (is_midway) {
        change_surroundings(what);
        usleep(120000); /* housekeeping is due, and looks at the machine */
    }
    if (!is_brief) round_of_work(w);
    call_injector("inject_lift");
    may_refuse = getenv("WORK_MAY_REFUSE") || (*what && !strcmp(*what, "seccomp"));
    round_of_work(w);
    for (int i = 0; i < SLOTS; i++) give(&w->slot[i]);
    malloc_trim(0);
    malloc_trim(0);
    for (int i = 0; i < OWN_FILES && own_file[0]; i++) CHECK(inode_of(i) == own_file[i]);
    bool is_blind = *what && strcmp(*what, "seccomp") && strcmp(*what, "user"); /* to /proc */
    long space = 0, unknown = is_blind ? 0 : unknown_space(&space);
    dprintf(fcntl(OUT, F_GETFD) < 0 ? STDOUT_FILENO : OUT, "space=%ld unknown=%ld refusals=%ld\nok\n", space, unknown, w->refused);
    return 0;
}
