/* The first process of a machine that has nothing but a kernel and a console. It runs what it is asked to, several commands at a
 * time, and tells how each ended. Linked statically, so that nothing but what it runs depends on the guest's libc.
 *
 * A request is a line of fields with a space between, texts in hexadecimal digits:
 *     ID SECONDS VARIABLES NAME=VALUE ... COMMAND ARGUMENT ...
 * A reply is a line, told apart from what the kernel prints by its first word:
 *     lowtide ID STATUS STDOUT STDERR
 * STATUS is that of wait, or "late" when the time was over. Of each output the first 64 KiB are told. ID "off" switches off.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

enum { FIELDS = 64, MOST_TOLD = 64 << 10, MOST_ASKED = 64 << 10 };

struct output {
    int fd;
    size_t bytes;
    char text[MOST_TOLD];
};
static struct output outputs[2];

/* ---- texts ---- */

static int digit(char c) { return c <= '9' ? c - '0' : (c | 32) - 'a' + 10; }

static char *decode(char *text) {
    char *to = text;
    for (const char *at = text; at[0] && at[1]; at += 2) *to++ = (char)(digit(at[0]) << 4 | digit(at[1]));
    *to = 0;
    return text;
}

static char *encode(char *to, const struct output *o) {
    *to++ = ' ';
    if (!o->bytes) *to++ = '-';
    for (size_t i = 0; i < o->bytes; i++) to += sprintf(to, "%02x", (unsigned char)o->text[i]);
    return to;
}

/* In one call, so that lines of several commands do not mix. */
static void tell(const char *line, size_t bytes) {
    while (bytes) {
        ssize_t n = write(STDOUT_FILENO, line, bytes);
        if (n < 0 && errno != EINTR && errno != EAGAIN) return;
        if (n > 0) line += n, bytes -= (size_t)n;
    }
}

/* ---- a command ---- */

static long now_ms(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void take(struct output *o) {
    char surplus[4096];
    size_t room = MOST_TOLD - o->bytes;
    ssize_t n = read(o->fd, room ? o->text + o->bytes : surplus, room ? room : sizeof surplus);
    if (n > 0 && room) o->bytes += (size_t)n;
    if (n == 0 || (n < 0 && errno != EINTR)) close(o->fd), o->fd = -1;
}

/* Until nobody holds the other ends any more; false when the time is over before. */
static int take_all(long deadline_ms) {
    while (outputs[0].fd >= 0 || outputs[1].fd >= 0) {
        struct pollfd p[2] = {{.fd = outputs[0].fd, .events = POLLIN}, {.fd = outputs[1].fd, .events = POLLIN}};
        long left = deadline_ms - now_ms();
        if (left <= 0) return 0;
        if (poll(p, 2, (int)left) <= 0) continue;
        for (int i = 0; i < 2; i++)
            if (p[i].fd >= 0 && p[i].revents) take(&outputs[i]);
    }
    return 1;
}

static pid_t start(char **variables, char **command) {
    int out[2], err[2];
    if (pipe(out) || pipe(err)) return -1;
    pid_t child = fork();
    if (child == 0) {
        setsid();
        dup2(open("/dev/null", O_RDONLY), STDIN_FILENO);
        dup2(out[1], STDOUT_FILENO);
        dup2(err[1], STDERR_FILENO);
        for (int fd = 3; fd < 32; fd++) close(fd);
        execve(command[0], command, variables);
        dprintf(STDERR_FILENO, "%s: %s\n", command[0], strerror(errno));
        _exit(127);
    }
    close(out[1]);
    close(err[1]);
    outputs[0].fd = out[0];
    outputs[1].fd = err[0];
    return child;
}

/* In a process of its own. */
static void serve(const char *id, long seconds, char **variables, char **command) {
    static char line[4 * MOST_TOLD + 256];
    int status = 0;
    signal(SIGCHLD, SIG_DFL);
    pid_t child = start(variables, command);
    int in_time = child > 0 && take_all(now_ms() + seconds * 1000);
    if (child > 0) {
        if (!in_time) kill(-child, SIGKILL);
        waitpid(child, &status, 0);
        kill(-child, SIGKILL); /* what it may have left */
    }
    char *to = line + sprintf(line, in_time ? "lowtide %s %d" : "lowtide %s late", id, status);
    to = encode(encode(to, &outputs[0]), &outputs[1]);
    *to++ = '\n';
    tell(line, (size_t)(to - line));
    _exit(0);
}

static void obey(char *line) {
    char *field[FIELDS + 1], *variable[FIELDS + 1];
    int fields = 0, variables;
    for (char *at = strtok(line, " \r\n"); at && fields < FIELDS; at = strtok(NULL, " \r\n")) field[fields++] = at;
    field[fields] = NULL;
    if (fields == 1 && !strcmp(field[0], "off")) {
        sync();
        reboot(RB_POWER_OFF);
    }
    if (fields < 4 || (variables = atoi(field[2])) < 0 || variables + 4 > fields) return;
    for (int i = 3; i < fields; i++) decode(field[i]);
    memcpy(variable, field + 3, (size_t)variables * sizeof *variable);
    variable[variables] = NULL;
    if (fork() == 0) serve(field[0], atol(field[1]), variable, field + 3 + variables);
}

/* ---- the machine ---- */

static void mount_all(void) {
    static const struct { const char *type, *at; } mounts[] = {
        {"devtmpfs", "/dev"}, {"proc", "/proc"}, {"sysfs", "/sys"}, {"tmpfs", "/tmp"}, {"tmpfs", "/dev/shm"}};
    for (size_t i = 0; i < sizeof mounts / sizeof *mounts; i++) {
        mkdir(mounts[i].at, 0755);
        if (mount(mounts[i].type, mounts[i].at, mounts[i].type, 0, NULL))
            printf("no %s: %s\n", mounts[i].at, strerror(errno));
    }
    chmod("/tmp", 01777);
}

/* Requests come as they are, and the kernel's own messages would come in the middle of replies. */
static void make_console_plain(void) {
    struct termios t;
    int fd = open("/proc/sys/kernel/printk", O_WRONLY);
    if (fd >= 0) {
        if (write(fd, "1", 1) != 1) puts("the kernel keeps its voice");
        close(fd);
    }
    if (tcgetattr(STDIN_FILENO, &t)) return;
    cfmakeraw(&t);
    tcsetattr(STDIN_FILENO, TCSANOW, &t);
}

int main(void) {
    static char line[MOST_ASKED];
    struct utsname name;
    mount_all();
    make_console_plain();
    signal(SIGCHLD, SIG_IGN); /* nobody is waited for here; whoever lost its parent is not kept either */
    uname(&name);
    printf("\nlowtide ready %ld %s %s\n", sysconf(_SC_PAGESIZE), name.machine, name.release);
    fflush(stdout);
    while (fgets(line, sizeof line, stdin)) obey(line);
    reboot(RB_POWER_OFF);
}
