"""Live statistics, tried from outside: the pages that jobs publish, and `lowtide top`, `stats` and `trim` on them. One line a
case, exit code 1 when one failed.

usage: live.py --library LIB --programs DIRECTORY [--only TEXT] [--without-preload]

Everything happens in the real /dev/shm, except what needs one of its own. As root, the commands and their jobs run as an
unprivileged user where it matters.
"""
import glob
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

sys.dont_write_bytecode = True
import harness  # noqa: E402
import arithmetic  # noqa: E402
import cases  # noqa: E402
from cases import MIB, PYTHON, Skipped, check  # noqa: E402
from harness import HERE, NOBODY, SCRIPTS  # noqa: E402
from lowtide_cli import pages  # noqa: E402

PENDING = 3
YAMA = "/proc/sys/kernel/yama/ptrace_scope"
# Once published, a snapshot is to cost less than this; measured 489 with gcc 12. Ten a second, and where something is given back.
MOST_INSTRUCTIONS = 1000
# To make a page: look at oneself and the directory, make and map the file, close all; a system call more for each page of another process.
MOST_CALLS = 22


class Runner(harness.LiveRunner):
    # ---- reading ----

    def read_by_the_same_user(self):
        user = os.geteuid() or NOBODY
        with self.unprivileged() as (prefix, libraries, job, scripts):
            with self.started(job, "grow", "steady", prefix=prefix, preload=libraries) as process:
                said = self.stats(process.pid, prefix=prefix, scripts=scripts)
                check(self.files(process.pid, user), "the page is not where it belongs")
                rows = json.loads(self.lowtide("top", "--json", "--once", prefix=prefix, scripts=scripts))["processes"]
                check([r["pid"] for r in rows if r["pid"] == process.pid], "top does not list it")
        check(said["live_bytes"] >= 4 * MIB and said["rss_bytes"] > said["live_bytes"], f"live {said['live_bytes']}, RSS {said['rss_bytes']}")
        check(said["pss_bytes"] is not None, "smaps_rollup was not to be read")
        try:
            with open(YAMA) as f:
                scope = f"ptrace_scope is {f.read().strip()}"
        except OSError:
            scope = "ptrace_scope does not exist here"
        return f"as user {user}, not its parent; {scope}"

    def no_rights_to_trace(self):
        """What ptrace_scope=1 refuses is not used."""
        check(shutil.which("strace"), "not installed: strace")
        trace = os.path.join(self.scratch, "reader")
        with self.started("job", "grow", "steady") as process:
            self.go_on(process)
            for command in (("stats", process.pid), ("top", "--once"), ("trim", process.pid)):
                self.lowtide(*command, prefix=("strace", "-f", "-qq", "-e", "trace=ptrace,process_vm_readv,process_vm_writev,pidfd_getfd,kill,tgkill,"
                                               "tkill,pidfd_open,pidfd_send_signal,openat,open", "-o", trace))
                with open(trace) as f:
                    lines = f.read().splitlines()
                check(any("lowtide-" in line for line in lines), "the trace does not show the page")
                bad = [line for line in lines if not re.search(r"open(at)?\(", line) or re.search(r"/proc/\d+/(mem|map_files|fd)\b", line)]
                check(not bad, f"{command[0]}: {bad[:2]}")

    def anothers(self):
        if os.geteuid():
            raise Skipped("not root")
        with self.unprivileged() as (prefix, libraries, job, scripts):
            with self.started("job", "grow", "steady") as process:
                for command in ("stats", "trim"):
                    said = self.lowtide(command, process.pid, prefix=prefix, scripts=scripts, code=1)
                    check("is another user's (uid 0)" in said, said)
            with self.started(job, "grow", "steady", prefix=prefix, preload=libraries) as process:
                check(self.stats(process.pid)["pid"] == process.pid, "root reads all")
                rows = json.loads(self.lowtide("top", "--json", "--once", "--all"))["processes"]
                check([r for r in rows if r["pid"] == process.pid], "top --all does not list it")
                check("--all is for root" in self.lowtide("top", "--all", prefix=prefix, scripts=scripts, code=1), "--all")

    def python_job(self):
        program = "import sys\nx = [bytes(100) + b'%d' % i for i in range(600000)]\nprint('ready 0 0', flush=True)\nsys.stdin.readline()"
        with self.started(PYTHON, "-c", program) as process:
            said = self.stats(process.pid)
            held = 600000 * 140
            check(held < said["live_bytes"] < 1.3 * held, f"live {said['live_bytes']}")
            self.go_on(process)
            check(process.wait(10) == 0 and not self.files(process.pid), "the page is still there after exit")
            return f"live {said['live_bytes'] // MIB} MiB"

    def all_keys(self):
        with open(os.path.join(HERE, "../../core/stats.def")) as f:
            keys = re.findall(r"^STAT\((\w+),", f.read(), re.M)
        with self.started("job", "grow", "steady") as process:
            said, text = self.stats(process.pid), self.lowtide("stats", process.pid)
        missing = [key for key in (*keys, "level", "limit_bytes", "rss_bytes", "not_heap_bytes") if key not in said]
        check(len(keys) > 20 and not missing, f"lacks {missing}")
        check(all(re.search(rf"^ +{key} ", text, re.M) for key in keys if said[key] is not None), f"the list lacks keys: {text[:200]}")
        known = sum(1 for key in keys if said[key] is not None)
        return f"{known} of {len(keys)} without a walk"

    # ---- moments of life ----

    def killed(self, is_waited_for):
        with self.started("job", "grow", "steady") as process:
            check(self.files(process.pid), "no page")
            process.kill()
            if is_waited_for:
                process.wait()
            else:
                self.wait_until(lambda: pages.process_state(process.pid) == "Z", "a zombie")
            check("no process" in self.lowtide("stats", process.pid, code=1), "it is gone")
            self.lowtide("top", "--once")
            check(not self.files(process.pid), "a reader does not sweep")

    def swept_by_the_next_job(self):
        root = os.path.join(self.scratch, "next")   # where no reader comes by
        os.makedirs(f"{root}/dev/shm")
        with self.started("job", "grow", "steady", LOWTIDE_ROOT=root) as process:
            process.kill()
            process.wait()
            left = self.files(process.pid, root=root)
            with self.started("job", "grow", "steady", LOWTIDE_ROOT=root):
                check(left and not self.files(process.pid, root=root), "the next job does not sweep")

    def forked(self):
        with self.started("job", "fork") as process:
            child = process.child
            self.wait_until(lambda: self.files(child), "a page of the child's")
            mine, childs = self.stats(process.pid), self.stats(child)
            check((mine["pid"], childs["pid"]) == (process.pid, child), f"pids {mine['pid']}, {childs['pid']}")
            with open(f"/proc/{child}/maps") as f:
                mapped = [line.split()[-1] for line in f if " /dev/shm/lowtide-" in line]
            check([os.path.basename(m).split(".")[0] for m in mapped] == [str(child)], f"the child maps {mapped}")
            self.go_on(process)
            process.wait(10)
        self.wait_until(lambda: not os.path.exists(f"/proc/{child}"), "the child's end")
        self.lowtide("top", "--once")
        check(not self.files(child) and not self.files(process.pid), "not swept")

    def forked_and_gone(self):
        with self.started("job", "fork-exit") as process:
            child = process.child
            check(self.files(child), "_exit leaves the page")
            check("no process" in self.lowtide("stats", child, code=1), "it is gone")
            self.lowtide("top", "--once")
            check(not self.files(child) and self.files(process.pid), "the child's is swept, not the parent's")

    def became_another(self, program, publishes):
        with self.started("job", "exec", *program) as process:
            before = self.files(process.pid)
            self.go_on(process)
            if publishes:
                self.line(process, "ready")
                inode = {os.stat(f).st_ino for f in self.files(process.pid)}
                check(self.stats(process.pid)["program"] == "job" and len(inode) == 1, "no page of its own")
                return
            self.wait_until(lambda: b"sleep" in open(f"/proc/{process.pid}/cmdline", "rb").read(), "exec")
            said = self.lowtide("stats", process.pid, code=1)
            check(before and "not preloaded" in said or "nothing yet" in said, said)
            time.sleep(max(0, 2.3 - (time.time() - os.stat(before[0]).st_mtime)) if os.path.exists(before[0]) else 0)
            self.lowtide("top", "--once")
            check(not self.files(process.pid), "what the program before left is not swept")

    def under(self, what, publishes=False, prefix=(), **variables):
        with self.started("job", "under", what, prefix=prefix, **variables) as process:
            if not prefix:
                check(bool(self.files(process.pid)) == publishes, f"files: {self.files(process.pid)}")
            self.go_on(process)
            self.line(process, "left open 0")
            check(process.wait(10) == 0, f"ended with {process.returncode}")
            check(not self.files(process.pid), "the page is still there after exit")

    def under_a_mount(self, options, what):
        """In a /dev/shm of its own, which no page fits in, or where nothing can be written."""
        mount = f"mount -t tmpfs -o {options} none /dev/shm && {what} && exec \"$@\""
        prefix = ("unshare", "-m", *(() if os.geteuid() == 0 else ("-r",)), "sh", "-c", mount, "sh")
        probe = subprocess.run([*prefix, "true"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if probe.returncode:
            raise Skipped("no mount namespace here")
        with self.started("job", "under", "nothing", prefix=prefix) as process:
            shared = f"/proc/{process.pid}/root/dev/shm"
            found = glob.glob(f"{shared}/lowtide-*/*")
            if os.geteuid() == 0:
                check("runs in a container of its own" in self.lowtide("stats", process.pid, code=1), "where it is is not said")
            check(bool(found) == ("size" not in options and "ro" not in options.split(",")), f"files {found}")
            self.go_on(process)
            self.line(process, "left open 0")
            check(process.wait(10) == 0, f"ended with {process.returncode}")

    def chrooted(self):
        if os.geteuid():
            raise Skipped("not root")
        place = os.path.join(self.scratch, "empty")
        os.makedirs(place, exist_ok=True)
        self.under(f"chroot={place}")

    def switched_off(self):
        with self.started("job", "grow", "steady", LOWTIDE_LIVE="0") as process:
            check(not self.files(process.pid), "there is a page")
            check("LOWTIDE_LIVE=0" in self.lowtide("stats", process.pid, code=1), "the reason is not said")

    # ---- verdicts ----

    def verdict_of(self, how, wanted, **variables):
        with self.started("job", "grow", how, **variables) as process:
            self.go_on(process)
            time.sleep(0.3)
            lines = [json.loads(line) for line in self.lowtide("stats", process.pid, "--watch", "0.15", "--count", "15", "--json").splitlines()]
        check(len(lines) == 16 and all(line["pid"] == process.pid for line in lines), f"{len(lines)} lines")
        said = lines[-1]
        grown = {name: round(b / MIB, 1) for name, b in said["grown_bytes"].items()}
        check(said["verdict"] == wanted, f"said {said['verdict']}; grown by MiB: {grown}")
        return f"{said['rss_growth_per_s'] / MIB:.0f} MiB/s; grown by MiB: {grown}"

    def verdict_at_the_end(self, interrupted):
        with self.started("job", "grow", "leak") as process:
            self.go_on(process)
            reader = subprocess.Popen([PYTHON, "-m", "lowtide_cli", "stats", str(process.pid), "--watch", "0.2"], stdout=subprocess.PIPE,
                                      stderr=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": SCRIPTS, "PYTHONDONTWRITEBYTECODE": "1"})
            time.sleep(2)
            if interrupted:
                reader.send_signal(signal.SIGINT)
            else:
                process.kill()
                process.wait()
            out, err = reader.communicate(timeout=10)
        well = reader.returncode == 0 and "verdict: program: " in out and ("no process" in err or interrupted and not err)
        check(well, f"{reader.returncode} {out[-200:]!r} {err[-100:]!r}")

    # ---- top ----

    def top_text(self):
        with self.started("job", "grow", "steady") as a, self.started("job", "grow", "steady", LOWTIDE_HOUSEKEEP="thread") as b:
            self.go_on(a)
            text = self.lowtide("top", "--count", "2", "--interval", "0.4", "--sort", "pid")
            for pid in (a.pid, b.pid):
                rows = [line for line in text.splitlines() if re.match(rf" *{pid} job ", line)]
                check(len(rows) == 2, f"{len(rows)} rows of {pid}: {text[:300]}")
            objects = [json.loads(line) for line in self.lowtide("top", "--json", "--count", "2", "--interval", "0.4").splitlines()]
            row = next(r for r in objects[1]["processes"] if r["pid"] == a.pid)
            check(row["releases_per_s"] is not None and row["snapshot_age_ms"] < 1000, f"{row}")
            order = [r["rss_bytes"] for r in objects[1]["processes"]]
            check(order == sorted(order, reverse=True), f"not sorted by RSS: {order}")

    def top_prometheus(self):
        with self.started("job", "grow", "steady") as process:
            text = self.lowtide("top", "--prometheus")
        sample = re.compile(r'(\w+)\{pid="\d+",program="[^"]*"\} -?[0-9.e+]+\Z')
        declared, found = {}, set()
        for line in text.splitlines():
            if line.startswith("# TYPE "):
                _, _, name, kind = line.split()
                check(name not in declared, f"{name} is declared twice")
                declared[name] = kind
            elif not line.startswith("# HELP "):
                match = sample.match(line)
                check(match and match.group(1) in declared, f"no sample: {line!r}")
                found.add(match.group(1))
        check(found == set(declared), f"declared without samples: {set(declared) - found}")
        check(declared.get("lowtide_live_bytes") == "gauge" and declared.get("lowtide_released_bytes_total") == "counter", f"{declared}")
        check(f'lowtide_rss_bytes{{pid="{process.pid}",program="job"}}' in text, "the job is not there")
        return f"{len(declared)} metrics"

    def top_on_a_terminal(self):
        check(shutil.which("tmux"), "not installed: tmux")
        socket = os.path.join(self.scratch, "tmux")
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("TMUX", *self.drops))}

        def tmux(*arguments):
            return subprocess.run(["tmux", "-S", socket, *arguments], env=kept, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=20)

        def screen():
            return tmux("capture-pane", "-p", "-t", "top").stdout
        with self.started("job", "grow", "leak") as process:
            self.go_on(process)
            command = f"PYTHONPATH={SCRIPTS} PYTHONDONTWRITEBYTECODE=1 {PYTHON} -m lowtide_cli top --interval 0.3; echo ended $?; cat"
            done = tmux("-f", "/dev/null", "new-session", "-d", "-s", "top", "-x", "120", "-y", "30", command)
            check(done.returncode == 0, f"tmux: {done.stderr}")
            try:
                row = re.compile(rf"^ *{process.pid} job .* program$", re.M)
                self.wait_until(lambda: row.search(screen()), "a row of the job with its verdict", 30)
                self.wait_until(lambda: re.search(r"\[by rss;.*\n *PID NAME +LIVE MiB", screen()), "the heading")
                tmux("send-keys", "-t", "top", "s")
                self.wait_until(lambda: "[by live;" in screen(), "sorting by the next column")
                tmux("resize-window", "-t", "top", "-x", "50", "-y", "5")
                self.wait_until(lambda: "LIVE MiB" in screen(), "a small terminal")
                tmux("send-keys", "-t", "top", "q")
                self.wait_until(lambda: "ended 0" in screen(), "the end")
            finally:
                tmux("kill-server")

    def reader_that_goes_away(self):
        with self.started("job", "grow", "steady"):
            done = subprocess.run(["bash", "-c", f"{PYTHON} -m lowtide_cli top --interval 0.1 --count 30 | head -1; exit ${{PIPESTATUS[0]}}"],
                                  env={**os.environ, "PYTHONPATH": SCRIPTS, "PYTHONDONTWRITEBYTECODE": "1"}, stdout=subprocess.PIPE,
                                  stderr=subprocess.PIPE, text=True, timeout=20)
        check(done.returncode == 141 and not done.stderr, f"ended with {done.returncode}: {done.stderr[-200:]}")

    # ---- trim ----

    def trim_running(self):
        with self.started("job", "grow", "retain", LOWTIDE_RETURN="free") as process:
            self.go_on(process)
            time.sleep(1)
            said = json.loads(self.lowtide("trim", process.pid, "--json"))
            check(said["done"] and said["released_bytes"] == 0, f"what MADV_FREE keeps: {said}")
        with self.started("job", "grow", "steady", LOWTIDE_PROFILE="throughput") as process:
            self.go_on(process)
            self.wait_until(lambda: self.stats(process.pid)["retained_bytes"] > 100000, "something retained")
            said = json.loads(self.lowtide("trim", process.pid, "--json"))
            check(said["done"] and said["released_bytes"] > 0, f"{said}")
            check("released" in self.lowtide("trim", process.pid), "as text")
        return f"{said['released_bytes'] >> 10} KiB"

    def sleeper(self, call, keeper):
        """Trimmed, listed and looked at while it sleeps; the call is not to notice."""
        variables = {"LOWTIDE_HOUSEKEEP": "thread"} if keeper else {}
        with self.started("job", "sleep", call, **variables) as process:
            self.go_on(process)
            time.sleep(0.75)
            self.wait_until(lambda: pages.process_state(process.pid) == "S", "it sleeps")
            retained = self.stats(process.pid)["retained_bytes"]
            said = json.loads(self.lowtide("trim", process.pid, "--json", "--wait", "0.4", code=0 if keeper else PENDING))
            self.lowtide("top", "--once")
            if keeper:
                check(said["done"] and said["after"]["retained_bytes"] == 0, f"{said}")
            else:
                check(not said["done"] and said["after"]["retained_bytes"] == retained, f"{said}")
            if call == "read":
                self.go_on(process)
            result, errno_, ms = map(int, self.line(process, "slept").split()[1:])
            check((result, errno_) == ((1, 0) if call == "read" else (0, 0)), f"{call} returned {result}, errno {errno_}")
            check(call == "read" or 3000 <= ms < 6000, f"{call} took {ms} ms")
        return f"{retained >> 10} KiB were retained; slept {ms} ms"

    def trim_pending(self):
        with self.started("job", "grow", "steady") as process:
            text = self.lowtide("trim", process.pid, "--wait", "0.2", code=PENDING)
            check("pending" in text and "LOWTIDE_HOUSEKEEP=thread" in text and "next allocates" in text, text)
            process.send_signal(signal.SIGSTOP)
            self.wait_until(lambda: pages.process_state(process.pid) == "T", "it is stopped")
            check("it is stopped" in self.lowtide("trim", process.pid, "--wait", "0.2", code=PENDING), "a stopped process")
            process.send_signal(signal.SIGCONT)
            self.go_on(process)
            page = pages.page_of(process.pid)[1]
            self.wait_until(lambda: pages.page_of(process.pid)[1].trim_served == page.trim_asked == 2, "it is done when the job goes on")

    # ---- what is said when there is nothing to read ----

    def complaints(self):
        def says(words, *arguments, **variables):
            said = self.lowtide(*arguments, code=1, **variables)
            check(words in said, f"{arguments}: {said!r}")
        says("no process 99999999", "stats", 99999999)
        says("no process 99999999", "trim", 99999999)
        with self.started("/bin/sleep", "20", ready=False, preload=[]) as process:
            self.wait_until(lambda: pages.process_name(process.pid) == "sleep", "sleep")
            says("is not preloaded with lowtide", "stats", process.pid)
        with self.started("/bin/sleep", "20", ready=False) as process:
            self.wait_until(lambda: pages.process_name(process.pid) == "sleep", "sleep")
            self.wait_until(lambda: pages.age_s(process.pid) > 0.3, "its age")
            says("has published nothing yet: it holds less than a MiB", "stats", process.pid)
        with self.started("/bin/sleep", "20", ready=False) as process:
            self.wait_until(lambda: pages.process_name(process.pid) == "sleep" and pages.is_preloaded(process.pid), "sleep")
            young = pages.age_s(process.pid) < 0.2 and pages.explain_absence(process.pid)
            check(not young or "younger than 100 ms" in young or pages.age_s(process.pid) >= 0.25, young)
        root = os.path.join(self.scratch, "root")
        for command in (("top", "--once"), ("stats", os.getpid())):
            says("no /nowhere/dev/shm here", *command, LOWTIDE_ROOT="/nowhere")
        os.makedirs(f"{root}/dev/shm/lowtide-{os.geteuid()}", mode=0o755)
        os.chmod(f"{root}/dev/shm/lowtide-{os.geteuid()}", 0o755)
        says("is not a directory that user", "top", "--once", LOWTIDE_ROOT=root)
        for wrong in (["--interval", "0"], ["--sort", "nothing"], ["--count", "0"]):
            done = subprocess.run([PYTHON, "-m", "lowtide_cli", "top", *wrong], env={**os.environ, "PYTHONPATH": SCRIPTS}, stderr=subprocess.PIPE)
            check(done.returncode == 2, f"{wrong}: {done.returncode}")

    def strange_pages(self):
        """Whatever lies in the directory, readers live and touch nothing that is not theirs to sweep."""
        user, root = os.geteuid(), os.path.join(self.scratch, "strange")
        place, namespace = f"{root}/dev/shm/lowtide-{user}", os.stat("/proc/self/ns/pid").st_ino
        os.makedirs(place, mode=0o700)
        me = os.getpid()
        contents = {f"{me}.{namespace}": os.urandom(4096), "1.5": b"", "notes": b"text", f"{os.getppid()}.{namespace}": b"low-tide" + bytes(4088)}
        for name, data in contents.items():
            with open(f"{place}/{name}", "wb") as f:
                f.write(data)
        os.mkfifo(f"{place}/2.{namespace}")
        os.symlink("/etc/passwd", f"{place}/3.{namespace}")
        rows = json.loads(self.lowtide("top", "--once", "--json", LOWTIDE_ROOT=root))["processes"]
        check(rows == [] and os.path.exists(f"{place}/notes"), f"{rows}")
        said = self.lowtide("stats", me, code=1, LOWTIDE_ROOT=root)
        check("not preloaded" in said, said)

    # ---- cost ----

    def trace(self, *command):
        """The system calls of a preloaded program."""
        check(shutil.which("strace"), "not installed: strace")
        trace = os.path.join(self.scratch, f"trace-{time.monotonic_ns()}")
        environment = self.environment()
        preload = environment.pop("LD_PRELOAD", "")
        subprocess.run(["strace", "-qq", "-E", f"LD_PRELOAD={preload}", "-o", trace, *self.command(command)], env=environment, timeout=30, check=True)
        with open(trace, errors="replace") as f:
            return f.read().splitlines()

    def short_programs(self):
        """Younger than 100 ms: nothing is even looked for."""
        lines = self.trace("/bin/true")
        check(lines and not [line for line in lines if "/dev/shm" in line], "it looks for its page")

    def creation(self):
        lines = self.trace("job", "ticks", "4")
        begin = next(i for i, line in enumerate(lines) if line.startswith("geteuid("))
        mapped = next(i for i, line in enumerate(lines) if line.startswith("mmap(") and "MAP_SHARED" in line)
        last = next(i for i, line in enumerate(lines) if i > mapped and "/proc/self/stat" in line) + 2  # read and close
        calls = lines[begin:last + 1]
        others = sum(1 for line in calls if line.startswith("kill("))
        check(len(calls) - others <= MOST_CALLS, f"{len(calls) - others} calls: {calls}")
        check(sum(1 for line in lines if "MAP_SHARED" in line) == 1, "it is made once")
        return f"{len(calls) - others} system calls, and {others} for pages of others"

    def memory(self):
        with self.started("job", "grow", "steady") as process:
            with open(f"/proc/{process.pid}/smaps") as f:
                text = f.read()
            found = re.search(r"[^\n]*/dev/shm/lowtide-.*?\nRss: +(\d+) kB", text, re.S)
            check(found and int(found.group(1)) == os.sysconf("SC_PAGESIZE") // 1024, f"resident: {found and found.group(1)} kB")
            return f"{found.group(1)} KiB resident"

    def instructions(self):
        check(shutil.which("valgrind"), "not installed: valgrind")
        out = os.path.join(self.scratch, "callgrind")
        done = self.run("/usr/bin/valgrind", "--tool=callgrind", f"--callgrind-out-file={out}", "--toggle-collect=live_update", self.path("job"), "ticks", "15",
                        timeout=50)
        check(done.returncode == 0, f"ended with {done.returncode}: {done.stderr[-300:]}")
        with open(out) as f:
            text = f.read()
        # Lines "cfn=(NUMBER)", "calls=N ...", "LINE INCLUSIVE"; a function has its name where it comes first.
        names = dict(re.findall(r"fn=\((\d+)\) (\S+)", text))

        def cost(function):
            numbers = [n for n, name in names.items() if name == function]
            rows = re.findall(rf"cfn=\((?:{'|'.join(numbers) or 'none'})\)[^\n]*\ncalls=(\d+)[^\n]*\n\S+ (\d+)", text)
            return sum(int(n) for n, _ in rows), sum(int(each) for _, each in rows)
        total = int(re.search(r"^(?:summary|totals): (\d+)", text, re.M).group(1))
        (snapshots, written), (_, made) = cost("write_snapshot"), cost("live_file_make")
        check(snapshots >= 3 and made, f"{snapshots} snapshots in {total} instructions")
        each = (total - made) // snapshots
        check(each <= MOST_INSTRUCTIONS, f"{each} instructions a snapshot")
        return f"{each} instructions each, {written // snapshots} of them to write it, in {snapshots} snapshots; {made} to make the page"


def all_cases(r):
    yield "verdicts", arithmetic.verdicts
    yield "read by another process of the same user", r.read_by_the_same_user
    yield "readers need no right to trace, and send no signal", r.no_rights_to_trace
    yield "another user's process", r.anothers
    yield "a python job", r.python_job
    yield "stats has all keys", r.all_keys
    yield "LOWTIDE_LIVE=0", r.switched_off
    yield "killed: swept by a reader", lambda: r.killed(True)
    yield "killed, and nobody has waited for it yet", lambda: r.killed(False)
    yield "killed: swept by the next job", r.swept_by_the_next_job
    yield "a forked child has a page of its own", r.forked
    yield "a child that ends with _exit", r.forked_and_gone
    yield "exec of a preloaded program", lambda: r.became_another([r.path("job"), "grow", "steady"], True)
    yield "exec of a program without lowtide", lambda: r.became_another(["env", "-u", "LD_PRELOAD", "sleep", "20"], False)
    yield "exec of a program that publishes nothing", lambda: r.became_another(["sleep", "20"], False)
    yield "no descriptor stays open", lambda: r.under("nothing", True)
    yield "no file may grow (RLIMIT_FSIZE)", lambda: r.under("fsize")
    yield "all memory locked", lambda: r.under("locked", True)
    yield "privileges given up before a filter", lambda: r.under("filter")
    yield "an empty root directory", r.chrooted
    yield "a full /dev/shm", lambda: r.under_a_mount("size=8k,nr_inodes=100", "dd if=/dev/zero of=/dev/shm/full bs=4k count=2 2>/dev/null")
    yield "a /dev/shm without inodes", lambda: r.under_a_mount("size=1m,nr_inodes=2", "touch /dev/shm/full")
    yield "a read-only /dev/shm", lambda: r.under_a_mount("ro", "true")
    yield "a noexec, nosuid, nodev /dev/shm", lambda: r.under_a_mount("noexec,nosuid,nodev", "true")
    yield "verdict: a leak", lambda: r.verdict_of("leak", "program")
    yield "verdict: the allocator retains", lambda: r.verdict_of("retain", "allocator", LOWTIDE_RETURN="free")
    yield "verdict: mmap beside malloc", lambda: r.verdict_of("mmap", "outside")
    yield "verdict: the same again and again", lambda: r.verdict_of("steady", "steady")
    yield "verdict of a job that ended meanwhile", lambda: r.verdict_at_the_end(False)
    yield "verdict when the reader is interrupted", lambda: r.verdict_at_the_end(True)
    yield "top: text and JSON", r.top_text
    yield "top: Prometheus", r.top_prometheus
    yield "top: on a terminal", r.top_on_a_terminal
    yield "top: into a pipe that closes", r.reader_that_goes_away
    yield "trim of a running job", r.trim_running
    yield "trim that waits for the job", r.trim_pending
    for call in ("nanosleep", "read", "poll"):
        for keeper in (False, True):
            yield f"trim of a job in {call}, {'with' if keeper else 'without'} the keeper", lambda a=(call, keeper): r.sleeper(*a)
    yield "what is said when there is nothing to read", r.complaints
    yield "strange files among the pages", r.strange_pages
    yield "cost: short programs do nothing", r.short_programs
    yield "cost: system calls to make a page", r.creation
    yield "cost: memory", r.memory
    yield "cost: instructions a snapshot", r.instructions


if __name__ == "__main__":
    cases.main(Runner, [(all_cases, 2 * os.cpu_count())])
