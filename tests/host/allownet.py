#!/usr/bin/env python3
"""Names and egress control: --net nat with --dns and --allow-net, in a network namespace with resolvers and servers of our own.

All addresses lie on the loopback interface of that namespace. Two names share 198.51.100.10, as on a CDN."""
import json
import os
import shutil
import socket
import socketserver
import ssl
import struct
import subprocess
import sys
import threading
import time

if "ALLOWNET_INSIDE" not in os.environ:
    UNSHARE = ["unshare", "--net", "--mount"] + ([] if os.getuid() == 0 else ["--user", "--map-root-user"])
    if not shutil.which("ip") or not shutil.which("openssl") or \
            subprocess.run(UNSHARE + ["ip", "link", "set", "lo", "up"], stderr=subprocess.DEVNULL, check=False).returncode:
        print("no ip(8), no openssl, or no namespaces for this user")
        sys.exit(77)
    os.execvpe("unshare", UNSHARE + [sys.executable] + sys.argv, dict(os.environ, ALLOWNET_INSIDE="1"))

from common import EXEC, check, finish  # pylint: disable=wrong-import-position

WEB, CDN, SIX, RESOLVER, DEAD, SILENT = ("198.51.100.10", "198.51.100.11", "2001:db8:1::1", "198.51.100.53", "198.51.100.54",
                                         "198.51.100.55")
A, CNAME, TXT, AAAA, HTTPS = 1, 5, 16, 28, 65
ZONE = {
    "www.example.org": [(A, WEB)],
    "shared.example.net": [(A, WEB)],
    "evil.example.com": [(A, WEB)],
    "alias.example.org": [(CNAME, "cdn.example.net")],
    "cdn.example.net": [(A, CDN)],
    "rebind.example.org": [(A, "10.1.2.3"), (A, "127.0.0.1"), (A, WEB)],
    "inner.example.org": [(A, "10.7.7.7")],
    "six.example.org": [(AAAA, SIX)],
    "big.example.org": [(TXT, bytes([200]) + b"x" * 200)] * 20,
    "https.example.org": [(A, WEB), (HTTPS, b"\0\1\0" + b"ech=key")],
}
asked = []  # names, as the resolver got them


def wire(name):
    return b"".join(bytes([len(l)]) + l.encode() for l in name.split(".")) + b"\0"


def data(kind, value):
    if kind == CNAME:
        return wire(value)
    if kind in (A, AAAA):
        return socket.inet_pton(socket.AF_INET if kind == A else socket.AF_INET6, value)
    return value


def answer(query, limit):
    """What a recursive resolver would say."""
    at, labels = 12, []
    while query[at]:
        labels.append(query[at + 1:at + 1 + query[at]].decode())
        at += 1 + query[at]
    question, kind = query[12:at + 5], struct.unpack(">H", query[at + 1:at + 3])[0]
    name = ".".join(labels).lower()
    asked.append(name)
    records, known = b"", name in ZONE
    count = 0
    while name in ZONE:
        target = None
        for k, value in ZONE[name]:
            if k in (kind, CNAME) or kind == 255 or (kind == A and k == HTTPS):
                d = data(k, value)
                records += wire(name) + struct.pack(">HHIH", k, 1, 5, len(d)) + d
                count += 1
            if k == CNAME:
                target = value
        name = target
    out = query[:2] + struct.pack(">5H", 0x8180 | (0 if known else 3), 1, count, 0, 0) + question + records
    if len(out) > limit:
        out = query[:2] + struct.pack(">5H", 0x8380, 1, 0, 0, 0) + question
    return out


def spawn(fn, *args):
    threading.Thread(target=fn, args=args, daemon=True).start()


def resolver_udp(addr):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.bind((addr, 53))

    def serve():
        while True:
            query, peer = s.recvfrom(4096)
            # A forger, who knows neither the identifier nor the port: the wrong one must not count.
            out = answer(query, 8192 if query[11] else 512)
            s.sendto(struct.pack(">H", (query[0] << 8 | query[1]) ^ 1) + out[2:], peer)
            s.sendto(out, peer)
    spawn(serve)


