"""What the Python drivers of suites share: cases are judged, each is told in a line, counts close; programs are run with the
library preloaded.

A case is (name, body). Its body returns what is worth telling, or nothing, and raises Failed or Skipped; or it is several
cases and returns [(line, is well)]. One whose name begins with INFORMATION counts only when it fails. Arguments of all drivers:

usage: DRIVER --library LIB --programs DIRECTORY [--only TEXT] [--without-preload]
"""
import argparse
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor

MIB = 1 << 20
INFORMATION = "for information: "

# The system's interpreter rather than a version manager's shell script in front of one.
PYTHON = "/usr/bin/python3" if os.path.exists("/usr/bin/python3") else sys.executable


class Failed(Exception):
    pass


class Skipped(Exception):
    """With the reason."""


def check(condition, text):
    if not condition:
        raise Failed(text)


def is_slow_machine():
    """Whether entering the kernel takes some ten times as long as on bare hardware, as under nested virtualization: a fork of this
    process then takes 7 ms instead of 0.7. Cases that look at moments run fewer at a time there."""
    forks = 20
    began = time.monotonic()
    for _ in range(forks):
        child = os.fork()
        if not child:
            os._exit(0)
        os.waitpid(child, 0)
    return (time.monotonic() - began) / forks > 0.0025


class Runner:
    """Runs programs; a driver's own has the cases' bodies."""
    name = ""
    drops = ("LOWTIDE_", "LD_", "PYTHON")   # variables that no program is to inherit
    timeout_s = 60
    tells_time = True

    def __init__(self, options):
        self.options = options
        self.scratch = tempfile.mkdtemp(prefix=f"lowtide-{self.name}.")

    def stop(self):
        """The run is over, or was interrupted and its cases go on; then it is called twice."""
        shutil.rmtree(self.scratch, ignore_errors=True)

    def path(self, name):
        return os.path.join(self.options.programs, name)

    def command(self, command):
        """It begins with a program of ours, or with a path."""
        return [c if i or "/" in c else self.path(c) for i, c in enumerate(str(c) for c in command)]

    def libraries(self, preload=None):
        """What is to be preloaded: the library alone, or `preload`, in that order."""
        libraries = [self.options.library] if preload is None else preload
        return [l for l in libraries if not (self.options.without_preload and l == self.options.library)]

    def environment(self, preload=None, **variables):
        kept = {k: v for k, v in os.environ.items() if not k.startswith(self.drops)}
        kept.update(variables)
        libraries = self.libraries(preload)
        if libraries:
            kept["LD_PRELOAD"] = " ".join(libraries)
        return kept

    def run(self, *command, preload=None, timeout=None, in_child=None, **variables):
        return subprocess.run(self.command(command), env=self.environment(preload, **variables), stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=timeout or self.timeout_s, text=True,
                              errors="replace", preexec_fn=in_child)

    def strace(self, what, *command, preload=None, timeout=240, typed=None, **variables):
        """Runs under strace; returns the program's output and the trace's lines."""
        check(shutil.which("strace"), "not installed: strace")
        trace = os.path.join(self.scratch, "trace-" + "-".join(command))
        variables["LD_PRELOAD"] = " ".join(self.libraries(preload))
        settings = [word for name, value in variables.items() for word in ("-E", f"{name}={value}")]
        done = subprocess.run(["strace", "-f", "-qq", "-e", "trace=" + what, *settings, "-o", trace, *self.command(command)],
                              input=typed, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=timeout)
        check(done.returncode == 0, f"ended with {done.returncode}: {done.stdout[-300:]} {done.stderr[-300:]}")
        with open(trace, errors="replace") as f:
            return done.stdout, f.read().splitlines()


def judge(case):
    """[(word, name, text, seconds)], mostly one; the words are ok, info, FAIL and skipped."""
    name, body = case
    began = time.monotonic()
    try:
        word, text = "info" if name.startswith(INFORMATION) else "ok", body()
        if isinstance(text, list):
            return [("ok" if well else "FAIL", line, "", None) for line, well in text]
    except Skipped as e:
        word, text = "skipped", str(e)
    except Failed as e:
        word, text = "FAIL", str(e)
    except subprocess.TimeoutExpired as e:
        word, text = "FAIL", f"did not end within {e.timeout:.0f} s"
    except Exception as e:  # a surprise in the check itself is a failure of the case, not of the run
        word, text = "FAIL", f"{type(e).__name__}: {e}"
    return [(word, name, text, time.monotonic() - began)]


def tell(word, name, text, seconds):
    if word == "skipped":
        print(f"skipped: {text} ({name})", flush=True)
    else:
        print(f"{word:4} {name}{': ' + text if text else ''}{'' if seconds is None else f' ({seconds:.1f} s)'}", flush=True)


def run_cases(runner, cases, workers):
    """Several at a time, told in order; returns [(word, text)]."""
    outcomes = []
    with ThreadPoolExecutor(workers) as pool:
        try:
            for results in pool.map(judge, cases):
                for word, name, text, seconds in results:
                    tell(word, name, text, seconds if runner.tells_time else None)
                    outcomes.append((word, text))
        except BaseException:           # before the pool waits for its threads
            runner.stop()
            raise
    return outcomes


def parse_arguments(numbers):
    parser = argparse.ArgumentParser()
    parser.add_argument("--library", required=True, type=os.path.abspath)
    parser.add_argument("--programs", required=True, type=os.path.abspath)
    parser.add_argument("--only", default="", help="cases whose name contains this")
    parser.add_argument("--without-preload", action="store_true")
    for name, default in numbers.items():
        parser.add_argument("--" + name, type=int, default=default)
    options = parser.parse_args()
    if not os.path.exists(options.library):
        sys.exit(f"{parser.prog}: no library at {options.library}")
    return options


def main(runner_class, groups, **numbers):
    """A driver's. groups: (what yields the cases of a runner, how many run at a time), one group after the other; numbers:
    the driver's own arguments with their defaults. Exit code 1 when a case failed, or none passed."""
    options = parse_arguments(numbers)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    runner, outcomes = runner_class(options), []
    try:
        for cases, workers in groups:
            outcomes += run_cases(runner, [case for case in cases(runner) if options.only in case[0]], workers)
    finally:
        runner.stop()
    count = {word: sum(1 for w, _ in outcomes if w == word) for word in ("ok", "FAIL", "skipped")}
    reasons = sorted({text for word, text in outcomes if word == "skipped"})
    skipped = f", {count['skipped']} skipped: {'; '.join(reasons)}" if reasons else ""
    print(f"{runner.name}: {count['ok']} passed, {count['FAIL']} failed{skipped}")
    sys.exit(1 if count["FAIL"] or not count["ok"] else 0)
