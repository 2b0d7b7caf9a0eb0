"""One measured run of a job: started, sampled, its stdout hashed, ended, and what it cost.

The job gets a session of its own, so that Ctrl-C ends the measuring and not the job behind its
back, and stdout goes through a pipe whose reader only counts and hashes. The caller blocks SIGCHLD
before, and is the subreaper: processes that outlive the command are followed until they are quiet,
then ended.
"""
import fcntl
import hashlib
import os
import signal
import threading
import time

from . import interpreter, launch, peers, procfs, program, sampling
from .tree import Tree

F_SETPIPE_SZ, PIPE_BYTES = 1031, 1 << 20
WINDOW_S, QUIET_SHARE = 0.5, 0.05       # quiet = less than 5 % of a core for half a second
LEFT_ALONE_S = 2.0                      # processes that outlive the command may be quiet for so long
IDLE_MOMENTS = (1, 2, 4, 8)
FEW = 3                                 # with fewer samples only the kernel's peak is known


class Output:
    """Reads the job's stdout to its end: `count` bytes with hash `digest`."""

    def __init__(self):
        self.reading, self.writing = os.pipe()
        try:
            fcntl.fcntl(self.reading, F_SETPIPE_SZ, PIPE_BYTES)
        except OSError:
            pass
        self.count, self.hash = 0, hashlib.blake2b(digest_size=16)
        self.thread = threading.Thread(target=self.read, daemon=True)

    def begin(self):
        os.close(self.writing)
        self.thread.start()

    def read(self):
        while True:
            data = os.read(self.reading, PIPE_BYTES)
            if not data:
                return
            self.count += len(data)
            self.hash.update(data)

    def end(self):
        self.thread.join(5.0)
        if not self.thread.is_alive():
            os.close(self.reading)
        return self.hash.hexdigest()


class Quiet:
    """Since when the job has used next to no CPU, or None."""

    def __init__(self):
        self.history = []
        self.since = None

    def note(self, at, cpu, processes):
        self.history.append((at, cpu, processes))
        while len(self.history) > 2 and self.history[1][0] <= at - WINDOW_S:
            self.history.pop(0)
        began, cpu_then, processes_then = self.history[0]
        if at - began < WINDOW_S:
            return
        spent = cpu - cpu_then if processes == processes_then else WINDOW_S
        if spent > QUIET_SHARE * (at - began) + 2 / procfs.TICK:
            self.since = None
        elif self.since is None:
            self.since = began


