/* Bounded parsing: the same bytes mean the same wherever the text ends. */
#include "policy_test.h"

#include "../../trim-policy/file.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

Test(text, sizes) {
    static const struct {
        const char *text;
        int64_t number;
        bool is_percent;
    } rows[] = {
        {"0", 0, false},          {"1", 1, false},           {"007", 7, false},         {"1K", KIB, false},
        {"1k", KIB, false},       {"3M", 3 * MIB, false},    {"2G", 2 * GIB, false},    {"1T", 1024 * GIB, false},
        {"1KiB", KIB, false},     {"5MB", 5 * MIB, false},   {"12B", 12, false},        {"12%", 12, true},
        {"100%", 100, true},      {"101%", 101, true},       {"9223372036854775807", INT64_MAX, false},
        {"9223372036854775808", INT64_MAX, false},           {"99999999999999999999999999", INT64_MAX, false},
        {"8388608T", INT64_MAX, false},                      {"8388607T", 8388607 * (1024 * GIB), false},
    };
    for (unsigned i = 0; i < COUNT(rows); i++) {
        struct text_size size;
        cr_assert(text_parse_size(text_of(rows[i].text), &size), "%s", rows[i].text);
        cr_assert_eq(size.number, rows[i].number, "%s is %lld", rows[i].text, (long long)size.number);
        cr_assert_eq(size.is_percent, rows[i].is_percent, "%s", rows[i].text);
    }
}

Test(text, what_is_no_size) {
    static const char *const rows[] = {"", "K", "%", "-1", "+1", " 1", "1 ", "1.5G", "0x10", "1KK", "1P", "1%%", "1K%", "1iB", "1Ki", "ten", "1e9", "1K\n"};
    struct text_size size;
    for (unsigned i = 0; i < COUNT(rows); i++) cr_assert_not(text_parse_size(text_of(rows[i]), &size), "'%s'", rows[i]);
}

Test(text, limits) {
    static const struct {
        const char *text;
        int64_t number;
    } rows[] = {
        {"max\n", NO_LIMIT}, {"max", NO_LIMIT}, {"0\n", 0}, {"1073741824\n", GIB}, {"9223372036854771712\n", NO_LIMIT},
        {"9223372036854710272\n", NO_LIMIT}, {"18446744073709551615\n", NO_LIMIT}, {"4611686018427387903\n", NO_LIMIT},
        {"4611686018427387902\n", INT64_MAX / 2 - 1}, {"", UNKNOWN}, {"\n", UNKNOWN}, {"-1\n", UNKNOWN}, {"maximum\n", UNKNOWN},
        {"12 13\n", UNKNOWN}, {"1e9\n", UNKNOWN},
    };
    for (unsigned i = 0; i < COUNT(rows); i++) assert_reading(rows[i].text, text_parse_limit(text_of(rows[i].text)), rows[i].number);
}

Test(text, numbers_behind_keys) {
    static const struct {
        const char *text, *key;
        bool needs_unit;
        int64_t number;
    } rows[] = {
        {"key 12\n", "key", false, 12}, {"other 1\nkey 12", "key", false, 12}, {"key 12 kB\n", "key", true, 12 * KIB},
        {"key: 12 kB\n", "key:", true, 12 * KIB}, {"key:\t12 kB\n", "key:", true, 12 * KIB},
        /* not at the start of a line, not the whole word, not a number, or cut */
        {"a key 12\n", "key", false, UNKNOWN}, {" key 12\n", "key", false, UNKNOWN}, {"keys 12\n", "key", false, UNKNOWN},
        {"total_key 12\n", "key", false, UNKNOWN}, {"key\n12\n", "key", false, UNKNOWN}, {"key", "key", false, UNKNOWN},
        {"key x\n", "key", false, UNKNOWN}, {"key -3\n", "key", false, UNKNOWN}, {"key 12x\n", "key", false, UNKNOWN}, {"key 12kB\n", "key", false, UNKNOWN},
        {"key 12 MB\n", "key", false, UNKNOWN}, {"key 12\n", "key", true, UNKNOWN}, {"key 12 k", "key", true, UNKNOWN},
        {"key 99999999999999999999 kB\n", "key", true, INT64_MAX}, {"key 9223372036854775807 kB\n", "key", true, INT64_MAX},
    };
    for (unsigned i = 0; i < COUNT(rows); i++)
        assert_reading(rows[i].text, text_find_number(text_of(rows[i].text), rows[i].key, rows[i].needs_unit), rows[i].number);
}

