"""A tour of the standard library whose output is the same on every run."""
import asyncio
import bz2
import collections
import concurrent.futures
import ctypes
import decimal
import gc
import hashlib
import json
import lzma
import multiprocessing
import os
import pickle
import re
import sqlite3
import subprocess
import sys
import threading
import weakref
import xml.etree.ElementTree as ElementTree
import zlib

DOCUMENT = [{"id": i, "name": f"item {i}", "tags": ["a", "b" * (i % 40)], "next": {"id": i + 1}}
            for i in range(20_000)]


def digest(data):
    return hashlib.sha256(data if isinstance(data, bytes) else str(data).encode()).hexdigest()[:16]


def texts():
    text = json.dumps(DOCUMENT, sort_keys=True)
    assert json.loads(text) == DOCUMENT
    words = collections.Counter(re.findall(r"item (\d)\d*", text))
    replaced = re.sub(r'"id": (\d+)', lambda match: str(int(match[1]) * 2), text)
    return digest(text), sorted(words.items()), digest(replaced)


def codecs():
    data = pickle.dumps(DOCUMENT, protocol=4)
    for module in (zlib, bz2, lzma):
        assert module.decompress(module.compress(data[:400_000])) == data[:400_000]
    root = ElementTree.Element("root")
    for item in DOCUMENT[:5_000]:
        ElementTree.SubElement(root, "item", id=str(item["id"])).text = item["name"]
    tree = ElementTree.fromstring(ElementTree.tostring(root))
    return digest(data), len(tree), decimal.Decimal(2).sqrt(decimal.Context(prec=200))


def database():
    with sqlite3.connect(":memory:") as connection:
        connection.execute("create table t (id integer primary key, name text)")
        connection.executemany("insert into t values (?, ?)", ((d["id"], d["name"]) for d in DOCUMENT))
        return connection.execute("select count(*), max(name) from t where name like '%9'").fetchone()


def churn(seed):
    """Objects that outlive their maker, so that threads free each other's blocks."""
    kept = {i: bytes(i % 700) for i in range(seed, seed + 20_000)}
    for i in range(seed, seed + 20_000, 3):
        del kept[i]
    return kept


def threads():
    results = []
    workers = [threading.Thread(target=lambda i=i: results.append(churn(i * 1000))) for i in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        lengths = list(pool.map(lambda n: len(churn(n)), range(8)))
    return sum(map(len, results)), lengths


def square(n):
    return n * n, len(churn(n))


def processes():
    forked = multiprocessing.get_context("fork")
    with forked.Pool(3) as pool:
        squares = pool.map(square, range(12))
    spawned = multiprocessing.get_context("spawn")
    with spawned.Pool(1) as pool:
        squares += pool.map(square, range(3))
    child = subprocess.run([sys.executable, "-c", "print(sum(range(10**6)))"],
                           stdout=subprocess.PIPE, check=True)
    return squares, child.stdout.decode().strip()


async def coroutines():
    async def serve(reader, writer):
        while line := await reader.readline():
            writer.write(line.upper())
        writer.close()

    async def ask(i):
        reader, writer = await asyncio.open_unix_connection("asyncio.socket")
        writer.write(b"".join(b"line %d of %d\n" % (k, i) for k in range(200)))
        writer.write_eof()
        answer = await reader.read()
        writer.close()
        return digest(answer)

    server = await asyncio.start_unix_server(serve, "asyncio.socket")
    async with server:
        answers = await asyncio.gather(*(ask(i) for i in range(50)))
    child = await asyncio.create_subprocess_exec("echo", "child", stdout=subprocess.PIPE)
    output, _ = await child.communicate()
    return digest(answers), output.decode().strip()


def foreign():
    """malloc's family called from outside, and a callback through libffi."""
    libc = ctypes.CDLL(None)
    for name in ("malloc", "calloc", "realloc", "aligned_alloc", "strdup"):
        getattr(libc, name).restype = ctypes.c_void_p
    libc.realloc.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
    libc.free.argtypes = [ctypes.c_void_p]
    block = libc.calloc(100, 10)
    assert ctypes.string_at(block, 1000) == bytes(1000)
    ctypes.memset(block, 7, 1000)
    for size in (5_000, 500_000, 5_000_000, 300):
        block = libc.realloc(block, size)
        assert ctypes.string_at(block, 300) == bytes([7]) * 300
    libc.free(block)
    copy = libc.strdup(b"a string of libc's")
    text = ctypes.string_at(copy)
    libc.free(copy)
    aligned = libc.aligned_alloc(4096, 8192)
    assert aligned % 4096 == 0
    libc.free(aligned)
    numbers = (ctypes.c_int * 1000)(*(i * 7919 % 1009 for i in range(1000)))
    compare = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_int), ctypes.POINTER(ctypes.c_int))
    libc.qsort(numbers, 1000, 4, compare(lambda a, b: a[0] - b[0]))
    return text, list(numbers) == sorted(numbers)


class Node:
    pass


def cycles():
    nodes = [Node() for _ in range(50_000)]
    for i, node in enumerate(nodes):
        node.peer = nodes[i - 1]
    watch = weakref.ref(nodes[0])
    del nodes, node
    gc.collect()
    return watch() is None, len(gc.garbage)


def main():
    library = os.environ.get("CASE_LIB")
    with open("/proc/self/maps") as maps:
        assert not library or library in maps.read(), "the preload is not mapped"
    print("threads at start", len(os.listdir("/proc/self/task")))
    for part in (texts, codecs, database, threads, processes, foreign, cycles):
        print(part.__name__, part())
    print("coroutines", asyncio.run(coroutines()))


if __name__ == "__main__":
    main()
