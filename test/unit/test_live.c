/* Live statistics: when the page is made and when not, what it says, that snapshots are whole, and the answer to a trim. The directory
 * lies beneath a machine of the test's own. */
#include "policy_test.h"

#include "../../core/gate.h"
#include "../../trim-policy/live.h"
#include "../../trim-policy/policy_state.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

TestSuite(live, .fini = machine_remove);

static char directory[100]; /* that pages are in */
static void *held;

static void begin(const char *option) {
    snprintf(directory, sizeof directory, "%s/dev/shm/lowtide-%u", machine_make(), geteuid());
    machine_write("/dev/shm/none", "");
    policy_start(option);
}

static void hold(void) { memset(held = core_malloc(2 * MIB), 1, 2 * MIB); }
static void begin_holding(const char *option) {
    begin(option);
    hold();
}

/* The file of a process; false = there is none. */
static bool find_file(int pid, char path[200]) {
    DIR *d = opendir(directory);
    char start[32];
    bool is_found = false;
    snprintf(start, sizeof start, "%d.", pid);
    for (struct dirent *e; d && (e = readdir(d));)
        if (!strncmp(e->d_name, start, strlen(start))) {
            snprintf(path, 200, "%s/%.60s", directory, e->d_name);
            is_found = true;
        }
    if (d) closedir(d);
    return is_found;
}
static bool has_file(void) {
    char path[200];
    return find_file(getpid(), path);
}

