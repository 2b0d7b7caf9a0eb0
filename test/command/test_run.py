"""`lowtide run`: transparent to the program, and true about whether it is served."""
import json
import os
import pty
import select
import signal
import subprocess
import time

import pytest
from conftest import COMMAND, LIBRARY, PYTHON, begin, call, environment


def run(*command, options=(), **more):
    return call("run", *options, "--", *command, **more)


# --- transparent ------------------------------------------------------------------------------

@pytest.mark.parametrize("code", [0, 1, 7, 125, 255])
def test_exit_code(code):
    assert run("sh", "-c", f"exit {code}").code == code


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV])
def test_killed_by_signal(number):
    assert run("sh", "-c", f"kill -{int(number)} $$").code == -number


def test_streams():
    done = run("sh", "-c", "cat; echo error >&2", text="some input")
    assert done.out == "some input" and "error\n" in done.err


def test_stdout_has_nothing_else():
    assert run("true", options=["--verbose", "--summary"]).out == ""


def test_arguments_with_dashes():
    assert run("printf", "%s|", "--", "-x", "a b").out == "--|-x|a b|"


def test_command_without_dashes():
    assert call("run", "--quiet", "echo", "-n", "x").out == "x"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT])
def test_signals_are_forwarded(number):
    name = number.name[3:]
    child = begin("run", "--", "bash", "-c", f"trap 'echo got {name}; exit 9' {name}; echo ready; for i in {{1..200}}; do sleep .05; done")
    assert child.stdout.readline() == "ready\n"
    child.send_signal(number)
    out, _ = child.communicate(timeout=20)
    assert out == f"got {name}\n" and child.returncode == 9


def test_signal_mask_and_dispositions_are_the_usual():
    """Nothing that the command blocks or ignores for itself reaches the program."""
    plain = subprocess.run(["grep", "-E", "SigBlk|SigIgn", "/proc/self/status"], stdout=subprocess.PIPE, text=True).stdout
    assert run("grep", "-E", "SigBlk|SigIgn", "/proc/self/status").out == plain


def test_stop_and_continue():
    # In a group of its own, which has a parent outside: SIGTSTP does not stop a group that nobody could wake.
    child = begin("run", "--", "bash", "-c", "echo $$; for i in {1..40}; do sleep .02; done; exit 3", preexec_fn=os.setpgrp)
    pid = int(child.stdout.readline())
    child.send_signal(signal.SIGTSTP)
    _, status = os.waitpid(child.pid, os.WUNTRACED)
    assert os.WIFSTOPPED(status)
    assert open(f"/proc/{pid}/stat").read().rsplit(")")[1].split()[0] == "T"
    child.send_signal(signal.SIGCONT)
    assert child.wait(20) == 3


def test_ctrl_c_on_a_terminal_arrives_once():
    job = ("import signal, time; n = []; signal.signal(signal.SIGINT, lambda *a: n.append(1)); print('ready', flush=True);"
           "time.sleep(.6); time.sleep(.2); print('interrupts', len(n), flush=True)")
    pid, terminal = pty.fork()
    if pid == 0:
        os.execve(PYTHON, [PYTHON, str(COMMAND), "run", "--", PYTHON, "-c", job], environment())
    read_until(terminal, b"ready")
    os.write(terminal, b"\x03")
    read_until(terminal, b"interrupts 1")
    _, status = os.waitpid(pid, 0)
    assert os.WEXITSTATUS(status) == 0


def read_until(terminal, text, seen=b""):
    """What a terminal shows until the text is there; fails after 20 s."""
    limit = time.monotonic() + 20
    while text not in seen and select.select([terminal], [], [], limit - time.monotonic())[0]:
        try:
            seen += os.read(terminal, 1000)
        except OSError:     # the other side is closed
            break
    assert text in seen, seen
    return seen


