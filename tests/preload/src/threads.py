"""PURPOSE: python threads that allocate, hand objects to each other and end; output is fixed."""
import asyncio, concurrent.futures, hashlib, queue, socket, subprocess, sys, threading, zlib

sys.setswitchinterval(0.0005)
local = threading.local()
lock = threading.Lock()
total = {}


def worker(n, source, sink):
    local.mine = {}
    while True:
        item = source.get()
        if item is None:
            break
        i, data = item
        local.mine[i] = data[::-1] * 2
        sink.put((i, hashlib.md5(zlib.decompress(zlib.compress(local.mine[i]))).hexdigest()))
    with lock:
        total[n] = len(local.mine)


source, sink = queue.Queue(50), queue.SimpleQueue()
threads = [threading.Thread(target=worker, args=(n, source, sink)) for n in range(6)]
for t in threads:
    t.start()
for i in range(1500):
    source.put((i, b"%d," % i * (i % 60)))
for t in threads:
    source.put(None)
for t in threads:
    t.join()
got = dict(sink.get() for _ in range(1500))
print(sum(total.values()), hashlib.md5("".join(got[i] for i in range(1500)).encode()).hexdigest())

for _ in range(150):
    t = threading.Thread(target=lambda: [bytes(100) for _ in range(200)])
    t.start()
    t.join()

with concurrent.futures.ThreadPoolExecutor(4) as pool:
    print(sum(pool.map(lambda n: len(str(2 ** n)), range(800))))
    outs = list(pool.map(lambda n: subprocess.check_output(["echo", str(n)]), range(12)))
print(b"".join(outs).split())


async def echo(reader, writer):
    while data := await reader.read(100):
        writer.write(data.upper())
        await writer.drain()
    writer.close()


async def client(port, n):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    out = b""
    for i in range(8):
        writer.write(b"message %d %d" % (n, i))
        out += await reader.read(100)
    writer.close()
    return len(out)


async def main():
    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    print(sum(await asyncio.gather(*(client(port, n) for n in range(10)))))
    server.close()
    print(await asyncio.gather(*(asyncio.to_thread(sum, range(n * 1000)) for n in range(5))))


asyncio.run(main())
a, b = socket.socketpair()
t = threading.Thread(target=lambda: [b.sendall(b"x" * 1000) for _ in range(200)] and b.close())
t.start()
n = 0
while data := a.recv(65536):
    n += len(data)
t.join()
print(n)
done = threading.Event()
timers = [threading.Timer(0.01 * i, lambda: None) for i in range(5)]
timers.append(threading.Timer(0.06, done.set))
for t in timers:
    t.start()
print(done.wait(20))
