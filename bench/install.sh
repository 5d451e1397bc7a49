#!/bin/sh
# Installs the allocators, the tools and the real programs that the benches want; with --go also the Go
# compiler (some 200 MB) that bench/pauses.py and bench/throughput.py want. Debian and Ubuntu only;
# elsewhere it says what is missing and leaves the rest to you. Exit status 0 when everything is
# there, 1 when something is missing (the benchmark then leaves those columns out, loudly).
set -eu

PACKAGES="libmimalloc2.0 libjemalloc2 libtcmalloc-minimal4 libgc-dev
    python3 perl git sqlite3 redis-tools lua5.4 ghostscript"
case "${1:-}" in
"") ;;
--go) PACKAGES="$PACKAGES golang-go" ;;
*)
    echo "usage: bench/install.sh [--go]" >&2
    exit 2
    ;;
esac

installed() {
    dpkg-query -W -f '${db:Status-Abbrev}' "$1" 2>/dev/null | grep -q '^ii'
}

missing_packages() {
    for package in $PACKAGES; do
        installed "$package" || printf '%s ' "$package"
    done
}

if ! command -v dpkg-query >/dev/null 2>&1 || ! command -v apt-get >/dev/null 2>&1; then
    echo "MISSING: no dpkg/apt-get here; install the equivalents of: $PACKAGES" >&2
    exit 1
fi

missing=$(missing_packages)
[ -n "$missing" ] || exit 0

as_root=""
if [ "$(id -u)" -ne 0 ]; then
    if command -v sudo >/dev/null 2>&1 && sudo -n true 2>/dev/null; then
        as_root="sudo -n"
    else
        echo "MISSING: $missing" >&2
        echo "MISSING: not root and no password-less sudo; run: apt-get install $missing" >&2
        exit 1
    fi
fi

echo "bench/install.sh: installing $missing" >&2
export DEBIAN_FRONTEND=noninteractive
# One package at a time: a name the distribution does not have must not cost us the others.
for package in $missing; do
    $as_root apt-get install -y --no-install-recommends "$package" >/dev/null 2>&1 && continue
    $as_root apt-get update >/dev/null 2>&1 || true
    $as_root apt-get install -y --no-install-recommends "$package" >/dev/null 2>&1 || true
done

missing=$(missing_packages)
if [ -n "$missing" ]; then
    echo "MISSING: $missing" >&2
    echo "MISSING: apt-get could not install them; their columns will be left out" >&2
    exit 1
fi
