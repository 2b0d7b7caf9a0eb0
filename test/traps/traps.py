"""What other preloaded allocators fell into, tried on this one from outside: one line a case, exit code 1 when one failed.

usage: traps.py --library LIB --programs DIRECTORY [--only TEXT] [--without-preload] [--rounds N]

--without-preload runs the same without the library, to see which cases tell the difference. --rounds sets how often
the fork cases fork (2,000 unless told).
"""
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(HERE))
import cases  # noqa: E402
from cases import MIB, PYTHON, check  # noqa: E402

# The keys of the outside contract.
STATS_KEYS = """version pid live_bytes live_pages_bytes resident_heap_bytes retained_bytes released_bytes_total arenas_current
arenas_peak arenas_mapped_total arenas_unmapped_total pools_in_use slabs_current slab_bytes large_current_bytes
program_mmap_bytes refills_total spills_total magazine_blocks trims_total level min_free_bytes low_watermark_bytes
available_bytes limit_bytes vmas_holes""".split()

PYTHON_WORK = """
import collections, json, re, sys, threading
rows = [{'id': i, 'name': 'row %d' % i, 'values': list(range(i % 40))} for i in range(20000)]
text = json.dumps(rows)
assert json.loads(text) == rows
big = [bytearray(300000) for _ in range(40)]
del rows, big
t = threading.Thread(target=lambda: sorted(str(i) for i in range(50000)))
t.start(); t.join()
print(len(text), sum(collections.Counter(re.findall('[0-9]+', text)).values()))
"""
PYTHON_PEAK = PYTHON_WORK + """
print([l.split()[1] for l in open('/proc/self/status') if l.startswith('VmPeak')][0], file=sys.stderr)
"""


