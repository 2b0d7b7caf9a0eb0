"""Processes watched over time: samples of their pages and of what the kernel says, and what is made of both."""
import collections
import os
import time

from . import pages, verdict

# As many samples as a verdict looks back.
WINDOW = 60
# How often it is looked for processes that have published nothing: that reads the mappings of all of the user's.
LOOK_FOR_SILENT_EVERY = 10


def of_process(page):
    """One object for a page's process: what the page says, and RSS now. None when the process is gone."""
    rss, pss = pages.memory(page.pid)
    if rss is None:
        return None
    heap = (page["live_pages_bytes"] or 0) + (page["retained_bytes"] or 0)
    return {"pid": page.pid, "program": page.program, "name": pages.process_name(page.pid) or page.program, "version": page.version,
            "rss_bytes": rss, "pss_bytes": pss, "not_heap_bytes": max(0, rss - heap), "snapshot_age_ms": round(page.age_s * 1000),
            "keeper": bool(page.has_keeper), **page.numbers}


class History:
    """Of one process."""

    def __init__(self):
        self.samples = collections.deque(maxlen=WINDOW)
        self.last = None

    def add(self, row, now_s):
        """Takes the row, and adds to it what came since the last one."""
        self.samples.append(verdict.Sample(now_s, row["live_bytes"] or 0, row["live_pages_bytes"] or 0, row["retained_bytes"] or 0, row["rss_bytes"]))
        row["releases_per_s"] = row["released_bytes_per_s"] = None
        if self.last and now_s > self.last[0]:
            passed, before = now_s - self.last[0], self.last[1]
            row["releases_per_s"] = round(max(0, row["trims_total"] - before["trims_total"]) / passed, 2)
            row["released_bytes_per_s"] = round(max(0, row["released_bytes_total"] - before["released_bytes_total"]) / passed)
        self.last = (now_s, row)
        said = self.verdict()
        row["rss_growth_per_s"], row["verdict"] = round(said.rss_per_s), said.word
        return row

    def verdict(self):
        return verdict.judge(list(self.samples))


class Watch:
    """All preloaded processes of some users; rows() is one refresh."""

    def __init__(self, users):
        self.users = users
        self.sets = {}
        self.histories = {}
        self.texts = {}     # of the keys
        self.silent = 0     # preloaded processes of ours that have published nothing
        self.refreshes = 0

    def rows(self):
        now_s, rows, histories = time.monotonic(), [], {}
        for user in self.users():
            if user not in self.sets:
                self.sets[user] = pages.Pages(user)
            for page in self.sets[user].find():
                row = of_process(page)
                if row is None:
                    continue
                self.texts.update(page.texts)
                key = (page.pid, page.started)
                histories[key] = self.histories.get(key) or History()
                rows.append(histories[key].add(row, now_s))
        self.histories = histories
        if self.refreshes % LOOK_FOR_SILENT_EVERY == 0:
            published = {row["pid"] for row in rows}
            self.silent = sum(1 for pid in pages.preloaded_processes() if pid not in published and pid != os.getpid())
        self.refreshes += 1
        return rows
