/* What an event loop pays for each wake-up: wakeups [COUNT] [PER_SECOND] [BLOCKS]
 *
 * A loop posts to its own eventfd, waits for it with epoll_wait, and takes and frees BLOCKS blocks,
 * COUNT times, and no more often than PER_SECOND. A few blocks stay in a thread's cache, with some
 * hundred there is something to give back before each wait. Every 1,000th time it is 4,000. Busy
 * time excludes the pauses that keep the rate. */
#include "bench.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>

enum { MANY = 4000 };

static void use(long blocks)
{
    static void *block[MANY];
    for (long i = 0; i < blocks; i++) {
        block[i] = allocate(64 + (size_t)(i % 8) * 48);
        *(volatile char *)block[i] = 1;
    }
    for (long i = 0; i < blocks; i++)
        free(block[i]);
}

static double pause_until(double start, long done, long per_second)
{
    double now = seconds_now(), due = start + (double)done / (double)per_second;
    while (seconds_now() < due)
        continue;
    return seconds_now() - now;
}

int main(int argc, char **argv)
{
    long count = argument(argc, argv, 1, 200000);
    long per_second = argument(argc, argv, 2, 100000), blocks = argument(argc, argv, 3, 8);
    struct epoll_event what = {.events = EPOLLIN}, ready;
    int event = eventfd(0, 0), epoll = epoll_create1(0);
    uint64_t one = 1;
    if (blocks > MANY || event < 0 || epoll < 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, event, &what))
        return 1;

    double start = seconds_now(), paused = 0;
    for (long i = 0; i < count; i++) {
        paused += pause_until(start, i, per_second);
        if (write(event, &one, sizeof one) != sizeof one || epoll_wait(epoll, &ready, 1, -1) != 1 ||
            read(event, &one, sizeof one) != sizeof one)
            return 1;
        use(i % 1000 ? blocks : MANY);
    }
    double run_s = seconds_now() - start;
    printf("run_s=%.6f\nwakeups_per_s=%.0f\nns_each=%.1f\nresident_bytes=%ld\n", run_s,
           (double)count / run_s, (run_s - paused) / (double)count * 1e9, resident_bytes());
    return 0;
}
