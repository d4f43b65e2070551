# Pipelines, expansions, job control, traps, here documents, process substitution.
exec 2>&1

seq 1 1000 | sort -rn | head -5 | tr '\n' ' '; echo
printf '%s\n' apple banana cherry | awk '{ print NR, toupper($0) }' | sed 's/AN/an/g'
yes | head -100000 | wc -l
echo {a..e}{1..3} $((2 ** 20)) "${BASH_VERSION%%.*}"
false | true; echo "status $? pipe ${PIPESTATUS[*]}"
set -o pipefail; false | true; echo "pipefail $?"; set +o pipefail
cat <<END
here $(echo document)
END
cat <<<"here string"
diff <(seq 5) <(seq 2 6); echo "diff $?"
echo out > f; echo more >> f; cat < f; wc -c f
ls nothere; echo "ls $?"
(exit 7); echo "subshell $?"
bash -c 'kill -TERM $$'; echo "killed $?"
bash -c 'exit 300'; echo "exit $?"
trap 'echo trapped USR1' USR1; kill -USR1 $$; trap - USR1
bash -c 'trap "echo leaving" EXIT; exit 3'; echo "trap exit $?"
sleep 0.2 & wait $!; echo "waited $?"
sleep 100 & kill %1; wait %1; echo "job $?"
set -m
sleep 100 & jobs -r | sed 's/.*Running/Running/'
kill -STOP %1; sleep 0.1; jobs -s | sed 's/.*Stopped/Stopped/'
kill -CONT %1; kill %1; wait %1; echo "job control $?"
set +m
for i in 1 2 3 4 5 6 7 8; do (echo "$i" >> many) & done; wait; sort -n many | xargs
read -t 0.1 x < <(sleep 1); echo "read timeout $(($? > 128))"
mkfifo p; (echo through fifo > p) & cat p; wait
exec 5<>f; read -r line <&5; echo "fd 5: $line"; exec 5>&-
x=$(printf 'a\0b' | od -c | head -1); echo "$x"
ulimit -n 50; ulimit -n
umask 027; touch masked; stat -c %a masked
timeout 0.2 sleep 5; echo "timeout $?"
type -t cd ls if
/nonexistent/program; echo "not found $?"
touch notexec; ./notexec; echo "not executable $?"
echo $'#!/bin/sh\necho script $1 $#' > s; chmod +x s; ./s a b
time_=$( { time true; } 2>&1 | grep -c real); echo "time $time_"
