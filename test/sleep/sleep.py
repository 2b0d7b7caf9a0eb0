"""Before sleeping, tried from outside: the interposed blocking calls beside libc's own, and what a process holds while it
blocks. One line a case, exit code 1 when one failed.

usage: sleep.py --library LIB --programs DIRECTORY [--only TEXT] [--without-preload]

--without-preload runs the same without the library, to see which cases tell the difference.
"""
import json
import os
import re
import select
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(HERE))
import cases  # noqa: E402
from cases import MIB, PYTHON, check  # noqa: E402

# Anonymous memory that is not the heap's and may come after the first look: stack, libc's own data.
OTHER_BYTES = MIB // 2
# What a Python process may hold above its start after it has dropped everything: the interpreter's own tables and caches
# that came meanwhile, and the soft target's MiB.
PYTHON_BYTES = 4 * MIB
# When the observer looks, after the process said that it is about to block for 600 ms. The first look should do; on a
# loaded machine the process may not have come so far by then.
LOOK_AFTER_S = (0.25, 0.35, 0.45, 0.55)

# So often a wait is traced until it is split.
TRACES = 5

# So many processes run the groups of rows.
BATCHES = 12

# How a wait of 600 ms looks in a trace when memory was given back just before: the system calls of the blocking thread.
TWICE = {"poll": "ppoll", "__poll_chk": "ppoll", "ppoll": "ppoll", "__ppoll_chk": "ppoll", "select": "pselect6",
         "pselect": "pselect6", "epoll_wait": "epoll_pwait", "epoll_pwait": "epoll_pwait", "nanosleep": "ppoll",
         "clock_nanosleep": "ppoll", "clock_nanosleep_until": "ppoll"}
ONCE = {"read": "read", "waitpid": "wait4", "pause": "pause", "sem_timedwait": "futex", "pthread_cond_timedwait": "futex"}
# Variants of a call that are no names in the library's list.
VARIANTS = ("clock_nanosleep_until", "clock_nanosleep_until_realtime", "clock_nanosleep_boottime", "nanosleep_ages",
            "select_second", "select_large")

# Each blocks for some 600 ms after its last line was printed.
PYTHON_BLOCKS = {
    "time.sleep": "time.sleep(0.6)",
    "subprocess.run": "subprocess.run(['sleep', '0.6'])",
    "queue.get": "\ntry: queue.Queue().get(timeout=0.6)\nexcept queue.Empty: pass",
    "select.select": "select.select([pair[0]], [], [], 0.6)",
    "asyncio.sleep": "asyncio.run(asyncio.sleep(0.6))",
    "Thread.join": "thread.start(); thread.join()",
    "socket.recv": "threading.Timer(0.6, pair[1].send, (b'x',)).start(); pair[0].recv(1)",
    "os.waitpid": "os.waitpid(child.pid, 0)",
}
PYTHON_PROGRAM = """
import asyncio, os, queue, select, socket, subprocess, sys, threading, time
pair = socket.socketpair()
thread = threading.Thread(target=time.sleep, args=(0.6,))
asyncio.run(asyncio.sleep(0))
child = subprocess.Popen(['sleep', sys.argv[1]])
print('ready', flush=True)
sys.stdin.readline()
items = [bytes(40) + b'%d' % i for i in range(2000000)]
del items
print('live 0', flush=True)
{}
os._exit(0)
"""


def anonymous_bytes(pid):
    with open(f"/proc/{pid}/smaps_rollup") as f:
        return next(int(line.split()[1]) * 1024 for line in f if line.startswith("Anonymous:"))


