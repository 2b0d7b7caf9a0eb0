/* Runs a command and says what it cost: launch RESULT INTERVAL COMMAND [ARGUMENT...]
 *
 * RESULT is the file that gets key=value lines: wall time, and from wait4 the user and system time,
 * minor faults and largest resident set. The allocator's library is in BENCH_PRELOAD, so that it is
 * not in this process; a process of its own between the runner and the command is needed because
 * a child's largest resident set includes what its parent's was when it was forked.
 *
 * INTERVAL is 0 for a run that is timed and left alone. Otherwise it is the number of microseconds
 * between samples of resident memory, of the command and all its descendants, which are the
 * processes of its session. Resident memory is the Rss line of smaps_rollup; a page shared by two
 * of the processes counts twice. A sample that takes long makes the next one wait longer, so that
 * sampling takes at most a quarter of the time. RESULT.live is the file through which the command
 * may publish its live bytes (BENCH_LIVE).
 *
 * Sampling also sees whether the library is mapped: `processes` counts those that were sampled
 * SETTLED times, `preloaded` those of them which had mapped it. */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { MOST_PROCESSES = 256, MOST_PIDS = 1 << 22, SETTLED = 3, REST = 3 };

struct process {
    pid_t pid;
    int samples;
    bool preloaded, alive;
};

/* Integrals over the time from the first sample to the last. */
static struct {
    long samples, peak;
    bool live_published;
    double began, last_at, last_rss, last_excess;
    double rss_seconds, excess_seconds;
} memory;

static struct process processes[MOST_PROCESSES];
static size_t process_count;
static bool known[MOST_PIDS]; /* looked at, and of another session, or in `processes` */
static pid_t session;
static const char *library;
static _Atomic long *live;

static void fail(const char *what) {
    fprintf(stderr, "launch: %s: %s\n", what, strerror(errno));
    exit(125);
}

/* Who ends this process wants the command and its descendants ended. */
static void end_session(int signal_number) {
    if (session > 0) kill(-session, SIGKILL);
    _exit(128 + signal_number);
}

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

/* The beginning of /proc/PID/NAME, or an empty string when the process is gone. */
static const char *read_proc(pid_t pid, const char *name) {
    static char text[4096];
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/%s", pid, name);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t length = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    if (fd >= 0) close(fd);
    text[length > 0 ? length : 0] = 0;
    return text;
}

static long resident_bytes(pid_t pid) {
    const char *line = strstr(read_proc(pid, "smaps_rollup"), "\nRss:");
    return line ? strtol(line + 5, NULL, 10) * 1024 : 0;
}

static bool in_session(pid_t pid) {
    int found = 0;
    const char *after_name = strrchr(read_proc(pid, "stat"), ')');
    return after_name && sscanf(after_name, ") %*c %*d %*d %d", &found) == 1 && found == session;
}

static void add_process(pid_t pid) {
    known[pid] = true;
    if (process_count < MOST_PROCESSES && in_session(pid))
        processes[process_count++] = (struct process){.pid = pid, .alive = true};
}

/* A new process cannot be missed: where the kernel has no list of children, /proc lists them all,
 * and only those not seen before are looked at. */
static void find_processes(void) {
    static DIR *proc;
    if (!proc && !(proc = opendir("/proc"))) fail("/proc");
    rewinddir(proc);
    for (struct dirent *entry; (entry = readdir(proc));) {
        pid_t pid = isdigit((unsigned char)*entry->d_name) ? atoi(entry->d_name) : 0;
        if (pid > 0 && pid < MOST_PIDS && !known[pid]) add_process(pid);
    }
}

/* As it was where nothing can be read any more, since the process has ended. */
static bool maps_library(pid_t pid, bool before) {
    char path[64], *line = NULL;
    size_t room = 0;
    bool found = false, has_lines = false;
    snprintf(path, sizeof path, "/proc/%d/maps", pid);
    FILE *maps = fopen(path, "re");
    while (maps && !found && getline(&line, &room, maps) > 0) {
        has_lines = true;
        found = strstr(line, library) != NULL;
    }
    free(line);
    if (maps) fclose(maps);
    return has_lines ? found : before;
}

static long sample_process(struct process *process) {
    long rss = resident_bytes(process->pid);
    if (rss == 0) {
        process->alive = false;
        return 0;
    }
    process->samples++;
    bool again = (process->samples & (process->samples - 1)) == 0; /* it may have called exec */
    if (library && (again || !process->preloaded))
        process->preloaded = maps_library(process->pid, process->preloaded);
    return rss;
}

