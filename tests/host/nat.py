"""--net nat: what a program sees of the network is what it sees natively, what it must not reach it does not, and nothing stays or runs behind."""
import os
import signal
import socket
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "common"))
import natnet  # noqa: E402
from natserver import PORT, V4  # noqa: E402

from common import EXEC, check, finish  # noqa: E402

HERE = os.path.dirname(os.path.abspath(__file__))
CLIENT = os.path.join(HERE, "common", "natclient.py")
NAT = EXEC + ["--net", "nat"]


def lines(argv):
    p = subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False)
    if p.returncode:
        print(p.stderr)
    return p.stdout.splitlines()


def same_as_natively(net):
    native = lines([sys.executable, CLIENT, "1"])
    told_natively = net.told(6)
    # One hop more.
    inside = lines(NAT + ["--", sys.executable, CLIENT, "2"])
    told_inside = net.told(6)
    for i, line in enumerate(native):
        what = line.rsplit(" ", 1)[0] if "(" not in line else line.split(" (")[0]
        check(what, i < len(inside) and inside[i] == line, f"natively '{line}', inside '{inside[i] if i < len(inside) else ''}'")
    check("how connections ended", sorted(told_inside) == sorted(told_natively), f"natively {told_natively}, inside {told_inside}")


def python(code, *options):
    return lines(NAT + list(options) + ["--", sys.executable, "-c", code])


FORBIDDEN = """
import errno, socket
for a in ("169.254.169.254", "10.0.2.2", "10.0.2.3"):
    s = socket.socket(); s.settimeout(3)
    try: s.connect((a, 80)); print(a, "connected")
    except OSError as e: print(a, errno.errorcode.get(e.errno))
for a in ("fe80::1%eth0",):
    s = socket.socket(socket.AF_INET6); s.settimeout(3)
    try: s.connect(socket.getaddrinfo(a, 80)[0][4]); print("connected")
    except OSError as e: print("link-local", isinstance(e, OSError))
# The host's loopback addresses are the guest's own: packets for them cannot even leave.
s = socket.socket(); s.settimeout(3)
try: s.connect(("127.0.0.1", 9999)); print("reached the host")
except OSError as e: print(errno.errorcode.get(e.errno))
"""


def forbidden():
    with socket.create_server(("127.0.0.1", 9999)):
        check("forbidden destinations", python(FORBIDDEN) == ["169.254.169.254 EHOSTUNREACH", "10.0.2.2 ECONNREFUSED",
              "10.0.2.3 ECONNREFUSED", "link-local True", "ECONNREFUSED"], python(FORBIDDEN))


def start(guest, *options):
    """Once its ports are free: the last sandbox that had them is being taken down. The guest says `ready`."""
    for _ in range(50):
        p = subprocess.Popen(NAT + list(options) + ["--", sys.executable, "-c", guest], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        if p.stdout.readline() == b"ready\n":
            return p
        p.wait()
        time.sleep(0.1)
    check("it starts", False)
    finish()
    return None


def published():
    guest = """
import socket, threading
s = socket.create_server(("::", 80), family=socket.AF_INET6, dualstack_ipv6=True)
u = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM); u.bind(("::", 53))
print("ready", flush=True)
def name(a): return a[0].replace("::ffff:", "").encode()
def udp():
    while True:
        d, a = u.recvfrom(70000); u.sendto(name(a) + d, a)
threading.Thread(target=udp, daemon=True).start()
while True:
    c, a = s.accept()
    d = b""
    while True:
        x = c.recv(1 << 16)
        if not x: break
        d += x
    c.sendall(name(a) + d); c.close()
"""
    p = start(guest, "-p", "8080:80", "-p", "8081:81", "-p", "5353:53/udp")
    big = bytes(3_000_000)
    for addr, seen in (("127.0.0.1", b"10.0.2.2"), ("192.0.2.2", b"192.0.2.2"), ("::1", b"10.0.2.2"), ("2001:db8:4::2", b"2001:db8:4::2")):
        with socket.create_connection((addr, 8080), timeout=10) as s:
            s.sendall(big)
            s.shutdown(socket.SHUT_WR)
            got = b""
            while True:
                d = s.recv(1 << 16)
                if not d:
                    break
                got += d
        check(f"published TCP by {addr}", got == seen + big, got[:20])
        with socket.socket(socket.AF_INET6 if ":" in addr else socket.AF_INET, socket.SOCK_DGRAM) as u:
            u.settimeout(5)
            u.connect((addr, 5353))
            for n in (0, 10, 5000, 60000):
                u.send(bytes(n))
                got = u.recv(65536)
                check(f"published UDP by {addr}, {n} bytes", got == seen + bytes(n), got[:20])
    try:
        with socket.create_connection(("127.0.0.1", 8081), timeout=10) as s:
            what = s.recv(1)
    except ConnectionResetError:
        what = "reset"
    check("a published port where nobody listens", what == "reset", what)
    p.kill()
    p.wait()


def children(pid):
    found = [pid]
    for parent in found:
        for task in os.listdir(f"/proc/{parent}/task"):
            with open(f"/proc/{parent}/task/{task}/children", encoding="ascii") as f:
                found += [int(c) for c in f.read().split()]
    return found


def switches(pids):
    total = 0
    for pid in pids:
        for task in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{task}/status", encoding="ascii") as f:
                total += sum(int(line.split()[1]) for line in f if "ctxt_switches" in line)
    return total


def idle_and_dead(net):
    guest = f"""
import socket, time
s = [socket.create_connection(("{V4}", {PORT})) for i in range(20)]
for c in s: c.sendall(b"N"); c.recv(1)
l = socket.create_server(("0.0.0.0", 80))
print("ready", flush=True)
time.sleep(100)
"""
    p = start(guest, "-p", "8080:80")
    time.sleep(3)  # group reports
    pids = children(p.pid)
    before = switches(pids)
    time.sleep(4)
    woken = switches(pids) - before
    check("no wake-ups with idle connections", woken <= 2, f"{woken} switches in 4 s")
    p.send_signal(signal.SIGKILL)
    p.wait()
    ends = net.told(20)
    check("the sandbox's death ends its connections", all(e in ("end 0", "reset") for e in ends), ends)
    start(guest, "-p", "8080:80").kill()
    check("and frees its published port", True)


def looks_like_linux():
    text = "\n".join(lines(NAT + ["--", "sh", "-c", "ip -4 addr show dev eth0; ip route; ip -6 route show default"]))
    for part in ("eth0: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu 1500", "inet 10.0.2.100/24 brd 10.0.2.255 scope global eth0",
                 "default via 10.0.2.2 dev eth0", "10.0.2.0/24 dev eth0 proto kernel scope link src 10.0.2.100"):
        check(f"ip shows '{part}'", part in text, text)
    check("there is IPv6 where the host has it", "default via fd" in text, text)


def main():
    natnet.enter()
    net = natnet.Net()
    try:
        looks_like_linux()
        same_as_natively(net)
        forbidden()
        published()
        idle_and_dead(net)
    finally:
        net.close()
    finish()


main()
