# needs: gcc
# CPython as a library of another program: opened by that, and needed by a plugin; its objects must live in malloc. Then imitations,
# for what is not installed: a free-threaded build, and a library that asks for the same variable and is no interpreter.
served=${CASE_LIB:+malloc}
served=${served:--}
gcc -O1 -o embedded "$PROGRAMS/embedded.c" -ldl

for path in /usr/lib/*/libpython3.*.so.1.0; do
    name=${path##*/}
    echo 'void plugin(void) {}' >plugin.c
    gcc -shared -fPIC -o plugin.so plugin.c -Wl,--no-as-needed "$path"
    for library in "$name" ./plugin.so; do
        for scope in local global; do
            echo "== $name through $library, $scope"
            ./embedded "$library" $scope "import sys; print(len([(i, str(i)) for i in range(100000)][::1000])); sys._debugmallocstats()" 2>stderr
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
note "$(ls /usr/lib/*/libpython3.*.so.1.0 | sed 's|.*/||' | paste -s -d ' ')"
