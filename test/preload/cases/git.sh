# needs: git awk
# Fixed names and dates, so every hash is known; gc packs in two threads, fsck reads all back.
export GIT_CONFIG_NOSYSTEM=1 GIT_CONFIG_GLOBAL=/dev/null
export GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@example.org GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@example.org
export GIT_AUTHOR_DATE='2020-01-01T00:00:00Z' GIT_COMMITTER_DATE='2020-01-01T00:00:00Z'

git init -q -b main repo
cd repo
git config pack.threads 2
git config gc.auto 0
mkdir -p src/{a,b,c,d,e,f,g,h}
awk 'BEGIN { split("abcdefgh", d, ""); for (i = 0; i < 2400; i++) { f = "src/" d[i % 8 + 1] "/f" i
    for (k = 0; k < 30 + i % 50; k++) print "line " k " of file " i, k * i > f; close(f) } }'
git add -A
git commit -q -m "many files"
git checkout -q -b side
for file in src/a/*; do echo changed >>"$file"; done
git commit -q -a -m "one folder changed"
git checkout -q main
git mv src/b src/moved
git commit -q -m "one folder moved"
git merge -q -m "both" side
git gc -q
git fsck --full --strict
git log --stat --format=%H | cksum
git cat-file --batch-all-objects --batch-check | sort | cksum
git clone -q . ../clone
git -C ../clone rev-parse HEAD
git blame src/a/f0 | cksum
git grep -c 'line 7 of' | cksum
