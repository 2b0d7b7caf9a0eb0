#!/usr/bin/env python3
"""The table of figures: lowtide beside stock glibc, jemalloc, mimalloc and tcmalloc.

usage: test/bench/figures.py [GROUP...]     objects buffers ring rounds wakeups threads
                                            time instructions edge python address-space
    LOWTIDE_LIB           the library; build/liblowtide.so
    LOWTIDE_BENCH_RUNS    runs behind each median; 3 (5 for times)
    LOWTIDE_BENCH_DIR     where the compiled programs are; by default make builds build/bench
    LOWTIDE_BENCH_PYTHON  the interpreter that is measured; the system's

A Markdown table for each group goes to stdout, progress to stderr, and a run of all groups to
build/figures.md. The runs of the allocators alternate, so that a slow minute of the machine hits
all of them. An allocator that is not installed has no column; one that fails has a dash.
"""
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile

from allocators import (HERE, PYTHON, REPO, Failed, check_active, environment, find_allocators, key_values, program,
                        python_environments, without_preload)

REPORT = REPO / "build" / "figures.md"
RUNS = int(os.environ.get("LOWTIDE_BENCH_RUNS") or 3)
PROGRAMS = ("objects", "buffers", "ring", "pair", "mix", "edge", "rounds", "threads",
            "wakeups", "reads")


# --- running ----------------------------------------------------------------------------------

def run(command, env):
    done = subprocess.run(list(map(str, command)), env=env, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True)
    if done.returncode != 0 or "lowtide:" in done.stderr:
        raise Failed(f"{' '.join(map(str, command))}: exit code {done.returncode}\n{done.stderr}")
    return done


def measure_once(command, env):
    return key_values(run(command, env).stdout)


def medians(samples):
    return {key: statistics.median(sample[key] for sample in samples) for key in samples[0]}


def compare(label, environments, measure, runs=RUNS):
    """Column -> medians of `measure(environment)`, or None for a column that failed."""
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


# --- cells and rows ---------------------------------------------------------------------------

def memory(value):
    return f"{value / 1e6:.1f} ({value / 2**20:.1f})"


def seconds(value):
    return f"{value:.3f} s"


def nanoseconds(value):
    return f"{value:.2f} ns"


def plain(value):
    return f"{value:.2f}"


def row(label, results, key, cell):
    return [label] + ["-" if found is None else cell(found[key]) for found in results.values()]


AFTER = (("at once", "at_once_bytes"), ("asleep", "asleep_bytes"), ("after malloc_trim", "trimmed_bytes"))


def after_rows(label, results):
    return [row(f"{label}: {moment}", results, key, memory) for moment, key in AFTER]


def live_of(results):
    live = next((found["live_bytes"] for found in results.values() if found), 0)
    return f"{live / 1e6:.1f} MB live"


def peak_rows(name, what, percents):
    for percent in percents:
        results = compare(f"{name} {percent} %", preloads(),
                          lambda env: measure_once([program(name), percent], env))
        label = f"{what}, {percent} % freed ({live_of(results)})"
        yield row(f"{label}: peak", results, "peak_bytes", memory)
        yield from after_rows(label, results)
        yield row(f"{label}: allocate", results, "alloc_s", seconds)
        yield row(f"{label}: free", results, "free_s", seconds)


# --- the groups: each gives its rows ----------------------------------------------------------

def objects():
    return peak_rows("objects", "2,000,000 objects of 16..512 B", (100, 99, 90))


def buffers():
    return peak_rows("buffers", "20,000 buffers of 1..64 KiB", (90, 100))


def ring():
    results = compare("ring", preloads(), lambda env: measure_once([program("ring")], env))
    yield from after_rows("8 threads, freed by the next, all ended", results)
    yield row("time", results, "run_s", seconds)


def rounds():
    for what, label, count in ((1, "1 MB of small objects", 3000), (10, "10 MB", 1000),
                               (100, "100 MB", 100), ("buffers", "64 buffers of 1..16 MB", 100)):
        results = compare(f"rounds {what}", preloads(),
                          lambda env: measure_once([program("rounds"), what, count], env))
        yield row(f"{label}: a round, ms", results, "round_ms", "{:.3f}".format)
        yield row(f"{label}: minor faults of a round", results, "round_faults", "{:.0f}".format)
        yield from after_rows(label, results)


def wakeups():
    for blocks in (8, 300):
        results = compare(f"wakeups {blocks}", preloads(),
                          lambda env: measure_once([program("wakeups"), 200_000, 100_000, blocks], env))
        yield row(f"100,000 wake-ups a second, {blocks} blocks each: busy time of one", results,
                  "ns_each", nanoseconds)
    results = compare("reads", preloads(), lambda env: measure_once([program("reads")], env))
    yield row("a read of 1 byte from /dev/zero", results, "zero_ns_each", nanoseconds)
    yield row("a read of 1 byte from a pipe", results, "pipe_ns_each", nanoseconds)


def threads():
    for count in (16, 256):
        results = compare(f"threads {count}", preloads(),
                          lambda env: measure_once([program("threads"), count], env))
        yield row(f"{count} threads alive: above start", results, "alive_bytes", memory)
        yield row(f"{count} threads alive: whole process", results, "total_bytes", memory)


def time():
    cases = [("malloc+free pair of 48 B", ["pair", 20_000_000])] + [
        (f"random free+malloc of 16..512 B, {live:,} live", ["mix", live, 3_000_000])
        for live in (1_000, 100_000, 3_000_000)]
    for label, (name, *arguments) in cases:
        results = compare(label, preloads(),
                          lambda env: measure_once([program(name), *arguments], env), max(RUNS, 5))
        yield row(label, results, "ns_each", nanoseconds)


