"""Somebody outside kills one process of a sandbox: it ends, or goes on as Linux would, and says what happened; nothing hangs or stays."""
import os
import signal
import subprocess
import time

from common import EXEC, check, finish

THREADS = "import threading, time\nfor i in range(5): threading.Thread(target=time.sleep, args=(100,)).start()\n"


def children(pid):
    try:
        with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as f:
            return [int(n) for n in f.read().split()]
    except FileNotFoundError:
        return []


def lives(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii") as f:
            return f.read().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


class Sandbox:
    """argv says `ready` when it is."""

    def __init__(self, argv):
        self.p = subprocess.Popen(EXEC + ["--"] + argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert self.p.stdout.readline() == b"ready\n"
        time.sleep(0.3)  # it is asleep, and the spares are there
        self.sentry = children(self.p.pid)[0]
        self.template, *self.stubs = children(self.sentry)

    def kill(self, pid):
        os.kill(pid, signal.SIGKILL)

    def ends(self, what, status, lines):
        try:
            out, err = self.p.communicate(timeout=20)
        except subprocess.TimeoutExpired:
            self.p.kill()
            out, err = self.p.communicate()
        all_lines = err.splitlines()
        own = [line for line in all_lines if line.startswith(b"sandbox: ")]
        check(f"{what}: status {status}", self.p.returncode == status, (self.p.returncode, out, err))
        check(f"{what}: lines: {lines}", len(own) == lines, err)
        left = [pid for pid in (self.sentry, self.template, *self.stubs) if lives(pid)]
        check(f"{what}: nothing is left", not left, left)
        for line in all_lines:
            print("   ", line.decode())
        return out


SLEEPS = ["sh", "-c", "echo ready; exec sleep 100"]
FIRST = {
    "a program that sleeps": SLEEPS,
    "a program that runs": ["sh", "-c", "echo ready; while :; do :; done"],
    "threads that sleep": ["python3", "-uc", THREADS + "print('ready')\ntime.sleep(100)"],
    "threads that sleep and run": ["python3", "-uc", THREADS + "print('ready')\nwhile True: pass"],
    "a process that waits": ["sh", "-c", "sleep 100 & echo ready; wait"],
}

for name, argv in FIRST.items():
    box = Sandbox(argv)
    box.kill(box.stubs[0])
    box.ends(f"{name}, killed", 137, 1)
    box = Sandbox(argv)
    box.kill(box.template)
    box.ends(f"{name}, the template killed", 125, 1)
    box = Sandbox(argv)
    box.kill(box.sentry)
    box.ends(f"{name}, the sentry killed", 125, 1)

# A child, and on trap the spare processes for exec: the parent hears of it as of any other signal.
box = Sandbox(["sh", "-c", "sh -c 'echo ready; exec sleep 100'; echo $?; /bin/echo more; /bin/echo; exit 7"])
for stub in box.stubs[1:]:
    box.kill(stub)
out = box.ends("a child, killed", 7, 1)
check("its parent goes on", out == b"137\nmore\n\n", out)
finish()
