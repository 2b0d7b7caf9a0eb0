# needs: gcc objdump size awk
# A C file of 20,000 lines at -O2: the code that comes out must be the same, instruction by
# instruction. gcc's garbage collector and obstacks are old and peculiar users of malloc.
awk 'BEGIN {
    print "#include <stdio.h>\n#include <string.h>\nstruct item { int key; double value; char name[16]; };"
    for (i = 0; i < 1400; i++) {
        printf "static int step%d(struct item *items, int count) {\n", i
        printf "    int sum = %d;\n    for (int k = 0; k < count; k++) {\n", i
        printf "        if (items[k].key %% %d == %d)\n            sum += items[k].key * %d;\n", i % 7 + 2, i % 2, i
        printf "        else\n            items[k].value *= %d.5;\n", i
        print  "        switch (items[k].key & 3) {\n        case 0: sum ^= k; break;\n        case 2: sum += 3; break;\n        }"
        printf "    }\n    return sum;\n}\n"
    }
    print "int run(struct item *items, int count) {\n    int sum = 0;"
    for (i = 0; i < 1400; i++) printf "    sum += step%d(items, count);\n", i
    print "    return sum;\n}"
}' >big.c
wc -l big.c
gcc -O2 -c big.c
objdump -d big.o | cksum
size big.o
