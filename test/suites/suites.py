"""Test suites of others, each module under stock glibc and with the library preloaded: what fails only preloaded, or is not
even reached there, is a failure here, unless known.py expects it. A module a case; exit code 1 when one failed.

usage: suites.py --library LIB --programs DIRECTORY [--only TEXT] [--without-preload] [--check 2] [--short 1]

--check 2 runs the preloaded side with LOWTIDE_CHECK=2 (slow); --short 1 runs the few modules that `make test` has time for.

DIRECTORY takes the two outputs of each module that differs. What fails preloaded and not stock is run again, alone, in both
ways, AGAIN times; it is held against the library unless it never fails again, or does so in stock too. A process that dies
of a signal is held against it in any case.
"""
import glob
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as tree

HERE = os.path.dirname(os.path.abspath(__file__))
sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(HERE))
import cases  # noqa: E402
import known  # noqa: E402
from cases import PYTHON, Failed, Skipped, check  # noqa: E402

AGAIN = 4
NOBODY = 65534
# A module that hangs is told by CPython's suite itself, with a traceback, and killed by it after half that time more.
TEST_TIMEOUT_S = 1200
MODULE_TIMEOUT_S = 1830
# numpy's tests that take more leave themselves out: some fill 23 GB, and two modules run at a time.
NUMPY_MEMORY = "4 GB"

# unittest's account of a failure: method and class, a subtest's parameters, the traceback up to an empty line.
FAILURE = re.compile(r"^(?:FAIL|ERROR): (\w+) \(([\w.]+)\).*\n-{70}\n((?:.+\n)*)", re.M)
DEATH = re.compile(r"Fatal Python error: (?:Segmentation|Aborted|Bus error)|\(Exit code -\d+ \(SIG|^lowtide: .*pointer 0x.*", re.M)


class Outcome:
    """What one run of a module says: names of its test cases."""

    def __init__(self, output, code, report, usage):
        self.output = output
        self.seconds, self.peak_mib = usage
        self.died = code < 0 or bool(DEATH.search(output))
        self.seen, self.failed, self.skipped = set(), set(), set()
        self.last_lines = {}    # of the traceback of each failed case, or of each of its subtests
        if os.path.exists(report) and os.path.getsize(report):
            self.read(report)
        # A failed subtest is in the output alone; such a case is left out of the report.
        for method, owner, traceback in FAILURE.findall(output):
            name = owner if owner.endswith("." + method) else f"{owner}.{method}"
            self.failed.add(name)
            errors = re.findall(r"^\w.*", traceback, re.M)
            self.last_lines.setdefault(name, []).append(errors[-1] if len(errors) > 1 else "")
        self.seen |= self.failed
        if code and not self.failed:
            self.failed.add("the module as a whole")

    def read(self, report):
        for case in tree.parse(report).getroot().iter("testcase"):
            name = ".".join(filter(None, (case.get("classname"), case.get("name"))))
            self.seen.add(name)
            if case.find("failure") is not None or case.find("error") is not None:
                self.failed.add(name)
            if case.find("skipped") is not None:
                self.skipped.add(name)

    def is_known(self, module, name):
        return name in known.DIFFERENCES.get(module, {}) and \
            set(self.last_lines.get(name, [""])) <= {known.DIFFERENCES[module][name]}

    def counts(self):
        return (f"{len(self.seen)} cases, {len(self.skipped)} skipped, {len(self.failed)} failed, {self.seconds:.0f} s, "
                f"{self.peak_mib:.0f} MiB")


def wait(process, seconds):
    """Its exit code, 1 when it was killed after `seconds`; and how long it took, and MiB of the largest of it and its children."""
    began, pid = time.monotonic(), 0
    late = False
    while not pid:
        if not late and time.monotonic() - began > seconds:
            late = True
            os.killpg(process.pid, 9)
        time.sleep(0.05)
        pid, status, usage = os.wait4(process.pid, os.WNOHANG)
    process.returncode = 1 if late else os.waitstatus_to_exitcode(status)
    return process.returncode, (time.monotonic() - began, usage.ru_maxrss / 1024)


def end_session(pid):
    try:
        os.killpg(pid, 9)
    except ProcessLookupError:
        pass


class CPython:
    name = "cpython"
    short = known.CPYTHON_SHORT

    @staticmethod
    def modules():
        return subprocess.run([PYTHON, "-m", "test", "--list-tests"], stdout=subprocess.PIPE, text=True, check=True).stdout.split()

    @staticmethod
    def command(module, report, only):
        chosen = [word for name in only for word in ("-m", name)]
        return [PYTHON, "-m", "test", "-j1", "-v", "--timeout", str(TEST_TIMEOUT_S), "--junit-xml", report, *chosen, module]


