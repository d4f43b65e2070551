# A caller who may have few processes: what the host refuses is EAGAIN for the guest, at once, and nothing hangs.
. "$TOP/tests/host/lib"

command -v setpriv prlimit >/dev/null || { echo "util-linux is missing"; exit 77; }
ordinary_user
busy=0
if [ "$(id -u)" != 0 ]; then
	for t in /proc/[0-9]*/task/*; do
		[ -O "$t" ] && busy=$((busy + 1))
	done
fi
# few COUNT PROGRAM...: so many processes and threads beside those that the user has already
few() {
	local n=$((busy + $1))
	shift
	user timeout 60 prlimit --nproc=$n -- ./sandbox exec --platform "$PLATFORM" -- "$@"
}

cat >forks.py <<'END'
import errno, os, sys, time
children, errors, ends = [], set(), set()
for i in range(40):
    try:
        pid = os.fork()
    except OSError as e:
        errors.add(errno.errorcode[e.errno])
        continue
    if pid == 0:
        try:
            if len(sys.argv) > 1:
                os.execv(sys.argv[1], sys.argv[1:])
        except OSError as e:
            os._exit(0 if e.errno == errno.EAGAIN else 1)
        time.sleep(0.5)
        os._exit(0)
    children.append(pid)
for pid in children:
    ends.add(os.waitpid(pid, 0)[1])
print("some" if children else "none", *errors, *ends)
END
cat >threads.py <<'END'
import threading, time
threads = []
for i in range(60):
    t = threading.Thread(target=time.sleep, args=(0.5,))
    try:
        t.start()
    except RuntimeError as e:
        print(e)
        break
    threads.append(t)
for t in threads:
    t.join()
print("some" if threads else "none")
END
chmod 644 ./*.py
start=$SECONDS
for n in 20 30 40; do
	check "forks, $n" "some EAGAIN 0" "$(few $n python3 "$PWD/forks.py")"
	check "forks that exec, $n" "some EAGAIN 0" "$(few $n python3 "$PWD/forks.py" /bin/sleep 0.5)"
	check "threads, $n" "can't start new thread some" "$(few $n python3 "$PWD/threads.py" | xargs -d '\n')"
done
complains 125 "too few to start" few 5 true
grep -q 'limit of processes.*ulimit -u' err || fail "it says which limit"
check "nobody waits for what does not come" yes "$([ $((SECONDS - start)) -lt 40 ] && echo yes)"
