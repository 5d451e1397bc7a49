#!/bin/sh
# PURPOSE: installs what only the tests need, on Debian and its children. The library and its
#   demo need nothing from here.
# USE: tests/install.sh            installs whatever is missing (sudo when not root)
#      tests/install.sh --list     prints the packages and whether they are there
# EXIT: 0 if the mandatory packages are there at the end, 1 if not. A missing optional package is
#   a loud line and costs only the tests that run that program.
# COST: no apt call at all when nothing is missing.
set -eu

MANDATORY="libcmocka-dev"

# The programs of tests/preload. redis-tools holds the server too: redis-server and
# redis-check-rdb are one binary in Debian, so no service has to be installed for it.
OPTIONAL="python3 perl git sqlite3 redis-tools nginx apache2-utils openssl xz-utils g++
    lua5.4 ruby php-cli bc gawk util-linux procps fontconfig"

POLICY=/usr/sbin/policy-rc.d
made_policy=no

say() { printf 'tests/install.sh: %s\n' "$*"; }

is_installed() {
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null || true)" = installed ]
}

# The test suite package carries python's version in its name.
python_testsuite() {
    [ -x /usr/bin/python3 ] || return 0
    /usr/bin/python3 -c 'import sys; print("libpython%d.%d-testsuite" % sys.version_info[:2])'
}

missing_of() {
    for package in "$@"; do
        is_installed "$package" || printf '%s ' "$package"
    done
}

have_lists() {
    for list in /var/lib/apt/lists/*_Packages*; do
        [ -e "$list" ] && return 0
    done
    return 1
}

apt() {
    $SUDO env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=120 "$@" \
        >"$LOG" 2>&1 </dev/null
}

# A package's service must neither start now nor come up at the next boot because of a test.
forbid_services() {
    [ ! -e "$POLICY" ] || return 0
    printf '#!/bin/sh\nexit 101\n' | $SUDO tee "$POLICY" >/dev/null 2>&1 || {
        say "cannot write $POLICY; services of new packages may start"
        return 0
    }
    made_policy=yes
    $SUDO chmod 755 "$POLICY"
}

allow_services() {
    [ "$made_policy" = no ] || $SUDO rm -f "$POLICY"
    made_policy=no
}

# keep_services_down PACKAGE... -- those that were just installed and bring a service
keep_services_down() {
    [ -d /run/systemd/system ] || return 0
    for package in "$@"; do
        case $package in
        nginx) $SUDO systemctl disable -q nginx 2>/dev/null || true ;;
        esac
    done
}

# install PACKAGE... -- all in one call, and one by one when that fails
install() {
    [ $# -gt 0 ] || return 0
    say "installing: $*"
    forbid_services
    if ! apt install --no-install-recommends "$@"; then
        for package in "$@"; do
            apt install --no-install-recommends "$package" || true
        done
    fi
    allow_services
    keep_services_down "$@"
}

# try_install PACKAGE... -- with fresh package lists if the first attempt leaves anything missing
try_install() {
    install "$@"
    left=$(missing_of "$@")
    if [ -n "$left" ] && [ "$updated" = no ]; then
        apt update || say "apt-get update failed: $(tail -n 1 "$LOG")"
        updated=yes
        # shellcheck disable=SC2086 # a list of words
        install $left
    fi
}

list() {
    for package in $MANDATORY $OPTIONAL $(python_testsuite); do
        if is_installed "$package"; then
            printf '%-28s installed\n' "$package"
        else
            printf '%-28s MISSING\n' "$package"
        fi
    done
}

# How to become root: empty when we are, "no" when there is no way.
root_prefix() {
    if [ "$(id -u)" = 0 ]; then
        return 0
    elif ! command -v sudo >/dev/null 2>&1; then
        echo no
    elif [ -t 0 ]; then
        echo sudo
    elif sudo -n true 2>/dev/null; then
        echo "sudo -n"
    else
        echo no
    fi
}

has_cmocka() {
    printf '#include <%s>\n' stdarg.h stddef.h stdint.h setjmp.h cmocka.h |
        ${CC:-cc} -E -x c - >/dev/null 2>&1
}

# finish -- the verdict, from what is there now
finish() {
    # shellcheck disable=SC2046,SC2086 # lists of words
    for package in $(missing_of $OPTIONAL $(python_testsuite)); do
        say "NOT INSTALLED: $package (optional; the tests that need it will be SKIPPED)"
    done
    # shellcheck disable=SC2086
    left=$(missing_of $MANDATORY)
    if [ -n "$left" ] && ! has_cmocka; then
        say "NOT INSTALLED: $left(mandatory)"
        [ ! -s "$LOG" ] || tail -n 5 "$LOG"
        exit 1
    fi
    exit 0
}

if ! command -v apt-get >/dev/null 2>&1 || ! command -v dpkg-query >/dev/null 2>&1; then
    say "no apt-get here; please install these or their equivalents: $MANDATORY" $OPTIONAL
    if has_cmocka; then exit 0; else exit 1; fi
fi
if [ "${1:-}" = --list ]; then
    list
    exit 0
fi

# shellcheck disable=SC2046,SC2086
missing=$(missing_of $MANDATORY $OPTIONAL $(python_testsuite))
[ -n "$missing" ] || exit 0

SUDO=$(root_prefix)
if [ "$SUDO" = no ]; then
    say "neither root nor a usable sudo; please run: apt-get install $missing"
    # shellcheck disable=SC2086
    if [ -z "$(missing_of $MANDATORY)" ] || has_cmocka; then exit 0; else exit 1; fi
fi

LOG=$(mktemp)
trap 'allow_services; rm -f "$LOG"' EXIT
trap 'exit 1' INT TERM HUP
updated=no
if ! have_lists; then
    apt update || say "apt-get update failed: $(tail -n 1 "$LOG")"
    updated=yes
fi
# shellcheck disable=SC2086
try_install $missing
# Known only once there is a python3.
# shellcheck disable=SC2046
[ -z "$(missing_of $(python_testsuite))" ] || try_install $(missing_of $(python_testsuite))
finish
