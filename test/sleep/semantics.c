/* Runs every interposed blocking call beside libc's own (see semantics.h) and compares.
 *
 *   semantics list          the groups, a line each: the group's name, a tab, the call
 *   semantics GROUP...      runs the rows of those groups; a line each, and exit code 1 when one
 *                           failed
 *   semantics -only TEXT GROUP...   only rows whose name contains the text, and tells why runs were
 *                       tried again
 */
#define _GNU_SOURCE
#include "semantics.h"

#include <dlfcn.h>
#include <sys/mman.h>
#include <sys/prctl.h>

#define HOOKED(name) .name = name,
struct calls hooked = {CALLS(HOOKED)}, libc;
bool is_preloaded;

enum { PAIRS = 24, ROWS = 4, ATTEMPTS = 6, HANG_S = 12, DEFAULT_MOMENT = 50, AWAKE_MS = 5 };

/* One run of a row: what it is, and what became of it over all attempts. */
struct pair {
    enum state state;
    int moment_ms;
    bool has_passed;
    int failures;
    pid_t pid;
    char text[300];
};
struct row {
    const struct blocker *blocker;
    const struct family *family;
    struct pair pair[PAIRS]; /* the first is libc's */
    int pairs;
    int attempts;
    bool is_over;
    struct run *run; /* one for each pair */
};

/* Rows that are tried together, for which the states are prepared once. */
static struct row batch[ROWS];
static int batch_rows, rows_at_once;

static struct run *runs; /* shared with the processes of the runs */

static const char *only_rows = "";
static bool tells_all;

/* ---- libc's functions ---- */

static void *find_in_libc(void *library, const char *name) {
    /* Conditions changed their layout in 2.3.2 on x86-64. */
    void *function =
        strncmp(name, "pthread_cond_", 13) ? NULL : dlvsym(library, name, "GLIBC_2.3.2");
    if (!function) function = dlsym(library, name);
    if (!function) {
        fprintf(stderr, "libc has no %s\n", name);
        exit(2);
    }
    return function;
}

