"""The processes of a job: a command and all its descendants.

A process belongs when its parent belonged at the time it was first seen, and for ever after, so
that those whose parents ended stay. Where the caller is a subreaper, orphans become its children,
and belong as well. A pid that was used again is told by its start time.
"""
import os
import signal
import time

from . import procfs


class Tree:
    """`others` are the pids that were there before the job: none of them is looked at."""

    def __init__(self, pid, others=(), with_orphans=False):
        self.root = pid
        self.own = os.getpid()
        self.with_orphans = with_orphans
        self.members = {}       # pid -> start time
        self.foreign = set(others) - {pid}      # seen, and not ours
        root = procfs.stat(pid)
        if root:
            self.members[pid] = root.started
        self.most = 1

    def belongs(self, parent, found):
        return parent in self.members or parent in found or (self.with_orphans and parent == self.own)

    def update(self):
        """Looks for new processes. Parents have lower pids mostly, so one ordered pass finds them;
        what it misses is looked at again."""
        try:
            present = procfs.pids()
        except OSError:
            present = set(self.members)
        self.foreign &= present
        fresh = sorted(present - self.foreign - self.members.keys() - {self.own})
        found, left = {}, {}
        for pid in fresh:
            stat = procfs.stat(pid)
            if stat and self.belongs(stat.parent, found):
                found[pid] = stat.started
            elif stat:
                left[pid] = stat
        grown = bool(found)
        while grown:            # after a wrap of the pids a child's may be lower than its parent's
            later = {pid: stat.started for pid, stat in left.items() if stat.parent in found}
            found.update(later)
            grown = any(left.pop(pid, None) for pid in later)
        self.foreign |= left.keys()
        self.members.update(found)
        for pid in [pid for pid in self.members if pid not in present]:
            del self.members[pid]
        self.most = max(self.most, len(self.members))

    def alive(self, pids=None):
        """[(pid, Stat)] of those (or all) that run; drops the rest, also pids that are someone
        else's now."""
        found = []
        for pid in list(self.members) if pids is None else pids:
            started = self.members.get(pid)
            stat = procfs.stat(pid)
            if stat and stat.started == started and stat.state not in "ZX":
                found.append((pid, stat))
            elif not stat or stat.started != started:
                self.members.pop(pid, None)
        return found

    def signal(self, number):
        for pid, _ in self.alive():
            try:
                os.kill(pid, number)
            except OSError:
                pass

    def end(self, reap, patience=3.0):
        """SIGTERM for all, SIGKILL for those that stay. `reap` collects ended children."""
        self.update()
        self.signal(signal.SIGTERM)
        limit = time.monotonic() + patience
        while time.monotonic() < limit:
            reap()
            self.update()
            if not self.alive():
                return
            time.sleep(0.01)
        for _ in range(100):
            self.signal(signal.SIGKILL)
            reap()
            self.update()
            if not self.alive():
                return
            time.sleep(0.01)
