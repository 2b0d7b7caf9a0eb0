/* Python's small objects. CPython serves them from its own pymalloc, whose arenas an ordinary
 * program never sees emptied; told PYTHONMALLOC=malloc, it asks malloc for each.
 * LOWTIDE_PYTHON=auto tells it so by answering the interpreter's getenv, which leaves no trace in
 * the environment: children that run without lowtide keep pymalloc.
 *
 * Told so is an executable with the interpreter's own name (python, python3, python3.11, ...;
 * resolved through links, so those of virtual environments too), if it really is CPython; and in
 * other programs (uWSGI, mod_wsgi, PL/Python, frozen applications) the library that asks, if it is
 * CPython, whenever that is.
 *
 * Development mode (-X dev, PYTHONDEVMODE) puts hooks around the allocator that find errors, unless
 * PYTHONMALLOC says otherwise; so there the answer is malloc_debug: the same hooks, around malloc.
 * Free-threaded builds refuse PYTHONMALLOC=malloc and are left alone.
 *
 * Under -I and -E, and in an isolated configuration, the interpreter does not ask. It is known by
 * its first arena, which pymalloc maps for the first object: at that moment its allocators of
 * objects are replaced, through CPython's own interface for that. The one block that comes of the
 * call under way is pymalloc's, and goes back there.
 */
#include "preload.h"

#include "../core/core.h"
#include "../core/pagemap.h"
#include "../trim-policy/options.h"

#include <dlfcn.h>
#include <link.h>
#include <string.h>
#include <unistd.h>

extern char **environ;

/* Not NULL where the executable, or a library that it needs, is a CPython. */
EXPORT extern void *PyObject_Malloc(size_t bytes) __attribute__((weak));

static _Atomic(const char *) state;  /* NULL = not decided: no CPython so far */
static _Atomic(const char *) answer; /* NULL = none of ours */
static bool serves;                  /* malloc is ours, and the options have been read */
static _Atomic(bool) awaits_arena;   /* of a CPython that does not ask */
#ifdef DLFO_STRUCT_HAS_EH_DBASE
static int (*find_object)(void *, struct dl_find_object *);
#endif
static char *(*next_getenv)(const char *);

static char *scan_environment(const char *name) {
    size_t n = strlen(name);
    for (char **e = environ; e && *e; e++)
        if (!strncmp(*e, name, n) && (*e)[n] == '=') return *e + n + 1;
    return NULL;
}

/* The interpreter takes an empty value for none. */
static bool is_unset(const char *value) { return !value || !*value; }

static bool is_interpreter_name(const char *path) {
    const char *name = strrchr(path, '/');
    name = name ? name + 1 : path;
    if (strncmp(name, "python", 6)) return false;
    name += 6;
    name += strspn(name, "0123456789.");
    return !*name || !strcmp(name, "d") || !strcmp(name, "t") || !strcmp(name, "td") ||
           !strcmp(name, "-dbg");
}

struct interpreter_options {
    bool ignores_environment; /* -I or -E */
    bool development;         /* -X dev */
};

static bool names_development(const char *x_option) {
    return !strncmp(x_option, "dev", 3) && (!x_option[3] || x_option[3] == '=');
}

/* The interpreter's own options end at -c, -m, a file name or --. */
static struct interpreter_options read_arguments(int argc, char **argv) {
    struct interpreter_options found = {false, false};
    for (int i = 1; i < argc && argv[i][0] == '-' && argv[i][1] && argv[i][1] != '-'; i++)
        for (const char *letter = argv[i] + 1; *letter; letter++) {
            if (*letter == 'I' || *letter == 'E') found.ignores_environment = true;
            if (*letter == 'c' || *letter == 'm') return found;
            if (*letter == 'W' || *letter == 'X') {
                const char *value = letter[1] ? letter + 1 : ++i < argc ? argv[i] : "";
                if (*letter == 'X' && names_development(value)) found.development = true;
                break;
            }
        }
    return found;
}

/* Objects die in another order than they were made, and a large stack hands that order out again:
 * strings in a loop take 1.20 s where they took 1.31. */
static void settle(const char *said) {
    relaxed_store(&limits.enlarged_blocks, 0);
    relaxed_store(&state, said);
}

/* NULL, and no message of dlerror's left for the program, where there is no such symbol. */
static void *find_symbol(void *handle, const char *name) {
    void *symbol = dlsym(handle, name);
    if (!symbol) dlerror(), dlerror(); /* told, and freed */
    return symbol;
}

static bool is_free_threaded(void *handle) {
    return find_symbol(handle, "_Py_MergeZeroLocalRefcount");
}

/* For a CPython whose symbols are found through `handle`. */
static void decide(void *handle, struct interpreter_options arguments) {
    bool development = arguments.development;
    if (!options.python)
        relaxed_store(&state, "pymalloc: LOWTIDE_PYTHON=off");
    else if (!is_unset(scan_environment("PYTHONMALLOC")))
        relaxed_store(&state, "PYTHONMALLOC was set already");
    else if (is_free_threaded(handle))
        relaxed_store(&state, "mimalloc: free-threaded build");
    else if (arguments.ignores_environment && development)
        relaxed_store(&state, "pymalloc: development mode under -I or -E");
    else if (arguments.ignores_environment)
        relaxed_store(&state, "malloc from its first arena on: -I or -E");
    else {
        development |= !is_unset(scan_environment("PYTHONDEVMODE"));
        relaxed_store(&answer, development ? "malloc_debug" : "malloc");
        settle(relaxed_load(&answer));
    }
}

/* Calls `act` for the object that `map` describes, if it is a CPython; the executable stands for
 * all that the program sees. A map may be no handle. */