class ResolverTCP(socketserver.StreamRequestHandler):
    def handle(self):
        while True:
            head = self.rfile.read(2)
            if len(head) < 2:
                return
            out = answer(self.rfile.read(struct.unpack(">H", head)[0]), 65535)
            self.wfile.write(struct.pack(">H", len(out)) + out)


class HTTP(socketserver.StreamRequestHandler):
    def handle(self):
        while self.rfile.readline():
            while self.rfile.readline() not in (b"\r\n", b""):
                pass
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")


class Banner(socketserver.BaseRequestHandler):
    def handle(self):
        self.request.sendall(b"220 ready\r\n")


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 64


class Server6(Server):
    address_family = socket.AF_INET6


def serve(cls, addr, port, handler):
    spawn(cls((addr, port), handler).serve_forever)


def serve_tls(addr, port):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain("cert.pem", "key.pem")

    class TLS(socketserver.BaseRequestHandler):
        def handle(self):
            try:
                with context.wrap_socket(self.request, server_side=True) as s:
                    s.sendall(b"secret")
            except OSError:
                pass
    serve(Server, addr, port, TLS)


def echo_udp(addr, port):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.bind((addr, port))

    def run():
        while True:
            b, peer = s.recvfrom(2048)
            s.sendto(b, peer)
    spawn(run)


def set_up():
    for addr in [WEB, CDN, RESOLVER, DEAD, SILENT, "10.1.2.3", "10.7.7.7"]:
        subprocess.run(["ip", "address", "add", addr + "/32", "dev", "lo"], check=True)
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    subprocess.run(["ip", "address", "add", SIX + "/128", "dev", "lo", "nodad"], check=True)
    subprocess.run(["ip", "route", "add", "default", "dev", "lo"], check=True)
    subprocess.run(["ip", "-6", "route", "add", "2000::/3", "dev", "lo"], check=True)
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj",
                    "/CN=test", "-keyout", "key.pem", "-out", "cert.pem"], check=True, stderr=subprocess.DEVNULL)
    resolver_udp(RESOLVER)
    serve(Server, RESOLVER, 53, ResolverTCP)
    silent = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    silent.bind((SILENT, 53))
    for addr in WEB, CDN, "10.7.7.7":
        serve(Server, addr, 80, HTTP)
        serve_tls(addr, 443)
    serve(Server, WEB, 22, Banner)
    serve(Server, WEB, 8080, HTTP)
    serve(Server6, SIX, 80, HTTP)
    for port in 443, 5000:
        echo_udp(WEB, port)
    host_resolv("nameserver " + RESOLVER + "\nsearch example.org\noptions ndots:1 timeout:2\n")
    return silent


def host_resolv(text):
    """The host's resolv.conf, in this mount namespace only."""
    with open("resolv", "w", encoding="ascii") as f:
        f.write(text)
    if not host_resolv.mounted:
        subprocess.run(["mount", "--bind", "resolv", "/etc/resolv.conf"], check=True)
        host_resolv.mounted = True


host_resolv.mounted = False

