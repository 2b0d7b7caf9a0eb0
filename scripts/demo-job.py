#!/usr/bin/env python3
"""The main job: what a long-running Python program does with its memory, in small.

It builds three million small objects and 200 MB of buffers, drops all of them and waits for a
child process; then it builds them again, drops all but one in a thousand, and waits again. After
each phase it notes what is resident; on stdout it leaves one JSON object:

    phases     [name, resident bytes, seconds the phase took] in order
    checksum   over the data that was alive; the same under every allocator
    preloaded  the library of LD_PRELOAD when this process has really mapped it, else null

Only the standard library is used, on Python 3.9 or later.
"""
import ctypes
import gc
import json
import os
import random
import subprocess
import time
import zlib

OBJECTS = 3_000_000
BUFFER_BYTES = 200_000_000
KEEP_ONE_IN = 1_000


class Point:
    __slots__ = ("x", "y", "name")

    def __init__(self, x, y, name):
        self.x, self.y, self.name = x, y, name

    def __repr__(self):
        return f"Point({self.x}, {self.y}, {self.name!r})"


def make_object(i):
    """One small object; a dict, the largest kind, once in ten."""
    kind = i % 10
    if kind < 2:
        return (i, i + 0.5)
    if kind < 6:
        return f"customer {i}, main office"
    if kind < 8:
        return b"%d" % i * (1 + i % 7)
    if kind < 9:
        return Point(i, -i, f"p{i}")
    return {"id": i, "next": i + 1}


def make_objects():
    return [make_object(i) for i in range(OBJECTS)]


def make_buffers():
    """Buffers of 64 KiB to 4 MiB, written in full."""
    rng = random.Random(1)
    buffers, total = [], 0
    while total < BUFFER_BYTES:
        size = rng.randrange(64 << 10, 4 << 20)
        buffers.append(bytearray([total % 251]) * size)
        total += size
    return buffers


def checksum(objects, buffers):
    """A sample of the objects by value, and every buffer at both its ends."""
    crc = zlib.crc32(repr(objects[:: max(1, len(objects) // 3000)]).encode(), len(objects))
    for buffer in buffers:
        crc = zlib.crc32(buffer[:64] + buffer[-64:], crc ^ len(buffer))
    return crc


def resident_bytes():
    with open("/proc/self/smaps_rollup") as rollup:
        for line in rollup:
            if line.startswith("Rss:"):
                return int(line.split()[1]) * 1024
    raise RuntimeError("no Rss in /proc/self/smaps_rollup")


def preloaded_library():
    """The proof that the preload took place: a mapped file, not an environment variable."""
    wanted = os.environ.get("LD_PRELOAD")
    with open("/proc/self/maps") as maps:
        return wanted if any(line.rstrip().endswith(f" {wanted}") for line in maps) else None


def wait_for_child():
    subprocess.run(["sleep", "0.5"], check=True)


def trim():
    """Whoever serves malloc_trim in this process: the preload where there is one."""
    trim_function = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim_function:
        trim_function(0)


class Recorder:
    def __init__(self):
        self.phases = []
        self.last = time.perf_counter()

    def note(self, name):
        seconds = time.perf_counter() - self.last
        self.phases.append([name, resident_bytes(), round(seconds, 4)])
        self.last = time.perf_counter()


def main():
    recorder = Recorder()
    crc = 0
    recorder.note("start")
    for round_name, keep in (("", 0), (" again", KEEP_ONE_IN)):
        objects, buffers = make_objects(), make_buffers()
        recorder.note("built" + round_name)
        crc = zlib.crc32(b"%d" % checksum(objects, buffers), crc)
        recorder.last = time.perf_counter()     # the checksum belongs to no phase
        objects = objects[::keep] if keep else None
        del buffers
        gc.collect()
        recorder.note("dropped all but 1 in 1,000" if keep else "dropped all")
        wait_for_child()
        recorder.note("waited for a child" + round_name)
    trim()
    recorder.note("malloc_trim(0)")
    crc = zlib.crc32(b"%d" % checksum(objects, []), crc)
    print(json.dumps({
        "phases": recorder.phases,
        "checksum": f"{crc:08x}",
        "preloaded": preloaded_library(),
    }))


main()
