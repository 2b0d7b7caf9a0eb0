# Every CPython that can be found, each with a short job. Under the preload each must also serve its
# objects from malloc, without a trace of that in the environment of its children.
interpreters() {
    for python in $(type -aP python3) /usr/local/bin/python3.* "$PYENV_ROOT"/versions/*/bin/python3.*; do
        case ${python##*/} in *-config | *-gdb.py | *.*m) continue ;; esac
        "$python" -c 'import os, sys; print(os.path.realpath(sys.executable))' 2>/dev/null || true
    done | sort -u
}

found=$(interpreters)
for python in $found; do
    echo "== $python"
    "$python" "$PROGRAMS/anypython.py"
done
note "$(for python in $found; do "$python" -c 'import sys; print("%d.%d.%d" % sys.version_info[:3])'; done | paste -s -d ' ')"
