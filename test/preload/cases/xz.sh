# needs: xz awk
# There and back in two threads; blocks of a fixed size make the packed file the same each time.
awk 'BEGIN { for (i = 0; i < 600000; i++) print "record", i, i * 7919 % 100003, i % 17 }' >plain
xz -T2 -2 --block-size=4MiB -k plain
cksum <plain.xz
xz -T2 -dc plain.xz | cmp - plain && echo "round trip is exact"
