/* For what: live_file.h.
 *
 * The directory lies in /dev/shm, where anybody may make one of that name first: it counts only if
 * it is no link, ours, and nobody else's to use. Of the file the page is allocated before it is
 * mapped, since on a full file system the first store would be a SIGBUS; and a file size limit is
 * looked at before that, since exceeding it is a SIGXFSZ.
 */
#include "live_file.h"

#include "../core/line.h"
#include "file.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/stat.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { NAME_BYTES = 48, MOST_LISTINGS = 8, TRIES = 3 };

static const char *fake_root = "";
static struct file_path directory;
static char file_name[NAME_BYTES]; /* within it */

void live_file_init(const char *root) { fake_root = root; }

static int open_in(int at, const char *name, int flags) {
    return (int)syscall(SYS_openat, at, name, flags | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY, 0600);
}
static void close_fd(int fd) { syscall(SYS_close, fd); }
static void unlink_in(int at, const char *name, int flags) {
    syscall(SYS_unlinkat, at, name, flags);
}

/* ---- what the kernel says about this process ---- */

/* The twentieth word behind the name. */
static uint64_t start_time(void) {
    struct text rest = file_read_own_stat(), number;
    int64_t started = 0;
    for (int place = 1; place <= 20; place++)
        if (!text_take_word(&rest, &number)) return 0;
    return text_take_number(&number, &started) ? (uint64_t)started : 0;
}

/* The link reads "pid:[4026531836]". */
static uint64_t pid_namespace(void) {
    char link[64];
    long n = syscall(SYS_readlinkat, AT_FDCWD, "/proc/self/ns/pid", link, sizeof link);
    struct text rest = {link, n > 5 ? (size_t)n - 5 : 0};
    int64_t inode = 0;
    rest.at += rest.bytes ? 5 : 0;
    return text_take_number(&rest, &inode) ? (uint64_t)inode : 0;
}

static bool may_make_files(void) {
    struct rlimit limit;
    return !syscall(SYS_prlimit64, 0, RLIMIT_FSIZE, NULL, &limit) && limit.rlim_cur >= PAGE_BYTES;
}

/* ---- names ---- */

/* "PID.NAMESPACE", as a text that ends with a NUL. */
static void set_name(char name[NAME_BYTES], int pid, uint64_t namespace) {
    struct line line = {.used = 0};
    line_add_number(&line, (uint64_t)pid, 10);
    line_add(&line, ".");
    line_add_number(&line, namespace, 10);
    memcpy(name, line.text, line.used);
    name[line.used] = 0;
}

static void set_directory(uint64_t user) {
    struct line line = {.used = 0};
    line_add(&line, "/dev/shm/lowtide-");
    line_add_number(&line, user, 10);
    file_path_begin(&directory, fake_root);
    file_path_add(&directory, (struct text){line.text, line.used});
}

/* ---- the directory ---- */

static bool is_private(int fd, uint64_t user) {
    struct statx is;
    if (syscall(SYS_statx, fd, "", AT_EMPTY_PATH, STATX_UID | STATX_MODE | STATX_TYPE, &is))
        return false;
    return is.stx_uid == user && (is.stx_mode & 0777) == 0700;
}

/* Open, or -1. A umask may take rights from us, too, which would lock all programs of this user
 * out.
 */
static int open_directory(uint64_t user) {
    int fd = open_in(AT_FDCWD, directory.string, O_RDONLY | O_DIRECTORY);
    if (fd < 0 && errno == ENOENT) {
        if (!syscall(SYS_mkdirat, AT_FDCWD, directory.string, 0700))
            syscall(SYS_fchmodat, AT_FDCWD, directory.string, 0700);
        fd = open_in(AT_FDCWD, directory.string, O_RDONLY | O_DIRECTORY);
    }
    if (fd < 0 || is_private(fd, user)) return fd;
    close_fd(fd);
    return -1;
}

struct entry { /* as getdents64 has it */
    uint64_t inode, offset;
    uint16_t bytes;
    uint8_t kind;
    char name[];
};

