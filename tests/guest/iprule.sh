# Routing rules and routes with several next hops, as people type them, and what traffic follows them.
exec 2>&1
export LC_ALL=C
command -v ip >/dev/null && command -v unshare >/dev/null || { echo "no iproute2"; exit 77; }
if [ "$1" != inside ]; then
	unshare -n -m true || { echo "no right to make network namespaces"; exit 77; }
	exec unshare -n -m sh "$0" inside
fi
mount --make-rprivate /
mkdir -p /run/netns && mount -t tmpfs none /run/netns
# The kernel's words beyond the errno are its own affair.
says() { echo "> $*"; "$@" 2>&1 | sed -e 's/^Error:.*/failed/' -e 's/^RTNETLINK answers: .*/failed/' -e 's/ *$//' -e 's/expires [0-9]*sec//' -e '/^Dump terminated/d'; }

ip link set lo up
ip netns add far
for i in 1 2; do
	ip link add v$i type veth peer name eth$i netns far
	ip addr add 10.$i.0.1/24 dev v$i
	ip -6 addr add fd0$i::1/64 dev v$i nodad
	ip link set v$i up
	ip -n far addr add 10.$i.0.2/24 dev eth$i
	ip -n far -6 addr add fd0$i::2/64 dev eth$i nodad
	ip -n far link set eth$i up
done
ip -n far addr add 10.9.0.1/32 dev eth1
ip -n far addr add fd09::1/128 dev eth1 nodad
ip -n far link set lo up

echo "== rules"
says ip rule
says ip -6 rule
says ip rule add from 10.2.0.1 table 100
says ip rule add from 10.2.0.1 table 100
says ip rule add from 10.2.0.0/24 to 10.9.0.0/16 iif lo tos 0x10 table 101 priority 500
says ip rule add fwmark 0x10/0xff lookup 102 pref 501
says ip rule add fwmark 7 lookup 102 pref 501
says ip rule add oif v2 lookup 103 pref 502
says ip rule add iif nothere lookup 103 pref 503
says ip rule add uidrange 1000-2000 lookup 103 pref 504
says ip rule add ipproto udp dport 53 lookup 103 pref 505
says ip rule add ipproto tcp sport 1000-2000 lookup 103 pref 506
says ip rule add not from 10.1.0.0/16 lookup 103 pref 507
says ip rule add from 10.77.0.0/16 prohibit pref 508
says ip rule add from 10.78.0.0/16 unreachable pref 509
says ip rule add from 10.79.0.0/16 blackhole pref 510
says ip rule add lookup main suppress_prefixlength 0 pref 511
says ip rule add lookup main suppress_ifgroup default pref 512
says ip rule add from 10.80.0.0/16 goto 32766 pref 513
says ip rule add from 10.80.0.0/16 goto 600 pref 514
says ip rule add from 10.80.0.0/16 goto 10 pref 515
says ip rule add from 10.81.0.0/16 nop pref 516
says ip rule add lookup 70000 pref 517 protocol 99
says ip rule
says ip -d rule list table 103
says ip rule show pref 505
says ip -6 rule add from fd02::/64 table 100
says ip -6 rule add to fd09::/16 fwmark 1 table 101 pref 9
says ip -6 rule
says ip rule del pref 999
says ip rule del from 10.2.0.1 table 99
says ip rule del from 10.2.0.1 table 100
for p in 500 501 501 501 502 503 504 505 506 507 508 509 510 511 512 513 514 516 517; do echo $p; says ip rule del pref $p; done
says ip rule
says ip -6 rule del pref 9
says ip -6 rule del from fd02::/64
says ip -6 rule
says ip rule add from 1.2.3.4 tos 0x3 table 5
says ip rule add from 1.2.3.4 dport 0 table 5
says ip rule add from 1.2.3.4 uidrange 20-10 table 5
says ip rule del pref 32767
says ip rule del pref 0
says ip route get 127.0.0.1 from 127.0.0.1
says ip rule add pref 0 lookup local
says ip rule add pref 32767 lookup default
says ip rule

