"""The comparison as one page that needs nothing else: it opens offline, on a phone and on paper,
in light and dark, and says in words what its pictures show."""
import html
import shlex

from . import chart, figures, report_text, say

STYLE = """
:root{color-scheme:light dark;--page:#f6f7f8;--card:#fff;--text:#1c2228;--muted:#59626c;--grid:#e3e6ea;--line:#d5dae0;
--good:#116b34;--bad:#a3260f;LIGHT}
@media(prefers-color-scheme:dark){:root{--page:#111418;--card:#191d22;--text:#e8ebee;--muted:#9da7b1;--grid:#2b3239;
--line:#333b44;--good:#6fd793;--bad:#ff9480;DARK}}
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--text);font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif}
main{max-width:1060px;margin:0 auto;padding:40px 24px 64px}
header p{margin:0;color:var(--muted);font-size:14px;letter-spacing:.02em}
h1{font-size:28px;line-height:1.25;margin:6px 0 10px;font-weight:650;text-wrap:balance}
h2{font-size:17px;margin:0 0 14px;font-weight:650}
.more{margin:0 0 4px;color:var(--muted)}
code,pre{font:13.5px/1.5 ui-monospace,SFMono-Regular,Menlo,Consolas,monospace}
pre{margin:14px 0 0;padding:11px 14px;background:var(--card);border:1px solid var(--line);border-radius:8px;
white-space:pre-wrap;overflow-wrap:anywhere}
.numbers{display:grid;grid-template-columns:repeat(auto-fit,minmax(150px,1fr));gap:14px;margin:26px 0 0;padding:0}
.numbers div,section{background:var(--card);border:1px solid var(--line);border-radius:12px}
.numbers div{padding:14px 18px}
.numbers dt{font-size:14px;color:var(--muted)}
.numbers dd{margin:0;font-size:30px;font-weight:650;font-variant-numeric:tabular-nums;line-height:1.25}
.numbers dd small{display:block;font-size:13.5px;font-weight:400;color:var(--muted)}
.less{color:var(--good)}.more-than{color:var(--bad)}
section{margin:20px 0 0;padding:20px 22px}
figure{margin:0}figcaption,.foot{color:var(--muted);font-size:14px;margin:10px 0 0}
svg.chart{display:block;width:100%;height:auto}svg.narrow{display:none}
.table{overflow-x:auto}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums;font-size:15px}
caption{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%)}
th,td{padding:8px 10px;text-align:right;border-bottom:1px solid var(--grid);white-space:nowrap}
thead th{color:var(--muted);font-weight:500;font-size:14px}
th:first-child{text-align:left;padding-left:0}tbody th{font-weight:600}td:last-child,th:last-child{padding-right:0}
tbody tr:last-child>*{border-bottom:0}
td b{font-weight:inherit}td span{display:block;color:var(--muted);font-size:12.5px}
.dot{display:inline-block;width:11px;height:11px;border-radius:3px;margin-right:9px}
ul{margin:0;padding-left:20px}dl.facts{display:grid;grid-template-columns:max-content 1fr;gap:4px 20px;margin:0}
dl.facts dt{color:var(--muted)}dl.facts dd{margin:0;overflow-wrap:anywhere}
@media(max-width:760px){main{padding:24px 14px 40px}h1{font-size:23px}section{padding:16px 14px}
.numbers{grid-template-columns:1fr 1fr;gap:10px}.numbers div{padding:12px 14px}.numbers dd{font-size:25px}
svg.wide{display:none}svg.narrow{display:block}
thead{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%)}
table,tbody,tr{display:block}tbody tr{display:grid;grid-template-columns:1fr 1fr;gap:0 22px;padding:10px 0;
border-bottom:1px solid var(--grid)}tbody tr:last-child{border-bottom:0;padding-bottom:0}
tbody th{grid-column:1/-1;border:0;padding:2px 0 4px}
tbody td,td:last-child{display:flex;justify-content:space-between;align-items:baseline;border:0;padding:2px 0;text-align:right}
tbody td::before{content:attr(data-label);color:var(--muted);font-size:14px}td span{display:none}
dl.facts{grid-template-columns:1fr}dl.facts dd{margin-bottom:6px}}
@media print{@page{margin:14mm}:root{color-scheme:light;--page:#fff;--card:#fff;--text:#000;--muted:#444;--grid:#ccc;
--line:#bbb;--good:#116b34;--bad:#a3260f;LIGHT}
body{font-size:11pt}main{max-width:none;padding:0}section,.numbers div{break-inside:avoid}svg.chart,.dot{print-color-adjust:exact;
-webkit-print-color-adjust:exact}}
"""


def style():
    light, dark = chart.colour_rules(chart.LIGHT), chart.colour_rules(chart.DARK)
    dots = "".join(f".b-{name}{{background:var(--c-{name})}}" for name in chart.LIGHT)
    return STYLE.replace("LIGHT", light).replace("DARK", dark) + chart.STYLE + dots


def number(comparison, key, title):
    """A tile: lowtide against glibc, and both values."""
    text = report_text.change(comparison, key)
    value = figures.ratio(comparison.figures, key)
    if text is None:
        return ""
    write = next(write for name, _, write in report_text.COLUMNS if name == key)
    own, stock = (write(figures.median(comparison.figures[name], key)) for name in ("lowtide", "glibc"))
    kind = "" if figures.is_same(comparison.figures, key) else "less" if value < 1 else "more-than"
    return (f'<div><dt>{title}</dt><dd class="{kind}">{text}<small>{own} for {stock}</small></dd></div>')


