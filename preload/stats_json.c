#include "stats_json.h"

#include "../core/core.h"
#include "../core/line.h"
#include "../core/stats.h"
#include "../trim-policy/policy.h"
#include "preload.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

struct writer {
    char *at;
    size_t room;
};

static void add(struct writer *t, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void add(struct writer *t, const char *format, ...) {
    __builtin_va_list args;
    __builtin_va_start(args, format);
    int n = vsnprintf(t->at, t->room, format, args);
    __builtin_va_end(args);
    if (n < 0) return;
    size_t written = (size_t)n < t->room ? (size_t)n : t->room - 1;
    t->at += written;
    t->room -= written;
}

static void add_number(struct writer *t, const char *key, int64_t value) {
    add(t, ", \"%s\": %lld", key, (long long)value);
}

/* 0 where a seccomp filter may kill for asking. */
static int own_pid(void) { return relaxed_load(&os_is_filtered) ? 0 : (int)getpid(); }

static void make_json(struct writer *t) {
    struct stats s;
    struct policy_numbers m;
    stats_collect(&s);
    policy_snapshot(&m);
    add(t, "{\"version\": \"%s\", \"pid\": %d, \"python\": \"%s\"", LOWTIDE_VERSION, own_pid(),
        python_state());
#define STAT(key, text) add_number(t, #key, s.key);
#include "../core/stats.def"
#undef STAT
    add_number(t, "level", m.level);
    add_number(t, "min_free_bytes", m.min_free_bytes);
    add_number(t, "low_watermark_bytes", m.low_watermark_bytes);
    add_number(t, "available_bytes", m.available_bytes);
    add_number(t, "limit_bytes", m.limit_bytes);
    add(t, "}\n");
}

static void expand_name(struct writer *t, const char *pattern) {
    for (; *pattern; pattern++) {
        if (pattern[0] == '%' && pattern[1] == 'p')
            add(t, "%d", own_pid()), pattern++;
        else if (pattern[0] == '%' && pattern[1] == 'e')
            add(t, "%s", program_invocation_short_name), pattern++;
        else
            add(t, "%c", *pattern);
    }
}

static void write_all(int fd, const char *text, size_t n) {
    while (n) {
        ssize_t written = write(fd, text, n);
        if (written <= 0) return;
        text += written;
        n -= (size_t)written;
    }
}

/* stderr where that cannot be, which is said. */
static int open_file(const char *pattern) {
    char name[4096], line[4200];
    bool is_filtered = relaxed_load(&os_is_filtered);
    expand_name(&(struct writer){name, sizeof name}, pattern);
    int fd = is_filtered ? -1 : open(name, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    if (fd >= 0) return fd;
    snprintf(line, sizeof line,
             "cannot open LOWTIDE_STATS file %.200s (%s); statistics go to stderr", name,
             is_filtered ? "a seccomp filter may forbid it" : strerror(errno));
    report_line(line);
    return STDERR_FILENO;
}

void stats_json_write(const char *where) {
    int saved = errno;
    char json[4096];
    make_json(&(struct writer){json, sizeof json});
    int fd = strcmp(where, "1") ? open_file(where) : STDERR_FILENO;
    if (fd != STDERR_FILENO || !line_is_mute) write_all(fd, json, strlen(json));
    if (fd != STDERR_FILENO) close(fd);
    errno = saved;
}

void stats_json_say_start(void) {
    char line[256];
    snprintf(line, sizeof line, "%s in %s (pid %d): OS page %zu, huge pages %s, Python objects: %s",
             LOWTIDE_VERSION, program_invocation_short_name, (int)getpid(), os_page_bytes,
             os_keep_huge_pages ? "kept" : "off", python_state());
    report_line(line);
}
