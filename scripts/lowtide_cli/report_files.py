"""What `lowtide compare --out DIR` writes: summary.json, samples.csv, report.html and curves.svg."""
import csv
import json
import os

from . import chart, report_html, say

SAMPLE_FIELDS = ("t", "processes", "rss", "pss", "uss", "anon", "swap", "heap")


def summary(comparison):
    """As JSON: figures of each allocator, every run without its samples, and the verdict."""
    runs = {name: [{key: value for key, value in run.items() if key != "samples"} for run in runs]
            for name, runs in comparison.runs.items()}
    return {
        "command": comparison.command, "when": comparison.when, "machine": dict(comparison.machine),
        "libraries": comparison.preloads, "interrupted": bool(comparison.interrupted),
        "verdict": " ".join(comparison.verdict), "stdout": comparison.output[0], "notes": comparison.notes,
        "allocators": comparison.figures, "runs": runs,
    }


def write_samples(path, comparison):
    """A row for each sample; what a light one does not know is empty."""
    with open(path, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("allocator", "run", *SAMPLE_FIELDS))
        for name, runs in comparison.runs.items():
            for run in runs:
                for sample in run["samples"]:
                    values = [getattr(sample, field) for field in SAMPLE_FIELDS]
                    values[0] = f"{values[0]:.4f}"
                    writer.writerow((name, run["run"], *("" if v is None else v for v in values)))


def write(directory, comparison):
    """All files; those that can be written are, also when one cannot."""
    def write_text(path, text):
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)

    files = {
        "summary.json": lambda path: write_text(path, json.dumps(summary(comparison), indent=1) + "\n"),
        "samples.csv": lambda path: write_samples(path, comparison),
        "report.html": lambda path: write_text(path, report_html.page(comparison)),
        "curves.svg": lambda path: write_text(path, chart.standalone(comparison)),
    }
    failed = []
    for name, make in files.items():
        try:
            make(os.path.join(directory, name))
        except OSError as reason:
            failed.append(f"{os.path.join(directory, name)}: {reason.strerror}")
    if failed:
        raise say.CliError("; ".join(failed))
