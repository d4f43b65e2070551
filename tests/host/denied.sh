# Hosts that refuse system calls, as containers' filters and old kernels do: one line that names the call, before anything runs.
. "$TOP/tests/host/lib"

gcc -w -O1 -o deny "$TOP/tests/host/deny.c" -lseccomp || exit 1
others=$(sandboxes)
run=(timeout 60 "$SANDBOX" exec --platform "$PLATFORM" -- true)

# refused CALL ERRNO: names the call and what to do
refused() {
	complains 125 "$1=$2" ./deny "$1=$2" "${run[@]}"
	names "system call $1\b.*seccomp=unconfined"
}

for call in seccomp process_vm_readv process_vm_writev clone3 openat2 getrandom close_range socketpair memfd_create; do
	refused $call EPERM
done
refused openat2 ENOSYS
names "older than Linux 5.6"
if [ "$PLATFORM" = trap ]; then
	for call in ioctl pidfd_open pidfd_getfd; do
		refused $call EPERM
		status 0 "another platform does without $call" ./deny $call=EPERM "$SANDBOX" exec -- true
		check "quietly" "" "$(cat err)"
	done
else
	refused dup3 EPERM
	complains 125 "no ptrace" ./deny ptrace=EPERM "${run[@]}"
	complains 125 "no platform at all" ./deny ptrace=EPERM ioctl=EPERM "$SANDBOX" exec -- true
	names "trap: .*; ptrace: "
fi
complains 125 "no mount" ./deny mount=EPERM "${run[@]}"
names seccomp=unconfined
status 1 "doctor" ./deny openat2=ENOSYS "$SANDBOX" doctor
check "says the same" 1 "$(grep -c 'missing.*openat2' out)"
gone "nothing is left" "$others"
