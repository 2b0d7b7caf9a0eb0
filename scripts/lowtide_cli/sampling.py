"""Memory of a job over time, at a cost of under 2 % of a core.

Two kinds of samples. A *light* one reads the kernel's counter of resident pages of each process
(statm). A *full* one reads smaps_rollup, for which the kernel walks the page tables: it brings PSS,
USS, anonymous memory and swap, and takes milliseconds for each GB. Each kind is taken so seldom
that what it has cost stays below its share of the time: 0.7 % for each, and 0.4 % for a look at
the heap (smaps), which says how much of the resident memory is lowtide's.
"""
import time

from . import procfs

LEAST_LIGHT_S, LEAST_FULL_S, LEAST_HEAP_S = 0.01, 0.05, 0.1
LIGHT_SHARE, FULL_SHARE, HEAP_SHARE = 0.007, 0.007, 0.004


class Sample:
    """`t` in seconds from the start; what a light sample does not know is None."""
    __slots__ = ("t", "processes", "rss", "pss", "uss", "anon", "swap", "heap")

    def __init__(self, t, processes, rss):
        self.t, self.processes, self.rss = t, processes, rss
        self.pss = self.uss = self.anon = self.swap = self.heap = None


class Pace:
    """When something may be done again, if it is to take at most `share` of the time."""

    def __init__(self, least, share):
        self.least, self.share = least, share
        self.due = 0.0

    def note(self, began, cost):
        self.due = began + max(self.least, cost / self.share)


class Sampler:
    def __init__(self, tree, looks_at_heap=False, clock=time.monotonic):
        self.tree, self.clock = tree, clock
        self.began = clock()
        self.samples = []
        self.peaks = {}             # pid -> VmHWM
        self.largest = None         # (bytes, pid) of the largest process seen
        self.cost = 0.0             # CPU seconds of sampling
        self.light = Pace(LEAST_LIGHT_S, LIGHT_SHARE)
        self.full = Pace(LEAST_FULL_S, FULL_SHARE)
        self.heap = Pace(LEAST_HEAP_S, HEAP_SHARE) if looks_at_heap else None
        self.cpu = 0.0              # CPU seconds of the processes alive

    def wait_s(self):
        """Seconds until the next sample is due."""
        return max(0.0, self.light.due - (self.clock() - self.began))

    def tick(self):
        """Takes what is due; the sample, or None."""
        at = self.clock() - self.began
        if at < self.light.due:
            return None
        spent = time.thread_time()
        self.tree.update()
        alive = self.tree.alive()
        self.cpu = sum(stat.cpu for _, stat in alive)
        sample = self.take_light(at, alive)
        light_cost = time.thread_time() - spent
        self.light.note(at, light_cost)
        if sample:
            if at >= self.full.due:
                self.take_full(sample, alive)
                full_cost = time.thread_time() - spent - light_cost
                self.full.note(at, full_cost)
            if self.heap and at >= self.heap.due and sample.pss is not None:
                began = time.thread_time()
                sizes = [procfs.lowtide_heap(pid) for pid, _ in alive]
                sample.heap = sum(size for size in sizes if size)
                self.heap.note(at, time.thread_time() - began)
            self.samples.append(sample)
        self.cost += time.thread_time() - spent
        return sample

    def take_light(self, at, alive):
        sizes = [(procfs.resident(pid), pid) for pid, _ in alive]
        sizes = [(size, pid) for size, pid in sizes if size]
        if not sizes:
            return None
        largest = max(sizes)
        if self.largest is None or largest[0] > self.largest[0]:
            self.largest = largest
        return Sample(at, len(sizes), sum(size for size, _ in sizes))

    def take_full(self, sample, alive):
        """What cannot be read (another user's, already gone) counts with its resident size only."""
        found = [procfs.rollup(pid) for pid, _ in alive]
        found = [entry for entry in found if entry]
        for pid, _ in alive[:64]:
            peak = procfs.peak_resident(pid)
            if peak:
                self.peaks[pid] = max(peak, self.peaks.get(pid, 0))
        if len(found) == sample.processes:
            for name in procfs.ROLLUP_FIELDS:
                setattr(sample, name, sum(entry[name] for entry in found))


def mean_over_time(samples, field, begin=None, end=None):
    """Time-weighted mean of a field; samples that do not know it are left out."""
    points = [(s.t, getattr(s, field)) for s in samples if getattr(s, field) is not None
              and (begin is None or s.t >= begin) and (end is None or s.t <= end)]
    if len(points) < 2:
        return points[0][1] if points else None
    area = sum((later[0] - earlier[0]) * (later[1] + earlier[1]) / 2 for earlier, later in zip(points, points[1:]))
    passed = points[-1][0] - points[0][0]
    return area / passed if passed > 0 else points[-1][1]


def most(samples, field):
    return max((getattr(s, field) for s in samples if getattr(s, field) is not None), default=None)


def last(samples, field):
    return next((getattr(s, field) for s in reversed(samples) if getattr(s, field) is not None), None)


def heap_share(samples):
    """Which part of resident memory is lowtide's heap, over the samples that know; or None."""
    known = [s for s in samples if s.heap and s.rss]
    total = sum(s.rss for s in known)
    return sum(s.heap for s in known) / total if total else None
