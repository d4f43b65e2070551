# Interfaces and sockets of the host inside: --net tap:, device: and host. All of it in network namespaces of its own, which go with this script.
. "$TOP/tests/host/lib"

if [ -z "${LINKS_INSIDE:-}" ]; then
	trap - EXIT
	ns=(unshare -n)
	[ "$(id -u)" = 0 ] || ns=(unshare -rn)
	"${ns[@]}" true 2>/dev/null || { echo "no network namespaces here"; exit 77; }
	command -v ip >/dev/null && command -v ping >/dev/null || { echo "no ip or no ping here"; exit 77; }
	LINKS_INSIDE=1 exec "${ns[@]}" bash "$0"
fi

SIZE=20000000
cat >bulk.py <<'END'
"""bulk.py serve PORT SIZE ANSWER_FAMILY | bulk.py go HOST PORT SIZE: so many bytes in both directions at once, all of them compared."""
import socket, sys, threading, time
def data(seed, size):
    block = bytes((i * i * seed + i // 251) & 255 for i in range(65521))
    return (block * (size // len(block) + 1))[:size]
def exchange(s, out, expected):
    t = threading.Thread(target=lambda: (s.sendall(out), s.shutdown(socket.SHUT_WR)))
    t.start()
    got = bytearray()
    while True:
        part = s.recv(1 << 17)
        if not part:
            break
        got += part
    t.join()
    print("same" if got == expected else f"differs: {len(got)} bytes", flush=True)
if sys.argv[1] == "serve":
    l = socket.create_server(("::", int(sys.argv[2])), family=socket.AF_INET6, dualstack_ipv6=True)
    size = int(sys.argv[3])
    print("ready", file=sys.stderr, flush=True)
    s = l.accept()[0]
    exchange(s, data(3, size), data(5, size))
else:
    size = int(sys.argv[4])
    for i in range(100):
        try:
            s = socket.create_connection((sys.argv[2], int(sys.argv[3])), timeout=30)
            break
        except ConnectionRefusedError:
            time.sleep(0.1)
    exchange(s, data(5, size), data(3, size))
END

# The other machine: a namespace that a sleeping process holds.
ip link set lo up
unshare -n sleep 600 &
other_pid=$!
trap 'kill $other_pid; exit $((failures > 0))' EXIT
tries=50
while [ "$(readlink /proc/$other_pid/ns/net)" = "$(readlink /proc/self/ns/net)" ] && [ $((tries -= 1)) -gt 0 ]; do sleep 0.1; done
other() { nsenter -t $other_pid -n "$@"; }

# both_ways TEXT HOST-COMMAND-PREFIX ADDRESS-INSIDE SANDBOX-OPTIONS...: bytes both ways, the server is inside
both_ways() {
	local text=$1 outside=$2 address=$3 inside
	shift 3
	box "$@" -- python3 bulk.py serve 5000 $SIZE >inside 2>ready &
	inside=$!
	tries=100
	until grep -q ready ready 2>/dev/null || [ $((tries -= 1)) = 0 ]; do sleep 0.1; done
	check "$text, outside" same "$($outside python3 bulk.py go "$address" 5000 $SIZE 2>&1 | tail -1)"
	wait $inside
	check "$text, inside" same "$(cat inside)"
}

# ---- TAP ----

if ip tuntap add tap0 mode tap 2>/dev/null; then
	ip addr add 10.9.0.1/24 dev tap0
	ip addr add fd09::1/64 dev tap0 nodad
	ip link set tap0 up
	tap=(--net tap:tap0,address=10.9.0.2/24,gateway=10.9.0.1,address=fd09::2/64,mac=02:00:00:00:09:02)
	check "a TAP device's interface" "eth0 02:00:00:00:09:02 10.9.0.2/24 default via 10.9.0.1 dev eth0" \
		"$(box "${tap[@]}" -- sh -c 'echo $(ls /sys/class/net 2>/dev/null | grep eth0 || echo eth0) $(ip -o link show eth0 | grep -o "02:[0-9a-f:]*" | head -1) $(ip -o -4 addr show eth0 | awk "{print \$4}") $(ip -4 route | grep default | cut -d" " -f1-5)')"
	status 0 "ping from inside" box "${tap[@]}" -- ping -c 2 -i 0.2 -W 5 10.9.0.1
	status 0 "the same by IPv6" box "${tap[@]}" -- ping -6 -c 2 -i 0.2 -W 5 fd09::1
	both_ways "bytes by a TAP device" "" 10.9.0.2 "${tap[@]}"
	both_ways "bytes by a TAP device, IPv6" "" fd09::2 "${tap[@]}"
	ip link set tap0 mtu 1280
	both_ways "bytes by a TAP device of MTU 1280" "" 10.9.0.2 "${tap[@]}"
	box "${tap[@]}" -- sleep 3 &
	sleep 1
	complains 125 "a TAP device that is open" box "${tap[@]}" -- true
	names "busy.*another program"
	wait $!
	complains 125 "no such TAP device" box --net tap:nope -- true
	names "No such device.*ip tuntap add"
	complains 125 "no TAP device" box --net tap:lo -- true
else
	echo "skipped: no TAP devices here: $(ls -l /dev/net/tun 2>&1)"
fi
complains 125 "a bad address" box --net tap:tap0,address=10.9.0.2 -- true
names "must be tap:NAME"
complains 125 "an unknown setting" box --net tap:tap0,speed=9 -- true
names "must be tap:NAME"

# ---- an interface that somebody else has set up ----

ip link add eth7 type veth peer name out netns $other_pid
other ip link set lo up
other ip addr add 10.8.0.1/24 dev out
other ip addr add fd08::1/64 dev out nodad
other ip addr add 10.77.0.1/32 dev lo
other ip link set out up
ip addr add 10.8.0.2/24 dev eth7
ip addr add 10.8.0.3/24 dev eth7
ip addr add fd08::2/64 dev eth7 nodad
ip link set eth7 mtu 1400 up
ip route add 10.77.0.0/16 via 10.8.0.1 mtu lock 1300 2>/dev/null || ip route add 10.77.0.0/16 via 10.8.0.1
ip route add default via 10.8.0.1 metric 7
ip -6 route add default via fd08::1
ip neigh add 10.8.0.99 lladdr 02:00:00:00:00:99 dev eth7 nud permanent
sleep 2 # link-local addresses are checked
configuration() {
	ip -o addr show dev eth7 | awk '{print $3, $4, $6}' | sort
	ip -4 route | sed 's/ *$//' | sort
	ip -6 route | sed 's/ *$//' | sort
	ip neigh show nud permanent
	cat /proc/sys/net/ipv6/conf/eth7/accept_ra
}
configuration >before
device=(--net device:eth7)

box "${device[@]}" -- sh -c 'ip -o -4 addr show eth7; ip -4 route; ip -6 route; ip neigh; cat /sys/class/net/eth7/mtu 2>/dev/null; ip link show eth7' >inside
for what in "10.8.0.2/24" "10.8.0.3/24" "10.77.0.0/16 via 10.8.0.1" "default via 10.8.0.1.*metric 7" "default via fd08::1" \
	"10.8.0.99.*02:00:00:00:00:99 PERMANENT" "mtu 1400" "$(ip -o link show eth7 | grep -o 'link/ether [0-9a-f:]*')"; do
	grep -q "$what" inside && echo "ok: inside: $what" || fail "not inside: $what"
done
configuration | diff before - >changes && echo "ok: all is back at the end" || fail "not as before: $(cat changes)"

"$SANDBOX" exec --platform "$PLATFORM" "${device[@]}" -- sleep 600 &
launcher=$!
tries=50
while ip -o addr show dev eth7 | grep -q inet && [ $((tries -= 1)) -gt 0 ]; do sleep 0.1; done
check "meanwhile the host has no address there" "" "$(ip -o addr show dev eth7 | grep inet)"
status 0 "ping from outside" other ping -c 3 -i 0.2 -W 5 10.8.0.2
status 0 "the same by IPv6" other ping -6 -c 3 -i 0.2 -W 5 fd08::2
check "nobody answers twice" "" "$(grep DUP out)"
kill -9 $launcher
wait $launcher 2>/dev/null
tries=50
until configuration | diff before - >changes || [ $((tries -= 1)) = 0 ]; do sleep 0.1; done
[ -s changes ] && fail "not as before: $(cat changes)" || echo "ok: all is back after a kill"

status 0 "ping beyond the gateway" box "${device[@]}" -- ping -c 2 -i 0.2 -W 5 10.77.0.1
both_ways "bytes by an interface" other 10.8.0.2 "${device[@]}"
both_ways "bytes by an interface, IPv6" other fd08::2 "${device[@]}"
status 3 "the program's status" box "${device[@]}" -- sh -c 'exit 3'
complains 127 "no such program" box "${device[@]}" -- /no/such/program
configuration | diff before - >changes && echo "ok: all is back after a failure" || fail "not as before: $(cat changes)"
complains 125 "no such interface" box --net device:nope -- true
names "No such device"
complains 125 "the loopback interface" box --net device:lo -- true
names "no Ethernet interface"
complains 125 "no right" setpriv --bounding-set=-net_raw,-net_admin --inh-caps=-all -- \
	timeout 60 "$SANDBOX" exec --platform "$PLATFORM" --net device:eth7 -- true
names "CAP_NET_RAW"
configuration | diff before - >changes && echo "ok: nothing was changed" || fail "not as before: $(cat changes)"

# ---- the host's sockets ----

host=(--net host)
check "interfaces are the host's" "$(ip -o link | grep -v tap | awk '{print $1 $2}' | sed 's/@.*//; s/:*$//')" \
	"$(box "${host[@]}" -- ip -o link | grep -v tap | awk '{print $1 $2}' | sed 's/:*$//')"
check "and their addresses" "$(ip -o addr | awk '{print $2, $4}' | sort)" "$(box "${host[@]}" -- ip -o addr | awk '{print $2, $4}' | sort)"
status 2 "nobody changes them" box "${host[@]}" -- ip addr add 10.1.2.3/32 dev lo
mkdir www
echo "a page" >www/page
box "${host[@]}" -- timeout 30 python3 -m http.server -d www 8080 >/dev/null 2>&1 &
server=$!
fetch='import urllib.request, sys; print(urllib.request.urlopen(sys.argv[1], timeout=20).read().decode().strip())'
tries=50
until python3 -c "$fetch" http://127.0.0.1:8080/page >got 2>/dev/null || [ $((tries -= 1)) = 0 ]; do sleep 0.2; done
check "a server inside, a client outside" "a page" "$(cat got)"
check "a client inside another sandbox" "a page" "$(box "${host[@]}" -- python3 -c "$fetch" http://localhost:8080/page 2>&1 | tail -1)"
kill $server
wait $server 2>/dev/null
both_ways "bytes by the host's sockets" "" 127.0.0.1 "${host[@]}"
both_ways "bytes by the host's sockets, IPv6" "" ::1 "${host[@]}"
complains 125 "-p with host" box "${host[@]}" -p 8080:80 -- true
names "no ports of its own"
status 0 "unix sockets are the sandbox's own" box "${host[@]}" -- python3 -c '
import socket
a, b = socket.socketpair()
a.send(b"x")
assert b.recv(1) == b"x"
s = socket.socket(socket.AF_UNIX)
s.bind("\0links-test")'

# The guest tests of sockets, natively and inside: as an ordinary user, since the sandbox has no privilege. What differs is known:
# bytes that a fault loses.
ordinary_user
known='^[<>] recv.s, buf, sizeof.buf., 0. = (5|-1 EAGAIN)$'
for name in inet inet_tcp inet_udp; do
	program=$BUILD/guest/$name
	[ -x "$program" ] || { echo "skipped: $program is not there: make guest-programs"; continue; }
	mkdir -p "work-$name" && chmod 777 "work-$name"
	(cd "work-$name" && user timeout 60 "$program" >../native 2>&1; echo "status $?" >>../native)
	(cd "work-$name" && user timeout 100 ../sandbox exec --platform "$PLATFORM" "${host[@]}" -- "$program" >../ours 2>&1; echo "status $?" >>../ours)
	diff native ours | grep '^[<>]' | grep -Ev "$known" >changes
	[ -s changes ] && fail "$name: $(head -20 changes)" || echo "ok: guest test $name"
done
