"""What forked Python workers cost in memory, as bench.h's programs print it: pyforked.py [WORKERS] [OBJECTS]

A process makes objects, calls gc.freeze() and forks; each worker replaces a random tenth of them. Then the workers
wait while their proportional set sizes (PSS: a shared page counts for each process by its part) are read.
"""
import gc
import os
import random
import re
import signal
import struct
import sys
import time

SECONDS = struct.Struct("d")


def pss_bytes(pid):
    with open(f"/proc/{pid}/smaps_rollup") as file:
        return int(re.search(r"^Pss:\s+(\d+)", file.read(), re.M).group(1)) * 1024


def make(i):
    return {"id": i, "name": f"name of {i}", "tags": (i, str(i))}


def work(objects, seed):
    draw = random.Random(seed)
    for _ in range(len(objects) // 10):
        i = draw.randrange(len(objects))
        objects[i] = make(i)


def main():
    workers, count = (int(argument) for argument in (sys.argv[1:] + ["8", "200000"][len(sys.argv) - 1:]))
    objects = [make(i) for i in range(count)]
    gc.collect()
    gc.freeze()
    done, ready = os.pipe()
    pids = []
    fork_s = 0
    for seed in range(workers):
        start = time.perf_counter()
        pid = os.fork()
        if not pid:
            start = time.perf_counter()
            work(objects, seed)
            os.write(ready, SECONDS.pack(time.perf_counter() - start))
            signal.pause()
        fork_s += time.perf_counter() - start
        pids.append(pid)
    work_s = sum(SECONDS.unpack(os.read(done, SECONDS.size))[0] for _ in pids)
    time.sleep(0.2)
    pss = sum(map(pss_bytes, pids))
    parent = pss_bytes(os.getpid())
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    print(f"workers_pss_bytes={pss}\nparent_pss_bytes={parent}\nfork_s={fork_s / workers:.6f}\nwork_s={work_s / workers:.6f}")


main()
