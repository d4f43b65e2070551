"""Standard streams, signals and ends: as if there were no sandbox."""
import os
import signal
import socket
import subprocess
import time

from common import EXEC, check, finish


def run(args, **kw):
    return subprocess.run(EXEC + ["--"] + args, timeout=60, **kw)


def files():
    subprocess.run(f"(echo one; {' '.join(EXEC)} -- echo two; echo three) > f", shell=True, timeout=60)
    check("a regular file at its own offset", open("f").read() == "one\ntwo\nthree\n", repr(open("f").read()))
    subprocess.run(f"{' '.join(EXEC)} -- echo four >> f", shell=True, timeout=60)
    check("append", open("f").read().endswith("three\nfour\n"))
    out = subprocess.run(f"(head -c 0; {' '.join(EXEC)} -- sh -c 'read x; echo got $x'; cat) < f", shell=True, timeout=60,
                         stdout=subprocess.PIPE).stdout
    check("input file is read at its offset", out.startswith(b"got one\n"), repr(out))


def pipes():
    r = run(["cat"], input=b"x" * 1000000, stdout=subprocess.PIPE)
    check("a pipe through cat", r.stdout == b"x" * 1000000, len(r.stdout))
    r = run(["sh", "-c", "echo out; echo err >&2"], capture_output=True)
    check("stdout and stderr", (r.stdout, r.stderr) == (b"out\n", b"err\n"), repr(r))
    p = subprocess.Popen(EXEC + ["--", "yes"], stdout=subprocess.PIPE)
    p.stdout.read(10)
    p.stdout.close()
    check("a closed pipe ends it with SIGPIPE", p.wait(20) in (141, -13), p.returncode)
    r = subprocess.run(" ".join(EXEC) + " -- sh -c 'ls -l /proc/self/fd | wc -l' <&- >&- 2>&-", shell=True, timeout=60)
    check("closed streams: wc cannot write", r.returncode == 1, r.returncode)
    r = run(["readlink", "/proc/self/fd/0"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    check("/dev/null stays what it is", r.stdout == b"/dev/null\n", repr(r.stdout))


def sockets():
    a, b = socket.socketpair()
    p = subprocess.Popen(EXEC + ["--", "sh", "-c", "read x; echo got $x"], stdin=b, stdout=b)
    b.close()
    a.sendall(b"hello\n")
    check("a socket as both streams", a.recv(100) == b"got hello\n")
    p.wait(20)


# What a server of inetd does with its socket: this runs natively, too, and must say the same.
SERVER = """
import errno, os, select, socket, sys
s = socket.socket(fileno=0)

def say(*what):
    print(*what, file=sys.stderr, flush=True)

def t(name, call, *args):
    try:
        say(name, call(*args))
    except OSError as e:
        say(name, errno.errorcode.get(e.errno, e))

say(s.family, s.type, s.proto, s.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN), s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))
t("names", lambda: (s.getsockname()[0], s.getpeername()[0]) if s.family == socket.AF_INET else (s.getsockname(), s.getpeername()))
p = select.poll()
p.register(0, select.POLLIN | select.POLLOUT | select.POLLRDHUP)
t("nothing", s.recv, 10, socket.MSG_DONTWAIT)
s.settimeout(0.05)
t("in time", s.recv, 10)
s.settimeout(None)
say("poll", [e for _, e in p.poll(0)])
s.send(b"ready")
t("peek", s.recv, 3, socket.MSG_PEEK)
t("recv", s.recv_into, b := bytearray(10), 10, 0 if s.type == socket.SOCK_STREAM else socket.MSG_TRUNC)
say(b)
t("recvmsg", lambda: s.recvmsg(4)[:3:2] if s.type == socket.SOCK_STREAM else s.recvmsg(4)[0])
if s.type == socket.SOCK_STREAM:
    t("all of it", lambda: len(s.recv(99000, socket.MSG_WAITALL)))
    t("much", lambda: s.sendall(b"x" * 1000000))
t("sendmsg", s.sendmsg, [b"one ", b"two"])
t("empty", s.send, b"")
t("write", os.write, 1, b"by write")
t("too long", s.send, b"x" * 300000) if s.type != socket.SOCK_STREAM else None
t("shutdown", s.shutdown, socket.SHUT_WR)
t("after it", s.send, b"x")
say("end", s.recv(10))
p.modify(0, select.POLLRDHUP)
say("hang-up", [e & select.POLLRDHUP for _, e in p.poll(5000)]) if s.type == socket.SOCK_STREAM else None
t("end", s.shutdown, socket.SHUT_RD) if s.family == socket.AF_UNIX else None
t("/dev/stdin", os.open, "/dev/stdin", os.O_RDWR)
s.setblocking(False)
say("shared", os.get_blocking(1))
"""

# What it may not do here.
CLIMBER = """
import array, errno, os, socket, sys
s = socket.socket(fileno=0)
to = sys.argv[1]

def t(name, call, *args):
    try:
        print(name, call(*args), file=sys.stderr)
    except OSError as e:
        print(name, errno.errorcode[e.errno], file=sys.stderr)

t("connect", s.connect, to)
t("bind", s.bind, to)
t("listen", s.listen)
t("accept", s.accept)
t("sendto", s.sendto, b"x", to)
t("rights", s.sendmsg, [b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [2]))])
t("received", lambda: s.recvmsg(10, 1000)[:2])
print(os.listdir("/proc/self/fd"), file=sys.stderr)
"""


def tcp_pair():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        a = socket.create_connection(listener.getsockname())
        return a, listener.accept()[0]


def serve(prefix, a, b):
    """What the server says, line by line, and what its client gets."""
    p = subprocess.Popen(prefix + ["python3", "-c", SERVER], stdin=b, stdout=b, stderr=subprocess.PIPE)
    b.close()
    stream = a.type == socket.SOCK_STREAM
    got = [a.recv(100)]
    if stream:
        a.sendall(b"request and")
        time.sleep(0.1)
        for piece in (b"more", b"y" * 50000, b"z" * 50000):
            time.sleep(0.05)
            a.sendall(piece)
        a.shutdown(socket.SHUT_WR)
        data = b""
        try:
            while piece := a.recv(65536):
                data += piece
        except ConnectionResetError:  # the server ended and had not read all
            data += b" reset"
        got.append(data)
    else:
        for piece in (b"much more than ten", b"cut off"):
            a.sendall(piece)
        got += [a.recv(100) for _ in range(3)]
        a.send(b"end")
    return p.communicate(timeout=60)[1].decode().splitlines(), got


def host_sockets():
    pairs = {
        "unix stream": socket.socketpair,
        "unix seqpacket": lambda: socket.socketpair(type=socket.SOCK_SEQPACKET),
        "unix dgram": lambda: socket.socketpair(type=socket.SOCK_DGRAM),
        "tcp": tcp_pair,
    }
    for name, pair in pairs.items():
        for _ in range(3):  # on a busy machine the client's pieces may arrive as one
            native, box = [serve(prefix, *pair()) for prefix in ([], EXEC + ["--"])]
            if native == box:
                break
        differ = [(n, b) for n, b in zip(native[0], box[0]) if n != b]
        check(f"a {name} socket is one", native == box and len(native[0]) > 10, differ)


def no_way_out():
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
        other.bind("other")
        path = os.path.abspath("other")
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
            a, b = socket.socketpair(type=kind)
            with open("/dev/null") as null:
                socket.send_fds(a, [b"hello"], [null.fileno()])
            p = subprocess.run(EXEC + ["--", "python3", "-c", CLIMBER, path], stdin=b, stderr=subprocess.PIPE, timeout=60)
            said = dict(line.split(" ", 1) for line in p.stderr.decode().splitlines()[:-1])
            want = dict.fromkeys(("connect", "bind", "listen", "accept", "sendto", "rights"), "EPERM")
            if kind == socket.SOCK_STREAM:
                want["sendto"] = "EISCONN"
            want["received"] = "(b'hello', [])"
            check("a socket leads nowhere else", said == want, p.stderr)
            check("no descriptor comes by it", p.stderr.splitlines()[-1] == b"['0', '1', '2', '3']", p.stderr)
            other.setblocking(False)
            try:
                check("nothing is sent elsewhere", not other.recv(10))
            except BlockingIOError:
                pass
            a.close()
            b.close()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        p = subprocess.run(EXEC + ["--", "python3", "-c", "import socket; s = socket.socket(fileno=0); print(s.getsockopt(1, 30), s.getsockname()[0])"],
                           stdin=listener, stdout=subprocess.PIPE, timeout=60)
        check("a listening socket says what it is", p.stdout == b"1 127.0.0.1\n", repr(p.stdout))


def extra_descriptors():
    r, w = os.pipe()
    os.set_inheritable(r, True)
    p = subprocess.run(EXEC + ["--", "ls", "/proc/self/fd"], stdout=subprocess.PIPE, close_fds=False, timeout=60)
    check("other descriptors do not get in", p.stdout.split() == [b"0", b"1", b"2", b"3"], repr(p.stdout))
    os.close(r)
    os.close(w)


def signals():
    script = "trap 'echo term; exit 9' TERM; trap 'echo usr1' USR1; echo ready; while :; do sleep 0.05; done"
    p = subprocess.Popen(EXEC + ["--", "sh", "-c", script], stdout=subprocess.PIPE)
    p.stdout.readline()
    p.send_signal(signal.SIGUSR1)
    check("SIGUSR1 arrives", p.stdout.readline() == b"usr1\n")
    p.send_signal(signal.SIGTERM)
    check("SIGTERM arrives", p.stdout.readline() == b"term\n")
    check("and its status comes back", p.wait(20) == 9, p.returncode)
    p = subprocess.Popen(EXEC + ["--", "sleep", "60"])
    time.sleep(0.5)
    p.send_signal(signal.SIGTERM)
    check("SIGTERM without a handler", p.wait(20) in (143, -15), p.returncode)


def marked(mark):
    n = 0
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/environ", "rb") as f:
                n += mark in f.read()
        except OSError:
            pass
    return n


def family(pid):
    """All descendants, oldest first."""
    found = [pid]
    for parent in found:
        for task in os.listdir(f"/proc/{parent}/task") if os.path.exists(f"/proc/{parent}") else []:
            try:
                with open(f"/proc/{parent}/task/{task}/children") as f:
                    found += [int(c) for c in f.read().split()]
            except OSError:
                pass
    return found


def lives(pid):
    try:
        with open(f"/proc/{pid}/stat") as f:
            return "Z" not in f.read().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False


def gone(pids):
    for _ in range(100):
        if not any(map(lives, pids)):
            return True
        time.sleep(0.05)
    return False


def killed():
    for victim in ("launcher", "each of its processes"):
        for index in range(1 if victim == "launcher" else 3):
            p = subprocess.Popen(EXEC + ["--", "sh", "-c", "sleep 60 & sleep 61 & echo ready; wait"], stdout=subprocess.PIPE)
            p.stdout.readline()
            pids = family(p.pid)
            target = p.pid if victim == "launcher" else pids[min(index + 1, len(pids) - 1)]
            os.kill(target, signal.SIGKILL)
            try:
                p.wait(20)
            except subprocess.TimeoutExpired:
                p.kill()
            if victim == "launcher":
                check("SIGKILL of the launcher leaves nothing", gone(pids), pids)
            elif index == 0:
                check("SIGKILL of the sentry ends it all", gone(pids), pids)


def neighbours():
    ps = [subprocess.Popen(EXEC + ["--", "sh", "-c", f"sleep 0.{i}; exit {i}"]) for i in range(6)]
    check("six sandboxes at once", [p.wait(60) for p in ps] == list(range(6)))


for test in (files, pipes, sockets, host_sockets, no_way_out, extra_descriptors, signals, killed, neighbours):
    test()
finish()