def instructions():
    """What one more operation costs: two run lengths, so that start-up falls out."""
    def collected(env, command):
        with tempfile.NamedTemporaryFile() as out:
            done = run(["valgrind", "--tool=callgrind", f"--callgrind-out-file={out.name}",
                        *command], env)
        return int(re.search(r"Collected : (\d+)", done.stderr).group(1))

    def each(env, command, few, many):
        difference = collected(env, [*command, many]) - collected(env, [*command, few])
        return {"each": difference / (many - few)}

    for label, command in (("malloc+free pair of 48 B", ["pair"]),
                           ("random free+malloc, 1,000 live", ["mix", 1_000]),
                           ("random free+malloc, 100,000 live", ["mix", 100_000])):
        name, *arguments = command
        results = compare(f"instructions of {label}", preloads(),
                          lambda env: each(env, [program(name), *arguments], 100_000, 300_000), 1)
        yield row(label, results, "each", plain)


def edge():
    """System calls of the loop alone: those of a run that only fills are subtracted."""
    def calls(env, *arguments):
        preload = ["-E", f"LD_PRELOAD={env['LD_PRELOAD']}"] if "LD_PRELOAD" in env else []
        summary = run(["strace", "-f", "-c", "-e", "trace=munmap,madvise,brk", *preload,
                       program("edge"), *arguments], without_preload(env)).stderr
        return sum(map(int, re.findall(
            r"^\s*\S+\s+\S+\s+\S+\s+(\d+)\s.*\b(?:munmap|madvise|brk)$", summary, re.M)))

    def measure(env, count, batch):
        return {"calls": calls(env, count, batch) - calls(env, 0, batch),
                **measure_once([program("edge"), count, batch], env)}

    for count, batch in ((1_000_000, 1_000), (10_000_000, 250_000)):
        results = compare(f"edge {batch}", preloads(), lambda env: measure(env, count, batch))
        label = f"{count:,} allocations and frees, {batch:,} at a time"
        yield row(f"{label}: munmap + madvise + brk calls", results, "calls", "{:.0f}".format)
        yield row(f"{label}: time", results, "run_s", seconds)


def python():
    for job, label in (("sparse", "600,000 bytes(40), 1 in 1,000 kept"),
                       ("mixed", "3,000,000 mixed objects, all dropped")):
        results = compare(f"python {job}", python_environments(),
                          lambda env: measure_once([PYTHON, HERE / "pyheap.py", job], env))
        yield row(f"{label}: peak", results, "peak_bytes", memory)
        yield from after_rows(label, results)
        yield row(f"{label}: build", results, "build_s", seconds)
        yield row(f"{label}: drop", results, "drop_s", seconds)


def address_space():
    results = compare("address space", python_environments(),
                      lambda env: measure_once([PYTHON, HERE / "pyheap.py", "address-space"], env))
    yield row("bare interpreter: VmPeak", results, "peak_bytes", memory)
    yield row("bare interpreter: VmSize", results, "size_bytes", memory)


GROUPS = {
    "objects": ("Small objects: resident MB (MiB) above the start", objects),
    "buffers": ("Buffers: resident MB (MiB) above the start", buffers),
    "ring": ("Freed by another thread: resident MB (MiB) above the start", ring),
    "rounds": ("Built and dropped in a loop: from the third round on; resident MB (MiB) above the start", rounds),
    "wakeups": ("Calls that wake up at once", wakeups),
    "threads": ("Threads that used every size: resident MB (MiB)", threads),
    "time": ("Time of one operation", time),
    "instructions": ("Instructions of one operation (callgrind)", instructions),
    "edge": ("Across an arena's edge", edge),
    "python": ("Python heap: resident MB (MiB) above the start; peers with PYTHONMALLOC=malloc", python),
    "address-space": ("Python's address space, MB (MiB)", address_space),
}
WITH_STOCK_PYTHON = ("python", "address-space")


# --- the report -------------------------------------------------------------------------------

def machine():
    version = subprocess.run([PYTHON, "-V"], stdout=subprocess.PIPE, text=True).stdout.strip()
    return (f"{os.cpu_count()} cores, kernel {platform.release()}, "
            f"{' '.join(platform.libc_ver())}, {version}; medians of {RUNS} alternating runs "
            f"({max(RUNS, 5)} for the time of one operation; instructions are counted once).")


def table(group):
    title, rows = GROUPS[group]
    columns = list(python_environments() if group in WITH_STOCK_PYTHON else preloads())
    yield f"\n## {title}\n"
    yield "| | " + " | ".join(columns) + " |"
    yield "|---|" + "--:|" * len(columns)
    for cells in rows():
        yield "| " + " | ".join(cells) + " |"


def main():
    wanted = sys.argv[1:] or list(GROUPS)
    unknown = [name for name in wanted if name not in GROUPS]
    if unknown:
        sys.exit(f"figures.py: no group {unknown[0]}; there are {' '.join(GROUPS)}")
    if "LOWTIDE_BENCH_DIR" not in os.environ:
        subprocess.run(["make", "-s", *(f"build/bench/{name}" for name in PROGRAMS)], cwd=REPO,
                       stdout=sys.stderr, check=True)
    for name, library in find_allocators().items():
        check_active(name, library)
    lines = [machine()]
    print(lines[0], flush=True)
    for group in wanted:
        for line in table(group):
            print(line, flush=True)
            lines.append(line)
    if not sys.argv[1:]:
        REPORT.parent.mkdir(exist_ok=True)
        REPORT.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
