/* Live statistics: when the page is made and when not, what it says, and that snapshots are whole. */
#include "live_test.h"

#include "../../core/gate.h"
#include "../../trim-policy/policy_state.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

TestSuite(live, .fini = machine_remove);

/* ---- when it is made ---- */

Test(live, there_is_none_when_it_is_switched_off) {
    live_begin_holding("LOWTIDE_LIVE=0");
    housekeep_after(100);
    cr_assert_null(live_bell());
    cr_assert_neq(access(live_directory, F_OK), 0);
}

Test(live, it_is_made_when_the_process_is_100_ms_old) {
    live_begin_holding(NULL);
    driven_ms += 1000; /* it is time for housekeeping */
    live_after_fork(); /* as young as a forked child */
    housekeep_after(99);
    cr_assert_eq(heap_current->housekept_ms, driven_ms);
    cr_assert(!live_has_file());
    errno = 4711;
    housekeep_after(100);
    cr_assert_eq(errno, 4711);
    cr_assert(live_has_file());
}

Test(live, it_is_made_when_the_process_holds_a_mebibyte) {
    live_begin(NULL);
    for (unsigned i = 0; i < 5; i++) housekeep_after(1000);
    cr_assert(!live_has_file());
    live_hold();
    housekeep_after(100);
    cr_assert(live_has_file());
}

Test(live, it_is_made_before_a_thread_sleeps) {
    int wait_ms;
    live_begin(NULL);
    retain_in(0, 700);
    driven_ms += 200;
    cr_assert_eq(policy_before_sleep(true, &wait_ms), SLEEP_DONE);
    cr_assert(live_has_file());
    int64_t retained = budget_retained_pages() * PAGE_BYTES;
    cr_assert_eq(live_snapshot().heap.retained_bytes, retained);
}

static unsigned descriptors(void) {
    unsigned n = 0;
    DIR *d = opendir("/proc/self/fd");
    while (readdir(d)) n++;
    closedir(d);
    return n;
}
static void expect_private(mode_t mask) {
    struct stat is;
    char path[200];
    unsigned before = descriptors();
    live_begin_holding(NULL);
    umask(mask);
    housekeep_after(100);
    umask(022);
    cr_assert_eq(descriptors(), before);
    cr_assert(live_find_file(getpid(), path));
    cr_assert_eq(stat(path, &is), 0);
    cr_assert_eq(is.st_mode, S_IFREG | 0600u);
    cr_assert_eq(is.st_size, PAGE_BYTES);
    cr_assert_eq(stat(live_directory, &is), 0);
    cr_assert_eq(is.st_mode, S_IFDIR | 0700u);
}
Test(live, no_descriptor_stays_open_and_the_file_is_private) { expect_private(0); }
Test(live, the_same_where_the_umask_takes_all) { expect_private(0777); }

/* ---- when it is not ---- */

static void expect_none(const char *what) {
    for (unsigned i = 0; i < 3; i++) housekeep_after(100);
    cr_assert_null(live_bell(), "%s", what);
}
/* A place for the directory that is not to be trusted. */
static void begin_at(void (*make)(void), const char *what) {
    live_begin_holding(NULL);
    make();
    expect_none(what);
}
static void make_open_to_others(void) {
    mkdir(live_directory, 0700);
    chmod(live_directory, 0750);
}
static void make_link(void) {
    char target[120];
    snprintf(target, sizeof target, "%s-elsewhere", live_directory);
    mkdir(target, 0700);
    cr_assert_eq(symlink(target, live_directory), 0);
}
static void make_file(void) { close(creat(live_directory, 0700)); }
static void make_anothers(void) {
    mkdir(live_directory, 0700);
    if (chown(live_directory, 12345, 12345)) chmod(live_directory, 0777); /* only root can give it away */
}
static void make_fifo(void) { mkfifo(live_directory, 0700); }
Test(live, a_directory_that_others_can_use_is_refused) { begin_at(make_open_to_others, "mode 0750"); }
Test(live, a_link_is_refused) { begin_at(make_link, "a link"); }
Test(live, a_file_instead_of_the_directory) { begin_at(make_file, "a file"); }
Test(live, a_pipe_instead_of_the_directory) { begin_at(make_fifo, "a pipe"); }
Test(live, a_directory_of_anothers_is_refused) { begin_at(make_anothers, "another's"); }

Test(live, no_place_for_it) {
    machine_make();
    policy_start(NULL);
    live_hold();
    errno = 4711;
    expect_none("no /dev/shm");
    cr_assert_eq(errno, 4711);
}

/* Exceeding the limit would be a SIGXFSZ. */
Test(live, files_may_not_grow) {
    struct rlimit none = {0, RLIM_INFINITY};
    live_begin_holding(NULL);
    setrlimit(RLIMIT_FSIZE, &none);
    housekeep_after(100);
    housekeep_after(100);
    none.rlim_cur = RLIM_INFINITY;
    setrlimit(RLIMIT_FSIZE, &none);
    expect_none("RLIMIT_FSIZE");
    cr_assert(!live_has_file());
}

