"""Seeded faults: each is put into a copy of the tree, and some test must catch it.

The tables are faults_core.py and faults_other.py. A copy is built incrementally; the suites run, the nearest to the file first and
then from the cheapest on, until one fails or does not end. A fault that no suite catches has survived, which is a gap in the tests:
it fails the run, as does one whose old text is not in its file exactly once, or that does not build. Before a suite is believed for
the first time, it must pass in the same copy without the fault.

usage: test/mutants/mutants.py [--only NAME] [--jobs N] [--suites NAME,NAME]
"""
import argparse
import os
import queue
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import faults_core
import faults_other

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
COPIED = ("Makefile", "core", "trim-policy", "preload", "scripts", "test", "README.md", "build")
LIBRARY = "build/liblowtide.so"
BUILD_LIMIT_S = 600

UNIT = "build/test/unit --jobs 2 --fail-fast"
MODEL = "build/test/model -n 1000000 -v 100000 -s 7 && build/test/model -t 2 -n 300000 -s 7 && build/test/model -t 8 -n 100000 -s 7"


def traps(text):
    return f"make -s trap-tests TRAP_ARGS='--only \"{text}\"'"


# (name, what has to be built, command, seconds it may take), the cheapest first. The unit tests do not link preload/.
SUITES = [
    ("unit", "build/test/unit", UNIT, 400),
    ("faults", LIBRARY, "make -s fault-tests", 180),
    ("model", "build/test/model", MODEL, 120),
    ("traps: matrix", LIBRARY, traps("every allocating"), 90),
    ("traps: refusals", LIBRARY, traps("refusals"), 60),
    ("traps: seccomp", LIBRARY, traps("seccomp"), 180),
    ("traps: mmap family", LIBRARY, traps("mmap family"), 60),
    ("traps: threads of a child", LIBRARY, traps("threads of a forked child"), 60),
    ("traps: what is believed", LIBRARY, traps("what is believed"), 90),
    ("traps: fork", LIBRARY, traps("fork"), 1200),
    ("traps: locked", LIBRARY, traps("locked"), 90),
    ("traps: patched", LIBRARY, traps("patched"), 60),
    ("sleep", LIBRARY, "make -s sleep-tests", 900),
    ("live", LIBRARY, "make -s live-tests", 180),
    ("traps", LIBRARY, "make -s trap-tests", 1500),
    ("unit-asan", "build/test/unit-asan", f"ASAN_OPTIONS=detect_leaks=0 {UNIT.replace('unit', 'unit-asan', 1)}", 300),
    ("unit-tsan", "build/test/unit-tsan",
     f"TSAN_OPTIONS=halt_on_error=1:exitcode=66 {UNIT.replace('unit', 'unit-tsan', 1)}", 300),
    ("stress", "build/test/model build/test/model-asan build/test/model-tsan", "make -s stress-tests", 600),
]
# The suite that is tried first for faults of a file, where it is not the cheapest.
NEAREST = {"preload/sleep.c": "sleep", "preload/sleep_split.c": "sleep", "preload/init.c": "traps: threads of a child",
           "preload/malloc.c": "traps: refusals", "preload/filter.c": "traps: seccomp", "preload/mman.c": "traps: mmap family",
           "preload/batch.c": "traps: patched"}
ONLY_CORE_AND_POLICY = ("unit", "model", "unit-asan", "unit-tsan", "stress")


class Unusable(Exception):
    """The table, or the tree without a fault, is at fault itself."""


def first_failure(output):
    """What the suite said of the first test that failed."""
    for pattern in (r"^\[(?:FAIL|CRSH|TIME)\] ([\w:]+)", r"^\[----\] .*?(\w+\.[ch]:\d+)", r"^FAIL +(.*)", r"^(.*(?:lowtide: |FAULT|FAIL).*)"):
        found = re.search(pattern, output, re.M)
        if found:
            return found.group(1)[:100]
    lines = output.strip().splitlines()
    return lines[-1][:100] if lines else "no word"


