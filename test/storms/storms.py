"""Storms of processes, threads and signals under the preloaded library: one line a case, exit code 1 when one failed.

usage: storms.py --library LIB --programs DIRECTORY [--only TEXT] [--without-preload] [--seconds N [--seed N]]

Each program has a watchdog, by which a hang ends with a stack of every thread, as does each of its children; and none may say
anything on stderr. --seconds: the long form, which repeats all storms with new seeds for so long, and tells what was made in lines forks=N and so on.
"""
import collections
import itertools
import os
import re
import subprocess
import sys
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(HERE))
import cases  # noqa: E402
from cases import PYTHON, Failed, check  # noqa: E402

TALLY = re.compile(r"\b(forks|threads|exits|signals)=(\d+)")
VARIANTS = ({"LOWTIDE_CHECK": "2"}, {"LOWTIDE_HOUSEKEEP": "thread"}, {"LOWTIDE_PROFILE": "tight"})
# (command, rounds in the short form). Each takes its rounds and the first round's number or a seed.
STORMS = (
    ("processes many", 120), ("processes quick", 400), ("processes handler", 50), ("processes exit", 40), ("processes daemon", 40),
    ("processes raw", 40), ("processes shared", 200), ("processes spawn", 60), ("threads churn", 10000), ("threads small", 40), ("threads opening", 100),
    ("threads stacks", 60), ("leaving", 160), ("signals", 6000),
)
LONG = (("processes quick", 10000), ("forks churn", 200)) + STORMS     # of "forks churn" the short form is in test/traps
PYTHON_STORMS = ("fork", "spawn", "futures", "commands")


class Runner(cases.Runner):
    name = "storms"
    timeout_s = 930     # beyond the programs' own

    def __init__(self, options):
        super().__init__(options)
        self.made, self.lock = collections.Counter(), threading.Lock()   # of the long form

    def well(self, *command, **how):
        done = self.run(*command, **how)
        said = (done.stdout[-300:] + done.stderr[-3000:]).strip()
        check(done.returncode == 0 and done.stdout.endswith("ok\n"), f"ended with {done.returncode}: {said}")
        check(not done.stderr, f"said {done.stderr[:300]!r}")
        return done.stdout

    def storm(self, command, rounds, first, **variables):
        """What it made, and what else it printed."""
        printed = self.well(*command.split(), rounds, first, **variables)
        made = collections.Counter({what: int(n) for what, n in TALLY.findall(printed)})
        check(sum(made.values()), f"counted nothing: {printed!r}")
        return made, "; ".join(printed.splitlines()[:-2])

    def short(self, command, rounds, **variables):
        made, said = self.storm(command, rounds, 1, **variables)
        return "; ".join(filter(None, [", ".join(f"{n} {what}" for what, n in made.items() if n), said]))

    def python(self, which, **variables):
        self.well(PYTHON, os.path.join(HERE, "storm.py"), which, **variables)

    def stop(self):
        for what, n in self.made.items():
            print(f"{what}={n}")
        self.made.clear()
        super().stop()

    def long(self, seconds, worker):
        """One of two workers: storm after storm, every other time with options. One begins with the first, the other anywhere."""
        end, began_with = time.monotonic() + seconds, next(self.seeds)
        storms = itertools.islice(itertools.cycle(LONG), began_with % len(LONG) if worker > 1 else 0, None)
        for seed in itertools.count(began_with, 2):
            if time.monotonic() > end:
                return ""
            command, rounds = next(storms)
            variables = VARIANTS[seed // 2 % len(VARIANTS)] if seed // 2 % 2 else {}
            try:
                result, _ = self.storm(command, rounds, seed * 1000, **variables)
            except (Failed, subprocess.TimeoutExpired) as e:
                raise Failed(f"{command} {rounds} {seed * 1000} {variables}: {e}") from e
            with self.lock:
                self.made.update(result)


def short_cases(r):
    for command, rounds in STORMS:
        yield command, lambda c=command, n=rounds: r.short(c, n)
    for variables in VARIANTS:
        said = " ".join(f"{k}={v}" for k, v in variables.items())
        for command, rounds in STORMS:
            if command in ("processes many", "processes raw", "threads churn", "leaving", "signals"):
                yield f"{command}, {said}", lambda c=command, n=rounds // 4, v=variables: r.short(c, n, **v)
    for which in PYTHON_STORMS:
        yield f"python: {which}", lambda w=which: r.python(w)
    yield "python: fork, pymalloc", lambda: r.python("fork", LOWTIDE_PYTHON="off")
    yield "python: futures, LOWTIDE_HOUSEKEEP=thread", lambda: r.python("futures", LOWTIDE_HOUSEKEEP="thread")


def long_cases(r):
    r.seeds = itertools.count(r.options.seed or int(time.time()) % 100000)
    for worker in (1, 2):
        yield f"storms for {r.options.seconds} s, worker {worker}", lambda w=worker: r.long(r.options.seconds, w)


def all_cases(r):
    yield from long_cases(r) if r.options.seconds else short_cases(r)


if __name__ == "__main__":
    cases.main(Runner, [(all_cases, 2)], seconds=0, seed=0)