static void take_sample(void) {
    find_processes();
    double at = now();
    long live_bytes = atomic_load_explicit(live, memory_order_relaxed), rss = 0;
    for (size_t i = 0; i < process_count; i++)
        if (processes[i].alive) rss += sample_process(&processes[i]);
    if (rss == 0) return;
    memory.live_published |= live_bytes != 0;
    double excess = (double)(rss - live_bytes);
    if (memory.samples++ == 0) {
        memory.began = at;
    } else {
        double passed = at - memory.last_at;
        memory.rss_seconds += passed * ((double)rss + memory.last_rss) / 2;
        memory.excess_seconds += passed * (excess + memory.last_excess) / 2;
    }
    memory.last_at = at;
    memory.last_rss = (double)rss;
    memory.last_excess = excess;
    if (rss > memory.peak) memory.peak = rss;
}

static void sample_until_it_ends(long interval, const sigset_t *child_ended) {
    for (;;) {
        double began = now();
        take_sample();
        long took = (long)((now() - began) * 1e6);
        long wait = interval > took * REST ? interval : took * REST;
        struct timespec timeout = {wait / 1000000, wait % 1000000 * 1000};
        if (sigtimedwait(child_ended, NULL, &timeout) == SIGCHLD) return;
    }
}

static void map_live_file(const char *result) {
    char path[4096];
    snprintf(path, sizeof path, "%s.live", result);
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0 || ftruncate(fd, sizeof *live) != 0) fail(path);
    live = mmap(NULL, sizeof *live, PROT_READ, MAP_SHARED, fd, 0);
    if (live == MAP_FAILED) fail(path);
    close(fd);
    setenv("BENCH_LIVE", path, 1);
}

/* Returns once the command runs: the pipe closes at exec, or brings the reason why it failed. */
static pid_t start(char **command, const sigset_t *usual) {
    int failed[2], reason;
    if (pipe2(failed, O_CLOEXEC) != 0) fail("pipe");
    pid_t pid = fork();
    if (pid < 0) fail("fork");
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        setsid();
        sigprocmask(SIG_SETMASK, usual, NULL);
        if (library) setenv("LD_PRELOAD", library, 1);
        execvp(*command, command);
        reason = errno;
        _exit(write(failed[1], &reason, sizeof reason) != sizeof reason);
    }
    close(failed[1]);
    if (read(failed[0], &reason, sizeof reason) == sizeof reason) {
        errno = reason;
        fail(*command);
    }
    close(failed[0]);
    return pid;
}

static double seconds(struct timeval time) {
    return (double)time.tv_sec + (double)time.tv_usec / 1e6;
}

static void write_memory(FILE *out) {
    double passed = memory.last_at - memory.began;
    long settled = 0, preloaded = 0;
    for (size_t i = 0; i < process_count; i++)
        if (processes[i].samples >= SETTLED) {
            settled++;
            preloaded += processes[i].preloaded;
        }
    fprintf(out, "samples=%ld\npeak_bytes=%ld\nmean_bytes=%.0f\n", memory.samples, memory.peak,
            passed > 0 ? memory.rss_seconds / passed : memory.last_rss);
    fprintf(out, "excess_byte_s=%.0f\nlive_published=%d\n", memory.excess_seconds,
            memory.live_published);
    fprintf(out, "processes=%ld\npreloaded=%ld\n", settled, preloaded);
}

int main(int argc, char **argv) {
    if (argc < 4) return 125;
    long interval = strtol(argv[2], NULL, 10);
    sigset_t child_ended, usual;
    sigemptyset(&child_ended);
    sigaddset(&child_ended, SIGCHLD);
    sigprocmask(SIG_BLOCK, &child_ended, &usual);
    signal(SIGTERM, end_session);
    library = getenv("BENCH_PRELOAD");
    if (interval > 0) map_live_file(argv[1]);

    double began = now();
    session = start(argv + 3, &usual);
    if (interval > 0) sample_until_it_ends(interval, &child_ended);
    int status;
    struct rusage usage;
    if (wait4(session, &status, 0, &usage) != session) fail("wait4");
    double wall_s = now() - began;

    FILE *out = fopen(argv[1], "we");
    if (!out) fail(argv[1]);
    fprintf(out, "wall_s=%.6f\nuser_s=%.6f\nsystem_s=%.6f\n", wall_s, seconds(usage.ru_utime),
            seconds(usage.ru_stime));
    fprintf(out, "minor_faults=%ld\nmaxrss_bytes=%ld\n", usage.ru_minflt, usage.ru_maxrss * 1024);
    if (interval > 0) write_memory(out);
    fclose(out);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
