"""--tty and --no-tty; and a terminal that the program has left raw, in whatever way the sandbox ends."""
import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import termios
import time

from common import EXEC, Reader, check, finish


def piped(options, argv, text=b"", **more):
    return subprocess.run(EXEC + options + ["--"] + argv, input=text, capture_output=True, timeout=60, **more)


def pipes():
    r = piped(["--tty"], ["sh", "-c", "test -t 0 && test -t 1 && test -t 2 && tty; stty size; echo E >&2; exit 3"])
    check("pipes become a terminal", r.stdout == b"/dev/pts/0\r\n24 80\r\nE\r\n", r)
    check("with one output", r.stderr == b"" and r.returncode == 3, r)
    r = piped(["--tty"], ["cat"], b"line\nrest")
    check("the end of input", r.stdout == b"line\r\nrestline\r\nrest" or r.stdout.endswith(b"rest"), r)
    r = piped(["--tty"], ["sh", "-c", "stty -echo; cat >/dev/tty"], b"x\n" * 20000)
    check("much input", r.stdout.count(b"x\r\n") >= 20000, len(r.stdout))
    r = piped(["--tty"], ["seq", "100000"])
    check("all output", r.stdout.endswith(b"\n99999\r\n100000\r\n"), r.stdout[-40:])
    with open("file", "w+b") as f:
        f.write(b"from a file\n")
        f.seek(0)
        r = subprocess.run(EXEC + ["--tty", "--", "cat"], stdin=f, capture_output=True, timeout=60)
    check("a file as input", r.stdout.endswith(b"from a file\r\n"), r)
    p = subprocess.Popen(EXEC + ["--tty", "--", "sh", "-c", "while :; do echo y; done"], stdin=subprocess.DEVNULL,
                         stdout=subprocess.PIPE)
    p.stdout.read(100)
    p.stdout.close()
    check("a reader that leaves hangs up", p.wait(60) == 128 + signal.SIGHUP)
    r = piped(["--tty", "--no-tty"], ["sh", "-c", "test -t 0 || echo none"])
    check("the last of both options counts", r.stdout == b"none\n", r)


class Terminal(Reader):
    """argv on a terminal of its own, under an interactive shell if it is text."""

    def __init__(self, what):
        self.master, self.slave = pty.openpty()
        super().__init__(self.master)
        fcntl.ioctl(self.slave, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 90, 0, 0))
        self.start = self.modes()
        self.pid = os.fork()
        if self.pid == 0:
            os.setsid()
            fcntl.ioctl(self.slave, termios.TIOCSCTTY, 0)
            for fd in range(3):
                os.dup2(self.slave, fd)
            os.closerange(3, 100)
            for s in (signal.SIGINT, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU):
                signal.signal(s, signal.SIG_DFL)
            os.environ["TERM"] = "dumb"
            argv = what if isinstance(what, list) else ["bash", "--norc", "--noediting", "-i"]
            os.execvp(argv[0], argv)
        if isinstance(what, str):
            self.send(what + "\n")

    def modes(self):
        return termios.tcgetattr(self.slave)

    def raw(self):
        return not self.modes()[3] & (termios.ICANON | termios.ECHO)

    def send(self, keys):
        os.write(self.master, keys.encode())

    def soon(self, condition):
        deadline = time.monotonic() + 20
        while not condition() and time.monotonic() < deadline:
            time.sleep(0.05)
        return condition()

    def end(self):
        status = None

        def over():
            nonlocal status
            if select.select([self.master], [], [], 0)[0]:
                os.read(self.master, 4096)
            pid, s = os.waitpid(self.pid, os.WNOHANG)
            status = os.waitstatus_to_exitcode(s) if pid else None
            return pid != 0
        deadline = time.monotonic() + 20
        while not over():
            if time.monotonic() > deadline:
                os.kill(self.pid, signal.SIGKILL)
                os.waitpid(self.pid, 0)
                return "timed out"
            time.sleep(0.02)
        return status

    def close(self):
        os.close(self.master)
        os.close(self.slave)


