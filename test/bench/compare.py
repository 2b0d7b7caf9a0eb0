"""How figures.py's groups measure: a command under each allocator in turn, the medians, and rows of a table.

    LOWTIDE_BENCH_RUNS    runs behind each median; 3 (5 for times)
    LOWTIDE_BENCH_SCALE   how much is done, in percent of the full runs; 100. Small ones only show that it works.
"""
import dataclasses
import os
import re
import statistics
import subprocess
import sys
import tempfile
from typing import Callable

from allocators import Failed, environment, find_allocators, key_values, program, python_environments
from tables import MEMORY, Row

RUNS = int(os.environ.get("LOWTIDE_BENCH_RUNS") or 3)
SCALE = int(os.environ.get("LOWTIDE_BENCH_SCALE") or 100)
TIME_OUT_S = 900


def scaled(full, least=1):
    return max(least, full * SCALE // 100)


def up_to(largest, counts):
    """Those of the counts that this scale still allows, but always the first two."""
    return [count for i, count in enumerate(counts) if i < 2 or count <= scaled(largest)]


# --- running ----------------------------------------------------------------------------------

def run(command, env):
    words = list(map(str, command))
    try:
        done = subprocess.run(words, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                              timeout=TIME_OUT_S)
    except OSError as reason:
        raise Failed(str(reason)) from None
    except subprocess.TimeoutExpired:
        raise Failed(f"{' '.join(words)}: not done after {TIME_OUT_S} s") from None
    if done.returncode != 0 or "lowtide:" in done.stderr:
        raise Failed(f"{' '.join(words)}: exit code {done.returncode}\n{done.stderr}")
    return done


def measure_once(command, env):
    return key_values(run(command, env).stdout)


def medians(samples):
    return {key: statistics.median(sample[key] for sample in samples)
            for key in samples[0] if all(key in sample for sample in samples)}


def compare(label, environments, measure, runs=RUNS):
    """Column -> medians of `measure(environment)`, or None for a column that failed. The runs of the columns alternate."""
    samples = {column: [] for column in environments}
    for i in range(runs):
        print(f"{label}: run {i + 1} of {runs}", file=sys.stderr)
        for column, env in environments.items():
            if samples[column] is None:
                continue
            try:
                samples[column].append(measure(env))
            except Failed as reason:
                print(f"{label} under {column} failed: {reason}", file=sys.stderr)
                samples[column] = None
    return {column: medians(found) if found else None for column, found in samples.items()}


def preloads():
    return {name: environment(library) for name, library in find_allocators().items()}


def compare_program(name, *arguments, runs=RUNS):
    """A program of this folder under each allocator."""
    label = " ".join(map(str, (name, *arguments)))
    return compare(label, preloads(), lambda env: measure_once([program(name), *arguments], env), runs)


def instructions(command, env):
    """As callgrind counts them."""
    with tempfile.NamedTemporaryFile() as out:
        done = run(["valgrind", "--tool=callgrind", f"--callgrind-out-file={out.name}", *command], env)
    collected = re.search(r"Collected : (\d+)", done.stderr)
    if not collected:
        raise Failed(f"callgrind counted nothing:\n{done.stderr}")
    return int(collected.group(1))


def compare_instructions(label, environments, command, few, many, after=()):
    """What one more operation costs: two run lengths, so that start-up falls out. The count goes behind `command`."""
    def each(env):
        long, short = (instructions([*command, count, *after], env) for count in (many, few))
        return {"each": (long - short) / (many - few)}

    return compare(f"instructions of {label}", environments, each, 1)


# --- rows and groups --------------------------------------------------------------------------

def row(label, results, key, cell):
    return Row(label, {column: found.get(key) for column, found in results.items() if found}, cell)


def ratio_row(label, results, above, below, cell):
    values = {column: found[above] / found[below] for column, found in results.items()
              if found and found.get(above) is not None and found.get(below)}
    return Row(label, values, cell)


AFTER = (("at once", "at_once_bytes"), ("asleep", "asleep_bytes"), ("after malloc_trim", "trimmed_bytes"))


def after_rows(label, results):
    return [row(f"{label}: {moment}", results, key, MEMORY) for moment, key in AFTER]


def allocator_columns():
    return list(find_allocators())


def python_columns():
    return list(python_environments())


@dataclasses.dataclass
class Group:
    title: str
    rows: Callable                              # yields Rows
    note: str = ""
    columns: Callable = allocator_columns
