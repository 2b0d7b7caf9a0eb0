#!/usr/bin/env python3
"""Runs the main job under stock glibc and under lowtide, and compares phase by phase.

The runs alternate, and each cell is the median of LOWTIDE_DEMO_RUNS runs (3). The table goes to
stdout and to build/demo.md. The comparison fails when the two did not compute the same, or when
the preload was not active in the job.

LOWTIDE_LIB names the library; the default is build/liblowtide.so.
"""
import json
import os
import pathlib
import statistics
import subprocess
import sys

REPO = pathlib.Path(__file__).resolve().parent.parent
JOB = REPO / "scripts" / "demo-job.py"
REPORT = REPO / "build" / "demo.md"
LIBRARY = os.path.realpath(os.environ.get("LOWTIDE_LIB") or REPO / "build" / "liblowtide.so")
STOCK, LOWTIDE = "stock glibc", "lowtide"
MB = 1e6


def fail(message):
    sys.exit(f"scripts/demo.py: {message}")


def run_job(under):
    """One run of the job; its JSON."""
    env = {k: v for k, v in os.environ.items() if k not in ("LD_PRELOAD", "PYTHONMALLOC")}
    if under == LOWTIDE:
        env["LD_PRELOAD"] = LIBRARY
    done = subprocess.run([sys.executable, str(JOB)], env=env, stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        fail(f"the job under {under} ended with {done.returncode}")
    return json.loads(done.stdout)


def check_runs(runs):
    for result in runs[STOCK]:
        if result["preloaded"] is not None:
            fail("the stock run had a preloaded library")
    for result in runs[LOWTIDE]:
        if result["preloaded"] != LIBRARY:
            fail(f"the preload was not active: {LIBRARY} is not mapped in the job")
    if len({result["checksum"] for results in runs.values() for result in results}) != 1:
        fail("the runs did not compute the same: their checksums differ")


def medians(results):
    """Phase name -> (resident MB, seconds)."""
    phases = zip(*(result["phases"] for result in results))
    return {
        samples[0][0]: (
            statistics.median(sample[1] for sample in samples) / MB,
            statistics.median(sample[2] for sample in samples),
        )
        for samples in map(list, phases)
    }


def total_seconds(phases):
    return sum(seconds for _, seconds in phases.values())


def table(stock, lowtide):
    yield f"| phase | {STOCK}: MB | s | {LOWTIDE}: MB | s |"
    yield "|---|--:|--:|--:|--:|"
    for name in stock:
        yield "| {} | {:.0f} | {:.2f} | {:.0f} | {:.2f} |".format(
            name, *stock[name], *lowtide[name])
    yield f"| whole job | | {total_seconds(stock):.2f} | | {total_seconds(lowtide):.2f} |"


def verdict(stock, lowtide):
    """The two moments that matter: everything dropped, and few survivors among many."""
    def held(phases, name):
        return phases[name][0] - phases["start"][0]

    all_dropped, survivors = "waited for a child", "waited for a child again"
    return (
        f"Verdict: above its start, with everything dropped, the job holds "
        f"{held(stock, all_dropped):.0f} MB under {STOCK} and "
        f"{held(lowtide, all_dropped):.0f} MB under {LOWTIDE}; with 1 object in 1,000 kept, "
        f"{held(stock, survivors):.0f} MB and {held(lowtide, survivors):.0f} MB; "
        f"the job took {total_seconds(lowtide) / total_seconds(stock):.2f} x the time, "
        f"and computed the same."
    )


def measure(repetitions):
    runs = {STOCK: [], LOWTIDE: []}
    for i in range(repetitions):
        for under, results in runs.items():
            print(f"run {i + 1} of {repetitions} under {under}", file=sys.stderr)
            results.append(run_job(under))
    check_runs(runs)
    return medians(runs[STOCK]), medians(runs[LOWTIDE])


def main():
    if not os.path.exists(LIBRARY):
        fail(f"{LIBRARY} does not exist; run make first")
    repetitions = int(os.environ.get("LOWTIDE_DEMO_RUNS") or 3)
    stock, lowtide = measure(repetitions)
    version = ".".join(map(str, sys.version_info[:3]))
    lines = [
        f"Python {version}, 3,000,000 objects and 200 MB of buffers, built and dropped twice; "
        f"resident MB and seconds of each phase, medians of {repetitions}.",
        "", *table(stock, lowtide), "", verdict(stock, lowtide),
    ]
    REPORT.parent.mkdir(exist_ok=True)
    REPORT.write_text("\n".join(lines) + "\n")
    print(*lines, sep="\n")


main()
