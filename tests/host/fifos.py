"""FIFOs of bound directories: the host's programs and the sandbox's at either end."""
import os
import signal
import subprocess
import time

from common import EXEC, check, finish

DIR = os.path.abspath("shared")


def box(script, mode="", **kw):
    """A shell in a sandbox that has the directory as /shared."""
    return subprocess.Popen(EXEC + ["--bind", f"{DIR}:/shared{mode}", "--workdir", "/shared", "--", "sh", "-c", script], text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **kw)


def python(script, mode=""):
    return subprocess.run(EXEC + ["--bind", f"{DIR}:/shared{mode}", "--workdir", "/shared", "--", "python3", "-c", script], text=True,
                          capture_output=True, timeout=60).stdout


def said(p):
    return p.communicate(timeout=60)[0]


def both_directions():
    p = box("wc -c <a; echo back >b")
    with open("shared/a", "w") as f:
        f.write("x" * 300000)
    with open("shared/b") as f:
        check("the host writes, a guest reads, and back", f.read() == "back\n")
    check("all of it", said(p) == "300000\n")
    p = box("dd if=/dev/zero bs=100000 count=5 2>&- >a")
    with open("shared/a", "rb") as f:
        check("much from a guest", f.read() == bytes(500000))
    said(p)
    check("both ends inside", said(box("echo inside >a & cat a; wait")) == "inside\n")
    p = box("mkfifo new; cat new")
    while not os.path.exists("shared/new"):
        time.sleep(0.05)
    with open("shared/new", "w") as f:
        f.write("made inside")
    check("a FIFO that a guest makes", said(p) == "made inside")


def opens():
    """Each side waits for the other in open(2), without a byte between them."""
    p = box("exec 3>a; exec 4<b; echo opened")
    a = open("shared/a", "rb")
    with open("shared/b", "wb"):
        check("writer, then reader", said(p) == "opened\n")
    check("end of file", a.read() == b"")
    a.close()
    p = box("exec 3<a; exec 4>b; echo opened")
    with open("shared/a", "wb"), open("shared/b", "rb"):
        check("reader, then writer", said(p) == "opened\n")
    out = python("""
import errno, os, select
def t(name, flags):
    try:
        fd = os.open("a", flags)
    except OSError as e:
        print(name, errno.errorcode[e.errno])
        return -1
    print(name, "ok")
    return fd
t("w", os.O_WRONLY | os.O_NONBLOCK)
r = t("r", os.O_RDONLY | os.O_NONBLOCK)
print(os.read(r, 10), select.select([r], [], [], 0)[0])
w = t("w", os.O_WRONLY | os.O_NONBLOCK)
try:
    os.read(r, 10)
except BlockingIOError:
    print("EAGAIN")
os.write(w, b"data")
print(os.read(r, 10))
os.close(w)
print(os.read(r, 10), os.fstat(r).st_ino == os.stat("a").st_ino)
rw = t("rw", os.O_RDWR)
os.write(rw, b"self")
print(os.read(rw, 10))
""")
    check("without waiting", out.split("\n") == ["w ENXIO", "r ok", "b'' []", "w ok", "EAGAIN", "b'data'", "b'' True", "rw ok", "b'self'", ""], out)


def interrupted():
    out = python("""
import os, signal, time
def alarm(*_):
    raise TimeoutError
signal.signal(signal.SIGALRM, alarm)
for flags in (os.O_RDONLY, os.O_WRONLY):
    for i in range(50):
        try:
            signal.setitimer(signal.ITIMER_REAL, 0.001 * (i % 5) + 0.0001)
            os.open("a", flags)
        except TimeoutError:
            pass
print("done", flush=True)
if not os.fork():
    os.open("a", os.O_RDONLY)
time.sleep(0.2)
os.kill(0, signal.SIGKILL)
""")
    check("a signal ends the wait", out == "done\n", out)
    try:
        os.close(os.open("shared/a", os.O_WRONLY | os.O_NONBLOCK))
        check("nobody stays behind", False)
    except OSError:
        pass


def polled():
    p = box("timeout 30 python3 -c 'import os, select\nr = os.open(\"a\", os.O_RDONLY)\nprint(select.select([r], [], [], 20)[0] == [r], os.read(r, 9))\nprint(select.select([r], [], [], 20)[0] == [r], os.read(r, 9))'")
    with open("shared/a", "wb", 0) as f:
        time.sleep(0.3)
        f.write(b"later")
        time.sleep(0.3)
    check("a poll hears of data and of the end", said(p) == "True b'later'\nTrue b''\n")


def read_only():
    p = box("cat a; (echo x >b) 2>&1", ":ro")
    with open("shared/a", "w") as f:
        f.write("readable\n")
    out = said(p)
    check(":ro is for reading only", out.startswith("readable\n") and "Read-only file system" in out, out)


def private():
    """What is under an overlay is the sandbox's own, as Linux has it."""
    p = subprocess.run(EXEC + ["--", "sh", "-c", "timeout 1 cat shared/a; echo $?; echo mine >shared/a & cat shared/a"], text=True, capture_output=True, timeout=60)
    check("below an overlay it is another", p.stdout == "124\nmine\n", p)


os.makedirs(DIR)
for name in ("a", "b"):
    os.mkfifo(f"shared/{name}")
for test in (both_directions, opens, interrupted, polled, read_only, private):
    signal.alarm(90)
    test()
finish()
