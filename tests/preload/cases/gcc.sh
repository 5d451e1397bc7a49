# PURPOSE: gcc -O2 of a generated C file of 10,000 lines: the object must be the same to the byte.
NEEDS="gcc awk"
WEIGHT=20
LIMIT=180

prepare() {
    awk -f "$SRC/generate-c.awk" -v lines=10000 >"$IN/big.c"
    [ "$(wc -l <"$IN/big.c")" -ge 10000 ]
}

run() {
    cp "$IN/big.c" .
    gcc -O2 -c big.c -o big.o && sha256sum big.o
    echo 'int f(void) { return undeclared; }' >bad.c
    gcc -c bad.c 2>&1
    echo "an error: status $?"
}
