#!/usr/bin/env python3
"""Who may include whom: a file includes headers of its own rank or of lower ranks only."""
import os
import re
import subprocess
import sys

# The longest matching prefix decides. File systems that must see tasks stand above the sentry.
RANKS = {
    "sentry/base/": 0,
    "platform/": 1,
    "fs/": 2,
    "net/": 3,
    "sentry/": 4,
    "fs/proc/": 5,
    "fs/dev/": 5,
    "fs/sys/": 5,
    "fs/cgroup/": 5,
    "syscalls/": 6,
    "runsc-shim/": 7,
}
INCLUDE = re.compile(r'\s*#\s*include\s*"([^"]+)"')


def rank(path):
    best = max((p for p in RANKS if path.startswith(p)), key=len, default=None)
    return None if best is None else RANKS[best]


def check(path):
    bad = 0
    mine = rank(path)
    if mine is None:
        return 0
    with open(path, encoding="utf-8") as f:
        for number, line in enumerate(f, 1):
            m = INCLUDE.match(line)
            if not m:
                continue
            target = m.group(1)
            theirs = rank(target)
            if theirs is None:
                sibling = os.path.join(os.path.dirname(path), target)
                why = "write the path from the top" if os.path.exists(sibling) else "of no layer"
                print(f'{path}:{number}: "{target}": {why}')
                bad += 1
            elif theirs > mine:
                print(f'{path}:{number}: "{target}" is of layer {theirs}, above this file\'s {mine}')
                bad += 1
    return bad


def main():
    names = subprocess.run(["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.c", "*.h", "*.S", "*.def"],
                           check=True, capture_output=True, text=True).stdout.split()
    sys.exit(1 if sum(check(n) for n in names if os.path.exists(n)) else 0)


main()
