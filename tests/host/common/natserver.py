"""The peer of the network tests: TCP by a letter, UDP echoes. Waits for a line on stdin before it binds; says `ready`, then one line for each `close`."""
import os
import socket
import struct
import sys
import threading

V4, V6 = "198.51.100.1", "2001:db8:5::1"
PORT, CLOSED = 7000, 7001


def pattern(n):
    block = bytes(i * 7 % 251 for i in range(251 * 40))
    return (block * (n // len(block) + 1))[:n]


def recv_all(s):
    parts = []
    while True:
        d = s.recv(1 << 16)
        if not d:
            return b"".join(parts)
        parts.append(d)


def say(line):
    os.write(1, line.encode() + b"\n")


def reset(s):
    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    s.close()


def serve(s):
    what = s.recv(1)
    if what == b"E":  # echo what comes, until its end
        s.sendall(recv_all(s))
    elif what == b"S":  # so many bytes
        s.sendall(pattern(int(s.makefile("rb").readline())))
    elif what == b"R":
        s.recv(1)
        reset(s)
        return
    elif what == b"H":  # our end first, then theirs
        s.shutdown(socket.SHUT_WR)
        data = recv_all(s)
        say(f"half {len(data)}")
    elif what == b"N":  # says how theirs ended
        s.sendall(b"n")
        try:
            data = recv_all(s)
            say(f"end {len(data)}")
        except ConnectionResetError:
            say("reset")
    elif what == b"W":  # reads nothing
        s.sendall(b"w")
        threading.Event().wait(20)
    elif what == b"P":
        s.sendall(s.getpeername()[0].encode())
    s.close()


def thread(f, *args):
    threading.Thread(target=f, args=args, daemon=True).start()


def tcp(listener):
    while True:
        thread(lambda s: serve(s), listener.accept()[0])


def udp(s):
    while True:
        data, who = s.recvfrom(65536)
        s.sendto(data, who)


def main():
    sys.stdin.readline()
    threading.stack_size(1 << 18)
    for family, addr in ((socket.AF_INET, V4), (socket.AF_INET6, V6)):
        thread(tcp, socket.create_server((addr, PORT), family=family, backlog=4096))
        s = socket.socket(family, socket.SOCK_DGRAM)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        s.bind((addr, PORT))
        thread(udp, s)
    say("ready")
    sys.stdin.read()


if __name__ == "__main__":
    main()
