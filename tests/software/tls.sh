# about: curl and nginx over TLS: HTTP/1.1 and HTTP/2, 100 MiB down and up
# needs: nginx curl openssl
# seconds: 120
# sentry: 900
. "$HERE/lib"
. "$HERE/common/nginx.sh"
box() { while [ "$1" != -- ]; do shift; done; shift; exec "$@"; }

nginx_files 100
nginx_start
listening 8443
url=https://localhost:8443
sum <www/big
for version in 1.1 2; do
	fetch() { curl -sS --http$version --cacert ca.pem --resolve localhost:8443:127.0.0.1 "$@"; }
	fetch -o /dev/null -w '%{http_version} %{http_code} %{ssl_verify_result}\n' $url/
	fetch -w '%{stderr}%{speed_download}\n' $url/big 2>speed | sum
	number "download, HTTP/$version" "$(awk '{ printf "%d", $1 / 1e6 }' speed)" MB/s
	fetch -T www/big -o /dev/null -w '%{http_code}\n%{stderr}%{speed_upload}\n' $url/put/$version 2>speed
	number "upload, HTTP/$version" "$(awk '{ printf "%d", $1 / 1e6 }' speed)" MB/s
	sum <www/put/$version
	rm www/put/$version
	# Many at once, over one connection or many.
	fetch -Z --parallel-max 20 -o 'part#1' -r 0-99999 "$url/big?[1-40]" 2>parallel.log || cat parallel.log
	cat part* | sum
	rm part*
done
curl -sS -o /dev/null $url/ --resolve localhost:8443:127.0.0.1 2>&1 | grep -o 'certificate problem\|self.signed' | head -1
openssl s_client -connect 127.0.0.1:8443 -CAfile ca.pem -servername localhost -brief </dev/null 2>&1 | grep -v '^Ciphersuite\|^DONE'
grep "\[\(alert\|crit\|emerg\)\]" error.log
true
