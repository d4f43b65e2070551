# about: npm as an ordinary user through --net nat: one small package
# needs: npm
# runs: outside
# net: host
# seconds: 130
. "$HERE/common/package.sh"
fetch npm pack is-number@7.0.0
came ./*.tgz
