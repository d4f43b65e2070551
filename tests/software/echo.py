# about: 10,000 connections at once to an asyncio server; the memory of the sentry for them
# seconds: 150
# sentry: 400
import asyncio
import os
import resource
import sys
import time

COUNT, ROUNDS, PORT = 10000, 3, 7007


async def serve():
    async def echo(reader, writer):
        while data := await reader.read(4096):
            writer.write(data)
            await writer.drain()
        writer.close()
    server = await asyncio.start_server(echo, ["127.0.0.1", "127.0.0.2"], PORT, backlog=4096)
    print("ready", flush=True)
    async with server:
        await server.serve_forever()


async def connection(i, limit, opened, answers):
    try:
        async with limit:
            reader, writer = await asyncio.open_connection(f"127.0.0.{1 + i % 2}", PORT)
        opened.append(i)
        while len(opened) < COUNT:
            await asyncio.sleep(0.2)
        for n in range(ROUNDS):
            text = b"%d %d\n" % (i, n)
            writer.write(text)
            answers.append(await reader.readexactly(len(text)) == text)
        writer.close()
        await writer.wait_closed()
    except OSError as e:
        print(e)
        os._exit(1)


async def clients():
    limit, opened, answers = asyncio.Semaphore(200), [], []
    start = time.monotonic()
    await asyncio.gather(*(connection(i, limit, opened, answers) for i in range(COUNT)))
    print(f"{len(opened)} connections, {len(answers)} answers, right: {all(answers)}")
    print(f"# connections, opened and used {COUNT / (time.monotonic() - start):.0f} connections/s")


def main():
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if hard < COUNT + 100:
        print(f"only {hard} files may be open (ulimit -Hn)")
        sys.exit(77)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    ready, said = os.pipe()
    server = os.fork()
    if server == 0:
        os.dup2(said, 1)
        asyncio.run(serve())
    os.read(ready, 16)
    asyncio.run(clients())
    with open("/proc/net/sockstat", encoding="ascii") as f:
        print([line.split()[:2] for line in f if line.startswith("TCP:")])
    os.kill(server, 9)
    print("ended with", os.waitstatus_to_exitcode(os.waitpid(server, 0)[1]))


main()
