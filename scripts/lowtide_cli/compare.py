"""`lowtide compare`: the same job under several allocators, and what each costs."""
import os
import select
import shutil
import signal
import stat
import sys
import tempfile
import time

from . import figures, launch, peers, procfs, program, say
from .job import Job

EPILOG = """\
Runs alternate, and the first one warms up and is not counted. All processes of the job are sampled,
at a cost of less than 2 % of a core. stdout of the job is compared and not shown; stderr is kept in
DIR/stderr.txt. stdin is read once, and every run gets the same.

--idle S is for jobs that stay alive: S seconds after the job has stopped using the CPU it is ended
with SIGTERM, and the table says what it held 1, 2, 4 and 8 s into idleness.

--fail-above RATIO is for CI: exit code 3 when lowtide's median peak RSS, mean RSS or wall time is
above RATIO times glibc's. Otherwise the exit code is 0, or 1 when a run failed, lowtide was not
active, or stdout differed from glibc's.

allocators for --with: glibc, glibc-tuned (MALLOC_ARENA_MAX=1, MALLOC_TRIM_THRESHOLD_=131072,
MALLOC_MMAP_THRESHOLD_=131072, MALLOC_TOP_PAD_=0), jemalloc, mimalloc, tcmalloc, lowtide, or all.
Python runs as you would run it: with pymalloc, except under lowtide, which serves its objects.

examples:
  lowtide compare -- python3 job.py
  lowtide compare -n 5 --with all --out report -- ./simulate input.dat
  lowtide compare --idle 8 -- python3 service.py
  lowtide compare --fail-above 1.10 -- make check
"""


def arguments_compare(parser):
    parser.add_argument("-n", type=int, default=3, metavar="N", help="runs under each allocator (3)")
    parser.add_argument("--with", dest="allocators", default="glibc,lowtide", metavar="LIST",
                        help="allocators, separated by commas, or all (glibc,lowtide)")
    parser.add_argument("--idle", type=float, default=0.0, metavar="S",
                        help="the job stays alive: end it after S seconds of idleness")
    parser.add_argument("--out", metavar="DIR", help="write summary.json, samples.csv, report.html and curves.svg there")
    parser.add_argument("--fail-above", type=float, metavar="RATIO", help="exit code 3 above this ratio to glibc")
    parser.add_argument("--timeout", type=float, metavar="S", help="end a run that takes longer")
    parser.add_argument("--no-warm-up", action="store_true", help="count the first run, too")
    parser.epilog = EPILOG


def check_arguments(options):
    if not options.command:
        raise say.CliError("compare: no command; give it after --", say.USAGE)
    if options.n < 1:
        raise say.CliError(f"compare: -n {options.n}: at least one run is needed", say.USAGE)
    if options.idle < 0 or (options.timeout is not None and options.timeout <= 0):
        raise say.CliError("compare: --idle and --timeout take a number of seconds above 0", say.USAGE)
    if options.fail_above is not None and options.fail_above <= 0:
        raise say.CliError("compare: --fail-above takes a ratio above 0, such as 1.1", say.USAGE)
    check_proc()
    launch.fill_descriptors()
    program.resolve(options.command[0])


def check_proc():
    if not procfs.is_readable():
        raise say.CliError(f"{procfs.ROOT} cannot be read: without it memory cannot be measured")


def make_directory(path):
    """The directory for results, tried before anything is measured."""
    try:
        os.makedirs(path, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as reason:
        raise say.CliError(f"{path}: cannot write there: {reason.strerror}") from None


class Stdin:
    """A file with what every run gets to read: the file itself, a copy of what a pipe brings, or
    nothing where stdin is a terminal or closed."""

    def __init__(self, directory):
        self.path = os.devnull
        try:
            mode = os.fstat(0).st_mode
        except OSError:
            return
        if stat.S_ISREG(mode):
            self.path = "/proc/self/fd/0"
            self.path = os.path.realpath(self.path) if os.path.exists(os.path.realpath(self.path)) else self.path
        elif stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode):
            self.path = os.path.join(directory, "stdin")
            if not select.select([0], [], [], 1.0)[0]:
                say.note("reading stdin to its end, to give every run the same; use </dev/null if the job does not read it")
            with open(self.path, "wb") as file, open(0, "rb", closefd=False) as own:
                shutil.copyfileobj(own, file, 1 << 20)


class Progress:
    """One line that is rewritten on a terminal; a line for each run elsewhere."""

    def __init__(self, total, stream=None):
        self.stream = stream or sys.stderr
        self.on_terminal = self.stream.isatty()
        self.total, self.done, self.shown = total, 0, 0.0
        self.began = time.monotonic()

    def write(self, text):
        width = shutil.get_terminal_size().columns - 1
        self.stream.write(f"\r\x1b[K{text[:width]}")
        self.stream.flush()

    def sample(self, name, sample):
        now = time.monotonic()
        if not self.on_terminal or now - self.shown < 0.1:
            return
        self.shown = now
        text = f"run {self.done + 1} of {self.total}  {name:<11}  {sample.t:6.1f} s  RSS {say.memory(sample.rss):>9}"
        if self.done:
            left = (now - self.began - sample.t) / self.done * (self.total - self.done) - sample.t
            text += f"  about {left / 60:.0f} min left" if left > 90 else f"  about {max(left, 1):.0f} s left"
        self.write(text)

    def finished(self, name, run, counted):
        self.done += 1
        if self.on_terminal:
            return
        what = "run" if counted else "warm-up"
        self.stream.write(f"lowtide: {what} {self.done} of {self.total} under {name}: {say.seconds(run['wall_s'])}, "
                          f"RSS peak {say.memory(run['peak_rss'])}, mean {say.memory(run['mean_rss'])}\n")
        self.stream.flush()

    def close(self):
        if self.on_terminal:
            self.write("")


