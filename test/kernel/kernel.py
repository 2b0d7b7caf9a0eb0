"""Kernels with pages of 64 or 16 KiB, booted under qemu-system (machine.py): the library's directory names the machine, and holds
its kernel. One line a case, exit code 1 when one failed.

usage: kernel.py --library DIRECTORY/MACHINE/liblowtide.so --programs DIRECTORY/MACHINE/test [--only TEXT] [--without-preload]
"""
import os
import re
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.dont_write_bytecode = True
sys.path[:0] = [os.path.join(HERE, "..", d) for d in ("", "faults", "traps", "pages", "kernel")]
import cases  # noqa: E402
import pages  # noqa: E402
from cases import check  # noqa: E402
from machine import Ended, Late, Machine  # noqa: E402
from pages import CHECKED, ENDS, SIZES  # noqa: E402
from traps import PYTHON_WORK  # noqa: E402

KIB = {"powerpc64le": 64, "aarch64": 16}
MACHINE_S = 1800
# The library says that it is there, which most programs of ours do well without.
TOLD = {"LOWTIDE_VERBOSE": "1"}

PYTHON_HEAP = """
import sys
def resident():
    return next(int(line.split()[1]) for line in open('/proc/self/smaps_rollup') if line.startswith('Rss:'))
def build():
    return [[str(i), {'number': i}, i * 1.5] for i in range(100000)], [bytearray(300000) for i in range(40)]
start, seen = resident(), []
for step in 0, 1000:
    rows, buffers = build()
    print(sum(len(row[0]) + row[2] for row in rows), len(buffers))
    seen.append(resident())
    kept = rows[::step] if step else None
    del rows, buffers
    seen.append(resident())
print(start, *seen, file=sys.stderr)
"""


class Runner(pages.Runner):
    name = "kernel"
    timeout_s = 300

    def __init__(self, options):
        super().__init__(options)
        self.directory = os.path.dirname(options.library)
        self.kind = os.path.basename(self.directory)
        self.machine = Machine(self.directory, self.kind, MACHINE_S)

    def stop(self):
        self.machine.stop()
        super().stop()

    def there(self, text):
        """A path of the machine's."""
        return str(text).replace(self.directory, "/lowtide")

    def run(self, *command, kib=None, preload=None, timeout=None, **variables):
        libraries, seconds = self.libraries(preload), timeout or self.timeout_s
        settings = {"PATH": "/usr/bin", "HOME": "/tmp", **variables}
        if libraries:
            settings["LD_PRELOAD"] = " ".join(map(self.there, libraries))
        command = [self.there(word) for word in self.command(command)]
        try:
            done = subprocess.CompletedProcess(command, *self.machine.run(command, settings, seconds))
        except Late:
            raise subprocess.TimeoutExpired(command, seconds) from None
        except Ended as e:
            check(False, str(e))
        return self.told(done) if preload != [] and settings.get("LOWTIDE_VERBOSE") else done

    def told(self, done):
        """Without what LOWTIDE_VERBOSE=1 says, which must be the page's size."""
        said = re.compile(r"lowtide: (?:memory|[0-9.]+ in .*: OS page ([0-9]+))")
        lines = [(said.match(line), line) for line in done.stderr.splitlines(True)]
        told = {match.group(1) for match, _ in lines if match} - {None}
        check(told == {str(KIB[self.kind] << 10)}, f"the library {'says pages of ' + ' '.join(told) if told else 'is not there'}")
        done.stderr = "".join(line for match, line in lines if not match)
        return done

    def page(self):
        page_bytes, name, release = self.machine.booted()
        check(page_bytes == KIB[self.kind] << 10, f"a page of {page_bytes} bytes")
        return f"{release}, {name}, {page_bytes} bytes"

    def same_in_python(self, text, **variables):
        """What python prints with and without the library; returns what it said on stderr under the library."""
        plain = self.run("/usr/bin/python3", "-c", text, preload=[])
        done = self.run("/usr/bin/python3", "-c", text, **TOLD, **variables)
        check((done.returncode, done.stdout) == (0, plain.stdout), f"ended with {done.returncode}: {done.stdout!r} {done.stderr[-300:]!r}")
        check(plain.returncode == 0 and plain.stdout, f"ended without the library with {plain.returncode}: {plain.stderr[-300:]!r}")
        return done.stderr, plain.stderr

    def python(self, **variables):
        said, _ = self.same_in_python(PYTHON_WORK, **variables)
        check(not said, f"said {said!r}")

    def python_heap(self):
        said, plain = ([int(n) for n in text.split()] for text in self.same_in_python(PYTHON_HEAP))
        start, built, dropped, rebuilt, kept = said
        check(dropped - start < (built - start) / 10, f"KiB resident: {said}")
        check(kept - start < (rebuilt - start) / 2, f"KiB resident: {said}")
        megabytes = ["/".join(str(round(n * 1024 / 1e6)) for n in numbers) for numbers in (said, plain)]
        return f"MB at start/built/dropped/built/1 in 1,000 kept: {megabytes[0]}, without the library {megabytes[1]}"


def programs(r):
    yield "the page", r.page
    for threads, operations in (1, 20000), (4, 5000):
        command = ("model", "-t", threads, "-n", operations)
        yield f"model-based random test, {threads} threads", lambda c=command: r.ours(*c, last="operations=", preload=[])
    listed = [("matrix",), ("matrix", "small-stack"), ("limits", "moved", 1000), ("limits", "regrown", 200), ("heap", "huge"), ("rules",),
              ("pending",), ("forks", "churn", 50), ("forks", "nested", 10)] + [("ends", how) for how in ENDS]
    listed += [("bound", tier, 1, how) for tier in ("small", "mixed") for how in ("ramp", "churn")] + [("bound", "mixed", 3, "churn")]
    for command in listed:
        yield " ".join(map(str, command)), lambda c=command: r.ours(*c, **TOLD)
    for command in ("matrix", "small-stack"), ("limits", "regrown", 100):
        yield " ".join(map(str, command)) + " with LOWTIDE_CHECK=2", lambda c=command: r.ours(*c, **TOLD, **CHECKED)
    hooks = [r.options.library, r.path("hooks.so")]
    yield "matrix with lazy allocating wrappers", lambda: r.ours("matrix", preload=hooks, **TOLD)
    yield "python", r.python
    yield "python with LOWTIDE_CHECK=2", lambda: r.python(**CHECKED)
    yield "python's heap", r.python_heap
    for name in ("marks", "null", "errno"):
        yield "lookalike " + name, lambda n=name: r.lookalike(n, **TOLD)
    yield "lookalike foreign", lambda: r.lookalike("foreign", r.there(r.path("library.so")), **TOLD)
    yield "an access behind a buffer", lambda: r.page_behind(None)


def misuses(r):
    for size in SIZES:
        yield from r.misuses(None, size)


def named(group):
    def cases_of(r):
        for name, body in group(r):
            yield f"{r.kind}, pages of {KIB[r.kind]} KiB: {name}", body
    return cases_of


if __name__ == "__main__":
    cases.main(Runner, [(named(programs), 1), (named(misuses), 2)])
