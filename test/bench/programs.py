"""The programs of the suite: what they are called, how they are started, and what they need.

Each has a name, a line about it, and `job(scale, directory)`, which prepares what it reads in a scratch directory and
gives the command; the scale is in percent of the full one.
"""
import pathlib
import subprocess
from dataclasses import dataclass, field
from typing import Callable, Dict, List, Optional

from allocators import HERE, PYTHON, program

SUITE = HERE / "suite"


@dataclass
class Job:
    command: List
    stdin: Optional[pathlib.Path] = None
    # Works with a program that does not end by itself, while it runs; gives figures that replace those of its life.
    drive: Optional[Callable] = None
    # Raises Failed when the column's allocator would not be at work; for programs that link one themselves.
    check: Callable = lambda env: None
    env: Dict = field(default_factory=dict)


@dataclass
class Program:
    name: str
    about: str
    kind: str                               # "C", "Python" or "real"
    job: Callable
    lacks: Callable = lambda: None          # what is not installed
    note: Callable = lambda: None           # what to know about its figures
    adapt: Callable = lambda environments: environments


# --- C ----------------------------------------------------------------------------------------

SHAPES = (
    ("tiny", "tiny objects that live shortly", "tiny"),
    ("trees", "trees built and torn down", "trees"),
    ("lifo", "last in, first out", "lifo"),
    ("fifo-single", "a deep queue of one size", "fifo", "single"),
    ("fifo-mixed", "a deep queue of mixed sizes", "fifo", "mixed"),
    ("random-100k", "random replacement among 100,000", "random", 100000, 10000000),
    ("random-2m", "random replacement among 2,000,000", "random", 2000000, 5000000),
    ("handoff-1-single", "a producer and a consumer, one by one", "handoff", 1, "single"),
    ("handoff-1-batch", "a producer and a consumer, in batches", "handoff", 1, "batch"),
    ("handoff-2-single", "two producers and two consumers, one by one", "handoff", 2, "single"),
    ("handoff-2-batch", "two producers and two consumers, in batches", "handoff", 2, "batch"),
    ("generations", "16 threads that hand their blocks on", "generations"),
    ("spawn", "thousands of short threads", "spawn"),
    ("sharing-active", "neighbours' small blocks, own allocations", "sharing", "active"),
    ("sharing-passive", "neighbours' small blocks, handed over", "sharing", "passive"),
    ("grow-bytes", "realloc byte by byte", "grow", "bytes"),
    ("grow-double", "realloc to twice the size", "grow", "double"),
    ("grow-large", "realloc up to 64 MB", "grow", "large"),
    ("zeroed-small", "calloc of small blocks", "zeroed", "small"),
    ("zeroed-large", "calloc of large blocks", "zeroed", "large"),
    ("lognormal", "log-normal sizes and lifetimes", "lognormal"),
    ("large", "buffers of 100 KB to 16 MB", "large"),
    ("store", "a key-value store", "store"),
    ("server", "a server with a tide of load", "server"),
    ("text", "strings split, joined, replaced", "text"),
)


def c_program(name, about, executable, *arguments):
    path = program(f"suite/{executable}")
    return Program(name, about, "C", lambda scale, directory: Job([path, scale, *arguments]))


# --- Python -----------------------------------------------------------------------------------

PYTHON_JOBS = (
    ("objects", "objects that come and go"),
    ("json", "documents written and read"),
    ("regex", "text searched, split and replaced"),
    ("trees", "trees built and torn down"),
    ("dicts", "dictionaries filled and emptied"),
    ("strings", "strings split, joined, formatted"),
)
ARRAY_JOBS = (
    ("numpy", "phases of arrays, small and large"),
    ("pandas", "phases of tables: grouped, joined, sorted"),
)


def lacks_module(name):
    has = subprocess.run([PYTHON, "-c", f"import {name}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return f"{PYTHON} has no {name}" if has.returncode else None


def python_program(name, about, file, lacks=lambda: None):
    return Program(f"python-{name}", f"Python: {about}", "Python",
                   lambda scale, directory: Job([PYTHON, SUITE / file, name, scale],
                                                env={"PYTHONHASHSEED": "0"}), lacks)


def all_programs():
    from real import real_programs
    return ([c_program(*shape) for shape in SHAPES] +
            [python_program(name, about, "jobs.py") for name, about in PYTHON_JOBS] +
            [python_program(name, about, "arrays.py", lambda name=name: lacks_module(name))
             for name, about in ARRAY_JOBS] +
            real_programs())
