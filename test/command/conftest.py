"""What the tests of the command share: running it, and small programs of every kind."""
import os
import pathlib
import shutil
import signal
import subprocess
import sys

import pytest

# Whoever starts this in the background may have these ignored, which children inherit.
for ignored in (signal.SIGHUP, signal.SIGQUIT, signal.SIGTSTP):
    signal.signal(ignored, signal.SIG_DFL)
signal.signal(signal.SIGINT, signal.default_int_handler)


REPO = pathlib.Path(__file__).resolve().parents[2]
COMMAND = REPO / "scripts" / "lowtide"
LIBRARY = os.path.realpath(os.environ.get("LOWTIDE_LIB") or REPO / "build" / "liblowtide.so")
PYTHON = "/usr/bin/python3" if os.path.exists("/usr/bin/python3") else sys.executable
sys.path.insert(0, str(REPO / "scripts"))
sys.dont_write_bytecode = True
os.environ["PYTHONDONTWRITEBYTECODE"] = "1"

PROGRAMS = {
    "hello": ("", "#include <stdio.h>\n#include <stdlib.h>\nint main(void) { puts(\"hello\"); free(malloc(9)); return 0; }"),
    "static": ("-static", "int main(void) { return 0; }"),
    "own": ("-rdynamic", """#include <stddef.h>
static char room[1 << 20]; static size_t used;
void *malloc(size_t n) { void *p = room + used; used += (n + 15) / 16 * 16; return p; }
void free(void *p) { (void)p; }
int mallctl(void) { return 0; }
int main(void) { return malloc(9) == 0; }"""),
    "sanitized": ("-fsanitize=address", "int main(void) { return 0; }"),
    "threads": ("-pthread", """#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
static void *work(void *unused) { for (int i = 0; i < 40; i++) { char *p = malloc(1 << 20); memset(p, 1, 1 << 20);
    usleep(2000); free(p); } return unused; }
int main(void) { pthread_t t[4]; for (int i = 0; i < 4; i++) pthread_create(t + i, 0, work, 0);
    for (int i = 0; i < 4; i++) pthread_join(t[i], 0); return 0; }"""),
}


class Done:
    """How a call of the command ended."""

    def __init__(self, done):
        self.code, self.out, self.err = done.returncode, done.stdout, done.stderr

    def lines(self):
        """Of stderr, those that are the command's own."""
        return [line for line in self.err.splitlines() if line.startswith("lowtide: ")]


def environment(**variables):
    """Without settings of whoever runs the tests; None takes a variable out."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("LOWTIDE_", "LD_", "PYTHONMALLOC"))}
    kept.update({"LOWTIDE_LIB": LIBRARY, "LOWTIDE_SYSTEM_CONF": "/nonexistent", "XDG_CONFIG_HOME": "/nonexistent"})
    kept.update(variables)
    return {key: value for key, value in kept.items() if value is not None}


def call(*arguments, timeout=60, stdin=subprocess.DEVNULL, env=None, cwd=None, text=None, before=None):
    """Runs `lowtide ARGUMENTS`."""
    given = {"input": text} if text is not None else {"stdin": stdin}
    return Done(subprocess.run([PYTHON, str(COMMAND), *map(str, arguments)], env=env or environment(), cwd=cwd,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=timeout, text=True, preexec_fn=before,
                               **given))


def begin(*arguments, **more):
    """Starts it, for tests that do something meanwhile."""
    more.setdefault("stdin", subprocess.DEVNULL)
    return subprocess.Popen([PYTHON, str(COMMAND), *map(str, arguments)], env=environment(), stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, text=True, **more)


@pytest.fixture(scope="session")
def programs(tmp_path_factory):
    """Directory with the compiled programs; a program that cannot be built is not there."""
    directory = tmp_path_factory.mktemp("programs")
    for name, (flags, source) in PROGRAMS.items():
        file = directory / f"{name}.c"
        file.write_text(source)
        subprocess.run(["cc", "-O0", "-w", "-o", str(directory / name), str(file), *flags.split()], check=True)
    subprocess.run(["musl-gcc", "-o", str(directory / "musl"), str(directory / "hello.c")], check=True)
    other = bytearray((directory / "hello").read_bytes())
    other[18:20] = (183).to_bytes(2, "little")          # as if it were for aarch64
    (directory / "other").write_bytes(other)
    (directory / "other").chmod(0o755)
    (directory / "narrow.c").write_text("int main(void) { return 0; }")     # without libc, which may not be there for it
    subprocess.run(["cc", "-m32", "-nostdlib", "-Wl,-emain", "-w", "-o", str(directory / "narrow"), str(directory / "narrow.c")], check=True)
    if os.geteuid() == 0:
        shutil.copy(directory / "hello", directory / "setuid")
        os.chown(directory / "setuid", 65534, 65534)
        (directory / "setuid").chmod(0o4755)
        for parent in (directory, *directory.parents):
            if parent != pathlib.Path("/tmp") and str(parent).startswith("/tmp/"):
                parent.chmod(0o755)
    return directory


@pytest.fixture(scope="session", autouse=True)
def library_is_built():
    if not os.path.exists(LIBRARY):
        pytest.exit(f"no library at {LIBRARY}: run make", 1)


@pytest.fixture(autouse=True)
def within_a_minute():
    """No test hangs."""
    def give_up(*_):
        raise TimeoutError("not done after 60 s")
    signal.signal(signal.SIGALRM, give_up)
    signal.alarm(60)
    yield
    signal.alarm(0)


def pytest_terminal_summary(terminalreporter):
    """The closing line that test/run.sh reads."""
    count = {word: len(terminalreporter.stats.get(word, [])) for word in ("passed", "failed", "error", "skipped")}
    reasons = sorted({report.longrepr[2].replace("Skipped: ", "") for report in terminalreporter.stats.get("skipped", [])})
    skipped = f", {count['skipped']} skipped: {'; '.join(reasons)}" if reasons else ""
    terminalreporter.write_line(f"command: {count['passed']} passed, {count['failed'] + count['error']} failed{skipped}")