echo "== ways"
says ip route add 10.9.0.0/16 via 10.1.0.2
says ip route add 10.9.0.0/16 via 10.2.0.2 table 100
says ip route add default via 10.2.0.2 table 100
says ip route show table 100
says ip route show table 4711
says ip rule add from 10.2.0.1 table 100 pref 100
says ip rule add fwmark 5 table 100 pref 101
says ip rule add dport 99 ipproto udp table 100 pref 102
says ip route get 10.9.0.1
says ip route get 10.9.0.1 from 10.2.0.1
says ip route get 10.9.0.1 mark 5
says ip route get 10.9.0.1 ipproto udp dport 99
says ip route get 10.9.0.1 ipproto udp dport 98
says ip route get 8.8.8.8
says ip route get 8.8.8.8 mark 5
says ip route get 10.1.0.1
says ip route get 10.1.0.255
says ip rule add pref 103 to 10.44.0.0/16 prohibit
says ip route get 10.44.0.1
says ip rule add pref 104 to 10.45.0.0/16 unreachable
says ip route get 10.45.0.1
says ip rule add pref 105 to 10.46.0.0/16 blackhole
says ip route get 10.46.0.1
counts() { ip netns exec far cat /proc/net/dev | awk -v d="$1:" '$1 == d { print $3 }'; }
# Which interface of the far end a ping came in by.
path() {
	a=$(counts eth1) b=$(counts eth2)
	"$@" >/dev/null 2>&1 || echo "no answer"
	a=$(($(counts eth1) - a)) b=$(($(counts eth2) - b))
	[ $a -ge 4 ] && echo "by the first"
	[ $b -ge 4 ] && echo "by the second"
}
ping -c1 -W3 10.1.0.2 >/dev/null; ping -c1 -W3 10.2.0.2 >/dev/null; ping -c1 -W3 -I 10.2.0.1 10.9.0.1 >/dev/null
path ping -c4 -i0.05 -W3 10.9.0.1
path ping -c4 -i0.05 -W3 -I 10.2.0.1 10.9.0.1
path ping -c4 -i0.05 -W3 -m 5 10.9.0.1

echo "== several next hops"
says ip route add 10.50.0.0/16 nexthop via 10.1.0.2 weight 3 nexthop via 10.2.0.2 dev v2
says ip route add 10.50.0.0/16 nexthop via 10.1.0.2 nexthop via 10.2.0.2
says ip route replace 10.50.0.0/16 nexthop via 10.1.0.2 nexthop via 10.2.0.2
says ip route show 10.50.0.0/16
says ip route add 10.51.0.0/16 nexthop via 10.1.0.2 nexthop via 10.99.0.2
says ip route add 10.51.0.0/16 nexthop dev v1 nexthop dev v2
says ip route append 10.50.0.0/16 via 10.1.0.2
says ip route show 10.50.0.0/16
says ip route del 10.50.0.0/16 via 10.1.0.2
says ip route show 10.50.0.0/16
says ip route change 10.52.0.0/16 via 10.1.0.2
ways() { for i in $(seq 1 60); do ip route get 10.50.0.$i; done | grep -o 'dev v[12]' | sort | uniq -c | awk '$1 > 3 {print $2, $3}'; }
says ip route replace 10.50.0.0/16 nexthop via 10.1.0.2 nexthop via 10.2.0.2
ways
ip link set v2 down
says ip route show 10.50.0.0/16
ways
ip link set v2 up
says ip route show 10.50.0.0/16
ways
says ip route del 10.50.0.0/16 nexthop via 10.1.0.2 nexthop via 10.2.0.2
says ip route del 10.50.0.0/16
ip -6 addr add fd02::1/64 dev v2 nodad 2>/dev/null
says ip -6 route add fd50::/16 nexthop via fd01::2 nexthop via fd02::2 weight 2
says ip -6 route show fd50::/16
says ip -6 route append fd51::/16 via fd01::2
says ip -6 route append fd51::/16 via fd02::2
says ip -6 route append fd51::/16 via fd02::2
says ip -6 route add fd51::/16 via fd01::9
says ip -6 route show fd51::/16
says ip -6 route del fd51::/16 via fd01::2
says ip -6 route show fd51::/16
says ip -6 route get fd51::1
says ip -6 route get fd01::1
says ip -6 rule add from fd02::1 table 100
says ip -6 route add fd51::/16 via fd01::2 table 100
says ip -6 route get fd51::1 from fd02::1
says ip -6 route replace fd51::/16 via fd01::7
says ip -6 route show fd51::/16
ip link del v2
says ip -6 route show fd50::/16
says ip route show 10.51.0.0/16
says ip route show table 100
says ip -6 route show table 100

echo "== others"
netstat -rn | grep '10.9' | sed 's/  */ /g'
route -n | grep '10.9' | sed 's/  */ /g'
arp -n | grep -c '10.1.0.2'
ip maddr show dev lo | grep -v link
ip maddr show dev v1 | grep -o 'inet.*' | sed 's/1:ff.*/1:ff/' | sort
awk '$1 == 1 { print }' /proc/net/igmp6 | sed 's/ *$//'
awk '$2 != "eth0"' /proc/net/igmp | sed -n '1,3p'
grep -c '01005e000001$' /proc/net/dev_mcast
cat /proc/sys/net/ipv4/fib_multipath_hash_policy
echo 1 >/proc/sys/net/ipv4/fib_multipath_hash_policy && cat /proc/sys/net/ipv4/fib_multipath_hash_policy
ip monitor rule route >monitor 2>&1 &
# Until it listens; then what it has said, up to the last that is made.
for i in $(seq 1 100); do ip rule add pref 1 table 1; ip rule del pref 1; [ -s monitor ] && break; sleep 0.1; done
ip rule add from 9.9.9.9 table 9 pref 99
ip rule del pref 99
ip route add 10.60.0.0/16 dev v1
ip -6 rule add pref 77 table 7
for i in $(seq 1 100); do grep -q 77: monitor && break; sleep 0.1; done
kill $!
grep '9.9.9.9\|10.60\|77' monitor | sed 's/ *$//'
