/* Pointers that lowtide did not make. A library opened with RTLD_DEEPBIND, or in a namespace of its
 * own, allocates from libc, and its blocks may be freed here: those go back to libc. A program
 * linked to an allocator of its own may take blocks by a name that only that one has (jemalloc's
 * mallocx, which redis calls) and free them by malloc's: what is readable and not libc's is then
 * the other's. Everything else is the program's mistake.
 *
 * How libc's are told, without trusting memory near the pointer: main arena, between the break at
 * start and now; a mapping of its own or another arena, by the flags of the chunk's header, read
 * with process_vm_readv, which fails instead of faulting; kernels can be built without it. Chunk
 * format: glibc's malloc/malloc.c, unchanged since 2.3.
 */
#include "preload.h"

#include "../core/core.h"

#include <dlfcn.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum { CHUNK_PREVIOUS_IN_USE = 1, CHUNK_MMAPPED = 2, CHUNK_OTHER_ARENA = 4, CHUNK_FLAGS = 7 };

static void (*libc_free)(void *);
static size_t (*libc_usable_size)(void *);
static void (*other_free)(void *);
static size_t (*other_usable_size)(void *);
static uintptr_t break_at_start;

struct chunk_header {
    size_t previous_size;
    size_t size;
};

/* The first words of a region of libc's other arenas, at a multiple of 64 MiB. */
struct heap_header {
    void *arena, *previous;
    size_t size, mapped;
};
enum { HEAP_ALIGNMENT = 64 << 20 };

/* Eight bytes of a signal mask are copied before the kernel looks what it is to do with them: for
 * where process_vm_readv is not to be had, or a seccomp filter may kill for it. */
static bool is_readable_word(uintptr_t at) {
    return syscall(SYS_rt_sigprocmask, -1, at, NULL, sizeof(uint64_t)) == 0 || errno != EFAULT;
}

static bool read_at(uintptr_t at, void *to, size_t bytes) {
    struct iovec local = {to, bytes}, remote = {(void *)at, bytes};
    if (!relaxed_load(&os_is_filtered)) {
        if (process_vm_readv(getpid(), &local, 1, &remote, 1, 0) == (ssize_t)bytes) return true;
        if (errno == EFAULT) return false;
    }
    uintptr_t last = (at + bytes - 1) & ~(uintptr_t)7;
    if (!is_readable_word(at & ~(uintptr_t)7) || !is_readable_word(last)) return false;
    memcpy(to, (const void *)at, bytes);
    return true;
}

static bool is_in_other_arena(uintptr_t p, size_t size) {
    uintptr_t base = p & ~(uintptr_t)(HEAP_ALIGNMENT - 1);
    struct heap_header h;
    return read_at(base, &h, sizeof h) && h.arena && h.size <= HEAP_ALIGNMENT &&
           h.size <= h.mapped && p + size <= base + h.size;
}

static bool is_in_break(uintptr_t p, size_t size) {
    return break_at_start && p >= break_at_start && p + size <= (uintptr_t)sbrk(0);
}

/* The chunk behind one in use says so in its own header. */
static bool is_chunk_in_use(uintptr_t p, size_t size) {
    struct chunk_header next;
    return read_at(p - sizeof next + size, &next, sizeof next) && next.size & CHUNK_PREVIOUS_IN_USE;
}

static bool looks_like_chunk(uintptr_t p) {
    struct chunk_header h;
    if (p % 16 || p <= os_page_bytes || !read_at(p - sizeof h, &h, sizeof h)) return false;
    size_t size = h.size & ~(size_t)CHUNK_FLAGS;
    if (size < 32 || size % 16) return false;
    if (h.size & CHUNK_MMAPPED)
        return (p - sizeof h - h.previous_size) % os_page_bytes == 0 &&
               (size + h.previous_size) % os_page_bytes == 0;
    bool is_known = h.size & CHUNK_OTHER_ARENA ? is_in_other_arena(p, size) : is_in_break(p, size);
    return is_known && is_chunk_in_use(p, size);
}

static bool is_libc_block(const void *pointer) {
    int saved = errno;
    bool is_chunk = looks_like_chunk((uintptr_t)pointer);
    errno = saved;
    return is_chunk;
}

static bool is_readable(const void *pointer) {
    int saved = errno;
    char byte;
    bool is = read_at((uintptr_t)pointer, &byte, 1);
    errno = saved;
    return is;
}

static bool free_foreign(void *p) {
    if (libc_free && is_libc_block(p))
        libc_free(p);
    else if (other_free && is_readable(p))
        other_free(p);
    else
        return false;
    return true;
}

static size_t usable_foreign(const void *p) {
    if (libc_usable_size && is_libc_block(p)) return libc_usable_size((void *)p);
    return other_usable_size && is_readable(p) ? other_usable_size((void *)p) : 0;
}

/* libc's are asked of libc itself: the next library in order may be the other allocator. */
void foreign_init(void) {
    void *libc = dlopen("libc.so.6", RTLD_LAZY | RTLD_NOLOAD),
         *next_free = dlsym(RTLD_NEXT, "free");
    if (libc) {
        *(void **)&libc_free = dlsym(libc, "__libc_free");
        *(void **)&libc_usable_size = dlsym(libc, "malloc_usable_size");
    }
    if (libc && next_free && next_free != dlsym(libc, "free")) {
        *(void **)&other_free = next_free;
        *(void **)&other_usable_size = dlsym(RTLD_NEXT, "malloc_usable_size");
    }
    break_at_start = (uintptr_t)sbrk(0);
    core_foreign = (struct foreign_calls){free_foreign, usable_foreign};
}
