"""A picture of the suite: lowtide and its peers as multiples of the best peer, program by program.

usage: test/bench/picture.py DIRECTORY [full|quick]     needs matplotlib
"""
import pathlib
import sys

import matplotlib

import report

matplotlib.use("svg")
from matplotlib import pyplot, ticker  # noqa: E402

PANELS = (("wall time / fastest peer", "time_s", report.TIME_MARK),
          ("peak RSS / leanest peer", "peak_bytes", report.PEAK_MARK),
          ("mean RSS / leanest peer", "mean_bytes", None))
COLORS = {"glibc": "#666666", "jemalloc": "#d08020", "mimalloc": "#208050", "tcmalloc": "#8050b0",
          report.LOWTIDE: "#1060d0"}
MOST = 10       # what is further out is drawn at the edge


def multiples(results, column, key, peers):
    """(row, multiple of the best peer) of each program that has both."""
    for row, result in enumerate(results):
        best = report.best_peer(result, key, peers)[1]
        value = report.figure(result, column, key)
        if value and best:
            yield row, min(value / best, MOST)


def draw_panel(axes, results, title, key, mark):
    peers = report.peers_of(results)
    for column in [*peers, report.LOWTIDE]:
        points = list(multiples(results, column, key, peers))
        own = column == report.LOWTIDE
        axes.scatter([x for _, x in points], [row for row, _ in points], label=column, color=COLORS.get(column),
                     s=44 if own else 16, marker="D" if own else "o", zorder=3 if own else 2)
    mean = report.geometric_mean(report.ratios_to_best(results, key))
    axes.set_title(title + (f"\nlowtide, geometric mean: {mean:.2f}" if mean else ""), fontsize=10)
    axes.axvline(1, color="black", linewidth=0.8)
    if mark:
        axes.axvline(mark, color="#c02020", linewidth=0.8, linestyle=":")
    axes.set_xscale("log")
    axes.set_xlim(right=MOST * 1.1)
    axes.xaxis.set_major_locator(ticker.FixedLocator([0.25, 0.5, 1, 2, 5, 10]))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_locator(ticker.NullLocator())
    axes.grid(True, axis="both", color="#dddddd", zorder=0)


def main():
    directory, mode = sys.argv[1], (sys.argv[2:] or ["full"])[0]
    results = report.load(directory, mode)
    if not results or not report.peers_of(results):
        return
    figure, panels = pyplot.subplots(1, len(PANELS), sharey=True, figsize=(14, 1.6 + 0.26 * len(results)))
    for axes, panel in zip(panels, PANELS):
        draw_panel(axes, results, *panel)
    panels[0].set_yticks(range(len(results)), [result["name"] for result in results])
    panels[0].set_ylim(len(results) - 0.5, -0.5)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="lower center", ncol=len(COLORS), frameon=False)
    figure.tight_layout(rect=(0, 0.6 / figure.get_figheight(), 1, 1))
    file = pathlib.Path(directory) / "bench.svg"
    figure.savefig(file)
    print(file)


if __name__ == "__main__":
    main()
