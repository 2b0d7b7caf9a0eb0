/* Looking at the machine: how often, what a level needs to rise and fall, what is said, and when no file may be opened any more. */
#include "policy_test.h"

#include "../../trim-policy/machine.h"

#include <sys/resource.h>
#include <unistd.h>

static struct machine machine;
static int64_t now_ms = 1000000;

static void begin(struct minimum_settings settings, bool is_verbose) {
    machine_init(&machine, machine_make(), settings, is_verbose);
    machine_set_memory(1024, 1000);
}
static void begin_quietly(void) { begin((struct minimum_settings){0}, false); }

TestSuite(machine, .fini = machine_remove);

static int look_after(int64_t ms) {
    now_ms += ms;
    return machine_look(&machine, now_ms);
}

/* With so much available of 1024 MiB. */
static int look_with(int64_t after_ms, int64_t available_mib) {
    machine_set_memory(1024, available_mib);
    return look_after(after_ms);
}

/* ---- how many mappings ---- */

Test(machine, a_quarter_of_the_mappings_may_be_ours) {
    begin_quietly();
    machine_write("/proc/sys/vm/max_map_count", "1048576\n");
    cr_assert_eq(limits.max_holes, 65530 / 4);
    look_after(0);
    cr_assert_eq(limits.max_holes, 262144);
}
Test(machine, an_unreadable_number_of_mappings_changes_nothing) {
    static const char *const texts[] = {"", "-1\n", "none\n", "0\n"};
    for (unsigned i = 0; i < COUNT(texts); i++) {
        begin_quietly();
        machine_write("/proc/sys/vm/max_map_count", texts[i]);
        look_after(1000);
        cr_assert_eq(limits.max_holes, 65530 / 4, "%s", texts[i]);
        machine_remove();
    }
}
Test(machine, mappings_without_number) {
    begin_quietly();
    machine_write("/proc/sys/vm/max_map_count", "99999999999999999999\n");
    look_after(0);
    cr_assert_eq(limits.max_holes, INT32_MAX / 4);
}
Test(machine, where_nothing_is_unmapped_it_stays_so) {
    begin_quietly();
    relaxed_store(&limits.max_holes, 0);
    machine_write("/proc/sys/vm/max_map_count", "1048576\n");
    look_after(0);
    cr_assert_eq(limits.max_holes, 0);
}

/* ---- how often ---- */

Test(machine, it_looks_not_more_often_than_every_100_ms) {
    begin_quietly();
    cr_assert_eq(look_after(0), LEVEL_LOW);
    cr_assert_eq(look_with(0, 5), LEVEL_LOW);
    cr_assert_eq(look_after(1), LEVEL_LOW);
    cr_assert_eq(look_after(98), LEVEL_LOW);
    assert_reading("99 ms", machine.sample.available_bytes, 1000 * MIB);
    cr_assert_eq(look_after(1), LEVEL_OOM);
    assert_reading("100 ms", machine.sample.available_bytes, 5 * MIB);
    cr_assert_eq(look_with(99, 1000), LEVEL_OOM);
    assert_reading("99 ms after that", machine.sample.available_bytes, 5 * MIB);
    look_after(1);
    assert_reading("100 ms after that", machine.sample.available_bytes, 1000 * MIB);
}

Test(machine, the_first_look_is_made_at_any_time) {
    static const int64_t times[] = {0, 1, 99, -5, INT64_MAX};
    machine_make();
    machine_set_memory(1024, 100);
    for (unsigned i = 0; i < COUNT(times); i++) {
        machine_init(&machine, "/nowhere", (struct minimum_settings){0}, false);
        machine_look(&machine, times[i]);
        cr_assert(machine.has_looked, "at %lld", (long long)times[i]);
    }
}

