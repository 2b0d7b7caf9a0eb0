"""Misuse of the allocator, seen from outside: each mistake must end in one line on stderr and SIGABRT, each look-alike
must not, each bad option must be said once. One line a case; exit code 1 when one failed.

usage: faults.py --library LIB --programs DIRECTORY [--only TEXT] [--without-preload] [--stride N]

--stride: of the addresses inside large blocks every Nth is tried (101 unless told); 1 takes some minutes.

--without-preload runs the same without the library; nearly every case must then fail, which shows that the cases can.
"""
import os
import re
import signal
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(HERE))
import cases  # noqa: E402
from cases import check  # noqa: E402

LINE = re.compile(r"^lowtide: (.*): pointer (0x[0-9a-f]+) \(pid [0-9]+\)$")

SMALL = [24, 100, 512]
SLAB = [600, 3000, 20000, 100000]
OWN = [200000, 5 << 20]
SIZES = SMALL + SLAB + OWN

DOUBLE, INVALID, INTERIOR = "double free", "invalid free", "free of an interior pointer"
WRITTEN = "double free or write after free"
IN_REALLOC, IN_USABLE = "invalid pointer in realloc", "invalid pointer in malloc_usable_size"
# A block whose address space is gone is no longer known as lowtide's: either word is true of it.
GONE = (DOUBLE, INVALID)

NEVER_GIVEN = ["stack", "static", "text", "wild", "low", "odd", "noncanonical", "kernel", "above", "above-mapped", "last", "minus-one",
               "mapped", "unreadable", "environment"]
INSIDE = ["interior", "plus-one", "plus-eight", "middle", "end"]


# A double free is told at once, but where the page with the block's mark has gone back, and, unless it is of the block freed last, in
# a heap larger than the caches: then when the block would be handed out again, when it reaches its pool, or at exit. It is never
# in two hands.
LATE = {"double-trimmed-neighbour"}
AT_ONCE_IN_COLD = {"double", "double-cfree", "double-realloc-zero", "double-after-reuse", "double-aligned"}


def double_cases():
    kinds = ["double", "double-later", "double-between", "double-after-reuse", "double-thread", "double-after-thread",
             "double-realloc", "double-realloc-zero", "double-realloc-in-place", "double-race", "double-aligned", "double-cfree", "double-child"]
    for kind in kinds:
        for size in SIZES if kind != "double-after-reuse" else SMALL + SLAB:
            yield kind, size, GONE if size in OWN else (DOUBLE,)
    for size in SIZES:
        yield "double-trimmed", size, GONE
        yield "double-trimmed-neighbour", size, GONE if size in OWN else (DOUBLE,)
    for size in SMALL + SLAB:
        yield "double-overwritten", size, (DOUBLE, WRITTEN)


def pointer_cases():
    for name in NEVER_GIVEN:
        yield "free-" + name, 100, (INVALID,)
        yield "realloc-" + name, 100, (IN_REALLOC,)
        yield "realloc0-" + name, 100, (IN_REALLOC,)
        yield "reallocarray-" + name, 100, (IN_REALLOC,)
        yield "usable-" + name, 100, (IN_USABLE,)
        yield "sized-" + name, 100, (INVALID,)
    for size in SIZES:
        for name in INSIDE + (["next-page"] if size >= 20000 else []):
            yield "free-" + name, size, (INTERIOR,)
            yield "realloc-" + name, size, (IN_REALLOC,)
            yield "reallocarray-" + name, size, (IN_REALLOC,)
            yield "usable-" + name, size, (IN_USABLE,)
            yield "sized-" + name, size, (INTERIOR,)
        for name in ("freed-inside", "trimmed-inside"):
            yield "free-" + name, size, (INTERIOR, *GONE)
            yield "realloc-" + name, size, (IN_REALLOC,)
            yield "usable-" + name, size, (IN_USABLE,)
            yield "sized-" + name, size, (INTERIOR, *GONE)
        # To resize a freed block is to free it twice; either word is true.
        yield "realloc-freed", size, (IN_REALLOC, DOUBLE)
        yield "realloc0-freed", size, (IN_REALLOC, DOUBLE)
        yield "reallocarray-freed", size, (IN_REALLOC, DOUBLE)
        yield "usable-freed", size, (IN_USABLE,)
        yield "sized-freed", size, GONE if size in OWN else (DOUBLE,)
        yield "realloc-trimmed", size, (IN_REALLOC, DOUBLE)
        yield "usable-trimmed", size, (IN_USABLE,)
        yield "free-sized", size, ("sized free with a wrong size",)
        yield "free-aligned-sized", size, ("sized free with a wrong alignment",)
        yield "free-aligned-sized-more", size, ("sized free with a wrong size",)


