# needs: sort awk
# A million lines in two threads, in memory and then through temporary files.
awk 'BEGIN { x = 12345; for (i = 0; i < 1000000; i++) { x = (x * 1103515 + 12345) % 2147483647; printf "%d %s\n", x, i } }' >lines
sort --parallel=2 -S 256M lines | cksum
sort --parallel=2 -S 8M -T . -k 2n lines | cksum
sort --parallel=2 -S 256M -u -k 1,1n lines | wc -l
