# Exhausting memory, processes and descriptors ends the sandbox or its program, nothing else; a neighbour goes on.
. "$TOP/tests/host/lib"

box -- sh -c 'i=0; while [ $i -lt 40 ]; do sleep 0.2; i=$((i + 1)); done; echo neighbour' >neighbour.out &
neighbour=$!
sleep 1
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
check "a full tmpfs or memory file" yes "$(box --memory 128M -- sh -c 'head -c 500000000 /dev/zero >/tmp/big 2>/dev/null || echo yes')"
check "many mappings" yes "$(box -- python3 -c '
import mmap
try:
    l = [mmap.mmap(-1, 4096, prot=(mmap.PROT_READ if i % 2 else mmap.PROT_READ | mmap.PROT_WRITE)) for i in range(100000)]
    print("yes")
except OSError: print("yes")')"
wait $neighbour
check "the neighbour was not disturbed" neighbour "$(cat neighbour.out)"
