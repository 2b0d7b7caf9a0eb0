/* Takes memory from others on command.
 *
 * Each line on stdin is a number of MiB to take and touch. Answers "took N" when it is done; ends, and gives back all, with
 * its input.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { MOST_MIB = 4096 };
static const size_t mib = 1 << 20;

int main(void) {
    char line[32];
    while (fgets(line, sizeof line, stdin)) {
        long more = strtol(line, NULL, 10);
        if (more < 0 || more > MOST_MIB) return 2;
        size_t bytes = (size_t)more * mib;
        char *taken = mmap(NULL, bytes + 1, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (taken == MAP_FAILED) return 1;
        memset(taken, 1, bytes);
        printf("took %ld\n", more);
        fflush(stdout);
    }
    return 0;
}
