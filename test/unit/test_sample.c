/* The readers together: what is decided from, what stays unknown, and what reading must not do to its caller. */
#include "policy_test.h"

#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <sys/resource.h>
#include <unistd.h>

static struct sample sample;

Test(sample, fixtures) {
    static const struct {
        const char *root;
        int64_t limit, available, swap, some_us, full_us;
    } rows[] = {
        {"v2-host", 16 * GIB, 11 * GIB, 3 * MIB, 900, 300},
        {"v2-nested", 4 * GIB, 768 * MIB, 5 * MIB, 4000000, 2500000},
        {"v2-high", GIB, 524 * MIB, 0, 1500000, 700000},
        {"v2-kubernetes", 512 * MIB, 172 * MIB, 0, 250000, 100000},
        {"v2-over", 128 * MIB, 0, 90 * MIB, 98000000, 61000000},
        {"v2-outside", 16 * GIB, 11 * GIB, 0, 1500000, 700000},
        {"v2-outer-mount", 3 * GIB, 2304 * MIB, 0, 1500000, 700000},
        {"v2-bind", GIB, 124 * MIB, 0, 1500000, 700000},
        {"v1-docker", GIB, 474 * MIB, 20 * MIB, 1500000, 700000},
        {"v1-host", 16 * GIB, 11 * GIB, 0, 1500000, 700000},
        {"v1-nested", 6 * GIB, 512 * MIB, 7 * MIB, 1500000, 700000},
        {"hybrid", 2 * GIB, GIB, 0, 77, 33},
        {"no-cgroup", 16 * GIB, 11 * GIB, 0, UNKNOWN, UNKNOWN},
        {"old-kernel", 8 * GIB, 4 * GIB - 2 * 84480 * KIB + 50 * MIB, 0, UNKNOWN, UNKNOWN},
        {"truncated", GIB, 512 * MIB, UNKNOWN, UNKNOWN, UNKNOWN},
        {"garbage", UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN},
        {"empty", UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN},
        {"is-not-there", UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN},
    };
    /* One sample for all: nothing of an earlier root may remain. */
    for (unsigned i = 0; i < COUNT(rows); i++) {
        char root[128];
        snprintf(root, sizeof root, "test/fixtures/%s", rows[i].root);
        sample_read(root, &sample);
        sample_read(root, &sample);
        assert_reading(root, sample.limit_bytes, rows[i].limit);
        assert_reading(root, sample.available_bytes, rows[i].available);
        assert_reading(root, sample.swap_used_bytes, rows[i].swap);
        assert_reading(root, sample.some_us, rows[i].some_us);
        assert_reading(root, sample.full_us, rows[i].full_us);
        sample.has_place = false; /* two roots may have the same names */
    }
}

Test(sample, least_of_all_sources) {
    static const struct {
        const char *what;
        int64_t total, available, group_limit, group_headroom, as_limit, as_used, data_limit, data_used, limit, left;
    } rows[] = {
        {"nothing known", -1, -1, -1, -1, -1, -1, -1, -1, -1, -1},
        {"machine", 8, 5, -1, -1, -1, -1, -1, -1, 8, 5},
        {"group", 8, 5, 4, 3, -1, -1, -1, -1, 4, 3},
        {"group larger than the machine", 8, 5, 40, 30, -1, -1, -1, -1, 8, 5},
        {"address space", 8, 5, 4, 3, 3, 1, -1, -1, 3, 2},
        {"data", 8, 5, 4, 3, 30, 1, 2, 1, 2, 1},
        {"address space over its limit", 8, 5, -1, -1, 3, 4, -1, -1, 3, 0},
        {"usage unknown", 8, 5, -1, -1, 3, -1, -1, -1, 3, 5},
        {"only a group", -1, -1, 4, 3, -1, -1, -1, -1, 4, 3},
    };
    for (unsigned i = 0; i < COUNT(rows); i++) {
        sample = (struct sample){
            .machine = {.total = reading_of(rows[i].total), .available = reading_of(rows[i].available)},
            .cgroup = {.limit_bytes = reading_of(rows[i].group_limit), .headroom_bytes = reading_of(rows[i].group_headroom)},
            .process = {reading_of(rows[i].as_limit), reading_of(rows[i].as_used), reading_of(rows[i].data_limit), reading_of(rows[i].data_used)}};
        sample_combine(&sample);
        assert_reading(rows[i].what, sample.limit_bytes, rows[i].limit);
        assert_reading(rows[i].what, sample.available_bytes, rows[i].left);
    }
}

Test(sample, address_space_of_statm) {
    assert_reading("4 KiB", sample_parse_statm(text_of("51200 6100 1800 700 0 25600 0\n"), 4096), 200 * MIB);
    assert_reading("64 KiB", sample_parse_statm(text_of("3200 1\n"), 65536), 200 * MIB);
    assert_reading("cut", sample_parse_statm(text_of(""), 4096), UNKNOWN);
    assert_reading("wrong", sample_parse_statm(text_of("12a 3\n"), 4096), UNKNOWN);
    assert_reading("absurd", sample_parse_statm(text_of("99999999999999999999 3\n"), 4096), INT64_MAX);
    assert_reading("no page", sample_parse_statm(text_of("1 2\n"), 0), UNKNOWN);
}

static void limit(int resource, rlim_t bytes) {
    struct rlimit now;
    cr_assert_eq(getrlimit(resource, &now), 0);
    now.rlim_cur = bytes;
    cr_assert_eq(setrlimit(resource, &now), 0);
}