class Pytest:
    """numpy and pandas, a package or a folder of tests a module."""
    name = "pytest"
    short = ()

    @staticmethod
    def modules():
        find = "import importlib.util, sys; print(*(importlib.util.find_spec(n).submodule_search_locations[0] for n in sys.argv[1:]), sep='\\n')"
        folders = subprocess.run([PYTHON, "-c", find, *known.PYTEST_SPLIT], stdout=subprocess.PIPE, text=True, check=True).stdout.split()
        return known.PYTEST + [f"{package}.{entry.removesuffix('.py')}"
                               for package, folder in zip(known.PYTEST_SPLIT, folders) for entry in sorted(os.listdir(folder))
                               if re.fullmatch(r"test_\w+\.py", entry) or os.path.isdir(f"{folder}/{entry}/") and entry.islower()
                               and glob.glob(f"{folder}/{entry}/**/test_*.py", recursive=True)]

    @staticmethod
    def command(module, report, only):
        names = sorted({re.split(r"[.\[]", name.split("::")[-1])[-1] for name in only})
        chosen = ["-k", " or ".join(names)] if names else []
        # By path: conftest.py of pandas, which has options, is read too late when modules are named.
        path = os.path.join("/usr/lib/python3/dist-packages", *module.split("."))
        return [PYTHON, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--junitxml", report, *chosen,
                path if os.path.isdir(path) else path + ".py"]


class Runner(cases.Runner):
    name = "suites"
    drops = (*cases.Runner.drops, "SUDO_", "TMPDIR", "HOME")

    def __init__(self, options):
        super().__init__(options)
        os.makedirs(options.programs, exist_ok=True)
        # Suites run without privileges, which a library in a private directory would not be readable for.
        self.library = shutil.copy(options.library, self.scratch)
        os.chmod(self.scratch, 0o755)
        self.user = {"user": NOBODY, "group": NOBODY, "extra_groups": ()} if os.geteuid() == 0 else {}

    def outcome(self, suite, module, preloaded, only=()):
        directory = tempfile.mkdtemp(prefix="run.", dir=self.scratch)
        os.chmod(directory, 0o777)
        report = os.path.join(directory, "report.xml")
        variables = self.environment(preload=[self.library] if preloaded and not self.options.without_preload else [],
                                     TMPDIR=directory, HOME=directory, NPY_AVAILABLE_MEM=NUMPY_MEMORY, LOWTIDE_CHECK=str(self.options.check))
        with open(os.path.join(directory, "output"), "w+", errors="replace") as output:
            process = subprocess.Popen(suite.command(module, report, sorted(only)), env=variables, cwd=directory,
                                       stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
                                       start_new_session=True, **self.user)
            try:
                code, usage = wait(process, MODULE_TIMEOUT_S)
            finally:
                end_session(process.pid)
            output.seek(0)
            text = output.read()
        outcome = Outcome(text, code, report, usage)
        shutil.rmtree(directory, ignore_errors=True)
        return outcome

    def keep(self, module, way, outcome):
        with open(os.path.join(self.options.programs, f"{module}.{way}.txt"), "w") as f:
            f.write(outcome.output)

    def compare(self, suite, module):
        stock, ours = (self.outcome(suite, module, preloaded) for preloaded in (False, True))
        check(stock.seen - stock.failed or not stock.failed, f"nothing passes in stock: {stock.output[-300:]}")
        if not stock.seen and not ours.seen:
            raise Skipped("no cases here (most need a network, a display or another system)")
        expected = {name for name in ours.failed - stock.failed if ours.is_known(module, name)}
        bad = ours.failed - stock.failed - expected
        lost = stock.seen - ours.seen
        newly_skipped = ours.skipped - stock.skipped
        died = ours.died and not stock.died
        if bad or lost or newly_skipped or died:
            self.keep(module, "stock", stock)
            self.keep(module, "preloaded", ours)
        unsteady = set() if died or "the module as a whole" in bad else self.unsteady(suite, module, bad)
        bad -= unsteady
        complaints = [f"{what}: {', '.join(sorted(names)[:20])}" for what, names in
                      (("fails", bad), ("not reached", lost), ("skipped", newly_skipped)) if names]
        if died:
            complaints.insert(0, "a process died")
        text = f"stock {stock.counts()}; preloaded {ours.counts()}"
        if complaints:
            raise Failed(f"{text}; only preloaded: {'; '.join(complaints)}")
        for what, names in (("known", expected), ("unsteady", unsteady)):
            text += f"; {what}: {', '.join(sorted(names))}" if names else ""
        return text

    def unsteady(self, suite, module, names):
        """Of `names`, which failed once preloaded, those that the library is not to blame for."""
        if not names:
            return set()
        runs = [[self.outcome(suite, module, way, names).failed for _ in range(AGAIN)] for way in (False, True)]
        stock, ours = (set().union(*way) for way in runs)
        return {name for name in names if name in stock or name not in ours}

    def is_preloaded(self):
        """Otherwise all would be well below."""
        done = self.run(PYTHON, "-c", "print(open('/proc/self/maps').read())",
                        preload=[] if self.options.without_preload else [self.library], in_child=self.become)
        check(os.path.basename(self.library) in done.stdout, f"not mapped: {done.stderr[-300:]}")

    def become(self):
        if self.user:
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)

    def cases(self):
        yield "the library is mapped", self.is_preloaded
        for suite in (CPython, Pytest):
            for module in suite.short if self.options.short else suite.modules():
                yield f"{suite.name} {module}", lambda suite=suite, module=module: self.compare(suite, module)


def main():
    cases.main(Runner, [(Runner.cases, 2)], check=1, short=0)


if __name__ == "__main__":
    main()
