# node: worker threads, child processes, streams, file system, timers.
exec 2>&1
command -v node >/dev/null || { echo "no node"; exit 77; }
cat > t.js <<'END'
const { Worker, isMainThread, parentPort, workerData } = require('worker_threads');
const cp = require('child_process'), fs = require('fs'), crypto = require('crypto'), zlib = require('zlib'), os = require('os');
if (!isMainThread) {
	let s = 0;
	for (let i = 0; i < 1e6; i++) s = (s + i * workerData) % 1000003;
	parentPort.postMessage(s);
} else {
	(async () => {
		const sums = await Promise.all([1, 2, 3, 4].map(n => new Promise((ok, no) => {
			const w = new Worker(__filename, { workerData: n });
			w.on('message', ok); w.on('error', no);
		})));
		console.log('workers', sums.join(' '));
		console.log('exec', cp.execSync('echo from sh; exit 0').toString().trim());
		const r = cp.spawnSync('sh', ['-c', 'cat; exit 6'], { input: 'piped' });
		console.log('spawn', r.status, r.stdout.toString());
		await new Promise(ok => { const c = cp.fork('-e', ['0'], { execArgv: [] , silent: true }); c.on('exit', ok); c.on('error', ok); });
		fs.mkdirSync('d/e', { recursive: true });
		for (let i = 0; i < 100; i++) await fs.promises.writeFile(`d/e/${i}`, `file ${i}`);
		console.log('files', (await fs.promises.readdir('d/e')).length, fs.readFileSync('d/e/42', 'utf8'));
		fs.rmSync('d', { recursive: true });
		console.log('gone', fs.existsSync('d'));
		console.log('hash', crypto.createHash('sha256').update('x'.repeat(1e6)).digest('hex').slice(0, 16));
		console.log('zip', zlib.gunzipSync(zlib.gzipSync(Buffer.alloc(1e6, 'ab'))).length);
		const t = Date.now(); await new Promise(ok => setTimeout(ok, 50)); console.log('timer', Date.now() - t >= 49);
		console.log('pbkdf2', await new Promise((ok, no) => crypto.pbkdf2('p', 's', 1000, 16, 'sha1', (e, k) => e ? no(e) : ok(k.toString('hex')))));
		const s = require('net').createServer(c => c.end('by socket')).listen('./sock', () => {
			const c = require('net').connect('./sock'); c.on('data', d => console.log(d.toString())); c.on('close', () => s.close());
		});
		process.on('SIGUSR2', () => console.log('signal')); process.kill(process.pid, 'SIGUSR2');
		await new Promise(ok => setTimeout(ok, 50));
		console.log(os.platform(), os.arch(), os.cpus().length > 0);
	})();
}
END
node t.js; echo "status $?"
node -e 'process.exit(3)'; echo "status $?"
echo 'console.log("from stdin")' | node -
node -e 'throw new Error("x")' 2>&1 | grep -c 'Error: x'
