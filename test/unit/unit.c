/* For what: unit.h. */
#include "unit.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

char __libc_single_threaded; /* the tests' own, by another name: unit.mk */

void unit_be_alone(void) { __libc_single_threaded = 1; }

/* ---- what TSan needs ---- */

#ifdef UNIT_UNDER_TSAN
/* Criterion puts what its processes share at 0x200000000000 plus a random number times 16 MiB, of which TSan allows only a
 * few ranges; elsewhere no test starts. This one lies above the executable's place. */
__attribute__((visibility("default"))) int rand_r(unsigned *seed) {
    *seed = *seed * 1103515245u + 12345u;
    return 0x366000 + (int)(*seed >> 16 & 0xfff);
}

/* TSan sees the calls of libc, not direct system calls, and must know of them: what it remembers of an address
 * would otherwise be held against the next mapping there. */
__attribute__((constructor)) static void use_libc_calls(void) {
    os_calls = (struct os_calls){mmap, munmap, madvise, mremap, NULL};
}
#endif

/* Criterion's own time limit does not end a test that computes without end. Only its workers have this variable. */
__attribute__((constructor)) static void limit_time(void) {
    if (getenv("BXFI_MAP")) alarm(120);
}

/* ---- auxiliary values ---- */

static unsigned long auxval_type, auxval_value;
static bool has_auxval;

unsigned long __real_getauxval(unsigned long type);
unsigned long __wrap_getauxval(unsigned long type);
unsigned long __wrap_getauxval(unsigned long type) {
    return has_auxval && type == auxval_type ? auxval_value : __real_getauxval(type);
}

void unit_set_auxval(unsigned long type, unsigned long value) {
    auxval_type = type;
    auxval_value = value;
    has_auxval = true;
}

/* ---- the kernel ---- */

struct unit_kernel unit_kernel = {.mmaps_left = -1, .munmaps_left = -1, .releases_left = -1, .mremaps_left = -1};
static struct os_calls below;

static bool is_refused(_Atomic(long) *calls, _Atomic(long) *left) {
    atomic_fetch_add(calls, 1);
    if (unit_kernel.on_call) unit_kernel.on_call();
    long n = atomic_load(left);
    if (n > 0) atomic_fetch_sub(left, 1);
    if (n == 0) errno = ENOMEM;
    return n == 0;
}

static void judge(const void *at, size_t bytes) {
    if (((uintptr_t)at | bytes) & (os_page_bytes - 1)) unit_kernel.is_crooked = true;
}

/* As a kernel with the pages that os_page_bytes claims would: whole pages at multiples of a page. */
static void *map_pages(void *at, size_t bytes, int prot, int flags, int fd, long offset) {
    size_t page = os_page_bytes, whole = (bytes + page - 1) & ~(page - 1);
    if (page == PAGE_BYTES) return below.mmap(at, bytes, prot, flags, fd, offset);
    char *p = below.mmap(at, whole + page, prot, flags, fd, offset);
    if (p == MAP_FAILED) return p;
    size_t before = -(uintptr_t)p & (page - 1);
    if (before) below.munmap(p, before);
    below.munmap(p + before + whole, page - before);
    return p + before;
}

static void *watched_mmap(void *at, size_t bytes, int prot, int flags, int fd, long offset) {
    judge(at, bytes);
    if (is_refused(&unit_kernel.mmaps, &unit_kernel.mmaps_left)) return MAP_FAILED;
    void *p = map_pages(at, bytes, prot, flags, fd, offset);
    if (p != MAP_FAILED) unit_kernel.mapped_bytes += (int64_t)bytes;
    return p;
}
static int watched_munmap(void *at, size_t bytes) {
    if (is_refused(&unit_kernel.munmaps, &unit_kernel.munmaps_left)) return -1;
    judge(at, bytes);
    int result = below.munmap(at, bytes);
    if (!result) unit_kernel.mapped_bytes -= (int64_t)bytes;
    return result;
}
static int watched_madvise(void *at, size_t bytes, int advice) {
    unit_kernel.advice |= 1u << advice;
    bool is_release = advice == MADV_DONTNEED || advice == MADV_FREE;
    if (is_release) judge(at, bytes);
    if (is_release && is_refused(&unit_kernel.releases, &unit_kernel.releases_left)) return -1;
    return below.madvise(at, bytes, advice);
}
/* As process_madvise: what came before the first range that was refused. */
static long watched_release_ranges(const struct iovec *ranges, unsigned n) {
    long done = 0;
    for (unsigned i = 0; i < n && !watched_madvise(ranges[i].iov_base, ranges[i].iov_len, MADV_DONTNEED); i++)
        done += (long)ranges[i].iov_len;
    return done ? done : -1;
}
static void *watched_mremap(void *at, size_t old_bytes, size_t new_bytes, int flags, ...) {
    void *to = NULL;
    if (flags & MREMAP_FIXED) {
        __builtin_va_list args;
        __builtin_va_start(args, flags);
        to = __builtin_va_arg(args, void *);
        __builtin_va_end(args);
    }
    if (is_refused(&unit_kernel.mremaps, &unit_kernel.mremaps_left)) {
        if (to && unit_kernel.takes_target) below.munmap(to, new_bytes);
        return MAP_FAILED;
    }
    void *p = below.mremap(at, old_bytes, new_bytes, flags, to);
    /* A move replaces a mapping of new_bytes that was counted when it was made. */
    if (p != MAP_FAILED) unit_kernel.mapped_bytes += (to ? 0 : (int64_t)new_bytes) - (int64_t)old_bytes;
    return p;
}

