# PURPOSE: writes a C file of about `lines` lines, always the same, with loops, switches, structs
# and calls, so that every pass of an optimising compiler has work to do.
function emit(s) { print s; n++ }

BEGIN {
    emit("struct node { struct node *next; int key; double weight; char name[24]; };")
    emit("extern int sink(int); extern struct node *find(struct node *, int);")
    for (f = 0; n < lines; f++) {
        emit("int work" f "(struct node *list, int a, int b)")
        emit("{")
        emit("    int sum = " f ", table[16];")
        emit("    for (int i = 0; i < 16; i++)")
        emit("        table[i] = (a + i * " (f % 13 + 1) ") ^ (b >> (i & 3));")
        emit("    for (struct node *p = list; p; p = p->next) {")
        emit("        switch (p->key % " (f % 5 + 4) ") {")
        for (k = 0; k < 3; k++)
            emit("        case " k ": sum += table[(sum + " k + f % 7 ") & 15] * p->key; break;")
        emit("        default: sum ^= (int)(p->weight * " (f % 17) ".5); break;")
        emit("        }")
        emit("        if (p->name[" (f % 24) "] == '" substr("abcdefgh", f % 8 + 1, 1) "')")
        emit("            sum -= sink(p->key + table[a & 15]);")
        emit("    }")
        if (f > 2)
            emit("    sum += work" (f - 1 - f % 3) "(list ? list->next : 0, b, a - " f ");")
        emit("    return sum;")
        emit("}")
    }
}
