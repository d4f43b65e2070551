# about: iperf3: 1 and 8 streams in both directions, UDP
# needs: iperf3
# seconds: 90
. "$HERE/lib"
iperf3 -s -p 5301 >server.log 2>&1 &
listening 5301
sleep 0.3

# measure NAME OPTIONS...
measure() {
	local name=$1
	shift
	if ! iperf3 -c 127.0.0.1 -p 5301 -t 3 -J "$@" >out.json 2>err.log; then
		echo "$name FAILED: $(cat err.log) $(grep error out.json)"
		sleep 1
		return
	fi
	echo "$name: done"
	number "$name" "$(python3 -c '
import json
e = json.load(open("out.json"))["end"]
print("%.2f" % (e.get("sum_received", e.get("sum"))["bits_per_second"] / 1e9))')" Gbit/s
	sleep 0.2
}

measure "TCP"
measure "TCP, other direction" -R
measure "TCP, 8 streams" -P 8
measure "TCP, 8 streams, other direction" -P 8 -R
measure "TCP, both directions" --bidir
measure "UDP at 100 Mbit/s" -u -b 100M
measure "UDP at 100 Mbit/s, other direction" -u -b 100M -R
measure "UDP, unbounded" -u -b 0 -l 1400
measure "small writes" -l 1000
iperf3 -c ::1 -p 5301 -t 1 >/dev/null && echo "IPv6: done"