/* As a reader maps it. */
static struct live_page *map_page(int pid) {
    char path[200];
    if (!find_file(pid, path)) return NULL;
    int fd = open(path, O_RDWR);
    struct live_page *page = mmap(NULL, PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    return page == MAP_FAILED ? NULL : page;
}

/* Only a whole one. */
static bool read_snapshot(struct live_page *page, struct live_values *values) {
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
static struct live_values snapshot(void) {
    struct live_values values;
    struct live_page *page = map_page(getpid());
    cr_assert_not_null(page);
    cr_assert(read_snapshot(page, &values));
    munmap(page, PAGE_BYTES);
    return values;
}

/* ---- when it is made ---- */

Test(live, there_is_none_when_it_is_switched_off) {
    begin_holding("LOWTIDE_LIVE=0");
    housekeep_after(100);
    cr_assert_null(live_bell());
    cr_assert_neq(access(directory, F_OK), 0);
}

Test(live, it_is_made_when_the_process_is_100_ms_old) {
    begin_holding(NULL);
    driven_ms += 1000; /* it is time for housekeeping */
    live_after_fork(); /* as young as a forked child */
    housekeep_after(99);
    cr_assert_eq(heap_current->housekept_ms, driven_ms);
    cr_assert(!has_file());
    errno = 4711;
    housekeep_after(100);
    cr_assert_eq(errno, 4711);
    cr_assert(has_file());
}

Test(live, it_is_made_when_the_process_holds_a_mebibyte) {
    begin(NULL);
    for (unsigned i = 0; i < 5; i++) housekeep_after(1000);
    cr_assert(!has_file());
    hold();
    housekeep_after(100);
    cr_assert(has_file());
}

Test(live, it_is_made_before_a_thread_sleeps) {
    int wait_ms;
    begin(NULL);
    retain_in(0, 700);
    driven_ms += 200;
    cr_assert_eq(policy_before_sleep(true, &wait_ms), SLEEP_DONE);
    cr_assert(has_file());
    int64_t retained = budget_retained_pages() * PAGE_BYTES;
    cr_assert_eq(snapshot().heap.retained_bytes, retained);
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
    begin_holding(NULL);
    umask(mask);
    housekeep_after(100);
    umask(022);
    cr_assert_eq(descriptors(), before);
    cr_assert(find_file(getpid(), path));
    cr_assert_eq(stat(path, &is), 0);
    cr_assert_eq(is.st_mode, S_IFREG | 0600u);
    cr_assert_eq(is.st_size, PAGE_BYTES);
    cr_assert_eq(stat(directory, &is), 0);
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
    begin_holding(NULL);
    make();
    expect_none(what);
}
static void make_open_to_others(void) {
    mkdir(directory, 0700);
    chmod(directory, 0750);
}
static void make_link(void) {
    char target[120];
    snprintf(target, sizeof target, "%s-elsewhere", directory);
    mkdir(target, 0700);
    cr_assert_eq(symlink(target, directory), 0);
}
static void make_file(void) { close(creat(directory, 0700)); }
static void make_anothers(void) {
    mkdir(directory, 0700);
    if (chown(directory, 12345, 12345)) chmod(directory, 0777); /* only root can give it away */
}
static void make_fifo(void) { mkfifo(directory, 0700); }
Test(live, a_directory_that_others_can_use_is_refused) { begin_at(make_open_to_others, "mode 0750"); }
Test(live, a_link_is_refused) { begin_at(make_link, "a link"); }
Test(live, a_file_instead_of_the_directory) { begin_at(make_file, "a file"); }
Test(live, a_pipe_instead_of_the_directory) { begin_at(make_fifo, "a pipe"); }
Test(live, a_directory_of_anothers_is_refused) { begin_at(make_anothers, "another's"); }

Test(live, no_place_for_it) {
    machine_make();
    policy_start(NULL);
    hold();
    errno = 4711;
    expect_none("no /dev/shm");
    cr_assert_eq(errno, 4711);
}

/* Exceeding the limit would be a SIGXFSZ. */
Test(live, files_may_not_grow) {
    struct rlimit none = {0, RLIM_INFINITY};
    begin_holding(NULL);
    setrlimit(RLIMIT_FSIZE, &none);
    housekeep_after(100);
    housekeep_after(100);
    none.rlim_cur = RLIM_INFINITY;
    setrlimit(RLIMIT_FSIZE, &none);
    expect_none("RLIMIT_FSIZE");
    cr_assert(!has_file());
}

Test(live, no_descriptor_to_be_had) {
    struct rlimit none = {0, RLIM_INFINITY}, before;
    begin_holding(NULL);
    getrlimit(RLIMIT_NOFILE, &before);
    none.rlim_max = before.rlim_max;
    setrlimit(RLIMIT_NOFILE, &none);
    housekeep_after(100);
    setrlimit(RLIMIT_NOFILE, &before);
    expect_none("tried once");
}

Test(live, not_with_raised_privileges) {
    unit_set_auxval(AT_SECURE, 1);
    begin_holding(NULL);
    expect_none("AT_SECURE");
}

Test(live, not_once_a_filter_is_coming) {
    begin_holding(NULL);
    policy_stop_looking();
    expect_none("a filter");
    cr_assert(!has_file());
}

/* Whose page there is already goes on writing to it, and leaves the file to readers. */
Test(live, a_filter_comes_later) {
    begin_holding(NULL);
    housekeep_after(100);
    policy_stop_looking();
    core_free(held);
    housekeep_after(100);
    cr_assert_eq(snapshot().heap.large_current, 0);
    live_close();
    cr_assert(has_file());
}

/* ---- what it says ---- */

Test(live, header_and_keys) {
    begin_holding(NULL);
    housekeep_after(100);
    const struct live_page *page = map_page(getpid());
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
    begin_holding(NULL);
    for (unsigned i = 0; i < COUNT(block); i++) block[i] = core_malloc(i * 37);
    retain_in(1, 100);
    driven_ms += 1000;
    heap_flush(false);
    heap_slow_path_hook();
    stats_collect(&walked.stats);
    told.stats = snapshot().heap;
    unsigned known = 0;
    for (unsigned i = 0; i < COUNT(keys); i++) {
        if (told.number[i] == LIVE_UNKNOWN) continue;
        known++;
        cr_assert_eq(told.number[i], walked.number[i], "%s: %lld, walked %lld", keys[i], (long long)told.number[i], (long long)walked.number[i]);
    }
    cr_assert_geq(known, 15);
    cr_assert_eq(snapshot().large_asked_bytes, 2 * MIB);
    cr_assert_eq(snapshot().limit_bytes, 1024 * MIB);
    for (unsigned i = 0; i < COUNT(block); i++) core_free(block[i]);
}

Test(live, level_and_time) {
    begin_holding(NULL);
    housekeep_after(100);
    retain_in(0, 700);
    reach_level(LEVEL_HIGH);
    cr_assert_eq(snapshot().level, LEVEL_HIGH);
    cr_assert_eq(snapshot().available_bytes, available_for_level[LEVEL_HIGH] * MIB);
    cr_assert_eq(map_page(getpid())->written_ms, driven_ms);
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
        if (!read_snapshot(r->page, &v)) continue;
        r->whole++;
        if (v.heap.live_bytes - v.large_asked_bytes != r->small_bytes) r->torn++;
    }
}
Test(live, a_racing_reader_sees_whole_snapshots) {
    static struct race r;
    begin_holding(NULL);
    housekeep_after(100);
    cr_assert_not_null(r.page = map_page(getpid()));
    r.small_bytes = snapshot().heap.live_bytes - snapshot().large_asked_bytes;
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
    gate_reset();
    policy_after_fork();
    heap_after_fork();
    expect_in_child(!live_bell(), "the parent's page is still there");
    housekeep_after(50);
    expect_in_child(!has_file(), "too young");
    housekeep_after(100);
    expect_in_child(has_file(), "no page of its own");
    expect_in_child(map_page(getpid()) && map_page(getpid())->pid == getpid(), "not its own page");
    expect_in_child(page->sequence == sequence, "wrote to the parent's");
    live_close();
    expect_in_child(!has_file(), "its file stayed");
}
Test(live, a_forked_child_makes_its_own) {
    char said[300];
    begin_holding(NULL);
    housekeep_after(100);
    cr_assert_eq(unit_in_child(live_in_child, map_page(getpid()), said, sizeof said), 0);
    cr_assert_str_empty(said);
    cr_assert(has_file());
}

/* A child made by a bare system call knows nothing of it, and leaves the page to its parent. */
static void live_in_bare_child(void *parent) {
    struct live_page *page = parent;
    uint64_t sequence = page->sequence;
    page->trim_asked = 1;
    for (unsigned i = 0; i < 3; i++) housekeep_after(100);
    expect_in_child(page->sequence == sequence && !page->trim_served, "wrote to the parent's");
    expect_in_child(!has_file(), "made one");
    live_close();
}
Test(live, a_child_without_fork_handlers_keeps_away) {
    char said[300];
    begin_holding(NULL);
    housekeep_after(100);
    cr_assert_eq(unit_in_child(live_in_bare_child, map_page(getpid()), said, sizeof said), 0);
    cr_assert_str_empty(said);
    cr_assert(has_file());
}

Test(live, nothing_stays_after_exit) {
    begin_holding(NULL);
    housekeep_after(100);
    cr_assert(has_file());
    errno = 4711;
    live_close();
    cr_assert_eq(errno, 4711);
    cr_assert_neq(access(directory, F_OK), 0, "the directory was empty");
    housekeep_after(100);
    cr_assert_neq(access(directory, F_OK), 0, "and is not made again");
}

static void leave_file(int pid, uint64_t namespace, const char *rest) {
    char name[160];
    snprintf(name, sizeof name, "%s/%d.%llu%s", strstr(directory, "/dev/shm"), pid, (unsigned long long)namespace, rest);
    machine_write(name, "left");
}
static bool is_left(int pid, uint64_t namespace, const char *rest) {
    char name[200];
    snprintf(name, sizeof name, "%s/%d.%llu%s", directory, pid, (unsigned long long)namespace, rest);
    return access(name, F_OK) == 0;
}
Test(live, what_dead_processes_left_is_swept) {
    struct stat is;
    enum { NOBODY = 99999999 };
    begin_holding(NULL);
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
    cr_assert_eq(map_page(getpid())->pid, getpid());
    for (int i = 1; i <= 50; i++) cr_assert(!is_left(NOBODY + i, is.st_ino, ""), "%d", i);
}

/* ---- trims ---- */

Test(live, a_trim_that_is_asked_for) {
    begin_holding(NULL);
    housekeep_after(100);
    struct live_page *page = map_page(getpid());
    retain_in(0, 200);
    housekeep_after(100);
    int64_t retained = budget_retained_pages();
    cr_assert_geq(retained, 200, "within the soft target");
    uint32_t round = limits.flush_round;
    page->trim_asked = 7;
    cr_assert(live_is_trim_asked());
    housekeep_after(99);
    cr_assert_eq(page->trim_served, 0, "at the next housekeeping");
    housekeep_after(1);
    cr_assert_eq(page->trim_served, 7);
    cr_assert_eq(page->trim_bytes, retained * PAGE_BYTES);
    cr_assert_eq(budget_retained_pages(), 0);
    cr_assert_eq(snapshot().heap.retained_bytes, 0);
    cr_assert_neq(limits.flush_round, round, "other threads empty their magazines");
    cr_assert(!live_is_trim_asked());
    retain_in(0, 200);
    housekeep_after(100);
    cr_assert_geq(budget_retained_pages(), 200, "once");
}

static int64_t real_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}
static void ask_keeper(struct live_page *page, uint32_t number) {
    page->trim_asked = number;
    atomic_store(&page->bell, 1);
    syscall(SYS_futex, &page->bell, FUTEX_WAKE, 1, NULL, NULL, 0);
    for (int64_t end = real_ms() + 10000; page->trim_served != number && real_ms() < end;) usleep(1000);
    cr_assert_eq(page->trim_served, number);
    cr_assert_eq(budget_retained_pages(), 0);
}
Test(live, the_keeper_serves_it_while_all_sleep) {
    begin_holding("LOWTIDE_HOUSEKEEP=thread");
    policy_clock_ms = real_ms;
    policy_state.machine.looked_ms = policy_state.ticked_ms = heap_current->housekept_ms = 0;
    live_after_fork();
    live_update(real_ms() + 1000); /* old enough */
    struct live_page *page = map_page(getpid());
    cr_assert_not_null(page);
    cr_assert_eq(page->has_keeper, 0);
    heap_slow_path_hook();
    for (int64_t end = real_ms() + 10000; !page->has_keeper && real_ms() < end;) usleep(1000);
    cr_assert_eq(page->has_keeper, 1);
    for (uint32_t number = 1; number <= 5; number++) {
        retain_in(0, 200);
        usleep(number * 70000); /* while it is busy, and when it sleeps for long */
        ask_keeper(page, number);
    }
}
