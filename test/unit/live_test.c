/* For what: live_test.h. */
#include "live_test.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

char live_directory[100]; /* that pages are in */
void *live_held;

void live_begin(const char *option) {
    snprintf(live_directory, sizeof live_directory, "%s/dev/shm/lowtide-%u", machine_make(), geteuid());
    machine_write("/dev/shm/none", "");
    policy_start(option);
}

void live_hold(void) { memset(live_held = core_malloc(2 * MIB), 1, 2 * MIB); }
void live_begin_holding(const char *option) {
    live_begin(option);
    live_hold();
}

/* The file of a process; false = there is none. */
bool live_find_file(int pid, char path[200]) {
    DIR *d = opendir(live_directory);
    char start[32];
    bool is_found = false;
    snprintf(start, sizeof start, "%d.", pid);
    for (struct dirent *e; d && (e = readdir(d));)
        if (!strncmp(e->d_name, start, strlen(start))) {
            snprintf(path, 200, "%s/%.60s", live_directory, e->d_name);
            is_found = true;
        }
    if (d) closedir(d);
    return is_found;
}
bool live_has_file(void) {
    char path[200];
    return live_find_file(getpid(), path);
}

/* As a reader maps it. */
struct live_page *live_map_page(int pid) {
    char path[200];
    if (!live_find_file(pid, path)) return NULL;
    int fd = open(path, O_RDWR);
    struct live_page *page = mmap(NULL, PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    return page == MAP_FAILED ? NULL : page;
}

/* Only a whole one. */
bool live_read_snapshot(struct live_page *page, struct live_values *values) {
    union {
        struct live_values values;
        int64_t number[LIVE_VALUES];
    } seen;
    uint64_t sequence = atomic_load(&page->sequence);
    if (sequence & 1) return false;
    for (unsigned i = 0; i < LIVE_VALUES; i++) seen.number[i] = acquire_load(&page->value[i]);
    *values = seen.values;
    return atomic_load(&page->sequence) == sequence;
}
struct live_values live_snapshot(void) {
    struct live_values values;
    struct live_page *page = live_map_page(getpid());
    cr_assert_not_null(page);
    cr_assert(live_read_snapshot(page, &values));
    munmap(page, PAGE_BYTES);
    return values;
}
