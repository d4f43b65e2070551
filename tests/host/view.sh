# What a sandbox sees and what it can change: the options for files, identity and environment.
. "$TOP/tests/host/lib"

echo outside >file; mkdir dir; echo in dir >dir/f
check "reads a file of the host" outside "$(box -- cat file)"
check "writes it" changed "$(box -- sh -c 'echo changed >file; cat file')"
check "the host's is as before" outside "$(cat file)"
box -- sh -c 'rm -rf dir; mkdir new; touch /etc/made-by-sandbox' ; check "removed nothing" "in dir" "$(cat dir/f)"
check "made nothing" "no no" "$(test -e new && echo yes || echo no) $(test -e /etc/made-by-sandbox && echo yes || echo no)"
check "working directory" "$PWD" "$(box -- pwd)"
check "--workdir" / "$(box --workdir / -- pwd)"
check "/tmp is empty" "" "$(box --workdir / -- ls -A /tmp)"
tmp=$(mktemp -d); echo below >"$tmp/f"; check "a working directory below /tmp is seen" below "$(cd "$tmp" && box -- cat f)"; rm -r "$tmp"
check "--tmpfs" "" "$(box --tmpfs /usr/share -- ls -A /usr/share)"
check "--bind" "in dir" "$(box --bind "$PWD/dir:/mnt" -- cat /mnt/f)"
box --bind "$PWD/dir:/mnt" -- sh -c 'echo written >/mnt/g'; check "--bind writes through" written "$(cat dir/g)"
box --bind "$PWD/dir:/mnt:ro" -- sh -c 'echo no >/mnt/h' 2>/dev/null; check "--bind :ro does not" no "$(test -e dir/h && echo yes || echo no)"
touch -d @15000000000 far; check "a file from after 2262" 0 "$(box -- stat far >/dev/null 2>&1; echo $?)"
check "/dev/stdin that is a pipe" a "$(echo a | box -- cat /dev/stdin)"
check "/dev/stderr that is a pipe" x "$(box -- sh -c "echo x >/dev/stderr" 2>&1 | cat)"
check "umask" 0077 "$(umask 077; box -- sh -c umask)"
check "--overlay none" 1 "$(box --overlay none --workdir / -- sh -c 'touch /etc/x 2>/dev/null; echo $?')"
mkdir upper; box --overlay "dir=$PWD/upper" -- sh -c 'echo kept >kept-here'
check "--overlay dir keeps" kept "$(box --overlay "dir=$PWD/upper" -- cat kept-here)"
check "and the host is as before" no "$(test -e kept-here && echo yes || echo no)"
mkdir -p root/bin; cp "$BUILD/guest/hello" root/bin/ 2>/dev/null && check "--root" "hello" "$(box --root "$PWD/root" --workdir / -- /bin/hello)"
mkdir -p root/etc; mkfifo root/etc/hosts
check "a root whose hosts file is a FIFO" hello "$(timeout 20 "$SANDBOX" exec --platform "$PLATFORM" --root "$PWD/root" --workdir / -- /bin/hello)"
[ ! -e /etc/hosts ] || check "its own name has an address" "127.0.1.1 box1" "$(box --hostname box1 -- getent hosts box1 | xargs)"
check "--hostname" box1 "$(box --hostname box1 -- hostname)"
check "--env" "a b" "$(X=b box --env Y=a --env X -- sh -c 'echo $Y $X')"
check "own pid" 1 "$(box -- sh -c 'echo $$')"
check "few processes" yes "$([ "$(box -- sh -c 'ls -d /proc/[0-9]* | wc -l')" -le 4 ] && echo yes)"
check "user" "$(id -u) $(id -g)" "$(box -- sh -c 'echo $(id -u) $(id -g)')"
if [ "$(id -u)" = 0 ]; then
	check "--bind :ro stays so" "1 ro" "$(box --bind "$PWD/dir:/mnt:ro" -- python3 -c '
import ctypes
print(ctypes.CDLL(None).mount(b"none", b"/mnt", None, 32, None) + 2, "ro" if " /mnt " in open("/proc/mounts").read() else "")' 2>&1)"
	check "--user name" nobody "$(box --user nobody --workdir / -- id -un)"
	check "--user uid:gid" "1234 567" "$(box --user 1234:567 --workdir / -- sh -c 'echo $(id -u) $(id -g)')"
	who='echo $HOME $USER $LOGNAME'
	check "--user is in the environment" "/usr/sbin daemon" "$(unset LOGNAME; HOME=/root USER=root box --user daemon --workdir / -- sh -c "$who")"
	check "a number without a name" / "$(HOME=/root USER=root LOGNAME=root box --user 54321 --workdir / -- sh -c "$who")"
	check "what --env says stays" "/h root daemon" "$(HOME=/root USER=root LOGNAME=root box --user daemon --env HOME=/h --env USER --workdir / -- sh -c "$who")"
	check "--env - says nothing" "" "$(box --env - --user daemon --workdir / -- sh -c "$who")"
	check "--user can open his streams" ab "$(echo a | box --user nobody --workdir / -- sh -c 'cat /dev/stdin; echo b >/dev/stderr' 2>&1 | xargs | tr -d ' ')"
	check "--user has no power" 1 "$(box --user nobody --workdir / -- sh -c 'touch /etc/x 2>/dev/null; echo $?')"
fi
check "only loopback" "lo" "$(box -- sh -c 'tail -n +3 /proc/net/dev 2>/dev/null | cut -d: -f1 | xargs')"
check "kernel name" Linux "$(box -- uname -s)"
box --strace=trace -- cat file >/dev/null; check "--strace names calls" yes "$(grep -q 'openat(.*"file"' trace && grep -q 'write(1, "outside' trace && echo yes)"
box --log log --debug -- true; check "--log" yes "$(test -e log && echo yes)"
