/* One mistake a program can make with the allocator, chosen by name, in a place where it may be hard to tell: misuse KIND [BYTES [PLACE]].
 *
 * Prints "at 0x..." with the pointer that is wrong, then makes the mistake, and "survived" if nothing stopped it at once. Then it
 * takes blocks of the same size, all of which must be different and none of which the block somebody holds
 * ("handed out twice" and exit code 4 otherwise), and ends by exit, so that a mistake found late is found by then.
 * Built with -fno-builtin, or the compiler would take the mistakes out.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
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

static pthread_barrier_t together;
static void *free_together(void *p) {
    pthread_barrier_wait(&together);
    free(p);
    return NULL;
}

/* Two threads free it at the same time; which is the second nobody knows. */
static void double_race(void) {
    pthread_t threads[2];
    char *p = wrong(block());
    pthread_barrier_init(&together, NULL, 2);
    for (int i = 0; i < 2; i++)
        if (pthread_create(&threads[i], NULL, free_together, p)) exit(3);
    for (int i = 0; i < 2; i++) pthread_join(threads[i], NULL);
}

static void double_now(void) { free(wrong(freed())); }

/* A block of libc's own allocator. */
static const char *own_path;
static void double_foreign(void) {
    char path[4096];
    snprintf(path, sizeof path, "%.*slibrary.so", (int)(strrchr(own_path, '/') + 1 - own_path), own_path);
    void *library = dlopen(path, RTLD_NOW), *(*take)(size_t) = NULL;
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

/* What fits stays where it is. */
static void double_realloc_in_place(void) {
    char *p = block(), *q = realloc(p, bytes - bytes / 16);
    if (!q) exit(3);
    free(q);
    free(wrong(q));
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
    if (!strcmp(name, "above")) return (void *)(1ul << 48); /* of 57 bits, or 52 of arm64's */
    if (!strcmp(name, "above-mapped")) return mmap((void *)(1ul << 48), 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
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
    if (!strcmp(name, "freed-inside")) return freed() + (bytes / 2 & ~(size_t)15) + 8;
    if (!strcmp(name, "trimmed-inside")) return trimmed() + (bytes / 2 & ~(size_t)15) + 8;
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

static void free_with_size(void *p, size_t size) {
    void (*sized)(void *, size_t) = (void (*)(void *, size_t))dlsym(RTLD_DEFAULT, "free_sized");
    if (!sized) exit(3);
    sized(p, size);
}
static void free_sized_wrong(void) { free_with_size(wrong(block()), bytes * 2 + 70000); }
static void free_sized_more(void) { free_with_size(wrong(block()), bytes + 1); }
static void free_sized_less(void) { free_with_size(wrong(block()), bytes - 1); }

static void free_with_alignment(void *p, size_t alignment, size_t size) {
    void (*sized)(void *, size_t, size_t) = (void (*)(void *, size_t, size_t))dlsym(RTLD_DEFAULT, "free_aligned_sized");
    if (!sized || !p) exit(3);
    sized(wrong(p), alignment, size);
}
static void free_aligned_sized_wrong(void) { free_with_alignment(block(), 1ul << 45, bytes); }
static void free_aligned_sized_more(void) { free_with_alignment(aligned_alloc(64, bytes), 64, bytes * 2 + 70000); }

/* ---- writes outside of what was asked for ---- */

static char *overflown(void) {
    char *p = wrong(block());
    p[bytes]++;
    return p;
}
static void overflow(void) { free(overflown()); }
static void overflow_resized(void) { hidden = (uintptr_t)realloc(overflown(), bytes + 100); }
static void overflow_asked(void) { hidden = malloc_usable_size(overflown()); }
/* Its end, so far behind it. */
static char *behind_grown(size_t distance) {
    size_t grown = bytes + bytes / 8;
    char *p = realloc(block(), grown);
    if (!p) exit(3);
    hidden = (uintptr_t)wrong(p);
    return p + grown + distance;
}
static void overflow_grown(void) {
    ++*behind_grown(0);
    free((void *)hidden);
}
static void overflow_grown_page(void) { *behind_grown(16 + (size_t)getpagesize()) = 1; }
static void overflow_kept(void) { hidden = (uintptr_t)overflown(); }
static void overflow_page(void) {
    char *p = wrong(block());
    p[bytes + 16 + (size_t)getpagesize()] = 1; /* behind the canary and what rounds up to a page */
}

/* Found when the block is to be used again, or at the end. */
static void write_after(void) { *((char *)wrong(freed()) + bytes / 2) = 1; }
static void write_after_begin(void) { *((char *)wrong(freed()) + 20) = 1; }
static void read_after(void) { hidden = *((char *)wrong(freed()) + bytes / 2); }
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
    {"overflow-grown", overflow_grown},
    {"overflow-grown-page", overflow_grown_page},
    {"overflow-kept", overflow_kept},
    {"overflow-page", overflow_page},
    {"write-after", write_after},
    {"write-after-resize", write_after_resize},
    {"write-after-begin", write_after_begin},
    {"read-after", read_after},
    {"double-race", double_race},
    {"double-realloc-in-place", double_realloc_in_place},
    {"double-between", double_between},
    {"double-after-reuse", double_after_reuse},
    {"double-realloc", double_realloc},
    {"double-realloc-zero", double_realloc_zero},
    {"double-aligned", double_aligned},
    {"double-cfree", double_cfree},
    {"double-child", double_child},
    {"double-foreign", double_foreign},
    {"free-sized", free_sized_wrong},
    {"free-sized-more", free_sized_more},
    {"free-sized-less", free_sized_less},
    {"free-aligned-sized-more", free_aligned_sized_more},
    {"free-aligned-sized", free_aligned_sized_wrong},
};

/* free-NAME, realloc-NAME, realloc0-NAME, reallocarray-NAME, usable-NAME, sized-NAME for a pointer of pointer_named. */
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
    else if (!strncmp(kind, "reallocarray-", 13)) hidden = (uintptr_t)reallocarray(p, 20, bytes);
    else if (!strncmp(kind, "usable-", 7)) hidden = malloc_usable_size(p);
    else if (!strncmp(kind, "sized-", 6)) free_with_size(p, 10);
    else exit(2);
}

/* ---- places ---- */

static const char *kind;

static void make_mistake(void) {
    size_t i = 0, n = sizeof mistakes / sizeof *mistakes;
    while (i < n && strcmp(mistakes[i].name, kind)) i++;
    if (i < n) mistakes[i].make();
    else misuse_pointer(kind);
}

static void *mistake_in_thread(void *unused) {
    make_mistake();
    return unused;
}
static void mistake_on_stack(size_t stack_bytes) {
    pthread_t thread;
    pthread_attr_t attr;
    pthread_attr_init(&attr);
    if (pthread_attr_setstacksize(&attr, stack_bytes) || pthread_create(&thread, &attr, mistake_in_thread, NULL)) exit(3);
    pthread_join(thread, NULL);
}

/* In the last round of key destructors, when the thread's heap is closed. */
static pthread_key_t late;
static void mistake_in_last_round(void *round) {
    if ((uintptr_t)round < PTHREAD_DESTRUCTOR_ITERATIONS) pthread_setspecific(late, (char *)round + 1);
    else make_mistake();
}
static void *end_late(void *unused) {
    free(malloc(100));
    pthread_setspecific(late, (void *)1);
    return unused;
}
static void mistake_at_thread_end(void) {
    pthread_t thread;
    pthread_key_create(&late, mistake_in_last_round);
    if (pthread_create(&thread, NULL, end_late, NULL)) exit(3);
    pthread_join(thread, NULL);
}

static void mistake_in_handler(int signal) { make_mistake(); }
static void raise_handler(int flags) {
    static char stack[8192];
    struct sigaction action = {.sa_handler = mistake_in_handler, .sa_flags = flags};
    stack_t other = {.ss_sp = stack, .ss_size = sizeof stack};
    if (sigaltstack(&other, NULL) || sigaction(SIGUSR1, &action, NULL)) exit(3);
    raise(SIGUSR1);
}

/* Ends as the child did. */
static void mistake_in_child(void) {
    int status;
    pid_t pid = fork();
    if (!pid) make_mistake();
    if (!pid) return;
    if (waitpid(pid, &status, 0) != pid || !WIFSIGNALED(status)) _exit(5);
    signal(WTERMSIG(status), SIG_DFL);
    raise(WTERMSIG(status));
}

static void note_handled(int signal) {
    if (write(STDOUT_FILENO, "handled\n", 8) != 8) _exit(3);
}

/* stderr is a pipe that is full, or nobody reads. */
static void fill_stderr(bool is_blocking, bool is_read) {
    static char text[4096];
    int ends[2];
    if (pipe2(ends, O_NONBLOCK) || dup2(ends[1], STDERR_FILENO) < 0) exit(3);
    if (!is_read) close(ends[0]);
    while (is_read && write(STDERR_FILENO, text, sizeof text) > 0) continue;
    if (is_blocking && fcntl(STDERR_FILENO, F_SETFL, 0)) exit(3);
}

/* The program was started without stderr, and a file of its own is there now. */
static void open_own_file(const char *path) {
    if (open(path, O_WRONLY | O_CREAT, 0600) != STDERR_FILENO) exit(3);
}

/* More than free looks into for double frees. */
static void hold_much(void) {
    enum { BLOCKS = 40000, BLOCK_BYTES = 200 };
    for (int i = 0; i < BLOCKS; i++)
        if (!(hidden = (uintptr_t)malloc(BLOCK_BYTES))) exit(3);
}

static void make_mistake_in(const char *place) {
    sigset_t abort_only;
    sigemptyset(&abort_only);
    sigaddset(&abort_only, SIGABRT);
    if (!strcmp(place, "closed")) close(STDERR_FILENO);
    if (!strcmp(place, "full")) fill_stderr(false, true);
    if (!strcmp(place, "full-blocking")) fill_stderr(true, true);
    if (!strcmp(place, "unread")) fill_stderr(true, false);
    if (!strcmp(place, "blocked")) pthread_sigmask(SIG_BLOCK, &abort_only, NULL);
    if (!strcmp(place, "ignored")) signal(SIGABRT, SIG_IGN);
    if (!strcmp(place, "handled")) signal(SIGABRT, note_handled);
    if (!strcmp(place, "cold")) hold_much();
    if (*place == '/') open_own_file(place);
    if (!strcmp(place, "handler")) raise_handler(0);
    else if (!strcmp(place, "altstack")) raise_handler(SA_ONSTACK);
    else if (!strcmp(place, "thread-64k")) mistake_on_stack(64 << 10);
    else if (!strcmp(place, "thread-min")) mistake_on_stack(PTHREAD_STACK_MIN);
    else if (!strcmp(place, "thread-end")) mistake_at_thread_end();
    else if (!strcmp(place, "child")) mistake_in_child();
    else make_mistake();
}

/* ---- afterwards ---- */

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
    kind = argv[1];
    if (argc > 2) bytes = strtoul(argv[2], NULL, 0);
    make_mistake_in(argc > 3 ? argv[3] : "");
    dprintf(STDOUT_FILENO, "survived\n");
    take_more();
    return 0;
}