class Runner(cases.Runner):
    name = "sleep"

    def numbers(self, *command, **variables):
        """Runs a program that prints key=value; returns these and what it said on stderr."""
        done = self.run(*command, **variables)
        check(done.returncode == 0, f"ended with {done.returncode}: {(done.stdout + done.stderr)[-300:].strip()}")
        return {k: int(v) for k, v in re.findall(r"^(\w+)=(\d+)$", done.stdout, re.M)}, done.stderr

    # ---- the calls beside libc's ----

    def groups(self):
        done = self.run("semantics", "list")
        return [line.split("\t") for line in done.stdout.splitlines()]

    def every_call_is_tried(self):
        with open(os.path.join(HERE, "../../preload/sleep.h")) as f:
            table = re.search(r"#define SLEEP_CALLS\(X\)((?:.*\\\n)*.*)", f.read()).group(1)
        wanted = set(re.findall(r"X\((\w+)\)", table))
        tried = {call for _, call in self.groups()}
        check(len(wanted) > 30, "the table in preload/sleep.h was not understood")
        check(tried == wanted, f"not tried: {sorted(wanted - tried)}; not in the table: {sorted(tried - wanted)}")
        blocked = {*self.blocking_calls(), *VARIANTS}
        check(blocked == wanted | set(VARIANTS), f"not blocked in: {sorted(wanted ^ set(self.blocking_calls()))}")
        return f"{len(wanted)} calls"

    def semantics(self, groups):
        """The rows of some groups, each a case of its own. It takes a process a while to get into debt, so it runs several."""
        done = self.run("semantics", *groups, preload=[self.options.library, self.path("release.so")], timeout=600)
        rows = [(line[5:], line.startswith("ok")) for line in done.stdout.splitlines() if re.match("ok  |FAIL", line)]
        well = done.returncode == (0 if all(ok for _, ok in rows) else 1) and rows and not done.stderr
        if not well:
            rows.append((f"{', '.join(groups)}: ended with {done.returncode}: {done.stderr[-300:]!r}", False))
        return rows

    # ---- a process that blocks, seen from outside ----

    def line(self, process, wanted):
        ready, _, _ = select.select([process.stdout], [], [], 60)
        text = process.stdout.readline() if ready else ""
        check(text.startswith(wanted), f"said {text!r} instead of {wanted!r}")
        return text

    def observe(self, *command, **variables):
        """Bytes above the start while it blocks, and the bytes it says are live then."""
        with subprocess.Popen(self.command(command), env=self.environment(**variables), stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE, text=True, bufsize=1) as process:
            try:
                self.line(process, "ready")
                before = anonymous_bytes(process.pid)
                process.stdin.write("\n")
                live = int(self.line(process, "live").split()[1])
                said = time.monotonic()
                held = []
                for after in LOOK_AFTER_S:
                    time.sleep(max(0, said + after - time.monotonic()))
                    try:
                        held.append(anonymous_bytes(process.pid) - before)
                    except OSError:  # it was the observer who was late
                        break
                check(held, "was over before it could be looked at")
                check(process.wait(30) == 0, f"ended with {process.returncode}")
            finally:
                process.kill()
        return min(held), live

    def target(self, call, how):
        stats = os.path.join(self.scratch, f"{call}.{how}.json")
        held, live = self.observe("target", call, how, LOWTIDE_STATS=stats)
        metadata = 0
        if os.path.exists(stats):
            with open(stats) as f:
                metadata = json.loads(f.read())["metadata_bytes"]
        allowed = int(1.06 * (live + metadata)) + MIB + OTHER_BYTES
        check(held <= allowed, f"holds {held // 1024} KiB where {allowed // 1024} are allowed ({live // 1024} live)")
        return f"{held // 1024} of {allowed // 1024} KiB"

    def blocking_calls(self):
        with open(os.path.join(HERE, "target.c")) as f:
            return [name for name in re.findall(r"CALL\((\w+), \w+\)", f.read()) if name not in VARIANTS + ("name",)]

    def python(self, name):
        program = PYTHON_PROGRAM.format(PYTHON_BLOCKS[name])
        # The child that os.waitpid waits for has to outlive the building.
        held, _ = self.observe(PYTHON, "-c", program, "4" if name == "os.waitpid" else "0.1")
        check(held <= PYTHON_BYTES, f"holds {held // 1024} KiB above its start, {PYTHON_BYTES // 1024} are allowed")
        return f"{held // 1024} KiB"

    # ---- the split, in a trace ----

    def waits(self, call):
        """The system calls in which the blocking thread waits."""
        names = "write,poll,ppoll,select,pselect6,epoll_wait,epoll_pwait,nanosleep,clock_nanosleep,read,recvfrom,wait4,waitid,accept,pause,futex"
        _, lines = self.strace(names, "target", call, "soon", timeout=60, typed="\n", LOWTIDE_LIVE="0")  # making a page reads files
        begin = next(i for i, line in enumerate(lines) if 'write(1, "live' in line)
        end = next(i for i, line in enumerate(lines) if 'write(1, "woke' in line)
        sleeper = lines[begin].split()[0]
        # A look at what is ready, with a time-out of nothing, is no wait.
        lines = [line for line in lines[begin + 1:end] if not re.search(r"tv_sec=0, tv_nsec=0\}|epoll_pwait\(.*, 0, (NULL|\[)", line)]
        return [m.group(1) for line in lines for m in [re.match(sleeper + r" +(\w+)\(", line)] if m]

    def trace(self, call, wanted, times):
        """Under strace a slow machine may take the 100 ms after which nothing is split. A single wait where two are due is looked
        at again."""
        for _ in range(TRACES):
            seen = self.waits(call)
            if len(seen) >= times:
                break
        check(seen == [wanted] * times, f"seen {seen} instead of {times} of {wanted}")
        return f"{times} {wanted}"

    # ---- threads beside a sleeping one ----

    def busy(self):
        n, said = self.numbers("busy", "wakeups", 3000, LOWTIDE_STATS="1")
        check(said.startswith("{"), "no statistics")
        s, ms = json.loads(said), n["ms"]
        # Tokens: 4 a millisecond and 4,096 at the start; a give-back costs at least 16, a page 1. Beside that each 100 ms one
        # give-back and one tick of housekeeping cost nothing, and release no more than may be retained, 3 MiB and a sixteenth.
        tokens, free = 4 * ms + 4096, 2 * (ms // 100 + 2)
        passes, pages = tokens // 16 + free, tokens + free * 1000
        # After each a thread of one class fills its magazine again, in five steps at most. What churns has no magazines.
        refills, refilled = 5 * passes + 1000, s["refills_total"] - n["churned"]
        text = f"{n['wakeups']} wake-ups, {s['trims_total']} passes, {s['released_bytes_total'] >> 12} pages, {refilled} refills"
        check(n["wakeups"] > 4 * passes, f"the machine is too slow for this to tell anything: {text}")
        check(s["trims_total"] <= passes, f"{text}: {passes} passes are allowed")
        check(s["released_bytes_total"] >> 12 <= pages, f"{text}: {pages} pages are allowed")
        check(refilled <= refills, f"{text}: {refills} refills are allowed")
        return text

    def cached(self, when, call):
        n, _ = self.numbers("busy", "cached", when, call)
        check(n["before"] > 300, f"only {n['before']} blocks were cached")
        check(n["after"] <= n["before"] // 8, f"{n['after']} blocks wait in magazines, {n['before']} did before the thread slept")
        return f"{n['before']} blocks, then {n['after']}"

    def handlers(self, *arguments):
        done = self.run("handlers", *arguments)
        said = "; ".join(done.stderr.splitlines()[:2])
        check(done.returncode == 0 and done.stdout.endswith("ok\n"), f"ended with {done.returncode}: {said}")
        return done.stdout.splitlines()[0]


def light_cases(r):
    """Those that sleep most of the time."""
    yield "every interposed call is tried", r.every_call_is_tried
    for interrupted in ("malloc", "free", "refill", "spill"):
        for call in ("waitpid", "read"):
            yield f"a handler calls {call} in the middle of {interrupted}", lambda a=(interrupted, call): r.handlers(*a)
    for interrupted in ("malloc", "free"):
        yield f"a handler sleeps in the middle of {interrupted}, two threads", lambda i=interrupted: r.handlers(i, "long", "beside")
    for call in ("waitpid", "poll", "read"):
        yield f"a handler leaves {call} in the middle of giving back", lambda c=call: r.handlers("jump", c)
        yield f"a handler allocates in the middle of {call} giving back", lambda c=call: r.handlers("allocate", c, "beside")
    for call in ("waitpid", "poll"):
        yield f"a handler forks in the middle of {call} giving back", lambda c=call: r.handlers("fork", c, "beside")
    groups = [group for group, _ in r.groups() if r.options.only in group]
    for i in range(min(BATCHES, len(groups))):
        yield ", ".join(groups[i::BATCHES]), lambda g=groups[i::BATCHES]: r.semantics(g)


def heavy_cases(r):
    """Those that keep a core or much memory busy."""
    yield "a busy thread beside a sleeper", r.busy
    for when in ("FIRST", "LATER"):
        for call in ("cond", "sem", "poll", "read"):
            yield f"magazines of a sleeper in {call}, {when.lower()}", lambda a=(when, call): r.cached(*a)
    for call in r.blocking_calls():
        yield f"soft target: built, then {call}", lambda c=call: r.target(c, "built")
    for call in (*r.blocking_calls(), *VARIANTS):
        yield f"soft target: loop, then {call}", lambda c=call: r.target(c, "loop")
    for call in ("poll", "nanosleep", "pthread_cond_wait", "read"):
        yield f"soft target: little built again and again, then {call}", lambda c=call: r.target(c, "small")
    for call in TWICE:
        yield f"soft target: just after a give-back, {call}", lambda c=call: r.target(c, "again")
    for call in ("poll", "pthread_cond_wait", "sem_wait", "read", "waitpid", "pthread_join"):
        yield f"soft target: beside a thread that just gave back, {call}", lambda c=call: r.target(c, "beside")
    for call, wanted in TWICE.items():
        yield f"in a trace: {call} is split", lambda a=(call, wanted, 2): r.trace(*a)
    for call, wanted in ONCE.items():
        yield f"in a trace: {call} is not split", lambda a=(call, wanted, 1): r.trace(*a)
    for name in PYTHON_BLOCKS:
        yield f"python: {name}", lambda n=name: r.python(n)


if __name__ == "__main__":
    heavy, light = (1, 1) if cases.is_slow_machine() else (3, 2)    # for each processor
    cases.main(Runner, [(heavy_cases, heavy * os.cpu_count()), (light_cases, light * os.cpu_count())])
