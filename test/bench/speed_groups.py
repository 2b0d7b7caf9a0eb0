"""The groups of figures.py that are about time, instructions and system calls."""
import json
import pathlib
import re
import tempfile

from allocators import environment, program, without_preload
from compare import (RUNS, Group, compare, compare_instructions, compare_program, measure_once, preloads, row, run,
                     scaled, up_to)
from tables import COUNT, MEGABYTES, MICROSECONDS, NANOSECONDS, PLAIN, SECONDS

TIMED_RUNS = max(RUNS, 5)


def time():
    results = compare_program("pair", scaled(20_000_000), runs=TIMED_RUNS)
    yield row("malloc+free pair of 48 B", results, "ns_each", NANOSECONDS)
    for live in (1_000, 100_000, 3_000_000):
        results = compare_program("mix", live, scaled(3_000_000), runs=TIMED_RUNS)
        yield row(f"random free+malloc of 16..512 B, {live:,} live", results, "ns_each", NANOSECONDS)


# What, command, and the two counts whose difference is taken.
HOT_PATHS = (
    ("malloc+free pair of 48 B", ["pair"], 100_000, 300_000),
    ("random free+malloc, 1,000 live", ["mix", 1_000], 100_000, 300_000),
    ("random free+malloc, 100,000 live", ["mix", 100_000], 100_000, 300_000),
    ("malloc of 48 B and free by another thread, 1,000 at a time", ["paths", "remote"], 100_000, 300_000),
    ("malloc of 48 B, never freed", ["paths", "refill"], 100_000, 300_000),
    ("48 B: all taken, then freed in order", ["paths", "drop"], 100_000, 300_000),
    ("2 KiB: all taken, then freed in order", ["paths", "drop-2k"], 10_000, 30_000),
)


def instructions():
    for label, (name, *arguments), few, many in HOT_PATHS:
        results = compare_instructions(label, preloads(), [program(name), *arguments], few, many)
        yield row(label, results, "each", PLAIN)


def wakeups():
    for blocks in (8, 300):
        results = compare_program("wakeups", scaled(200_000), 100_000, blocks)
        yield row(f"100,000 wake-ups a second, {blocks} blocks each: busy time of one", results,
                  "ns_each", NANOSECONDS)
    results = compare_program("reads")
    yield row("a read of 1 byte from /dev/zero", results, "zero_ns_each", NANOSECONDS)
    yield row("a read of 1 byte from a pipe", results, "pipe_ns_each", NANOSECONDS)


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

    for full, batch in ((1_000_000, 1_000), (10_000_000, 250_000)):
        count = scaled(full)
        results = compare(f"edge {batch}", preloads(), lambda env: measure(env, count, batch))
        label = f"{count:,} allocations and frees, {batch:,} at a time"
        yield row(f"{label}: munmap + madvise + brk calls", results, "calls", COUNT)
        yield row(f"{label}: time", results, "run_s", SECONDS)


# --- scale ------------------------------------------------------------------------------------

LIVE = (10, 1_000, 10_000, 100_000, 1_000_000, 10_000_000, 40_000_000)
LIVE_COUNTED = (1_000, 100_000, 1_000_000)
ARENAS = (10, 100, 1_000, 10_000, 80_000)
ARENAS_COUNTED = (10, 1_000, 10_000)
ARENAS_OF_PEERS = 1_000         # more are filled in a way that only lowtide's blocks allow, or take 20 GB
THREADS = (1, 2, 8, 64, 512)
OPERATIONS = (("512 B, 8,000 at a time", "near_ns"), ("512 B, 4 for each arena at a time", "across_ns"),
              ("2 KiB, 256 at a time", "slab_ns"), ("100 KiB, one by one", "wide_ns"))


def scale_live():
    for live in up_to(max(LIVE), LIVE):
        results = compare_program("scale", "live", live, scaled(3_000_000))
        yield row(f"{live:,} blocks of 16..48 B: fill", results, "fill_ns", NANOSECONDS)
        yield row(f"{live:,} blocks: random free+malloc", results, "replace_ns", NANOSECONDS)
    for live in up_to(max(LIVE_COUNTED), LIVE_COUNTED):
        label = f"{live:,} blocks: random free+malloc, instructions"
        results = compare_instructions(label, preloads(), [program("scale"), "live", live], 100_000, 300_000)
        yield row(label, results, "each", PLAIN)


