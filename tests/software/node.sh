# about: Node's HTTP server with 1,000 connections that are kept
# needs: node go curl
# seconds: 120
# sentry: 300
. "$HERE/lib"
. "$HERE/common/go.sh"
go_program keepalive
node "$HERE/common/server.js" 8082 &
listening 8082
./keepalive get http://127.0.0.1:8082 1000 10
[ "$(curl -sS http://127.0.0.1:8082/most)" -ge 1000 ] && echo "1000 at once"
blob body 30
curl -sS -T body http://127.0.0.1:8082/put; echo
# And its client.
node -e '
const http = require("http"), agent = new http.Agent({ keepAlive: true, maxSockets: 50 });
let left = 500, wrong = 0;
for (let i = 0; i < 500; i++)
	http.get({ port: 8082, path: "/" + i, agent }, (r) => {
		let text = "";
		r.on("data", (d) => text += d);
		r.on("end", () => {
			wrong += text !== `/${i} 0`;
			if (!--left) { console.log("wrong:", wrong); agent.destroy(); }
		});
	});'
