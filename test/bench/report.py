"""The tables of the suite: every figure of every program and allocator, and lowtide beside its peers.

usage: test/bench/report.py DIRECTORY [full|quick]      again from the JSON that is there
"""
import json
import math
import pathlib
import sys

import machine
from allocators import STOCK_PYTHON
from tables import megabytes, table

LOWTIDE = "lowtide"
TIME_MARK, PEAK_MARK = 1.10, 1.05
RATIOS = (("time", "time_s", TIME_MARK), ("CPU", "cpu_s", None), ("peak RSS", "peak_bytes", PEAK_MARK),
          ("mean RSS", "mean_bytes", None))


def load(directory, mode):
    """The programs measured in this mode, in the order of the suite."""
    from programs import all_programs
    results = []
    for program in all_programs():
        file = pathlib.Path(directory) / f"{program.name}.json"
        if file.exists():
            result = json.loads(file.read_text())
            if result["mode"] == mode:
                results.append(result)
    return results


def figure(result, column, key):
    """A median, or None for a column that failed, was not measured, or does not have it."""
    figures = result["columns"].get(column, {"error": "not measured"})
    if key == "cpu_s":
        parts = [figure(result, column, part) for part in ("user_s", "system_s")]
        return None if None in parts else sum(parts)
    return figures[key]["median"] if key in figures else None


def columns_of(results):
    found = dict.fromkeys(column for result in results for column in result["columns"])
    order = [column for column in found if column not in (LOWTIDE, STOCK_PYTHON)]
    return order + [column for column in (LOWTIDE, STOCK_PYTHON) if column in found]


def peers_of(results):
    """Stock pymalloc is no malloc: it has a column, but is no peer."""
    return [column for column in columns_of(results) if column not in (LOWTIDE, STOCK_PYTHON)]


def best_peer(result, key, peers):
    found = {column: figure(result, column, key) for column in peers}
    found = {column: value for column, value in found.items() if value}
    return min(found.items(), key=lambda item: item[1]) if found else (None, None)


def ratio(result, key, other):
    own = figure(result, LOWTIDE, key)
    return own / other if own and other else None


def ratios_to_best(results, key):
    peers = peers_of(results)
    return [ratio(result, key, best_peer(result, key, peers)[1]) for result in results]


def geometric_mean(values):
    values = [value for value in values if value]
    return math.exp(sum(map(math.log, values)) / len(values)) if values else None


# --- cells ------------------------------------------------------------------------------------

def time_cell(figures):
    return f"{figures['time_s']['median']:.3f} ±{figures['time_s']['spread'] * 50:.0f}%"


def cpu_cell(figures):
    return f"{figures['user_s']['median']:.2f} + {figures['system_s']['median']:.2f}"


def peak_cell(figures):
    return f"{megabytes(figures['peak_bytes']['median'])} ({megabytes(figures['maxrss_bytes']['median'])})"


def mean_cell(figures):
    return megabytes(figures["mean_bytes"]["median"])


def excess_cell(figures):
    return megabytes(figures["excess_byte_s"]["median"]) if "excess_byte_s" in figures else "-"


def faults_cell(figures):
    return f"{figures['minor_faults']['median']:,.0f}"


TABLES = (
    ("Wall time, s, and half of what the runs spread; without the time a program slept on purpose", time_cell),
    ("CPU, s: user + system", cpu_cell),
    ("Peak RSS, MB (in brackets ru_maxrss, of the largest process)", peak_cell),
    ("Mean RSS over time, MB", mean_cell),
    ("RSS less live bytes over time, MB s, where the program knows what is live", excess_cell),
    ("Minor faults", faults_cell),
)


def figures_table(results, title, cell):
    columns = columns_of(results)

    def one(result, column):
        figures = result["columns"].get(column)
        return cell(figures) if figures and "error" not in figures else "-"

    rows = [[result["name"]] + [one(result, column) for column in columns] for result in results]
    return table(title, ["program", *columns], (row for row in rows if set(row[1:]) != {"-"}))


def ratio_text(value, mark=None):
    if value is None:
        return "-"
    return f"**{value:.2f} !**" if mark and value > mark else f"{value:.2f}"


def ratio_row(result, peers):
    row = [result["name"]]
    for _, key, mark in RATIOS:
        name, best = best_peer(result, key, peers)
        text = ratio_text(ratio(result, key, best), mark)
        row.append(text if text == "-" else f"{text} {name}")
    return row


def mean_row(label, results, other):
    """`other(result, key)` is what lowtide is set against."""
    cells, counts = [], []
    for _, key, _ in RATIOS:
        values = [ratio(result, key, other(result, key)) for result in results]
        cells.append(ratio_text(geometric_mean(values)))
        counts.append(sum(value is not None for value in values))
    return [f"{label} (of {max(counts)})", *cells]


def marked_row(results):
    counts = []
    for _, key, mark in RATIOS:
        above = [value for value in ratios_to_best(results, key) if value and mark and value > mark]
        counts.append(f"{len(above)} of {len(results)} above {mark:.2f}" if mark else "")
    return ["marked", *counts]


def ratio_rows(results):
    peers = peers_of(results)
    yield from (ratio_row(result, peers) for result in results)
    yield mean_row("**geometric mean beside the best peer of each program**", results,
                   lambda result, key: best_peer(result, key, peers)[1])
    for kind in dict.fromkeys(result["kind"] for result in results):
        yield mean_row(f"the same, {kind}", [result for result in results if result["kind"] == kind],
                       lambda result, key: best_peer(result, key, peers)[1])
    for peer in [column for column in columns_of(results) if column != LOWTIDE]:
        yield mean_row(f"geometric mean beside {peer}", results,
                       lambda result, key, peer=peer: figure(result, peer, key))
    yield marked_row(results)


def machine_lines(directory, results):
    runs = sorted({(result["runs"], result["memory_runs"]) for result in results})
    yield from machine.lines(json.loads((pathlib.Path(directory) / "machine.json").read_text()))
    yield ("\nMedians of " + ", ".join(f"{timed} timed runs and {sampled} for memory" for timed, sampled in runs) +
           f", alternating; {results[0]['scale']} % of the full scale. "
           "Stock pymalloc counts for no ratio but its own.")
    for result in results:
        if result["note"]:
            yield f"\n{result['name']}: {result['note']}"
        for column, figures in result["columns"].items():
            if "error" in figures:
                yield f"\n{result['name']} failed under {column}: {figures['error']}"


def lines(directory, results):
    yield "# lowtide beside its peers\n"
    yield from machine_lines(directory, results)
    for title, cell in TABLES:
        yield from figures_table(results, title, cell)
    if any(LOWTIDE in result["columns"] for result in results) and peers_of(results):
        title = f"lowtide as a multiple of the best peer; ! = above {TIME_MARK:.2f} (time) or {PEAK_MARK:.2f} (peak)"
        header = ["program", "time / fastest", "CPU / least", "peak RSS / leanest", "mean RSS / leanest"]
        yield from table(title, header, ratio_rows(results))


def write(directory, mode):
    """Whether there was something to report."""
    results = load(directory, mode)
    if results:
        file = pathlib.Path(directory) / "bench.md"
        file.write_text("\n".join(lines(directory, results)) + "\n")
        print(file)
    return bool(results)


if __name__ == "__main__":
    write(sys.argv[1], (sys.argv[2:] or ["full"])[0])
