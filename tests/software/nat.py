# about: curl through --net nat, of a server in a namespace behind a router
# needs: curl ip
# runs: outside
# as: root
# seconds: 90
# sentry: 200
import hashlib
import http.server
import os
import subprocess
import sys
import threading

sys.path.insert(0, os.path.join(os.environ["HERE"], "..", "host", "common"))

SIZE = 100 << 20
BLOCK = hashlib.sha512(b"block").digest() * 1024


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", str(SIZE))
        self.end_headers()
        for _ in range(SIZE // len(BLOCK)):
            self.wfile.write(BLOCK)

    def do_PUT(self):
        digest, left = hashlib.sha256(), int(self.headers["Content-Length"])
        while left:
            data = self.rfile.read(min(left, 1 << 16))
            digest.update(data)
            left -= len(data)
        text = digest.hexdigest().encode() + b"\n"
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_):
        pass


class Server(http.server.ThreadingHTTPServer):
    address_family = 10  # AF_INET6: both
    request_queue_size = 256


INSIDE = r"""
set -u
curl() { command curl -sS --max-time 60 "$@"; }
for url in http://198.51.100.1:8000 'http://[2001:db8:5::1]:8000'; do
	curl -w '%{stderr}# download '"$(case $url in *db8*) echo IPv6;; *) echo IPv4;; esac)"' %{speed_download} B/s\n' "$url/" 2>speed | sha256sum
	cat speed
done
head -c 104857600 /dev/zero >zeros
curl -T zeros http://198.51.100.1:8000/zeros -w '%{stderr}# upload IPv4 %{speed_upload} B/s\n' 2>speed
cat speed
curl -Z --parallel-max 8 -o 'part#1' 'http://198.51.100.1:8000/?[1-8]' 2>errors || cat errors
cat part? | sha256sum
curl http://198.51.100.1:9 2>&1 | sed -E 's/after [0-9]+ ms/after N ms/'
"""


def serve():
    print("ready", flush=True)
    sys.stdin.readline()
    Server(("::", 8000), Handler).serve_forever()


def main():
    if sys.argv[1:] == ["serve"]:
        serve()
    import natnet  # noqa: E402 - only for the root of a namespace
    net = natnet.Net()
    server = subprocess.Popen(["nsenter", f"--net=/proc/{net.server.pid}/ns/net", sys.executable, __file__, "serve"], stdin=subprocess.PIPE)
    threading.Event().wait(0.5)
    server.stdin.write(b"\n")
    server.stdin.flush()
    threading.Event().wait(1)
    argv = ["bash", "-c", INSIDE]
    if os.environ["PLACE"] == "sandbox":
        argv = [os.environ["SANDBOX"], "exec", "--platform", os.environ["PLATFORM"], "--net", "nat", "--"] + argv
    print("exit status", subprocess.run(argv, check=False).returncode, flush=True)
    server.kill()
    net.close()


main()
