"""Live numbers as text: the table of top, the list of stats, Prometheus' exposition format."""
import time

from . import pages, say

# Sorting: by key of a row, largest first but for texts.
SORTS = {"rss": "rss_bytes", "live": "live_bytes", "retained": "retained_bytes", "not-heap": "not_heap_bytes",
         "releases": "releases_per_s", "growth": "rss_growth_per_s", "pid": "pid", "name": "name"}


def level(number):
    return pages.LEVELS[number] if isinstance(number, int) and 0 <= number < len(pages.LEVELS) else str(number)


def sort_rows(rows, by):
    key = SORTS[by]
    if by in ("pid", "name"):
        return sorted(rows, key=lambda r: (r[key], r["pid"]))
    return sorted(rows, key=lambda r: (-(r[key] or 0), r["pid"]))


# ---- top ----

COLUMNS = (("PID", 8), ("NAME", -16), ("LIVE MiB", 9), ("RETAINED", 9), ("RSS MiB", 9), ("NOT HEAP", 9), ("LEVEL", -9), ("REL/S", 6),
           ("TREND MiB/S", 11), ("VERDICT", -13))


def mebibytes(bytes_, sign=""):
    return "-" if bytes_ is None else f"{bytes_ / say.MIB:{sign}.1f}"


def cell(text, width):
    text = str(text)[:abs(width)]
    return text.ljust(-width) if width < 0 else text.rjust(width)


def line_of(texts):
    return " ".join(cell(text, width) for text, (_, width) in zip(texts, COLUMNS)).rstrip()


def heading():
    return line_of([name for name, _ in COLUMNS])


def table_row(row):
    trend = "-" if row["verdict"] == "unknown" else mebibytes(row["rss_growth_per_s"], "+")
    releases = "-" if row["releases_per_s"] is None else f"{row['releases_per_s']:.0f}"
    word = {"unknown": "-", "outside": "outside malloc"}.get(row["verdict"], row["verdict"])
    return line_of([row["pid"], row["name"], mebibytes(row["live_bytes"]), mebibytes(row["retained_bytes"]), mebibytes(row["rss_bytes"]),
                    mebibytes(row["not_heap_bytes"]), level(row["level"]), releases, trend, word])


def summary(rows, silent):
    total = {key: sum(row[key] or 0 for row in rows) for key in ("live_bytes", "retained_bytes", "rss_bytes")}
    text = f"lowtide {time.strftime('%H:%M:%S')}: {len(rows)} process{'es' * (len(rows) != 1)}, live {say.memory(total['live_bytes'])}, " \
           f"retained {say.memory(total['retained_bytes'])}, RSS {say.memory(total['rss_bytes'])}"
    return text + (f"; {silent} more preloaded, too young or small or idle to tell" if silent else "")


def table(rows, silent):
    return [summary(rows, silent), heading(), *map(table_row, rows)]


# ---- stats ----

def list_of(row, texts):
    """A line for each key; what is not known without a walk of the heap is left out."""
    lines = [f"process {row['pid']} ({row['name']}), program {row['program']}, lowtide {row['version']}, "
             f"snapshot {row['snapshot_age_ms'] / 1000:.1f} s old, {'with' if row['keeper'] else 'without'} a keeper"]
    kernel = {"rss_bytes": "resident, as the kernel counts it now", "pss_bytes": "the same, shared pages divided by those who share",
              "not_heap_bytes": "of RSS, neither live pages nor retained"}
    for key, text in {**kernel, **texts}.items():
        if row.get(key) is None:
            continue
        value = say.memory(row[key]) if "bytes" in key else f"{row[key]} ({level(row[key])})" if key == "level" else str(row[key])
        lines.append(f"  {key:22} {value:>10}  {text}")
    return lines


def watch_line(row):
    return f"{time.strftime('%H:%M:%S')}  live {say.memory(row['live_bytes']):>9}  retained {say.memory(row['retained_bytes']):>9}  RSS {say.memory(row['rss_bytes']):>9}  " \
           f"not heap {say.memory(row['not_heap_bytes']):>9}  level {level(row['level'])}  {row['releases_per_s'] or 0:.0f} releases/s"


def verdict_lines(said):
    if not said.parts:
        return [f"verdict: {said.word}: {said.text}"]
    grown = ", ".join(f"{name} {mebibytes(bytes_, '+')}" for name, bytes_ in said.parts.items())
    return [f"verdict: {said.word}: {said.text}", f"  RSS {mebibytes(said.rss_per_s, '+')} MiB/s; grown by MiB: {grown}"]


# ---- Prometheus ----

EXTRA_METRICS = {"rss_bytes": "resident, as the kernel counts it", "not_heap_bytes": "of RSS, neither live pages nor retained",
                 "snapshot_age_seconds": "since the process last wrote its numbers"}


def label(text):
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def prometheus(rows, texts):
    lines = []
    for key, text in {**EXTRA_METRICS, **texts}.items():
        values = [(row, row["snapshot_age_ms"] / 1000 if key == "snapshot_age_seconds" else row.get(key)) for row in rows]
        values = [(row, value) for row, value in values if value is not None]
        if not values:
            continue
        lines += [f"# HELP lowtide_{key} {text}".replace("\\", r"\\"), f"# TYPE lowtide_{key} {'counter' if key.endswith('_total') else 'gauge'}"]
        lines += [f'lowtide_{key}{{pid="{row["pid"]}",program="{label(row["name"])}"}} {value}' for row, value in values]
    return lines
