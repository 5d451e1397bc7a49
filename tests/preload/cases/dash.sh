# PURPOSE: dash, Debian's sh: small, single-threaded, and a fork for everything.
NEEDS="dash"
MODES="preload stress manual"
STRESS=16

run() {
    status dash -c '
        i=0; t=0
        while [ $i -lt 120 ]; do i=$((i+1)); t=$((t + $(echo $i | cat))); done; echo $t
        f() { [ $1 -eq 0 ] && return 0; ( f $(($1 - 1)) ); echo -n $1; }; f 25; echo
        x=; i=0; while [ $i -lt 2000 ]; do x="$x line$i"; i=$((i+1)); done; set -- $x; echo $# ${#x}
        i=0; while [ $i -lt 200 ]; do eval "v$i=\$i"; i=$((i+1)); done; eval echo \$v199
        for p in 1 2 3 4 5 6 7 8; do (exit $p) & wait $! || echo "exit $?"; done
        cat <<END | tr a-z A-Z
heredoc $(seq 300 | wc -l) and ${x%% line1*} end
END
        trap "echo bye" EXIT; kill -TERM $$'
}
