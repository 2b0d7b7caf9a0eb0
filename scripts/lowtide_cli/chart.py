"""Pictures as SVG, made by hand: curves of resident memory over time, and bars of peak and mean.

Colours are classes, so that the page's style decides them for light, dark and print; a dash
pattern of its own tells each allocator apart without colour.
"""
import html
import math

from . import figures, say

GLYPH = 0.56            # mean width of a letter, as a part of the font's size
MOST_POINTS = 300
DASHES = {"glibc": "", "glibc-tuned": "9 4", "jemalloc": "2 3", "mimalloc": "10 3 2 3", "tcmalloc": "5 3", "lowtide": ""}
LIGHT = {"glibc": "#5b6472", "glibc-tuned": "#8a5a12", "jemalloc": "#c2410c", "mimalloc": "#157f3b", "tcmalloc": "#7c3aed",
         "lowtide": "#0a5fc4"}
DARK = {"glibc": "#a3adba", "glibc-tuned": "#d9b36c", "jemalloc": "#ff9a62", "mimalloc": "#5fd38a",
        "tcmalloc": "#bda0ff", "lowtide": "#6bb1ff"}


def colour_rules(colours):
    return "".join(f"--c-{name}:{value};" for name, value in colours.items())


STYLE = "".join(f".s-{name}{{stroke:var(--c-{name})}}.f-{name}{{fill:var(--c-{name})}}" for name in LIGHT) + """
svg.chart text{font-family:inherit;fill:var(--muted)}svg.chart .name{fill:var(--text)}
svg.chart .grid{stroke:var(--grid);stroke-width:1}svg.chart .axis{stroke:var(--muted);stroke-width:1}
svg.chart .curve{fill:none;stroke-width:2;stroke-linejoin:round;stroke-linecap:round}
svg.chart .ours{stroke-width:2.8}svg.chart .other{stroke-width:1;opacity:.3}
svg.chart .area{stroke:none;opacity:.1}svg.chart .peak{opacity:.28}
"""


def nice_step(most, wanted):
    """A step of 1, 2 or 5 times a power of ten that gives about so many ticks."""
    raw = max(most, 1e-9) / wanted
    power = 10 ** math.floor(math.log10(raw))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw * 0.999)


def memory_scale(most):
    """(unit in bytes, its name, step in units)"""
    unit, name = (say.GIB, "GiB") if most >= 2 * say.GIB else (say.MIB, "MiB")
    return unit, name, nice_step(most / unit, 5)


def thin_out(points):
    """At most about MOST_POINTS, of each stretch of time the lowest and the highest."""
    if len(points) <= MOST_POINTS:
        return points
    size = math.ceil(len(points) / (MOST_POINTS / 2))
    kept = []
    for i in range(0, len(points), size):
        part = points[i:i + size]
        ends = {min(part, key=lambda p: p[1]), max(part, key=lambda p: p[1])}
        kept += sorted(ends)
    return [points[0], *kept, points[-1]]


class Frame:
    """The plot's area, and how values become places in it."""

    def __init__(self, width, height, font, longest, most, top):
        self.width, self.height, self.font = width, height, font
        self.longest = longest or 1e-3
        self.unit, self.unit_name, self.step = memory_scale(most)
        self.most = math.ceil(most * 1.02 / self.unit / self.step) * self.step * self.unit
        widest = max(len(f"{self.most / self.unit:g}"), 3)
        self.left, self.right = widest * font * GLYPH + 12, width - 12
        self.top, self.bottom = top, height - font * 2.6

    def x(self, t):
        return self.left + (self.right - self.left) * t / self.longest

    def y(self, count):
        return self.bottom - (self.bottom - self.top) * count / self.most

    def path(self, points):
        return " ".join(f"{self.x(t):.1f},{self.y(count):.1f}" for t, count in thin_out(points))


def points_of(run):
    return [(sample.t, sample.rss) for sample in run["samples"]] or [(0.0, run["peak_rss"])]


def label(x, y, text, font, anchor="start", kind=""):
    return f'<text x="{x:.1f}" y="{y:.1f}" font-size="{font}" text-anchor="{anchor}" class="{kind}">{html.escape(text)}</text>'


def legend(names, width, font):
    """(marks, height): a stroke and a name for each allocator, on as many lines as it takes."""
    marks, x, y = [], 12.0, font * 1.2
    for name in names:
        needed = 30 + 8 + len(name) * font * GLYPH + 18
        if x + needed > width and x > 12:
            x, y = 12.0, y + font * 1.7
        ours = " ours" if name == "lowtide" else ""
        marks.append(f'<line x1="{x:.0f}" x2="{x + 30:.0f}" y1="{y - font * .32:.1f}" y2="{y - font * .32:.1f}" '
                     f'class="curve s-{name}{ours}" stroke-dasharray="{DASHES[name]}"/>')
        marks.append(label(x + 38, y, name, font, kind="name"))
        x += needed
    return marks, y + font * 1.3


