#!/bin/sh
# What `make run` shows: a few commands, each printed before it runs.
set -u
sandbox=$(dirname "$0")/../bin/sandbox
failed=0

show() {
	printf '\n\033[1m$ sandbox exec'
	for a; do
		case $a in
		*[!A-Za-z0-9/._=-]*) printf " '%s'" "$a" ;;
		*) printf ' %s' "$a" ;;
		esac
	done
	printf '\033[0m\n'
	"$sandbox" exec "$@" || { echo "(exit status $?)"; failed=1; }
}

if [ ! -x "$sandbox" ]; then
	echo "bin/sandbox was not built" >&2
	exit 1
fi
echo "The sandbox sees this machine's files read-only; what it writes stays in memory and is dropped. No root, no daemon."
show -- sh -c 'echo "I am $(id -un) (uid $(id -u)) on $(uname -sr), host name $(hostname), pid $$"'
show -- sh -c 'echo "processes I can see:"; ps -eo pid,args 2>/dev/null || ls /proc | grep "^[0-9]"'
show -- python3 -c 'import sys, os, threading
squares = []
threads = [threading.Thread(target=lambda n=n: squares.append(n * n)) for n in range(5)]
for t in threads: t.start()
for t in threads: t.join()
print("Python", sys.version.split()[0], "with", len(threads), "threads:", sorted(squares))'
show -- sh -c 'echo "written inside" >sandbox-was-here && cat sandbox-was-here'
printf '\n\033[1m$ cat sandbox-was-here\033[0m   (outside)\n'
cat sandbox-was-here 2>&1 && failed=1
exit $failed