def idle_number(comparison):
    found = figures.idle_ratio(comparison.figures)
    if not found:
        return ""
    moment, value = str(found[0]), found[1]
    own, stock = (say.memory(comparison.figures[name]["idle"][moment]["median"]) for name in ("lowtide", "glibc"))
    part = round((value - 1) * 100)
    kind = "less" if value < 0.97 else "more-than" if value > 1.03 else ""
    return (f'<div><dt>Idle for {moment} s</dt><dd class="{kind}">{"+" if part > 0 else "−"}{abs(part)} %'
            f"<small>{own} for {stock}</small></dd></div>")


def numbers(comparison):
    tiles = [number(comparison, "mean_rss", "Mean memory"), number(comparison, "peak_rss", "Peak memory"),
             idle_number(comparison),
             "" if report_text.moments(comparison) else number(comparison, "wall_s", "Wall time"),
             number(comparison, "cpu_s", "CPU time")]
    tiles = [tile for tile in tiles if tile]
    return f'<dl class="numbers" aria-label="lowtide against stock glibc">{"".join(tiles)}</dl>' if tiles else ""


def table(rows, caption):
    head, *body = rows
    cells = "".join(f'<th scope="col" role="columnheader">{html.escape(text) or "allocator"}</th>' for text in head)
    lines = []
    for name, *values in body:
        row = [f'<th scope="row" role="rowheader"><span class="dot b-{name}" aria-hidden="true"></span>{name}</th>']
        for title, value in zip(head[1:], values):
            middle, _, spread = value.partition(" ±")
            more = f"<span>±{spread}</span>" if spread else ""
            row.append(f'<td role="cell" data-label="{html.escape(title)}"><b>{middle}</b>{more}</td>')
        lines.append(f'<tr role="row">{"".join(row)}</tr>')
    return (f'<div class="table"><table role="table"><caption>{caption}</caption><thead role="rowgroup">'
            f'<tr role="row">{cells}</tr></thead><tbody role="rowgroup">{"".join(lines)}</tbody></table></div>')


def idle_section(comparison):
    rows = report_text.idle_rows(comparison)
    if not rows:
        return ""
    return ('<section aria-labelledby="h-idle"><h2 id="h-idle">Left resident when idle</h2>'
            f'{table(rows, "Resident memory by seconds of idleness")}'
            '<p class="foot">Idle: all processes of the job together use less than 5 % of a core.</p></section>')


def facts(comparison):
    pairs = [*comparison.machine]
    pairs += [(name, path) for name, path in comparison.preloads.items() if path and name in comparison.runs]
    return "".join(f"<dt>{html.escape(key)}</dt><dd>{html.escape(text)}</dd>" for key, text in pairs)


def how(comparison):
    runs = report_text.runs_text(comparison)
    idle = (" The job stays alive: figures go up to the end of the idle time, the time until idle up to its beginning."
            if comparison.idle_s else "")
    return (f"{runs[0].upper() + runs[1:]}. The runs alternated after a warm-up. RSS is the sum over all processes of the job, "
            f"sampled at a cost of less than 2 % of a core; PSS counts shared pages once.{idle}")


def page(comparison):
    first, *more = comparison.verdict
    command = shlex.join(comparison.command)
    several = any(len(runs) > 1 for runs in comparison.runs.values())
    thin = " Bold: the run nearest to the medians; thin: the others." if several else ""
    notes = "".join(f"<li>{html.escape(note)}</li>" for note in comparison.notes)
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{html.escape(first)}</title>
<link rel="icon" href="data:,">
<style>{style()}</style>
</head>
<body>
<main>
<header>
<p>lowtide compare · {html.escape(comparison.when)}</p>
<h1>{html.escape(first)}</h1>
{"".join(f'<p class="more">{html.escape(text)}</p>' for text in more)}
<pre aria-label="the command that was measured">{html.escape(command)}</pre>
</header>
{numbers(comparison)}
<section aria-labelledby="h-time"><h2 id="h-time">Resident memory over time</h2>
<figure>{chart.timeline(comparison, 1000, 420, 14, "wide")}{chart.timeline(comparison, 360, 320, 12.5, "narrow")}
<figcaption>All processes of the job.{thin}</figcaption></figure></section>
<section aria-labelledby="h-bars"><h2 id="h-bars">Mean and peak</h2>
<figure>{chart.bars(comparison, 1000, 14, "wide")}{chart.bars(comparison, 360, 12.5, "narrow")}
<figcaption>Solid with its figure: the mean over the whole run. Pale: the peak.</figcaption></figure></section>
<section aria-labelledby="h-table"><h2 id="h-table">In figures</h2>
{table(report_text.cost_rows(comparison), "Each allocator in figures")}
<p class="foot">{html.escape(how(comparison))}</p></section>
{idle_section(comparison)}
<section aria-labelledby="h-notes"><h2 id="h-notes">Was it the same job?</h2><ul>{notes}</ul></section>
<section aria-labelledby="h-machine"><h2 id="h-machine">Machine</h2><dl class="facts">{facts(comparison)}</dl></section>
</main>
</body>
</html>
"""
