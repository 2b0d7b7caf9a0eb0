# needs: g++
# Templates keep the compiler busy with small nodes; the program that comes out does the same with
# containers, exceptions, shared pointers and threads.
g++ -std=c++17 -O2 -pthread "$PROGRAMS/containers.cpp" -o containers
./containers