void unit_watch_kernel(void) {
    if (os_calls.mmap == watched_mmap) return;
    below = os_calls;
    os_calls = (struct os_calls){watched_mmap, watched_munmap, watched_madvise, watched_mremap, watched_release_ranges};
}

/* ---- children, threads and mistakes ---- */

static void become_child(int to, void (*act)(void *), void *context) {
    dup2(to, STDERR_FILENO);
    act(context);
    _exit(0);
}

int unit_in_child(void (*act)(void *), void *context, char *said, size_t room) {
    int ends[2], status;
    cr_assert_eq(pipe(ends), 0);
    pid_t child = fork();
    cr_assert_geq(child, 0);
    if (!child) become_child(ends[1], act, context);
    close(ends[1]);
    size_t used = 0;
    for (ssize_t n; used + 1 < room && (n = read(ends[0], said + used, room - 1 - used)) > 0;) used += (size_t)n;
    said[used] = 0;
    close(ends[0]);
    cr_assert_eq(waitpid(child, &status, 0), child);
    return status;
}

/* Core calls the wrapper. */
static _Thread_local jmp_buf *on_misuse;
_Noreturn void __real_report_misuse(const char *what, const void *pointer);
_Noreturn void __wrap_report_misuse(const char *what, const void *pointer);
_Noreturn void __wrap_report_misuse(const char *what, const void *pointer) {
    if (on_misuse) longjmp(*on_misuse, 1);
    __real_report_misuse(what, pointer);
}

bool unit_is_misuse(void (*act)(void *), void *context) {
    jmp_buf back;
    bool is_misuse = setjmp(back);
    on_misuse = is_misuse ? NULL : &back;
    if (!is_misuse) act(context);
    on_misuse = NULL;
    return is_misuse;
}

struct hand {
    pthread_t thread;
    unsigned index;
    void (*act)(unsigned, void *);
    void *context;
    pthread_barrier_t *start;
};

static void *hand_run(void *argument) {
    struct hand *hand = argument;
    pthread_barrier_wait(hand->start);
    hand->act(hand->index, hand->context);
    heap_close();
    return NULL;
}

void unit_run_threads(unsigned n, void (*act)(unsigned index, void *context), void *context) {
    struct hand hands[64];
    pthread_barrier_t start;
    cr_assert_leq(n, COUNT(hands));
    __libc_single_threaded = 0;
    pthread_barrier_init(&start, NULL, n);
    for (unsigned i = 0; i < n; i++) {
        hands[i] = (struct hand){.index = i, .act = act, .context = context, .start = &start};
        cr_assert_eq(pthread_create(&hands[i].thread, NULL, hand_run, &hands[i]), 0);
    }
    for (unsigned i = 0; i < n; i++) pthread_join(hands[i].thread, NULL);
    pthread_barrier_destroy(&start);
}

/* ---- a program ---- */

uint64_t unit_random(uint64_t *state) {
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    uint64_t x = *state ^ *state >> 29;
    return x * 0x9e3779b97f4a7c15u >> 16;
}

/* Both ends of a block carry its tag. */
enum { EDGE = 64 };
static size_t edge(size_t bytes) { return bytes < EDGE ? bytes : EDGE; }

