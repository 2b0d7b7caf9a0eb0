/* A program that writes a jump over the first instructions of libc's madvise, as registration caches do that must hear of each page
 * that goes: they hear of all that the heap releases from then on. */
#define _GNU_SOURCE
#include "trap.h"

#include <dlfcn.h>
#include <malloc.h>
#include <sys/mman.h>
#include <sys/syscall.h>

static size_t heard_bytes;

static int hear(void *at, size_t bytes, int advice) {
    if (advice == MADV_DONTNEED || advice == MADV_FREE) heard_bytes += bytes;
    return (int)syscall(SYS_madvise, at, bytes, advice);
}

static void patch(void *function) {
    uintptr_t page = (uintptr_t)function & ~(sysconf(_SC_PAGESIZE) - 1ul);
#if defined __x86_64__
    unsigned char code[12] = {0x48, 0xb8, [10] = 0xff, 0xe0}; /* movabs rax, hear; jmp rax */
    enum { AT = 2 };
#elif defined __aarch64__
    uint32_t code[4] = {0x58000050, 0xd61f0200}; /* ldr x16, hear; br x16 */
    enum { AT = 2 };
#else
#error "no jump for this machine"
#endif
    void *target = (void *)hear;
    memcpy(&code[AT], &target, sizeof target);
    CHECK(mprotect((void *)page, 2 * sysconf(_SC_PAGESIZE), PROT_READ | PROT_WRITE | PROT_EXEC) == 0);
    memcpy(function, code, sizeof code);
    __builtin___clear_cache(function, (char *)function + sizeof code);
}

enum { BLOCKS = 100000, BLOCK_BYTES = 400, KEPT = 300 };
static char *block[BLOCKS];

/* One block in so many is kept, so that pages go one by one and no arena as a whole. Returns bytes that are resident no more. */
static long build_and_drop(void) {
    for (int i = 0; i < BLOCKS; i++) {
        CHECK(block[i] = malloc(BLOCK_BYTES));
        memset(block[i], 1, BLOCK_BYTES);
    }
    long before = trap_proc_bytes("/proc/self/smaps_rollup", "\nAnonymous:");
    for (int i = 0; i < BLOCKS; i++)
        if (i % KEPT) free(block[i]);
    malloc_trim(0);
    return before - trap_proc_bytes("/proc/self/smaps_rollup", "\nAnonymous:");
}

int main(void) {
    void *libc = dlopen("libc.so.6", RTLD_LAZY | RTLD_NOLOAD);
    void *function = libc ? dlsym(libc, "madvise") : NULL;
    CHECK(function);
    long unheard = build_and_drop(); /* as nobody listens yet, in whatever way is cheapest */
    patch(function);
    long released = build_and_drop();
    printf("%ld MiB released before, %ld MiB after the patch, %zu MiB heard of\n", unheard >> 20, released >> 20, heard_bytes >> 20);
    CHECK(released > 20 * (long)MIB && heard_bytes >= (size_t)released - MIB);
    puts("ok");
    return 0;
}
