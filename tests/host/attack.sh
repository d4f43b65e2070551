# A hostile guest: it jumps into the stub with forged registers, scribbles over what the stub shares with the sentry, maps over it, and
# runs with odd processor state. The host and a neighbour notice nothing, and the sentry does not fail.
. "$TOP/tests/host/lib"

gcc -w -O1 -static -pthread -I"$TOP" -o attack "$TOP/tests/host/attack.c" || exit 1
mkdir target; chmod 777 target
neighbour 50
seconds=150
others=$(sandboxes)
for what in state remap code scribble hint race linger door; do
	box --timeout 140 -- ./attack $what "$PWD/target/planted" >out 2>err
	got=$?
	case $got in
	0 | 132 | 133 | 135 | 136 | 137 | 139 | 159) echo "ok: $what ended with $got: $(tail -1 out)" ;;
	*) fail "$what: status $got: $(cat out err | tail -3)" ;;
	esac
	grep -q accepted out && fail "$what: $(grep accepted out)"
	grep -q 'BUG\|sandbox+0x\|AddressSanitizer' err && fail "$what: the sentry failed: $(grep -m3 'BUG\|sandbox' err)"
	[ "$(wc -l <err)" -le 2 ] || fail "$what: it fills the log: $(wc -l <err) lines"
	gone "$what leaves no process" "$others"
	check "$what plants nothing" "" "$(ls target)"
done
undisturbed "the neighbour went on"