class Interrupted(Exception):
    def __init__(self, number):
        super().__init__(number)
        self.number = number


def raise_interrupted(number, _):
    raise Interrupted(number)


class Measuring:
    """All runs. What was measured is in `runs`, also after an interruption."""

    def __init__(self, options, allocators, stdin, errors):
        self.options, self.allocators = options, allocators
        self.stdin, self.errors = stdin, errors
        self.runs = {allocator.name: [] for allocator in allocators}
        self.interrupted = self.failed = None

    def schedule(self):
        """(allocator, is counted): a warm-up, then rounds that begin with another one each time."""
        if not self.options.no_warm_up:
            yield self.allocators[0], False
        for i in range(self.options.n):
            at = i % len(self.allocators)
            for allocator in self.allocators[at:] + self.allocators[:at]:
                yield allocator, True

    def run_all(self):
        usual = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, raise_interrupted)
        launch.become_subreaper()
        schedule = list(self.schedule())
        progress = Progress(len(schedule))
        try:
            for allocator, counted in schedule:
                job = Job(self.options.command, allocator, usual, self.stdin, self.errors, self.options.idle,
                          self.options.timeout)
                run = job.run(lambda sample, name=allocator.name: progress.sample(name, sample))
                progress.finished(allocator.name, run, counted)
                if counted:
                    run["run"] = len(self.runs[allocator.name]) + 1
                    self.runs[allocator.name].append(run)
        except Interrupted as reason:
            self.interrupted = reason.number
        except (say.CliError, OSError) as reason:
            if not any(self.runs.values()):
                raise
            self.failed = str(reason)
        finally:
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_SETMASK, usual)
            progress.close()


class Comparison:
    """Everything a report needs."""

    def __init__(self, command, measuring):
        self.command = command
        self.interrupted, self.failed = measuring.interrupted, measuring.failed
        self.runs = {name: runs for name, runs in measuring.runs.items() if runs}
        self.preloads = {a.name: a.preload for a in measuring.allocators}
        self.figures = {name: figures.of_runs(runs) for name, runs in self.runs.items()}
        self.verdict = figures.verdict(self.figures, self.runs)
        self.output = figures.outputs(self.runs)
        self.machine = peers.describe_machine()
        self.notes = self.collect_notes()
        self.idle_s = measuring.options.idle
        self.when = time.strftime("%Y-%m-%d %H:%M %Z")

    def collect_notes(self):
        found = [self.output[1]]
        ended = figures.endings(self.runs)
        found += [ended] if ended else []
        found += [f"{name} was not active in {why}" for name, why in figures.inactive(self.runs).items()]
        heap = figures.median(self.figures.get(peers.OURS, {}), "heap_share")
        if heap is not None:
            found.append(f"{say.percent(heap)} of resident memory under lowtide was heap, the rest is code, files and stacks")
        remarks = {run.get("remark") for run in self.runs.get(peers.OURS, [])} - {None}
        found += sorted(remarks)
        notes = {note: name for name, runs in self.runs.items() for run in runs for note in run["notes"]}
        found += [f"{note} ({name})" for note, name in notes.items()]
        if self.interrupted:
            found.append("interrupted: these are the runs that were done")
        if self.failed:
            found.append(f"a run could not be made, these are those before it: {self.failed}")
        return found

    def exit_code(self, fail_above):
        if self.interrupted:
            return 128 + self.interrupted
        exceeded = figures.above(self.figures, fail_above) if fail_above else []
        for text in exceeded:
            say.note(f"above {fail_above:g}: {text}")
        if exceeded:
            return say.ABOVE
        failed = self.failed or figures.inactive(self.runs) or self.output[0] == "differs" or \
            len({run["ended"] for runs in self.runs.values() for run in runs}) > 1
        return 1 if failed else 0


def command_compare(options):
    from . import report_files, report_text
    check_arguments(options)
    if options.out:
        make_directory(options.out)
    allocators = peers.choose(options.allocators, say.note)
    with tempfile.TemporaryDirectory(prefix="lowtide-compare-") as scratch:
        stdin = Stdin(scratch).path
        errors = os.path.join(options.out or scratch, "stderr.txt")
        open(errors, "wb").close()
        measuring = Measuring(options, allocators, stdin, errors)
        measuring.run_all()
        comparison = Comparison(options.command, measuring)
        tail = last_line(errors)
    if not comparison.runs:
        raise say.CliError("interrupted before a run was done", 128 + (measuring.interrupted or 1))
    for line in report_text.lines(comparison):
        print(line)
    if tail and (figures.endings(comparison.runs) or "exit code 0") != "exit code 0":
        say.note(f"the job's last line on stderr: {tail}")
    if options.out:
        report_files.write(options.out, comparison)
        say.note(f"report: {os.path.join(options.out, 'report.html')}")
    return comparison.exit_code(options.fail_above)


def last_line(path):
    try:
        with open(path, "rb") as file:
            file.seek(max(0, os.path.getsize(path) - 2000))
            lines = file.read().decode(errors="replace").split("\n")
    except OSError:
        return ""
    return next((line.strip()[:300] for line in reversed(lines) if line.strip()), "")
