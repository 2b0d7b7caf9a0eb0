/* A library that opens others, which lie where its own search path says. */
#include <dlfcn.h>

void *opener_open(const char *file, int mode) {
    void *volatile library = dlopen(file, mode); /* no jump: dlopen returns here */
    return library;
}
