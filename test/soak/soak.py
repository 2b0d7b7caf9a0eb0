"""Everything random, for hours: parts that take turns, each turn with another seed, and a report. Exit code 1 when a turn failed.

usage: soak.py --library LIB --programs DIRECTORY --state DIRECTORY [--minutes N] [--only PART] [--report]

Each ended turn is a line of STATE/BUILD.jsonl, BUILD being made from the library's contents; what was interrupted goes on there
the next time, until every part has had its share of the minutes (120). A part that is behind the most has the next turn. --report
only writes what has been done so far; it goes to STATE/report.md in any case.
"""
import argparse
import hashlib
import json
import os
import pathlib
import random
import re
import signal
import subprocess
import sys
import time

sys.dont_write_bytecode = True
HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
from parts import PARTS  # noqa: E402

ROOT = HERE.parent.parent
ENOUGH = 0.95       # of a part's share: what is left would be a turn that proves nothing
GRACE_S = 900       # a turn that has not ended so long after its time hangs
FIGURE = re.compile(r"^(\w+)=([-+]?\d+(?:\.\d+)?)$", re.M)
COUNTS = re.compile(r"^[\w ]+: (\d+) passed, \d+ failed", re.M)


class Soak:
    def __init__(self, options):
        self.options = options
        self.build = hashlib.sha256(pathlib.Path(options.library).read_bytes()).hexdigest()[:12]
        self.state = options.state / f"{self.build}.jsonl"
        self.parts = [part for part in PARTS if options.only in part.name]
        self.turns = self.read()

    def read(self):
        if not self.state.exists():
            return []
        with open(self.state) as f:
            return [json.loads(line) for line in f if line.endswith("\n")]

    def total_s(self):
        return 60 * self.options.minutes * sum(part.share for part in self.parts) / sum(part.share for part in PARTS)

    def wanted_s(self, part):
        return self.total_s() * part.share / sum(p.share for p in self.parts)

    def spent_s(self, part):
        return sum(max(turn["asked_s"], turn["took_s"]) for turn in self.turns if turn["part"] == part.name)

    def next_part(self):
        """The part that is behind the most; None when all have had their share."""
        behind = [(self.spent_s(part) / self.wanted_s(part), i) for i, part in enumerate(self.parts)]
        done, i = min(behind)
        return self.parts[i] if done < ENOUGH else None

    def take_turn(self, part):
        seconds = max(part.least_s, round(min(part.turn_s, self.wanted_s(part) - self.spent_s(part))))
        turn = {"part": part.name, "seed": random.randrange(1, 1 << 31), "asked_s": seconds, "began": time.strftime("%Y-%m-%d %H:%M:%S")}
        words = {"seconds": seconds, "seed": turn["seed"], "library": self.options.library, "programs": self.options.programs,
                 "turn": 1 + sum(1 for t in self.turns if t["part"] == part.name)}
        command = [str(word).format(**words) for word in part.command]
        began = time.monotonic()
        output, code = self.run(command, seconds + GRACE_S)
        figures = dict([("cases", n) for n in COUNTS.findall(output)] + FIGURE.findall(output))
        turn.update(command=" ".join(command), code=code, took_s=round(time.monotonic() - began, 1), figures=figures)
        if code:
            turn["end_of_output"] = output[-4000:]
        self.turns.append(turn)
        with open(self.state, "a") as f:
            f.write(json.dumps(turn) + "\n")
        print(f"{'FAIL' if code else 'ok  '} {part.name}: {turn['took_s']:.0f} s {self.told(turn['figures'])}", flush=True)
        if code:
            print(turn["command"] + "\n" + output[-2000:], flush=True)

    @staticmethod
    def run(command, limit_s):
        process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                   text=True, errors="replace", start_new_session=True)
        try:
            return process.communicate(timeout=limit_s)[0], process.returncode
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)
            return process.communicate()[0] + f"\nhung: killed after {limit_s} s", -9
        except BaseException:       # interrupted: the turn does not count
            os.killpg(process.pid, 9)
            process.wait()
            raise

    @staticmethod
    def told(figures):
        return ", ".join(f"{key} {float(value):,g}" if "." in value else f"{key} {int(value):,}" for key, value in figures.items())

    def sums(self, part):
        """The figures of all turns: counts are added up, what has a unit or is a drift is of the last turn."""
        sums = {}
        for turn in self.turns:
            for key, value in turn["figures"].items() if turn["part"] == part.name else ():
                sums[key] = value if re.search(r"_(bytes|percent|s|ns)$", key) else str(int(sums.get(key, 0)) + int(float(value)))
        return sums

    def report(self):
        failed = [turn for turn in self.turns if turn["code"]]
        lines = ["# Soak", "", f"Library {self.build}; {sum(t['took_s'] for t in self.turns) / 60:.0f} of {self.options.minutes:g} minutes, "
                 f"{len(self.turns)} turns, {len(failed)} failed.", "", "| part | turns | failed | minutes | what was done |", "|---|--:|--:|--:|---|"]
        for part in self.parts:
            mine = [turn for turn in self.turns if turn["part"] == part.name]
            lines.append(f"| {part.name}: {part.text} | {len(mine)} | {sum(1 for t in mine if t['code'])} | "
                         f"{sum(t['took_s'] for t in mine) / 60:.1f} | {self.told(self.sums(part))} |")
        for turn in failed:
            lines += ["", f"## Failed: {turn['part']}, {turn['began']}", "", "    " + turn["command"], "",
                      *("    " + line for line in turn["end_of_output"].splitlines())]
        (self.options.state / "report.md").write_text("\n".join(lines) + "\n")
        return len(self.turns) - len(failed), len(failed)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--library", required=True, type=os.path.abspath)
    parser.add_argument("--programs", required=True, type=os.path.abspath)
    parser.add_argument("--state", required=True, type=pathlib.Path)
    parser.add_argument("--minutes", type=float, default=120)
    parser.add_argument("--only", default="")
    parser.add_argument("--report", action="store_true")
    options = parser.parse_args()
    options.state.mkdir(parents=True, exist_ok=True)
    soak = Soak(options)
    for ending in (signal.SIGINT, signal.SIGTERM):      # also where a shell began it in the background, with SIGINT ignored
        signal.signal(ending, signal.default_int_handler)
    try:
        while not options.report and (part := soak.next_part()):
            soak.take_turn(part)
    except KeyboardInterrupt:
        print("interrupted: the same command goes on")
    passed, failed = soak.report()
    print(f"report: {options.state / 'report.md'}\nsoak: {passed} passed, {failed} failed")
    sys.exit(1 if failed or not passed else 0)


if __name__ == "__main__":
    main()
