# about: pip as an ordinary user through --net nat: one small package
# needs: pip
# runs: outside
# net: host
# seconds: 130
. "$HERE/common/package.sh"
# Not pyenv's, which are in somebody's home.
PATH=/usr/bin:$PATH
fetch pip download --no-deps --no-cache-dir six==1.16.0
came ./*.whl