/* A copy that ends where its memory ends: reading on would be found by ASan, in the other build by luck. */
Test(text, nothing_is_read_past_the_end) {
    static const char whole[] = "MemAvailable:   12345 kB\n";
    for (size_t n = 0; n < sizeof whole; n++) {
        char copy[n ? n : 1];
        memcpy(copy, whole, n);
        struct reading found = text_find_number((struct text){copy, n}, "MemAvailable:", true);
        cr_assert_eq(found.is_known, n >= sizeof whole - 2, "%zu bytes", n);
    }
}

Test(text, octal_codes) {
    char to[16];
    cr_assert(text_decode_octal(text_of("/a\\040b\\134c"), to, sizeof to));
    cr_assert_str_eq(to, "/a b\\c");
    cr_assert(text_decode_octal(text_of("/a\\04"), to, sizeof to));
    cr_assert_str_eq(to, "/a\\04");
    cr_assert(text_decode_octal(text_of("\\777\\9"), to, sizeof to));
    cr_assert_str_eq(to, "\\777\\9");
    cr_assert_not(text_decode_octal(text_of("a\\000b"), to, sizeof to));
    cr_assert(text_decode_octal(text_of("123456789012345"), to, sizeof to));
    cr_assert_not(text_decode_octal(text_of("1234567890123456"), to, sizeof to));
}

/* ---- files ---- */

static const char *temporary_file(const char *text, size_t bytes) {
    static char path[] = "/tmp/lowtide-test-XXXXXX";
    int fd = mkstemp(path);
    cr_assert_geq(fd, 0);
    cr_assert_eq(write(fd, text, bytes), (ssize_t)bytes);
    close(fd);
    return path;
}

Test(file, what_does_not_fit_ends_with_a_whole_line) {
    char buffer[10];
    const char *path = temporary_file("one\ntwo\nthree\n", 14);
    struct text text = file_read("", path, buffer, sizeof buffer);
    unlink(path);
    cr_assert(text_is(text, "one\ntwo\n"));
}

Test(file, a_path_too_long_is_not_opened) {
    char root[FILE_PATH_BYTES + 10], buffer[8];
    memset(root, '/', sizeof root - 1);
    root[sizeof root - 1] = 0;
    cr_assert_eq(file_read(root, "/proc/meminfo", buffer, sizeof buffer).bytes, 0);
    cr_assert_neq(file_read(root + 40, "/proc/meminfo", buffer, sizeof buffer).bytes + 1, 0);
}

Test(file, lines_too_long_or_cut_are_passed_over) {
    static char text[3 * FILE_LINE_BYTES + 64];
    struct file_lines lines;
    struct text line;
    size_t n = 0;
    n += (size_t)sprintf(text, "first\n");
    memset(text + n, 'x', 2 * FILE_LINE_BYTES + 5);
    n += 2 * FILE_LINE_BYTES + 5;
    n += (size_t)sprintf(text + n, "\nsecond\n\nthird\ncut");
    const char *path = temporary_file(text, n);
    cr_assert(file_open_lines(&lines, "", path));
    unlink(path);
    static const char *const expected[] = {"first", "second", "", "third"};
    for (unsigned i = 0; i < COUNT(expected); i++) cr_assert(file_next_line(&lines, &line) && text_is(line, expected[i]), "line %u", i);
    cr_assert_not(file_next_line(&lines, &line));
    file_close_lines(&lines);
}

/* A device without end and a pipe without a writer keep nobody waiting. */
Test(file, reading_ends, .timeout = 20) {
    struct file_lines lines;
    struct text line;
    cr_assert(file_open_lines(&lines, "", "/dev/zero"));
    cr_assert_not(file_next_line(&lines, &line));
    file_close_lines(&lines);
    char path[] = "/tmp/lowtide-test-XXXXXX", buffer[16];
    cr_assert_not_null(mkdtemp(path));
    char fifo[64];
    snprintf(fifo, sizeof fifo, "%s/fifo", path);
    cr_assert_eq(mkfifo(fifo, 0600), 0);
    cr_assert_eq(file_read("", fifo, buffer, sizeof buffer).bytes, 0);
    unlink(fifo);
    rmdir(path);
}
