#!/bin/sh
# Debian packages: deps.sh check|install SET...
# SETs: build (compile), run (the demonstration), test (make check, make lint), bench (make bench), suites (make suites), software (make software).
# Installing needs root, or sudo without a password; else the missing ones and the command are printed.
set -eu

action=$1
shift

# has PROGRAM PACKAGE: the package, unless the program is there already, from wherever.
has() {
	PATH=$PATH:/usr/sbin command -v "$1" >/dev/null || echo "$2"
}

packages() {
	case $1 in
	build) echo gcc libc6-dev make libseccomp-dev libcapstone-dev libunwind-14-dev ;;
	run) echo python3 ;;
	test) echo git perl python3 check clang-14 libclang-rt-14-dev clang-format-14 clang-tidy-14 cppcheck codespell sparse \
		procps strace tcpdump iproute2 iputils-ping util-linux bc file less vim tmux gcc g++ tar xz-utils attr psmisc ;;
	suites) echo python3 libpython3.11-testsuite ;;
	software) echo wrk redis-server redis-tools curl openssl openssh-server openssh-client iperf3 bind9-dnsutils iputils-ping traceroute tcpdump \
		iproute2 python3 python3-pip ca-certificates $(has nginx nginx-light) $(has node nodejs) $(has npm npm) $(has go golang-go) $(has cargo cargo) ;;
	bench) echo git bubblewrap gcc python3 procps ;;
	*) echo "deps.sh: no such set: $1" >&2; exit 2 ;;
	esac
}

if ! command -v dpkg-query >/dev/null; then
	[ "$action" = check ] || echo "Not a Debian system: install by hand what corresponds to: $(for s; do packages "$s"; done | xargs)" >&2
	exit 0
fi

# linux-libc-dev and the like come as dependencies; a package may have another architecture's copy as well.
missing=
for p in $(for s; do packages "$s"; done | tr ' ' '\n' | sort -u); do
	dpkg-query -W -f '${Status}\n' "$p" 2>/dev/null | grep -q '^install ok installed' || missing="$missing $p"
done
[ -n "$missing" ] || exit 0

command="apt-get install -y --no-install-recommends$missing"
if [ "$action" = check ]; then
	echo "Not installed:$missing" >&2
	echo "Install them with \`make deps\`, or as root: $command" >&2
	exit 1
fi

become=
if [ "$(id -u)" -ne 0 ]; then
	if command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
		become=sudo
	else
		echo "Not installed:$missing" >&2
		echo "Ask an administrator to run: apt-get update && $command" >&2
		exit 1
	fi
fi
echo "Installing:$missing"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
run() {
	$become env DEBIAN_FRONTEND=noninteractive "$@" >"$log" 2>&1 </dev/null || return 1
}
run $command || { run apt-get update && run $command; } || {
	cat "$log" >&2
	echo "Could not install:$missing (see above; is the network up?)" >&2
	exit 1
}
