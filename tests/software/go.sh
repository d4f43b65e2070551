# about: Go's HTTP server and client, with 1,000 connections that are kept
# needs: go curl
# seconds: 120
# sentry: 300
. "$HERE/lib"
. "$HERE/common/go.sh"
go_program keepalive
./keepalive serve '[::]:8081' &
listening 8081
./keepalive get http://127.0.0.1:8081 1000 10
./keepalive get 'http://[::1]:8081' 100 100
[ "$(curl -sS http://127.0.0.1:8081/most)" -ge 1000 ] && echo "1000 at once"
blob body 30
curl -sS -T body http://127.0.0.1:8081/put; echo
