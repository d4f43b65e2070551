"""An idle sandbox makes no wake-ups, and its memory is small."""
import os
import subprocess
import sys
import time

from common import EXEC

BOX = EXEC + ["--"]


def family(pid):
    found = [pid]
    for parent in found:
        for task in os.listdir(f"/proc/{parent}/task"):
            with open(f"/proc/{parent}/task/{task}/children") as f:
                found += [int(c) for c in f.read().split()]
    return found


def switches(pids):
    total = 0
    for pid in pids:
        for task in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{task}/status") as f:
                total += sum(int(line.split()[1]) for line in f if "ctxt_switches" in line)
    return total


def main():
    p = subprocess.Popen(BOX + ["sh", "-c", "sleep 30 & sleep 30 & echo ready; wait"], stdout=subprocess.PIPE)
    p.stdout.readline()
    time.sleep(1)
    pids = family(p.pid)
    before = switches(pids)
    time.sleep(4)
    woken = switches(pids) - before
    p.kill()
    p.wait()
    print(f"{len(pids)} processes, {woken} switches in 4 s")
    sys.exit(1 if woken > 2 else 0)


main()
