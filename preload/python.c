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
 * Free-threaded builds refuse PYTHONMALLOC=malloc and are left alone. Under -I and -E the
 * interpreter does not ask; then it keeps pymalloc, and the statistics say so. Nor does one that a
 * program starts isolated, which the statistics cannot tell from none.
 */
#include "preload.h"

#include "../core/budget.h"
#include "../trim-policy/options.h"

#include <dlfcn.h>
#include <link.h>
#include <string.h>
#include <unistd.h>

extern char **environ;

static _Atomic(const char *) state;  /* NULL = not decided: no CPython so far */
static _Atomic(const char *) answer; /* NULL = none of ours */
static bool serves;                  /* malloc is ours, and the options have been read */
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

/* For a CPython whose symbols are found through `handle`. */
static void decide(void *handle, struct interpreter_options arguments) {
    const char *told = NULL, *why_not = NULL;
    if (!options.python)
        why_not = "pymalloc: LOWTIDE_PYTHON=off";
    else if (!is_unset(scan_environment("PYTHONMALLOC")))
        why_not = "PYTHONMALLOC was set already";
    else if (dlsym(handle, "_Py_MergeZeroLocalRefcount"))
        why_not = "mimalloc: free-threaded build";
    else if (arguments.ignores_environment)
        why_not = "pymalloc: -I or -E";
    else {
        bool development = arguments.development || !is_unset(scan_environment("PYTHONDEVMODE"));
        told = development ? "malloc_debug" : "malloc";
        /* Objects die in another order than they were made, and a large stack hands that order out
         * again: strings in a loop take 1.20 s where they took 1.31. */
        relaxed_store(&limits.enlarged_blocks, 0);
    }
    relaxed_store(&answer, told);
    relaxed_store(&state, told ? told : why_not);
}

/* For the object that holds `address`, if it is a CPython; the executable stands for all that the
 * program sees. */
static void decide_for(const void *address) {
    Dl_info found;
    struct link_map *map = NULL;
    if (!dladdr1(address, &found, (void **)&map, RTLD_DL_LINKMAP) || !map) return;
    void *handle = dlopen(map->l_name, RTLD_LAZY | RTLD_NOLOAD); /* a map may be no handle */
    if (!handle) return;
    if (dlsym(handle, "Py_Main")) decide(handle, (struct interpreter_options){false, false});
    dlclose(handle);
}

/* libc declares the argument nonnull, so NULL need not be looked for. */
EXPORT char *getenv(const char *name) {
    char *value = next_getenv ? next_getenv(name) : scan_environment(name);
    if (!serves || strcmp(name, "PYTHONMALLOC") || !is_unset(value)) return value;
    if (!relaxed_load(&state)) decide_for(__builtin_return_address(0));
    const char *told = relaxed_load(&answer);
    return told ? (char *)told : value;
}

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
    if (is_interpreter_name(path) && dlsym(RTLD_DEFAULT, "Py_Main"))
        decide(RTLD_DEFAULT, read_arguments(argc, argv));
}
