# nginx_files MIB: what nginx.conf needs, in the current directory: a CA, a server's certificate, files.
# nginx_start [box options]: starts it and waits.
nginx_files() {
	mkdir -p www/put
	echo hello >www/index.html
	head -c 10000 /dev/zero >www/10k
	blob www/big "$1"
	{
		openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout ca.key -out ca.pem -subj /CN=test-ca -days 2 &&
			openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout server.key -out server.csr -subj /CN=localhost &&
			printf 'subjectAltName=DNS:localhost,IP:127.0.0.1\n' >ext &&
			openssl x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -out server.pem -days 2 -extfile ext
	} >openssl.log 2>&1 || { echo "openssl failed"; cat openssl.log; exit 1; }
	cp "$HERE/common/nginx.conf" nginx.conf
	[ "$(id -u)" != 0 ] || sed -i "1i user root;" nginx.conf
	chmod 644 server.key
}

nginx_start() {
	(box "$@" -- nginx -p "$PWD/" -c "$PWD/nginx.conf") >nginx.log 2>&1 &
	listening 8080
}
