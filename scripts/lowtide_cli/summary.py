"""`lowtide run --summary`: the memory of one program, on stderr when it has ended."""
import glob
import json
import os
import shutil
import tempfile

from . import sampling, say
from .tree import Tree


class Summary:
    """Takes samples while the program runs. Unless the user wants the statistics somewhere, the
    library writes them into a directory that is removed at the end."""

    def __init__(self, environment):
        self.directory = None
        if not environment.get("LOWTIDE_STATS"):
            try:
                self.directory = tempfile.mkdtemp(prefix="lowtide-run-")
                environment["LOWTIDE_STATS"] = os.path.join(self.directory, "%p.json")
            except OSError:
                pass        # no place to write: the summary goes without them

    def begin(self, pid):
        self.pid = pid
        self.sampler = sampling.Sampler(Tree(pid), looks_at_heap=True)

    def wait_s(self):
        return self.sampler.wait_s()

    def tick(self):
        self.sampler.tick()

    def statistics(self):
        """The library's own, of the program itself; None when it could not write them."""
        if not self.directory:
            return None
        found = None
        for file in glob.glob(os.path.join(self.directory, f"{self.pid}.json")):
            try:
                with open(file) as text:
                    found = json.loads(text.read().splitlines()[-1])
            except (OSError, ValueError, IndexError):
                pass
        shutil.rmtree(self.directory, ignore_errors=True)
        return found

    def lines(self, usage):
        samples, statistics = self.sampler.samples, self.statistics()
        peak = max([sampling.most(samples, "rss") or 0, *self.sampler.peaks.values(), usage.ru_maxrss * 1024])
        mean, last = sampling.mean_over_time(samples, "rss"), sampling.at_the_end(samples)
        yield f"RSS          peak {say.memory(peak)}, mean {say.memory(mean)}, last {say.memory(last)}"
        if statistics:
            yield (f"heap at exit live {say.memory(statistics['live_bytes'])}, "
                   f"retained {say.memory(statistics['retained_bytes'])}, "
                   f"released {say.memory(statistics['released_bytes_total'])} in all")
        else:
            yield "heap at exit not known: no statistics were written here"
        share = sampling.heap_share(samples)
        yield "not heap     " + (f"{say.percent(1 - share)} of RSS" if share is not None else "not known (too short, or LOWTIDE_THP=keep)")
        yield (f"cost         {say.count(usage.ru_minflt)} minor faults, system {say.seconds(usage.ru_stime)}, "
               f"user {say.seconds(usage.ru_utime)}")

    def print(self, usage):
        for line in self.lines(usage):
            say.note(line)
