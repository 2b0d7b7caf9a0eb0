# needs: gcc
# CPython as a library of another program: opened by that, and needed by a plugin, in an ordinary and in an isolated configuration, which
# does not ask for PYTHONMALLOC; its objects must live in malloc. Then imitations, for what is not installed: a free-threaded build, and a
# library that asks for the same variable and is no interpreter.
served=${CASE_LIB:+malloc}
served=${served:--}
gcc -O1 -o embedded "$PROGRAMS/embedded.c" -ldl

for path in /usr/lib/*/libpython3.*.so.1.0; do
    name=${path##*/}
    echo 'void plugin(void) {}' >plugin.c
    gcc -shared -fPIC -o plugin.so plugin.c -Wl,--no-as-needed "$path"
    for library in "$name" ./plugin.so; do
        for how in local global "local isolated"; do
            echo "== $name through $library, $how"
            set -- $how
            ./embedded "$library" $1 "import sys; print(len([(i, str(i)) for i in range(100000)][::1000])); sys._debugmallocstats()" ${2:-} 2>stderr
            [ -z "$CASE_LIB" ] || ! grep "arenas allocated total" stderr
        done
    done
done

imitate() {     # name, told, gcc's arguments
    gcc -shared -fPIC -DIMITATION -o "lib$1.so" "$PROGRAMS/embedded.c" "${@:3}"
    for scope in local global; do
        echo "== $1, $scope"
        ./embedded "./lib$1.so" $scope "$2"
        PYTHONMALLOC='' ./embedded "./lib$1.so" $scope "${2#-}"
        PYTHONMALLOC=debug ./embedded "./lib$1.so" $scope debug
        LOWTIDE_PYTHON=off ./embedded "./lib$1.so" $scope -
    done
}

imitate cpython "$served" -DCPYTHON
imitate freethreaded - -DCPYTHON -DFREE_THREADED
imitate other -
# Who does not ask, by its first arena. What is expected is told to both runs, of which the plain one keeps pymalloc.
gcc -DLOADER -o pymalloc "$PROGRAMS/pymalloc.c" -w
expect() {      # words, command
    words=$("${@:2}") || echo "$2 ended with $?: $words"
    [ "$words" = "$(if [ -n "$CASE_LIB" ]; then echo "$1"; else echo pymalloc; fi)" ] || echo "${*:2}: $words"
}
unasked() {     # malloc or pymalloc, library's name, gcc's arguments
    gcc -shared -fPIC -w -o "$2.so" "$PROGRAMS/pymalloc.c" "${@:3}"
    echo "== $2"
    expect "$1" ./pymalloc "./$2.so"
    expect pymalloc env LOWTIDE_PYTHON=off ./pymalloc "./$2.so"
    expect pymalloc env PYTHONMALLOC=pymalloc ./pymalloc "./$2.so"
}
unasked malloc libpython3.99
unasked malloc libpython3.5m -DARENA_KIB=256 -DOLD
unasked pymalloc libpythonhooks -DHOOKS
unasked pymalloc libpython3.99t -DFREE_THREADED
unasked pymalloc libpythonasks -DASKS
unasked pymalloc libpythonlarge -DARENA_KIB=512
unasked pymalloc libother
gcc -DPROGRAM -w -rdynamic -o frozen "$PROGRAMS/pymalloc.c"
expect malloc ./frozen
note "$(ls /usr/lib/*/libpython3.*.so.1.0 | sed 's|.*/||' | paste -s -d ' ')"
