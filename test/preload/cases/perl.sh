# needs: perl
# Hashes of strings, closures, regular expressions, sorting, fork and a pipe, interpreter threads.
exec perl "$PROGRAMS/tour.pl"