/* Far above what a sanitizer maps, far below "none". */
Test(sample, process_limits_are_read_where_there_are_some) {
    int64_t most = (int64_t)1 << 60;
    sample_read("test/fixtures/no-cgroup", &sample);
    assert_reading("none", sample.process.data_bytes, UNKNOWN);
    limit(RLIMIT_AS, (rlim_t)most);
    limit(RLIMIT_DATA, (rlim_t)most);
    sample_read("test/fixtures/no-cgroup", &sample);
    assert_reading("RLIMIT_AS", sample.process.address_limit_bytes, most);
    assert_reading("RLIMIT_AS", sample.process.address_bytes, 51200 * (int64_t)getpagesize());
    assert_reading("RLIMIT_DATA", sample.process.data_limit_bytes, most);
    assert_reading("RLIMIT_DATA", sample.process.data_bytes, 100 * MIB);
    sample_read("test/fixtures/truncated", &sample);
    assert_reading("cut", sample.process.data_bytes, UNKNOWN);
}

/* ---- a root that changes ---- */

Test(sample, a_moved_process_is_found_again, .fini = machine_remove) {
    const char *root = machine_make();
    machine_write("/proc/self/cgroup", "0::/a\n");
    machine_write("/proc/self/mountinfo", "31 22 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n");
    machine_write("/sys/fs/cgroup/a/memory.max", "1000\n");
    machine_write("/sys/fs/cgroup/a/memory.current", "100\n");
    machine_write("/sys/fs/cgroup/b/memory.max", "2000\n");
    machine_write("/sys/fs/cgroup/b/memory.current", "500\n");
    sample_read(root, &sample);
    assert_reading("before", sample.available_bytes, 900);
    machine_write("/sys/fs/cgroup/a/memory.current", "1100\n");
    sample_read(root, &sample);
    assert_reading("limit crossed", sample.available_bytes, 0);
    machine_write("/proc/self/cgroup", "0::/b\n");
    sample_read(root, &sample);
    assert_reading("moved", sample.available_bytes, 1500);
    machine_write("/sys/fs/cgroup/b/memory.max", "max\n");
    sample_read(root, &sample);
    assert_reading("limit lifted", sample.available_bytes, UNKNOWN);
    machine_write("/proc/self/cgroup", "");
    sample_read(root, &sample);
    cr_assert_eq(sample.cgroup.version, 0);
}

/* ---- what reading does to its caller ---- */

static int open_descriptors(void) {
    DIR *d = opendir("/proc/self/fd");
    int n = 0;
    while (readdir(d)) n++;
    closedir(d);
    return n;
}

Test(sample, errno_and_descriptors_are_left_alone) {
    static const char *const roots[] = {"", "test/fixtures/v1-nested", "test/fixtures/v2-nested", "test/fixtures/garbage", "/nowhere"};
    int before = open_descriptors();
    for (unsigned i = 0; i < COUNT(roots); i++) {
        errno = 4711;
        sample_read(roots[i], &sample);
        cr_assert_eq(errno, 4711, "%s", roots[i]);
        cr_assert_eq(open_descriptors(), before, "%s", roots[i]);
    }
}

Test(sample, works_without_a_descriptor_to_spare) {
    limit(RLIMIT_NOFILE, 0);
    sample_read("", &sample);
    limit(RLIMIT_NOFILE, 64);
    cr_assert_not(sample.machine.total.is_known);
}

/* Not a cancellation point: malloc is none. */
static void *read_cancelled(void *root) {
    pthread_cancel(pthread_self());
    sample_read(root, &sample);
    return &sample;
}
Test(sample, a_cancelled_thread_ends_its_reading) {
    pthread_t thread;
    void *result;
    cr_assert_eq(pthread_create(&thread, NULL, read_cancelled, "test/fixtures/v2-nested"), 0);
    pthread_join(thread, &result);
    cr_assert_eq(result, &sample, "cancelled inside");
}

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
enum { STACK_BYTES = 256 * 1024, STACK_MAY_USE = 12 * 1024 };
static _Alignas(4096) unsigned char stack[STACK_BYTES];

static void *do_nothing(void *root) { return root; }
static void *read_sample(void *root) {
    sample_read(root, &sample);
    return root;
}

static size_t stack_used(void *(*act)(void *), const char *root) {
    pthread_attr_t attributes;
    pthread_t thread;
    size_t untouched = 0;
    memset(stack, 0xa5, sizeof stack);
    pthread_attr_init(&attributes);
    cr_assert_eq(pthread_attr_setstack(&attributes, stack, sizeof stack), 0);
    cr_assert_eq(pthread_create(&thread, &attributes, act, (void *)root), 0);
    pthread_join(thread, NULL);
    while (untouched < sizeof stack && stack[untouched] == 0xa5) untouched++;
    return sizeof stack - untouched;
}

Test(sample, stack_stays_small) {
    static const char *const roots[] = {"", "test/fixtures/v1-nested", "test/fixtures/v2-nested", "test/fixtures/old-kernel"};
    size_t idle = stack_used(do_nothing, "");
    for (unsigned i = 0; i < COUNT(roots); i++) {
        size_t used = stack_used(read_sample, roots[i]);
        cr_assert_leq(used, idle + STACK_MAY_USE, "'%s' took %zu bytes", roots[i], used - idle);
    }
}
#endif
