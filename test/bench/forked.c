/* What forked workers cost in memory: forked [WORKERS] [BLOCKS]
 *
 * A process makes blocks of 16..512 bytes, fills them in and forks; each worker gives back a random half of
 * them. Then the workers wait while their proportional set sizes (PSS: a shared page counts for
 * each process by its part) are read. */
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include "bench.h"

static long pss_bytes(pid_t pid)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/smaps_rollup", pid);
    long bytes = bytes_in(path, "Pss:");
    if (bytes < 0)
        exit(1);
    return bytes;
}

static double free_half(void **blocks, long count, uint64_t state)
{
    double start = seconds_now();
    for (long i = 0; i < count; i++)
        if (random_next(&state) >> 63)
            free(blocks[i]);
    return seconds_now() - start;
}

int main(int argc, char **argv)
{
    long workers = argument(argc, argv, 1, 8), count = argument(argc, argv, 2, 400000), live = 0;
    void **blocks = bookkeeping((size_t)count * sizeof *blocks);
    double *free_s = mmap(NULL, (size_t)workers * sizeof *free_s, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    uint64_t state = 1;
    for (long i = 0; i < count; i++) {
        size_t size = random_between(&state, 16, 512);
        blocks[i] = memset(allocate(size), 1, size);
        live += (long)size;
    }
    pid_t pids[1024];
    int done[2];
    char byte = 0;
    if (workers > 1024 || pipe(done) != 0)
        return 1;
    double fork_s = 0;
    for (long i = 0; i < workers; i++) {
        double start = seconds_now();
        pids[i] = fork();
        if (pids[i] == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            free_s[i] = free_half(blocks, count, (uint64_t)i + 2);
            if (write(done[1], &byte, 1) != 1)
                _exit(1);
            for (;;)
                pause();
        }
        fork_s += seconds_now() - start;
    }
    for (long i = 0; i < workers; i++)
        if (read(done[0], &byte, 1) != 1)
            return 1;
    sleep_ms(100);
    long pss = 0, parent = pss_bytes(getpid());
    double free_sum = 0;
    for (long i = 0; i < workers; i++) {
        pss += pss_bytes(pids[i]);
        free_sum += free_s[i];
    }
    for (long i = 0; i < workers; i++)
        kill(pids[i], SIGKILL);
    while (wait(NULL) > 0) {
    }
    printf("live_bytes=%ld\nworkers_pss_bytes=%ld\nparent_pss_bytes=%ld\nfork_s=%.6f\nfree_s=%.6f\n", live, pss, parent,
           fork_s / (double)workers, free_sum / (double)workers);
    return 0;
}
