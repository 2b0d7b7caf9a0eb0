/* For what: file.h. */
#include "file.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

char file_scratch[FILE_SCRATCH_BYTES];
static struct file_path path; /* of the file that is being opened */

static int open_to_read(const char *name) {
    int saved = errno;
    long fd;
    do fd = syscall(SYS_openat, AT_FDCWD, name, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    while (fd < 0 && errno == EINTR);
    errno = saved;
    return (int)fd;
}

/* The bytes read; 0 at the end, and where it cannot be read. */
static size_t read_some(int fd, char *to, size_t room) {
    int saved = errno;
    long n;
    do n = syscall(SYS_read, fd, to, room);
    while (n < 0 && errno == EINTR);
    errno = saved;
    return n > 0 ? (size_t)n : 0;
}

static void close_fd(int fd) {
    int saved = errno;
    syscall(SYS_close, fd);
    errno = saved;
}

void file_path_begin(struct file_path *p, const char *root) {
    p->bytes = 0;
    p->is_whole = true;
    p->string[0] = 0;
    file_path_add(p, text_of(root));
}

void file_path_add(struct file_path *p, struct text text) {
    if (text.bytes >= FILE_PATH_BYTES - p->bytes) p->is_whole = false;
    if (!p->is_whole) return;
    memcpy(p->string + p->bytes, text.at, text.bytes);
    p->bytes += text.bytes;
    p->string[p->bytes] = 0;
}

static struct text read_path(char *buffer, size_t room) {
    struct text text = {buffer, 0};
    int fd = path.is_whole ? open_to_read(path.string) : -1;
    if (fd < 0) return text;
    for (size_t n;
         text.bytes < room && (n = read_some(fd, buffer + text.bytes, room - text.bytes)) > 0;)
        text.bytes += n;
    close_fd(fd);
    if (text.bytes == room)
        while (text.bytes && buffer[text.bytes - 1] != '\n') text.bytes--;
    return text;
}

struct text file_read(const char *root, const char *name, char *buffer, size_t room) {
    file_path_begin(&path, root);
    file_path_add(&path, text_of(name));
    return read_path(buffer, room);
}

struct text file_read_in(struct text directory, const char *name, char *buffer, size_t room) {
    file_path_begin(&path, "");
    file_path_add(&path, directory);
    file_path_add(&path, text_of("/"));
    file_path_add(&path, text_of(name));
    return read_path(buffer, room);
}

struct text file_read_own_stat(void) {
    struct text rest = file_read("", "/proc/self/stat", file_scratch, FILE_SCRATCH_BYTES);
    size_t name_end = rest.bytes;
    while (name_end && rest.at[name_end - 1] != ')') name_end--;
    return (struct text){rest.at + name_end, rest.bytes - name_end};
}

bool file_open_lines(struct file_lines *lines, const char *root, const char *name) {
    file_path_begin(&path, root);
    file_path_add(&path, text_of(name));
    lines->begin = lines->end = 0;
    lines->left = FILE_MAX_BYTES;
    lines->is_skipping = false;
    lines->fd = path.is_whole ? open_to_read(path.string) : -1;
    return lines->fd >= 0;
}

/* Moves what is left to the front and reads on; false at the end. */
static bool read_on(struct file_lines *lines) {
    size_t left = lines->end - lines->begin;
    if (left == FILE_LINE_BYTES) {
        lines->is_skipping = true;
        left = 0;
    } else if (left) {
        memmove(lines->buffer, lines->buffer + lines->begin, left);
    }
    size_t n = lines->left < FILE_LINE_BYTES
                   ? 0
                   : read_some(lines->fd, lines->buffer + left, FILE_LINE_BYTES - left);
    lines->left -= n;
    lines->begin = 0;
    lines->end = left + n;
    return n > 0;
}

/* What has no newline behind it was cut, and is not handed out. */
bool file_next_line(struct file_lines *lines, struct text *line) {
    for (;;) {
        char *from = lines->buffer + lines->begin;
        char *end = memchr(from, '\n', lines->end - lines->begin);
        if (!end) {
            if (!read_on(lines)) return false;
            continue;
        }
        lines->begin = (size_t)(end + 1 - lines->buffer);
        *line = (struct text){from, (size_t)(end - from)};
        if (!lines->is_skipping) return true;
        lines->is_skipping = false;
    }
}

void file_close_lines(struct file_lines *lines) {
    if (lines->fd >= 0) close_fd(lines->fd);
    lines->fd = -1;
}
