# about: nginx serves files to wrk and curl, over the loopback interface
# needs: nginx wrk curl openssl
# quick: yes
. "$HERE/lib"
. "$HERE/common/nginx.sh"
box() { while [ "$1" != -- ]; do shift; done; shift; exec "$@"; }

nginx_files 20
nginx_start
curl -sS http://127.0.0.1:8080/ 'http://[::1]:8080/'
curl -sS http://127.0.0.1:8080/big | sum
curl -sS -r 1000000-1999999 http://127.0.0.1:8080/big | sum
curl -sS -o /dev/null -w '%{http_code}\n' http://127.0.0.1:8080/nothing
seconds=5s
[ -z "$QUICK" ] || seconds=1s
for file in "" 10k; do
	wrk -t2 -c50 -d"$seconds" "http://127.0.0.1:8080/$file" >wrk.out 2>&1 || echo "wrk failed: $(cat wrk.out)"
	grep -i 'socket errors\|non-2xx\|unable' wrk.out
	number "wrk /$file" "$(awk '/Requests.sec/ { print $2 }' wrk.out)" requests/s
done
ulimit -n
kill -QUIT "$(cat nginx.pid)"
wait
grep "\[\(alert\|crit\|emerg\)\]" error.log
true
