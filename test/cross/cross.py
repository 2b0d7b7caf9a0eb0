"""Other machines, emulated by qemu-user: the library's directory names the machine. One line a case, exit code 1 when one failed.

usage: cross.py --library DIRECTORY/MACHINE/liblowtide.so --programs DIRECTORY/MACHINE/test [--only TEXT] [--without-preload]

What the emulator holds itself is resident in the same process, so that nothing is measured here, and it cannot fork a program with
threads. It knows other pages than the machine's, but then maps some requests at odd places: see test/pages.
"""
import os
import signal
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.dont_write_bytecode = True
sys.path[:0] = [os.path.dirname(HERE), os.path.join(os.path.dirname(HERE), "faults")]
import cases  # noqa: E402
import faults  # noqa: E402
from cases import check  # noqa: E402

EMULATORS = {"powerpc64le": "qemu-ppc64le"}
ENDS = ("keys", "atexit", "detached", "pthread-exit", "cancel", "remote")
SIZES = (100, 3000, 200000)
# There a buffer grows in its place, so that its old address is no mistake.
NOT_EMULATED = [("double-realloc", 200000)]


class Runner(faults.Runner):
    name = "cross"
    tells_time = True

    def __init__(self, options):
        super().__init__(options)
        self.machine = os.path.basename(os.path.dirname(options.library))

    def run(self, *command, preload=None, **how):
        """The library is the emulated loader's to preload, not the emulator's."""
        variables = {k: how.pop(k) for k in list(how) if k.isupper()}
        libraries = self.libraries(preload)
        if libraries:
            variables["LD_PRELOAD"] = " ".join(libraries)
        settings = ",".join(f"{k}={v}" for k, v in variables.items())
        emulator = EMULATORS.get(self.machine, "qemu-" + self.machine)
        started = ["/usr/bin/" + emulator, "-L", f"/usr/{self.machine}-linux-gnu"]
        started += ["-E", settings] if settings else []
        done = super().run(*started, *self.command(command), preload=[], **how)
        done.stderr = "".join(l for l in done.stderr.splitlines(True) if not l.startswith("qemu: uncaught target signal"))
        return done

    def path(self, name):
        return next(p for p in (os.path.join(self.options.programs, d, name) for d in ("", "traps", "faults")) if os.path.exists(p))

    def ours(self, *command, last="ok", **how):
        done = self.run(*command, **how)
        check(done.returncode == 0 and not done.stderr, f"ended with {done.returncode}: {(done.stdout[-200:] + done.stderr[-300:]).strip()}")
        check(done.stdout.splitlines()[-1].startswith(last), f"printed {done.stdout[-300:]!r}")

    def page_behind(self):
        done = self.run("misuse", "overflow-page", 200000, LOWTIDE_CHECK="2")
        check((done.returncode, done.stderr) == (-signal.SIGSEGV, ""), f"ended with {done.returncode}: {done.stderr!r}")


def misuse_of(size):
    listed = list(faults.double_cases()) + list(faults.pointer_cases())
    return [case for case in listed if case[1] == size and case[:2] not in NOT_EMULATED]


def programs(r):
    for threads, operations in ((1, 20000), (4, 5000)):
        command = ("model", "-t", threads, "-n", operations, "-v", operations // 2)
        yield f"model-based random test, {threads} threads", lambda c=command: r.ours(*c, last="operations=", preload=[])
    for variables in ({}, {"LOWTIDE_CHECK": "2"}):
        with_check = " with LOWTIDE_CHECK=2" * bool(variables)
        for command in ("matrix",), ("matrix", "small-stack"), ("limits", "moved", 1000), ("limits", "regrown", 200):
            yield " ".join(map(str, command)) + with_check, lambda c=command, v=variables: r.ours(*c, **v)
    for how in ENDS:
        yield "ends " + how, lambda h=how: r.ours("ends", h)
    yield "pending", lambda: r.ours("pending")
    hooks = [r.options.library, r.path("hooks.so")]
    yield "matrix with lazy allocating wrappers", lambda: r.ours("matrix", preload=hooks)
    for name in ("marks", "null", "errno"):
        yield "lookalike " + name, lambda n=name: r.lookalike(n)
    yield "lookalike foreign", lambda: r.lookalike("foreign", r.path("library.so"))
    yield "an access behind a buffer", r.page_behind


def all_cases(r):
    listed = list(programs(r)) + [(f"{kind} {size}", lambda c=(kind, size, words): r.misuse(*c))
                                  for size in SIZES for kind, size, words in misuse_of(size)]
    for name, body in listed:
        yield f"{r.machine}: {name}", body


if __name__ == "__main__":
    cases.main(Runner, [(all_cases, os.cpu_count())])
