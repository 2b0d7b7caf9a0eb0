/* A Python within a program of another name: opens a library and, if it is CPython, has it run statements; or asks one of the
 * imitations that this file also makes (-DIMITATION, -DCPYTHON, -DFREE_THREADED) what it was told for PYTHONMALLOC.
 *
 * usage: embedded LIBRARY local|global STATEMENTS      of a CPython
 *        embedded LIBRARY local|global TOLD            of an imitation; "-" = nothing
 */
#ifdef IMITATION
#include <stdlib.h>

const char *ask(void) {
    const char *told = getenv("PYTHONMALLOC");
    return told ? told : "-";
}
#ifdef CPYTHON
int Py_Main(void) { return 0; }
#endif
#ifdef FREE_THREADED
void _Py_MergeZeroLocalRefcount(void) {}
#endif

#else
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int run_statements(void *library, const char *statements) {
    void (*initialize)(void);
    int (*run)(const char *), (*finalize)(void);
    *(void **)&initialize = dlsym(library, "Py_Initialize");
    *(void **)&run = dlsym(library, "PyRun_SimpleString");
    *(void **)&finalize = dlsym(library, "Py_FinalizeEx");
    int result = 0;
    for (int turn = 0; turn < 2; turn++) {
        initialize();
        result |= run(statements) | finalize();
    }
    return result;
}

int main(int argc, char **argv) {
    if (argc != 4) return 2;
    void *library = dlopen(argv[1], RTLD_NOW | (strcmp(argv[2], "global") ? RTLD_LOCAL : RTLD_GLOBAL));
    if (!library) {
        fprintf(stderr, "%s\n", dlerror());
        return 2;
    }
    const char *(*ask)(void);
    *(void **)&ask = dlsym(library, "ask");
    if (!ask) return run_statements(library, argv[3]);
    const char *told = ask();
    if (strcmp(told, argv[3])) printf("%s was told %s instead of %s\n", argv[1], told, argv[3]);
    return 0;
}
#endif