/* Two clocks of one process may differ by a tick; a suspended machine may have any. */
Test(machine, clock_that_goes_back_or_stands) {
    begin_quietly();
    look_after(0);
    for (unsigned i = 0; i < 1000; i++) cr_assert_eq(look_with(0, 5), LEVEL_LOW, "it stands: no time for another look");
    cr_assert_eq(look_after(-50000), LEVEL_OOM, "back: looked at once");
    for (unsigned i = 0; i < 20; i++) cr_assert_eq(look_with(-1000, 1000), LEVEL_OOM, "no step falls without time");
    cr_assert_eq(look_after(100), LEVEL_OOM);
    cr_assert_eq(look_after(1000), LEVEL_OOM - 1);
    cr_assert_eq(look_after(INT64_MAX - now_ms), LEVEL_OOM - 1, "the next step waits as long again");
}

/* ---- levels ---- */

Test(machine, level_rises_at_once_and_falls_a_step_a_second) {
    begin_quietly();
    cr_assert_eq(look_after(0), LEVEL_LOW);
    cr_assert_eq(look_with(100, 300), LEVEL_MODERATE);
    cr_assert_eq(look_with(100, 100), LEVEL_HIGH);
    cr_assert_eq(look_with(100, 30), LEVEL_EXTREME);
    cr_assert_eq(look_with(100, 5), LEVEL_OOM);
    machine_set_memory(1024, 1000);
    for (int level = LEVEL_OOM; level > LEVEL_LOW; level--) {
        for (unsigned i = 0; i < 10; i++) cr_assert_eq(look_after(100), level, "%u00 ms after the last step", i + 1);
        cr_assert_eq(look_after(100), level - 1);
    }
    for (unsigned i = 0; i < 50; i++) cr_assert_eq(look_after(100), LEVEL_LOW);
}

Test(machine, level_rises_over_several_steps) {
    begin_quietly();
    look_after(0);
    cr_assert_eq(look_with(100, 30), LEVEL_EXTREME);
}

Test(machine, the_users_settings_count) {
    static const struct {
        struct minimum_settings settings;
        int64_t min_free, low;
    } rows[] = {
        {{0}, 53687091, 482240102}, /* 5 %; 7/16 of both */
        {{200 * MIB, 50, 50}, 200 * MIB, 525 * MIB},
        {{0, 50, 0}, 512 * MIB, 661 * MIB + MIB / 2},
        {{0, 0, 20}, 200 * MIB, 525 * MIB},
        {{0, 10, 50}, 500 * MIB, 656 * MIB + MIB / 4},
    };
    for (unsigned i = 0; i < COUNT(rows); i++) {
        begin(rows[i].settings, false);
        look_after(100);
        cr_assert_eq(machine.marks.min_free_bytes, rows[i].min_free, "row %u: %lld", i, (long long)machine.marks.min_free_bytes);
        cr_assert_eq(machine.marks.low_bytes, rows[i].low, "row %u: %lld", i, (long long)machine.marks.low_bytes);
        machine_remove();
    }
}

/* ---- limits that change ---- */

static void set_group(const char *limit, const char *used) {
    machine_write("/proc/self/cgroup", "0::/a\n");
    machine_write("/proc/self/mountinfo", "31 22 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n");
    machine_write("/sys/fs/cgroup/a/memory.max", limit);
    machine_write("/sys/fs/cgroup/a/memory.current", used);
}

Test(machine, limit_that_changes_changes_the_watermarks) {
    begin_quietly();
    set_group("max\n", "104857600\n"); /* 100 MiB */
    cr_assert_eq(look_after(0), LEVEL_LOW);
    struct watermarks before = machine.marks;
    assert_reading("no limit", machine.sample.limit_bytes, 1024 * MIB);
    set_group("209715200\n", "104857600\n"); /* 200 of them */
    cr_assert_eq(look_after(100), LEVEL_MODERATE, "100 MiB are left of 200");
    cr_assert_eq(machine.marks.min_free_bytes, 10 * MIB);
    cr_assert_eq(machine.marks.low_bytes, 105 * MIB, "in the middle between the minimum and the limit");
    set_group("115343360\n", "104857600\n"); /* 110 */
    cr_assert_eq(look_after(100), LEVEL_HIGH);
    set_group("max\n", "104857600\n");
    for (unsigned i = 0; i < 40; i++) look_after(100);
    cr_assert_eq(machine.state.level, LEVEL_LOW);
    cr_assert_eq(machine.marks.low_bytes, before.low_bytes);
    cr_assert_eq(machine.marks.min_free_bytes, before.min_free_bytes);
}