Test(live, no_descriptor_to_be_had) {
    struct rlimit none = {0, RLIM_INFINITY}, before;
    live_begin_holding(NULL);
    getrlimit(RLIMIT_NOFILE, &before);
    none.rlim_max = before.rlim_max;
    setrlimit(RLIMIT_NOFILE, &none);
    housekeep_after(100);
    setrlimit(RLIMIT_NOFILE, &before);
    expect_none("tried once");
}

Test(live, not_with_raised_privileges) {
    unit_set_auxval(AT_SECURE, 1);
    live_begin_holding(NULL);
    expect_none("AT_SECURE");
}

Test(live, not_once_a_filter_is_coming) {
    live_begin_holding(NULL);
    atomic_store(&os_is_filtered, true);
    expect_none("a filter");
    cr_assert(!live_has_file());
}

/* Whose page there is already goes on writing to it, and leaves the file to readers. */
Test(live, a_filter_comes_later) {
    live_begin_holding(NULL);
    housekeep_after(100);
    atomic_store(&os_is_filtered, true);
    core_free(live_held);
    housekeep_after(100);
    cr_assert_eq(live_snapshot().heap.large_current, 0);
    live_close();
    cr_assert(live_has_file());
}

/* ---- what it says ---- */

Test(live, header_and_keys) {
    live_begin_holding(NULL);
    housekeep_after(100);
    const struct live_page *page = live_map_page(getpid());
    cr_assert_not_null(page);
    cr_assert_eq(page->magic, LIVE_MAGIC);
    cr_assert_eq(page->layout, LIVE_LAYOUT);
    cr_assert_eq(page->values, LIVE_VALUES);
    cr_assert_eq(page->pid, getpid());
    cr_assert_gt(page->started, 0);
    cr_assert_gt(page->pid_namespace, 0);
    cr_assert_str_eq(page->version, LOWTIDE_VERSION);
    cr_assert_gt(strlen(page->program), 0);
    static const char *const keys[] = {
#define STAT(key, text) #key,
#include "../../core/stats.def"
#undef STAT
#define MORE(key, text) #key,
        LIVE_MORE(MORE)
#undef MORE
    };
    cr_assert_eq(COUNT(keys), LIVE_VALUES);
    const char *at = (const char *)page + page->header_bytes + page->values * sizeof(int64_t), *end = at + page->text_bytes;
    for (unsigned i = 0; i < COUNT(keys); i++) {
        size_t n = strlen(keys[i]);
        cr_assert(!strncmp(at, keys[i], n) && at[n] == '\t', "%s", keys[i]);
        at = memchr(at, '\n', (size_t)(end - at));
        cr_assert_not_null(at, "%s", keys[i]);
        at++;
    }
    cr_assert_eq(at, end);
}

/* At rest, with nothing in magazines, the counters are what a walk finds; large buffers were touched whole. */
Test(live, numbers_are_those_of_the_walk) {
    union {
        struct stats stats;
        int64_t number[sizeof(struct stats) / sizeof(int64_t)];
    } walked, told;
    static const char *const keys[] = {
#define STAT(key, text) #key,
#include "../../core/stats.def"
#undef STAT
    };
    void *block[300];
    live_begin_holding(NULL);
    for (unsigned i = 0; i < COUNT(block); i++) block[i] = core_malloc(i * 37);
    retain_in(1, 100);
    driven_ms += 1000;
    heap_flush(false);
    heap_slow_path_hook();
    stats_collect(&walked.stats);
    told.stats = live_snapshot().heap;
    unsigned known = 0;
    for (unsigned i = 0; i < COUNT(keys); i++) {
        if (told.number[i] == LIVE_UNKNOWN) continue;
        known++;
        cr_assert_eq(told.number[i], walked.number[i], "%s: %lld, walked %lld", keys[i], (long long)told.number[i], (long long)walked.number[i]);
    }
    cr_assert_geq(known, 15);
    cr_assert_eq(live_snapshot().large_asked_bytes, 2 * MIB);
    cr_assert_eq(live_snapshot().limit_bytes, 1024 * MIB);
    for (unsigned i = 0; i < COUNT(block); i++) core_free(block[i]);
}

Test(live, level_and_time) {
    live_begin_holding(NULL);
    housekeep_after(100);
    retain_in(0, 700);
    reach_level(LEVEL_HIGH);
    cr_assert_eq(live_snapshot().level, LEVEL_HIGH);
    cr_assert_eq(live_snapshot().available_bytes, available_for_level[LEVEL_HIGH] * MIB);
    cr_assert_eq(live_map_page(getpid())->written_ms, driven_ms);
}

