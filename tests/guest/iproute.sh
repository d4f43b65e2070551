# Network namespaces and links with Debian's iproute2 and util-linux, as people type them.
exec 2>&1
export LC_ALL=C
command -v ip >/dev/null && command -v unshare >/dev/null || { echo "no iproute2"; exit 77; }
# In namespaces of our own, of mounts too, so that ip netns does nothing to the machine.
if [ "$1" != inside ]; then
	unshare -n -m true || { echo "no right to make network namespaces"; exit 77; }
	exec unshare -n -m sh "$0" inside
fi
mount --make-rprivate /
mkdir -p /run/netns && mount -t tmpfs none /run/netns
# What differs from one run, or one kernel, to the next.
plain() { sed -e 's/[0-9a-f][0-9a-f]\(:[0-9a-f][0-9a-f]\)\{5\}/MAC/g' -e 's/qlen [0-9]*//' -e 's/ *$//'; }

ip link set lo up
ip netns add red
ip netns add blue
ip netns list | sed 's/ (id.*//' | sort
ls /run/netns
ip netns add red
ip link add r0 type veth peer name r1 netns red
ip link add b0 mtu 1400 type veth peer name b1
ip link set b1 netns blue name eth0 up
ip link add name br0 address 02:00:00:00:00:99 type bridge
ip link set r0 master br0 up
ip link set b0 master br0 up
ip addr add 10.3.0.1/24 dev br0
ip link set br0 up
ip -n red addr add 10.3.0.2/24 dev r1
ip -n red link set r1 up
ip -n blue addr add 10.3.0.3/24 dev eth0
ip -br link show | cut -c1-50 | awk '{print $1, $2}' | grep -v '^eth\|^ifb\|^br' | sed 's/@.*\( .*\)/\1/'
ip -o link show br0 | plain | cut -d' ' -f2-
ip -n red link show r1 | plain | sed 's/@if[0-9]*/@if/; s/^[0-9]*//'
ip -n blue link show eth0 | plain | sed 's/@if[0-9]*/@if/; s/^[0-9]*//'
ip -d link show type bridge | grep -o 'ageing_time [0-9]*'
ip link show master br0 | plain | sed 's/@if[0-9]*/@if/; s/^[0-9]*//; s/ link-netns.*//'
for pair in "red 10.3.0.3" "blue 10.3.0.1" "red 10.3.0.1"; do
	set -- $pair
	ip netns exec "$1" ping -c1 -W5 "$2" >/dev/null && echo "$1 reaches $2"
done
ip netns exec red cat /sys/class/net/r1/operstate /sys/class/net/r1/mtu
ip netns exec red ls /sys/class/net
ip netns exec blue ip route
nsenter --net=/run/netns/blue ip -o -4 addr show eth0 | awk '{print $2, $4}'
ip netns exec red sh -c 'echo 1 >/proc/sys/net/ipv4/ip_forward; cat /proc/sys/net/ipv4/ip_forward'
cat /proc/sys/net/ipv4/ip_forward
unshare -n sh -c 'ip -o link | wc -l; ip route; cat /proc/net/dev | wc -l'
ip link set r0 down
ip -n red -o link show r1 | grep -o 'NO-CARRIER'
ip link set r0 nomaster
ip link set r0 mtu 9000 && ip link show r0 | grep -o 'mtu [0-9]*'
ip link set r0 name renamed && ip link show renamed | grep -c renamed
ip link del br0
ip link add x type veth peer name lo
ip link set lo netns red >/dev/null 2>&1 || echo lo stays
ip netns delete blue
for i in 1 2 3 4 5 6 7 8 9; do ip link show b0 >/dev/null 2>&1 || break; sleep 0.1; done
ip link show b0
ip -n red link del r1
ip link show renamed
ip netns del red
ip netns list
