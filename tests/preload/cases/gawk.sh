# PURPOSE: gawk: big arrays, sorting functions, regular expressions, coprocess, bignums.
NEEDS="gawk"
STRESS=64
MODES="preload stress manual"

run() {
    gawk 'BEGIN {
        for (i = 0; i < 60000; i++)
            a[(i * 7919) % 60013 "k"] = sprintf("%d-%s", i, i % 13 ? "u" : "v")
        n = asorti(a, b); for (i = 1; i <= n; i += 997) h = h b[i] a[b[i]]; print n, h
        for (k in a) if (a[k] ~ /v$/) { delete a[k]; gone++ } print gone, length(a)
        for (i = 0; i < 3000; i++) m[i % 50][i] = i * i; print length(m), length(m[7])
        s = "abc"; for (i = 0; i < 14; i++) s = s s
        print length(s), gsub(/b+/, "[&]", s), length(s)
        cmd = "sort -r"; for (i = 0; i < 2000; i++) print i |& cmd; close(cmd, "to")
        while ((cmd |& getline line) > 0) last = line; close(cmd); print last
    }'
}
