# The caller's resource limits and nice value: guests have them, and the sandbox lives with them or says which one is too low.
. "$TOP/tests/host/lib"

command -v setpriv prlimit >/dev/null || { echo "util-linux is missing"; exit 77; }
ordinary_user
# limited OPTION... -- PROGRAM...: prlimit's options; a single value sets both the soft and the hard limit
limited() {
	local options=()
	while [ "$1" != -- ]; do
		options+=("$1")
		shift
	done
	user timeout 60 prlimit "${options[@]}" -- ./sandbox exec --platform "$PLATFORM" "$@"
}
# refuses OPTION TEXT: such a limit leaves no room for the sandbox, and it says which one that is
refuses() {
	complains 125 "$1" limited "$1" -- true
	grep -q -- "$2" err || fail "$1: $2 is not mentioned"
}
said() { "$@" | tr '\n' ' ' | sed 's/ *$//'; }

check "limits are inherited" "$(bash -c 'ulimit -Sa; ulimit -Ha')" "$(box -- bash -c 'ulimit -Sa; ulimit -Ha')"
check "soft and hard ones" "11 22 33 44 0 0" \
	"$(said limited --locks=11:22 --msgqueue=33:44 --core=0 -- bash -c 'ulimit -Sx; ulimit -Hx; ulimit -Sq | tr -d " "
		grep msgqueue /proc/self/limits | cut -c40-60 | tr -d " "; ulimit -Sc; ulimit -Hc')"
check "the nice value" "$(nice -n 3 nice)" "$(nice -n 3 "$SANDBOX" exec --platform "$PLATFORM" -- nice)"

# What is soft is only the guest's.
memory='
l = []
try:
    while len(l) < 1000: l.append(bytearray(1 << 20))
except MemoryError: n = len(l); l = None; print(n < 900)'
check "soft virtual memory" True "$(said limited --as=400000000: -- python3 -c "$memory")"
check "soft data" True "$(said limited --data=100000000: -- python3 -c "$memory")"
check "soft file size" "153 2000" \
	"$(said limited --fsize=2000: -- bash -c 'head -c 9000 /dev/zero >/tmp/f; echo $?; stat -c %s /tmp/f' 2>/dev/null)"
user prlimit --fsize=2000: ./sandbox exec --platform "$PLATFORM" -- head -c 9000 /dev/zero >stream
check "soft file size of a file outside" "153 2000" "$? $(stat -c %s stream)"
check "soft descriptors" "10" "$(said limited --nofile=10: -- bash -c 'ulimit -n')"
check "soft stack" "100" "$(said limited --stack=102400: -- bash -c 'ulimit -s')"
check "soft processes" "6" "$(said limited --nproc=6: -- bash -c 'ulimit -u')"
status 137 "CPU time" limited --cpu=1 -- sh -c 'while :; do :; done'
status 152 "soft CPU time" limited --cpu=1: -- sh -c 'while :; do :; done'

# Hard ones are the sandbox's too.
check "hard stack" "64" "$(said limited --stack=65536 -- bash -c 'ulimit -Hs')"
check "hard data" True "$(said limited --data=100000000 -- python3 -c "$memory")"
check "no pending signals" "0" "$(said limited --sigpending=0 -- bash -c 'ulimit -i')"
[ "$PLATFORM" = trap ] && other=auto || other=$PLATFORM # what trap has no room for, ptrace may have
PLATFORM=$other
check "hard virtual memory" True "$(said limited --as=900000000 -- python3 -c "$memory")"
check "hard file size" "153 9000" \
	"$(said limited --fsize=9000 -- bash -c 'head -c 20000 /dev/zero >/tmp/f; echo $?; stat -c %s /tmp/f' 2>/dev/null)"
refuses --nofile=6 'open files is 6.*ulimit -n'
refuses --nofile=100 'open files is 100.*ulimit -n'
refuses --as=100000000 'virtual memory.*ulimit -v'
refuses --data=1000000 'data.*ulimit -d'
check "no files at all" 1 "$(limited --fsize=0 -- true 2>&1 | grep -c 'size of files.*ulimit -f')"
complains 125 "CPU time of the sandbox's kernel" limited --cpu=1 -- python3 -c '
import os
for i in range(3): os.fork() # so that none of them is the first to have used it up
while True: os.stat("/etc/passwd")'
grep -q 'CPU time.*ulimit -t' err || fail "it says which limit"
