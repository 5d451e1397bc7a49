# PURPOSE: awk, sed, bc, dc, tr, cut, join, paste, printf, od, base64 on generated text.
NEEDS="awk sed bc seq"
STRESS=64

prepare() { seq 1 60000 >"$IN/numbers"; }

run() {
    awk '{ a[$1 % 997] += $1; s[$1 % 101] = s[$1 % 101] "x" }
        END { for (i = 0; i < 997; i++) t += a[i] * i; print t, length(s[7]) }' "$IN/numbers"
    awk '{ n = split($0 "-" NR "-abc", p, "-"); gsub(/[135]/, "<&>"); o = o $0 p[n] }
        END { print length(o) }' "$IN/numbers"
    sed -n -E -e 's/([0-9])([0-9])/\2\1/g; /99$/{N;N;s/\n/+/g;p}' "$IN/numbers" | sha256sum
    sed -e ':a;N;$!ba;s/\n/ /g' <(head -n 8000 "$IN/numbers") | sha256sum
    echo 'scale=700; 4*a(1); e(1); sqrt(2)' | bc -l | sha256sum
    printf '%s\n' '2^4000 % 10^50' 'define f(n) {' 'if (n < 2) return (n)' \
        'return (f(n-1) + f(n-2))' '}' 'f(17)' | bc
    paste "$IN/numbers" <(tac "$IN/numbers") | tr '\t' ':' | cut -d: -f2 | sha256sum
    join <(sort "$IN/numbers") <(seq 10 7 60000 | sort) | wc -l
    base64 "$IN/numbers" | base64 -d | cmp - "$IN/numbers" && echo "base64: same"
    od -A d -t x1z "$IN/numbers" | tail -n 3
    shuf -i 1-50000 --random-source="$IN/numbers" | sha256sum
    factor 18446744073709551615 99999999999999999999999
    split -n 7 "$IN/numbers" part. && cat part.* | cmp - "$IN/numbers" && echo "split: same"
}
