/* How many blocks of the model lie on each of the kernel's pages: a hash table that only grows. For one
 * thread; after core/os.h. */
#ifndef LOWTIDE_TEST_PAGES_H
#define LOWTIDE_TEST_PAGES_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

struct page_count {
    uintptr_t page; /* 0 = empty */
    int64_t blocks;
};

static struct {
    struct page_count *table;
    size_t capacity, used;
    int64_t live;
} pages;

static struct page_count *pages_find(uintptr_t page);

static void pages_grow(void) {
    struct page_count *old = pages.table;
    size_t n = pages.capacity;
    pages.capacity = n ? n * 2 : 1 << 16;
    pages.table = calloc(pages.capacity, sizeof *pages.table);
    pages.used = 0;
    for (size_t i = 0; i < n; i++)
        if (old[i].blocks) *pages_find(old[i].page) = old[i];
    free(old);
}

static struct page_count *pages_find(uintptr_t page) {
    if (pages.used * 2 >= pages.capacity) pages_grow();
    size_t i = page * 0x9e3779b97f4a7c15ull >> 20 & (pages.capacity - 1);
    while (pages.table[i].page && pages.table[i].page != page) i = (i + 1) & (pages.capacity - 1);
    if (!pages.table[i].page) {
        pages.table[i].page = page;
        pages.used++;
    }
    return &pages.table[i];
}

/* A block of no bytes still holds its first page. */
static void pages_change(uintptr_t at, size_t bytes, int64_t by) {
    for (uintptr_t page = at / os_page_bytes, last = (at + (bytes ? bytes : 1) - 1) / os_page_bytes; page <= last; page++) {
        struct page_count *p = pages_find(page);
        pages.live += (p->blocks + by > 0) - (p->blocks > 0);
        p->blocks += by;
    }
}
static void pages_add(uintptr_t at, size_t bytes) { pages_change(at, bytes, 1); }
static void pages_remove(uintptr_t at, size_t bytes) { pages_change(at, bytes, -1); }
static int64_t pages_live(void) { return pages.live * (int64_t)(os_page_bytes / PAGE_BYTES); }

#endif
