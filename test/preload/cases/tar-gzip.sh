# needs: tar gzip find diff
# The system's headers, packed and unpacked.
tar --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner -C /usr -cf headers.tar include/linux include/asm-generic
gzip -n -k headers.tar
cksum <headers.tar.gz
mkdir out
tar -C out -xzf headers.tar.gz
diff -r out/include/linux /usr/include/linux && echo "the same tree"
find out -type f | wc -l
