# Exit statuses and what is said when a program cannot be run.
. "$TOP/tests/host/lib"

status 0 "true" box -- true
status 1 "false" box -- false
status 42 "exit 42" box -- sh -c 'exit 42'
status 143 "SIGTERM" box -- sh -c 'kill -TERM $$'
status 137 "SIGKILL" box -- sh -c 'kill -KILL $$'
status 139 "SIGSEGV" box -- sh -c 'kill -SEGV $$'
complains 127 "missing program" box -- no-such-program
complains 127 "missing path" box -- /no/such/program
complains 127 "through a file" box -- /etc/passwd/x
complains 126 "directory" box -- /etc
mkdir -m 700 closed; touch closed/x
[ "$(id -u)" = 0 ] && complains 127 "in a directory that cannot be searched" env PATH="$PWD/closed:$PATH" "$SANDBOX" exec --platform "$PLATFORM" --user nobody -- x
cp /bin/true mine; status 0 "the current directory is searched" env PATH= "$SANDBOX" exec --platform "$PLATFORM" -- mine
status 0 "the last one, too" env PATH=/none: "$SANDBOX" exec --platform "$PLATFORM" -- mine
check "many variables" 5001 "$(env $(printf 'V%d=x ' $(seq 5000)) "$SANDBOX" exec --platform "$PLATFORM" -- env | grep -c '^V[0-9]*=x\|^PATH=')"
touch plain; complains 126 "not executable" box -- ./plain
echo garbage >garbage; chmod +x garbage; complains 126 "no program format" box -- ./garbage
script() { printf "$2" >"$1"; chmod +x "$1"; }
script nowhere '#!/no/interpreter\n'; complains 127 "missing interpreter" box -- ./nowhere; names "bad interpreter '/no/interpreter': No such"
script crlf '#!/bin/sh\r\n'; complains 127 "lines of Windows" box -- ./crlf; names "bad interpreter '/bin/sh?'.*CR LF"
script indir '#!/etc\n'; complains 126 "a directory as the interpreter" box -- ./indir; names "bad interpreter '/etc': Permission"
script outer "#!$PWD/nowhere\\n"; complains 127 "the interpreter's interpreter" box -- ./outer; names "bad interpreter '/no/interpreter'"
script one "#!$PWD/two\\n"; script two "#!$PWD/one\\n"; complains 126 "scripts in a circle" box -- ./one; names circle
echo 'int main(void) { return 0; }' >main.c
gcc -o noloader main.c -Wl,--dynamic-linker=/no/ld.so && complains 127 "missing loader" box -- ./noloader && names "bad interpreter '/no/ld.so'"
head -c 3000 /lib64/ld-linux-x86-64.so.2 >cutloader; chmod +x cutloader
gcc -o badloader main.c -Wl,--dynamic-linker="$PWD/cutloader" && complains 126 "cut loader" box -- ./badloader && names "cutloader': Exec format error"
printf '\177ELF\2\1\1\0\0\0\0\0\0\0\0\0\2\0\267\0\1\0\0\0' >arm; head -c 100 /dev/zero >>arm; chmod +x arm
complains 126 "wrong architecture" box -- ./arm
head -c 3000 /bin/true >cut; chmod +x cut; complains 126 "cut ELF" box -- ./cut; names "Exec format error.*cut off"
complains 127 "a command line" box -- "ls -l"; names "'ls -l'.*sh -c"
complains 127 "a long name" box -- "$(printf 'x%.0s' $(seq 5000))"; names "xxx[.][.][.]: No such file.*PATH"
complains 127 "a name of several lines" box -- "$(printf 'a\nb\033[31m')"; names "a?b?"
complains 125 "unknown option" box --no-such-option -- true
complains 125 "no program" box
complains 125 "unknown platform" "$SANDBOX" exec --platform nonesuch -- true
complains 125 "missing bind source" box --bind /no/such/dir:/mnt -- true
complains 125 "missing root" box --root /no/such/dir -- true
complains 125 "missing workdir" box --workdir /no/such/dir -- true
complains 125 "unknown user" box --user no-such-user -- true
# Values that cannot be meant.
wrong() {
	complains 125 "$1" box "$1" -- true
	names "^sandbox: ${1%%=*} '${1#*=}': .*see sandbox exec --help"
}
for value in root= user= user=:daemon user=daemon: overlay= overlay=dir= bind= bind=: bind=/etc: bind=/etc:/m:ro,z env= env==x tmpfs= tmpfs=x \
	tmpfs=/x:size=1 workdir= workdir=x hostname= 'hostname=a b' log= strace= timeout= timeout=0 timeout=1ms pids= pids=0 memory= memory=1K memory=3M; do
	wrong "--$value"
done
names "at least 4M"
status 124 "the shortest duration" box --timeout 1e-12 -- sleep 10
complains 125 "an option without its value" box --root; names "value is missing"
complains 125 "a value that is not wanted" box --tty=yes -- true; names "takes no value"
complains 125 "an unknown letter" box -xy -- true; names "-x: unknown"
complains 137 "beyond --memory" box --memory 5M -- python3 -c 'bytearray(100 << 20)'; names "KiB are used.*--memory allows 5120: killed process"
complains 125 "bad size" box --memory lots -- true
complains 125 "bad duration" box --timeout soon -- true
status 124 "timeout" box --timeout 0.3 -- sleep 30
# However early it comes.
early() {
	local ms
	for ms in 00 02 04 06 08 10 12 14 16 18 20 22 24 26 28; do
		"$SANDBOX" exec --platform "$PLATFORM" -- sleep 5 &
		sleep 0.0$ms
		kill -TERM $!
		wait $! 2>/dev/null
		echo $?
	done | sort | uniq -c | xargs
}
others=$(sandboxes)
check "a signal while it starts" "15 143" "$(early 2>/dev/null)"
gone "leaves nothing" "$others"
if [ "$PLATFORM" = ptrace ] && command -v strace >/dev/null; then
	# Its first call of ptrace, on a process made for that, takes long enough to be killed in.
	strace -f -o /dev/null -e inject=ptrace:delay_enter=2000000 "$SANDBOX" exec --platform ptrace -- true 2>/dev/null &
	tries=50
	until [ "$(sandboxes)" -gt $((others + 1)) ] || [ $((tries -= 1)) -le 0 ]; do sleep 0.1; done
	kill -KILL "$(pgrep -P $!)"
	wait $! 2>/dev/null
	gone "being killed while it asks leaves nothing" "$others"
fi
status 0 "help" "$SANDBOX" exec --help
check "help knows of the second signal" 1 "$(grep -c 'SIGKILL' out)"
check "help teaches" yes "$(grep -q -- --bind out && grep -qi example out && echo yes)"
status 0 "doctor" "$SANDBOX" doctor
check "doctor names the platform" yes "$(grep -q "$PLATFORM" out && echo yes)"
