"""The comparison as a table for the terminal, and the cells that the HTML table shares."""
from . import figures, say

COLUMNS = (
    # key, head, how it is written
    ("wall_s", "wall", say.seconds), ("cpu_s", "CPU", say.seconds), ("peak_rss", "peak RSS", say.memory),
    ("mean_rss", "mean RSS", say.memory), ("last_rss", "last RSS", say.memory), ("peak_pss", "peak PSS", say.memory),
    ("minor_faults", "minor faults", say.count),
)


def cell(entry, write):
    """The median, and half of what the runs spread."""
    if not entry:
        return "-"
    text = write(entry["median"])
    if len(entry["values"]) > 1:
        text += f" ±{entry['spread'] * 50:.0f}%"
    return text


def moments(comparison):
    return sorted({m for entry in comparison.figures.values() for m in entry["idle"]}, key=int)


def cost_rows(comparison):
    """What runs cost, with its head, as texts."""
    heads = ["until idle" if key == "wall_s" and moments(comparison) else head for key, head, _ in COLUMNS]
    return [["", *heads], *([name, *(cell(entry[key], write) for key, _, write in COLUMNS)]
                            for name, entry in comparison.figures.items())]


def idle_rows(comparison):
    """What was left resident when idle, in the same way; empty for a job that ends."""
    found = moments(comparison)
    if not found:
        return []
    return [["", *(f"after {m} s" for m in found)],
            *([name, *(cell(entry["idle"].get(m), say.memory) for m in found)] for name, entry in comparison.figures.items())]


def runs_text(comparison):
    counts = sorted({len(runs) for runs in comparison.runs.values()})
    runs = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    return f"medians of {runs} runs ± half of what they spread" if counts[-1] > 1 else "one run each"


def lines(comparison):
    yield from say.table(cost_rows(comparison))
    if idle_rows(comparison):
        yield ""
        yield "left resident when idle"
        yield from say.table(idle_rows(comparison))
    yield say.faint(f"{runs_text(comparison)}; RSS is the sum over all processes, sampled over time")
    for note in comparison.notes:
        yield note
    yield ""
    for sentence in comparison.verdict:
        paint = say.good if sentence.startswith("lowtide saves") else str
        yield say.bold(paint(sentence)) if sentence is comparison.verdict[0] else sentence


def change(comparison, key):
    """Text like -61 % of lowtide against glibc, or None."""
    value = figures.ratio(comparison.figures, key)
    if value is None:
        return None
    part = round((value - 1) * 100)
    return f"{'+' if part > 0 else '−' if part < 0 else '±'}{abs(part)} %"
