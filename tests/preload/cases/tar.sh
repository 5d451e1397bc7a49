# PURPOSE: tar packs and unpacks a tree with links, long names and a compressor as its child.
NEEDS="tar gzip find"
STRESS=64

prepare() {
    local i dir
    mkdir -p "$IN/tree"
    for i in $(seq 400); do
        dir=$IN/tree/d$((i % 20))/a-rather-long-directory-name-for-the-long-name-record-$((i % 7))
        mkdir -p "$dir"
        seq "$i" $((i + 200)) >"$dir/file-with-a-rather-long-name-too-$i"
    done
    ln -s d1 "$IN/tree/link"
    ln "$IN"/tree/d1/*/file-with-a-rather-long-name-too-1 "$IN/tree/hard"
    find "$IN/tree" -exec touch -h -d 2020-02-02T02:02:02Z {} +
}

run() {
    tar -C "$IN" --sort=name --owner=0 --group=0 --numeric-owner -cf t.tar tree
    sha256sum <t.tar
    tar -tvf t.tar | sha256sum
    tar -xf t.tar && diff -r tree "$IN/tree" && echo "unpacked: same"
    tar -C "$IN" --sort=name -czf t.tgz tree && mkdir z && tar -C z -xzf t.tgz &&
        diff -r z/tree tree && echo "through gzip: same"
    tar -xf t.tar no/such/member
    echo "missing member: status $?"
}
