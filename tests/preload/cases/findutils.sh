# PURPOSE: find, ls, xargs, du, stat, grep -r, diff and other small tools over a system directory.
NEEDS="find ls xargs grep diff"
STRESS=64

prepare() { cp -a /usr/share/perl "$IN/tree" 2>/dev/null || cp -a /usr/share/doc "$IN/tree"; }

run() {
    cd "$IN" || return
    find tree -printf '%p %s %y %m\n' | sort | sha256sum
    ls -laR --time-style=+%s tree | sha256sum
    ls -l --sort=size --color=always tree | sha256sum
    find tree -type f -print0 | sort -z | xargs -0 -n 40 -P 2 cat | wc -c
    find tree -type f -name '*.p?' -exec grep -l 'sub [a-z]*' {} + | sort | sha256sum
    grep -rhoE '\b[A-Z][a-z]+::[A-Za-z]+\b' tree | sort | uniq -c | sort -k1,1nr -k2 | head -n 20
    du -s --apparent-size tree/*
    diff -rq tree tree && echo "a tree is equal to itself"
    find tree -type f | sort | head -n 300 | xargs wc -l | tail -n 1
    status ls /no/such/file
}