static void find_calls(void) {
    void *library = dlopen("libc.so.6", RTLD_NOW | RTLD_NOLOAD);
    if (!library) exit(2);
#define FIND(name)                                        \
    {                                                     \
        void *function = find_in_libc(library, #name);    \
        memcpy(&libc.name, &function, sizeof function);   \
        is_preloaded = is_preloaded || libc.name != name; \
    }
    CALLS(FIND)
#undef FIND
}

/* ---- one attempt at a row ---- */

static void start(struct row *row, int i, int64_t base_ns) {
    struct pair *p = &row->pair[i];
    struct run *r = &row->run[i];
    memset(r, 0, sizeof *r);
    r->blocker = row->blocker;
    r->calls = p->state == UNDER_LIBC ? &libc : &hooked;
    r->state = p->state;
    r->moment_ms = p->moment_ms;
    r->wait_ms = FOR_EVER;
    p->pid = fork();
    if (p->pid < 0) exit(2);
    if (p->pid) return;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    alarm(HANG_S - 2);
    r->base_ns = p->state == LATER ? base_ns : now_ns();
    row->family->run(r);
    r->is_over = true;
    _exit(0);
}

static int collect(struct pair *p) {
    int status = 0;
    for (int64_t end = now_ns() + HANG_S * 1000000000ll; !libc.waitpid(p->pid, &status, WNOHANG);) {
        if (now_ns() > end) kill(p->pid, SIGKILL);
        rest_ms(1);
    }
    return status;
}

static bool is_due(const struct row *row, int i, enum state state) {
    return !row->is_over && row->pair[i].state == state && !row->pair[i].has_passed;
}

static void start_all(enum state state) {
    int64_t base_ns = 0;
    for (struct row *row = batch; row < batch + batch_rows; row++)
        for (int i = 0; i < row->pairs; i++) {
            if (!is_due(row, i, state)) continue;
            if (!base_ns) base_ns = prepare(state);
            start(row, i, base_ns);
        }
}

/* So many rows that all processes that count from one moment have come to their calls before the
 * first event, 25 ms after it. */
static int rows_for_this_machine(void) {
    enum { TRIES = 16, FOR_ALL_MS = 8, TOGETHER = 14 };
    int64_t began = now_ns();
    for (int i = 0; i < TRIES; i++) {
        pid_t child = fork();
        if (!child) _exit(0);
        libc.waitpid(child, NULL, 0);
    }
    int64_t rows = FOR_ALL_MS * 1000000ll * TRIES / TOGETHER / (now_ns() - began);
    return rows < 1 ? 1 : rows > ROWS ? ROWS : (int)rows;
}

/* ---- comparing ---- */

static void compare(const struct run *r, const struct run *want, char *text, size_t room) {
    for (int i = 0; i < r->notes && i < want->notes; i++) {
        const struct note *a = &r->note[i], *b = &want->note[i];
        if (strcmp(a->what, b->what))
            snprintf(text, room, "\"%s\" instead of \"%s\"", a->what, b->what);
        else if (a->value != b->value)
            snprintf(text, room, "%s is %ld, libc's %ld", a->what, a->value, b->value);
        else
            continue;
        return;
    }
    if (r->notes != want->notes)
        snprintf(text, room, "%d notes, libc's run left %d", r->notes, want->notes);
}

/* What is wrong with a run that is over, or nothing. */
static void judge(struct row *row, int i, int status) {
    static const char *const names[] = {"libc's own", "ready", "later"};
    struct pair *p = &row->pair[i];
    const struct run *r = &row->run[i];
    char text[200] = "";
    bool has_crashed = true;
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM)
        snprintf(text, sizeof text, "does not end");
    else if (WIFSIGNALED(status))
        snprintf(text, sizeof text, "ends by signal %d", WTERMSIG(status));
    else if (status || !r->is_over)
        snprintf(text, sizeof text, "ends with %d", WEXITSTATUS(status));
    else {
        has_crashed = false;
        if (*r->inconclusive)
            snprintf(text, sizeof text, "%s", r->inconclusive);
        else if (*r->problem)
            snprintf(text, sizeof text, "%s", r->problem);
        else if (i && row->pair[0].has_passed)
            compare(r, &row->run[0], text, sizeof text);
    }
    bool has_libc = !i || row->pair[0].has_passed;
    p->has_passed = !*text && has_libc;
    if (p->has_passed) return;
    /* A run that was disturbed by the load of the machine looks different now and then, and tells
     * nothing when the thread that sleeps was kept awake for long enough to miss what happened
     * meanwhile. */
    bool is_disturbed = *r->inconclusive || (!*r->problem && r->awake_ns > AWAKE_MS * 1000000ll);
    if (has_crashed || (!is_disturbed && *text)) p->failures++;
    if (!*text) snprintf(text, sizeof text, "nothing to compare with");
    snprintf(p->text, sizeof p->text, "%s, %d ms: %s", names[p->state], p->moment_ms, text);
    if (tells_all) printf("     %s: %s: %s\n", row->blocker->name, row->family->name, p->text);
}

/* The end of an attempt at a row: collects its runs, and decides whether another one is needed. */
static void judge_row(struct row *row) {
    bool has_passed = true;
    row->attempts++;
    for (int i = 0; i < row->pairs; i++)
        if (!row->pair[i].has_passed) judge(row, i, collect(&row->pair[i]));
    for (int i = 0; i < row->pairs; i++) {
        has_passed &= row->pair[i].has_passed;
        if (row->pair[i].failures > 1) row->is_over = true;
    }
    if (has_passed || row->attempts == ATTEMPTS) row->is_over = true;
}

static bool attempt(void) {
    bool is_over = true;
    start_all(UNDER_LIBC);
    start_all(READY);
    start_all(LATER);
    for (struct row *row = batch; row < batch + batch_rows; row++) {
        if (!row->is_over) judge_row(row);
        is_over &= row->is_over;
    }
    return is_over;
}

/* ---- rows ---- */

static void add_pairs(struct row *row, enum state state, const int *moments, int n) {
    for (int i = 0; i < n && row->pairs < PAIRS; i++)
        row->pair[row->pairs++] = (struct pair){.state = state, .moment_ms = moments[i]};
}
#define ADD_PAIRS(row, state, ...)                        \
    add_pairs((row), (state), (const int[]){__VA_ARGS__}, \
              (int)(sizeof((const int[]){__VA_ARGS__}) / sizeof(int)))

/* LATER counts from the last give-back, so a wait is split 100 ms after that. */
static void fill_row(struct row *row) {
    const struct family *f = row->family;
    row->pairs = 0;
    ADD_PAIRS(row, UNDER_LIBC, DEFAULT_MOMENT);
    if (!f->only_later) {
        if (f->has_moments)
            ADD_PAIRS(row, READY, 20, 50, 150);
        else
            ADD_PAIRS(row, READY, DEFAULT_MOMENT);
    }
    if (f->only_ready) return;
    if (!f->has_moments)
        ADD_PAIRS(row, LATER, DEFAULT_MOMENT);
    else if (row->blocker->is & SPLIT)
        ADD_PAIRS(row, LATER, 25, 50, 90, 97, 98, 99, 100, 101, 102, 103, 110, 150, 180);
    else
        ADD_PAIRS(row, LATER, 25, 50, 90, 99, 100, 101, 150);
}