class Runner(cases.Runner):
    name = "traps"
    timeout_s = 240

    def run(self, *command, address_space=None, **how):
        """address_space: RLIMIT_AS in bytes."""
        limit = address_space and (lambda: resource.setrlimit(resource.RLIMIT_AS, (address_space, address_space)))
        return super().run(*command, in_child=limit, **how)

    def well(self, *command, quiet=True, **how):
        """Runs it, and it must end well: exit code 0, and silence on stderr. Returns what it printed."""
        done = self.run(*command, **how)
        said = (done.stdout[-300:] + done.stderr[-500:]).strip()
        check(done.returncode == 0, f"ended with {done.returncode}: {said}")
        check(not quiet or not done.stderr, f"said {done.stderr[:300]!r}")
        return done

    def ours(self, *command, **how):
        """A program of ours, which says ok in the end. What it printed before is worth telling."""
        done = self.well(*command, **how)
        check(done.stdout.endswith("ok\n"), f"printed {done.stdout[-300:]!r}")
        return "; ".join(done.stdout.splitlines()[:-1])

    def forks(self, *command, **how):
        """It has a watchdog of its own (test/storms/storm.h), and takes as long as the kernel takes to fork."""
        return self.ours("forks", *command, timeout=930, **how)

    # ---- memory of forked workers ----

    def workers_pss(self, preload):
        """PSS of 8 workers that each freed a random half of what their parent had made, in bytes, and its live bytes."""
        done = self.well("forked", 8, 100000, preload=preload)
        found = dict(line.split("=") for line in done.stdout.split())
        return int(found["workers_pss_bytes"]), int(found["live_bytes"])

    def workers_share(self):
        (ours, live), (glibc, _) = self.workers_pss([self.options.library]), self.workers_pss([])
        check(ours <= 0.6 * glibc, f"{ours // MIB} MiB, under stock glibc {glibc // MIB} MiB, of {live // MIB} MiB live")
        return f"{ours / glibc:.2f} of stock glibc's"

    # ---- those that must be malloc themselves ----

    def sanitized(self, program, **variables):
        # TSan's addresses are where random ones may already be.
        done = self.run("/usr/bin/setarch", "-R", self.path(program), **variables)
        check(done.returncode == 0 and done.stdout == "ok\n", f"ended with {done.returncode}: {done.stderr[:300]}")
        check(re.fullmatch(r"lowtide: stands aside: [^\n]*sanitizer[^\n]*\n", done.stderr), f"said {done.stderr[:300]!r}")
        found = self.run("/usr/bin/setarch", "-R", self.path(program), "beyond", **variables)
        check("asan" not in program or "heap-buffer-overflow" in found.stderr, f"the read behind the block is not found: {found.stderr[:300]}")

    def valgrind(self):
        check(shutil.which("valgrind"), "not installed: valgrind")
        for arguments, code in ((), 0), (("beyond",), 9):
            done = self.run(shutil.which("valgrind"), "--error-exitcode=9", self.path("sanitized"), *arguments, LOWTIDE_VERBOSE="1")
            check(done.returncode == code and done.stdout.endswith("ok\n"), f"ended with {done.returncode}: {done.stderr[-300:]}")
            check("in sanitized (pid" in done.stderr and "malloc is another's" in done.stderr, f"said {done.stderr[:300]!r}")
            check("All heap blocks were freed" in done.stderr, f"valgrind does not see the blocks: {done.stderr[-500:]}")

    # ---- the library as a file ----

    def readelf(self, *arguments):
        check(shutil.which("readelf"), "not installed: readelf")
        return subprocess.run(["readelf", "-W", *arguments, self.options.library], stdout=subprocess.PIPE, text=True, check=True).stdout

    def static_tls(self):
        sizes = [int(line.split()[5], 16) for line in self.readelf("-l").splitlines() if line.split()[:1] == ["TLS"]]
        check(len(sizes) == 1 and sizes[0] <= 64, f"PT_TLS segments of {sizes} bytes")
        return f"{sizes[0]} bytes"

    def undefined_symbols(self):
        with open(os.path.join(HERE, "undefined.txt")) as f:
            allowed = {word for line in f if not line.startswith("#") for word in line.split()}
        rows = [line.split() for line in self.readelf("--dyn-syms").splitlines()]
        names = {row[7].split("@")[0] for row in rows if len(row) > 7 and row[6] == "UND"}
        check("__tls_get_addr" not in names, "asks for __tls_get_addr: a TLS access is not initial-exec")
        check(names <= allowed, f"not on the allow-list: {sorted(names - allowed)}")
        return f"{len(names)} names"

    def bound_now(self):
        dynamic = self.readelf("-d")
        check("BIND_NOW" in dynamic and "TEXTREL" not in dynamic, "not bound at start, or text relocations")
        needed = re.findall(r"Shared library: \[(.*)\]", dynamic)
        check(needed == ["libc.so.6"], f"needs {needed}")

    # ---- address space ----

    def python_address_space(self, **variables):
        plain = subprocess.run([PYTHON, "-c", PYTHON_PEAK], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=True)
        allowed = int(plain.stderr.split()[-1]) * 1024 * 11 // 10 + 16 * MIB
        done = self.well(PYTHON, "-c", PYTHON_WORK, address_space=allowed, **variables)
        check(done.stdout == plain.stdout, f"printed {done.stdout!r}, plain {plain.stdout!r}")
        return f"{allowed // MIB} MiB allowed"

    # ---- system calls ----

    def edge_calls(self, how):
        _, lines = self.strace("munmap,madvise", "heap", how)
        calls = sum(1 for line in lines if re.search(r"\b(munmap|madvise)\(", line))
        check(calls < 1000, f"{calls} munmap and madvise calls")
        return f"{calls} calls"

    def releases_seen(self):
        printed, lines = self.strace("munmap,madvise,mremap", "heap", "released", preload=[self.options.library, self.path("counted.so")])
        counted = re.search(r"counted (\d+) munmap (\d+) madvise (\d+) mremap", printed)
        check(counted, f"printed {printed!r}")
        begin = next(i for i, line in enumerate(lines) if "munmap(0x111000, 0)" in line)
        end = next(i for i, line in enumerate(lines) if "munmap(0x222000, 0)" in line)
        traced = tuple(sum(1 for line in lines[begin + 1:end] if re.search(rf"\b{name}\(", line)) for name in ("munmap", "madvise", "mremap"))
        check(tuple(map(int, counted.groups())) == traced, f"the library saw {counted.groups()} of {traced} munmap, madvise, mremap calls")
        return "%d munmap, %d madvise, %d mremap" % traced

    # ---- statistics ----

    def read_stats(self, text):
        lines = text.splitlines()
        check(len(lines) == 1, f"not one line: {text[:300]!r}")
        s = json.loads(lines[0])
        missing = [key for key in STATS_KEYS if key not in s]
        check(not missing, f"lacks {missing}")
        wrong = [k for k, v in s.items() if k not in ("version", "python") and not (isinstance(v, int) and v >= 0)]
        check(not wrong, f"no numbers, or negative: { {k: s[k] for k in wrong} }")
        sums = {"resident_heap_bytes": ("live_bytes", "free_in_live_bytes", "retained_bytes", "metadata_bytes"),
                "live_pages_bytes": ("live_bytes", "free_in_live_bytes"),
                "mapped_bytes": ("resident_heap_bytes", "nonresident_bytes")}
        for key, parts in sums.items():
            check(s[key] == sum(s[p] for p in parts), f"{key} {s[key]} is not the sum of {[(p, s[p]) for p in parts]}")
        return s

    def stats_of_c(self):
        done = self.well("heap", "stats", quiet=False, LOWTIDE_STATS="1")
        s = self.read_stats(done.stderr)
        held, anonymous = map(int, re.search(r"held (\d+) anonymous (\d+)", done.stdout).groups())
        check(held <= s["live_bytes"] <= held * 1.25 + MIB, f"held {held}, live_bytes {s['live_bytes']}")
        # The rest of the anonymous memory: stack, data of program and libraries.
        check(-2 * MIB <= s["resident_heap_bytes"] - anonymous <= MIB / 4, f"resident_heap_bytes {s['resident_heap_bytes']}, anonymous {anonymous}")
        return f"{anonymous - s['resident_heap_bytes']} bytes of {anonymous} anonymous are not the heap's"

    def stats_of_threads(self):
        for _ in range(10):
            self.read_stats(self.well("heap", "stats", "threads", quiet=False, LOWTIDE_STATS="1").stderr)

    def stats_of_fork(self):
        pattern = os.path.join(self.scratch, "fork.%e.%p.json")
        done = self.well("heap", "stats", "fork", LOWTIDE_STATS=pattern)
        child = int(re.search(r"child (\d+)", done.stdout).group(1))
        files = sorted(f for f in os.listdir(self.scratch) if f.startswith("fork.heap."))
        check(len(files) == 2 and f"fork.heap.{child}.json" in files, f"files {files}, child {child}")
        for name in files:
            with open(os.path.join(self.scratch, name)) as f:
                s = self.read_stats(f.read())
            check(s["pid"] == int(name.split(".")[2]), f"{name} has pid {s['pid']}")

    def stats_of_python(self):
        pattern = os.path.join(self.scratch, "python.%p.json")
        self.well(PYTHON, "-c", PYTHON_WORK, LOWTIDE_STATS=pattern)
        files = [f for f in os.listdir(self.scratch) if f.startswith("python.")]
        check(len(files) == 1, f"files {files}")
        with open(os.path.join(self.scratch, files[0])) as f:
            s = self.read_stats(f.read())
        check(s["python"] == "malloc", f"python: {s['python']}")

    def stats_nowhere(self):
        done = self.well("/bin/true", quiet=False, LOWTIDE_STATS="/nonexistent/file")
        first, _, rest = done.stderr.partition("\n")
        check(first.startswith("lowtide: ") and "/nonexistent/file" in first, f"said {first!r}")
        self.read_stats(rest)

    def holes_do_not_drift(self, *command):
        done = self.well(*command, quiet=False, LOWTIDE_STATS="1")
        mappings = int(re.search(r"(\d+) mappings in the end", done.stdout).group(1))
        holes = self.read_stats(done.stderr)["vmas_holes"]
        check(holes <= mappings + 20, f"believes in {holes} runs of addresses; the process has {mappings} mappings")

    # ---- seccomp ----

    def filtered_misuse(self):
        """libc's abort makes a call that the filter kills for."""
        done = self.run("filtered", "misuse")
        check(done.returncode == -signal.SIGSYS, f"ended with {done.returncode}: {done.stdout}")
        check(re.fullmatch(r"lowtide: double free: pointer 0x[0-9a-f]+\n", done.stderr), f"said {done.stderr[:300]!r}")

    def filtered_statistics(self):
        """They go to stderr, whatever file was asked for, and the process has no number."""
        check(self.read_stats(self.well("filtered", "libcs", quiet=False, LOWTIDE_STATS="1").stderr)["pid"] == 0, "has a pid")
        with tempfile.TemporaryDirectory() as directory:
            first, _, rest = self.well("filtered", "libcs", quiet=False, LOWTIDE_STATS=directory + "/%p").stderr.partition("\n")
            check(first.startswith("lowtide: ") and "seccomp" in first, f"said {first!r}")
            self.read_stats(rest)
            check(not os.listdir(directory), "a file was made")

    # ---- children ----

    def children(self):
        other = self.path("early.so")
        for libraries, left in (([self.options.library], ""), ([self.options.library, other], other), ([other, self.options.library], other)):
            done = self.well("heap", "stats", "exec", preload=libraries, quiet=False, LOWTIDE_CHILDREN="0", LOWTIDE_STATS="1")
            value = re.search(r"^LD_PRELOAD=(.*)$", done.stdout, re.M)
            check((value.group(1).strip(" :") if value else "") == left, f"children get {value and value.group(0)!r}")
            check(not done.stderr, f"the child says {done.stderr[:200]!r}")
        done = self.well("heap", "stats", "exec", quiet=False)
        check("LD_PRELOAD=" + self.options.library in done.stdout, "inherited by default")

    # ---- options ----

    def option_variables(self):
        with open(os.path.join(HERE, "../../trim-policy/options.def")) as f:
            return re.findall(r'^[A-Z]+\([a-z_]+, "([A-Z_]+)"', f.read(), re.M)

    def help_lists_options(self):
        said = self.well("/bin/true", quiet=False, LOWTIDE_HELP="1").stderr
        variables = self.option_variables()
        listed = [line.split()[0] for line in said.splitlines() if not line.startswith(" ")]
        check(listed == variables, f"lists {listed}")
        check(said.count("(default: ") == len(variables), f"said {said[:300]!r}")
        return f"{len(variables)} options"

    def verbose_says_start(self):
        said = self.well("/bin/true", quiet=False, LOWTIDE_VERBOSE="1").stderr
        check(re.match(r"lowtide: \S+ in true \(pid \d+\): ", said), f"said {said[:300]!r}")

    def root_and_minimum(self):
        root = os.path.join(HERE, "../fixtures/v2-high")
        rows = (({}, MIB * 1024 // 100 * 5), ({"LOWTIDE_MINMEM_FREE": "100M"}, 100 * MIB), ({"LOWTIDE_MINMEM_PCT_TOTAL": "50"}, 512 * MIB),
                ({"LOWTIDE_MINMEM_PCT_FREE": "50"}, 262 * MIB))
        for variables, minimum in rows:
            s = self.read_stats(self.well("/bin/true", quiet=False, LOWTIDE_STATS="1", LOWTIDE_ROOT=root, **variables).stderr)
            check((s["limit_bytes"], s["available_bytes"]) == (1024 * MIB, 524 * MIB), f"limit {s['limit_bytes']}, available {s['available_bytes']}")
            check(abs(s["min_free_bytes"] - minimum) < 4096, f"{variables}: minimum {s['min_free_bytes']}")

    def keeper(self):
        count = "import os; x = [bytes(1000) for _ in range(100000)]; print(len(os.listdir('/proc/self/task')))"
        for how, threads in (("inline", "1"), ("thread", "2")):
            done = self.well(PYTHON, "-c", count, LOWTIDE_HOUSEKEEP=how)
            check(done.stdout.split() == [threads], f"{how}: {done.stdout} threads")

    def rules(self):
        done = self.well("rules", quiet=False)
        check(done.stdout == "ok\n" and done.stderr.startswith("lowtide "), f"printed {done.stdout!r}, malloc_stats said {done.stderr[:200]!r}")

    def python_single(self):
        done = self.well(PYTHON, "-W", "error", "-c", "import os; print(len(os.listdir('/proc/self/task'))); p = os.fork(); p and os.wait()")
        check(done.stdout.split()[0] == "1", f"{done.stdout} threads")


def all_cases(r):
    yield "static TLS of at most 64 bytes", r.static_tls
    yield "undefined symbols are on the allow-list", r.undefined_symbols
    yield "bound at start, needs libc alone", r.bound_now
    yield "every allocating call with every freeing call", lambda: r.ours("matrix")
    yield "every call on a PTHREAD_STACK_MIN stack", lambda: r.ours("matrix", "small-stack")
    yield "refusals, overflow, zero, reports", r.rules
    yield "messages of dlerror's: none at the start, one pending", lambda: r.ours("pending")
    yield "C++ thread_local and static destructors", lambda: r.ours("locals")
    for how in ("keys", "late", "atexit", "detached", "pthread-exit", "cancel", "remote"):
        yield f"ends: {how}", lambda h=how: r.ours("ends", h)
    for how in ("inline", "thread"):
        yield f"ends: last, LOWTIDE_HOUSEKEEP={how}", lambda h=how: r.ours("ends", "last", timeout=20, LOWTIDE_HOUSEKEEP=h)
    yield "ends: 10,000 threads", lambda: r.ours("ends", "many", "10000")

    rounds, library, early, hooks = r.options.rounds, r.options.library, r.path("early.so"), r.path("hooks.so")
    yield f"fork {rounds} times among churning threads", lambda: r.forks("churn", rounds)
    yield "fork with allocating handlers", lambda: r.forks("atfork", rounds // 8)
    yield "fork handlers registered before ours", lambda: r.forks("atfork", rounds // 8, preload=[library, early])
    yield "fork handlers registered after ours", lambda: r.forks("atfork", rounds // 8, preload=[early, library])
    yield "fork in a forked child", lambda: r.forks("nested", rounds // 16)
    yield "threads of a forked child pass at once", lambda: r.forks("threads", 20)
    yield "posix_spawn, vfork, system among churning threads", lambda: r.forks("spawn", rounds // 8)

    for order, libraries in (("after", [library, hooks]), ("before", [hooks, library])):
        for command in (["matrix"], ["ends", "keys"], ["forks", "churn", 50], ["limits", "regrown", 500]):
            yield f"lazy allocating wrappers {order} us: {' '.join(map(str, command))}", lambda c=command, l=libraries: r.ours(*c, preload=l)
        yield f"lazy allocating wrappers {order} us: python", lambda l=libraries: r.well(PYTHON, "-c", PYTHON_WORK, preload=l) and None

    yield "calls of the mmap family are exact", lambda: r.ours("calls")
    yield "all memory locked: calloc is zero", lambda: r.ours("limits", "locked")
    yield "64 MiB of address space: ENOMEM, and on after frees", lambda: r.ours("limits", "space", address_space=64 * MIB)
    yield "64 MiB of address space: /bin/true starts", lambda: r.well("/bin/true", address_space=64 * MIB) and None
    yield "python in 1.1 times its address space and 16 MiB", r.python_address_space
    yield "the same with pymalloc", lambda: r.python_address_space(LOWTIDE_PYTHON="off")
    yield "no huge pages under the heap", lambda: r.ours("heap", "huge")
    yield "one thread, no descriptor kept", lambda: r.ours("heap", "single")
    yield "one thread in python, fork without a warning", r.python_single
    for size in (262000, 140000, 100000):
        yield f"150,000 blocks of {size}, every other freed", lambda s=size: r.ours("limits", "maps", s, 150000)
    yield "70,000 buffers moved by realloc", lambda: r.ours("limits", "moved", 70000)
    yield "what is believed of mappings: moved", lambda: r.holes_do_not_drift("limits", "moved", 3000)
    yield "what is believed of mappings: regrown", lambda: r.holes_do_not_drift("limits", "regrown", 3000)
    yield "8 forked workers share what they do not touch", r.workers_share
    yield "a program linked to jemalloc", lambda: r.ours("other")
    for program in ("asan", "tsan", "lsan", "asan-clang", "tsan-clang", "msan-clang"):
        yield f"a program with a sanitizer: {program}", lambda p=program: r.sanitized(p, ASAN_OPTIONS="verify_asan_link_order=0:detect_leaks=0")
    yield "a program under valgrind", r.valgrind
    for what in ("churn", "no-moves", "forks", "libcs"):
        yield f"a strict seccomp filter: {what}", lambda w=what: r.ours("filtered", w)
    yield "a strict seccomp filter: misuse", r.filtered_misuse
    yield "a strict seccomp filter: statistics", r.filtered_statistics
    yield "every release goes through libc's functions", r.releases_seen
    yield "libc's madvise patched by the program", lambda: r.ours("patched")
    yield "a million pairs across an arena's edge: under 1,000 releases", lambda: r.edge_calls("edge")
    yield "100,000 pairs of large buffers", lambda: r.edge_calls("edge-large")
    yield "100,000 pairs of large buffers where small blocks were", lambda: r.edge_calls("edge-large-after-small")
    yield "80,000 arenas: free stays O(1)", lambda: r.ours("heap", "many")

    yield "statistics of a C program", r.stats_of_c
    yield "statistics while threads run", r.stats_of_threads
    yield "statistics of a forked child, %p and %e", r.stats_of_fork
    yield "statistics of python", r.stats_of_python
    yield "statistics that cannot be written", r.stats_nowhere
    yield "LOWTIDE_CHILDREN=0", r.children
    yield "LOWTIDE_HELP=1", r.help_lists_options
    yield "LOWTIDE_VERBOSE=1", r.verbose_says_start
    yield "LOWTIDE_ROOT, LOWTIDE_MINMEM_*", r.root_and_minimum
    yield "LOWTIDE_HOUSEKEEP=thread", r.keeper
    for tier in ("small", "slab", "large", "mixed"):
        for threads in (1, 4):
            for how in ("ramp", "churn"):
                yield f"bound from outside: {how} of {tier}, {threads} thread{'s' * (threads > 1)}", lambda c=("bound", tier, threads, how): r.ours(*c)


if __name__ == "__main__":
    cases.main(Runner, [(all_cases, os.cpu_count())], rounds=2000)
