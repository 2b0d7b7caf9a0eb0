/* Where the process's groups are, and which of them is the tightest. */
#include "policy_test.h"

#define DOCKER "/docker/4f5c0a8b1fd0b8e56e27b11a5aab1d1d1bb2b6f7c8d90e1f2a3b4c5d6e7f8091"

Test(cgroup, names) {
    static const struct {
        const char *line, *memory, *unified;
    } rows[] = {
        {"0::/user.slice/session-3.scope", "", "/user.slice/session-3.scope"},
        {"0::/", "", "/"},
        {"9:memory:/a/b", "/a/b", ""},
        {"4:cpu,memory,hugetlb:/a", "/a", ""},
        {"9:memory:/with:colon:s", "/with:colon:s", ""},
        {"0::/../outside", "", "/../outside"},
        {"9:memory_recursiveprot:/a", "", ""},
        {"9:xmemory,memoryx:/a", "", ""},
        {"1:name=systemd:/a", "", ""},
        {"7::/a", "", ""},
        {"9:memory:relative", "", ""},
        {"9:memory:", "", ""},
        {"9:memory", "", ""},
        {"::::", "", ""},
        {"", "", ""},
    };
    for (unsigned i = 0; i < COUNT(rows); i++) {
        struct cgroup_names names = {0};
        cgroup_parse_name(text_of(rows[i].line), &names);
        cr_assert_str_eq(names.memory, rows[i].memory, "%s", rows[i].line);
        cr_assert_str_eq(names.unified, rows[i].unified, "%s", rows[i].line);
    }
}

static void assert_place(const char *name, const char *line, const char *memory, const char *unified) {
    struct cgroup_names names = {0};
    struct cgroup_place place = {0};
    strcpy(names.memory, name);
    strcpy(names.unified, name);
    cgroup_parse_mount(text_of(line), &names, &place);
    cr_assert_str_eq(place.memory.path, memory, "%s in %s", name, line);
    cr_assert_str_eq(place.unified.path, unified, "%s in %s", name, line);
}

Test(cgroup, mounts) {
    static const struct {
        const char *name, *line, *memory, *unified;
    } rows[] = {
        {"/a/b", "31 22 0:26 / /m rw - cgroup2 cgroup2 rw", "", "/m/a/b"},
        {"/", "31 22 0:26 / /m rw - cgroup2 cgroup2 rw", "", "/m"},
        {"/a/b", "31 22 0:26 / /m rw shared:9 master:1 propagate_from:3 - cgroup2 none rw", "", "/m/a/b"},
        {"/a/b", "31 22 0:26 /a /m rw - cgroup2 cgroup2 rw", "", "/m/b"},
        {"/a/b", "31 22 0:26 /a/b /m rw - cgroup2 cgroup2 rw", "", "/m"},
        {"/a/b", "31 22 0:26 / /with\\040blank rw - cgroup2 cgroup2 rw", "", "/with blank/a/b"},
        {"/a b", "31 22 0:26 /a\\040b /m rw - cgroup2 cgroup2 rw", "", "/m"},
        {"/", "31 22 0:26 /../.. /m rw - cgroup2 cgroup2 rw", "", "/m"},
        {"/../x", "31 22 0:26 /.. /m rw - cgroup2 cgroup2 rw", "", "/m/x"},
        /* a part of the hierarchy that the name is not in stands for the container's own */
        {"/a/b", "31 22 0:26 /other /m rw - cgroup2 cgroup2 rw", "", "/m"},
        {"/ab", "31 22 0:26 /a /m rw - cgroup2 cgroup2 rw", "", "/m"},
        /* outside of the namespace */
        {"/../x", "31 22 0:26 / /m rw - cgroup2 cgroup2 rw", "", ""},
        /* the controller's own column */
        {"/a", "38 32 0:33 / /m rw - cgroup cgroup rw,memory", "/m/a", ""},
        {"/a", "38 32 0:33 / /m rw - cgroup cgroup rw,cpu,memory,hugetlb", "/m/a", ""},
        {"/a", "38 32 0:33 / /sys/fs/cgroup/memory rw - cgroup memory rw,cpu", "", ""},
        {"/a", "38 32 0:33 / /memory rw,memory memory - cgroup cgroup rw,name=memory", "", ""},
        {"/a", "38 32 0:33 / /m rw - tmpfs cgroup rw,memory", "", ""},
        /* cut or wrong */
        {"/a", "38 32 0:33 / /m rw - cgroup cgroup", "", ""},
        {"/a", "38 32 0:33 / /m rw shared:9", "", ""},
        {"/a", "38 32 0:33 /", "", ""},
        {"/a", "38 32 0:33 / relative rw - cgroup2 cgroup2 rw", "", ""},
        {"/a", "- - - - - - -", "", ""},
        {"/a", "", "", ""},
    };
    for (unsigned i = 0; i < COUNT(rows); i++) assert_place(rows[i].name, rows[i].line, rows[i].memory, rows[i].unified);
}

