/* Libraries opened with RTLD_DEEPBIND. Their malloc and free are libc's own, as libc is among what
 * they depend on; but what libc allocates for them (strdup, getline, a message of dlerror) comes
 * from here, as does what the program hands them, and libc's free crashes on it. PHP opens each of
 * its extensions so.
 *
 * So their references to libc's allocator are bound to this one when they are opened, before any
 * other thread can use them. All other references stay as the loader bound them. A constructor of
 * the library runs before that; what it allocates is libc's, and goes back there (foreign.c).
 */
#include "preload.h"

#include "../core/core.h"

#include <dlfcn.h>
#include <elf.h>
#include <link.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

static struct binding {
    const char *name;
    void *libcs, *ours;
} bindings[] = {
    {"malloc", NULL, malloc},
    {"free", NULL, free},
    {"calloc", NULL, calloc},
    {"realloc", NULL, realloc},
    {"memalign", NULL, memalign},
    {"aligned_alloc", NULL, aligned_alloc},
    {"posix_memalign", NULL, posix_memalign},
    {"valloc", NULL, valloc},
    {"pvalloc", NULL, pvalloc},
    {"cfree", NULL, core_free},
    {"malloc_usable_size", NULL, malloc_usable_size},
    {"malloc_trim", NULL, malloc_trim},
};
enum { BINDINGS = sizeof bindings / sizeof *bindings };

static bool is_wanted;

void deepbind_init(void) { is_wanted = true; }

/* At the first such call: most programs make none. */
static void find_libcs(void) {
    void *libc = dlopen("libc.so.6", RTLD_LAZY | RTLD_NOLOAD);
    for (int i = 0; libc && i < BINDINGS; i++) bindings[i].libcs = dlsym(libc, bindings[i].name);
}

/* ---- one object ---- */

struct object {
    uintptr_t base, end;              /* of the addresses it is loaded at */
    uintptr_t relro_begin, relro_end; /* which the loader has made read-only */
    const ElfW(Sym) * symbols;
    const char *names;
    const ElfW(Rela) * tables[2];
    size_t bytes[2];
};

static void read_dynamic(struct object *o, const ElfW(Dyn) * d) {
    for (; d->d_tag != DT_NULL; d++) {
        uintptr_t at = d->d_un.d_ptr < o->base ? o->base + d->d_un.d_ptr : d->d_un.d_ptr;
        if (d->d_tag == DT_SYMTAB) o->symbols = (const ElfW(Sym) *)at;
        if (d->d_tag == DT_STRTAB) o->names = (const char *)at;
        if (d->d_tag == DT_RELA) o->tables[0] = (const ElfW(Rela) *)at;
        if (d->d_tag == DT_JMPREL) o->tables[1] = (const ElfW(Rela) *)at;
        if (d->d_tag == DT_RELASZ) o->bytes[0] = d->d_un.d_val;
        if (d->d_tag == DT_PLTRELSZ) o->bytes[1] = d->d_un.d_val;
    }
}

/* The end of what is read-only is rounded down, as the loader does. */
static void read_segments(struct object *o, const struct dl_phdr_info *info) {
    o->base = info->dlpi_addr;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *p = &info->dlpi_phdr[i];
        uintptr_t begin = o->base + p->p_vaddr, end = begin + p->p_memsz;
        if (p->p_type == PT_LOAD && end > o->end) o->end = end;
        if (p->p_type != PT_GNU_RELRO) continue;
        o->relro_begin = begin & ~(uintptr_t)(os_page_bytes - 1);
        o->relro_end = end & ~(uintptr_t)(os_page_bytes - 1);
    }
    for (int i = 0; i < info->dlpi_phnum; i++)
        if (info->dlpi_phdr[i].p_type == PT_DYNAMIC)
            read_dynamic(o, (const ElfW(Dyn) *)(o->base + info->dlpi_phdr[i].p_vaddr));
}

/* Of libc's functions the one that the reference is bound to, or will be when it is first used;
 * NULL for all others. */