static void with_cpython(const struct link_map *map, void (*act)(void *handle)) {
    void *handle = dlopen(map->l_name, RTLD_LAZY | RTLD_NOLOAD);
    if (!handle) return;
    if (find_symbol(handle, "PyObject_Malloc")) act(handle);
    dlclose(handle);
}

static void decide_as_library(void *handle) {
    decide(handle, (struct interpreter_options){false, false});
}

/* libc declares the argument nonnull, so NULL need not be looked for. */
EXPORT char *getenv(const char *name) {
    char *value = next_getenv ? next_getenv(name) : scan_environment(name);
    if (!serves || strcmp(name, "PYTHONMALLOC") || !is_unset(value)) return value;
    Dl_info found;
    struct link_map *map = NULL;
    if (!relaxed_load(&state) &&
        dladdr1(__builtin_return_address(0), &found, (void **)&map, RTLD_DL_LINKMAP) && map)
        with_cpython(map, decide_as_library);
    const char *told = relaxed_load(&answer);
    if (!told) return value;
    relaxed_store(&awaits_arena, false);
    return (char *)told;
}

/* ---- the first arena ---- */

/* CPython's PyMemAllocatorEx, since 3.5. */
struct allocator {
    void *context;
    void *(*malloc)(void *, size_t);
    void *(*calloc)(void *, size_t, size_t);
    void *(*realloc)(void *, void *, size_t);
    void (*free)(void *, void *);
};
enum { DOMAIN_MEM = 1, DOMAIN_OBJ = 2 };

static struct allocator pymalloc;

static bool is_pymallocs(const void *p) { return p && !pagemap_byte((uintptr_t)p); }

static void *take(void *context, size_t bytes) {
    (void)context;
    return core_malloc(bytes);
}
static void *take_zeroed(void *context, size_t count, size_t bytes) {
    (void)context;
    return core_calloc(count, bytes);
}
static void *resize(void *context, void *p, size_t bytes) {
    (void)context;
    if (is_pymallocs(p)) return pymalloc.realloc(pymalloc.context, p, bytes);
    return core_realloc(p, bytes ? bytes : 1); /* Python's does not free */
}
static void give(void *context, void *p) {
    (void)context;
    is_pymallocs(p) ? pymalloc.free(pymalloc.context, p) : core_free(p);
}

/* Where hooks are around pymalloc, of the development mode or a tracer, they have a context. Who is
 * left alone is not looked at again; who is served may be ended and begun anew. */
static void take_over(void *handle) {
    static const struct allocator ours = {NULL, take, take_zeroed, resize, give};
    void (*get)(int, struct allocator *), (*set)(int, const struct allocator *);
    *(void **)&get = find_symbol(handle, "PyMem_GetAllocator");
    *(void **)&set = find_symbol(handle, "PyMem_SetAllocator");
    if (!get || !set || !find_symbol(handle, "PyMem_RawCalloc") || is_free_threaded(handle)) return;
    struct allocator found;
    get(DOMAIN_OBJ, &found);
    if (found.context) return;
    relaxed_store(&awaits_arena, true);
    if (found.malloc == take) return;
    pymalloc = found;
    set(DOMAIN_OBJ, &ours);
    get(DOMAIN_MEM, &found);
    if (found.malloc == pymalloc.malloc) set(DOMAIN_MEM, &ours);
    settle("malloc since its first arena");
}

/* The caller is found without the loader's lock, which a constructor may hold that waits for this
 * thread; glibc has that since 2.35. */
static const struct link_map *object_of(void *address) {
#ifdef DLFO_STRUCT_HAS_EH_DBASE
    struct dl_find_object found;
    if (find_object && !find_object(address, &found)) return found.dlfo_link_map;
#else
    (void)address;
#endif
    return NULL;
}

/* Arenas have 256 KiB before 3.10, 1 MiB since. A second CPython's, or that of one that was ended
 * and begun anew, is the first after its allocators were reset. */
void python_sees_mapping(size_t bytes, void *caller) {
    if (!relaxed_load(&awaits_arena) || (bytes != 256 << 10 && bytes != 1 << 20)) return;
    const struct link_map *map = object_of(caller);
    if (!map) return;
    const char *name = strrchr(map->l_name, '/');
    bool is_library = name && !strncmp(name + 1, "libpython", 9);
    if (!is_library && (*map->l_name || !PyObject_Malloc)) return;
    relaxed_store(&awaits_arena, false);
    with_cpython(map, take_over);
}

/* ---- start ---- */

const char *python_state(void) {
    const char *decided = relaxed_load(&state);
    return decided ? decided : "not an interpreter";
}

void python_init(int argc, char **argv, bool malloc_is_ours) {
    *(void **)&next_getenv = dlsym(RTLD_NEXT, "getenv");
    serves = malloc_is_ours;
    if (!serves) {
        relaxed_store(&state, "malloc is another's");
        return;
    }
    char path[4096];
    ssize_t n = readlink("/proc/self/exe", path, sizeof path - 1);
    path[n > 0 ? n : 0] = 0;
    if (n <= 0) strncat(path, argc ? argv[0] : "", sizeof path - 1);
    relaxed_store(&awaits_arena, options.python && is_unset(scan_environment("PYTHONMALLOC")));
#ifdef DLFO_STRUCT_HAS_EH_DBASE
    *(void **)&find_object = find_symbol(RTLD_DEFAULT, "_dl_find_object");
#endif
    if (PyObject_Malloc && is_interpreter_name(path))
        decide(RTLD_DEFAULT, read_arguments(argc, argv));
}
