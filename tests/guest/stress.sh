# stress-ng's stressors, each verified, for as long as STRESS_SECONDS says (2).
exec 2>&1
command -v stress-ng >/dev/null || { echo "no stress-ng"; exit 77; }
for s in cpu vm fork pipe futex signal dentry; do
	case $s in
	vm) opts="--vm 2 --vm-bytes 32m" ;;
	signal) opts="--sigsegv 1 --kill 1 --sigq 1" ;;
	dentry) opts="--dentry 1 --dentries 256" ;;
	*) opts="--$s 2" ;;
	esac
	stress-ng $opts --verify --timeout "${STRESS_SECONDS:-2}" --temp-path . >log 2>&1
	echo "$s: status $? failures $(grep -c -i 'fail:' log)"
done
