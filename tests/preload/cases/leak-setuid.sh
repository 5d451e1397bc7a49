# PURPOSE: a daemon that starts as root and drops its privileges is made undumpable by the kernel,
#   which closes much of /proc/self to it; what it leaks must be reclaimed all the same.
NEEDS="gcc"

prepare() {
    [ "$(id -u)" = 0 ] || skip "only root can drop its privileges"
    compile "$IN/leak" leak.c -pthread
}

run() { stays_below 300 "$IN/leak" 600 setuid; }