/* A file of our namespace whose process is gone. */
static void sweep_entry(int fd, const struct entry *entry, uint64_t namespace) {
    struct text name = text_of(entry->name);
    int64_t pid, of;
    if (!text_take_number(&name, &pid) || pid > INT32_MAX || !name.bytes || *name.at != '.') return;
    name.at++, name.bytes--;
    if (!text_take_number(&name, &of) || name.bytes || (uint64_t)of != namespace) return;
    if (syscall(SYS_kill, pid, 0) && errno == ESRCH) unlink_in(fd, entry->name, 0);
}

/* Children that end by _exit leave their files behind; so whoever makes one looks through some
 * hundreds. */
static void sweep(int fd, uint64_t namespace) {
    for (int listing = 0; listing < MOST_LISTINGS; listing++) {
        long n = syscall(SYS_getdents64, fd, file_scratch, FILE_SCRATCH_BYTES);
        if (n <= 0) return;
        for (long at = 0; at < n;) {
            const struct entry *entry = (const struct entry *)(void *)(file_scratch + at);
            sweep_entry(fd, entry, namespace);
            at += entry->bytes;
        }
    }
}

/* ---- the page ---- */

#define STAT(key, text) #key "\t" text "\n"
static const char keys[] =
#include "../core/stats.def"
#define MORE(key, text) #key "\t" text "\n"
    LIVE_MORE(MORE);
#undef MORE
#undef STAT
_Static_assert(sizeof(struct live_page) + sizeof keys <= PAGE_BYTES, "it is one page");

/* A file of that name is an earlier program's of this process, or of one that had its number. */
static int make_file(int fd) {
    int file = open_in(fd, file_name, O_RDWR | O_CREAT | O_EXCL);
    if (file >= 0 || errno != EEXIST) return file;
    unlink_in(fd, file_name, 0);
    return open_in(fd, file_name, O_RDWR | O_CREAT | O_EXCL);
}

static struct live_page *map_file(int fd, int file) {
    struct live_page *page = NULL;
    if (!syscall(SYS_fallocate, file, 0, 0l, (long)PAGE_BYTES) && !syscall(SYS_fchmod, file, 0600))
        page = os_map_file(file, PAGE_BYTES);
    close_fd(file);
    if (!page) unlink_in(fd, file_name, 0);
    return page;
}

static void fill(struct live_page *page, int pid, uint64_t namespace) {
    page->layout = LIVE_LAYOUT;
    page->header_bytes = offsetof(struct live_page, value);
    page->values = LIVE_VALUES;
    page->text_bytes = sizeof keys - 1;
    page->pid = pid;
    page->started = start_time();
    page->pid_namespace = namespace;
    strncat(page->version, LOWTIDE_VERSION, sizeof page->version - 1);
    strncat(page->program, program_invocation_short_name, sizeof page->program - 1);
    memcpy(page + 1, keys, sizeof keys - 1);
}

/* Whoever removes the last file removes the directory, perhaps just before a file is made in it. */
static struct live_page *make(int pid) {
    uint64_t user = (uint64_t)syscall(SYS_geteuid), namespace = pid_namespace();
    set_directory(user);
    set_name(file_name, pid, namespace);
    if (!directory.is_whole || !may_make_files()) return NULL;
    for (int tries = 0; tries < TRIES; tries++) {
        int fd = open_directory(user);
        if (fd < 0) return NULL;
        if (!tries) sweep(fd, namespace);
        int file = make_file(fd);
        struct live_page *page = file < 0 ? NULL : map_file(fd, file);
        close_fd(fd);
        if (page) fill(page, pid, namespace);
        if (page || file >= 0 || errno != ENOENT) return page;
    }
    return NULL;
}

struct live_page *live_file_make(int pid) {
    int saved = errno;
    struct live_page *page = make(pid);
    errno = saved;
    return page;
}

void live_file_remove(void) {
    int saved = errno;
    int fd = open_in(AT_FDCWD, directory.string, O_RDONLY | O_DIRECTORY);
    if (fd >= 0) {
        unlink_in(fd, file_name, 0);
        close_fd(fd);
        unlink_in(AT_FDCWD, directory.string, AT_REMOVEDIR);
    }
    errno = saved;
}
