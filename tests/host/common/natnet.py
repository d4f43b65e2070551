"""Three network namespaces in a row: ours, a router, a server with natserver.py. The caller runs in ours, as its root."""
import os
import queue
import subprocess
import sys
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))


def skip(why):
    print(why)
    sys.exit(77)


def enter():
    """Starts this program again in a namespace of its own."""
    if os.environ.get("NATNET"):
        return
    os.environ["NATNET"] = "1"
    for flags in ("-rn", "-n"):
        if subprocess.run(["unshare", flags, "true"], stderr=subprocess.DEVNULL, check=False).returncode == 0:
            os.execvp("unshare", ["unshare", flags, sys.executable, *sys.argv])
    skip("network namespaces cannot be made here")


def run(*argv, ns=None):
    where = ["nsenter", f"--net=/proc/{ns}/ns/net"] if ns else []
    subprocess.run([*where, *argv], check=True)


def ip(text, ns=None):
    run("ip", *text.split(), ns=ns)


def sysctl(name, value, ns=None):
    run("sh", "-c", f"echo '{value}' >/proc/sys/net/{name}", ns=ns)


class Net:
    """ours 192.0.2.2 -- .1 router 198.51.100.254 -- .1 server; 2001:db8:4:: and 2001:db8:5:: alike."""

    def __init__(self):
        self.router = self.child(["cat"])
        self.server = self.child([sys.executable, os.path.join(HERE, "natserver.py")])
        r, s = self.router.pid, self.server.pid
        try:
            ip("link add n0 type veth peer name r0")
        except subprocess.CalledProcessError:
            skip("there are no veth interfaces here")
        ip(f"link set r0 netns {r}")
        ip("link add r1 type veth peer name s0", r)
        ip(f"link set s0 netns {s}", r)
        for dev, ns, v4, v6 in (("n0", None, "192.0.2.2/24", "2001:db8:4::2/64"), ("r0", r, "192.0.2.1/24", "2001:db8:4::1/64"),
                                ("r1", r, "198.51.100.254/24", "2001:db8:5::fe/64"), ("s0", s, "198.51.100.1/24", "2001:db8:5::1/64")):
            ip("link set lo up", ns)
            ip(f"addr add {v4} dev {dev}", ns)
            ip(f"-6 addr add {v6} dev {dev} nodad", ns)
            ip(f"link set {dev} up", ns)
        sysctl("ipv4/ip_forward", 1, r)
        sysctl("ipv6/conf/all/forwarding", 1, r)
        self.routes(r, s)
        sysctl("ipv4/ping_group_range", "0 0")
        self.server.stdin.write("go\n")
        self.server.stdin.flush()
        self.said = queue.Queue()
        threading.Thread(target=self.listen, daemon=True).start()
        assert self.told(1) == ["ready"]
        time.sleep(0.5)  # IPv6's link-local addresses

    def listen(self):
        for line in self.server.stdout:
            self.said.put(line.strip())

    def told(self, n):
        """The next n lines of the server; fewer if they do not come."""
        lines = []
        try:
            while len(lines) < n:
                lines.append(self.said.get(timeout=10))
        except queue.Empty:
            pass
        return lines

    def routes(self, r, s):
        ip("route add 198.51.100.0/24 via 192.0.2.1")
        ip("-6 route add default via 2001:db8:4::1")
        ip("route add unreachable 198.51.100.128/25")
        ip("route add default via 198.51.100.254", s)
        ip("-6 route add default via 2001:db8:5::fe", s)
        # Somebody who never answers.
        ip("neigh add 198.51.100.9 lladdr 02:00:00:00:00:99 dev r1 nud permanent", r)

    def child(self, argv):
        c = subprocess.Popen(["unshare", "-n", *argv], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        deadline = time.monotonic() + 10
        ours = os.stat("/proc/self/ns/net").st_ino
        while os.stat(f"/proc/{c.pid}/ns/net").st_ino == ours and time.monotonic() < deadline:
            time.sleep(0.01)
        return c

    def close(self):
        for c in (self.server, self.router):
            c.kill()
            c.wait()
