# The everyday tools.
exec 2>&1
work=$(mktemp -d) && trap 'rm -rf "$work"' EXIT && cd "$work" || exit 99
export LC_ALL=C

mkdir -p a/b/c; touch a/1 a/b/2 a/b/c/3
find . | sort; find . -type f -name '[12]' | sort; find a -depth | tail -1
cp -r a copy; diff -r a copy && echo same
mv copy moved; ls moved; rm -r moved; ls
ln -s a/1 link; readlink link; readlink -f link | sed 's|.*/||'; ln a/1 hard; stat -c %h hard
seq 100 > n; head -3 n; tail -2 n; wc n; sum n; md5sum n; sha256sum n | cut -c1-16; cksum n; b2sum n | cut -c1-16
sort -rn n | uniq | tail -1; shuf -n 3 n | wc -l; split -l 30 n part; ls part* | xargs; cat part* | cmp - n && echo equal
tac n | head -1; rev <<< abc; paste -d, <(seq 3) <(seq 4 6); join <(printf '1 a\n2 b\n') <(printf '1 x\n2 y\n')
tr a-z A-Z <<< hello; cut -d: -f1 /etc/passwd | head -1; expand <<< "$(printf 'a\tb')"; fold -w 3 <<< abcdefg
nl n | head -1; od -An -tx1 <<< AB; base64 <<< text; basename /x/y.c .c; dirname /x/y; comm -12 n <(seq 99 101)
dd if=/dev/zero of=z bs=1k count=64 2>/dev/null; stat -c '%s %A %F' z; truncate -s 10 z; stat -c %s z
chmod 4750 z; stat -c '%a' z; touch -d '2001-02-03 04:05:06 UTC' z; stat -c %Y z; date -u -r z +%F
test -f z -a ! -d z; echo $?; [ n -nt z ]; echo $?; expr 3 + 4; factor 91; seq -s+ 5 | tee sum; cat sum
du -s --apparent-size -b a | cut -f1 >/dev/null; df . > /dev/null && echo df; id -u | grep -c '^[0-9]*$'
env -i A=1 env; printenv HOME >/dev/null && echo home; nice -n 5 nice; nohup true; echo $?
tar cf t.tar a n && tar tf t.tar | sort && mkdir x && tar xf t.tar -C x && diff -r a x/a && echo tar
gzip -k n && gunzip -c n.gz | cmp - n && echo gzip; xz -k n && xz -dc n.xz | cmp - n && echo xz
grep -c 9 n; grep -E '^(1|2)0$' n; grep -rl 99 . | sort | head -2; sed -n '5,7p' n; sed -i 's/^1$/one/' n; head -1 n
awk '{ s += $1 } END { print s }' n; xargs -n 40 -P 2 < n | wc -l; bc <<< '2^64' 2>/dev/null || echo nobc
mktemp -u | grep -c tmp; sync; mkfifo ff; ls -l ff | cut -c1; rm -f ff; install -m 640 n inst; stat -c %a inst
ls -la a | awk '{ print $1, $NF }' | tail -2; pwd | grep -c /; who > /dev/null; echo done; sleep 0.01; true; false; echo $?
numfmt --to=iec 1048576; printf '%05.1f|%-5s|%x\n' 3.14159 ab 255; tsort <<< 'a b b c'; stat -c '%U' n; tty
