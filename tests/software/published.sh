# about: nginx inside, published by -p; wrk and curl outside
# needs: nginx wrk curl openssl
# runs: outside
# seconds: 90
# sentry: 300
. "$HERE/lib"
. "$HERE/common/nginx.sh"
nginx_files 100
nginx_start --net nat --bind "$PWD" -p 8080:8080 -p 8443:8443
# The ports are there before who listens at them inside.
tries=100
until curl -sS -o /dev/null http://127.0.0.1:8080/ 2>curl.log || [ $((tries -= 1)) = 0 ]; do sleep 0.1; done
curl -sS http://127.0.0.1:8080/ 'http://[::1]:8080/'
curl -sS -w '%{stderr}%{speed_download}\n' http://127.0.0.1:8080/big 2>speed | sum
number "download of 100 MiB" "$(awk '{ printf "%d", $1 / 1e6 }' speed)" MB/s
curl -sS -T www/big -o /dev/null -w '%{http_code}\n%{stderr}%{speed_upload}\n' http://127.0.0.1:8080/put/up 2>speed
number "upload of 100 MiB" "$(awk '{ printf "%d", $1 / 1e6 }' speed)" MB/s
sum <www/put/up
curl -sS --http2 --cacert ca.pem --resolve localhost:8443:127.0.0.1 https://localhost:8443/big | sum
for c in 1 50 500; do
	wrk -t$((c > 1 ? 2 : 1)) -c$c -d4s --timeout 10s http://127.0.0.1:8080/ >wrk.out 2>&1 || echo "wrk failed: $(cat wrk.out)"
	grep -i 'socket errors\|non-2xx\|unable' wrk.out
	number "wrk, $c connections" "$(awk '/Requests.sec/ { print $2 }' wrk.out)" requests/s
done
# A connection for each request.
wrk -t2 -c50 -d3s --timeout 10s -H 'Connection: close' http://127.0.0.1:8080/ >wrk.out 2>&1 || echo "wrk failed: $(cat wrk.out)"
grep -i 'socket errors\|non-2xx\|unable' wrk.out
number "wrk, a connection each" "$(awk '/Requests.sec/ { print $2 }' wrk.out)" requests/s
grep '\[\(alert\|crit\|emerg\)\]' error.log
true
