"""Kernels with pages of 64 KiB, and in short of 16, by a library behind the allocator that refuses what they would (coarse.c). One
line a case, exit code 1 when one failed. Libc's own allocator keeps its pages, so that its blocks are not tried here.

usage: pages.py --library LIB --programs DIRECTORY [--only TEXT] [--without-preload]
"""
import os
import signal
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.dont_write_bytecode = True
sys.path[:0] = [os.path.join(HERE, "..", d) for d in ("", "faults", "traps")]
import cases  # noqa: E402
import faults  # noqa: E402
from cases import PYTHON, check  # noqa: E402
from traps import PYTHON_WORK  # noqa: E402

CHECKED = {"LOWTIDE_CHECK": "2"}
SIZES = (100, 3000, 200000)
ENDS = ("keys", "late", "atexit", "detached", "pthread-exit", "cancel", "remote")


class Runner(faults.Runner):
    name = "pages"
    tells_time = True
    timeout_s = 240

    def path(self, name):
        return next(p for p in (os.path.join(self.options.programs, d, name) for d in ("", "traps", "faults", "pages")) if os.path.exists(p))

    def run(self, *command, kib, preload=None, **how):
        libraries = [self.options.library] if preload is None else preload
        return super().run(*command, preload=libraries + [self.path(f"coarse{kib}.so")], **how)

    def ours(self, *command, last="ok", **how):
        done = self.run(*command, **how)
        check(done.returncode == 0, f"ended with {done.returncode}: {(done.stdout[-200:] + done.stderr[-300:]).strip()}")
        check(done.stdout.splitlines()[-1].startswith(last), f"printed {done.stdout[-300:]!r}")
        return "; ".join(done.stdout.splitlines()[:-1])

    def page_behind(self, kib):
        done = self.run("misuse", "overflow-page", 200000, kib=kib, **CHECKED)
        check((done.returncode, done.stderr) == (-signal.SIGSEGV, ""), f"ended with {done.returncode}: {done.stderr!r}")

    def python(self, kib, **variables):
        done = self.run(PYTHON, "-c", PYTHON_WORK, kib=kib, **variables)
        plain = cases.Runner.run(self, PYTHON, "-c", PYTHON_WORK, preload=[])
        check((done.returncode, done.stdout, done.stderr) == (0, plain.stdout, ""), f"ended with {done.returncode}: {done.stdout!r} {done.stderr[-300:]!r}")

    def misuses(self, kib, size, **variables):
        listed = [c for c in list(faults.double_cases()) + list(faults.pointer_cases()) if c[1] == size]
        return [(f"{kind} {size}", lambda c=(kind, size, words): self.misuse(*c, kib=kib, **variables)) for kind, size, words in listed]


def cases_of(r, kib):
    for threads, operations in ((1, 200000), (4, 50000)):
        command = ("model", "-t", threads, "-n", operations)
        yield f"model-based random test, {threads} threads", lambda c=command: r.ours(*c, last="operations=", preload=[], kib=kib)
    for variables in ({}, CHECKED):
        with_check = " with LOWTIDE_CHECK=2" * bool(variables)
        for command in ("matrix",), ("matrix", "small-stack"), ("limits", "moved", 3000), ("limits", "regrown", 500):
            yield " ".join(map(str, command)) + with_check, lambda c=command, v=variables: r.ours(*c, kib=kib, **v)
        yield "python" + with_check, lambda v=variables: r.python(kib, **v)
    for command in [("rules",), ("pending",), ("forks", "churn", 50), ("forks", "nested", 20)] + [("ends", how) for how in ENDS]:
        yield " ".join(map(str, command)), lambda c=command: r.ours(*c, kib=kib)
    for tier in ("small", "mixed"):
        for how in ("ramp", "churn"):
            yield f"bound from outside: {how} of {tier}", lambda c=("bound", tier, 1, how): r.ours(*c, kib=kib)
    for name in ("marks", "null", "errno"):
        yield "lookalike " + name, lambda n=name: r.lookalike(n, kib=kib)
    yield "an access behind a buffer", lambda: r.page_behind(kib)
    for size in SIZES:
        yield from r.misuses(kib, size)


def all_cases(r):
    for kib, words in (16, ("model", "matrix", "behind")), (64, ("",)):
        for name, body in cases_of(r, kib):
            if any(word in name for word in words):
                yield f"pages of {kib} KiB: {name}", body


if __name__ == "__main__":
    cases.main(Runner, [(all_cases, os.cpu_count())])