# What the guest runs: steps with their arguments, one result each.
GUEST = r'''
import errno, json, socket, ssl, struct, sys, time
def code(e):
    if isinstance(e, socket.gaierror): return {socket.EAI_NONAME: "NONAME", socket.EAI_AGAIN: "AGAIN", -5: "NODATA"}.get(e.errno, str(e))
    if isinstance(e, TimeoutError): return "timeout"
    return errno.errorcode.get(e.errno, repr(e)) if getattr(e, "errno", None) else repr(e)
def open_tcp(addr, port): return socket.create_connection((addr, port), 5)
def resolve(name, family=0):
    return sorted({a[4][0] for a in socket.getaddrinfo(name, 80, family, socket.SOCK_STREAM)})
def connect(addr, port):
    open_tcp(addr, port).close(); return "ok"
def talk(addr, port, text):
    with open_tcp(addr, port) as s:
        s.sendall(text.encode()); got = s.recv(100)
        return got.decode() if got else "closed"
def http(addr, host, port=80):
    return talk(addr, port, "GET / HTTP/1.1\r\nHost: %s\r\n\r\n" % host)[:12]
def http_again(addr, hosts):
    with open_tcp(addr, 80) as s:
        for h in hosts:
            s.sendall(("GET / HTTP/1.1\r\nHost: %s\r\n\r\n" % h).encode()); got = s.recv(100).decode()[:12]
        return got or "closed"
def tls(addr, name, port=443):
    c = ssl.create_default_context(); c.check_hostname = False; c.verify_mode = ssl.CERT_NONE
    with open_tcp(addr, port) as s, c.wrap_socket(s, server_hostname=name) as t: return t.recv(100).decode()
def banner(addr, port):
    with open_tcp(addr, port) as s: s.settimeout(30); return s.recv(100).decode().strip()
def udp(addr, port):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.settimeout(3); s.connect((addr, port)); s.send(b"hello"); return s.recv(100).decode()
def wire(name): return b"".join(bytes([len(l)]) + l.encode() for l in name.split(".")) + b"\0"
def query(name, kind, more=b"", extra=0): return struct.pack(">6H", 0x4242, 0x100, 1, 0, 0, extra) + wire(name) + struct.pack(">HH", kind, 1) + more
def summary(m):
    i, f, q, a, n, x = struct.unpack(">6H", m[:12]); assert i == 0x4242
    return [f & 15, a, bool(f & 0x200)]
def dns(name, kind, server="10.0.2.3"):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.settimeout(8); s.connect((server, 53)); s.send(query(name, kind))
        while True:
            m = s.recv(4096)
            if m[:2] == b"BB": return summary(m)
def dns_edns(name, kind):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.settimeout(8); s.connect(("10.0.2.3", 53)); s.send(query(name, kind, b"\0\0\x29\x20\0\0\0\0\0\0\0", 1)); return summary(s.recv(9000))
def dns_tcp(names, kind):
    with open_tcp("10.0.2.3", 53) as s:
        for n in names:
            m = query(n, kind); s.sendall(struct.pack(">H", len(m)) + m)
        f, out = s.makefile("rb"), []
        for n in names: out.append(summary(f.read(struct.unpack(">H", f.read(2))[0])))
        return out
def read(path): return open(path).read()
def write(path):
    open(path, "a").write("x"); return "written"
def timed(step):
    start = time.monotonic(); r = run(step); return [r, round(time.monotonic() - start, 1)]
def run(step):
    try: return globals()[step[0]](*step[1:])
    except (OSError, EOFError, struct.error) as e: return code(e)
print(json.dumps([run(s) for s in json.loads(sys.argv[1])]))
'''


class Box:
    """One sandbox with those options; step() in order, then what it said."""

    def __init__(self, *options):
        self.options = list(options)
        self.steps = []

    def step(self, what, want, *args):
        self.steps.append((what, want, list(args)))
        return self

    def run(self, **kw):
        r = subprocess.run(EXEC + ["--net", "nat"] + self.options + ["--", sys.executable, "-c", GUEST,
                                                                      json.dumps([s[2] for s in self.steps])],
                           timeout=100, capture_output=True, text=True, check=False, **kw)
        try:
            results = json.loads(r.stdout)
        except ValueError:
            check("the guest program", False, r.stdout + r.stderr)
            return r.stderr
        for (what, want, _), got in zip(self.steps, results):
            check(what, want(got) if callable(want) else got == want, f"{got!r}, not {want!r}")
        return r.stderr


def fails(got):
    return got in ("ECONNREFUSED", "ECONNRESET", "closed", "EACCES", "EHOSTUNREACH", "EPERM", "ENETUNREACH")


def refused_tls(got):
    return fails(got) or "EOF occurred" in got or "SSL" in got


