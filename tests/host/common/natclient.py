"""What a program sees of the network, one line for each thing: run natively and in a sandbox, the lines must agree."""
import errno
import hashlib
import os
import select
import socket
import struct
import sys
import threading
import time

from natserver import CLOSED, PORT, V4, V6, pattern, recv_all, reset

IP_RECVERR, IPV6_RECVERR = 11, 25


def name(e):
    return errno.errorcode[e] if e else "0"


def attempt(what, f):
    try:
        print(what, f(), flush=True)
    except socket.timeout:
        print(what, "timeout", flush=True)
    except OSError as e:
        print(what, name(e.errno), flush=True)


def family(addr):
    return socket.AF_INET6 if ":" in addr else socket.AF_INET


def connect(addr, port=PORT, timeout=15):
    s = socket.socket(family(addr), socket.SOCK_STREAM)
    s.settimeout(timeout)
    s.connect((addr, port))
    return s


def ask(addr, letter, more=b""):
    s = connect(addr)
    s.sendall(letter + more)
    return s


def echo(addr, data):
    s = ask(addr, b"E")
    t = threading.Thread(target=lambda: (s.sendall(data), s.shutdown(socket.SHUT_WR)))
    t.start()
    back = recv_all(s)
    t.join()
    return back


def bulk(addr, n):
    data = pattern(n)
    s = ask(addr, b"S", b"%d\n" % n)
    return recv_all(s) == data and hashlib.sha256(echo(addr, data)).digest() == hashlib.sha256(data).digest()


def nonblocking(addr, port):
    s = socket.socket(family(addr), socket.SOCK_STREAM)
    s.setblocking(False)
    try:
        s.connect((addr, port))
    except BlockingIOError:
        pass
    select.select([], [s], [], 5)
    return name(s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))


def half(addr):
    s = ask(addr, b"H")
    first = s.recv(10)
    time.sleep(0.2)
    s.sendall(b"x" * 100000)
    s.close()
    return len(first)


def reset_by_peer(addr):
    s = ask(addr, b"R")
    s.sendall(b"!")
    return s.recv(10)


def end(addr, how):
    s = ask(addr, b"N")
    s.recv(1)
    s.sendall(b"abc")
    how(s)
    return "done"


def full(addr):
    """Nobody reads: writing stops, and the connection can still be ended."""
    s = ask(addr, b"W")
    s.recv(1)
    s.setblocking(False)
    stopped = False
    sent = 0
    while not stopped and sent < 1 << 28:
        try:
            sent += s.send(bytes(1 << 16))
        except BlockingIOError:
            stopped = not select.select([], [s], [], 1)[1]
    reset(s)
    return stopped


def parallel(addr, n):
    socks = [ask(addr, b"E", b"%d" % i) for i in range(n)]
    for s in socks:
        s.shutdown(socket.SHUT_WR)
    return all(recv_all(s) == b"%d" % i for i, s in enumerate(socks))


def udp(addr, sizes, port=PORT):
    s = socket.socket(family(addr), socket.SOCK_DGRAM)
    s.settimeout(5)
    s.connect((addr, port))
    got = []
    for n in sizes:
        s.send(pattern(n))
        got.append(s.recv(65536) == pattern(n))
    return got


def udp_silence(addr):
    s = socket.socket(family(addr), socket.SOCK_DGRAM)
    s.settimeout(0.5)
    s.connect((addr, PORT))
    s.send(b"x")
    return s.recv(10)


def udp_error(addr, port, hops=0):
    """The error, its ICMP type and code, who sent it, and the quoted bytes."""
    v6 = ":" in addr
    s = socket.socket(family(addr), socket.SOCK_DGRAM)
    s.setsockopt(*((socket.IPPROTO_IPV6, IPV6_RECVERR) if v6 else (socket.IPPROTO_IP, IP_RECVERR)), 1)
    if hops:
        s.setsockopt(*((socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS) if v6 else (socket.IPPROTO_IP, socket.IP_TTL)), hops)
    s.connect((addr, port))
    s.send(b"traced")
    select.select([s], [], [], 5)
    data, control, _, _ = s.recvmsg(1000, 1000, socket.MSG_ERRQUEUE)
    number, _, kind, code = struct.unpack_from("=IBBB", control[0][2])
    where = control[0][2][16:]
    who = socket.inet_ntop(socket.AF_INET6, where[8:24]) if v6 else socket.inet_ntop(socket.AF_INET, where[4:8])
    return name(number), kind, code, who, data


def ping(addr, hops=0):
    v6 = ":" in addr
    s = socket.socket(family(addr), socket.SOCK_DGRAM, socket.IPPROTO_ICMPV6 if v6 else socket.IPPROTO_ICMP)
    s.settimeout(5)
    s.connect((addr, 0))
    s.send(struct.pack("!BBHHH", 128 if v6 else 8, 0, 0, 0, 77) + pattern(1000))
    data = s.recv(2000)
    return data[0], struct.unpack("!H", data[6:8])[0], data[8:] == pattern(1000)


def main():
    far = int(sys.argv[1])  # hops to the first router
    for addr in (V4, V6):
        attempt("connect", lambda: ask(addr, b"P").recv(100) != b"")
        attempt("refused", lambda: connect(addr, CLOSED))
        attempt("refused, not waiting", lambda: nonblocking(addr, CLOSED))
        attempt("connected, not waiting", lambda: nonblocking(addr, PORT))
        attempt("bulk", lambda: bulk(addr, 30_000_000))
        attempt("half closed", lambda: half(addr))
        attempt("reset by the peer", lambda: reset_by_peer(addr))
        attempt("our reset", lambda: end(addr, reset))
        attempt("our end", lambda: end(addr, lambda s: s.close()))
        attempt("udp", lambda: udp(addr, [0, 1, 100, 161, 1400, 1472, 9000, 30000, 65000]))
        attempt("udp refused", lambda: udp(addr, [1], CLOSED))
        attempt("udp error", lambda: udp_error(addr, CLOSED))
        attempt("ping", lambda: ping(addr))
        attempt("a hop too few", lambda: udp_error(addr, 33434, far))
        attempt("enough", lambda: udp_error(addr, 33435, far + 1))
    attempt("no host", lambda: connect("198.51.100.130"))
    attempt("no network", lambda: connect("203.0.113.1"))
    attempt("no network, not waiting", lambda: nonblocking("203.0.113.1", PORT))
    attempt("silence", lambda: connect("198.51.100.9", timeout=1.5))
    attempt("udp silence", lambda: udp_silence("198.51.100.9"))
    attempt("many at once", lambda: parallel(V4, 1000))
    attempt("a peer that does not read", lambda: full(V4))


if __name__ == "__main__":
    main()