/* Whatever order they come in: all of the hierarchy, before a part of it, before a guess. */
Test(cgroup, the_mount_that_shows_most_wins) {
    static const char *const lines[] = {
        "1 0 0:26 /a/b /exact rw - cgroup2 cgroup2 rw",
        "2 0 0:26 / /whole rw - cgroup2 cgroup2 rw",
        "3 0 0:26 /a /part rw - cgroup2 cgroup2 rw",
        "4 0 0:26 /c /other rw - cgroup2 cgroup2 rw",
    };
    for (unsigned first = 0; first < COUNT(lines); first++) {
        struct cgroup_names names = {.unified = "/a/b"};
        struct cgroup_place place = {0};
        for (unsigned i = 0; i < COUNT(lines); i++) cgroup_parse_mount(text_of(lines[(first + i) % COUNT(lines)]), &names, &place);
        cr_assert_str_eq(place.unified.path, "/whole/a/b");
    }
}

Test(cgroup, a_mount_with_the_name_in_it_beats_a_guess) {
    static const char *const lines[] = {"1 0 0:26 /a/b /exact rw - cgroup2 cgroup2 rw", "4 0 0:26 /c /other rw - cgroup2 cgroup2 rw"};
    for (unsigned first = 0; first < 2; first++) {
        struct cgroup_names names = {.unified = "/a/b"};
        struct cgroup_place place = {0};
        cgroup_parse_mount(text_of(lines[first]), &names, &place);
        cgroup_parse_mount(text_of(lines[!first]), &names, &place);
        cr_assert_str_eq(place.unified.path, "/exact");
    }
}

Test(cgroup, the_later_mount_covers_the_earlier) {
    struct cgroup_names names = {.unified = "/a"};
    struct cgroup_place place = {0};
    cgroup_parse_mount(text_of("1 0 0:26 / /first rw - cgroup2 cgroup2 rw"), &names, &place);
    cgroup_parse_mount(text_of("2 0 0:26 / /second rw - cgroup2 cgroup2 rw"), &names, &place);
    cr_assert_str_eq(place.unified.path, "/second/a");
}

Test(cgroup, names_at_the_buffers_edge) {
    for (size_t n = CGROUP_NAME_BYTES - 4; n < CGROUP_NAME_BYTES + 4; n++) {
        char line[CGROUP_NAME_BYTES + 32] = "0::/";
        struct cgroup_names names = {0};
        struct cgroup_place place = {0};
        memset(line + 4, 'x', n - 1);
        line[3 + n] = 0;
        cgroup_parse_name(text_of(line), &names);
        cr_assert_eq(strlen(names.unified), n < CGROUP_NAME_BYTES ? n : 0);
        cgroup_parse_mount(text_of("1 0 0:26 / /m rw - cgroup2 cgroup2 rw"), &names, &place);
        cr_assert_eq(strlen(place.unified.path), n + 2 < CGROUP_NAME_BYTES ? n + 2 : 0);
    }
}

Test(cgroup, going_up_ends_at_the_mount_point) {
    struct cgroup_directory d = {.path = "/sys/fs/cgroup/a/bb/c", .mount_bytes = 14};
    static const char *const expected[] = {"/sys/fs/cgroup/a/bb", "/sys/fs/cgroup/a", "/sys/fs/cgroup"};
    size_t bytes = strlen(d.path);
    for (unsigned i = 0; i < COUNT(expected); i++) {
        cr_assert(cgroup_go_up(&d, &bytes));
        cr_assert(text_is((struct text){d.path, bytes}, expected[i]), "%.*s", (int)bytes, d.path);
    }
    cr_assert_not(cgroup_go_up(&d, &bytes));
}

