// An HTTP server on the port of its argument that keeps connections.
const http = require('http');
let open = 0, most = 0;
const server = http.createServer((request, response) => {
	if (request.url === '/most')
		return response.end(String(most));
	let size = 0;
	request.on('data', (data) => size += data.length);
	request.on('end', () => response.end(`${request.url} ${size}`));
});
server.keepAliveTimeout = 60000;
server.on('connection', (socket) => {
	most = Math.max(most, ++open);
	socket.on('close', () => open--);
});
server.listen({ port: Number(process.argv[2]), host: '::', backlog: 2000 });
