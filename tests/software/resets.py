# about: 1,000 connections that end by resets, half-open peers and a flood of SYNs, while a normal client works
# as: root
# seconds: 120
# sentry: 250
import ctypes
import os
import random
import socket
import struct
import sys
import threading
import time

PORT, LONELY = 7010, 7011
RESETS, HALF_OPEN, SYNS = 1000, 500, 20000


def serve(port, backlog, accepts):
    listener = socket.create_server(("127.0.0.1", port), backlog=backlog)

    def talk(c):
        with c:
            try:
                while data := c.recv(1 << 16):
                    c.sendall(data)
            except ConnectionError:
                ended.append("reset")
    ended = []

    def accept():
        while accepts:
            threading.Thread(target=talk, args=(listener.accept()[0],), daemon=True).start()
    threading.Thread(target=accept, daemon=True).start()
    return listener, ended


class Client:
    """One that only wants its echo."""

    def __init__(self):
        self.s = socket.create_connection(("127.0.0.1", PORT))
        self.s.settimeout(20)
        self.rounds, self.stopped, self.slowest = 0, False, 0.0
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self):
        text = b"0123456789" * 1000
        while not self.stopped:
            start = time.monotonic()
            self.s.sendall(text)
            got = b""
            while len(got) < len(text):
                data = self.s.recv(1 << 16)
                if not data:
                    print("the normal client's connection ended")
                    return
                got += data
            if got != text:
                print("the normal client got something else")
            self.slowest = max(self.slowest, time.monotonic() - start)
            self.rounds += 1

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stopped = True
        self.thread.join()
        self.s.close()


def during(what, work):
    start = time.monotonic()
    with Client() as c:
        work()
        seconds = time.monotonic() - start
    print(what + ": the normal client worked:", c.rounds > 0 and c.slowest < 15)
    print(f"# {what}: echos beside it {c.rounds / max(seconds, 0.001):.0f} /s")
    new = socket.create_connection(("127.0.0.1", PORT), timeout=20)
    new.sendall(b"new")
    print(what + ": a new client gets", new.recv(10))
    new.close()


def resets():
    for i in range(RESETS):
        s = socket.create_connection(("127.0.0.1", PORT))
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        s.sendall(b"x" * (i % 3 * 1000))
        s.close()


def reset_storm(ended):
    """All at once."""
    held = [socket.create_connection(("127.0.0.1", PORT)) for _ in range(RESETS)]
    for s in held:
        s.sendall(b"x")
    for s in held:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        s.close()
    deadline = time.monotonic() + 20
    while len(ended) < RESETS and time.monotonic() < deadline:
        time.sleep(0.05)


def checksum(data):
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return ~total & 0xffff


def syn(source, sport, dport, seq):
    src, dst = socket.inet_aton(source), socket.inet_aton("127.0.0.1")
    tcp = struct.pack("!HHIIBBHHHBBH", sport, dport, seq, 0, 6 << 4, 2, 65535, 0, 0, 2, 4, 1460)
    tcp = tcp[:16] + struct.pack("!H", checksum(src + dst + struct.pack("!BBH", 0, 6, len(tcp)) + tcp)) + tcp[18:]
    ip = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(tcp), 0, 0, 64, 6, 0, src, dst)
    return ip + tcp


def flood():
    """From addresses that nobody has: their SYN-ACKs go nowhere."""
    raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
    r = random.Random(1)
    for i in range(SYNS):
        raw.sendto(syn(f"198.51.{r.randrange(256)}.{r.randrange(1, 255)}", r.randrange(1024, 65535), PORT, r.randrange(1 << 32)), ("127.0.0.1", 0))
    raw.close()


def half_open():
    """A peer that forgets: its segments are dropped from now on, as when it has gone without a word."""
    listener = socket.create_server(("127.0.0.1", LONELY), backlog=HALF_OPEN)
    held = []
    for _ in range(HALF_OPEN):
        c = socket.create_connection(("127.0.0.1", LONELY))
        a, _ = listener.accept()
        # A filter that lets nothing pass: what its peer sends meets silence.
        a.setsockopt(socket.SOL_SOCKET, 26, filter_of(0))
        c.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        c.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 1)
        c.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 1)
        c.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 2)
        held.append((c, a))
    # A writer, too: it gives up after TCP_USER_TIMEOUT.
    writers = held[::2]
    for c, _ in writers:
        c.setsockopt(socket.IPPROTO_TCP, 18, 2000)
        c.sendall(b"x" * 1000)
    ends = {}
    for c, _ in held:
        c.settimeout(30)
        try:
            c.recv(1)
            end = "end"
        except OSError as e:
            end = type(e).__name__
        ends[end] = ends.get(end, 0) + 1
        c.close()
    print("half-open:", ends)
    listener.close()


def filter_of(keep):
    code = struct.pack("HBBI", 6, 0, 0, keep)  # ret
    filter_of.buffer = ctypes.create_string_buffer(code)
    return struct.pack("HxxxxxxP", 1, ctypes.addressof(filter_of.buffer))


def main():
    _, ended = serve(PORT, 1024, True)
    during("resets one after the other", resets)
    ended.clear()
    during("a storm of resets", lambda: reset_storm(ended))
    print("ended by reset:", sum(e == "reset" for e in ended))
    during("a flood of SYNs", flood)
    during("half-open peers", half_open)
    sys.stdout.flush()
    os._exit(0)


main()
