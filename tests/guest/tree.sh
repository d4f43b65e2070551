# Many files: the host's /usr is seen whole; thousands of files go through tar.
exec 2>&1
export LC_ALL=C
# As somebody who may not read what is closed: the sandbox may not either, whoever starts it.
anybody() {
	if [ "$(id -u)" = 0 ]; then setpriv --reuid=65534 --regid=65534 --clear-groups "$@"; else "$@"; fi
}
anybody find /usr -xdev 2>/dev/null | wc -l
anybody find /usr/share -xdev -type l 2>/dev/null | wc -l
anybody find /usr/include -type f -print0 | xargs -0 cat | md5sum
anybody du -sx --apparent-size /usr/lib | cut -f1
mkdir src; for d in 0 1 2 3 4; do mkdir src/$d; for i in $(seq 1000); do echo "file $d $i" > src/$d/$i; done; done
find src -type f | wc -l
tar cf all.tar src; mkdir out; tar xf all.tar -C out; diff -r src out/src && echo equal
rm -r src; find out -type f | wc -l; rm -r out; ls
