"""A short job for every CPython from 3.6 on, and the proof that its objects live in malloc."""
import ctypes
import gc
import hashlib
import json
import os
import subprocess
import sys
import threading
import zlib


def build(n):
    return [(i, str(i), {"key": i}, b"x" * (i % 300)) for i in range(n)]


def work():
    objects = build(60000)
    workers = [threading.Thread(target=build, args=(5000,)) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    packed = zlib.compress(repr(objects).encode())
    kept = objects[::100]
    del objects
    gc.collect()
    return hashlib.md5(repr(kept).encode()).hexdigest(), hashlib.md5(zlib.decompress(packed)).hexdigest()


def serves_objects_itself(*options, **environment):
    """Whether pymalloc is in use: its statistics, which go to stderr, are empty when it is not."""
    ours = "import sys; sys._debugmallocstats()"
    child = subprocess.Popen([sys.executable, *options, "-c", ours], stderr=subprocess.PIPE, env=dict(os.environ, **environment))
    return b"arenas allocated total" in child.communicate()[1]


def said_of_objects(*options):
    """What the statistics say."""
    child = subprocess.Popen([sys.executable, *options, "-c", "pass"], stderr=subprocess.PIPE, env=dict(os.environ, LOWTIDE_STATS="1"))
    return json.loads(child.communicate()[1].decode())["python"]


def has_debug_hooks(*options, **environment):
    """Whether the interpreter fills what it allocates with its pattern (another one before 3.8)."""
    ours = ("import ctypes, sys; m = ctypes.pythonapi.PyMem_Malloc; m.restype = ctypes.c_void_p; "
            "sys.exit(len(set(ctypes.string_at(m(ctypes.c_size_t(40)), 40)) - {0xcd, 0xcb}) == 0)")
    return subprocess.call([sys.executable, *options, "-c", ours], env=dict(os.environ, **environment)) == 1


def check_development_mode():
    assert has_debug_hooks("-I", "-Xdev"), "hooks of development mode under -I"
    modes = [has_debug_hooks(), has_debug_hooks("-X", "dev"), has_debug_hooks("-bXdev"), has_debug_hooks(PYTHONDEVMODE="1"),
             has_debug_hooks("-X", "dev", PYTHONMALLOC="malloc"), has_debug_hooks("-X", "utf8", "-c", "pass", "-X", "dev")]
    assert modes == [False, True, True, True, False, False], "hooks of development mode: %s" % modes
    assert not serves_objects_itself(PYTHONDEVMODE="1"), "objects live in pymalloc in development mode"


def check_preload(library):
    with open("/proc/self/maps") as maps:
        assert library in maps.read(), "the preload is not mapped"
    free_threaded = "t" in sys.abiflags     # such a build refuses any other allocator
    assert free_threaded or not serves_objects_itself(), "objects live in pymalloc, not in malloc"
    assert free_threaded or not serves_objects_itself(PYTHONMALLOC=""), "an empty PYTHONMALLOC is taken for a choice"
    assert free_threaded or serves_objects_itself(PYTHONMALLOC="pymalloc"), "the user's choice is not kept"
    said = said_of_objects(), said_of_objects("-I")
    assert free_threaded or said == ("malloc", "malloc since its first arena"), said
    assert free_threaded or not serves_objects_itself("-I"), "objects live in pymalloc under -I"
    assert free_threaded or not serves_objects_itself("-Es"), "objects live in pymalloc under -E"
    assert serves_objects_itself("-E", PYTHONMALLOC="pymalloc") or free_threaded, "the user's choice is not kept under -E"
    assert serves_objects_itself("-I", LOWTIDE_PYTHON="off") or free_threaded, "LOWTIDE_PYTHON=off is not kept under -I"
    if not free_threaded and sys.version_info >= (3, 7):
        check_development_mode()


def check_no_trace():
    assert "PYTHONMALLOC" not in os.environ
    child = subprocess.Popen(["env"], stdout=subprocess.PIPE)
    assert b"PYTHONMALLOC" not in child.communicate()[0], "PYTHONMALLOC leaks into children"


def main():
    library = os.environ.get("CASE_LIB")
    if library:
        check_preload(library)
    check_no_trace()
    print("%d.%d" % sys.version_info[:2], *work())
    fork_child = os.fork()
    if fork_child == 0:
        os._exit(len(build(3000)) % 256)
    print("forked child ended with", os.waitpid(fork_child, 0)[1] >> 8)
    print("ctypes", ctypes.string_at(b"works"))


main()
