/* A job that builds and drops the same in a loop: rounds WHAT [ROUNDS]
 *
 * WHAT is a number of MB of small objects of 16..512 B, or `buffers` for 64 buffers of 1..16 MB; all
 * of it is written in full and given back, 100 times. The first two rounds warm up; the medians of
 * the others are the time and the minor faults of a round. */
#include "bench.h"

#include <sys/resource.h>

enum { MOST_ROUNDS = 10000, WARM_UP = 2, BUFFERS = 64, MOST_BLOCKS = 1 << 20 };

struct plan {
    size_t count;
    uint32_t *bytes;
    void **block;
};

static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static struct plan make_plan(const char *what)
{
    size_t total = (size_t)atol(what) * 1000000, planned = 0;
    size_t least = total ? 16 : 1000000, most = total ? 512 : 16000000;
    struct plan plan = {0, bookkeeping(MOST_BLOCKS * sizeof(uint32_t)), bookkeeping(MOST_BLOCKS * sizeof(void *))};
    uint64_t state = 4;
    while (total ? planned < total : plan.count < BUFFERS) {
        uint32_t bytes = (uint32_t)random_between(&state, least, most);
        plan.bytes[plan.count++] = bytes;
        planned += bytes;
    }
    return plan;
}

static void run_round(const struct plan *plan)
{
    for (size_t i = 0; i < plan->count; i++)
        plan->block[i] = memset(allocate(plan->bytes[i]), (int)i + 1, plan->bytes[i]);
    for (size_t i = 0; i < plan->count; i++)
        free(plan->block[i]);
}

static long minor_faults(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return usage.ru_minflt;
}

static double median(double *values, long count)
{
    qsort(values, (size_t)count, sizeof *values, compare_doubles);
    return values[count / 2];
}

int main(int argc, char **argv)
{
    long rounds = argument(argc, argv, 2, 100);
    if (argc < 2 || rounds <= WARM_UP || rounds > MOST_ROUNDS)
        return 2;
    static double seconds[MOST_ROUNDS], faults[MOST_ROUNDS];
    struct plan plan = make_plan(argv[1]);
    run_round(&(struct plan){1, plan.bytes, plan.block});
    long base = resident_bytes();
    for (long i = 0; i < rounds; i++) {
        double began = seconds_now();
        long before = minor_faults();
        run_round(&plan);
        seconds[i] = seconds_now() - began;
        faults[i] = (double)(minor_faults() - before);
    }
    long at_once = resident_bytes() - base;
    printf("round_ms=%.4f\n", 1000 * median(seconds + WARM_UP, rounds - WARM_UP));
    printf("round_faults=%.0f\n", median(faults + WARM_UP, rounds - WARM_UP));
    print_after(base, at_once);
    return 0;
}
