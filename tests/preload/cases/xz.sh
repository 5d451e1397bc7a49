# PURPOSE: xz with two compressing threads, and the way back; the packed bytes are compared too.
NEEDS="xz"
STRESS=64
WEIGHT=5

prepare() { cat /usr/bin/perl /usr/bin/openssl "$(command -v git)" | head -c 6000000 >"$IN/data"; }

run() {
    xz -T2 -2 --block-size=1MiB -c "$IN/data" >packed.xz
    sha256sum <packed.xz
    xz -t packed.xz && xz -dc -T2 packed.xz | cmp - "$IN/data" && echo "round trip: same"
    xz -6 -c "$IN/data" | xz -dc | cmp - "$IN/data" && echo "preset 6: same"
    head -c 1000 packed.xz | xz -dc 2>&1 >/dev/null
    echo "truncated: status $?"
}