# Only LOWTIDE_CHECK=2 sees these.
def checked_cases():
    for size in SIZES:
        for kind in ("overflow", "overflow-resized", "overflow-asked", "overflow-grown", "overflow-kept"):
            yield kind, size, ("write past the end of a block",)
        yield "write-after-begin", size, ("write after free",)
        if size not in OWN:
            yield "write-after", size, ("write after free",)
            yield "write-after-resize", size, ("write after free",)
        for kind in ("free-sized-more", "free-sized-less"):
            yield kind, size, ("sized free with a wrong size",)


# Where the line must come and SIGABRT end the process all the same.
PLACES = ["handler", "altstack", "thread-64k", "thread-min", "thread-end", "child", "blocked", "ignored", "handled"]
# Where the line cannot be written.
MUTE_PLACES = ["closed", "full", "full-blocking", "unread"]
PLACED = [("double", DOUBLE), ("free-wild", INVALID), ("free-interior", INTERIOR), ("realloc-wild", IN_REALLOC), ("usable-interior", IN_USABLE)]


class Runner(cases.Runner):
    name = "faults"
    tells_time = False

    def misuse(self, kind, size, words, place="", **variables):
        """The mistake must end as it should."""
        done = self.run("misuse", kind, size, place, **variables)
        check(done.returncode == -signal.SIGABRT or kind == "double-child",
              f"ended with {done.returncode}, said {done.stdout.split()} {done.stderr.strip()!r}")
        lines = done.stderr.splitlines()
        match = LINE.match(lines[0]) if len(lines) == 1 else None
        check(match, f"stderr is {done.stderr!r}")
        pointer = re.search("at (0x[0-9a-f]+)", done.stdout)
        check(pointer and match.group(2) == pointer.group(1), f"the line names {match.group(2)}, the pointer was {done.stdout.strip()!r}")
        check(match.group(1) in words, f"the line says {match.group(1)!r}, not {' or '.join(words)!r}")
        is_late = kind in LATE or place == "cold" and kind.startswith("double") and kind not in AT_ONCE_IN_COLD
        is_late = is_late and variables.get("LOWTIDE_CHECK") != "2" or kind.startswith("write-after") or kind == "overflow-kept"
        check("survived" not in done.stdout or is_late, "was told too late")
        check(place != "handled" or "handled" in done.stdout, "the handler did not run")

    def stopped_by_the_kernel(self, kind, size):
        done = self.run("misuse", kind, size, LOWTIDE_CHECK="2")
        check((done.returncode, done.stderr) == (-signal.SIGSEGV, ""), f"ended with {done.returncode}: {done.stderr!r}")

    def foreign(self, size):
        """What libc still takes for a block of its own is libc's to report, all else is told like any wild pointer."""
        done = self.run("misuse", "double-foreign", size)
        check(done.returncode == -signal.SIGABRT and "survived" not in done.stdout, f"ended with {done.returncode}: {done.stdout!r}")
        match = LINE.match(done.stderr.strip())
        pointer = re.search("at (0x[0-9a-f]+)", done.stdout)
        is_ours = match and pointer and match.groups() == (INVALID, pointer.group(1))
        check(is_ours or done.stderr.startswith("free(): double free"), f"stderr is {done.stderr!r}")
        return "told by lowtide" if is_ours else "told by libc"

    def mute(self, kind, size, place, in_child=None, **variables):
        done = self.run("misuse", kind, size, place, in_child=in_child, **variables)
        check((done.returncode, done.stderr) == (-signal.SIGABRT, ""), f"ended with {done.returncode}, said {done.stderr!r}")

    def own_file(self, kind, **variables):
        path = os.path.join(self.scratch, "own-" + "-".join([kind, *variables]))
        self.mute(kind, 100, path, in_child=lambda: os.close(2), **variables)
        check(os.path.getsize(path) == 0, "something was written to the program's file")

    def offsets(self, call, stride, *how):
        done = self.run("offsets", call, stride, *how, timeout=600)
        check(done.returncode == 0, f"ended with {done.returncode}: {done.stdout[-300:]}")
        found = re.fullmatch(r"blocks=98 addresses=(\d+)\n", done.stdout)
        check(found and int(found.group(1)) > 200000, f"printed {done.stdout!r}")
        return f"{found.group(1)} addresses"

    def lookalike(self, *arguments, **variables):
        done = self.run("lookalike", *arguments, **variables)
        check((done.returncode, done.stdout, done.stderr) == (0, "ok\n", ""),
              f"ended with {done.returncode}: {done.stdout!r} {done.stderr!r}")

    def bad_option(self, variable, value, used):
        """One line with variable, value and what is used; the program goes on as if nothing was set."""
        done = self.run("/bin/echo", "went on", **{variable: value})
        lines = done.stderr.splitlines()
        check((done.returncode, done.stdout) == (0, "went on\n"), f"the program ended with {done.returncode}, printed {done.stdout!r}")
        check(len(lines) == 1 and lines[0].startswith("lowtide: "), f"stderr is {done.stderr!r}")
        shown = value[:64].rstrip("\n")
        missing = [text for text in (variable, shown, f"using {used}") if text not in lines[0]]
        check(not missing, f"the line {lines[0]!r} lacks {missing}")

    def silent_option(self, variable, value):
        done = self.run("/bin/echo", "went on", **{variable: value})
        check((done.returncode, done.stdout, done.stderr) == (0, "went on\n", ""), f"{done!r}")