struct race {
    struct live_page *page;
    int64_t small_bytes; /* live in what is not large, all the time */
    _Atomic(bool) is_over;
    _Atomic(unsigned) whole, torn;
};
/* One writes while the other reads; in a whole snapshot, all that changes are large buffers, from the first number to the last. */
static void race(unsigned index, void *context) {
    struct race *r = context;
    struct live_values v;
    if (!index) {
        for (unsigned i = 0; i < 20000 || (r->whole < 1000 && i < 10000000); i++) {
            void *block = core_malloc(200000 + i % 7 * 4096);
            live_update(i);
            core_free(block);
            live_update(i);
        }
        r->is_over = true;
        return;
    }
    while (!r->is_over) {
        if (!live_read_snapshot(r->page, &v)) continue;
        r->whole++;
        if (v.heap.live_bytes - v.large_asked_bytes != r->small_bytes) r->torn++;
    }
}
Test(live, a_racing_reader_sees_whole_snapshots) {
    static struct race r;
    live_begin_holding(NULL);
    housekeep_after(100);
    cr_assert_not_null(r.page = live_map_page(getpid()));
    r.small_bytes = live_snapshot().heap.live_bytes - live_snapshot().large_asked_bytes;
    unit_run_threads(2, race, &r);
    cr_assert_gt(r.whole, 0);
    cr_assert_eq(r.torn, 0);
}

/* ---- children, exit, what others left ---- */

static void expect_in_child(bool holds, const char *what) {
    if (!holds) report_line(what);
}
static void live_in_child(void *parent) {
    struct live_page *page = parent;
    uint64_t sequence = page->sequence;
    uintptr_t bell = (uintptr_t)live_bell();
    gate_reset();
    policy_after_fork();
    heap_after_fork();
    expect_in_child(!live_bell(), "the parent's page is still there");
    expect_in_child(bell && !os_is_mapped(bell & ~(uintptr_t)(PAGE_BYTES - 1)), "the parent's page is still mapped");
    housekeep_after(50);
    expect_in_child(!live_has_file(), "too young");
    housekeep_after(100);
    expect_in_child(live_has_file(), "no page of its own");
    expect_in_child(live_map_page(getpid()) && live_map_page(getpid())->pid == getpid(), "not its own page");
    expect_in_child(page->sequence == sequence, "wrote to the parent's");
    live_close();
    expect_in_child(!live_has_file(), "its file stayed");
}
Test(live, a_forked_child_makes_its_own) {
    char said[300];
    live_begin_holding(NULL);
    housekeep_after(100);
    cr_assert_eq(unit_in_child(live_in_child, live_map_page(getpid()), said, sizeof said), 0);
    cr_assert_str_empty(said);
    cr_assert(live_has_file());
}

/* A child made by a bare system call knows nothing of it, and leaves the page to its parent. */
static void live_in_bare_child(void *parent) {
    struct live_page *page = parent;
    uint64_t sequence = page->sequence;
    page->trim_asked = 1;
    for (unsigned i = 0; i < 3; i++) housekeep_after(100);
    expect_in_child(page->sequence == sequence && !page->trim_served, "wrote to the parent's");
    expect_in_child(!live_has_file(), "made one");
    live_close();
}
Test(live, a_child_without_fork_handlers_keeps_away) {
    char said[300];
    live_begin_holding(NULL);
    housekeep_after(100);
    cr_assert_eq(unit_in_child(live_in_bare_child, live_map_page(getpid()), said, sizeof said), 0);
    cr_assert_str_empty(said);
    cr_assert(live_has_file());
}

Test(live, nothing_stays_after_exit) {
    live_begin_holding(NULL);
    housekeep_after(100);
    cr_assert(live_has_file());
    errno = 4711;
    live_close();
    cr_assert_eq(errno, 4711);
    cr_assert_neq(access(live_directory, F_OK), 0, "the directory was empty");
    housekeep_after(100);
    cr_assert_neq(access(live_directory, F_OK), 0, "and is not made again");
}

static void leave_file(int pid, uint64_t namespace, const char *rest) {
    char name[160];
    snprintf(name, sizeof name, "%s/%d.%llu%s", strstr(live_directory, "/dev/shm"), pid, (unsigned long long)namespace, rest);
    machine_write(name, "left");
}
static bool is_left(int pid, uint64_t namespace, const char *rest) {
    char name[200];
    snprintf(name, sizeof name, "%s/%d.%llu%s", live_directory, pid, (unsigned long long)namespace, rest);
    return access(name, F_OK) == 0;
}
Test(live, what_dead_processes_left_is_swept) {
    struct stat is;
    enum { NOBODY = 99999999 };
    live_begin_holding(NULL);
    cr_assert_eq(stat("/proc/self/ns/pid", &is), 0);
    leave_file(NOBODY, is.st_ino, "");
    leave_file(NOBODY, 1, ""); /* a container's that shares this directory */
    leave_file(1, is.st_ino, "");
    leave_file(NOBODY, is.st_ino, ".kept");
    leave_file(getpid(), is.st_ino, ""); /* an earlier program's of this process */
    for (int i = 1; i <= 300; i++) leave_file(NOBODY + i, is.st_ino, "");
    housekeep_after(100);
    cr_assert(!is_left(NOBODY, is.st_ino, ""));
    cr_assert(is_left(NOBODY, 1, "") && is_left(1, is.st_ino, "") && is_left(NOBODY, is.st_ino, ".kept"));
    cr_assert_eq(live_map_page(getpid())->pid, getpid());
    for (int i = 1; i <= 50; i++) cr_assert(!is_left(NOBODY + i, is.st_ino, ""), "%d", i);
}
