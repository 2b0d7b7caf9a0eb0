#!/bin/bash
# Real programs, plain and with lowtide preloaded: what they print and how they end must be the
# same, and the preloaded run may not say anything of the allocator's or of a crash on stderr.
#
# usage: test/preload/run.sh [CASE...]      default: every case of the folder
#   CASES=cases                             the folder: cases, or long
#   LOWTIDE_LIB=build/liblowtide.so         the library
#   CASE_TIMEOUT=120                        seconds a run may take
#
# A case is a bash file whose first comment may hold `# needs: TOOL...`; prelude.sh says what it can
# rely on. Both runs of a case go at the same time, so they also share the machine fairly.
set -u
here=$(cd "$(dirname "$0")" && pwd)
library=$(readlink -f "${LOWTIDE_LIB:-$here/../../build/liblowtide.so}")
[ -f "$library" ] || { echo "test/preload/run.sh: no library at $library" >&2; exit 1; }

python=/usr/bin/python3     # the system's, which has numpy; not a version manager's front
[ -x $python ] || python=python3

crash='lowtide:|ld\.so|Segmentation fault|Aborted|Bus error|Illegal instruction|core dumped|stack smashing'
crash+='|corrupt|double free|invalid pointer|has not mapped'

# Servers that refuse to be root run as nobody, who must get at their files and at the library.
top=$(mktemp -d "${TMPDIR:-/tmp}/lowtide-preload.XXXXXX")
trap 'rm -rf "$top"' EXIT
trap 'exit 130' INT TERM
chmod 755 "$top"
cp "$library" "$top/liblowtide.so"
library=$top/liblowtide.so

run_case() {    # case file, directory, library or nothing
    mkdir -p "$2/work"
    (
        cd "$2/work" || exit
        timeout -k 5 "${CASE_TIMEOUT:-120}" \
            env ${3:+LD_PRELOAD="$3"} CASE_LIB="$3" PYTHON=$python PROGRAMS="$here/programs" \
            PYENV_ROOT="${PYENV_ROOT:-${HOME-}/.pyenv}" HOME="$2" LC_ALL=C.UTF-8 TZ=UTC \
            bash -eu "$here/prelude.sh" "$1" >"$2/stdout" 2>"$2/stderr" </dev/null
        echo "exit code $?" >>"$2/stdout"
    )
}

missing_tools() {
    for tool in $(sed -n 's/^# needs: //p' "$1"); do
        command -v "$tool" >/dev/null || printf '%s ' "$tool"
    done
}

judge() {       # directory; prints what is wrong, nothing when all is well
    if ! grep -q '^exit code 0$' "$1/plain/stdout"; then
        echo "the plain run failed"
        tail -n 5 "$1/plain/stdout" "$1/plain/stderr"
    elif [ "$(wc -l <"$1/plain/stdout")" -lt 2 ]; then
        echo "the plain run printed nothing to compare"
    elif ! cmp -s "$1/plain/stdout" "$1/preloaded/stdout"; then
        echo "the output differs (< plain, > preloaded)"
        diff "$1/plain/stdout" "$1/preloaded/stdout" | head -n 10
        tail -n 5 "$1/preloaded/stderr"
    elif grep -qE "$crash" "$1/preloaded/stderr"; then
        echo "the preloaded run complains"
        grep -E "$crash" "$1/preloaded/stderr" | head -n 5
    fi
}

notes() {       # directory
    local plain=$(cat "$1/plain/work/note" 2>/dev/null) preloaded=$(cat "$1/preloaded/work/note" 2>/dev/null)
    [ "$plain" = "$preloaded" ] || plain+="; preloaded $preloaded"
    echo "${plain:+ $plain}"
}

compare_case() {        # case file; prints its line, true when it passed
    local name=$(basename "$1" .sh) started=$SECONDS missing problem
    local directory=$top/$name
    missing=$(missing_tools "$1")
    if [ -n "$missing" ]; then
        echo "FAIL $name: not installed: $missing"
        return 1
    fi
    run_case "$1" "$directory/plain" "" &
    run_case "$1" "$directory/preloaded" "$library"
    wait
    problem=$(judge "$directory")
    if [ -n "$problem" ]; then
        echo "FAIL $name: $(sed '2,$s/^/     /' <<<"$problem")"
        return 1
    fi
    echo "ok   $name ($((SECONDS - started)) s)$(notes "$directory")"
    rm -rf "$directory"
}

# A plain run is plain: neither the caller's preload nor its Python settings reach it.
unset LD_PRELOAD PYTHONMALLOC BASH_ENV ENV

cases=()
for name; do cases+=("$here/${CASES:-cases}/$name.sh"); done
[ $# -gt 0 ] || cases=("$here/${CASES:-cases}"/*.sh)

passed=0 failed=0
for case in "${cases[@]}"; do
    if compare_case "$case"; then passed=$((passed + 1)); else failed=$((failed + 1)); fi
done
echo "preload programs: $passed passed, $failed failed"
[ "$failed" = 0 ] && [ "$passed" -gt 0 ]
