"""Memory of a job over time, at a cost of under 2 % of a core.

A *light* sample reads the kernel's counter of resident pages of each process (statm). A *full* one
reads smaps_rollup as well, for which the kernel walks the page tables: it brings PSS, USS,
anonymous memory and swap, and takes milliseconds for each GB. A look at the *heap* (smaps) says
how much of the resident memory is lowtide's, and a *search* finds new processes. Each is done so
seldom that what it has cost stays below its share of the time. Jobs of many processes on machines
of many cores may cost that for each second core.
"""
import os
import time

from . import procfs

# of what: (seconds between two at least, share of the time at most, seconds between two at most);
# a search that found a thousand new processes has cost much, but the next will not
PACES = {"search": (0.02, 0.004, 0.5), "light": (0.005, 0.005, 0.5), "full": (0.05, 0.006, 60.0), "heap": (0.1, 0.003, 60.0)}

BATCH = 64      # processes that are looked at in one light sample
CORES = len(os.sched_getaffinity(0))


class Sample:
    """`t` in seconds from the start; what a light sample does not know is None."""
    __slots__ = ("t", "processes", "rss", "pss", "uss", "anon", "swap", "heap")

    def __init__(self, t, processes, rss):
        self.t, self.processes, self.rss = t, processes, rss
        self.pss = self.uss = self.anon = self.swap = self.heap = None


class Pace:
    """When something may be done again, if it is to take at most `share` of the time."""

    def __init__(self, least, share, most=60.0):
        self.least, self.share, self.most = least, share, most
        self.due = 0.0

    def note(self, began, cost, processes=1):
        cores = max(1, min(processes, CORES // 2))
        self.due = began + min(max(self.least, cost / (self.share * cores)), self.most)


class Sampler:
    def __init__(self, tree, looks_at_heap=False, clock=time.monotonic):
        self.tree, self.clock = tree, clock
        self.began = clock()
        self.samples = []
        self.peaks = {}             # pid -> VmHWM
        self.largest = None         # (bytes, pid) of the largest process seen
        self.cost = 0.0             # CPU seconds of sampling
        self.paces = {name: Pace(*pace) for name, pace in PACES.items()}
        self.paces["heap"].due = 0.05       # a program that has just begun has no heap
        self.looks_at_heap = looks_at_heap
        self.known = {}             # pid -> (resident bytes, CPU seconds) when it was seen last
        self.turn = 0
        self.cpu = 0.0              # CPU seconds of the processes alive

    def wait_s(self):
        """Seconds until the next sample is due."""
        return max(0.0, self.paces["light"].due - (self.clock() - self.began))

    def do(self, name, at, what, processes):
        """Does something at its pace, and counts what it costs; its result, or None."""
        pace = self.paces[name]
        if at < pace.due:
            return None
        began = time.thread_time()
        result = what()
        cost = time.thread_time() - began
        pace.note(at, cost, processes)
        self.cost += cost
        return result

    def tick(self):
        """Takes what is due; the sample, or None."""
        at = self.clock() - self.began
        if at < self.paces["light"].due:
            return None
        many = len(self.tree.members)
        self.do("search", at, self.tree.update, many)
        sample = self.do("light", at, lambda: self.take_light(at), many)
        if sample:
            self.do("full", at, lambda: self.take_full(sample), many)
            if self.looks_at_heap:
                self.do("heap", at, lambda: self.take_heap(sample), many)
            self.samples.append(sample)
        return sample

    def choose(self):
        """The processes to look at now: all, or of many the new ones and the next BATCH in turn."""
        members = list(self.tree.members)
        if len(members) <= BATCH:
            return members
        fresh = [pid for pid in members if pid not in self.known][:2 * BATCH]
        self.turn = self.turn + BATCH if self.turn + BATCH < len(members) else 0
        return fresh + members[self.turn:self.turn + BATCH]

    def take_light(self, at):
        """Of many processes those not looked at now count as they were seen last."""
        looked_at = self.choose()
        running = dict(self.tree.alive(looked_at))
        for pid in looked_at:
            size = procfs.resident(pid) if pid in running else None
            if size:
                self.known[pid] = (size, running[pid].cpu)
            else:
                self.known.pop(pid, None)
        for pid in self.known.keys() - self.tree.members.keys():
            del self.known[pid]
        if not self.known:
            return None
        self.cpu = sum(cpu for _, cpu in self.known.values())
        largest = max((size, pid) for pid, (size, _) in self.known.items())
        if self.largest is None or largest[0] > self.largest[0]:
            self.largest = largest
        return Sample(at, len(self.known), sum(size for size, _ in self.known.values()))

    def take_full(self, sample):
        """What cannot be read (another user's, already gone) counts with its resident size only."""
        found = [procfs.rollup(pid) for pid in self.known]
        found = [entry for entry in found if entry]
        for pid in list(self.known)[:BATCH]:
            peak = procfs.peak_resident(pid)
            if peak:
                self.peaks[pid] = max(peak, self.peaks.get(pid, 0))
        if len(found) > 0.9 * sample.processes:     # the others have ended meanwhile
            for name in procfs.ROLLUP_FIELDS:
                setattr(sample, name, sum(entry[name] for entry in found))

    def take_heap(self, sample):
        sizes = [procfs.lowtide_heap(pid) for pid in self.known]
        sample.heap = sum(size for size in sizes if size)


def mean_of(points):
    """Mean of [(time, value)], weighted by time."""
    if len(points) < 2:
        return points[0][1] if points else None
    area = sum((later[0] - earlier[0]) * (later[1] + earlier[1]) / 2 for earlier, later in zip(points, points[1:]))
    passed = points[-1][0] - points[0][0]
    return area / passed if passed > 0 else points[-1][1]


def mean_over_time(samples, field):
    """Of a field; samples that do not know it are left out."""
    return mean_of([(s.t, getattr(s, field)) for s in samples if getattr(s, field) is not None])


def most(samples, field):
    return max((getattr(s, field) for s in samples if getattr(s, field) is not None), default=None)


def at_the_end(samples, within=0.03):
    """Resident bytes at the end of a run; a sample taken while the process was being torn down
    would say too little, so the largest of the last moments counts."""
    late = [s.rss for i, s in enumerate(reversed(samples)) if i < 2 or samples[-1].t - s.t < within]
    return max(late, default=None)


def heap_share(samples):
    """Which part of resident memory is lowtide's heap, over the samples that know; or None."""
    known = [s for s in samples if s.heap and s.rss]
    total = sum(s.rss for s in known)
    return sum(s.heap for s in known) / total if total else None
