# about: apt-get as an ordinary user through --net nat: one small package
# needs: apt-get
# runs: outside
# net: host
# seconds: 130
. "$HERE/common/package.sh"
fetch apt-get download hello
came ./*.deb
