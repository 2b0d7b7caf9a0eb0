"""What the command says: errors, units, colours and aligned tables."""
import os
import sys

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
USAGE = 2               # exit codes: the command was called wrongly,
ABOVE = 3               # a ratio was above the one allowed,
CANNOT_EXECUTE = 126    # and as shells have them
NOT_FOUND = 127


class CliError(Exception):
    """Ends the command with one line on stderr."""

    def __init__(self, message, code=1):
        super().__init__(message)
        self.code = code


def note(text):
    """A line of the command's own; stdout belongs to the job."""
    try:
        sys.stderr.write(f"lowtide: {text}\n")
        sys.stderr.flush()
    except (OSError, ValueError):
        pass            # whoever closed stderr does not want to hear it


def has_colour(stream):
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def colour(text, code, stream=None):
    return f"\x1b[{code}m{text}\x1b[0m" if has_colour(stream or sys.stdout) else text


def bold(text, stream=None):
    return colour(text, "1", stream)


def good(text, stream=None):
    return colour(text, "32", stream)


def bad(text, stream=None):
    return colour(text, "31", stream)


def faint(text, stream=None):
    return colour(text, "2", stream)


def memory(count):
    """Bytes with three digits or so: 812 KiB, 48.3 MiB, 3.42 GiB."""
    if count is None:
        return "-"
    for unit, name in ((GIB, "GiB"), (MIB, "MiB"), (KIB, "KiB")):
        if abs(count) >= unit:
            value = count / unit
            return f"{value:.{0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2}f} {name}"
    return f"{count:.0f} B"


def seconds(value):
    if value is None:
        return "-"
    return f"{value:.0f} s" if value >= 100 else f"{value:.2f} s" if value >= 1 else f"{value * 1e3:.0f} ms"


def count(value):
    return "-" if value is None else f"{value:,.0f}"


def percent(part):
    """A share, or a change, of 1."""
    return f"{part * 100:.0f} %"


def parse_memory(text):
    """Bytes of `64G`, `1536M` or a plain number, as the library reads its options."""
    cleaned = text.strip().upper()
    if cleaned.endswith("IB"):
        cleaned = cleaned[:-2]
    elif cleaned.endswith("B"):
        cleaned = cleaned[:-1]
    unit = {"K": KIB, "M": MIB, "G": GIB, "T": 1 << 40}.get(cleaned[-1:], 1)
    try:
        value = float(cleaned[:-1] if unit > 1 else cleaned) * unit
    except ValueError:
        value = 0
    if not 0 < value < 1 << 62:
        raise CliError(f"{text} is not an amount of memory: give a number with K, M, G or T", USAGE)
    return int(value)


def table(rows, left=1):
    """Lines with aligned columns: the first `left` to the left, the others to the right. The first
    row is the head."""
    widths = [max(len(str(row[i])) for row in rows) for i in range(len(rows[0]))]
    for number, row in enumerate(rows):
        cells = [str(cell).ljust(width) if i < left else str(cell).rjust(width)
                 for i, (cell, width) in enumerate(zip(row, widths))]
        line = "  ".join(cells).rstrip()
        yield bold(line) if number == 0 else line
