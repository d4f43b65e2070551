# Exhausting memory, processes and descriptors ends the sandbox or its program, nothing else; a neighbour goes on.
. "$TOP/tests/host/lib"

neighbour 40
others=$(sandboxes)
status_of() { "$@" >/dev/null 2>&1; echo $?; }
check "memory limit kills the program" 137 "$(status_of box --memory 64M -- python3 -c 'x = bytearray(400 << 20)')"
check "below it, it runs" 0 "$(status_of box --memory 256M -- python3 -c 'x = bytearray(50 << 20)')"
check "process limit" yes "$(box --pids 20 -- bash -c 'for i in $(seq 100); do sleep 1 & done 2>&1 | grep -qi "resource\|unavail\|retry" && echo yes')"
start=$SECONDS
box --pids 50 --timeout 3 -- bash -c 'f() { f | f & }; f; sleep 10' >/dev/null 2>&1
check "a fork bomb ends with the timeout" yes "$([ $((SECONDS - start)) -lt 20 ] && echo yes)"
gone "and leaves nothing" "$others"
check "descriptors" yes "$(box -- python3 -c '
import os, errno
try:
    while True: os.open("/dev/null", os.O_RDONLY)
except OSError as e:
    print("yes" if e.errno == errno.EMFILE else e)')"
check "shared memory beyond --memory" no "$(box --memory 64M -- python3 -c '
import mmap
m = mmap.mmap(-1, 400 << 20)
for i in range(0, 400 << 20, 4096): m[i] = 1
print("yes")' 2>/dev/null | grep -c . | sed 's/0/no/')"
check "a full tmpfs or memory file" yes "$(box --memory 128M -- sh -c 'head -c 500000000 /dev/zero >/tmp/big 2>/dev/null || echo yes')"
check "a file in memory, mapped" 135 "$(status_of box --memory 64M -- python3 -c '
import mmap
f = open("/tmp/f", "w+b")
f.truncate(400 << 20)
m = mmap.mmap(f.fileno(), 400 << 20)
for at in range(0, 400 << 20, 4096): m[at] = 1')"
check "memory files, written and mapped" "ENOSPC ENOMEM" "$(box --memory 64M -- python3 -c '
import errno, mmap, os
fd, got = os.memfd_create("x", os.MFD_ALLOW_SEALING), []
try:
    while True: os.write(fd, bytes(1 << 20))
except OSError as e: got.append(errno.errorcode[e.errno])
os.ftruncate(fd, 0)
try:
    os.ftruncate(fd, 400 << 20)
    mmap.mmap(fd, 400 << 20)
except OSError as e: got.append(errno.errorcode[e.errno])
print(*got)')"
check "many mappings" yes "$(box -- python3 -c '
import mmap
try:
    l = [mmap.mmap(-1, 4096, prot=(mmap.PROT_READ if i % 2 else mmap.PROT_READ | mmap.PROT_WRITE)) for i in range(100000)]
    print("yes")
except OSError: print("yes")')"
undisturbed "the neighbour was not disturbed"
