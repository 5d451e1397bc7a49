# PURPOSE: git: init, add, commit, branches, merge, diff, log, repack with two threads, fsck,
#   clone. All names and dates are fixed, so every object name is.
NEEDS="git seq"
LIMIT=120
WEIGHT=6

prepare() {
    local i
    mkdir "$IN/files"
    for i in $(seq 400); do
        mkdir -p "$IN/files/d$((i % 17))"
        seq "$i" 3 $((i * 3 + 900)) >"$IN/files/d$((i % 17))/f$i.txt"
    done
}

date_is() {
    export GIT_AUTHOR_DATE="2020-01-0$1T00:00:00Z"
    export GIT_COMMITTER_DATE=$GIT_AUTHOR_DATE
}

commit() {
    git add -A && git commit -q -m "$1" && git rev-parse HEAD
}

run() {
    export GIT_CONFIG_NOSYSTEM=1 GIT_AUTHOR_NAME=A GIT_AUTHOR_EMAIL=a@example.org
    export GIT_COMMITTER_NAME=B GIT_COMMITTER_EMAIL=b@example.org
    git init -q -b main repo && cd repo || return
    git config pack.threads 2 && git config gc.auto 0 && git config index.threads 2
    cp -r "$IN/files/." .
    date_is 1 && commit first
    git checkout -q -b side && sed -i '2s/^/side /' d1/*.txt && date_is 2 && commit side
    git checkout -q main && sed -i '90s/$/ main/' d1/*.txt d2/*.txt && rm d3/f3.txt && git mv d4 d44
    date_is 3 && commit main
    date_is 4 && git merge -q --no-edit side && git rev-parse HEAD
    git log --stat -M --format='%H %an %ad %s' | sha256sum
    git diff HEAD~1 HEAD~2 | sha256sum
    git blame -l d1/f1.txt | sha256sum
    git grep -c main | sort | sha256sum
    git gc -q --aggressive --prune=now
    echo "gc: status $?"
    git verify-pack -v .git/objects/pack/*.idx | awk 'length($1) == 40 { print $1, $2 }' |
        sort | sha256sum
    git fsck --full --strict && git count-objects -v | grep -E '^(count|in-pack|packs|garbage)'
    # The near end shows what the far end writes to stderr.
    untraced git clone -q --no-local . ../copy && git -C ../copy rev-parse HEAD &&
        git -C ../copy status -s
    git archive HEAD d1 | sha256sum
    git rev-list --objects --all | sha256sum
    status git checkout -q no-such-branch
}
