"""How a program of the suite is measured: one run at a time, through launch.c, and all its columns in turn."""
import os
import pathlib
import statistics
import subprocess
import tempfile

from allocators import STOCK_PYTHON, Failed, key_values, program

SAMPLE_US = 3000
TIME_OUT_S = 300
TIMED = ("time_s", "wall_s", "user_s", "system_s", "minor_faults")
SAMPLED = ("peak_bytes", "maxrss_bytes", "mean_bytes", "excess_byte_s", "samples")


class Run:
    """A command under launch.c, as long as it lasts."""

    def __init__(self, job, env, sampled, directory):
        self.result = pathlib.Path(directory) / "result"
        self.output = tempfile.TemporaryFile("w+", dir=directory)
        self.errors = tempfile.TemporaryFile("w+", dir=directory)
        self.job = job
        env = {**env, **job.env}
        library = env.pop("LD_PRELOAD", None)
        if library:
            env["BENCH_PRELOAD"] = library
        command = [program("launch"), self.result, SAMPLE_US if sampled else 0, *job.command]
        with open(job.stdin or os.devnull) as stdin:
            self.process = subprocess.Popen(list(map(str, command)), env=env, stdin=stdin, stdout=self.output,
                                            stderr=self.errors, cwd=directory, start_new_session=True)

    def wait(self):
        """What was printed and measured. `drive` may bring a time of its own, that of what it asked for."""
        try:
            driven = self.job.drive(self.process) if self.job.drive else {}
            self.process.wait(TIME_OUT_S)
        except subprocess.TimeoutExpired:
            raise Failed(f"not done after {TIME_OUT_S} s") from None
        finally:
            self.end()
        output, errors = (self.read(file) for file in (self.output, self.errors))
        if self.process.returncode != 0 or "lowtide:" in errors:
            raise Failed(f"exit code {self.process.returncode}: {last_line(errors) or last_line(output)}")
        found = {**key_values(output), **key_values(self.result.read_text())}
        found["time_s"] = found["wall_s"] - found.get("idle_s", 0)
        return {**found, **driven}

    def end(self):
        """launch ends its command and all descendants too."""
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait()

    @staticmethod
    def read(file):
        file.seek(0)
        return file.read()


def last_line(text):
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "it said nothing"


def check_active(column, env, found):
    """The loader only prints a line when it cannot preload, and Python that is not told goes on with pymalloc."""
    library = env.get("LD_PRELOAD")
    if library and not 0 < found["preloaded"] == found["processes"]:
        raise Failed(f"{library} is mapped in {found['preloaded']:.0f} of {found['processes']:.0f} processes")
    if found.get("pymalloc_blocks") and column != STOCK_PYTHON:
        raise Failed("Python's objects are pymalloc's, not the allocator's")


def run_once(column, env, job, sampled, directory):
    if sampled:
        job.check(env)
    found = Run(job, env, sampled, directory).wait()
    if sampled:
        check_active(column, env, found)
    return found


def alternate(environments, runs):
    """The columns of each run, beginning with another one each time."""
    columns = list(environments)
    for i in range(runs):
        yield from columns[i % len(columns):] + columns[:i % len(columns)]


def summarize(values):
    middle = statistics.median(values)
    return {"median": middle, "spread": (max(values) - min(values)) / middle if middle else 0, "values": values}


def summary(timed, sampled):
    """Median, spread and values of each figure; live bytes are known to some programs only."""
    figures = {key: summarize([run[key] for run in timed]) for key in TIMED}
    figures.update((key, summarize([run[key] for run in sampled])) for key in SAMPLED)
    if not all(run["live_published"] for run in sampled):
        del figures["excess_byte_s"]
    return figures


def checks_differ(runs):
    """Columns whose programs did not compute what those of most columns did."""
    checks = {column: {run.get("check") for run in found} for column, found in runs.items()}
    if not checks:
        return []
    usual = statistics.mode(frozenset(values) for values in checks.values())
    return [column for column, values in checks.items() if values != usual or len(values) > 1]


def measure(environments, job, runs, memory_runs, tell):
    """Column -> its figures, or why there are none. Memory comes first: it warms up, and sees what is not active."""
    timed, sampled, errors = ({column: [] for column in environments} for _ in range(3))
    with tempfile.TemporaryDirectory(prefix="lowtide-bench-") as directory:
        for kind, count in ((sampled, memory_runs), (timed, runs)):
            for column in alternate(environments, count):
                if errors[column]:
                    continue
                try:
                    kind[column].append(run_once(column, environments[column], job, kind is sampled, directory))
                except Failed as reason:
                    errors[column].append(str(reason))
                    tell(f"{column} failed: {reason}")
    everything = {column: timed[column] + sampled[column] for column in environments if not errors[column]}
    for column in checks_differ(everything):
        errors[column].append("it computed something else than under the others")
        tell(f"{column} failed: {errors[column][0]}")
    return {column: {"error": errors[column][0]} if errors[column] else summary(timed[column], sampled[column])
            for column in environments}
