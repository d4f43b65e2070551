"""A terminal: raw mode, size, keys that signal, job control, programs driven by keys."""
import fcntl
import os
import pty
import select
import shutil
import signal
import struct
import termios
import time

from common import EXEC, Reader, check, finish

BOX = EXEC + ["--"]


class Terminal(Reader):
    def __init__(self, argv, rows=24, cols=80):
        self.pid, fd = pty.fork()
        if self.pid == 0:
            os.environ["TERM"] = "xterm"
            os.execvp(argv[0], argv)
        super().__init__(fd)
        self.resize(rows, cols)

    def resize(self, rows, cols):
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, cols, 0, 0))

    def send(self, keys):
        os.write(self.fd, keys.encode())

    def end(self, seconds=15):
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                os.close(self.fd)
                return os.waitstatus_to_exitcode(status)
            if select.select([self.fd], [], [], 0.05)[0]:
                try:
                    os.read(self.fd, 4096)
                except OSError:
                    time.sleep(0.02)
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        os.close(self.fd)
        return "timed out"


def basics():
    t = Terminal(BOX + ["sh", "-c", "tty; stty size; test -t 0 && test -t 1 && echo terminal; exit 7"], 33, 101)
    check("names its terminal", t.expect("/dev/(pts/[0-9]+|console|tty)"), t.text)
    check("has its size", t.expect("33 101"), t.text)
    check("is one", t.expect("terminal"), t.text)
    check("exit status", t.end() == 7)


def shell():
    t = Terminal(BOX + ["bash", "--norc", "-i"])
    t.send("PS1='ready> '\r")
    check("prompt", t.expect(r"\r\n(\x1b\[\?2004[hl]\r?)*ready> "), t.text)
    t.send("echo $((6 * 7))\r")
    check("echo and output", t.expect(r"42\r\n"), t.text)
    t.send("sleep 100\r")
    time.sleep(0.5)
    t.send("\x03")
    check("^C ends the program, not the shell", t.expect("ready> "), t.text)
    t.send("echo status $?\r")
    check("with 130", t.expect(r"status 130"), t.text)
    t.send("sleep 100\r")
    time.sleep(0.5)
    t.send("\x1a")
    check("^Z stops it", t.expect("Stopped"), t.text)
    t.send("jobs; bg; kill %1; wait %1; echo after $?\r")
    check("and it can be continued and ended", t.expect("after 143"), t.text)
    t.expect("ready> ")  # before it, readline writes back the size that it has just read
    t.resize(40, 120)
    t.send("sleep 0.3; stty size\r")
    check("resize", t.expect("40 120"), t.text)
    t.send("cat\r")
    time.sleep(0.3)
    t.send("line\r\x04")
    check("^D ends input", t.expect("line\r\nline\r\n"), t.text)
    t.send("exit 3\r")
    check("exit", t.end() == 3)


def full_screen():
    if shutil.which("less"):
        with open("long", "w") as f:
            f.writelines(f"line {i}\n" for i in range(1000))
        t = Terminal(BOX + ["less", "long"])
        check("less shows the start", t.expect("line 5"), t.text[-200:])
        t.send("G")
        check("and the end", t.expect("line 999"), t.text[-200:])
        t.send("q")
        check("and quits", t.end() == 0)
    if shutil.which("vim"):
        t = Terminal(BOX + ["sh", "-c", "vim -u NONE -n made; cat made"])
        t.expect("made")
        time.sleep(0.5)
        t.send("ihello from vim\x1b")
        time.sleep(0.3)
        t.send(":wq\r")
        check("vim writes a file", t.expect("hello from vim\r\n"), t.text[-300:])
        check("and ends", t.end() == 0)
    if shutil.which("tmux"):
        t = Terminal(BOX + ["tmux", "-f", "/dev/null", "new-session", "sh"])
        time.sleep(1)
        t.send("echo in-tm''ux\r")
        check("tmux runs a shell", t.expect("in-tmux"), t.text[-300:])
        t.send("exit\r")
        check("and ends", t.end() == 0)


for test in (basics, shell, full_screen):
    test()
finish()