def own_terminal():
    t = Terminal(EXEC + ["--tty", "--", "sh", "-c", "stty size; echo ready; read x; stty size; sleep 100"])
    check("its size", t.expect("30 90\r\n") and t.expect("ready"), t.text)
    check("keys are not for the outer terminal", t.raw())
    fcntl.ioctl(t.slave, termios.TIOCSWINSZ, struct.pack("HHHH", 31, 91, 0, 0))
    time.sleep(0.3)
    t.send("\r")
    check("a resize", t.expect("31 91\r\n"), t.text)
    time.sleep(0.3)
    t.send("\x03")
    check("^C ends the program", t.end() == 130)
    check("the terminal is as before", t.modes() == t.start)
    t.close()


def job_control():
    run = " ".join(EXEC) + " --tty -- cat"
    t = Terminal("PS1='$ '; " + run)
    t.soon(t.raw)
    t.send("one\r")
    check("a job", t.expect("one\r\n") and t.expect("one\r\n"), t.text)
    t.send("\x1a")
    check("^Z stops it", t.expect("Stopped"), t.text)
    check("for its shell the terminal is as before", t.soon(lambda: t.modes()[3] == t.start[3]))
    t.send("fg\n")
    check("fg", t.soon(t.raw))
    t.send("two\r")
    check("goes on", t.expect("two\r\n") and t.expect("two\r\n"), t.text)
    t.send("\x04")
    check("and ends", t.expect(r"\$ "), t.text)
    t.send(run + " &\n")
    time.sleep(0.5)
    t.send("jobs\n")
    check("in the background it stops", t.expect("Stopped"), t.text)
    t.send("fg\n")
    check("until", t.soon(t.raw))
    t.send("three\r")
    check("it is in the foreground", t.expect("three\r\n") and t.expect("three\r\n"), t.text)
    t.send("\x04")
    t.expect(r"\$ ")
    t.send("exit 4\n")
    check("the shell ends", t.end() == 4)
    t.close()


def no_terminal():
    t = Terminal(EXEC + ["--no-tty", "--", "sh", "-c", "test -t 0 && cat </dev/tty || echo none; exec sleep 100"])
    check("no controlling terminal", t.expect("none\r\n"), t.text)
    time.sleep(0.3)
    t.send("\x03")
    check("^C is for the first process", t.end() == 130)
    t.close()


def sentry_of(launcher):
    with open(f"/proc/{launcher}/task/{launcher}/children", encoding="ascii") as f:
        return int(f.read().split()[0])


def left_raw():
    raw = ["sh", "-c", "stty raw -echo; echo ready; sleep 100"]
    for options in ([], ["--tty"]):
        name = " ".join(options) or "its terminal"
        t = Terminal(EXEC + options + ["--"] + raw)
        t.expect("ready")
        check(f"{name}: raw", t.raw())
        os.kill(t.pid, signal.SIGTERM)
        check(f"{name}: SIGTERM", t.end() == 143)
        check(f"{name}: restored", t.modes() == t.start)
        t.close()
        t = Terminal(EXEC + options + ["--"] + raw)
        t.expect("ready")
        os.kill(sentry_of(t.pid), signal.SIGKILL)
        check(f"{name}: its kernel is killed", t.end() == 125)
        check(f"{name}: restored then, too", t.modes() == t.start)
        t.close()
    t = Terminal(EXEC + ["--", "stty", "raw", "-echo"])
    check("left raw at the end", t.end() == 0)
    check("restored at the end", t.modes() == t.start)
    t.close()
    t = Terminal(EXEC + ["--", "stty", "erase", "^H", "-ixon"])
    t.end()
    check("other settings stay", t.modes() != t.start and t.modes()[3] == t.start[3])
    t.close()


for test in (pipes, own_terminal, job_control, no_terminal, left_raw):
    test()
finish()
