#!/usr/bin/env python3
"""The suite of programs, each under every allocator that is installed: what runs, and in which order.

Time, memory and faults of each go to bench/results/NAME.json as soon as it is measured, the tables of all to
bench/results/bench.md, and a picture to bench.svg. `make bench` and `make bench-quick` build the programs first.
The exit code is 1 when a program failed under an allocator.
"""
import argparse
import collections
import pathlib
import subprocess
import sys
import tempfile

import allocators
import machine
import report
from allocators import RESULTS, write_json
from measure import measure
from programs import all_programs

PICTURE = allocators.HERE / "picture.py"
Plan = collections.namedtuple("Plan", "mode scale runs memory_runs")
FULL = Plan("full", 100, 5, 2)
QUICK = Plan("quick", 12, 2, 1)


def tell(message):
    print(message, file=sys.stderr, flush=True)


def fail(message):
    sys.exit(f"suite.py: {message}")


def options():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer runs of smaller programs: some three minutes")
    parser.add_argument("--only", metavar="TEXT", help="only programs whose name contains this")
    parser.add_argument("--runs", type=int, metavar="N", help=f"timed runs; {FULL.runs}, with --quick {QUICK.runs}")
    parser.add_argument("--allocators", metavar="A,B", help="only these of " + ", ".join(column_names()))
    parser.add_argument("--list", action="store_true", help="name the programs")
    chosen = parser.parse_args()
    if chosen.runs is not None and chosen.runs < 1:
        parser.error("--runs: at least one")
    unknown = set(wanted_columns(chosen)) - set(column_names())
    if unknown:
        parser.error(f"--allocators: no {sorted(unknown)[0]}; there are {', '.join(column_names())}")
    return chosen


# --- columns ----------------------------------------------------------------------------------

def column_names():
    return [*allocators.find_allocators(), allocators.STOCK_PYTHON.split()[0]]


def wanted_columns(chosen):
    return chosen.allocators.split(",") if chosen.allocators else column_names()


def environments(program, wanted):
    """Column -> the environment of the program under that allocator."""
    if program.kind == "Python":
        found = allocators.python_environments()
        found[allocators.STOCK_PYTHON] = found.pop(allocators.STOCK_PYTHON)     # the last column
    else:
        found = {name: allocators.environment(library) for name, library in allocators.find_allocators().items()}
    return program.adapt({name: env for name, env in found.items() if name.split()[0] in wanted})


# --- running ----------------------------------------------------------------------------------

def run_program(program, plan, wanted, scratch):
    directory = pathlib.Path(scratch) / program.name
    directory.mkdir()
    tell_here = lambda text: tell(f"{program.name}: {text}")  # noqa: E731
    columns = measure(environments(program, wanted), program.job(plan.scale, directory), plan.runs, plan.memory_runs,
                      tell_here)
    write_json(program.name, {"name": program.name, "about": program.about, "kind": program.kind,
                              "note": program.note(), **plan._asdict(), "columns": columns})
    return not any("error" in figures for figures in columns.values())


def run_all(programs, plan, wanted):
    """Whether all went well; what is measured when it is interrupted stays."""
    good = True
    with tempfile.TemporaryDirectory(prefix="lowtide-suite-") as scratch:
        for number, program in enumerate(programs, 1):
            lacking = program.lacks()
            tell(f"[{number}/{len(programs)}] {program.name}" + (f": skipped, {lacking}" if lacking else ""))
            if not lacking:
                good = run_program(program, plan, wanted, scratch) and good
    return good


def write_report(plan):
    if not report.write(RESULTS, plan.mode):
        return
    for python in dict.fromkeys((sys.executable, "/usr/bin/python3")):
        has = subprocess.run([python, "-c", "import matplotlib"], stderr=subprocess.DEVNULL)
        if has.returncode == 0:
            subprocess.run([python, str(PICTURE), str(RESULTS), plan.mode])
            return
    tell("no picture: matplotlib is not installed (scripts/install-deps bench)")


def main():
    chosen = options()
    programs = [program for program in all_programs() if not chosen.only or chosen.only in program.name]
    if chosen.list or not programs:
        print("\n".join(f"{program.name:18} {program.about}" for program in programs or all_programs()))
        sys.exit(0 if chosen.list else f"suite.py: no program's name contains {chosen.only}")
    plan = QUICK if chosen.quick else FULL
    plan = plan._replace(runs=chosen.runs or plan.runs)
    for name, library in allocators.find_allocators().items():
        if name in wanted_columns(chosen):
            allocators.check_active(name, library)
    if not chosen.only:
        for old in set(RESULTS.glob("*.json")) - {RESULTS / "figures.json"}:
            old.unlink()
    write_json("machine", {**machine.machine(), **plan._asdict()})
    interrupted = good = False
    try:
        good = run_all(programs, plan, wanted_columns(chosen))
    except KeyboardInterrupt:
        interrupted = True
        tell("interrupted: what is measured is kept")
    write_report(plan)
    sys.exit(130 if interrupted else 0 if good else 1)


if __name__ == "__main__":
    main()