def only_lowtide():
    return {"lowtide": preloads()["lowtide"]}


def measure_arenas(column, env, kind, arenas):
    """The operations, and how many arenas there were when the program ended."""
    with tempfile.TemporaryDirectory(prefix="lowtide-bench-") as directory:
        file = pathlib.Path(directory) / "statistics"
        found = measure_once([program("scale"), kind, arenas, scaled(1_000_000)], {**env, "LOWTIDE_STATS": str(file)})
        if column == "lowtide":
            found["arenas"] = json.loads(file.read_text())["arenas_current"]
        return found


def scale_arenas():
    for arenas in up_to(max(ARENAS), ARENAS):
        with_peers = arenas <= ARENAS_OF_PEERS
        environments = preloads() if with_peers else only_lowtide()
        results = compare(f"scale arenas {arenas}", dict(zip(environments, environments.items())),
                          lambda pair: measure_arenas(*pair, "arenas" if with_peers else "lean", arenas))
        for what, key in OPERATIONS:
            yield row(f"{arenas:,} x 256 KiB with one survivor: {what}", results, key, NANOSECONDS)
        yield row(f"{arenas:,} x 256 KiB: arenas mapped", results, "arenas", COUNT)
    for arenas in up_to(max(ARENAS_COUNTED), ARENAS_COUNTED):
        label = f"{arenas:,} x 256 KiB: 512 B, 8,000 at a time, instructions"
        results = compare_instructions(label, only_lowtide(), [program("scale"), "lean", arenas], 80_000, 240_000, ["near"])
        yield row(label, results, "each", PLAIN)


def scale_threads():
    for count in THREADS:
        results = compare_program("scale", "threads", count, scaled(20_000_000))
        label = f"threads: {count}, each with 1,000 blocks of 16..512 B"
        yield row(f"{label}: random free+malloc, CPU time of one", results, "cpu_ns", NANOSECONDS)
        yield row(f"threads: {count}: wall time by their number", results, "wall_ns", NANOSECONDS)
        yield row(f"threads: {count}: peak RSS, MB", results, "peak_bytes", MEGABYTES)


def scale():
    yield from scale_live()
    yield from scale_arenas()
    yield from scale_threads()


SCALE_NOTE = """\
Where instructions stay the same and time grows, caches miss. In 1,000 arenas and more the 8,000 blocks lie where one page in 64
has room for seven of them; in fewer, most lie on pages of their own. More than 1,000 arenas are filled in a way that only
lowtide's blocks allow (`scale.c`, lean), as it would take 20 GB. Threads make 20 million replacements at full scale, whatever
their number; with more threads than cores, those that are preempted in the allocator are part of the figure."""


# --- the kernel -------------------------------------------------------------------------------

BUSY = {"1 thread": 0, "beside a busy thread": 1}
KERNEL_COSTS = (
    ("a page's first touch", "first_touch_us"), ("a page's touch after MADV_DONTNEED", "touch_again_us"),
    *((f"madvise(MADV_DONTNEED) of {n} pages", f"dontneed_{n}_us") for n in (1, 2, 16, 64)),
    *((f"munmap of {n} pages", f"munmap_{n}_us") for n in (1, 2, 16, 64)),
    *((f"mremap that moves {n} pages", f"move_{n}_us") for n in (16, 64, 256, 1024)),
    *((f"process_madvise(MADV_DONTNEED) of 64 x {n} pages", f"batch_{n}_us") for n in (1, 2)),
)


def costs():
    results = compare("costs", BUSY, lambda busy: measure_once([program("costs"), busy, scaled(100, 3)], environment(None)))
    for label, key in KERNEL_COSTS:
        yield row(label, results, key, MICROSECONDS)


GROUPS = {
    "wakeups": Group("Calls that wake up at once", wakeups),
    "time": Group("Time of one operation", time),
    "instructions": Group("Instructions of one operation (callgrind), loop included", instructions,
                          "The kernel's are not counted: page faults and system calls are in the other tables."),
    "edge": Group("Across an arena's edge", edge),
    "scale": Group("As the numbers grow", scale, SCALE_NOTE),
    "costs": Group("What the kernel takes, us", costs,
                   "Of a call, on resident pages of 4 KiB, no allocator involved. Beside a busy thread of the same process "
                   "(on another core) releases have to interrupt that one, too.", lambda: list(BUSY)),
}
