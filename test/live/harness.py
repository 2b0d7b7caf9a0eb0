"""What the cases of live statistics are made with: jobs that run, their pages, and the commands, as us or as an unprivileged user."""
import contextlib
import glob
import json
import os
import signal
import select
import shutil
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
SCRIPTS = os.path.join(HERE, "../../scripts")
sys.path[:0] = [os.path.dirname(HERE), SCRIPTS]
import cases  # noqa: E402
from cases import PYTHON, Skipped, check  # noqa: E402
from lowtide_cli import pages  # noqa: E402

# Whoever starts this in the background may have these ignored, which children inherit.
for ignored in (signal.SIGHUP, signal.SIGQUIT, signal.SIGTSTP):
    signal.signal(ignored, signal.SIG_DFL)
signal.signal(signal.SIGINT, signal.default_int_handler)


NOBODY = 65534


class LiveRunner(cases.Runner):
    name = "live"

    # ---- jobs ----

    @contextlib.contextmanager
    def started(self, *command, ready=True, prefix=(), preload=None, **variables):
        """A job, past its "ready", whose second number is in .child; killed at the end."""
        process = subprocess.Popen([*prefix, *self.command(command)], env=self.environment(preload, **variables), stdin=subprocess.PIPE,
                                   stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, bufsize=1)
        try:
            if ready:
                process.child = int(self.line(process, "ready").split()[2])
            yield process
        finally:
            process.kill()
            process.wait()
            for stream in (process.stdin, process.stdout):
                with contextlib.suppress(OSError):
                    stream.close()

    def line(self, process, wanted, timeout=20):
        ready, _, _ = select.select([process.stdout], [], [], timeout)
        text = process.stdout.readline() if ready else ""
        if text.startswith("cannot: "):
            raise Skipped(text.strip())
        check(text.startswith(wanted), f"said {text!r} instead of {wanted!r}")
        return text

    def go_on(self, process):
        process.stdin.write("\n")

    def files(self, pid, user=None, root=""):
        user = os.geteuid() if user is None else user
        return glob.glob(f"{root}/dev/shm/lowtide-{user}/{pid}.*")

    def wait_until(self, happens, what, seconds=10):
        end = time.monotonic() + seconds
        while not happens():
            check(time.monotonic() < end, f"did not happen within {seconds} s: {what}")
            time.sleep(0.02)

    # ---- the commands ----

    def lowtide(self, *arguments, prefix=(), code=0, scripts=SCRIPTS, timeout=20, **variables):
        """Its output; its line on stderr where that is what is expected of it."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith(self.drops)}
        kept.update(PYTHONPATH=scripts, PYTHONDONTWRITEBYTECODE="1", **variables)
        done = subprocess.run([*prefix, PYTHON, "-m", "lowtide_cli", *map(str, arguments)], env=kept, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=timeout, cwd="/")
        check(done.returncode == code, f"lowtide {' '.join(map(str, arguments))} ended with {done.returncode}: {(done.stdout + done.stderr)[-300:]}")
        if code == 1:
            check(not done.stdout and done.stderr.count("\n") == 1 and done.stderr.startswith("lowtide: "), f"said {done.stderr!r} {done.stdout[:100]!r}")
            return done.stderr
        check(not done.stderr, f"said {done.stderr[-300:]!r}")
        return done.stdout

    def stats(self, pid, **more):
        return json.loads(self.lowtide("stats", pid, "--json", **more))

    @contextlib.contextmanager
    def unprivileged(self):
        """As root: (prefix to run as nobody, copies of what is preloaded, of job and commands that nobody can reach); else as we are."""
        if os.geteuid():
            yield (), self.libraries(), self.path("job"), SCRIPTS
            return
        check(shutil.which("setpriv"), "not installed: setpriv")
        place = tempfile.mkdtemp(dir=self.scratch)
        for directory in (self.scratch, place):
            os.chmod(directory, 0o755)
        for source in (self.options.library, self.path("job")):
            shutil.copy(source, place)
        shutil.copytree(os.path.join(SCRIPTS, "lowtide_cli"), f"{place}/lowtide_cli", dirs_exist_ok=True)
        libraries = [f"{place}/{os.path.basename(library)}" for library in self.libraries()]
        yield ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"), libraries, f"{place}/job", place
        pages.Pages(NOBODY).find()  # sweeps
