# Odd hosts and odd places to start from: it works, or one line says why not.
. "$TOP/tests/host/lib"

others=$(sandboxes)
run=(timeout 60 "$SANDBOX" exec --platform "$PLATFORM")
unshared=(unshare -m)
[ "$(id -u)" = 0 ] || unshared=(unshare -Urm)
"${unshared[@]}" true 2>/dev/null || { echo "no mount namespaces here"; exit 77; }

# changed CHANGE COMMAND...: COMMAND where the shell command CHANGE has changed the file tree
changed() {
	"${unshared[@]}" sh -c "$1"' && shift && exec "$@"' sh "$@"
}

complains 125 "no /proc" changed "mount -t tmpfs none /proc" "${run[@]}" -- true
names "/proc must be mounted"
complains 125 "a read-only /proc" changed "mount --bind /proc /proc && mount -o remount,bind,ro /proc" "${run[@]}" -- true
names "/proc must be.*not read-only"
status 0 "an empty /dev" changed "mount -t tmpfs none /dev" "${run[@]}" -- true
status 0 "a closed /tmp" changed "mount -t tmpfs -o ro,mode=0 none /tmp" "${run[@]}" -- true
mkdir small; noexec="mount -t tmpfs -o noexec none small && cp /bin/true small"
complains 126 "a mount without execution" changed "$noexec" "${run[@]}" -- "$PWD/small/true"
names "Permission denied.*noexec"
cat >exec.py <<'END'
import mmap
f = open("small/true")
try:
    mmap.mmap(f.fileno(), 4096, mmap.MAP_PRIVATE, mmap.PROT_READ | mmap.PROT_EXEC)
except OSError as e:
    print(e)
END
check "nothing of it can be mapped so" "[Errno 1] Operation not permitted" "$(changed "$noexec" "${run[@]}" -- python3 exec.py)"
small="mount -t tmpfs -o size=64k none small"
check "a full disk below --overlay" "1 here" "$(changed "$small" "${run[@]}" --overlay "dir=$PWD/small" -- sh -c 'head -c 1000000 /dev/zero >big 2>/dev/null; echo $? here')"
complains 125 "a read-only one" changed "mount -t tmpfs -o ro none small" "${run[@]}" --overlay "dir=$PWD/small" -- true
names "Read-only"
complains 125 "no user namespaces" unshare -U --map-user=65534 --keep-caps sh -c '
	echo 0 >/proc/sys/user/max_user_namespaces
	exec setpriv --ambient-caps=-all --inh-caps=-all --bounding-set=-all "$@"' sh "${run[@]}" -- true
names "sysctl user.max_user_namespaces"

mkdir gone; cd gone; rmdir ../gone
check "a directory that has gone" / "$("${run[@]}" -- pwd)"
cd ..
mkdir -m 700 private
tmp=$(mktemp -d); cp /bin/true "$tmp"
complains 127 "a program below /tmp" "${run[@]}" -- "$tmp/true"; names "/tmp of its own"
complains 125 "a directory below /tmp" "${run[@]}" --workdir "$tmp" -- true; names "/tmp of its own"
rm -r "$tmp"
if [ "$(id -u)" = 0 ]; then
	complains 125 "a directory that the user may not enter" "${run[@]}" --bind "$PWD:/mnt" --user 12345 --workdir /mnt/private -- true
	names "Permission denied.*enter"
fi
complains 125 "the root as a mount point" "${run[@]}" --bind "$PWD:/" -- true; names "there is --root"
mkdir closed; echo secret >closed/file; chmod 0 closed/file closed
complains 125 "a directory that cannot be read" "${run[@]}" --bind "$PWD/closed:/mnt" -- true; names "Permission denied"
complains 125 "nor be the root" "${run[@]}" --root "$PWD/closed" -- true; names "Permission denied"
chmod 555 closed
complains 125 "nor be written to" "${run[@]}" --overlay "dir=$PWD/closed" -- true; names "Permission denied"
complains 125 "a file that cannot be read" "${run[@]}" --bind "$PWD/closed/file:/mnt" -- true; names "Permission denied"
chmod 700 closed

for closed in '<&-' '>&-' '2>&-' '<&- >&- 2>&-'; do
	check "closed $closed" 3 "$(eval '"${run[@]}" -- sh -c "exit 3"' "$closed"; echo $?)"
	check "not found, closed $closed" 127 "$(eval '"${run[@]}" -- no-such-program' "$closed" 2>/dev/null; echo $?)"
done
complains 125 "a directory as standard input" eval '"${run[@]}" -- true <.'; names "stream 0.*Is a directory"
check "a full disk below --strace" "hi 3 1" "$("${run[@]}" --strace=/dev/full -- sh -c 'printf "hi "; exit 3' 2>err; echo $? $(grep -c "cannot write to the trace: No space" err))"
check "a full standard output" 1 "$("${run[@]}" -- echo hi 2>/dev/null >/dev/full; echo $?)"
for command in "exec --help" doctor syscalls --version; do
	"$SANDBOX" $command 2>err >/dev/full; check "$command to a full disk" "125 1" "$? $(grep -c 'No space left' err)"
done
complains 125 "arguments for a command that has none" "$SANDBOX" doctor x
status 0 "help on any command" "$SANDBOX" syscalls --help
gone "nothing is left" "$others"
