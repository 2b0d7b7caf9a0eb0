/* /proc/meminfo, and what is available where the kernel does not say. */
#include "policy_test.h"

#define FIXTURES "test/fixtures/"

Test(meminfo, fixtures) {
    static const struct {
        const char *root;
        int64_t total, free, available, swap_total, swap_free;
    } rows[] = {
        {"v2-host", 16 * GIB, 2 * GIB, 11 * GIB, 2 * GIB, GIB},
        {"no-cgroup", 16 * GIB, 2 * GIB, 11 * GIB, 2 * GIB, 2 * GIB},
        /* free - mark, 3 GiB of cache - mark, 100 MiB of slabs - half of them; mark = 67584 * 5/4 KiB */
        {"old-kernel", 8 * GIB, GIB, 4 * GIB - 2 * 84480 * KIB + 50 * MIB, 0, 0},
        {"truncated", 16 * GIB, 2 * GIB, 2 * GIB, UNKNOWN, UNKNOWN},
        {"garbage", UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN},
        {"empty", UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN},
        {"is-not-there", UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN},
    };
    for (unsigned i = 0; i < COUNT(rows); i++) {
        char root[128];
        struct meminfo m;
        snprintf(root, sizeof root, FIXTURES "%s", rows[i].root);
        meminfo_read(root, &m);
        assert_reading(root, m.total, rows[i].total);
        assert_reading(root, m.free, rows[i].free);
        assert_reading(root, m.available, rows[i].available);
        assert_reading(root, m.swap_total, rows[i].swap_total);
        assert_reading(root, m.swap_free, rows[i].swap_free);
    }
}

Test(meminfo, estimate) {
    static const struct {
        const char *what;
        int64_t free, active, inactive, slabs, min_free_kib, available;
    } rows[] = {
        {"only free memory", 100 * MIB, UNKNOWN, UNKNOWN, UNKNOWN, 8 * KIB, 90 * MIB},
        {"less than the mark", 5 * MIB, UNKNOWN, UNKNOWN, UNKNOWN, 8 * KIB, 0},
        {"cache above twice the mark", 100 * MIB, 60 * MIB, 40 * MIB, 0, 8 * KIB, 180 * MIB},
        {"cache below twice the mark", 100 * MIB, 8 * MIB, 8 * MIB, 0, 8 * KIB, 98 * MIB},
        {"slabs likewise", 100 * MIB, 0, 0, 8 * MIB, 8 * KIB, 94 * MIB},
        {"mark unknown: half of all caches", 100 * MIB, 60 * MIB, 40 * MIB, 20 * MIB, UNKNOWN, 160 * MIB},
        {"free unknown", UNKNOWN, 60 * MIB, 40 * MIB, 20 * MIB, 8 * KIB, UNKNOWN},
        {"absurd numbers", INT64_MAX, INT64_MAX, INT64_MAX, INT64_MAX, 0, INT64_MAX},
        {"absurd mark", 100 * MIB, 0, 0, 0, INT64_MAX, 0},
    };
    for (unsigned i = 0; i < COUNT(rows); i++) {
        struct meminfo m = {.free = reading_of(rows[i].free),
                            .active_file = reading_of(rows[i].active),
                            .inactive_file = reading_of(rows[i].inactive),
                            .reclaimable = reading_of(rows[i].slabs)};
        meminfo_estimate_available(&m, reading_of(rows[i].min_free_kib));
        assert_reading(rows[i].what, m.available, rows[i].available);
    }
}

Test(meminfo, what_the_kernel_says_is_not_estimated) {
    struct meminfo m = {.free = known(GIB), .available = known(1)};
    meminfo_estimate_available(&m, known(1));
    assert_reading("said", m.available, 1);
}

/* On the machine that runs the tests. */
Test(meminfo, estimate_is_near_what_the_kernel_says) {
    struct meminfo m;
    meminfo_read("", &m);
    if (!m.available.is_known) return;
    int64_t said = m.available.value;
    m.available.is_known = false;
    meminfo_estimate_available(&m, known(65536));
    int64_t difference = said > m.available.value ? said - m.available.value : m.available.value - said;
    cr_assert_lt(difference, m.total.value / 10, "%lld estimated, %lld said", (long long)m.available.value, (long long)said);
}
