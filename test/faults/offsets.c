/* Pointers into blocks, all of them: offsets CALL STRIDE [child]
 *
 * Of each class there is a block is made, and CALL (free, realloc, reallocarray, usable, sized) is told of every address in it but the
 * first; of small ones, of every one in the page that is no block's start; above 8 KiB, and where a pool has no more blocks, of every
 * STRIDE-th. Then of buffers with a mapping of their own. Each must be reported with that address in one line, and SIGABRT raised once.
 * "child": in a forked child, which inherited the blocks.
 *
 * A handler leaves abort by siglongjmp, which makes a million of them possible; test/faults/misuse.c ends by each.
 * Prints how many addresses and classes were tried. */
#define _GNU_SOURCE
#include "../traps/trap.h"

#include <dlfcn.h>
#include <malloc.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/wait.h>

enum { SMALL = 512, DENSE = 8192, MOST = 128 << 10 };
static sigjmp_buf before;
static volatile sig_atomic_t aborts;
static int line_from;
static long tried;
static struct {
    char *p;
    size_t bytes;
} block[200];
static unsigned blocks;
static const char *call, *word = "free of an interior pointer";
static void (*free_sized_there)(void *, size_t);
static volatile uintptr_t hidden;

static void leave(int signal) {
    aborts++;
    siglongjmp(before, 1);
}

static void make_call(void *p) {
    if (!strcmp(call, "free")) free(p);
    else if (!strcmp(call, "realloc")) hidden = (uintptr_t)realloc(p, 100);
    else if (!strcmp(call, "reallocarray")) hidden = (uintptr_t)reallocarray(p, 10, 10);
    else if (!strcmp(call, "usable")) hidden = malloc_usable_size(p);
    else if (!strcmp(call, "sized")) free_sized_there(p, 16);
    else CHECK(!"a call that is known");
}

static void must_be_reported(uintptr_t address) {
    char line[512], wanted[512];
    aborts = 0;
    if (!sigsetjmp(before, 1)) make_call((void *)address);
    ssize_t n = read(line_from, line, sizeof line - 1);
    line[n > 0 ? n : 0] = 0;
    snprintf(wanted, sizeof wanted, "lowtide: %s: pointer 0x%lx (pid %d)\n", word, (unsigned long)address, getpid());
    if (aborts != 1 || strcmp(line, wanted)) {
        printf("%s of 0x%lx: %d times SIGABRT, said '%s'\n", call, (unsigned long)address, (int)aborts, line);
        exit(1);
    }
    tried++;
}

static size_t pool_bytes(size_t bytes) { return bytes <= SMALL ? 4096 : bytes <= 2048 ? 16384 : bytes <= DENSE ? 65536 : 262144; }

static void try_block(char *p, size_t bytes, size_t stride) {
    size_t pool = pool_bytes(bytes), whole = pool / bytes * bytes;
    uintptr_t address = (uintptr_t)p, base = address & ~(pool - 1);
    CHECK((address - base) % bytes == 0);
    for (size_t at = 1; at < bytes; at += bytes > DENSE && at > 64 && at < bytes - 64 - stride ? stride : 1) must_be_reported(address + at);
    for (size_t at = whole; at < pool; at += stride) must_be_reported(base + at);
    for (size_t at = 1; bytes <= SMALL && at < whole; at++)
        if (at % bytes) must_be_reported(base + at);
}

static void try_buffer(char *p, size_t bytes, size_t stride) {
    for (size_t at = 1; at < bytes; at += at > DENSE && at % 65536 > 64 ? stride * (bytes / 65536) : 1) must_be_reported((uintptr_t)p + at);
}

static void make_block(size_t bytes) {
    CHECK(blocks < 200 && (block[blocks].p = malloc(bytes)));
    block[blocks].bytes = malloc_usable_size(block[blocks].p);
    memset(block[blocks].p, 0x5a, block[blocks].bytes);
    blocks++;
}

/* One of each class, until a request has a mapping of its own; of those two. */
static void make_blocks(void) {
    for (size_t bytes = 1; bytes <= MOST + 1; bytes = block[blocks - 1].bytes + 1) make_block(bytes);
    make_block(5 * MIB);
}

static void try_blocks(size_t stride) {
    for (unsigned i = 0; i < blocks; i++) (block[i].bytes > MOST ? try_buffer : try_block)(block[i].p, block[i].bytes, stride);
    for (unsigned i = 0; i < blocks; i++) {
        for (size_t at = 0; at < block[i].bytes; at++) CHECK(block[i].p[at] == 0x5a);
        free(block[i].p);
    }
}

int main(int argc, char **argv) {
    int ends[2], status;
    if (argc < 3) return 2;
    call = argv[1];
    if (!strcmp(call, "realloc") || !strcmp(call, "reallocarray")) word = "invalid pointer in realloc";
    if (!strcmp(call, "usable")) word = "invalid pointer in malloc_usable_size";
    *(void **)&free_sized_there = dlsym(RTLD_DEFAULT, "free_sized");
    CHECK(!pipe2(ends, O_NONBLOCK) && dup2(ends[1], STDERR_FILENO) >= 0);
    line_from = ends[0];
    signal(SIGABRT, leave);
    make_blocks();
    if (argc > 3) {
        pid_t pid = fork();
        if (pid) return waitpid(pid, &status, 0) == pid && !status ? 0 : 1;
    }
    try_blocks(strtoul(argv[2], NULL, 10));
    printf("blocks=%u addresses=%ld\n", blocks, tried);
    return 0;
}