class Job:
    """`run` does all; `stop` may be called by whoever interrupts it."""

    def __init__(self, command, allocator, usual_mask, stdin=os.devnull, errors=None, idle_s=0.0, timeout_s=None):
        self.command, self.allocator, self.mask = command, allocator, usual_mask
        self.stdin, self.errors = stdin, errors
        self.idle_s, self.timeout_s = idle_s, timeout_s
        self.status = self.ended_at = None
        self.usages, self.notes = [], []
        self.judged, self.largest_pid = (program.STARTING, None), None
        self.tree = None

    # --- the course of a run ---

    def run(self, progress):
        """A dict of what was measured. CliError when the command cannot be started."""
        output = Output()
        with open(self.stdin, "rb") as stdin, open(self.errors or os.devnull, "ab") as errors:
            floor, others = procfs.resident("self") or 0, procfs.pids()
            files = (stdin.fileno(), output.writing, errors.fileno())
            self.began = time.monotonic()
            self.pid = launch.start(self.command, self.allocator.environment, self.mask, files, new_session=True)
        output.begin()
        self.tree = Tree(self.pid, others, with_orphans=True)
        self.sampler = sampling.Sampler(self.tree, looks_at_heap=self.allocator.name == peers.OURS)
        self.sampler.began = self.began
        self.quiet = Quiet()
        try:
            while not self.is_over():
                self.step(progress)
        finally:
            self.stop()
        digest = output.end()
        return {**self.costs(floor), "stdout_bytes": output.count, "stdout_hash": digest, **self.activity(),
                "notes": self.notes}

    def now(self):
        return time.monotonic() - self.began

    def step(self, progress):
        sample = self.sampler.tick()
        if sample:
            self.quiet.note(sample.t, self.sampler.cpu, sample.processes)
            if sample.pss is not None:
                self.judge()
            progress(sample)
        signal.sigtimedwait({signal.SIGCHLD}, max(0.001, min(self.sampler.wait_s(), 0.5)))
        self.reap()

    def reap(self):
        """Ended children: the command's status, and the usage of all."""
        while True:
            try:
                pid, status, usage = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            self.usages.append(usage)
            if pid == self.pid:
                self.status, self.ended_at = status, self.now()

    def is_over(self):
        now, since = self.now(), self.quiet.since
        if self.timeout_s and now > self.timeout_s:
            self.notes.append(f"ended after the {self.timeout_s:g} s of --timeout")
            return True
        if self.idle_s and since is not None and now - since >= self.idle_s + 0.1:
            return True
        if self.ended_at is None:
            return False
        self.tree.update()
        left = self.tree.alive()
        if not left:
            return True
        if not self.idle_s and since is not None and now - max(since, self.ended_at) > LEFT_ALONE_S:
            self.notes.append(f"{len(left)} processes outlived the command and were ended")
            return True
        return False

    def stop(self):
        """Ends what is left of the job."""
        if self.tree:
            self.tree.end(self.reap)
        self.reap()

    # --- what came of it ---

    def judge(self):
        """Whether the allocator is active where most of the memory is; looked at again when that is
        another process."""
        pid = self.sampler.largest[1] if self.sampler.largest else self.pid
        if not self.allocator.preload or (pid == self.largest_pid and self.judged[0] == program.ACTIVE):
            return
        judged = program.judge_process(pid, self.allocator.preload)
        if judged[0] != program.GONE:
            self.largest_pid, self.judged = pid, judged

    def activity(self):
        """Whether the allocator served the job: True, False with a reason, or None for glibc."""
        if not self.allocator.preload:
            return {"active": None, "why_not": None}
        state, seen = self.judged
        if state == program.STARTING:
            seen = program.look_at(self.command, self.allocator.preload, self.allocator.environment.get("PATH"))
            if not seen.problem and program.loader_loads(seen.path, self.allocator.preload):
                state = program.ACTIVE
        if state == program.ACTIVE:
            return {"active": True, "why_not": None, "remark": self.remark(seen)}
        return {"active": False, "why_not": f"{seen.name}: {seen.problem or 'the loader does not load the library'}"}

    def remark(self, seen):
        """What of the program lowtide does not serve, although it is active."""
        if self.allocator.name != peers.OURS:
            return None
        python = interpreter.objects(seen.path, self.command[1:], self.allocator.environment,
                                     interpreter.is_python(self.command[0]))
        if python and not python[0]:
            return f"Python's small objects are not lowtide's: {python[1]}"
        return seen.remark

    def idle(self):
        """{seconds of idleness: resident bytes}, as far as it lasted."""
        since, found = self.quiet.since, {}
        if not self.idle_s or since is None:
            return found
        for moment in IDLE_MOMENTS:
            before = [s for s in self.sampler.samples if s.t <= since + moment + 0.05]
            if moment <= self.idle_s and self.sampler.samples[-1].t >= since + moment - 0.1:
                found[str(moment)] = before[-1].rss
        return found

    def peak(self, floor):
        """Of one process the kernel's own high-water mark; of several the largest sum seen. What
        wait4 says includes this command's own size before exec, so it counts above that only."""
        samples = self.sampler.samples
        largest_rss = max((usage.ru_maxrss * 1024 for usage in self.usages), default=0)
        found = [sampling.most(samples, "rss") or 0, *self.sampler.peaks.values()]
        if largest_rss > floor * 1.05 or len(samples) < FEW:
            found.append(largest_rss)
        return max(found)

    def costs(self, floor):
        samples, idle = self.sampler.samples, self.idle()
        ended = self.status is not None
        own_end = ended and not (self.idle_s and self.quiet.since is not None and idle)
        wall = self.ended_at if own_end else self.quiet.since if idle else self.now()
        if self.idle_s and not idle:
            self.notes.append("it was never idle long enough to be looked at")
        peak = self.peak(floor)
        is_short = len(samples) < FEW
        if is_short:
            self.notes.append("too short for samples over time; the peak is the kernel's")
        peak_pss = sampling.most(samples, "pss")
        return {
            "wall_s": wall, "user_s": sum(u.ru_utime for u in self.usages),
            "system_s": sum(u.ru_stime for u in self.usages),
            "cpu_s": sum(u.ru_utime + u.ru_stime for u in self.usages),
            "minor_faults": sum(u.ru_minflt for u in self.usages),
            "peak_rss": peak, "mean_rss": peak if is_short else sampling.mean_over_time(samples, "rss"),
            "last_rss": peak if is_short else sampling.at_the_end(samples),
            "peak_pss": peak if is_short or not peak_pss else max(peak_pss, peak - shared(samples)),
            "mean_pss": sampling.mean_over_time(samples, "pss"),
            "peak_swap": sampling.most(samples, "swap") or 0,
            "anon_share": share(samples), "heap_share": sampling.heap_share(samples),
            "idle": idle, "processes": self.tree.most, "sampling_s": self.sampler.cost,
            "ended": "ended by this command" if self.idle_s and idle and own_end is False
                     else launch.describe_status(self.status) if ended else "did not end",
            "samples": samples,
        }


def shared(samples):
    """By how much RSS was more than PSS when memory was largest. Full samples are rarer than peaks
    are short, and what a peak adds is seldom shared."""
    full = max((s for s in samples if s.pss is not None), key=lambda s: s.rss)
    return full.rss - full.pss


def share(samples):
    known = [s for s in samples if s.anon is not None and s.rss]
    total = sum(s.rss for s in known)
    return sum(s.anon for s in known) / total if total else None
