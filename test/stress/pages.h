/* How many blocks of the model lie on each of the kernel's pages: a hash table that only grows. For one
 * thread at a time. */
#ifndef LOWTIDE_TEST_PAGES_H
#define LOWTIDE_TEST_PAGES_H

#include "../../core/os.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct page_count {
    uintptr_t page; /* 0 = empty */
    int64_t blocks;
};

static struct {
    struct page_count *table;
    size_t capacity, used;
    int64_t live;
} page_counts;

static struct page_count *pages_find(uintptr_t page);

static void pages_grow(void) {
    struct page_count *old = page_counts.table;
    size_t n = page_counts.capacity;
    page_counts.capacity = n ? n * 2 : 1 << 12;
    page_counts.table = calloc(page_counts.capacity, sizeof *page_counts.table);
    page_counts.used = 0;
    for (size_t i = 0; i < n; i++)
        if (old[i].blocks) *pages_find(old[i].page) = old[i];
    free(old);
}

static struct page_count *pages_find(uintptr_t page) {
    if (page_counts.used * 2 >= page_counts.capacity) pages_grow();
    size_t i = page * 0x9e3779b97f4a7c15ull >> 20 & (page_counts.capacity - 1);
    while (page_counts.table[i].page && page_counts.table[i].page != page) i = (i + 1) & (page_counts.capacity - 1);
    if (!page_counts.table[i].page) {
        page_counts.table[i].page = page;
        page_counts.used++;
    }
    return &page_counts.table[i];
}

/* A block of no bytes still holds its first page. */
static void pages_change(uintptr_t at, size_t bytes, int64_t by) {
    for (uintptr_t page = at / os_page_bytes, last = (at + (bytes ? bytes : 1) - 1) / os_page_bytes; page <= last; page++) {
        struct page_count *p = pages_find(page);
        page_counts.live += (p->blocks + by > 0) - (p->blocks > 0);
        p->blocks += by;
    }
}
static void pages_add(uintptr_t at, size_t bytes) { pages_change(at, bytes, 1); }
static void pages_remove(uintptr_t at, size_t bytes) { pages_change(at, bytes, -1); }
static void pages_clear(void) {
    if (page_counts.table) memset(page_counts.table, 0, page_counts.capacity * sizeof *page_counts.table);
    page_counts.used = 0;
    page_counts.live = 0;
}
static int64_t pages_live(void) { return page_counts.live * (int64_t)(os_page_bytes / PAGE_BYTES); }

#endif
