# Packets: tcpdump inside, and what --pcap leaves for the one outside.
. "$TOP/tests/host/lib"
command -v tcpdump >/dev/null && command -v ping >/dev/null || { echo "tcpdump and ping are not installed"; exit 77; }

pings="ping -q -c 3 -i 0.2 127.0.0.1"
watch() {
	box --user root -- sh -c "tcpdump -Z root -nn $1 >got 2>told & sleep 1; $pings >/dev/null; wait; cat got; cat told >&2" 2>err
}
check "tcpdump on lo" "3 3" "$(watch "-i lo -c 6 icmp" >out; echo $(grep -c 'echo request' out) $(grep -c 'echo reply' out))"
check "what it says of itself" "6 packets captured 0 packets dropped by kernel" "$(echo $(grep 'captured\|dropped' err))"
check "on all interfaces" 3 "$(watch "-i any -c 3 'icmp[icmptype] == icmp-echo'" | grep -c 'lo .*echo request')"
check "without the ring's immediate mode" 2 "$(watch "-i lo -c 2 --immediate-mode icmp" | grep -c ICMP)"
check "a file of its own" 4 "$(box --user root -- sh -c "tcpdump -Z root -i lo -c 4 -w f icmp 2>/dev/null & sleep 1; $pings >/dev/null; wait; tcpdump -nn -r f 2>/dev/null" | grep -c ICMP)"

box --pcap f -- $pings >/dev/null; check "--pcap" "3 3" "$(tcpdump -nn -r f >out 2>err; echo $(grep -c 'echo request' out) $(grep -c 'echo reply' out))"
check "is Ethernet" 1 "$(grep -c 'EN10MB' err)"
cat >talk.py <<'END'
import socket, threading
s = socket.create_server(("127.0.0.1", 0))
def serve():
    c, _ = s.accept()
    while c.recv(1 << 16): pass
    c.close()
t = threading.Thread(target=serve); t.start()
c = socket.create_connection(s.getsockname())
c.sendall(bytes(300000)); c.shutdown(socket.SHUT_WR); t.join(); c.close()
u = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM); u.bind(("::1", 0)); u.sendto(b"x" * 1000, u.getsockname())
END
box --pcap f -- python3 talk.py; tcpdump -nn -v -r f >out 2>/dev/null
check "all checksums are complete" 0 "$(grep -c 'incorrect\|bad' out)"
check "and are looked at" yes "$(grep -q '(correct)' out && grep -q 'udp sum ok' out && echo yes)"
check "all of the data" 301000 "$(grep -o 'length [0-9]*$' out | awk '{ n += $2 } END { print n }')"
cat >look.py <<'END'
import struct, sys
d = open("f", "rb").read()
at, names, packets, last, order = 0, [], 0, 0, True
while at < len(d):
    kind, size = struct.unpack_from("<II", d, at)
    if kind == 1: names.append(d[at + 20:at + 20 + struct.unpack_from("<H", d, at + 18)[0]].decode())
    if kind == 6:
        hi, lo = struct.unpack_from("<II", d, at + 12); t = hi << 32 | lo
        order, last, packets = order and t >= last, t, packets + 1
    assert struct.unpack_from("<I", d, at + size - 4)[0] == size
    at += size
print(names, order, packets > 10, abs(last / 1e9 - __import__("time").time()) < 100)
END
check "names, times and order" "['lo'] True True True" "$(python3 look.py)"
rm -f f; status 137 "a program that is killed" box --pcap f -- sh -c "$pings; kill -9 \$\$"
check "its packets are there" 6 "$(tcpdump -nn -r f 2>/dev/null | wc -l)"
status 124 "one that runs out of time" box --timeout 1 --pcap f -- ping -i 0.2 127.0.0.1
check "its packets are there" yes "$([ "$(tcpdump -nn -r f 2>/dev/null | wc -l)" -ge 6 ] && echo yes)"
status 0 "one that sends nothing" box --pcap f -- true
check "leaves a file without packets" 0 "$(tcpdump -nn -r f 2>/dev/null | wc -l)"
[ -w /dev/full ] && complains 0 "a full disk" box --pcap /dev/full -- $pings && names "No space left"
if unshare -m true 2>/dev/null; then
	mkdir small; cat >full.sh <<'END'
mount -t tmpfs -o size=64k none small && "$@"; tcpdump -nn -r small/f >out 2>told
END
	complains 0 "a disk that becomes full" unshare -m sh full.sh timeout 60 "$SANDBOX" exec --platform "$PLATFORM" --pcap small/f -- ping -q -c 40 -s 2000 -i 0.01 127.0.0.1
	names "No space left"
	check "its file ends with a whole packet" "yes 0" "$([ "$(wc -l <out)" -gt 10 ] && echo yes) $(grep -c truncated told)"
fi
complains 125 "a file in no directory" box --pcap no/such/file -- true; names "'no/such/file' of --pcap: No such"
complains 125 "no name" box --pcap "" -- true
complains 125 "the host's network" box --net host --pcap f -- true; names "tcpdump on this machine"