/* What was available at the first look stays what percentages are of. */
Test(machine, start_is_the_first_look) {
    begin((struct minimum_settings){.pct_free = 10}, false);
    look_after(0);
    cr_assert_eq(machine.marks.min_free_bytes, 100 * MIB);
    look_with(100, 500);
    cr_assert_eq(machine.marks.min_free_bytes, 100 * MIB);
    assert_reading("at start", machine.start_bytes, 1000 * MIB);
}

/* ---- what cannot be read ---- */

Test(machine, what_cannot_be_read_is_level_low) {
    static const char *const texts[] = {"", "\n", "garbage", "MemTotal: kB\nMemAvailable: -5 kB\n", "MemTotal:\n\n\nMemAvailable:",
                                        "MemAvailable: 0 kB\n", "MemTotal: 99999999999999999999999 kB\nMemAvailable: x\n", "\xff\xfe\x01"};
    begin_quietly();
    look_after(0);
    for (unsigned i = 0; i < COUNT(texts); i++) {
        machine_init(&machine, machine_make(), (struct minimum_settings){0, 50, 0}, false);
        cr_assert_eq(look_after(100), LEVEL_LOW, "no files");
        machine_write("/proc/meminfo", texts[i]);
        machine_write("/proc/self/cgroup", texts[i]);
        machine_write("/proc/self/mountinfo", texts[i]);
        machine_write("/proc/pressure/memory", texts[i]);
        for (unsigned n = 0; n < 3; n++) cr_assert_eq(look_after(100), LEVEL_LOW, "text %u", i);
        machine_remove();
    }
}

/* It may come back: /proc is mounted late, a descriptor was not to be had. */
Test(machine, what_could_not_be_read_for_a_while) {
    begin_quietly();
    machine_set_memory(1024, 30);
    cr_assert_eq(look_after(0), LEVEL_EXTREME);
    machine_write("/proc/meminfo", "");
    int level = LEVEL_EXTREME;
    for (unsigned i = 0; i < 60; i++) level = look_after(100);
    cr_assert_eq(level, LEVEL_LOW, "unknown is not short");
    cr_assert_eq(look_with(100, 30), LEVEL_EXTREME);
}

Test(machine, without_a_descriptor_to_spare) {
    struct rlimit none = {0, 64};
    begin_quietly();
    machine_set_memory(1024, 5);
    setrlimit(RLIMIT_NOFILE, &none);
    errno = 4711;
    int level = look_after(0);
    int after = errno;
    none.rlim_cur = 64;
    setrlimit(RLIMIT_NOFILE, &none);
    cr_assert_eq(level, LEVEL_LOW);
    cr_assert_eq(after, 4711);
    cr_assert_eq(look_after(100), LEVEL_OOM);
}

/* ---- no more looks ---- */

Test(machine, stopped_is_for_good) {
    begin_quietly();
    machine_set_memory(1024, 30);
    cr_assert_eq(look_after(0), LEVEL_EXTREME);
    atomic_store(&os_is_filtered, true);
    machine_set_memory(1024, 5);
    for (unsigned i = 0; i < 10; i++) cr_assert_eq(look_after(1000), LEVEL_LOW);
    assert_reading("as it was", machine.sample.available_bytes, 30 * MIB);
}