class Tree:
    """A copy of the tree, in which one fault at a time is made."""

    def __init__(self, directory):
        self.directory = directory
        os.makedirs(directory)
        self.environment = {k: v for k, v in os.environ.items()
                            if not k.startswith(("LOWTIDE_", "LD_", "MAKE", "MFLAGS", "BUILD"))}
        for name in COPIED:
            source, target = os.path.join(ROOT, name), os.path.join(directory, name)
            if os.path.isdir(source):
                shutil.copytree(source, target, symlinks=True, ignore=shutil.ignore_patterns("__pycache__", "results"))
            elif os.path.exists(source):
                shutil.copy2(source, target)

    def run(self, command, limit_s):
        """(well, output); a command that does not end is not well."""
        with tempfile.TemporaryFile() as log:
            child = subprocess.Popen(["bash", "-c", command], cwd=self.directory, env=self.environment, stdin=subprocess.DEVNULL,
                                     stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
            late = ""
            try:
                child.wait(limit_s)
            except subprocess.TimeoutExpired:
                late = f"FAIL did not end within {limit_s} s\n"
            try:
                os.killpg(child.pid, signal.SIGKILL)   # what it has left behind, too
            except ProcessLookupError:
                pass
            child.wait()
            log.seek(0)
            output = log.read().decode(errors="replace")
        return child.returncode == 0 and not late, late + output

    def try_suite(self, suite):
        name, targets, command, limit_s = suite
        well, output = self.run(f"make -s {targets}", BUILD_LIMIT_S)
        if not well:
            raise Unusable(f"does not build: {first_failure(output)}\n{output[-2000:]}")
        return self.run(command, limit_s)

    def change(self, file, old, new):
        path = os.path.join(self.directory, file)
        with open(path) as f:
            text = f.read()
        if text.count(old) != 1:
            raise Unusable(f"the old text is in {file} {text.count(old)} times instead of once: {old!r}")
        with open(path, "w") as f:
            f.write(text.replace(old, new))
        return path, text


class Run:
    def __init__(self, faults, suites):
        self.suites = suites
        self.queue = queue.Queue()
        for fault in faults:
            self.queue.put(fault)
        self.lock = threading.Lock()
        self.vouched = set()        # suites that passed without a fault
        self.caught = self.survived = 0
        self.unusable = []

    def vouch(self, tree, suite):
        if suite[0] in self.vouched:
            return
        well, output = tree.try_suite(suite)
        if not well:
            raise Unusable(f"{suite[0]} fails without a fault, too: {first_failure(output)}")
        self.vouched.add(suite[0])

    def catcher(self, tree, fault):
        """What caught it, or None."""
        _, file, old, new, _ = fault
        path, text = tree.change(file, old, new)
        try:
            for suite in sorted(self.suites, key=lambda suite: suite[0] != NEAREST.get(file)):
                if file.startswith("preload/") and suite[0] in ONLY_CORE_AND_POLICY:
                    continue
                well, output = tree.try_suite(suite)
                if not well:
                    break
            else:
                return None
        finally:
            with open(path, "w") as f:
                f.write(text)
        self.vouch(tree, suite)
        return f"{suite[0]}: {first_failure(output)}"

    def judge(self, tree, fault):
        name, file, breaks, began = fault[0], fault[1], fault[4], time.monotonic()
        try:
            by = self.catcher(tree, fault)
        except Unusable as e:
            with self.lock:
                self.unusable.append(name)
                print(f"FAIL  {name}: {e}", flush=True)
            return
        took = f"({time.monotonic() - began:.0f} s)"
        with self.lock:
            if by:
                self.caught += 1
                print(f"ok    {name} ({file}): caught by {by} {took}", flush=True)
            else:
                self.survived += 1
                print(f"FAIL  {name} ({file}) survived: {breaks} {took}", flush=True)

    def work(self, directory):
        tree = Tree(directory)
        while True:
            try:
                fault = self.queue.get_nowait()
            except queue.Empty:
                return
            self.judge(tree, fault)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", action="append", help="faults whose name contains this; may be given several times")
    parser.add_argument("--suites", default="", help="these suites alone, separated by commas")
    parser.add_argument("--jobs", type=int, default=1, help="faults at a time, each in a copy of its own")
    options = parser.parse_args()
    everything = faults_core.FAULTS + faults_other.FAULTS
    names = [fault[0] for fault in everything]
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        sys.exit(f"mutants: named twice: {', '.join(sorted(twice))}")
    faults = [fault for fault in everything if not options.only or any(text in fault[0] for text in options.only)]
    if not faults:
        sys.exit(f"mutants: no fault is named like {' or '.join(options.only)}")
    run = Run(faults, [s for s in SUITES if not options.suites or s[0] in options.suites.split(",")])
    with tempfile.TemporaryDirectory(prefix="lowtide-mutants.") as scratch:
        workers = [threading.Thread(target=run.work, args=(os.path.join(scratch, str(n)),), daemon=True)
                   for n in range(max(1, min(options.jobs, len(faults))))]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
    unusable = f", {len(run.unusable)} not tried: {', '.join(run.unusable)}" if run.unusable else ""
    print(f"mutants: {run.caught} caught, {run.survived} survived{unusable}")
    sys.exit(0 if run.caught == len(faults) else 1)


if __name__ == "__main__":
    main()