def test_job_control_of_a_shell():
    """Ctrl-Z stops both; fg lets both go on, and the program reads the terminal again."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execve("/bin/bash", ["bash", "--norc", "--noediting", "-i"], environment(PS1="> ", HISTFILE="/dev/null", TERM="dumb"))
    program = "import sys; print('be' + 'gin', flush=True); print('got', sys.stdin.readline(), flush=True)"
    os.write(terminal, f"{PYTHON} {COMMAND} run --quiet -- {PYTHON} -c \"{program}\"; echo 'en'd=$?\n".encode())
    read_until(terminal, b"begin")
    os.write(terminal, b"\x1a")
    read_until(terminal, b"Stopped")
    os.write(terminal, b"fg\n")
    time.sleep(0.3)
    os.write(terminal, b"typed\n")
    read_until(terminal, b"got typed")
    os.write(terminal, b"exit\n")
    os.close(terminal)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def test_program_ends_with_the_command():
    child = begin("run", "--", "bash", "-c", "echo $$; sleep 30; :")
    pid = int(child.stdout.readline())
    child.kill()
    child.wait()
    time.sleep(0.3)
    assert not os.path.exists(f"/proc/{pid}") or open(f"/proc/{pid}/stat").read().rsplit(")")[1].split()[0] == "Z"


def test_minimal_environment():
    """As cron, Slurm and supervisors start it: no terminal, no HOME, stdin closed."""
    done = run("/bin/sh", "-c", "echo alive", env={"PATH": "/usr/bin:/bin", "LOWTIDE_LIB": LIBRARY}, cwd="/",
               stdin=None, before=lambda: os.close(0))
    assert done.out == "alive\n" and done.code == 0


def test_closed_streams(tmp_path):
    def close():
        for number in (0, 1, 2):
            os.close(number)
    file = tmp_path / "file"
    assert run("sh", "-c", f"echo written > {file}; exit 4", stdin=None, before=close).code == 4
    assert file.read_text() == "written\n"
    done = call("compare", "-n", "1", "--no-warm-up", "--out", tmp_path / "out", "--", "sh", "-c", "cat; echo same", stdin=None,
                before=close)
    assert done.code == 0 and (tmp_path / "out" / "report.html").exists()


def test_exec_becomes_the_program():
    child = begin("run", "--exec", "--", "sh", "-c", "echo $$")
    out, err = child.communicate(timeout=20)
    assert int(out) == child.pid and "ACTIVE" in err


def test_script_without_interpreter_line(tmp_path):
    script = tmp_path / "job"
    script.write_text("echo from a script\n")
    script.chmod(0o755)
    assert run(script).out == "from a script\n"


# --- is it active? ----------------------------------------------------------------------------

def state(done):
    return next(line for line in done.lines() if "ACTIVE" in line)


@pytest.mark.parametrize("seconds", ["0", "0.5"])
def test_active(seconds):
    done = run("sleep", seconds)
    assert state(done).startswith("lowtide: ACTIVE in sleep (pid ")


def test_active_in_python_says_whose_objects():
    assert "Python's objects: malloc" in state(run(PYTHON, "-c", "import time; time.sleep(.4)"))
    assert "Python's objects: malloc" in state(run(PYTHON, "-I", "-c", "import time; time.sleep(.4)"))
    assert "pymalloc" in state(run(PYTHON, "-I", "-Xdev", "-c", "import time; time.sleep(.4)"))
    assert "PYTHONMALLOC=pymalloc" in state(run(PYTHON, "-c", "1", env=environment(PYTHONMALLOC="pymalloc")))


def test_active_after_exec():
    """A shell that becomes another program: the last one counts."""
    assert "ACTIVE in sleep" in state(run("sh", "-c", "exec sleep 0.5"))


REASONS = {"static": "static", "musl": "musl", "own": "own allocator", "sanitized": "sanitizer", "setuid": "setuid"}


@pytest.mark.parametrize("name", REASONS)
def test_not_active(programs, name):
    if not (programs / name).exists():
        pytest.skip("setuid programs need root")
    done = run(programs / name)
    assert state(done).startswith(f"lowtide: NOT ACTIVE in {name}: ") and REASONS[name] in state(done)
    assert done.code == 0
    required = run(programs / name, options=["--require"])
    assert required.code == 125 and "NOT ACTIVE" in required.err


def test_musl_runs_as_if_started_directly(programs):
    """Its loader would not start the program with a preload made for glibc."""
    done = run(programs / "musl")
    assert (done.code, done.out) == (0, "hello\n") and "Error relocating" not in done.err
    direct = subprocess.run([programs / "musl"], env=environment(LD_PRELOAD=LIBRARY), stderr=subprocess.PIPE, text=True)
    assert direct.returncode != 0 and "Error relocating" in direct.stderr


def test_other_architecture(programs):
    done = run(programs / "other", options=["--require"])
    assert done.code == 125 and "other architecture" in state(done) and "aarch64" in state(done)
    assert run(programs / "other").code == 126


def test_32_bit(programs):
    done = run(programs / "narrow", options=["--require"])
    assert done.code == 125 and "the program is i386" in state(done) and "32-bit programs are not supported" in state(done)


def test_not_active_when_the_library_cannot_be_loaded(tmp_path):
    fake = tmp_path / "liblowtide.so"
    fake.write_bytes(open(LIBRARY, "rb").read()[:4096])
    done = run("sleep", "0.4", options=["--require"], env=environment(LOWTIDE_LIB=str(fake)))
    assert done.code == 125 and "NOT ACTIVE" in done.err


def test_exec_into_a_static_program_fails_required(programs):
    done = run("sh", "-c", f"sleep 0.05; exec {programs}/static", options=["--require"])
    assert "ACTIVE" in done.err


def test_without_proc():
    """Where processes cannot be looked at the program's file decides; nothing is looked for on and on."""
    inner = f"mount -t tmpfs none /proc && exec {PYTHON} {COMMAND} run --require --summary -- sleep 1.5"
    done = subprocess.run(["unshare", "-m", "sh", "-c", inner], env=environment(), stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True)
    if "unshare" in done.stderr or "mount:" in done.stderr:
        pytest.skip("mount namespaces need root")
    assert done.returncode == 0 and "ACTIVE in sleep" in done.stderr and "by its file" in done.stderr