def names():
    b = Box()
    b.step("resolv.conf", lambda r: "nameserver 10.0.2.3\nsearch example.org\noptions ndots:1\n" in r, "read", "/etc/resolv.conf")
    b.step("resolv.conf cannot be written", lambda r: r in ("EROFS", "EACCES"), "write", "/etc/resolv.conf")
    b.step("a name", [WEB], "resolve", "www.example.org")
    b.step("by the search list", [WEB], "resolve", "www")
    b.step("an alias", [CDN], "resolve", "alias.example.org")
    b.step("IPv6", [SIX], "resolve", "six.example.org", socket.AF_INET6)
    b.step("no such name", "NONAME", "resolve", "nosuch.example.org")
    b.step("localhost is not asked for", [0, 1, False], "dns", "a.localhost", A)
    b.step("a large answer is cut by UDP", [0, 0, True], "dns", "big.example.org", TXT)
    b.step("and whole with EDNS", [0, 20, False], "dns_edns", "big.example.org", TXT)
    b.step("and whole by TCP, several on one connection", [[0, 20, False]] * 3, "dns_tcp", ["big.example.org"] * 3, TXT)
    b.step("other types pass", [0, 2, False], "dns", "https.example.org", A)
    b.step("http", "HTTP/1.1 200", "http", WEB, "www.example.org")
    b.run()
    check("localhost did not go out", not any("localhost" in n for n in asked), asked)


def resolvers():
    host_resolv(f"nameserver {DEAD}\nnameserver {SILENT}\nnameserver {RESOLVER}\noptions timeout:1\n")
    Box().step("the third resolver", [WEB], "resolve", "www.example.org").run()
    host_resolv(f"nameserver {DEAD}\noptions timeout:1 attempts:1\n")
    err = Box().step("none answers", lambda r: r[0] == "AGAIN" and r[1] < 5, "timed", ["resolve", "www.example.org"]).run()
    check("and that is said", f"no resolver of this machine answers: {DEAD} (Connection refused)" in err, err)
    Box("--dns", DEAD, "--dns", RESOLVER).step("--dns", [WEB], "resolve", "www.example.org").run()
    host_resolv("")
    err = Box().step("an empty resolv.conf", [2, 0, False], "dns", "www.example.org", A).run()
    check("means this machine", "127.0.0.1 (Connection refused)" in err, err)
    host_resolv(f"nameserver {RESOLVER}\nsearch example.org\n")


def make_root(kind):
    """A root directory with a resolv.conf of that kind; programs come by a bind."""
    root = "root-" + kind
    for d in "etc", "run/resolve", "proc", "dev", "sys", "tmp", "usr":
        os.makedirs(f"{root}/{d}")
    for d in "bin", "lib", "lib64":
        os.symlink("usr/" + d, f"{root}/{d}")
    if kind in ("dangling", "link"):
        os.symlink("../run/resolve/stub-resolv.conf", f"{root}/etc/resolv.conf")
    if kind in ("link", "file"):
        with open(f"{root}/run/resolve/stub-resolv.conf" if kind == "link" else f"{root}/etc/resolv.conf", "w", encoding="ascii") as f:
            f.write("nameserver 192.0.2.1\n")
    return root


def listing(root):
    return subprocess.run(["find", root, "-ls"], capture_output=True, text=True, check=True).stdout


def roots():
    """resolv.conf is the gateway's whatever lies there, and nothing is written."""
    for kind in "missing", "dangling", "link", "file":
        root = make_root(kind)
        before = listing(root)
        for overlay in "memory", "none", "dir=up":
            shutil.rmtree("up", ignore_errors=True)
            os.mkdir("up")
            r = subprocess.run(EXEC + ["--net", "nat", "--root", root, "--overlay", overlay, "--bind", "/usr:/usr:ro", "--", "/bin/cat",
                                       "/etc/resolv.conf"], capture_output=True, text=True, timeout=60, check=False)
            check(f"resolv.conf: {kind}, overlay {overlay}", "nameserver 10.0.2.3\n" in r.stdout and "192.0.2.1" not in r.stdout,
                  r.stdout + r.stderr)
            check(f"nothing is written: {kind}, overlay {overlay}", listing(root) == before and not os.listdir("up"),
                  listing(root) + str(os.listdir("up")))