static const struct binding *binding_of(const struct object *o, const ElfW(Rela) * r,
                                        bool is_lazy) {
    const ElfW(Sym) *symbol = &o->symbols[ELF64_R_SYM(r->r_info)];
    if (!ELF64_R_SYM(r->r_info) || symbol->st_shndx != SHN_UNDEF) return NULL;
    const char *name = o->names + symbol->st_name;
    for (const struct binding *b = bindings; b < bindings + BINDINGS; b++) {
        if (strcmp(b->name, name)) continue;
        uintptr_t value = *(uintptr_t *)(o->base + r->r_offset);
        bool is_unbound = is_lazy && value >= o->base && value < o->end;
        return b->libcs && (value == (uintptr_t)b->libcs || is_unbound) ? b : NULL;
    }
    return NULL;
}

/* Changes the references; tells whether there are some that cannot be written to yet. */
static bool bind(const struct object *o, bool may_write) {
    bool needs_writing = false;
    for (int t = 0; t < 2; t++)
        for (size_t i = 0; o->tables[t] && i < o->bytes[t] / sizeof(ElfW(Rela)); i++) {
            const ElfW(Rela) *r = &o->tables[t][i];
            const struct binding *b = binding_of(o, r, t == 1);
            uintptr_t at = o->base + r->r_offset;
            if (!b) continue;
            if (at >= o->relro_begin && at < o->relro_end && !may_write)
                needs_writing = true;
            else
                *(void **)at = b->ours;
        }
    return needs_writing;
}

static void bind_object(const struct object *o) {
    size_t bytes = o->relro_end - o->relro_begin;
    if (!o->symbols || !o->names || !bind(o, false)) return;
    if (mprotect((void *)o->relro_begin, bytes, PROT_READ | PROT_WRITE)) return;
    bind(o, true);
    mprotect((void *)o->relro_begin, bytes, PROT_READ);
}

/* ---- what was opened ---- */

struct opened {
    const struct link_map *first;
    bool is_reached;
};

/* What a library brings with it stands behind it in the loader's list. */
static int bind_from_first(struct dl_phdr_info *info, size_t bytes, void *context) {
    struct opened *opened = context;
    struct object o = {0};
    (void)bytes;
    if (info->dlpi_addr == opened->first->l_addr) opened->is_reached = true;
    if (!opened->is_reached) return 0;
    read_segments(&o, info);
    bind_object(&o);
    return 0;
}

/* The library's malloc may be another's, on which it depends. */
static bool is_libcs_malloc(void *library) {
    if (!bindings[0].libcs) find_libcs();
    return bindings[0].libcs && dlsym(library, "malloc") == bindings[0].libcs;
}

/* Whether the place of the library depends on who opens it: $ORIGIN, or a search path of its own.
 */
static bool is_found_by_caller(const char *file, const void *caller) {
    Dl_info info;
    struct link_map *map = NULL;
    if (strchr(file, '/')) return strchr(file, '$') != NULL;
    if (!dladdr1(caller, &info, (void **)&map, RTLD_DL_LINKMAP) || !map) return true;
    for (const ElfW(Dyn) *d = map->l_ld; d->d_tag != DT_NULL; d++)
        if (d->d_tag == DT_RUNPATH || d->d_tag == DT_RPATH) return true;
    return false;
}

#ifdef __clang__
#define JUMPS
#define JUMP __attribute__((musttail)) return
#else
#define JUMPS __attribute__((optimize("O2")))
#define JUMP  return
#endif

/* libc's dlopen takes who it returns to for the caller, so that all other calls are jumps. */
EXPORT JUMPS void *dlopen(const char *file, int mode) {
    static void *(*next)(const char *, int);
    if (!next) *(void **)&next = dlsym(RTLD_NEXT, "dlopen");
    if (!(mode & RTLD_DEEPBIND) || !file || is_found_by_caller(file, __builtin_return_address(0)))
        JUMP next(file, mode);
    void *library = next(file, mode);
    if (library && is_wanted && is_libcs_malloc(library))
        dl_iterate_phdr(bind_from_first, &(struct opened){library, false});
    return library;
}
