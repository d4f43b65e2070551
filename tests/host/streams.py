"""Standard streams, signals and ends: as if there were no sandbox."""
import os
import signal
import socket
import subprocess
import sys
import time

BOX = [os.environ["SANDBOX"], "exec", "--platform", os.environ["PLATFORM"]]
failed = []


def check(what, good, detail=""):
    print(("ok: " if good else "FAILED: ") + what, detail if not good else "", flush=True)
    if not good:
        failed.append(what)


def run(args, **kw):
    return subprocess.run(BOX + ["--"] + args, timeout=60, **kw)


def files():
    subprocess.run(f"(echo one; {' '.join(BOX)} -- echo two; echo three) > f", shell=True, timeout=60)
    check("a regular file at its own offset", open("f").read() == "one\ntwo\nthree\n", repr(open("f").read()))
    subprocess.run(f"{' '.join(BOX)} -- echo four >> f", shell=True, timeout=60)
    check("append", open("f").read().endswith("three\nfour\n"))
    out = subprocess.run(f"(head -c 0; {' '.join(BOX)} -- sh -c 'read x; echo got $x'; cat) < f", shell=True, timeout=60,
                         stdout=subprocess.PIPE).stdout
    check("input file is read at its offset", out.startswith(b"got one\n"), repr(out))


def pipes():
    r = run(["cat"], input=b"x" * 1000000, stdout=subprocess.PIPE)
    check("a pipe through cat", r.stdout == b"x" * 1000000, len(r.stdout))
    r = run(["sh", "-c", "echo out; echo err >&2"], capture_output=True)
    check("stdout and stderr", (r.stdout, r.stderr) == (b"out\n", b"err\n"), repr(r))
    p = subprocess.Popen(BOX + ["--", "yes"], stdout=subprocess.PIPE)
    p.stdout.read(10)
    p.stdout.close()
    check("a closed pipe ends it with SIGPIPE", p.wait(20) in (141, -13), p.returncode)
    r = subprocess.run(" ".join(BOX) + " -- sh -c 'ls -l /proc/self/fd | wc -l' <&- >&- 2>&-", shell=True, timeout=60)
    check("closed streams: wc cannot write", r.returncode == 1, r.returncode)
    r = run(["readlink", "/proc/self/fd/0"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    check("/dev/null stays what it is", r.stdout == b"/dev/null\n", repr(r.stdout))


def sockets():
    a, b = socket.socketpair()
    p = subprocess.Popen(BOX + ["--", "sh", "-c", "read x; echo got $x"], stdin=b, stdout=b)
    b.close()
    a.sendall(b"hello\n")
    check("a socket as both streams", a.recv(100) == b"got hello\n")
    p.wait(20)


def extra_descriptors():
    r, w = os.pipe()
    os.set_inheritable(r, True)
    p = subprocess.run(BOX + ["--", "ls", "/proc/self/fd"], stdout=subprocess.PIPE, close_fds=False, timeout=60)
    check("other descriptors do not get in", p.stdout.split() == [b"0", b"1", b"2", b"3"], repr(p.stdout))
    os.close(r)
    os.close(w)


def signals():
    script = "trap 'echo term; exit 9' TERM; trap 'echo usr1' USR1; echo ready; while :; do sleep 0.05; done"
    p = subprocess.Popen(BOX + ["--", "sh", "-c", script], stdout=subprocess.PIPE)
    p.stdout.readline()
    p.send_signal(signal.SIGUSR1)
    check("SIGUSR1 arrives", p.stdout.readline() == b"usr1\n")
    p.send_signal(signal.SIGTERM)
    check("SIGTERM arrives", p.stdout.readline() == b"term\n")
    check("and its status comes back", p.wait(20) == 9, p.returncode)
    p = subprocess.Popen(BOX + ["--", "sleep", "60"])
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


def gone(pids):
    for _ in range(100):
        left = [p for p in pids if os.path.exists(f"/proc/{p}") and "Z" not in open(f"/proc/{p}/stat").read().rpartition(")")[2].split()[0]]
        if not left:
            return True
        time.sleep(0.05)
    return False


def killed():
    for victim in ("launcher", "each of its processes"):
        for index in range(1 if victim == "launcher" else 3):
            p = subprocess.Popen(BOX + ["--", "sh", "-c", "sleep 60 & sleep 61 & echo ready; wait"], stdout=subprocess.PIPE)
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
    ps = [subprocess.Popen(BOX + ["--", "sh", "-c", f"sleep 0.{i}; exit {i}"]) for i in range(6)]
    check("six sandboxes at once", [p.wait(60) for p in ps] == list(range(6)))


for test in (files, pipes, sockets, extra_descriptors, signals, killed, neighbours):
    test()
sys.exit(1 if failed else 0)