static bool report_row(const struct row *row) {
    const struct pair *worst = NULL;
    int wrong = 0;
    for (int i = 0; i < row->pairs; i++) {
        const struct pair *p = &row->pair[i];
        if (p->has_passed) continue;
        wrong++;
        if (!worst || p->failures > worst->failures) worst = p;
    }
    printf("%s %s: %s", worst ? "FAIL" : "ok  ", row->blocker->name, row->family->name);
    if (worst) printf(": %s (%d of %d runs)", worst->text, wrong, row->pairs);
    if (row->attempts > 1) printf(" (%d attempts)", row->attempts);
    putchar('\n');
    fflush(stdout);
    return !worst;
}

/* Runs what is in the batch and empties it; returns how many rows failed. */
static int run_batch(void) {
    int failed = 0;
    while (!attempt()) continue;
    for (int i = 0; i < batch_rows; i++) failed += !report_row(&batch[i]);
    batch_rows = 0;
    return failed;
}

static int add_row(const struct blocker *b, const struct family *f) {
    struct row *row = &batch[batch_rows];
    if (!strstr(f->name, only_rows)) return 0;
    *row = (struct row){.blocker = b, .family = f, .run = runs + batch_rows * PAIRS};
    fill_row(row);
    return ++batch_rows == rows_at_once ? run_batch() : 0;
}

/* ---- groups: the rows of one blocker, or the special cases of one call ---- */

static const struct blocker *const all_blockers[] = {time_blockers,  fd_blockers,     data_blockers,
                                                     child_blockers, thread_blockers, NULL};
static const struct family *const all_families[] = {
    families, cancel_families, jump_families, middle_families, condition_families, NULL};
static const struct special *const all_specials[] = {specials, fd_specials, data_specials, NULL};

static int run_blocker(const struct blocker *b) {
    int failed = 0;
    for (int t = 0; all_families[t]; t++)
        for (const struct family *f = all_families[t]; f->name; f++)
            if (f->applies(b)) failed += add_row(b, f);
    return failed;
}

static int run_special(const struct special *s) {
    static struct blocker blockers[ROWS];
    static struct family families[ROWS];
    struct blocker *b = &blockers[batch_rows];
    struct family *f = &families[batch_rows];
    *b = (struct blocker){.name = s->call, .call = s->call};
    *f = (struct family){.name = s->name, .run = s->run};
    return add_row(b, f);
}

static int run_group(const char *name) {
    int failed = 0;
    for (int t = 0; all_blockers[t]; t++)
        for (const struct blocker *b = all_blockers[t]; b->name; b++)
            if (!strcmp(b->name, name)) failed += run_blocker(b);
    for (int t = 0; all_specials[t]; t++)
        for (const struct special *s = all_specials[t]; s->call; s++)
            if (!strncmp(name, "refusals of ", 12) && !strcmp(name + 12, s->call))
                failed += run_special(s);
    return failed + run_batch();
}

static void list_groups(void) {
    for (int t = 0; all_blockers[t]; t++)
        for (const struct blocker *b = all_blockers[t]; b->name; b++)
            printf("%s\t%s\n", b->name, b->call);
    const char *last = "";
    for (int t = 0; all_specials[t]; t++)
        for (const struct special *s = all_specials[t]; s->call; s++)
            if (strcmp(last, s->call)) printf("refusals of %s\t%s\n", last = s->call, s->call);
}

int main(int argc, char **argv) {
    setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
    find_calls();
    runs = mmap(NULL, ROWS * PAIRS * sizeof *runs, PROT_READ | PROT_WRITE,
                MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (runs == MAP_FAILED) return 2;
    if (argc > 1 && !strcmp(argv[1], "list")) {
        list_groups();
        return 0;
    }
    rows_at_once = rows_for_this_machine();
    int failed = 0, first = 1;
    if (argc > 2 && !strcmp(argv[1], "-only")) only_rows = argv[2], first = 3, tells_all = true;
    for (int i = first; i < argc; i++) failed += run_group(argv[i]);
    return failed ? 1 : 0;
}
