"""Jobs that are short of memory: in a control group that is too small for others, and while memory falls.

usage: pressure.py --library LIB --programs DIRECTORY [--only TEXT] [--without-preload] [--seed N]

One line a case, exit code 1 when one failed. Cases that need a control group are skipped where none can be made, with
the reason; they count neither as passed nor as failed. --without-preload runs the same without the library: then only
the case of stock glibc may pass. Control groups that were made are removed, also when the run is interrupted.
"""
import argparse
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(HERE))
import cases  # noqa: E402
import groups  # noqa: E402
import levels  # noqa: E402
from cases import INFORMATION, MIB, PYTHON, Failed, Skipped, check  # noqa: E402
from fakes import FakeRoot  # noqa: E402
from levels import CYCLE_MS  # noqa: E402

JOB_LIMIT = 256 * MIB
JOB_LIVE = JOB_LIMIT * 60 // 100
FALLING_LIMIT, FALLING_MINIMUM = 512 * MIB, 64 * MIB
TOTAL, AT_START = 1024 * MIB, 900 * MIB         # of fake roots
PATIENCE_S = 40
OTHERS = {"jemalloc": "libjemalloc.so.2", "mimalloc": "libmimalloc.so.2", "tcmalloc": "libtcmalloc_minimal.so.4"}


class Stopped(Exception):
    pass