def axes(frame):
    font = frame.font
    value = 0.0
    while value <= frame.most / frame.unit + 1e-9:
        y = frame.y(value * frame.unit)
        yield f'<line class="{"axis" if value == 0 else "grid"}" x1="{frame.left:.1f}" x2="{frame.right:.1f}" y1="{y:.1f}" y2="{y:.1f}"/>'
        yield label(frame.left - 7, y + font * .35, f"{value:g}", font, "end")
        value += frame.step
    step = nice_step(frame.longest, max(3, frame.width / 110))
    t = 0.0
    while t <= frame.longest + 1e-9:
        yield label(frame.x(t), frame.bottom + font * 1.5, f"{round(t, 6):g}", font, "middle" if t else "start")
        t += step
    yield label(frame.right, frame.bottom + font * 2.5, "seconds", font, "end")
    yield label(4, frame.top - font * 1.1, f"resident memory, {frame.unit_name}", font)


def curves(comparison, frame):
    """Areas first, then the other runs, then the one that stands for all; lowtide on top."""
    order = sorted(comparison.runs, key=lambda name: name == "lowtide")
    chosen = {name: figures.representative(comparison.runs[name]) for name in order}
    for name in order:
        if name in ("glibc", "lowtide"):
            points = points_of(chosen[name])
            ends = f"{frame.x(points[-1][0]):.1f},{frame.bottom:.1f} {frame.x(points[0][0]):.1f},{frame.bottom:.1f}"
            yield f'<polygon class="area f-{name}" points="{frame.path(points)} {ends}"/>'
    for name in order:
        for run in comparison.runs[name]:
            if run is not chosen[name]:
                yield f'<polyline class="curve other s-{name}" points="{frame.path(points_of(run))}"/>'
    for name in order:
        ours = " ours" if name == "lowtide" else ""
        yield (f'<polyline class="curve main s-{name}{ours}" stroke-dasharray="{DASHES[name]}" '
               f'points="{frame.path(points_of(chosen[name]))}"><title>{name}</title></polyline>')


def describe(comparison):
    """The picture in words, for those who do not see it."""
    parts = [f"{name}: peak {say.memory(figures.median(entry, 'peak_rss'))}, mean "
             f"{say.memory(figures.median(entry, 'mean_rss'))}" for name, entry in comparison.figures.items()]
    return "Resident memory of the job over time under each allocator. " + "; ".join(parts) + "."


def svg(width, height, body, title, kind, extra=""):
    return (f'<svg class="chart {kind}" xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height:.0f}" role="img" '
            f'aria-label="{html.escape(title, quote=True)}"{extra}>{"".join(body)}</svg>')


def timeline(comparison, width, height, font, kind):
    runs = [run for runs in comparison.runs.values() for run in runs]
    chosen = [points_of(run) for run in runs]
    longest = max(points[-1][0] for points in chosen)
    most = max(max(count for _, count in points) for points in chosen)
    marks, top = legend(list(comparison.runs), width, font)
    frame = Frame(width, height, font, longest, most, top + font * 2.0)
    return svg(width, height, [*marks, *axes(frame), *curves(comparison, frame)], describe(comparison), kind)


def bars(comparison, width, font, kind):
    """A row for each allocator: the bar is the mean, the pale one behind it the peak."""
    row, left = font * 2.5, max(len(name) for name in comparison.runs) * font * GLYPH + 18
    value_width = 9 * font * GLYPH + 10
    most = max(figures.median(entry, "peak_rss") for entry in comparison.figures.values())
    scale = (width - left - value_width - 12) / most
    body = []
    for i, (name, entry) in enumerate(comparison.figures.items()):
        y = i * row + font * .6
        mean, peak = figures.median(entry, "mean_rss"), figures.median(entry, "peak_rss")
        body.append(label(left - 10, y + font * 1.05, name, font, "end", "name"))
        body.append(f'<rect class="peak f-{name}" x="{left:.1f}" y="{y:.1f}" width="{peak * scale:.1f}" height="{font * 1.5:.1f}" rx="3"/>')
        body.append(f'<rect class="f-{name}" x="{left:.1f}" y="{y:.1f}" width="{mean * scale:.1f}" height="{font * 1.5:.1f}" rx="3"/>')
        body.append(label(left + peak * scale + 8, y + font * 1.05, say.memory(mean), font, kind="name"))
    return svg(width, row * len(comparison.figures) + font * .4, body,
               "Mean (bar) and peak (pale) of resident memory. " + describe(comparison), kind)


def standalone(comparison):
    """The curves as a file of their own, for documents; it follows the reader's light or dark."""
    style = (f"svg{{--text:#1c2228;--muted:#59626c;--grid:#e3e6ea;{colour_rules(LIGHT)}"
             "font-family:system-ui,-apple-system,'Segoe UI',Roboto,sans-serif}"
             f"@media(prefers-color-scheme:dark){{svg{{--text:#e8ebee;--muted:#9da7b1;--grid:#2b3239;{colour_rules(DARK)}}}}}")
    picture = timeline(comparison, 920, 400, 14, "wide")
    at = picture.index(">") + 1
    return f'{picture[:at]}<style>{style}{STYLE}</style>{picture[at:]}\n'
