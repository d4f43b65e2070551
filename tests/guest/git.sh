# git init, add, commit, status, log, branches, merge on 3,000 files.
exec 2>&1
command -v git >/dev/null || { echo "no git"; exit 77; }
work=$(mktemp -d) && trap 'rm -rf "$work"' EXIT && cd "$work" || exit 99
export GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@x GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@x GIT_CONFIG_NOSYSTEM=1 HOME=$PWD
export GIT_AUTHOR_DATE='2001-02-03T04:05:06Z' GIT_COMMITTER_DATE='2001-02-03T04:05:06Z'
git init -q -b main repo; cd repo
for d in 0 1 2; do mkdir $d; for i in $(seq 1000); do echo "file $d $i" > $d/$i; done; done
git add . ; git commit -qm "first of $(git ls-files | wc -l)"
git log --oneline; git status --short | wc -l
echo changed > 0/1; rm 1/1; echo new > new; git status --short
git diff | tail -4
git checkout -qb topic; git commit -qam topic; git checkout -q main; git merge topic -q 2>&1 | tail -1; git log --oneline --graph | head
git stash -qu 2>/dev/null; git gc -q 2>&1; git fsck 2>&1 | tail -1; git count-objects | cut -d' ' -f1
git clone -q . ../clone; ls ../clone | xargs; git -C ../clone log --format=%H -1
git grep -c 'file 2 77' | wc -l; git blame -s 2/77; git show HEAD:2/5; git archive HEAD | tar t | wc -l
