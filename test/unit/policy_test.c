/* For what: policy_test.h. */
#include "policy_test.h"

#include "../../trim-policy/options.h"
#include "../../trim-policy/policy_state.h"

#include <ftw.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- a machine ---- */

static char root[64];

static int remove_entry(const char *path, const struct stat *info, int kind, struct FTW *at) {
    (void)info, (void)kind, (void)at;
    return remove(path);
}

void machine_remove(void) {
    if (root[0]) nftw(root, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
    root[0] = 0;
}

const char *machine_make(void) {
    machine_remove();
    snprintf(root, sizeof root, "/tmp/lowtide-root-XXXXXX");
    cr_assert_not_null(mkdtemp(root));
    return root;
}

void machine_write(const char *name, const char *text) {
    char path[256];
    snprintf(path, sizeof path, "%s%s", root, name);
    for (char *at = path + 1; (at = strchr(at, '/')); at++) {
        *at = 0;
        mkdir(path, 0700);
        *at = '/';
    }
    FILE *f = fopen(path, "w");
    cr_assert_not_null(f, "%s", path);
    fputs(text, f);
    fclose(f);
}

void machine_set_memory(int64_t total_mib, int64_t available_mib) {
    char text[200];
    snprintf(text, sizeof text, "MemTotal: %lld kB\nMemFree: 4 kB\nMemAvailable: %lld kB\n", (long long)total_mib * 1024,
             (long long)available_mib * 1024);
    machine_write("/proc/meminfo", text);
}

/* ---- a clock ---- */

_Atomic(int64_t) driven_ms = 1000000;
int64_t driven_clock(void) { return driven_ms; }

/* ---- policy ---- */

const int64_t available_for_level[LEVELS] = {1000, 300, 100, 30, 5};

enum { CANARY = 4711 };

void policy_start(const char *option) {
    static char root_entry[100], given[100]; /* options keep pointers */
    if (!root[0]) machine_make();
    machine_set_memory(1024, available_for_level[LEVEL_LOW]);
    snprintf(root_entry, sizeof root_entry, "LOWTIDE_ROOT=%s", root);
    snprintf(given, sizeof given, "%s", option ? option : "");
    char *environment[] = {root_entry, given, NULL};
    options_parse(environment);
    policy_clock_ms = driven_clock;
    errno = CANARY;
    policy_init();
    cr_assert_eq(errno, CANARY);
    core_free(core_malloc(16)); /* only threads with a heap keep house */
    heap_flush(false);
    policy_snapshot(&(struct policy_numbers){0});
    driven_ms += 1000;
}

/* ---- memory to give back ---- */

static const size_t ring_block_bytes[RINGS] = {512, 2048, 8192, 131072, 1 << 20};
static void *blocks[1 << 16];

void retain_in(unsigned ring, int64_t pages) {
    size_t bytes = ring_block_bytes[ring];
    unsigned n = (unsigned)((size_t)pages * PAGE_BYTES / bytes);
    cr_assert_leq(n, COUNT(blocks));
    for (unsigned i = 0; i < n; i++) memset(blocks[i] = core_malloc(bytes), 1, 16);
    for (unsigned i = n; i--;) core_free(blocks[i]);
    heap_flush(false);
}

int64_t retained_in(unsigned ring) { return relaxed_load(&counters.retained_pages[ring]); }

void housekeep_after(int64_t ms) {
    driven_ms += ms;
    heap_slow_path_hook();
}

void reach_level(int level) {
    machine_set_memory(1024, available_for_level[level]);
    for (int ticks = 0; relaxed_load(&policy_state.level) != level; ticks++) {
        cr_assert_leq(ticks, 20, "at level %d, not %d", relaxed_load(&policy_state.level), level);
        housekeep_after(1000);
    }
}
