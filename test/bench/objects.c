/* Small objects, a peak, and the frees after it: objects [PERCENT_FREED] [COUNT]
 *
 * 2,000,000 objects of 16..512 bytes, of which 100, 99 or 90 percent are freed. */
#include "peak.h"

int main(int argc, char **argv)
{
    long percent = argument(argc, argv, 1, 100);
    long count = argument(argc, argv, 2, 2000000);
    measure_peak((size_t)count, percent, 16, 512);
    return 0;
}
