# about: dig, ping, traceroute, tcpdump over loopback
# needs: dig ping traceroute tcpdump
# as: root
# quick: yes
. "$HERE/lib"
python3 "$HERE/common/responder.py" 5354 >responder.log 2>&1 &
listening 5354
ask() { dig -p 5354 +tries=1 +timeout=5 "$@"; }

ask @127.0.0.1 +short name.test A
ask @::1 +short name.test AAAA
ask @127.0.0.1 +short +tcp name.test TXT
ask @127.0.0.1 +noedns +short big.test A | sort | sum
ask @127.0.0.1 nothing.test | grep -o 'status: [A-Z]*'
dig -p 5355 +tries=1 +timeout=2 @127.0.0.1 name.test | grep -o 'refused\|timed out' | head -1
for i in $(seq 200); do echo "n$i.test A"; done >many
ask @127.0.0.1 +short -f many | sort | uniq -c | awk '{ print $1, $2 }'

still() { sed -E 's/time[= ][0-9.]+ ?ms//; s/^rtt.*|^$//; s/, *$//'; }
ping -n -c 3 -i 0.2 127.0.0.1 | still
ping -n -c 3 -i 0.2 ::1 | still
ping -n -c 2 -i 0.2 -s 20000 127.0.0.1 | still
ping -n -q -f -c 2000 127.0.0.1 | still | grep -v pipe
ping -n -c 1 -W 1 192.0.2.99 2>&1 | still
ping -n -c 1 -W 1 2001:db8::99 2>&1 | still
for how in "" -I -T; do
	echo "traceroute $how"
	traceroute -n -q 1 -w 2 $how 127.0.0.1 2>&1 | sed -E 's/ +[0-9.]+ ms//'
done
traceroute -6 -n -q 1 -w 2 ::1 2>&1 | sed -E 's/ +[0-9.]+ ms//'
# It gives up groups, which the root of a user namespace may not.
[ -n "$ROOT" ] || exit 0
tcpdump -Z root -nn -t -i lo -c 4 icmp >captured 2>said &
tries=100
until grep -qs 'listening on lo' said || [ $((tries -= 1)) = 0 ]; do sleep 0.1; done
ping -n -q -c 2 -i 0.2 127.0.0.1 >ping.out
wait %2
sed -E 's/id [0-9]+/id N/' captured
grep 'captured\|dropped' said
