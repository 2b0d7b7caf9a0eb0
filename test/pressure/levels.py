"""Runs test/pressure/falling.c under watch, and judges what it and lowtide said while available memory fell and rose.

Times are CLOCK_MONOTONIC in seconds, which is one clock in all processes.
"""
import re
import threading
import time

from cases import MIB, check

LEVELS = ("low", "moderate", "high", "extreme", "oom")
LATEST_S = 1.0          # asserted; what was measured is printed
FALL_S = 0.95           # a level falls one step a second at most; less what the pipe may take
CYCLE_MS = 1600

SIZE = r"(\d+[KMGT]?|\?)"
LINE = re.compile(rf"lowtide: memory pressure is (\w+): {SIZE} available of {SIZE} \(minimum free {SIZE}, low watermark {SIZE}\)(; {SIZE} retained)?$")


def bytes_of(size):
    """"?" is what is not known."""
    digits, unit = size.rstrip("KMGT"), size[-1]
    return None if size == "?" else int(digits) << {"K": 10, "M": 20, "G": 30, "T": 40}.get(unit, 0)


class Change:
    """A line of lowtide's about the level."""
    def __init__(self, at, match):
        self.at, self.level = at, match.group(1)
        self.available, self.total, self.minimum, self.low = map(bytes_of, match.groups()[1:5])


class Sample:
    def __init__(self, line):
        _, self.how, ms, *numbers = line.split()
        self.at = float(ms) / 1000
        self.live, self.retained, self.magazines = map(int, numbers)

    def __repr__(self):
        return f"{self.retained / MIB:.2f} MiB with {self.live / MIB:.1f} MiB live ({self.how})"


class Watched:
    """A process whose lines are taken down as they come."""
    def __init__(self, process, threads, profile):
        self.process, self.threads, self.profile, self.out, self.err = process, threads, profile, [], []
        self.readers = [threading.Thread(target=self.read, args=pair) for pair in ((process.stdout, self.out), (process.stderr, self.err))]
        for reader in self.readers:
            reader.start()

    @staticmethod
    def read(stream, lines):
        for line in stream:
            lines.append((time.monotonic(), line.rstrip("\n")))

    def wait(self, timeout=20):
        code = self.process.wait(timeout)
        for reader in self.readers:
            reader.join()
        self.process.stdout.close()
        self.process.stderr.close()
        return code

    def end(self):
        self.process.terminate()
        return self.finish()

    def finish(self):
        """It must end well and have said nothing but lowtide's lines, of which one comes at start; returns (cycles, checksum)."""
        code = self.wait()
        said = [text for _, text in self.err if not text.startswith("lowtide: ")]
        check(self.err, "lowtide said nothing at start: it was not preloaded")
        check(code == 0 and not said, f"ended with {code}, said {said[:3]}")
        last = re.fullmatch(r"cycles (\d+) checksum (\w+)", self.out[-1][1] if self.out else "")
        check(last, f"no checksum: {self.out[-1:]}")
        return int(last.group(1)), last.group(2)

    def looks(self):
        """All lines about the level: the first is what was found at start. One of another form fails, or all would
        pass for want of lines."""
        found = []
        for at, text in self.err:
            if text.startswith("lowtide: memory pressure is "):
                match = LINE.match(text)
                check(match and match.group(1) in LEVELS, f"not of the known form: {text!r}")
                found.append(Change(at, match))
        return found

    def changes(self):
        looks = self.looks()
        return looks[1:] if looks and looks[0].level == "low" else looks

    def ends(self):
        """When the drops were over, so far."""
        return [s.at for s in self.samples() if s.how == "end"]

    def after_drops(self, count, sleep):
        """Waits until so many more are over, and then a little. What goes back at that time does not come back within a
        second, and earns nothing."""
        count += len(self.ends())
        while len(self.ends()) < count:
            check(self.process.poll() is None, "it ended early")
            sleep(0.02)
        sleep(0.15)

    def cap(self, level, sample):
        """What a sample may tell at that level."""
        return cap(level, sample.live, self.profile) + slack(sample, self.threads)

    def samples(self, begin=0.0, end=float("inf")):
        all_samples = (Sample(text) for _, text in self.out if text.startswith("sample "))
        return [s for s in all_samples if begin <= s.at < end]


# ---- the arithmetic, once more ----

