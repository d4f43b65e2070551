# What is logged when the sentry fails: its stack, from within its own filter, back to where it started. Then the stacks of guests.
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
wait $launcher 2>/dev/null

# What is shown of a program that crashes.
cat >crash.c <<'C'
#include <signal.h>
__attribute__((noinline)) void third(int signo) { signo ? raise(signo) : (*(volatile int *)8 = 1); __asm__ volatile(""); }
__attribute__((noinline)) void second(int signo) { third(signo); __asm__ volatile(""); }
__attribute__((noinline)) void first(int signo) { second(signo); __asm__ volatile(""); }
int main(int argc, char **argv) { (void)argv; first(argc > 1 ? SIGTERM : 0); return 0; }
C
gcc -w -O0 -fno-omit-frame-pointer -o crash crash.c || exit 1
status 139 "a crash" box --strace=calls --debug --log log -- ./crash
for where in calls log; do
	names=$(grep -v '? /' $where | grep -o "$PWD/crash(+0x[0-9a-f]*" | cut -d+ -f2 | xargs addr2line -fe crash | sed -n 'p;n' | xargs)
	check "the program's stack in $where" "third second first main" "$names"
done
check "the C library called main" 1 "$(grep -c ' > /.*libc.so.6(+0x' calls)"
status 139 "without --debug" box --log quiet -- ./crash
check "says nothing" "" "$(cat quiet)"
status 143 "a signal that dumps no core" box --strace=calls --debug --log log -- ./crash term
check "shows no stack" 0 "$(cat calls log | grep -c 'crash(+0x')"
