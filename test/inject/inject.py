"""The kernel refuses memory calls, and the program sees ENOMEM or nothing: mmap, munmap, madvise, process_madvise, mremap and mprotect
refused at the Nth call, once or from then on until that is lifted; limits; surroundings without /proc or descriptors. After the
fault every request is served, and no address space and no block is lost. One line a case, exit code 1 when one failed.

usage: inject.py --library LIB --programs DIRECTORY [--only TEXT] [--without-preload] [--most N] [--share K --shares N]

--most: of each call's places so many are tried, spread over all, with the errors by turns; where that is all of them or more,
with each error (30 unless told). Of a brief form of the work all places are tried in any case. --share: of those only every Nth, from the Kth on, so that a long run can be made in parts.
"""
import json
import os
import re
import resource
import shutil
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(HERE))
import cases  # noqa: E402
from cases import MIB, Skipped, check  # noqa: E402

ERRORS = ("ENOMEM", "EAGAIN", "EINVAL")
CALLS = ("mmap", "munmap", "madvise", "mremap")
CHECKED = {"LOWTIDE_CHECK": "2"}
EVERY = 1000000
# Arenas are mapped ahead; threads that meet or do not meet need a heap more or less. Where nothing is unmapped (LOWTIDE_RETURN) the
# address space follows the peak, which alone differs by 8 of 73 MB between runs in which nothing is refused: a third of it.
SPACE_SLACK = 8 * MIB


