"""What figures.py and suite.py share: the allocators, the environments they run in, and their output.

    LOWTIDE_LIB           the library; build/liblowtide.so
    LOWTIDE_BENCH_DIR     where the compiled programs are; build/bench
    LOWTIDE_BENCH_PYTHON  the interpreter that is measured; the system's
"""
import glob
import json
import os
import pathlib
import re
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
REPO = HERE.parent.parent
RESULTS = REPO / "bench" / "results"
LOWTIDE = os.path.realpath(os.environ.get("LOWTIDE_LIB") or REPO / "build" / "liblowtide.so")
PYTHON = os.environ.get("LOWTIDE_BENCH_PYTHON") or (
    "/usr/bin/python3" if os.path.exists("/usr/bin/python3") else sys.executable)
STOCK_PYTHON = "pymalloc (stock)"


class Failed(Exception):
    """A run that does not count, and why."""


def find_library(pattern):
    found = sorted(glob.glob(f"/usr/lib/*/{pattern}") + glob.glob(f"/usr/lib/{pattern}"))
    return os.path.realpath(found[0]) if found else None


def find_allocators():
    """Name -> library to preload; glibc needs none."""
    peers = {
        "jemalloc": find_library("libjemalloc.so.2"),
        "mimalloc": find_library("libmimalloc.so.*"),
        "tcmalloc": find_library("libtcmalloc_minimal.so.4"),
    }
    installed = {name: library for name, library in peers.items() if library}
    return {"glibc": None, **installed, "lowtide": LOWTIDE}


def without_preload(env):
    return {k: v for k, v in env.items() if k != "LD_PRELOAD"}


def environment(library, **extra):
    env = {k: v for k, v in without_preload(os.environ).items() if k != "PYTHONMALLOC"}
    if library:
        env["LD_PRELOAD"] = library
    return {**env, **extra}


def check_active(name, library):
    """ld.so only prints a line when it cannot preload, and goes on without."""
    maps = subprocess.run(["cat", "/proc/self/maps"], env=environment(library),
                          stdout=subprocess.PIPE, text=True, check=True).stdout
    if library and library not in maps:
        sys.exit(f"{name} is not active: {library} is not mapped")


def python_environments():
    """Peers see Python's objects only when told to; lowtide sees to it itself."""
    allocators = find_allocators()
    columns = {STOCK_PYTHON: environment(None)}
    for name, library in allocators.items():
        extra = {} if name == "lowtide" else {"PYTHONMALLOC": "malloc"}
        columns[name] = environment(library, **extra)
    return columns


def program(name):
    directory = os.environ.get("LOWTIDE_BENCH_DIR") or REPO / "build" / "bench"
    return str(pathlib.Path(directory).resolve() / name)


def key_values(text):
    return {key: float(value) for key, value in re.findall(r"^(\w+)=(\S+)$", text, re.M)}


def write_json(name, content):
    """To the results in one step, so that an interrupted run leaves no half of a file."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    part = RESULTS / f"{name}.json.part"
    part.write_text(json.dumps(content, indent=1) + "\n")
    part.replace(RESULTS / f"{name}.json")
