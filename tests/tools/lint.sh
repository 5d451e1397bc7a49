#!/usr/bin/env bash
# The promises of src/README.md that a script can hold us to: floors, a map that names every file, headers
# that compile alone and twice, files and functions that fit, attributes in one place, no forbidden symbol.
set -euo pipefail
cd "$(dirname "$0")/../.."
CC=${CC:-cc}
failed=0

fail() {
    printf 'FAIL %s\n' "$*"
    failed=$((failed + 1))
}

# The order of this list is the architecture: a file includes its own floor and those before it.
floors="base os heap world gc watch alloc api"

layers() {
    local allowed="" floor file include
    for floor in $floors; do
        allowed="$allowed $floor"
        for file in src/"$floor"/*.[ch]; do
            for include in $(sed -n 's/^#include "\([a-z]*\)\/.*/\1/p' "$file"); do
                case " $allowed " in
                *" $include "*) ;;
                *) fail "layers: $file includes $include/" ;;
                esac
            done
        done
    done
}

# Every source file has its place on the map.
map() {
    local file name
    for file in src/*/*.c; do
        name=$(basename "${file%_linux.c}" .c)
        case $name in wrap_*) name="wrap_*" ;; esac
        grep -qwF "$name" src/README.md || fail "map: src/README.md does not name $file"
    done
}

headers() {
    local header tmp
    tmp=$(mktemp -d)
    for header in src/*/*.h include/gcalloc.h; do
        printf '#include "%s"\n#include "%s"\n' "${header#src/}" "${header#src/}" > "$tmp/h.c"
        "$CC" -std=gnu17 -Wall -Wextra -Werror -Isrc -I. -Iinclude -fsyntax-only "$tmp/h.c" 2> "$tmp/err" ||
            { fail "headers: $header"; head -3 "$tmp/err"; }
    done
    rm -rf "$tmp"
}

lengths() {
    local file lines
    for file in src/*/*.[ch] include/*.h; do
        lines=$(wc -l < "$file")
        [ "$lines" -le 700 ] || fail "lengths: $file has $lines lines"
        # A table of constants may be wider.
        ! grep -nE '^.{111,}' "$file" | grep -v sizeclass_table || fail "lengths: $file has long lines"
    done
}

# A function fits a screen.
functions() {
    local long
    long=$(awk 'FNR == 1 { name = "" } /^[A-Za-z].*\(/ { name = $0 } /^{/ { start = FNR }
        /^}/ && start && FNR - start >= 50 { print FILENAME ": " name } /^}/ { start = 0 }' src/*/*.[ch])
    [ -z "$long" ] || fail "functions: longer than 50 lines: $long"
}

attributes() {
    local found
    found=$(grep -nE '__attribute__|^ *#pragma' src/*/*.[ch] | grep -v '^src/base/compiler\.h' || true)
    [ -z "$found" ] || fail "attributes: not in base/compiler.h: $found"
}

tables() {
    local tmp
    tmp=$(mktemp -d)
    "$CC" -O1 -o "$tmp/mk" src/heap/mksizeclasses.c
    "$tmp/mk" header | cmp -s - src/heap/sizeclass_table.h || fail "tables: sizeclass_table.h is not what its generator prints"
    "$tmp/mk" | cmp -s - src/heap/sizeclass_table.inc || fail "tables: sizeclass_table.inc is not what its generator prints"
    rm -rf "$tmp"
}

# Only gc_*, the malloc surface and the wrappers are visible, from either library.
symbols() {
    local library=build/libgcalloc.so archive=build/libgcalloc.a allowed name
    [ -e "$library" ] || { printf 'SKIP symbols: %s is not built\n' "$library"; return; }
    allowed=$(grep -v '^#' src/api/malloc_symbols.txt
        sed -n 's/^WRAPPED(\(.*\))$/\1/p' src/api/wrap_symbols.def)
    for name in $({ nm -D --defined-only "$library"; nm -g --defined-only "$archive"; } |
        awk 'NF == 3 && $2 != "A" { sub(/@.*/, "", $3); print $3 }' | sort -u); do
        case $name in
        gc_*) ;;
        *) grep -qx "$name" <<< "$allowed" || fail "symbols: $name is exported" ;;
        esac
    done
    if readelf -d "$library" | grep NEEDED | grep -vE 'libc\.so|libpthread|libdl|ld-linux'; then
        fail "symbols: needs more than libc"
    fi
}

layers
map
headers
lengths
functions
attributes
tables
symbols
[ "$failed" -eq 0 ] && printf 'ok lint\n'
exit "$((failed != 0))"