Test(cgroup, the_least_headroom_counts) {
    static const struct {
        const char *what;
        int64_t limit, usage, inactive, headroom; /* the headroom after this level */
    } rows[] = {
        {"no limit", NO_LIMIT, GIB, 0, UNKNOWN},
        {"limit unknown", UNKNOWN, GIB, 0, UNKNOWN},
        {"usage unknown", GIB, UNKNOWN, 0, UNKNOWN},
        {"the first", 4 * GIB, 2 * GIB, GIB, 3 * GIB},
        {"larger", 8 * GIB, 2 * GIB, 0, 3 * GIB},
        {"smaller", 4 * GIB, 2 * GIB, 0, 2 * GIB},
        {"no inactive_file", 2 * GIB, GIB, UNKNOWN, GIB},
        {"more inactive than used", 512 * MIB, MIB, 2 * MIB, 512 * MIB},
        {"limit below what is used", GIB, 2 * GIB, 0, 0},
    };
    struct cgroup cgroup = {0};
    for (unsigned i = 0; i < COUNT(rows); i++) {
        struct cgroup_level level = {reading_of(rows[i].limit), reading_of(rows[i].usage), reading_of(rows[i].inactive)};
        cgroup_consider_level(&cgroup, &level, i);
        assert_reading(rows[i].what, cgroup.headroom_bytes, rows[i].headroom);
    }
    cr_assert_eq(cgroup.depth, COUNT(rows) - 1);
}

Test(cgroup, fixtures) {
    static const struct {
        const char *root;
        int version;
        unsigned depth;
        int64_t limit, working, headroom, swap;
    } rows[] = {
        {"v2-host", 2, 0, UNKNOWN, UNKNOWN, UNKNOWN, 3 * MIB},
        {"v2-nested", 2, 1, 4 * GIB, 3328 * MIB, 768 * MIB, 5 * MIB},
        {"v2-high", 2, 0, GIB, 500 * MIB, 524 * MIB, 0},
        {"v2-kubernetes", 2, 0, 512 * MIB, 340 * MIB, 172 * MIB, 0},
        {"v2-over", 2, 0, 128 * MIB, 240 * MIB, 0, 90 * MIB},
        {"v2-outside", 0, 0, UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN},
        {"v2-outer-mount", 2, 0, 3 * GIB, 768 * MIB, 2304 * MIB, 0},
        {"v2-bind", 2, 1, GIB, 900 * MIB, 124 * MIB, 0},
        {"v2-bind-only", 2, 0, 2 * GIB, 100 * MIB, 1948 * MIB, UNKNOWN},
        {"v1-docker", 1, 0, GIB, 550 * MIB, 474 * MIB, 20 * MIB},
        {"v1-host", 1, 0, UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN},
        {"v1-nested", 1, 2, 6 * GIB, 5632 * MIB, 512 * MIB, 7 * MIB},
        {"v1-flat", 1, 0, 2 * GIB, 768 * MIB, 1280 * MIB, UNKNOWN},
        {"hybrid", 1, 0, 2 * GIB, GIB, GIB, 0},
        {"no-cgroup", 0, 0, UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN},
        {"truncated", 2, 0, GIB, 512 * MIB, 512 * MIB, UNKNOWN},
        {"garbage", 2, 0, UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN},
        {"empty", 0, 0, UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN},
    };
    for (unsigned i = 0; i < COUNT(rows); i++) {
        char root[128];
        struct cgroup_place place;
        struct cgroup cgroup;
        snprintf(root, sizeof root, "test/fixtures/%s", rows[i].root);
        cgroup_locate(root, &place);
        cgroup_read(root, &place, &cgroup);
        cr_assert_eq(cgroup.version, rows[i].version, "%s: version %d", root, cgroup.version);
        assert_reading(root, cgroup.limit_bytes, rows[i].limit);
        assert_reading(root, cgroup.working_bytes, rows[i].working);
        assert_reading(root, cgroup.headroom_bytes, rows[i].headroom);
        assert_reading(root, cgroup.swap_bytes, rows[i].swap);
        cr_assert_eq(cgroup.depth, rows[i].depth, "%s: depth %u", root, cgroup.depth);
    }
}

Test(cgroup, places) {
    struct cgroup_place place;
    cgroup_locate("test/fixtures/v1-docker", &place);
    cr_assert_str_eq(place.memory.path, "/sys/fs/cgroup/memory");
    cr_assert_str_eq(place.unified.path, "");
    cr_assert_eq(place.memory.hidden_bytes, strlen(DOCKER));
    cgroup_locate("test/fixtures/hybrid", &place);
    cr_assert_str_eq(place.memory.path, "/sys/fs/cgroup/memory/app.slice/app.service");
    cr_assert_str_eq(place.unified.path, "/sys/fs/cgroup/unified/app.slice/app.service");
    cgroup_locate("test/fixtures/v2-bind-only", &place);
    cr_assert_str_eq(place.unified.path, "/run/my group");
}
