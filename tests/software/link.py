# about: an interface goes down and up, and changes its MTU, during transfers
# needs: ip
# runs: outside
# as: root
# seconds: 120
# sentry: 250
"""Natively the way leads over the veth of a namespace; inside over nat's eth0. Both lead to one server."""
import hashlib
import os
import socket
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.environ["HERE"], "..", "host", "common"))
SERVER, PORT, SIZE = "198.51.100.1", 8001, 60 << 20
BLOCK = hashlib.sha512(b"block").digest() * 1024


def serve():
    """Sends SIZE bytes to who says `get`, takes what others send and says its digest."""
    def talk(c):
        with c:
            try:
                if c.recv(4, socket.MSG_WAITALL) == b"get\n":
                    for _ in range(SIZE // len(BLOCK)):
                        c.sendall(BLOCK)
                    return
                h = hashlib.sha256()
                while data := c.recv(1 << 16):
                    h.update(data)
                c.sendall(h.hexdigest().encode())
            except OSError:
                pass
    listener = socket.create_server((SERVER, PORT))
    print("ready", flush=True)
    while True:
        threading.Thread(target=talk, args=(listener.accept()[0],), daemon=True).start()


def get(progress):
    s = socket.create_connection((SERVER, PORT), timeout=60)
    s.sendall(b"get\n")
    h, total = hashlib.sha256(), 0
    while data := s.recv(1 << 16):
        h.update(data)
        total += len(data)
        progress(total)
    s.close()
    return total == SIZE // len(BLOCK) * len(BLOCK), h.hexdigest()[:16]


def put(progress):
    s = socket.create_connection((SERVER, PORT), timeout=60)
    s.sendall(b"put\n")
    h, total = hashlib.sha256(), 0
    for _ in range(SIZE // len(BLOCK)):
        s.sendall(BLOCK)
        h.update(BLOCK)
        total += len(BLOCK)
        progress(total)
    s.shutdown(socket.SHUT_WR)
    answer = b""
    while data := s.recv(100):
        answer += data
    s.close()
    return answer.decode() == h.hexdigest(), answer.decode()[:16]


def ip(text):
    subprocess.run(["ip", *text.split()], check=True)


class Once:
    """Does things at 1/4, 2/4, 3/4 of a transfer, while it goes on."""

    def __init__(self, *deeds):
        self.deeds, self.threads = list(deeds), []

    def __call__(self, total):
        done = 3 - len(self.deeds)
        if self.deeds and total > SIZE * (done + 1) // 4:
            t = threading.Thread(target=self.deeds.pop(0))
            t.start()
            self.threads.append(t)

    def end(self):
        for t in self.threads:
            t.join()
        return len(self.threads)


def down_up(dev, routes):
    def deed():
        ip(f"link set {dev} down")
        time.sleep(1)
        ip(f"link set {dev} up")
        for r in routes:
            ip(f"route replace {r}")
    return deed


def mtu(dev, router, size):
    """On both ends natively: a veth drops what is larger than the other end takes."""
    def deed():
        ip(f"link set {dev} mtu {size}")
        if router:
            subprocess.run(["nsenter", f"--net=/proc/{router}/ns/net", "ip", "link", "set", "r0", "mtu", str(size)], check=True)
    return deed


def client(dev, router):
    routes = [line.strip() for line in subprocess.run(["ip", "route", "show", "dev", dev], capture_output=True, text=True, check=True).stdout.splitlines()
              if " via " in f" {line}"]
    routes = [f"{r} dev {dev}" for r in routes]
    for name, work in (("download", get), ("upload", put)):
        deeds = Once(*[down_up(dev, routes)] * 3)
        print(name, "with the interface down and up:", *work(deeds), deeds.end(), flush=True)
        deeds = Once(*[mtu(dev, router, size) for size in (700, 1300, 1500)])
        print(name, "with another MTU:", *work(deeds), deeds.end(), flush=True)
    ip(f"link set {dev} down")
    try:
        socket.create_connection((SERVER, PORT), timeout=5)
    except OSError as e:
        print("no interface:", e, flush=True)
    down_up(dev, routes)()
    print("again:", *get(lambda total: None), flush=True)


def main():
    if sys.argv[1:] == ["serve"]:
        serve()
    if sys.argv[1:2] == ["client"]:
        client(*sys.argv[2:])
        return
    import natnet  # noqa: E402 - only for the root of a namespace
    net = natnet.Net()
    server = subprocess.Popen(["nsenter", f"--net=/proc/{net.server.pid}/ns/net", sys.executable, __file__, "serve"], stdout=subprocess.PIPE)
    server.stdout.readline()
    subprocess.run(["ip", "route", "del", "unreachable", "198.51.100.128/25"], check=False)
    argv = [sys.executable, __file__, "client", "n0", str(net.router.pid)]
    if os.environ["PLACE"] == "sandbox":
        argv = [os.environ["SANDBOX"], "exec", "--platform", os.environ["PLATFORM"], "--net", "nat", "--user", "root", "--"] + argv[:-2] + ["eth0", ""]
    print("exit status", subprocess.run(argv, check=False).returncode, flush=True)
    server.kill()
    net.close()


main()
