/* A Python within a program of another name: opens a library and, if it is CPython, has it run statements; or asks one of the
 * imitations that this file also makes (-DIMITATION, -DCPYTHON, -DFREE_THREADED) what it was told for PYTHONMALLOC.
 *
 * usage: embedded LIBRARY local|global STATEMENTS [isolated]    of a CPython
 *        embedded LIBRARY local|global TOLD                     of an imitation; "-" = nothing
 */
#ifdef IMITATION
#include <stdlib.h>

const char *ask(void) {
    const char *told = getenv("PYTHONMALLOC");
    return told ? told : "-";
}
#ifdef CPYTHON
void *PyObject_Malloc(size_t bytes) { return malloc(bytes); }
#endif
#ifdef FREE_THREADED
void _Py_MergeZeroLocalRefcount(void) {}
#endif

#else
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* PyConfig has some 400 bytes, PyStatus is returned by value. */
union config {
    char bytes[8192];
    void *align;
};
struct status {
    int type;
    const char *function, *message;
    int exit_code;
};

static void initialize_isolated(void *library) {
    static union config config;
    void (*make)(union config *);
    struct status (*initialize)(const union config *);
    *(void **)&make = dlsym(library, "PyConfig_InitIsolatedConfig");
    *(void **)&initialize = dlsym(library, "Py_InitializeFromConfig");
    make(&config);
    struct status status = initialize(&config);
    if (status.type) printf("%s: %s\n", status.function, status.message);
}

static int run_statements(void *library, const char *statements, int isolated) {
    void (*initialize)(void);
    int (*run)(const char *), (*finalize)(void);
    *(void **)&initialize = dlsym(library, "Py_Initialize");
    *(void **)&run = dlsym(library, "PyRun_SimpleString");
    *(void **)&finalize = dlsym(library, "Py_FinalizeEx");
    int result = 0;
    for (int turn = 0; turn < 2; turn++) {
        isolated ? initialize_isolated(library) : initialize();
        result |= run(statements) | finalize();
    }
    return result;
}

int main(int argc, char **argv) {
    if (argc != 4 && (argc != 5 || strcmp(argv[4], "isolated"))) return 2;
    void *library = dlopen(argv[1], RTLD_NOW | (strcmp(argv[2], "global") ? RTLD_LOCAL : RTLD_GLOBAL));
    if (!library) {
        fprintf(stderr, "%s\n", dlerror());
        return 2;
    }
    const char *(*ask)(void);
    *(void **)&ask = dlsym(library, "ask");
    if (!ask) return run_statements(library, argv[3], argc == 5);
    const char *told = ask();
    if (strcmp(told, argv[3])) printf("%s was told %s instead of %s\n", argv[1], told, argv[3]);
    return 0;
}
#endif
