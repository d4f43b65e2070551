# A package client as an ordinary user, through --net nat. fetch COMMAND...: runs it inside; natively its failure means that the registry
# cannot be had, and skips.
. "$HERE/lib"
chmod 755 .
cp "$SANDBOX" sandbox
SANDBOX=$PWD/sandbox
mkdir -p there
become=()
if [ "$(id -u)" = 0 ]; then
	become=(setpriv --reuid=54321 --regid=54321 --clear-groups --)
fi
export HOME=$PWD/there
cd there || exit 1

fetch() {
	local inside=()
	# A program in root's own home is root's alone.
	[ ${#become[@]} = 0 ] || "${become[@]}" "$1" --version >/dev/null 2>&1 || become=()
	[ ${#become[@]} = 0 ] || chown -R 54321:54321 .
	[ "$PLACE" = native ] || inside=("$SANDBOX" exec --platform "$PLATFORM" --net nat --bind "$PWD" --)
	if ! timeout 120 "${become[@]}" "${inside[@]}" "$@" >../fetch.log 2>&1; then
		tail -n 10 ../fetch.log
		[ "$PLACE" = native ] || exit 1
		echo "the registry cannot be had: $*: $(grep -v '^$' ../fetch.log | tail -n 1)"
		exit 77
	fi
}

came() {
	local f
	for f in "$@"; do
		echo "$(basename "$f") $(sum <"$f")"
	done
}