def read_options():
    """(variable, words, default) of each choice and the variables that take numbers, from the table that declares them."""
    table = os.path.join(HERE, "../../trim-policy/options.def")
    with open(table) as f:
        text = f.read()
    choices = re.findall(r'^CHOICE\(\w+, "(\w+)", "([^"]*)", "([^"]*)"', text, re.M)
    return choices, re.findall(r'^(?:SIZE|NUMBER)\(\w+, "(\w+)"', text, re.M)


def all_cases(runner):
    for kind, size, words in list(double_cases()) + list(pointer_cases()):
        yield f"{kind} {size}", lambda k=kind, s=size, w=words: runner.misuse(k, s, w)
    for kind, size, words in double_cases():
        yield f"{kind} {size}, in a heap larger than caches", lambda k=kind, s=size, w=words: runner.misuse(k, s, w, "cold")
    # A block is not used again so soon there. In a race the second call may come while the first fills the block.
    doubles = [(kind, size, (*words, WRITTEN) if kind == "double-race" else words) for kind, size, words in double_cases()
               if kind != "double-after-reuse"]
    for kind, size, words in doubles + list(pointer_cases()) + list(checked_cases()):
        yield f"{kind} {size} with LOWTIDE_CHECK=2", lambda k=kind, s=size, w=words: runner.misuse(k, s, w, LOWTIDE_CHECK="2")
    for size in OWN:
        for kind in ("overflow-page", "overflow-grown-page", "write-after", "write-after-resize", "read-after"):
            yield f"{kind} {size} with LOWTIDE_CHECK=2", lambda k=kind, s=size: runner.stopped_by_the_kernel(k, s)
    for size in SIZES:
        yield f"double-foreign {size}", lambda s=size: runner.foreign(s)
    for kind, word in PLACED:
        for place in PLACES:
            for size in (100, 20000, 200000) if place == "thread-min" else (100,):
                yield f"{kind} {size}, {place}", lambda k=kind, s=size, w=word, p=place: runner.misuse(k, s, (w,), p)
                yield f"{kind} {size}, {place}, LOWTIDE_CHECK=2", lambda k=kind, s=size, w=word, p=place: runner.misuse(k, s, (w,), p, LOWTIDE_CHECK="2")
    for place in MUTE_PLACES:
        for kind in ("double", "free-wild") if place != "full-blocking" else ("double",):
            yield f"{kind}, stderr {place}", lambda k=kind, p=place: runner.mute(k, 100, p)
    for kind in ("double", "free-wild"):
        yield f"{kind}, a file of the program's where stderr was closed", lambda k=kind: runner.own_file(k)
        yield f"{kind}, the same with LOWTIDE_STATS and LOWTIDE_VERBOSE", lambda k=kind: runner.own_file(k, LOWTIDE_STATS="1", LOWTIDE_VERBOSE="1")
    for call in ("free", "realloc", "reallocarray", "usable", "sized"):
        yield f"every address inside, {call}", lambda c=call: runner.offsets(c, runner.options.stride if c == "free" else 4 * runner.options.stride)
    for call in ("free", "realloc", "usable"):
        yield f"every address inside, {call} in a forked child", lambda c=call: runner.offsets(c, 4 * runner.options.stride, "child")
    for kind, word in (("double-trimmed-neighbour", (DOUBLE,)), ("free-wild", (INVALID,)), ("free-interior", (INTERIOR,))):
        yield f"{kind} with LOWTIDE_CHECK=0", lambda k=kind, w=word: runner.misuse(k, 3000, w, LOWTIDE_CHECK="0")
    library = runner.path("library.so")
    for arguments in (["marks"], ["null"], ["errno"], ["closed"], ["foreign", library], ["space", library]):
        yield f"lookalike {arguments[0]}", lambda a=arguments: runner.lookalike(*a)
    yield "lookalike marks with LOWTIDE_CHECK=0", lambda: runner.lookalike("marks", LOWTIDE_CHECK="0")
    yield "lookalike passed with LOWTIDE_CHECK=0", lambda: runner.lookalike("passed", LOWTIDE_CHECK="0")
    for name in ("marks", "null", "errno", "closed"):
        yield f"lookalike {name} with LOWTIDE_CHECK=2", lambda n=name: runner.lookalike(n, LOWTIDE_CHECK="2")
    for kind in ("lazy", "now"):
        yield f"lookalike deep, {kind}", lambda k=kind: runner.lookalike("deep", runner.path(f"deepbound-{k}.so"))
        yield f"lookalike deep, {kind}, LOWTIDE_CHECK=2", lambda k=kind: runner.lookalike("deep", runner.path(f"deepbound-{k}.so"), LOWTIDE_CHECK="2")
    yield "lookalike deep, found by name", lambda: runner.lookalike("deep", "deepbound-now.so", LD_LIBRARY_PATH=os.path.dirname(runner.path("deepbound-now.so")))
    yield "lookalike found", lambda: runner.lookalike("found", runner.path("elsewhere/opener.so"), "found.so", "$ORIGIN/found.so")
    yield "lookalike found by RPATH", lambda: runner.lookalike("found", runner.path("elsewhere/opener-rpath.so"), "found.so")
    yield "lookalike foreign with LOWTIDE_CHECK=2", lambda: runner.lookalike("foreign", library, LOWTIDE_CHECK="2")
    yield "lookalike errno with LOWTIDE_RETURN=free", lambda: runner.lookalike("errno", LOWTIDE_RETURN="free")
    choices, numbers = read_options()
    for variable in numbers:
        for value in ("seven", "-5", "12q", "9" * 40, "1 2", "0x"):
            yield f"{variable}={value[:8]!r} is refused", lambda a=(variable, value, ""): runner.bad_option(*a)
    for variable, words, default in choices:
        for value in ("7x", "", "-1", words, "a b", "x" * 300, "%s%n"):
            yield f"{variable}={value[:8]!r} is refused", lambda a=(variable, value, default): runner.bad_option(*a)
        yield f"{variable}={default} is silent", lambda a=(variable, default): runner.silent_option(*a)
    yield "an unknown LOWTIDE_X=1 is no reason to stop", lambda: runner.silent_option("LOWTIDE_", "1")


if __name__ == "__main__":
    cases.main(Runner, [(all_cases, os.cpu_count())], stride=101)
