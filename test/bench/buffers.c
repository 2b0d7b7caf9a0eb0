/* Buffers larger than small objects: buffers [PERCENT_FREED] [COUNT]
 *
 * 20,000 buffers of 1..64 KiB, of which 90 or 100 percent, chosen at random, are freed. */
#include "peak.h"

int main(int argc, char **argv)
{
    long percent = argument(argc, argv, 1, 90);
    long count = argument(argc, argv, 2, 20000);
    measure_peak((size_t)count, percent, 1 << 10, 64 << 10);
    return 0;
}
