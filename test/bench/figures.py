#!/usr/bin/env python3
"""Tables of figures: lowtide beside stock glibc, jemalloc, mimalloc and tcmalloc.

usage: test/bench/figures.py [--results] [GROUP...]     GROUP: objects buffers ring rounds threads packing
                                                        statistics fork python address-space wakeups time
                                                        instructions edge scale costs
    --results             to bench/results/figures.md and figures.json (medians as they are), too, written anew;
                          without GROUP those that `make bench` measures
    LOWTIDE_BENCH_SCALE   how much is done, in percent of the full runs; 100. At 5 every group is done in some
                          minutes, and only shows that it works.
    LOWTIDE_BENCH_RUNS    runs behind each median; 3 (5 for times)
    LOWTIDE_LIB           the library; build/liblowtide.so
    LOWTIDE_BENCH_DIR     where the compiled programs are; by default make builds build/bench
    LOWTIDE_BENCH_PYTHON  the interpreter that is measured; the system's

A Markdown table for each group goes to stdout, progress to stderr, and a run of all groups to
build/figures.md. The runs of the allocators alternate, so that a slow minute of the machine hits
all of them. An allocator that is not installed has no column; one that fails has a dash.
"""
import argparse
import os
import subprocess

import machine
import memory_groups
import speed_groups
from allocators import REPO, RESULTS, check_active, find_allocators, write_json
from compare import RUNS, SCALE
from tables import table

GROUPS = {**memory_groups.GROUPS, **speed_groups.GROUPS}
GROUPS_OF_RESULTS = ("instructions", "statistics", "scale", "packing", "fork", "costs")
REPORT = REPO / "build" / "figures.md"


def options():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("groups", nargs="*", metavar="GROUP")
    parser.add_argument("--results", action="store_true")
    chosen = parser.parse_args()
    unknown = [name for name in chosen.groups if name not in GROUPS]
    if unknown:
        parser.error(f"no group {unknown[0]}; there are {' '.join(GROUPS)}")
    return chosen


def introduction(found):
    yield from machine.lines(found)
    yield (f"\nMedians of {RUNS} alternating runs ({speed_groups.TIMED_RUNS} for the time of one operation; instructions are "
           f"counted once); {SCALE} % of the full scale.")


def measure(name):
    """The lines of the group's table, and its figures for JSON."""
    group = GROUPS[name]
    columns, rows = group.columns(), list(group.rows())
    lines = list(table(group.title, ["", *columns], (row.texts(columns) for row in rows), group.note))
    return lines, {"title": group.title, "note": group.note, "columns": columns,
                   "rows": [{"label": row.label, "unit": row.cell.unit, "values": row.values} for row in rows]}


def main():
    chosen = options()
    wanted = chosen.groups or (GROUPS_OF_RESULTS if chosen.results else list(GROUPS))
    if "LOWTIDE_BENCH_DIR" not in os.environ:
        subprocess.run(["make", "-s", "figures-programs"], cwd=REPO, check=True)
    for name, library in find_allocators().items():
        check_active(name, library)
    found = machine.machine()
    lines = list(introduction(found))
    figures = {"machine": found, "runs": RUNS, "scale": SCALE, "groups": {}}
    print("\n".join(lines), flush=True)
    for name in wanted:
        of_group, figures["groups"][name] = measure(name)
        print("\n".join(of_group), flush=True)
        lines += of_group
        if chosen.results:      # after each, so that an interrupted run leaves what it measured
            write_json("figures", figures)
            (RESULTS / "figures.md").write_text("\n".join(lines) + "\n")
    if not chosen.groups and not chosen.results:
        REPORT.parent.mkdir(exist_ok=True)
        REPORT.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