class Runner(cases.Runner):
    name = "inject"
    timeout_s = 60

    def spread(self, count, most):
        """Up to `most` numbers of 1..count, and of those this run's share."""
        numbers = range(1, count + 1) if count <= most else sorted({1 + i * (count - 1) // (most - 1) for i in range(most)})
        return list(numbers)[self.options.share - 1::self.options.shares]

    def outcome(self, done):
        """What a run of work.c printed, by name; it must have ended well and said nothing but its statistics."""
        said = (done.stdout[-200:] + done.stderr[-400:]).strip()
        check(done.returncode == 0 and done.stdout.endswith("ok\n"), f"ended with {done.returncode}: {said}")
        found = {k: int(v) for k, v in re.findall(r"^(\w+)=(-?\d+)", done.stdout.replace(" ", "\n"), re.M)}
        if done.stderr:
            check(done.stderr.startswith("{") and done.stderr.count("\n") == 1, f"said {said!r}")
            stats = json.loads(done.stderr)
            found["live"] = stats["live_bytes"]
        return found

    def work(self, *arguments, injector="inject.so", **variables):
        preload = [self.options.library] + ([self.path(injector)] if injector else [])
        return self.outcome(self.run("work", *arguments, preload=preload, LOWTIDE_STATS="1", **variables))

    def clean(self, arguments, injector, variables):
        """The calls of each kind, the address space and the live bytes where nothing is refused: the most of three runs."""
        runs = [self.work(*arguments, injector=injector, INJECT_COUNTS="1", **variables) for _ in range(3)]
        return {key: max(run[key] for run in runs) for key in runs[0]}

    def refuse(self, call, how, *arguments, injector="inject.so", most=None, **variables):
        most = most or self.options.most
        places = EVERY if "brief" in arguments else most
        variables = {"LOWTIDE_LIVE": "0", **variables}  # its page comes with the 100th ms, in some runs
        clean = self.clean(arguments, injector, variables)
        check(clean[call], f"no {call} is made")
        errors, wrong, runs, refusals = ERRORS if clean[call] <= most else (), [], 0, 0
        for i, n in enumerate(self.spread(clean[call], places)):
            for error in errors or ERRORS[i % 3:i % 3 + 1]:
                runs += 1
                try:
                    found = self.work(*arguments, injector=injector, INJECT=f"{call}:{n}:{how}:{error}", **variables)
                    refusals += found["refusals"]
                    lost = found["space"] - clean["space"]
                    unknown = found["unknown"] - clean["unknown"]
                    check(lost <= max(SPACE_SLACK, clean["space"] // 3), f"{lost // 1024} KiB more of address space")
                    check(unknown <= 0, f"{unknown // 1024} KiB of address space lost")
                    check(found["live"] <= clean["live"] + 4096, f"{found['live']} bytes live, {clean['live']} where nothing is refused")
                except cases.Failed as e:
                    wrong.append(f"{n} {error}: {e}")
        check(not wrong, f"{len(wrong)} of {runs}: " + " | ".join(wrong[:4]))
        return f"{runs} of {clean[call]} places, {refusals} requests refused"

    # ---- by system calls ----

    def traced(self, *settings):
        """Runs under strace, which refuses the calls of libc, too, and lifts nothing."""
        check(shutil.which("strace"), "not installed: strace")
        trace = os.path.join(self.scratch, "trace-" + "-".join(settings).replace("/", "-"))
        environment = ["-E", "LD_PRELOAD=" + " ".join(self.libraries()), "-E", "WORK_MAY_REFUSE=1", "-E", f"LOWTIDE_CHECK={2 if 'mprotect' in settings[1] else 1}"]
        self.outcome(self.run("/usr/bin/env", "strace", "-f", "-qq", "-o", trace, *environment, *settings, self.path("work"), preload=[], timeout=120))
        with open(trace) as f:
            return f.read().splitlines()

    def by_strace(self, call):
        lines = self.traced("-e", f"trace={call},munmap")
        begin = next(i for i, line in enumerate(lines) if "munmap(0x111000, 0)" in line)
        before = sum(1 for line in lines[:begin + 1] if f" {call}(" in line)
        pid = lines[0].split()[0]
        count = sum(1 for line in lines[begin + 1:] if line.startswith(pid) and f" {call}(" in line)
        check(count, f"no {call} is made")
        places = self.spread(count, max(4, self.options.most // 8))
        for i, n in enumerate(places):
            for when in (f"{before + n}", f"{before + n}+"):
                self.traced("-e", f"trace={call}", "-e", f"inject={call}:error={ERRORS[i % 3]}:when={when}")
        return f"{2 * len(places)} runs"

    def by_filter(self, call):
        for error in ERRORS:
            for variables in ({}, CHECKED):
                self.work("seccomp", call, error, injector=None, **variables)

    # ---- limits, surroundings ----

    def limited(self, which, size, **variables):
        in_child = lambda: resource.setrlimit(which, (size * MIB, size * MIB))  # noqa: E731
        done = self.run("work", in_child=in_child, WORK_MAY_REFUSE="1", LOWTIDE_STATS="1", **variables)
        return f"{self.outcome(done)['refusals']} requests refused"

    def empty_root(self):
        directory = os.path.join(self.scratch, "empty")
        os.makedirs(directory, exist_ok=True)
        return directory

    def no_proc(self):
        if os.geteuid():
            raise Skipped("not root")
        script = "mount -t tmpfs none /proc && mount -t tmpfs none /sys && mount -t tmpfs none /dev/shm && exec " + self.path("work")
        done = self.run("/usr/bin/env", "unshare", "--mount", "sh", "-c", script)
        if "unshare" in done.stderr or "mount:" in done.stderr:
            raise Skipped("no mount namespace here")
        check(done.returncode == 0 and done.stdout.endswith("ok\n") and not done.stderr, f"ended with {done.returncode}: {done.stderr[-300:]}")

    def other_root(self):
        self.work(injector=None, LOWTIDE_ROOT=self.empty_root())

    def as_root(self, *arguments, **variables):
        if os.geteuid():
            raise Skipped("not root")
        self.work(*arguments, injector=None, **variables)

    def descriptors(self, *how, **variables):
        done = self.run("work", *how, **variables)
        check(done.returncode == 0 and done.stdout.endswith("ok\n"), f"ended with {done.returncode}: {done.stderr[-300:]}")

    def with_limit(self, which, bytes):
        done = self.run("work", in_child=lambda: resource.setrlimit(which, (bytes, bytes)), LOWTIDE_STATS="1")
        self.outcome(done)


def all_cases(r):
    few = max(6, r.options.most // 4)
    for call in CALLS + ("all",):
        for how in ("once", "on"):
            yield f"{call} {how}", lambda c=call, h=how: r.refuse(c, h)
    for how in ("once", "on"):
        yield f"process_madvise {how}", lambda h=how: r.refuse("process_madvise", h, injector="batch.so")
        yield f"mprotect {how}, LOWTIDE_CHECK=2", lambda h=how: r.refuse("mprotect", h, **CHECKED)
        yield f"all {how}, LOWTIDE_CHECK=2", lambda h=how: r.refuse("all", h, most=few, **CHECKED)
        for value in ("dontneed", "free"):
            yield f"all {how}, LOWTIDE_RETURN={value}", lambda h=how, v=value: r.refuse("all", h, most=few, LOWTIDE_RETURN=v)
        for call, variables in [(call, {}) for call in CALLS] + [("mprotect", CHECKED)]:
            yield f"brief work, each {call} {how}", lambda c=call, h=how, v=variables: r.refuse(c, h, "brief", **v)
    for call in CALLS + ("process_madvise", "mprotect"):
        yield f"{call} by a filter, for ever", lambda c=call: r.by_filter(c)
        yield f"{call} by strace", lambda c=call: r.by_strace(c)
    for size in (24, 32, 64, 96, 128, 256):
        for which, name in ((resource.RLIMIT_AS, "RLIMIT_AS"), (resource.RLIMIT_DATA, "RLIMIT_DATA")):
            yield f"{name} of {size} MiB", lambda w=which, s=size: r.limited(w, s)
            yield f"{name} of {size} MiB, LOWTIDE_CHECK=2", lambda w=which, s=size: r.limited(w, s, **CHECKED)
    yield "/proc, /sys and /dev/shm empty", r.no_proc
    yield "LOWTIDE_ROOT at an empty directory", r.other_root
    for when in ([], ["midway"]):
        after = " after a while" if when else ""
        for variables in ({}, CHECKED, {"LOWTIDE_HOUSEKEEP": "thread"}):
            named = "".join(f", {k}={v}" for k, v in variables.items())
            for how, name in (("closed", "all descriptors closed"), ("reused", "descriptors of the program's own in their places"), ("nofile", "RLIMIT_NOFILE of 0")):
                yield name + after + named, lambda w=when, h=how, v=variables: r.descriptors(*w, h, **v)
            yield f"an empty root directory{after}{named}", lambda w=when, v=variables: r.as_root(*w, "chroot", r.empty_root(), **v)
            yield f"another user{after}{named}", lambda w=when, v=variables: r.as_root(*w, "user", 65534, **v)
    for which, name, bytes in ((resource.RLIMIT_FSIZE, "RLIMIT_FSIZE of 0", 0), (resource.RLIMIT_MEMLOCK, "RLIMIT_MEMLOCK of 0", 0),
                               (resource.RLIMIT_STACK, "RLIMIT_STACK of 128 KiB", 128 << 10)):
        yield name, lambda w=which, b=bytes: r.with_limit(w, b)


if __name__ == "__main__":
    cases.main(Runner, [(all_cases, os.cpu_count())], most=30, share=1, shares=1)
