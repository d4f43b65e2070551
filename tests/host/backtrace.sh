# What is logged when the sentry fails: its stack, from within its own filter, back to where it started.
. "$TOP/tests/host/lib"

"$SANDBOX" exec --platform "$PLATFORM" --log log -- sleep 60 &
launcher=$!
tries=100
until sentry=$(pgrep -P $launcher) && tr '\0' ' ' <"/proc/$sentry/comm" | grep -q sentry && [ "$(sandboxes)" -ge 3 ]; do
	[ $((tries -= 1)) -gt 0 ] || { fail "no sentry"; exit 1; }
	sleep 0.1
done
sleep 0.5
kill -SEGV "$sentry"
tries=50
until grep -q '#9' log || [ $((tries -= 1)) -le 0 ]; do
	sleep 0.1
done
check "the log says what it was" 1 "$(grep -c 'the sentry got Segmentation fault' log)"
names=$(grep -o 'sandbox+0x[0-9a-f]*' log | cut -d+ -f2 | xargs addr2line -fe "$SANDBOX" | sed -n 'p;n' | xargs)
case " $names " in
*" task_wait_init boot_run "*"sentry_main "*) echo "ok: the stack: $names" ;;
*) fail "the stack: $names" ;;
esac
kill -KILL $launcher
