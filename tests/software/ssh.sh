# about: sshd, ssh and scp over loopback, with keys and a configuration of their own
# needs: sshd ssh scp openssl
# seconds: 90
. "$HERE/lib"
# sshd of root wants this directory; natively it is in a mount namespace of ours.
if [ "$(id -u)" = 0 ]; then
	[ "$PLACE" != native ] || mount -t tmpfs tmpfs /run || exit 1
	mkdir -p /run/sshd
fi
id -un >/dev/null 2>&1 || { echo "this user has no name"; exit 77; }
umask 077
ssh-keygen -q -t ed25519 -N '' -f host
ssh-keygen -q -t ed25519 -N '' -f mine
cp mine.pub authorized
cat >sshd_config <<END
Port 2222
ListenAddress 127.0.0.1
ListenAddress ::1
HostKey $PWD/host
AuthorizedKeysFile $PWD/authorized
PidFile $PWD/sshd.pid
PasswordAuthentication no
PermitRootLogin yes
UsePAM no
StrictModes no
# So that bash reads nobody's .bashrc.
SetEnv SHLVL=9
Subsystem sftp internal-sftp
END
$(command -v sshd) -D -e -f sshd_config >sshd.log 2>&1 &
listening 2222
user=$(id -un)
options=(-i "$PWD/mine" -F none -o StrictHostKeyChecking=accept-new -o "UserKnownHostsFile=$PWD/known" -o BatchMode=yes -o LogLevel=ERROR)
to() { ssh -p 2222 "${options[@]}" "$user@127.0.0.1" "$@"; }
failed() { echo "FAILED: $*"; tail -n 20 sshd.log; exit 1; }

to 'echo hello; id -un; exit 3'
echo "exit status $?"
echo "through standard input" | to cat
ssh -p 2222 "${options[@]}" "$user@::1" 'echo over IPv6' || failed IPv6
to -tt 'tty | tr 0-9 N; stty size; echo $TERM' </dev/null
blob big 50
sum <big
started=$(date +%s%N)
scp -q -P 2222 "${options[@]}" big "$user@127.0.0.1:$PWD/there" || failed scp up
number "scp" "$((50000000000 / (($(date +%s%N) - started) / 1000 + 1) / 1000))" MB/s
sum <there
scp -q -O -P 2222 "${options[@]}" "$user@127.0.0.1:$PWD/there" back || failed scp down
sum <back
to 'head -c 20000000 /dev/zero' | sum
# A tunnel.
ssh -N -p 2222 "${options[@]}" -L 2223:127.0.0.1:2222 "$user@127.0.0.1" &
listening 2223
ssh -p 2223 "${options[@]}" -o HostKeyAlias=tunnel "$user@127.0.0.1" 'echo through the tunnel' || failed tunnel
several=()
for i in 1 2 3 4 5; do to "echo number $i" >out.$i & several+=($!); done
wait "${several[@]}"
cat out.?