class Runner(cases.Runner):
    """Starts processes and makes groups, and ends and removes them all when the run is over."""
    name = "pressure"
    drops = (*cases.Runner.drops, "MALLOC_")

    def __init__(self, options):
        super().__init__(options)
        self.lock, self.reference_lock = threading.Lock(), threading.Lock()
        self.is_over, self.began = threading.Event(), time.monotonic()
        self.processes, self.groups, self.reference = [], [], None
        try:
            self.parent, self.reason = groups.find_parent(), ""
        except groups.NoGroups as e:
            self.parent, self.reason = None, f"no control group: {e}"

    def group(self, limit=None, needs=0):
        if not self.parent:
            raise Skipped(self.reason)
        if groups.room() < needs:
            raise Skipped(f"less than {needs // MIB} MiB of memory are available")
        with self.lock:
            if self.is_over.is_set():
                raise Stopped()
            group = groups.Group(self.parent)
            self.groups.append(group)
        if limit:
            group.set_limit(limit)
        return group

    def remove(self, group):
        group.remove()
        self.groups.remove(group)

    def start(self, *command, group=None, preload=None, **variables):
        """`preload` is a library, or True for the one under test."""
        command, environment = self.command(command), self.environment(preload=(), **variables)
        if preload is True:
            preload = None if self.options.without_preload else self.options.library
        if preload:
            command = ["env", f"LD_PRELOAD={preload}", *command]
        with self.lock:
            if self.is_over.is_set():
                raise Stopped()
            process = subprocess.Popen(group.command(command) if group else command, env=environment, stdin=subprocess.PIPE,
                                       stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace")
            self.processes.append(process)
        return process

    def sleep(self, seconds):
        if self.is_over.wait(max(0, seconds)):
            raise Stopped()

    def stop(self):
        with self.lock:
            self.is_over.set()
        for process in self.processes:
            if process.poll() is None:
                process.kill()
        super().stop()
        for group in list(self.groups):
            try:
                group.remove()
            except (OSError, RuntimeError) as e:
                print(f"pressure.py: {e}", file=sys.stderr)
        groups.restore()

    # ---- a job in a group that is too small for others ----

    def job(self, limit=None, preload=None, **variables):
        """What became of the job, and how it went."""
        group = self.group(limit, needs=2 * JOB_LIMIT)
        try:
            began = time.monotonic()
            process = self.start(PYTHON, os.path.join(HERE, "job.py"), JOB_LIVE, group=group, preload=preload, **variables)
            out, err = process.communicate(timeout=300)
            seconds = time.monotonic() - began
            checksum = re.search(r"^checksum (\w+)$", out, re.M)
            batches = [line.split()[0] for line in out.splitlines() if line.endswith("live")]
            return argparse.Namespace(code=process.returncode, checksum=checksum and checksum.group(1), batches=batches, err=err,
                                      kills=group.kills(), peak=group.peak(), refusals=group.refusals(), seconds=seconds)
        finally:
            self.remove(group)

    def free_job(self):
        """Under stock glibc without a limit: the right checksum, and what it takes."""
        with self.reference_lock:
            if not self.reference:
                self.reference = self.job()
                check(self.reference.code == 0 and self.reference.checksum, f"without a limit it ended with {self.reference.code}")
        return self.reference

    @staticmethod
    def describe(done):
        ends = {0: f"finishes in {done.seconds:.1f} s", -signal.SIGKILL: f"killed in its batch {len(done.batches) + 1} of 3"}
        peak = f"{done.peak / MIB:.0f} MiB" if done.peak else "unknown"
        return f"{ends.get(done.code, f'ends with {done.code}')}, peak {peak}, at the limit {done.refusals} times, OOM kills {done.kills}"

    def job_is_killed(self):
        done, free = self.job(JOB_LIMIT), self.free_job()
        check(done.code == -signal.SIGKILL and (done.kills or done.refusals), self.describe(done))
        check(not free.peak or free.peak > JOB_LIMIT, f"without a limit it takes only {free.peak}")
        return f"{self.describe(done)}; without a limit: {self.describe(free)}"

    def job_finishes(self):
        done, free = self.job(JOB_LIMIT, preload=True, LOWTIDE_VERBOSE="1"), self.free_job()
        check(done.code == 0, f"{self.describe(done)}: {done.err[-300:]}")
        check(done.checksum == free.checksum, f"checksum {done.checksum}, not {free.checksum}")
        check(not done.kills, self.describe(done))
        check(done.err.startswith("lowtide: "), f"it was not preloaded: {done.err[:300]!r}")
        changes = re.findall(r"memory pressure is (\w+)", done.err)
        return self.describe(done) + (f", levels {' '.join(changes)}" if changes else "")

    def told(self, job):
        """For information, where the machine is quick enough."""
        return job() if time.monotonic() - self.began < PATIENCE_S else "left out: the machine is slow"

    def job_elsewhere(self, name):
        """The loader says on stderr when there is no such library."""
        _, said = self.start("/bin/true", preload=OTHERS[name]).communicate()
        return "not installed" if said else self.describe(self.job(JOB_LIMIT, preload=OTHERS[name]))

    # ---- while memory falls ----

    def falling(self, threads, base_mib, wave_mib, cycles=1000000, profile="balanced", **how):
        process = self.start("falling", cycles, threads, base_mib, wave_mib, CYCLE_MS,
                             preload=True, LOWTIDE_VERBOSE="1", LOWTIDE_PROFILE=profile, **how)
        return levels.Watched(process, threads, profile)

    def check_sum(self, made, threads, base_mib, wave_mib):
        """Against stock glibc."""
        cycles, checksum = made
        plain = self.start("falling", cycles, threads, base_mib, wave_mib, 0)
        expected = plain.communicate(timeout=20)[0].split()[-1]
        check(checksum == expected, f"checksum {checksum} after {cycles} cycles, not {expected}")

    def fake(self, name, available, is_container=True):
        return FakeRoot(os.path.join(self.scratch, name), TOTAL, available, is_container)

    def go_through(self, job, steps, go):
        """go(level) for each step after the first, two cycles apart; returns [levels.Step], and the time in the end."""
        taken = [levels.Step(steps[0])]
        for level in steps[1:]:
            job.after_drops(2, self.sleep)
            taken.append(levels.Step(level, go))
        job.after_drops(2, self.sleep)
        return taken, time.monotonic()

    def fake_steps(self, name, is_container, steps, shape, minimum=None, profile="balanced"):
        """Available memory goes through `steps`, and back to where it began."""
        root = self.fake(name, AT_START, is_container)
        variables = {"LOWTIDE_MINMEM_FREE": f"{minimum // MIB}M"} if minimum else {}
        job = self.falling(*shape, profile=profile, LOWTIDE_ROOT=root.directory, **variables)
        taken, back = self.go_through(job, steps, lambda level: root.put_available(
            levels.available_for(level, TOTAL, AT_START, minimum)))
        root.put_available(AT_START)
        self.sleep(1.3 * levels.LEVELS.index(steps[-1]) + 0.7)
        self.check_sum(job.end(), *shape)
        text = levels.judge_rise(job, taken, back)
        looks = job.looks()
        for change, level in zip(looks, steps if looks[0].level == "low" else steps[1:]):
            levels.judge_numbers(change, levels.available_for(level, TOTAL, AT_START, minimum), TOTAL,
                                 *levels.watermarks(TOTAL, AT_START, minimum))
        return f"{text}; {levels.judge_fall(job, steps[-1], back)}"

    def take_step(self, group, hog, level):
        """Has the hog hold so much more that what is available is in the middle of the level."""
        target = levels.available_for(level, FALLING_LIMIT, FALLING_LIMIT, FALLING_MINIMUM)
        more = (FALLING_LIMIT - group.working_bytes() - target) // MIB
        hog.stdin.write(f"{more}\n")
        hog.stdin.flush()
        check(hog.stdout.readline() == f"took {more}\n", "the hog was killed")

    def real_steps(self):
        """In a group whose memory another process takes."""
        group, shape, stalled_us = self.group(FALLING_LIMIT, needs=FALLING_LIMIT + 256 * MIB), (1, 32, 8), groups.stalled_us()
        try:
            hog = self.start("hog", group=group)
            job = self.falling(*shape, group=group, LOWTIDE_MINMEM_FREE=f"{FALLING_MINIMUM // MIB}M")
            taken, back = self.go_through(job, levels.LEVELS[:4], lambda level: self.take_step(group, hog, level))
            hog.communicate(timeout=10)
            self.sleep(4.6)
            self.check_sum(job.end(), *shape)
            text = levels.judge_rise(job, taken, back)
            self.check_real_numbers(job.changes()[0])
            return f"{text}; {levels.judge_fall(job, 'extreme', back)}"
        except Failed:
            stalled_us = groups.stalled_us() - stalled_us
            if stalled_us > 100000:     # which raises levels
                raise Skipped(f"the machine was short of memory itself, for {stalled_us // 1000} ms")
            raise
        finally:
            self.remove(group)

    @staticmethod
    def check_real_numbers(change):
        """What was available at start is not known to a MiB."""
        least, most = (levels.watermarks(FALLING_LIMIT, FALLING_LIMIT - used, FALLING_MINIMUM)[1] for used in (64 * MIB, 0))
        check(change.total == FALLING_LIMIT and change.minimum == FALLING_MINIMUM, f"it says {change.total} and {change.minimum}")
        check(least - MIB <= change.low <= most + MIB, f"it says low watermark {change.low}")

    def limit_below_use(self):
        root, shape = self.fake("below", AT_START), (1, 16, 8)
        job = self.falling(*shape, LOWTIDE_ROOT=root.directory)
        job.after_drops(1, self.sleep)
        fell = time.monotonic()
        root.put_limit(64 * MIB)
        job.after_drops(2, self.sleep)
        self.check_sum(job.end(), *shape)
        said = [c.level for c in job.changes()]
        check(said == ["oom"], f"the lines were {said}")
        seconds, most = levels.judge_retained(job, "oom", fell, float("inf"))
        return f"at most {most / MIB:.1f} MiB retained after {seconds * 1000:.0f} ms"

    def nothing_at_start(self):
        root, shape, began = self.fake("nothing", 0), (4, 16, 8), time.monotonic()
        job = self.falling(*shape, LOWTIDE_ROOT=root.directory)
        job.after_drops(2, self.sleep)
        self.check_sum(job.end(), *shape)
        said = [c.level for c in job.changes()]
        check(said == ["oom"], f"the lines were {said}")
        levels.judge_retained(job, "oom", began, float("inf"))

    def stalls_alone(self):
        """All tasks wait half of the time while there is memory: high, and no more. The totals move as the kernel's do."""
        root, shape = self.fake("stalls", AT_START), (1, 16, 8)
        job = self.falling(*shape, LOWTIDE_ROOT=root.directory)
        for seconds in (2, 4):
            self.sleep(2)
            root.put_stalls(seconds * 500000, seconds * 500000)
        self.sleep(0.7)
        self.check_sum(job.end(), *shape)
        said = [c.level for c in job.changes()]
        check(said in (["high"], ["moderate", "high"]), f"the lines were {said}")

    def no_files(self):
        """Nothing is known: nothing is said, all goes on."""
        job, shape = self.falling(4, 16, 8, cycles=1, LOWTIDE_ROOT=os.path.join(self.scratch, "nowhere")), (4, 16, 8)
        self.check_sum(job.finish(), *shape)
        said = [c.level for c in job.changes()]
        check(not said, f"the lines were {said}")

    def spoiled_files(self):
        """Missing, garbage, and changing while they are read; then well again and extreme, so that it is seen to read."""
        root, shape, rng = self.fake("spoiled", AT_START), (4, 16, 8), random.Random(self.options.seed)
        root.keep()
        job, count = self.falling(*shape, LOWTIDE_ROOT=root.directory), 0
        self.sleep(0.5)                 # so that what it finds at start is true
        began = time.monotonic()
        while time.monotonic() - began < 4:
            self.sleep(0.004)
            root.spoil(rng)
            count += 1
        root.mend()
        root.put("proc/self/cgroup", "1:name=systemd:/\n0::/job.scope\n")     # moved: it has to find its group again
        root.put_available(levels.available_for("oom", TOTAL, AT_START) // 2)
        self.sleep(1)
        self.check_sum(job.end(), *shape)
        said = [c.level for c in job.changes()]
        check(said and said[-1] == "oom", f"well again and with no memory, the lines were {said[-5:]}")
        return f"{count} files spoiled, {len(said)} changes of level, seed {self.options.seed}"


def falling_cases(r):
    """Shapes are threads, MiB held, MiB that come and go. With several threads much bounces, and what is earned comes on
    top of the caps: their profile is tight, which earns nothing. They hold so much that there is a MiB to give back,
    from which on lowtide looks."""
    steps, jumps, four = levels.LEVELS[:4], ("low", "high", "oom"), (4, 128, 24)
    yield "memory falls step by step, fake container, 1 thread", lambda: r.fake_steps("one", True, steps, (1, 64, 24))
    yield "memory falls step by step, fake machine, 4 threads", lambda: r.fake_steps("four", False, steps, four, None, "tight")
    yield "memory falls at once, fake machine, 4 threads", lambda: r.fake_steps("jumps", False, jumps, four, 128 * MIB, "tight")
    yield "memory falls step by step, a real group", r.real_steps
    yield "the limit is set below what is used", r.limit_below_use
    yield "nothing is available at start", r.nothing_at_start
    yield "stalls while there is memory", r.stalls_alone
    yield "no files at all", r.no_files
    yield "files missing, garbage, changing while read", r.spoiled_files


def job_cases(r):
    size = f"a job of {JOB_LIVE // MIB} MiB live under a limit of {JOB_LIMIT // MIB} MiB"
    yield f"{size}, stock glibc: killed", r.job_is_killed
    yield f"{size}, lowtide: finishes", r.job_finishes
    for name in OTHERS:
        yield f"{INFORMATION}the same, {name}", lambda n=name: r.told(lambda: r.job_elsewhere(n))
    yield f"{INFORMATION}the same, glibc without pymalloc", lambda: r.told(lambda: r.describe(r.job(JOB_LIMIT, PYTHONMALLOC="malloc")))


def interrupted(number, _frame):
    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(each, signal.SIG_IGN)
    sys.exit(128 + number)


def main():
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupted)
    # Jobs after the rest, two at a time: they make the machine stall, which is a sign of shortage to all others.
    cases.main(Runner, [(falling_cases, 8), (job_cases, 2)], seed=1)


if __name__ == "__main__":
    main()
