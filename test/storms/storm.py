"""What python programs do with processes and threads at the same time. usage: storm.py fork|spawn|futures|commands"""
import concurrent.futures
import faulthandler
import multiprocessing
import os
import subprocess
import sys
import threading

THREADS, JOBS = 3, 24
stop = threading.Event()


def work(n):
    rows = [{"id": i, "text": "row %d" % i * (n % 5 + 1)} for i in range(1500)]
    big = bytearray(200000 + n)
    return sum(len(row["text"]) for row in rows) + len(big)


def churn():
    while not stop.is_set():
        work(3)
        stop.wait(0.001)


def pool(how):
    wanted = [work(n) for n in range(JOBS)]
    with multiprocessing.get_context(how).Pool(2, maxtasksperchild=3) as workers:
        assert workers.map(work, range(JOBS), chunksize=1) == wanted


def fork():
    pool("fork")
    for n in range(JOBS):
        child = os.fork()
        if not child:
            work(n)
            thread = threading.Thread(target=work, args=(n,))
            thread.start()
            thread.join()
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0


def futures():
    wanted = [work(n) for n in range(JOBS)]
    with concurrent.futures.ThreadPoolExecutor(4) as threads, \
            concurrent.futures.ProcessPoolExecutor(2, multiprocessing.get_context("fork")) as processes:
        for executor in (threads, processes, threads):
            assert list(executor.map(work, range(JOBS))) == wanted


def command(n):
    done = subprocess.run(["/bin/sh", "-c", "read x; echo $x"], input=f"{n}\n", stdout=subprocess.PIPE, text=True, check=True,
                          preexec_fn=(lambda: work(n)) if n % 4 == 0 else None)
    assert done.stdout == f"{n}\n"
    return work(n)


def commands():
    with concurrent.futures.ThreadPoolExecutor(4) as threads:
        assert list(threads.map(command, range(JOBS))) == [work(n) for n in range(JOBS)]


if __name__ == "__main__":
    faulthandler.dump_traceback_later(120, exit=True)
    churners = [threading.Thread(target=churn) for _ in range(THREADS)]
    for t in churners:
        t.start()
    {"fork": fork, "spawn": lambda: pool("spawn"), "futures": futures, "commands": commands}[sys.argv[1]]()
    stop.set()
    for t in churners:
        t.join()
    print("ok")