def replaced_outside():
    """Somebody writes another resolv.conf below while the sandbox runs."""
    for kind in "missing", "file":
        p = subprocess.Popen(EXEC + ["--net", "nat", "--root", "root-" + kind, "--overlay", "none", "--bind", "/usr:/usr:ro", "--", "/bin/sh", "-c",
                                     "cat /etc/resolv.conf; read x; cat /etc/resolv.conf"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        first = p.stdout.readline() + p.stdout.readline()
        with open("new", "w", encoding="ascii") as f:
            f.write("nameserver 192.0.2.2\n")
        os.rename("new", f"root-{kind}/etc/resolv.conf")
        out = p.communicate("x\n", timeout=60)[0]
        check(f"resolv.conf stays when it changes outside: {kind}", "10.0.2.3" in first and "nameserver 10.0.2.3" in out and "192.0.2.2" not in out,
              first + out)


def allowed_names():
    del asked[:]
    b = Box("--allow-net", "www.example.org,shared.example.net:443", "--allow-net", "*.example.org:22")
    b.step("nothing is reached before it is asked for", fails, "http", WEB, "www.example.org")
    b.step("an allowed name", [WEB], "resolve", "WWW.Example.org.")
    b.step("with Host", "HTTP/1.1 200", "http", WEB, "www.example.org")
    b.step("with SNI", "secret", "tls", WEB, "www.example.org")
    b.step("on another port", "HTTP/1.1 200", "http", WEB, "www.example.org", 8080)
    b.step("another Host", fails, "http", WEB, "evil.example.com")
    b.step("the same Host again, by the same connection", "HTTP/1.1 200", "http_again", WEB, ["www.example.org"] * 3)
    b.step("and then another", fails, "http_again", WEB, ["www.example.org"] * 2 + ["evil.example.com"])
    b.step("another SNI", refused_tls, "tls", WEB, "evil.example.com")
    b.step("an allowed SNI that was not asked for", refused_tls, "tls", WEB, "shared.example.net")
    b.step("no SNI", refused_tls, "tls", WEB, None)
    b.step("neither TLS nor HTTP", fails, "talk", WEB, 80, "EHLO me\r\n")
    b.step("HTTP/2 without TLS", fails, "talk", WEB, 80, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
    b.step("two Hosts", fails, "talk", WEB, 80, "GET / HTTP/1.1\r\nHost: www.example.org\r\nHost: evil.example.com\r\n\r\n")
    b.step("CONNECT to elsewhere", fails, "talk", WEB, 80, "CONNECT evil.example.com:443 HTTP/1.1\r\n\r\n")
    b.step("the one that shares its address", [WEB], "resolve", "shared.example.net")
    b.step("with its SNI", "secret", "tls", WEB, "shared.example.net")
    b.step("but not its Host", fails, "http", WEB, "shared.example.net")
    b.step("a port in the rule: the server speaks first", "220 ready", "banner", WEB, 22)
    b.step("the server would speak first on a web port", lambda r: fails(r[0]) and 8 < r[1] < 20, "timed", ["banner", WEB, 8080])
    b.step("a name that is not allowed fails at once", lambda r: r[0] == "NONAME" and r[1] < 2, "timed", ["resolve", "evil.example.com"])
    b.step("so does the domain itself", "NONAME", "resolve", "example.org")
    b.step("a guessed address", fails, "connect", CDN, 80)
    b.step("QUIC", lambda r: r != "hello", "udp", WEB, 443)
    b.step("a foreign resolver", lambda r: not isinstance(r, list), "dns", "www.example.org", A, RESOLVER)
    b.step("a foreign resolver by TCP", fails, "connect", RESOLVER, 53)
    b.step("ECH keys are not told", [0, 1, False], "dns", "https.example.org", A)
    b.step("a large answer, made anew", [0, 20, False], "dns_edns", "big.example.org", TXT)
    b.step("and cut", [0, 0, True], "dns", "big.example.org", TXT)
    b.step("nor asked for", [0, 0, False], "dns", "https.example.org", HTTPS)
    b.step("rebinding", [WEB], "resolve", "rebind.example.org")
    b.step("a private address is not told", lambda r: r in ("NONAME", "NODATA"), "resolve", "inner.example.org")
    err = b.run()
    check("names that are not allowed did not go out", all(n == "www.example.org" or n == "shared.example.net" or n.endswith(".example.org")
                                                            for n in asked), asked)
    for line in (f"refused: pid 1 (python3) to {WEB}:80", f"to {WEB}:443 (evil.example.com): no --allow-net has this name",
                 f"to {WEB}:80 (evil.example.com)", "asks for the name evil.example.com", f"to {CDN}:80: ",
                 f"to {WEB}:443/udp", f"to {RESOLVER}:53/udp", "TLS without a server name", "two Host headers", "waits for the server to speak first"):
        check(f"it is said: {line}", line in err, err)


def allowed_networks():
    b = Box("--allow-net", f"198.51.100.8/30:80,{RESOLVER}:53,[{SIX}]:80,inner.example.org,10.7.7.7:443")
    b.step("a network", "HTTP/1.1 200", "http", WEB, "whatever")
    b.step("its port only", fails, "connect", WEB, 443)
    b.step("not beside it", fails, "connect", "198.51.100.12", 80)
    b.step("IPv6", "HTTP/1.1 200", "http", SIX, "whatever")
    b.step("a resolver", [0, 1, False], "dns", "www.example.org", A, RESOLVER)
    b.step("no names", "NONAME", "resolve", "www.example.org")
    b.step("a private address that a rule has", ["10.7.7.7"], "resolve", "inner.example.org")
    b.step("by its name", "secret", "tls", "10.7.7.7", "inner.example.org")
    b.run()
    b = Box("--allow-net", "*.example.org:5000,*.example.org:443")
    b.step("a name", [WEB], "resolve", "www.example.org")
    b.step("UDP to a port in the rule", "hello", "udp", WEB, 5000)
    b.step("but not QUIC", lambda r: r != "hello", "udp", WEB, 443)
    b.run()


def mistakes():
    def complains(options, *words):
        r = subprocess.run(EXEC + options + ["--", "true"], capture_output=True, text=True, timeout=60, check=False)
        check(" ".join(options), r.returncode == 125 and r.stderr.count("\n") == 1 and all(w in r.stderr for w in words),
              f"{r.returncode} {r.stderr}")
    complains(["--allow-net", "example.org"], "--allow-net", "add --net nat")
    complains(["--dns", "9.9.9.9"], "--dns", "add --net nat")
    for rule, why in (("", "empty"), ("a.org,", "empty"), ("a.org,,b.org", "empty"), ("*", "star"), ("a.*.org", "star"), ("a.org:0", "port"),
                      ("a.org:9-1", "range"), ("10.0.0.1/8", "prefix"), ("10.0.0.0/33", "0 to 32"), ("1.2.3", "IPv4"),
                      ("[2001:db8::1", "brackets"), ("b\u00fccher.example", "xn--"), ("a b", "neither")):
        complains(["--net", "nat", "--allow-net", rule], "sandbox: --allow-net '", why)
    for addr in "", "example.org", "1.2.3.4.5", "1.2.3.4:53":
        complains(["--net", "nat", "--dns", addr], f"sandbox: --dns '{addr}'", "address of a resolver")
    complains(["--net", "nat"] + ["--dns", "1.1.1.1"] * 4, "more than 3")


keep = set_up()
names()
resolvers()
roots()
replaced_outside()
allowed_names()
allowed_networks()
mistakes()
finish()
