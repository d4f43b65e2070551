"""A DNS server on 127.0.0.1 and ::1: UDP and TCP, at the port of its argument. Names under `big.` get answers that only TCP holds."""
import socket
import socketserver
import struct
import sys
import threading

PORT = int(sys.argv[1])


def answer(query, room):
    ident, = struct.unpack(">H", query[:2])
    end = query.index(b"\0", 12) + 5
    kind, = struct.unpack(">H", query[end - 4:end - 2])
    question, name = query[12:end], query[13:13 + query[12]]
    count = 100 if name == b"big" else 1
    data = {1: bytes([192, 0, 2, 7]), 28: socket.inet_pton(socket.AF_INET6, "2001:db8::7"), 16: b"\x05hello"}.get(kind)
    code = 3 if name == b"nothing" or data is None else 0
    records = b"" if code else b"".join(struct.pack(">HHHIH", 0xc00c, kind, 1, 60, len(data)) + data[:-1] + bytes([data[-1] ^ i]) for i in range(count))
    if 12 + len(question) + len(records) > room:
        return struct.pack(">HHHHHH", ident, 0x8780, 1, 0, 0, 0) + question
    return struct.pack(">HHHHHH", ident, 0x8580 | code, 1, 0 if code else count, 0, 0) + question + records


class Datagram(socketserver.BaseRequestHandler):
    def handle(self):
        data, s = self.request
        s.sendto(answer(data, 512), self.client_address)


class Stream(socketserver.StreamRequestHandler):
    def handle(self):
        while size := self.rfile.read(2):
            text = answer(self.rfile.read(struct.unpack(">H", size)[0]), 65535)
            self.wfile.write(struct.pack(">H", len(text)) + text)


def main():
    for family, address in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
        for kind, handler in ((socketserver.ThreadingUDPServer, Datagram), (socketserver.ThreadingTCPServer, Stream)):
            server = type("Server", (kind,), {"address_family": family, "daemon_threads": True, "allow_reuse_address": True})((address, PORT), handler)
            threading.Thread(target=server.serve_forever).start()


main()
