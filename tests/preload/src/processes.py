"""PURPOSE: fork in every way that python knows, also with threads running; output is fixed."""
import ctypes, multiprocessing as mp, os, threading, time
from multiprocessing import shared_memory

table = {i: "value %d" % i for i in range(20000)}


def work(n):
    mine = {"%d/%d" % (n, i): [i] * (n % 7) for i in range(2000)}
    return n, len(mine), table[n]


def in_child(n, queue):
    out = [str(i) * 3 for i in range(20000)]
    threads = [threading.Thread(target=lambda: out.append(len(table))) for _ in range(3)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    queue.put((n, len(out), out[-1], os.getppid() == parent))


def churn(stop):
    while not stop.is_set():
        keep = [bytearray(i) for i in range(300)]
        del keep[::2]
        time.sleep(0)


if __name__ == "__main__":
    parent = os.getpid()
    mp.set_start_method("fork")
    with mp.Pool(3) as pool:
        results = pool.map(work, range(120), chunksize=5)
    print(len(results), results[7], results[-1])

    stop = threading.Event()
    churners = [threading.Thread(target=churn, args=(stop,)) for _ in range(3)]
    for t in churners:
        t.start()
    queue = mp.SimpleQueue()
    for round in range(4):
        children = [mp.Process(target=in_child, args=(n, queue)) for n in range(5)]
        for c in children:
            c.start()
        print(sorted(queue.get() for _ in children))
        for c in children:
            c.join()
        print([c.exitcode for c in children])
    for n in range(40):
        pid = os.fork()
        if pid == 0:
            data = {i: str(i) for i in range(1000 + n)}
            os._exit(len(data) % 100)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == n
    stop.set()
    for t in churners:
        t.join()

    with mp.get_context("spawn").Pool(2) as pool:
        print(sum(len(x) for x in pool.map(hex, range(1000))))
    counter = mp.Value(ctypes.c_long, 0)

    def count():
        for _ in range(300):
            with counter.get_lock():
                counter.value += 1

    children = [mp.Process(target=count) for _ in range(4)]
    for c in children:
        c.start()
    for c in children:
        c.join()
    print(counter.value)
    with mp.Manager() as manager:
        shared = manager.dict()
        children = [mp.Process(target=lambda n=n: shared.update({n: n * n})) for n in range(5)]
        for c in children:
            c.start()
        for c in children:
            c.join()
        print(sorted(shared.items()))
    block = shared_memory.SharedMemory(create=True, size=100000)
    block.buf[:5] = b"hello"
    other = shared_memory.SharedMemory(block.name)
    print(bytes(other.buf[:5]))
    other.close()
    block.close()
    block.unlink()
