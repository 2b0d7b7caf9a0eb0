#!/bin/bash
# Compiles everything that ships, and what measures it, with gcc and clang at the strictest warnings, as errors; and README lists
# every option, and the oldest glibc that will do. Closes with counts.
set -u
cd "$(dirname "$0")/.."
passed=0 failed=0
for compiler in gcc clang; do
    for file in core/*.c trim-policy/*.c preload/*.c test/bench/*.c test/bench/suite/*.c; do
        if $compiler -std=gnu17 -D_GNU_SOURCE -DLOWTIDE_VERSION='"lint"' -O2 -fPIC -Wall -Wextra -Wshadow -Wconversion -Werror \
            -c -o /dev/null "$file"; then
            passed=$((passed + 1))
        else
            echo "FAIL  $compiler $file"
            failed=$((failed + 1))
        fi
    done
done
for option in $(grep -oE '"LOWTIDE_[A-Z_]+"' trim-policy/options.def | tr -d '"'); do
    if grep -q "\`$option\`" README.md; then passed=$((passed + 1)); else echo "FAIL  README.md does not list $option"; failed=$((failed + 1)); fi
done
make -s
newest=$(objdump -T build/liblowtide.so | grep -o 'GLIBC_[0-9.]*' | cut -d_ -f2 | sort -V | tail -1)
stated=$(sed -nE 's/.*glibc ([0-9.]+) or newer.*/\1/p' README.md)
if [ "$(printf '%s\n' "$newest" "$stated" | sort -V | tail -1)" = "$stated" ]; then passed=$((passed + 1)); else
    echo "FAIL  the library needs glibc $newest, README.md says ${stated:-nothing}"
    failed=$((failed + 1))
fi
echo "lint: $passed passed, $failed failed"
[ $failed -eq 0 ]
