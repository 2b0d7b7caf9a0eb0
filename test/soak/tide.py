"""The server with a tide of load, preloaded: what is resident at the flood and at the ebb must not drift.

usage: tide.py --library LIB --server PROGRAM [--seconds N] [--without-preload]

Medians over the first and the last third of the tides, the first tenth (the heap finds its size) left out, may differ by 1 %;
where there are fewer than MANY tides, by 5 %: a median of few is not that exact.
"""
import argparse
import os
import re
import statistics
import subprocess
import sys

SCALE = 100
MANY = 300
DRIFT, DRIFT_OF_FEW = 0.01, 0.05
TIDE = re.compile(r"^tide=\d+ s=[\d.]+ flood_bytes=(\d+) ebb_bytes=(\d+) live_bytes=(\d+)$", re.M)


def run(options):
    """[(flood, ebb, live)] in bytes, a tide each."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("LD_", "LOWTIDE_", "BENCH_"))}
    if not options.without_preload:
        environment["LD_PRELOAD"] = options.library
    done = subprocess.run([options.server, str(SCALE), str(options.seconds)], env=environment, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=options.seconds + 120)
    if done.returncode or done.stderr or "check=" not in done.stdout:
        sys.exit(f"tide: FAIL: ended with {done.returncode}: {done.stdout[-200:]} {done.stderr[-300:]}")
    return [tuple(map(int, found)) for found in TIDE.findall(done.stdout)]


def drift(values):
    """(median of the last third) / (median of the first) - 1, and both medians."""
    third = len(values) // 3
    first, last = statistics.median(values[:third]), statistics.median(values[-third:])
    return last / first - 1, first, last


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--library", required=True, type=os.path.abspath)
    parser.add_argument("--server", required=True, type=os.path.abspath)
    parser.add_argument("--seconds", type=int, default=1800)
    parser.add_argument("--without-preload", action="store_true")
    options = parser.parse_args()
    tides = run(options)
    settled = tides[len(tides) // 10:]
    if len(settled) < 9:
        sys.exit(f"tide: FAIL: {len(tides)} tides in {options.seconds} s are too few")
    allowed, worst = (DRIFT if len(settled) >= MANY else DRIFT_OF_FEW), 0
    print(f"tides={len(tides)}")
    for name, values in zip(("flood", "ebb", "live_at_ebb"), zip(*settled)):
        by, first, last = drift(values)
        print(f"{name}_first_bytes={first:.0f}\n{name}_last_bytes={last:.0f}\n{name}_drift_percent={100 * by:+.2f}")
        worst = max(worst, by)
    print(f"tide: {'ok' if worst <= allowed else 'FAIL'}: {len(tides)} tides, at most {100 * worst:+.2f} %, {100 * allowed:.0f} % are allowed")
    sys.exit(worst > allowed)


if __name__ == "__main__":
    main()
