"""Tables in Markdown, and how figures are written in their cells: what report.py and figures.py share."""
import collections

# How a figure is written, and in what unit it is when it is not.
Cell = collections.namedtuple("Cell", "unit text")


def megabytes(value):
    return f"{value / 1e6:.1f}"


MEGABYTES = Cell("bytes", megabytes)
MEMORY = Cell("bytes", lambda value: f"{megabytes(value)} ({value / 2**20:.1f})")
SECONDS = Cell("s", "{:.3f} s".format)
MILLISECONDS = Cell("s", lambda value: f"{value * 1e3:.1f} ms")
MICROSECONDS = Cell("us", "{:.2f}".format)
NANOSECONDS = Cell("ns", "{:.2f} ns".format)
COUNT = Cell("", "{:,.0f}".format)
PLAIN = Cell("", "{:.2f}".format)


class Row(collections.namedtuple("Row", "label values cell")):
    """`values` is column -> figure; None and what is not there are a dash."""

    def texts(self, columns):
        found = [self.values.get(column) for column in columns]
        return [self.label] + ["-" if value is None else self.cell.text(value) for value in found]


def table(title, header, rows, note=""):
    """The lines; a row is a list of texts."""
    yield f"\n## {title}\n"
    if note:
        yield f"{note}\n"
    yield "| " + " | ".join(header) + " |"
    yield "|---|" + "--:|" * (len(header) - 1)
    for row in rows:
        yield "| " + " | ".join(row) + " |"
