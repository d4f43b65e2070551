# about: redis-server: redis-benchmark, pub/sub, a pipeline, persistence
# needs: redis-server redis-cli redis-benchmark
# seconds: 120
# quick: yes
. "$HERE/lib"
redis-server --port 6390 --bind 127.0.0.1 ::1 --dir "$PWD" --save '' --daemonize no >redis.log 2>&1 &
listening 6390
cli() { redis-cli -p 6390 "$@"; }

cli ping
cli set key value
cli -h ::1 get key
requests=20000
[ -z "$QUICK" ] || requests=1000
redis-benchmark -p 6390 -t get,set -n $requests -q --csv >bench.out 2>&1 || echo "redis-benchmark failed: $(cat bench.out)"
grep -ci error bench.out
for test in SET GET; do
	number "redis $test" "$(awk -F'"' -v t=$test '$2 == t { print $4 }' bench.out)" requests/s
done
redis-benchmark -p 6390 -t set -n $((requests * 5)) -P 16 -q --csv >bench.out 2>&1 || echo "redis-benchmark failed: $(cat bench.out)"
number "redis SET, 16 at once" "$(awk -F'"' '$2 == "SET" { print $4 }' bench.out)" requests/s

redis-cli -p 6390 subscribe news >sub.out 2>&1 &
subscriber=$!
until [ "$(cli publish news first)" = 1 ]; do sleep 0.1; done
for i in 1 2 3 4 5; do cli publish news "message $i"; done
until grep -q 'message 5' sub.out; do sleep 0.1; done
kill $subscriber
grep message sub.out | grep '[0-9]'
seq 1 10000 | sed 's/.*/SET k& v&/' | cli --pipe | tail -1
cli dbsize
cli bgsave
until [ "$(cli lastsave)" -gt 0 ] && [ -s dump.rdb ]; do sleep 0.1; done
cli shutdown nosave
wait %1
echo "ended with $?"
