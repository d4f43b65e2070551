"""What the tests of this directory share: one line for each check, and the exit status at the end."""
import os
import re
import select
import sys
import time

EXEC = [os.environ["SANDBOX"], "exec", "--platform", os.environ["PLATFORM"]]
failed = []


def check(what, good, detail=""):
    print(("ok: " if good else "FAILED: ") + what, detail if not good else "", flush=True)
    if not good:
        failed.append(what)


def finish():
    sys.exit(1 if failed else 0)


class Reader:
    """What comes from a descriptor, a terminal's as a rule."""

    def __init__(self, fd):
        self.fd = fd
        self.text = b""

    def expect(self, pattern, seconds=20):
        """Reads until the pattern appears; what was before it is dropped."""
        deadline = time.monotonic() + seconds
        while True:
            m = re.search(pattern.encode(), self.text)
            if m:
                self.text = self.text[m.end():]
                return True
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self.fd], [], [], left)[0]:
                return False
            data = self.read()
            if not data:
                return False
            self.text += data

    def read(self):
        """b"" also when the other side of a terminal has gone."""
        try:
            return os.read(self.fd, 4096)
        except OSError:
            return b""