Test(machine, stopped_before_the_first_look) {
    begin_quietly();
    machine_set_memory(1024, 5);
    atomic_store(&os_is_filtered, true);
    cr_assert_eq(look_after(0), LEVEL_LOW);
    cr_assert_not(machine.has_looked);
    assert_reading("never", machine.sample.available_bytes, UNKNOWN);
}

/* ---- what is said ---- */

static void say_all_levels(void *unused) {
    (void)unused;
    look_after(0);
    for (unsigned i = 0; i < 5; i++) look_after(100);
    look_with(100, 300);
    look_with(100, 299);
    look_with(100, 100);
    look_with(100, 30);
    look_with(50, 5);
    look_with(50, 5);
    machine_set_memory(1024, 1000);
    for (unsigned i = 0; i < 45; i++) look_after(100);
}

static const char *said(void (*act)(void *)) {
    static char text[4000];
    cr_assert_eq(unit_in_child(act, NULL, text, sizeof text), 0);
    return text;
}

#define UNKNOWN_OTHERS "lowtide: memory: not known here: a control group, stalls (/proc/pressure/memory), swap\n"
#define SAY(level, available) "lowtide: memory pressure is " level ": " available "M available of 1024M (minimum free 51M, low watermark 459M)\n"

Test(machine, a_line_for_each_change_of_level) {
    begin((struct minimum_settings){0}, true);
    cr_assert_str_eq(said(say_all_levels),
                     UNKNOWN_OTHERS SAY("low", "1000") SAY("moderate", "300") SAY("high", "100") SAY("extreme", "30") SAY("oom", "5")
                         SAY("extreme", "1000") SAY("high", "1000") SAY("moderate", "1000") SAY("low", "1000"));
}

Test(machine, nothing_is_said_unless_asked) {
    begin_quietly();
    cr_assert_str_empty(said(say_all_levels));
}

static void look_twice(void *unused) {
    (void)unused;
    look_after(0);
    look_after(100);
}

Test(machine, what_is_not_known_is_said_once) {
    begin((struct minimum_settings){0}, true);
    machine_write("/proc/meminfo", "MemTotal: 1048576 kB\n");
    cr_assert_str_eq(said(look_twice),
                     "lowtide: memory: not known here: the machine's memory (/proc/meminfo), a control group, stalls (/proc/pressure/memory), "
                     "swap\nlowtide: memory pressure is low: ? available of 1024M (minimum free 51M, low watermark 179M)\n");
}

/* All sources: only the level is worth a line. */
Test(machine, where_all_is_known_nothing_is_said_of_it) {
    begin((struct minimum_settings){0}, true);
    set_group("536870912\n", "209715200\n");
    machine_write("/sys/fs/cgroup/a/memory.swap.current", "0\n");
    machine_write("/proc/pressure/memory", "some avg10=0.00 avg60=0.00 avg300=0.00 total=7\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=3\n");
    cr_assert_str_eq(said(look_twice), "lowtide: memory pressure is low: 312M available of 512M (minimum free 25M, low watermark 153M)\n");
}

Test(machine, total_that_is_not_known_is_said) {
    begin((struct minimum_settings){0}, true);
    machine_write("/proc/meminfo", "MemAvailable: 1048576 kB\n");
    cr_assert_str_eq(said(look_twice),
                     "lowtide: memory: not known here: the machine's memory (/proc/meminfo), a control group, stalls (/proc/pressure/memory), "
                     "swap\nlowtide: memory pressure is low: 1024M available of ? (minimum free 0M, low watermark 0M)\n");
}

Test(machine, without_any_source) {
    machine_init(&machine, machine_make(), (struct minimum_settings){0}, true);
    cr_assert_str_eq(said(look_twice),
                     "lowtide: memory: not known here: the machine's memory (/proc/meminfo), a control group, stalls (/proc/pressure/memory), "
                     "swap\nlowtide: memory pressure is low: ? available of ? (minimum free 0M, low watermark 0M)\n");
}
