# about: 200 receivers that never read, TCP and UDP, while other sockets go on; the memory of the sentry stays bounded
# seconds: 90
# sentry: 700
import select
import socket
import threading
import time

PORT, DEAF, BYTES = 7020, 200, 64 << 20


def fill(s):
    """As much as the socket takes."""
    s.setblocking(False)
    block, total = bytes(1 << 16), 0
    while total < BYTES:
        try:
            total += s.send(block)
        except BlockingIOError:
            if not select.select([], [s], [], 0.05)[1]:
                break
    return total


def transfer(listener, size):
    """A connection of the ordinary kind beside them."""
    got = []

    def receive():
        c, _ = listener.accept()
        total = 0
        while data := c.recv(1 << 18):
            total += len(data)
        got.append(total)
        c.close()
    t = threading.Thread(target=receive)
    t.start()
    s = socket.create_connection(listener.getsockname())
    start = time.monotonic()
    left = size
    while left:
        left -= s.send(bytes(min(left, 1 << 18)))
    s.shutdown(socket.SHUT_WR)
    t.join()
    s.close()
    print(f"# transfer beside them {size / (time.monotonic() - start) / 1e6:.0f} MB/s")
    return got[0]


def streams():
    listener = socket.create_server(("127.0.0.1", PORT), backlog=DEAF + 1)
    pairs = []
    for _ in range(DEAF):
        s = socket.create_connection(("127.0.0.1", PORT))
        pairs.append((s, listener.accept()[0]))
    taken = [fill(s) for s, _ in pairs]
    print("each is told to wait:", max(taken) < BYTES, "and took something:", min(taken) > 0)
    print(f"# bytes that a deaf connection takes {sum(taken) / DEAF / 1024:.0f} KiB")
    print("the others transfer", transfer(listener, 100 << 20))
    # They can be heard after all.
    s, a = pairs[0]
    a.settimeout(10)
    got = 0
    while got < taken[0]:
        got += len(a.recv(1 << 18))
    print("all came:", got == taken[0])
    for s, a in pairs:
        s.close()
        a.close()
    print("and afterwards", transfer(listener, 10 << 20))


def datagrams():
    deaf = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(DEAF)]
    for s in deaf:
        s.bind(("127.0.0.1", 0))
    sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    for s in deaf:
        for _ in range(500):
            sender.sendto(bytes(8000), s.getsockname())
    counts = []
    for s in deaf:
        s.setblocking(False)
        n = 0
        try:
            while s.recv(9000):
                n += 1
        except BlockingIOError:
            pass
        counts.append(n)
    print("datagrams are kept, and not all:", min(counts) > 0, max(counts) < 500)


streams()
datagrams()