def watermarks(total, available, minimum=None):
    """(minimum free, low watermark) as docs/MEMORY.md has them."""
    minimum = min(minimum or min(1536 * MIB, total * 5 // 100), total)
    return minimum, min(max((minimum + available) * 7 // 16, minimum + 128 * MIB), minimum + (total - minimum) // 2)


def available_for(level, total, start, minimum=None):
    """In the middle of the level's range, or what there was at start."""
    least, low = watermarks(total, start, minimum)
    return {"low": start, "moderate": least + (low - least) * 5 // 8, "high": least + (low - least) // 8,
            "extreme": least * 5 // 8, "oom": least // 8}[level]


# (bytes, share of live): what may be retained at low, and the soft target.
PROFILES = {"balanced": ((3 * MIB, 1 / 16), (MIB, 0.06)), "tight": ((MIB, 1 / 64), (MIB / 4, 1 / 128))}
# What the churn of one thread may earn on top of that: some of its own pages bounce. From high on nothing is earned.
EARNED = {"balanced": MIB / 2, "tight": 0}


def cap(level, live, profile):
    """Bytes that may be retained, after docs/MEMORY.md: at high half of the soft target, as the rest is for magazines."""
    (base, share), (soft_base, soft_share) = PROFILES[profile]
    return {"moderate": (base + share * live) / 2 + EARNED[profile], "high": (soft_base + soft_share * live) / 2}.get(level, 64 * 1024)


# ---- judgement ----

def slack(sample, threads):
    """What lies between two checks: some pages a thread; while waves are dropped, a pool of 64 pages for each other thread."""
    return 32 * 1024 * (threads + 1) + (256 * 1024 * (threads - 1) if sample.how == "drop" else 0)


class Step:
    """To a level: since when memory fell, and when it had got there. A kernel may take a second to hand out a few hundred MiB."""
    def __init__(self, level, go=lambda level: None):
        self.level, self.begun = level, time.monotonic()
        go(level)
        self.there = time.monotonic()


def judge_retained(watched, level, begin, end):
    """All samples are within the level's cap from some moment on; returns (seconds until then, most retained after)."""
    samples = watched.samples(begin, end)
    late = [s for s in samples if s.retained > watched.cap(level, s)]
    settled_at = late[-1].at if late else begin
    check(settled_at - begin < LATEST_S, f"at {level}, {settled_at - begin:.2f} s after memory fell, there are {late[-1:]} retained")
    rest = [s for s in samples if s.at > settled_at]
    check(any(s.how != "timer" for s in rest), f"no drop was seen at {level}")
    return (rest[0].at - begin if late else 0.0), max(s.retained for s in rest)


def judge_low(watched, begin, end):
    """The rest shows nothing unless more is retained at low than moderate allows."""
    samples = watched.samples(begin, end)
    check(any(s.retained > watched.cap("moderate", s) for s in samples),
          f"at low no more is retained than moderate allows: at most {max(samples, key=lambda s: s.retained, default=None)}")
    return max(s.retained for s in samples)


def judge_rise(watched, steps, end):
    """steps: low first. Returns text."""
    changes = watched.changes()
    check(changes, "no line about the level of memory")
    said = [f"low {judge_low(watched, steps[0].begun, steps[1].begun) / MIB:.1f} MiB"]
    for step, after in zip(steps[1:], [next_step.begun for next_step in steps[2:]] + [end]):
        level, seen = step.level, [c for c in changes if step.begun < c.at < after]
        check([c.level for c in seen] == [level], f"when memory got {level}, the lines were {[c.level for c in seen]}")
        late_s = max(0, seen[0].at - step.there)
        check(late_s < LATEST_S, f"{level} was said after {late_s:.2f} s")
        seconds, most = judge_retained(watched, level, step.there, after)
        said.append(f"{level} {most / MIB:.1f} MiB (said after {late_s * 1000:.0f} ms, kept after {seconds * 1000:.0f} ms)")
    return "retained at " + ", ".join(said)


def judge_fall(watched, level, since):
    """From `level` down to low, one step a second at most; returns text."""
    changes = [c for c in watched.changes() if c.at > since]
    expected = LEVELS[:LEVELS.index(level)][::-1]
    check(tuple(c.level for c in changes) == expected, f"on the way back the lines were {[c.level for c in changes]}, not {list(expected)}")
    for before, after in zip([since] + [c.at for c in changes], [c.at for c in changes]):
        check(after - before > FALL_S, f"two steps down within {after - before:.2f} s")
    return f"back to low in {changes[-1].at - since:.1f} s"


def judge_numbers(change, available, total, minimum, low):
    """What a line says, to a MiB."""
    for name, said, true in (("available", change.available, available), ("total", change.total, total),
                             ("minimum", change.minimum, minimum), ("low watermark", change.low, low)):
        check(abs(said - true) <= MIB, f"at {change.level} it says {name} {said / MIB:.0f} MiB, which is {true / MIB:.1f} MiB")