static void mark(struct churned *b) {
    memset(b->p, b->tag, edge(b->bytes));
    memset(b->p + b->bytes - edge(b->bytes), b->tag, edge(b->bytes));
}

static bool is_marked_from(const unsigned char *p, size_t bytes, unsigned char tag) {
    return !bytes || (p[0] == tag && !memcmp(p, p + 1, bytes - 1));
}

static void check(struct unit_churn *churn, const struct churned *b) {
    if (!is_marked_from(b->p, edge(b->bytes), b->tag)) churn->fault = "the beginning of a block was overwritten";
    if (!is_marked_from(b->p + b->bytes - edge(b->bytes), edge(b->bytes), b->tag)) churn->fault = "the end of a block was overwritten";
}

/* Small sizes are as frequent as large ones are rare. */
static size_t random_bytes(struct unit_churn *churn) {
    size_t most = churn->most_bytes >> unit_random(&churn->random) % 12;
    return 1 + unit_random(&churn->random) % (most ? most : 1);
}

static void churn_allocate(struct unit_churn *churn, struct churned *b) {
    b->bytes = random_bytes(churn);
    unsigned how = unit_random(&churn->random) % 8;
    size_t alignment = (size_t)16 << unit_random(&churn->random) % 9;
    b->p = how == 0 ? core_calloc(1, b->bytes) : how == 1 ? core_memalign(alignment, b->bytes) : core_malloc(b->bytes);
    if (!b->p) {
        churn->fault = "no memory";
        return;
    }
    if (how == 0 && !is_marked_from(b->p, b->bytes, 0)) churn->fault = "calloc did not clear";
    if (how == 1 && (uintptr_t)b->p % alignment) churn->fault = "memalign did not align";
    if (core_usable_bytes(b->p) < b->bytes) churn->fault = "a block is too short";
    mark(b);
}

static void churn_resize(struct unit_churn *churn, struct churned *b) {
    size_t bytes = random_bytes(churn);
    unsigned char *p = core_realloc(b->p, bytes);
    if (!p) {
        churn->fault = "no memory";
        return;
    }
    if (!is_marked_from(p, edge(bytes < b->bytes ? bytes : b->bytes), b->tag)) churn->fault = "realloc lost what the block held";
    b->p = p;
    b->bytes = bytes;
    mark(b);
}

void unit_churn_step(struct unit_churn *churn) {
    struct churned *b = &churn->block[unit_random(&churn->random) % CHURN_BLOCKS];
    if (!b->p) {
        b->tag = (unsigned char)unit_random(&churn->random);
        churn_allocate(churn, b);
        return;
    }
    check(churn, b);
    if (unit_random(&churn->random) % 4 == 0) {
        churn_resize(churn, b);
        return;
    }
    core_free(b->p);
    b->p = NULL;
}

void unit_churn_end(struct unit_churn *churn) {
    for (unsigned i = 0; i < CHURN_BLOCKS; i++) {
        struct churned *b = &churn->block[i];
        if (!b->p) continue;
        check(churn, b);
        core_free(b->p);
        b->p = NULL;
    }
}

/* The low byte of its length stands all through a block that is handed over. */
static void exchange_free(struct unit_exchange *exchange, unsigned char *p) {
    uint32_t bytes;
    if (!p) return;
    memcpy(&bytes, p, sizeof bytes);
    if (core_usable_bytes(p) < bytes || !is_marked_from(p + sizeof bytes, bytes - sizeof bytes, (unsigned char)bytes))
        atomic_fetch_add(&exchange->faults, 1);
    core_free(p);
}

void unit_exchange_run(unsigned index, void *argument) {
    struct unit_exchange *exchange = argument;
    uint64_t random = index + 1;
    for (unsigned i = 0; i < exchange->steps; i++) {
        uint32_t bytes = 16 + (uint32_t)(unit_random(&random) % (exchange->most_bytes - 15));
        unsigned char *p = core_malloc(bytes);
        memset(p, (int)(bytes & 0xff), bytes);
        memcpy(p, &bytes, sizeof bytes);
        exchange_free(exchange, atomic_exchange(&exchange->place[unit_random(&random) % EXCHANGE_PLACES], p));
    }
}

void unit_exchange_end(struct unit_exchange *exchange) {
    for (unsigned i = 0; i < EXCHANGE_PLACES; i++) exchange_free(exchange, atomic_exchange(&exchange->place[i], NULL));
}
