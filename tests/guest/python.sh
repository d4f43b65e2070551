# The standard library imported; threads, subprocesses, multiprocessing, sqlite3, mmap, select, sockets, asyncio.
exec 2>&1
command -v python3 >/dev/null || { echo "no python3"; exit 77; }
work=$(mktemp -d) && trap 'rm -rf "$work"' EXIT && cd "$work" || exit 99
cat > t.py <<'END'
import asyncio, collections, concurrent.futures, ctypes, curses, datetime, email, fcntl, glob, gzip, hashlib, http.server, json, logging
import mmap, multiprocessing, os, pathlib, pickle, queue, random, re, resource, select, shutil, signal, socket, sqlite3, ssl, stat
import struct, subprocess, sys, tarfile, tempfile, threading, time, unittest, urllib.request, uuid, xml.etree.ElementTree, zipfile

def square(n):
    return n * n

def main():
    total = []
    ts = [threading.Thread(target=lambda n=n: total.append(sum(range(n * 1000)))) for n in range(8)]
    [t.start() for t in ts]; [t.join() for t in ts]
    print("threads", sum(total))
    print("subprocess", subprocess.run(["sh", "-c", "cat; exit 4"], input=b"piped", capture_output=True))
    print("pipeline", subprocess.check_output("seq 10 | sort -rn | head -1", shell=True))
    try:
        subprocess.run(["sleep", "10"], timeout=0.1)
    except subprocess.TimeoutExpired:
        print("timeout")
    try:
        subprocess.run(["/nonexistent"])
    except FileNotFoundError as e:
        print(e)
    with multiprocessing.Pool(3) as p:
        print("pool", p.map(square, range(10)))
    q = multiprocessing.Queue()
    p = multiprocessing.Process(target=q.put, args=("from a process",)); p.start(); print(q.get()); p.join(); print(p.exitcode)
    with concurrent.futures.ProcessPoolExecutor(2) as ex:
        print("executor", list(ex.map(square, range(5))))
    db = sqlite3.connect("test.db")
    db.execute("create table t (a integer primary key, b text)")
    db.executemany("insert into t values (?, ?)", [(i, str(i) * 3) for i in range(2000)])
    db.commit()
    print("sqlite", db.execute("select count(*), sum(a), max(b) from t").fetchone())
    db.close()
    with open("m", "wb+") as f:
        f.truncate(8192)
        m = mmap.mmap(f.fileno(), 8192); m[4096:4101] = b"hello"; m.flush(); m.close()
        f.seek(4096); print("mmap", f.read(5))
    async def work():
        proc = await asyncio.create_subprocess_exec("echo", "async", stdout=subprocess.PIPE)
        out, _ = await proc.communicate()
        await asyncio.gather(*[asyncio.sleep(0.01) for _ in range(50)])
        return out
    print("asyncio", asyncio.run(work()))
    a, b = socket.socketpair(); a.sendall(b"pair"); print("socketpair", b.recv(10)); a.close(); b.close()
    s = socket.create_server(("127.0.0.1", 0)) if os.environ.get("WITH_NET") else None
    signal.signal(signal.SIGALRM, lambda *_: print("alarm")); signal.setitimer(signal.ITIMER_REAL, 0.05); time.sleep(0.2)
    pid = os.fork()
    if pid == 0:
        os._exit(9)
    print("fork", os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    r, w = os.pipe(); os.write(w, b"x"); print("select", select.select([r], [], [], 0)[0] == [r])
    with tempfile.TemporaryDirectory() as d:
        path = pathlib.Path(d) / "a" / "b"; path.mkdir(parents=True); (path / "f").write_text("text")
        shutil.copytree(d, "copied"); print("paths", sorted(str(x.relative_to("copied")) for x in pathlib.Path("copied").rglob("*")))
    with tarfile.open("x.tar.gz", "w:gz") as t: t.add("copied")
    print("tar", len(tarfile.open("x.tar.gz").getnames()))
    print("hash", hashlib.sha256(b"x" * 100000).hexdigest()[:16], json.dumps({"a": [1, 2.5, None]}), len(os.listdir("/")) > 5)
    print("limits", resource.getrlimit(resource.RLIMIT_NOFILE)[0] > 0, os.cpu_count() > 0, len(os.sched_getaffinity(0)) > 0)
    print(sys.getrecursionlimit(), ctypes.CDLL(None).getpid() == os.getpid(), uuid.uuid4() != uuid.uuid4(), os.getcwd() == os.path.realpath("."))

if __name__ == "__main__":
    main()
END
python3 t.py; echo "status $?"
python3 -c 'import sys; sys.exit(5)'; echo "status $?"
python3 -c '1/0' 2>&1 | tail -1
{ python3 -c "import os; os.abort()"; } 2>/dev/null; echo "status $?"
echo 'print(sum(map(int, __import__("sys").stdin)))' > s.py; seq 100 | python3 s.py
