# Many files: the host's /usr is seen whole; thousands of files go through tar.
exec 2>&1
export LC_ALL=C
find /usr -xdev 2>/dev/null | wc -l
find /usr/share -xdev -type l | wc -l
find /usr/include -type f -print0 | xargs -0 cat | md5sum
du -sx --apparent-size /usr/lib | cut -f1
mkdir src; for d in 0 1 2 3 4; do mkdir src/$d; for i in $(seq 1000); do echo "file $d $i" > src/$d/$i; done; done
find src -type f | wc -l
tar cf all.tar src; mkdir out; tar xf all.tar -C out; diff -r src out/src && echo equal
rm -r src; find out -type f | wc -l; rm -r out; ls