def test_preload_taken_out_on_the_way():
    text = state(run("env", "-u", "LD_PRELOAD", "sleep", "0.6"))
    assert "NOT ACTIVE in sleep: LD_PRELOAD was taken out" in text


def test_quiet_and_other_preloads(programs):
    assert run("sleep", "0.3", options=["--quiet"]).err == ""
    shown = run("sh", "-c", "echo $LD_PRELOAD", env=environment(LD_PRELOAD="libm.so.6")).out
    assert shown == f"{LIBRARY} libm.so.6\n"


# --- what it tells ----------------------------------------------------------------------------

def test_verbose_is_one_line():
    lines = run("true", options=["--verbose", "--quiet", "--set", "profile=tight"]).lines()
    assert len(lines) == 1
    for word in ("page size", "huge pages", "limit", "level", "LOWTIDE_PROFILE=tight"):
        assert word in lines[0]


def test_summary():
    job = "x = [bytes(1000) for i in range(60000)]; import time; time.sleep(.4)"
    text = run(PYTHON, "-c", job, options=["--summary"]).err
    for word in ("peak", "mean", "last", "live", "retained", "released", "minor faults", "system", "not heap"):
        assert word in text
    assert "MiB" in text and "not known" not in text


def test_summary_of_a_killed_program():
    done = run("sh", "-c", "sleep .2; kill -9 $$", options=["--summary"])
    assert done.code == -9 and "no statistics" in done.err


def test_statistics_file_of_the_user_is_kept(tmp_path):
    file = tmp_path / "stats.json"
    run("true", options=["--summary"], env=environment(LOWTIDE_STATS=str(file)))
    assert json.loads(file.read_text())["version"]


# --- what is wrong ----------------------------------------------------------------------------

@pytest.mark.parametrize("arguments, code, text", [
    (["run"], 2, "no command"),
    (["run", "--"], 2, "no command"),
    (["run", "--", "no-such-command"], 127, "no such command"),
    (["run", "--", "/etc/passwd"], 126, "not executable"),
    (["run", "--", "/tmp"], 126, "directory"),
    (["run", "--", ""], 127, "empty"),
    (["run", "--nonsense", "--", "true"], 2, "unknown option --nonsense"),
    (["run", "--set", "nonsense=1", "--", "true"], 2, "no such option"),
    (["nonsense"], 2, "unknown command"),
])
def test_one_line(arguments, code, text):
    done = call(*arguments)
    assert done.code == code and len(done.err.splitlines()) == 1 and text in done.err


def test_missing_library():
    done = run("true", env=environment(LOWTIDE_LIB="/nonexistent.so"))
    assert done.code == 1 and done.err == "lowtide: LOWTIDE_LIB=/nonexistent.so does not exist\n"
