"""`lowtide compare`: real jobs, what is told of them, and what is kept when something goes wrong."""
import csv
import json
import os
import shlex
import signal
import subprocess
import time

import pytest
from conftest import PYTHON, begin, call, environment

JOB = """
import time, sys
for _ in range(2):
    kept = [bytes(100 + i % 300) for i in range(120000)][::1000]
    time.sleep(.15)
print('done', len(kept))
"""


def compare(*command, options=("-n", "1", "--no-warm-up"), **more):
    return call("compare", *options, "--", *command, **more)


def figures(directory):
    return json.loads((directory / "summary.json").read_text())


@pytest.fixture(scope="module")
def python_job(tmp_path_factory):
    """One comparison of a Python job under all allocators that are installed."""
    directory = tmp_path_factory.mktemp("report") / "deep" / "out"
    done = compare(PYTHON, "-c", JOB, options=["-n", "2", "--with", "all", "--out", directory])
    return directory, done


def test_table_and_verdict(python_job):
    _, done = python_job
    assert done.code == 0, done.err
    for word in ("wall", "CPU", "peak RSS", "mean RSS", "last RSS", "minor faults", "glibc", "glibc-tuned", "lowtide", "MiB"):
        assert word in done.out
    assert "stdout: identical (9 bytes)" in done.out
    assert "lowtide saves" in done.out.splitlines()[-1]


def test_summary_has_every_figure(python_job):
    summary = figures(python_job[0])
    assert summary["stdout"] == "same" and not summary["interrupted"] and summary["machine"]["kernel"]
    for entry in summary["allocators"].values():
        for key in ("wall_s", "cpu_s", "peak_rss", "mean_rss", "last_rss", "minor_faults", "peak_pss"):
            assert entry[key]["median"] > 0 and len(entry[key]["values"]) == 2
    glibc, ours = (summary["allocators"][name] for name in ("glibc", "lowtide"))
    assert ours["mean_rss"]["median"] < 0.8 * glibc["mean_rss"]["median"]
    assert all(run["active"] for run in summary["runs"]["lowtide"])


def test_sampling_costs_under_two_percent(python_job):
    """Of the wall time; short runs may exceed it by one sample."""
    runs = [run for runs in figures(python_job[0])["runs"].values() for run in runs]
    assert sum(run["sampling_s"] for run in runs) < 0.03 * sum(run["wall_s"] for run in runs)


def test_samples_file(python_job):
    with open(python_job[0] / "samples.csv") as file:
        rows = list(csv.DictReader(file))
    full = [row for row in rows if row["pss"]]
    assert len(rows) > 50 and len(full) > 5
    for row in full:
        assert int(row["uss"]) <= int(row["pss"]) <= int(row["rss"]) * 1.5 and int(row["anon"]) >= 0
    assert {row["allocator"] for row in rows} >= {"glibc", "lowtide"}


def test_c_program_with_threads(programs, tmp_path):
    done = compare(programs / "threads", options=["-n", "1", "--no-warm-up", "--out", tmp_path])
    assert done.code == 0 and "stdout: empty" in done.out
    assert figures(tmp_path)["allocators"]["glibc"]["peak_rss"]["median"] > 3 << 20


def test_many_processes(tmp_path):
    """A tree, whose memory is the sum, and whose orphans count until they end."""
    job = "for i in {1..60}; do sleep 600 & done; (sleep 2 &); sleep 1; kill $(jobs -p); wait 2>/dev/null"
    assert compare("bash", "-c", job, options=["-n", "1", "--no-warm-up", "--out", tmp_path]).code == 0
    run = figures(tmp_path)["runs"]["glibc"][0]
    assert run["processes"] >= 61 and run["peak_rss"] > 60 << 20
    assert run["peak_pss"] < run["peak_rss"]


def test_a_job_that_daemonises(tmp_path):
    """What goes on behind the command's back is measured, and ended once it is idle."""
    work = "import os, time\nif os.fork(): os._exit(0)\nos.setsid()\nx = b'x' * (30 << 20)\nend = time.time() + .5\nwhile time.time() < end: pass\ntime.sleep(60)"
    began = time.monotonic()
    done = compare(PYTHON, "-c", work, options=["-n", "1", "--no-warm-up", "--with", "glibc", "--out", tmp_path])
    assert time.monotonic() - began < 15
    assert "outlived the command and were ended" in done.out
    assert figures(tmp_path)["runs"]["glibc"][0]["peak_rss"] > 30 << 20


def test_idle(tmp_path):
    job = JOB + "\ntime.sleep(100)"
    done = compare(PYTHON, "-c", job, options=["-n", "1", "--no-warm-up", "--idle", "2", "--out", tmp_path])
    assert done.code == 0 and "after 1 s" in done.out and "after 2 s" in done.out and "after 4 s" not in done.out
    entry = figures(tmp_path)["allocators"]
    assert entry["lowtide"]["idle"]["2"]["median"] < 0.7 * entry["glibc"]["idle"]["2"]["median"]
    assert "idleness it holds" in done.out
    assert "Left resident when idle" in (tmp_path / "report.html").read_text()


def test_shorter_than_a_sample(tmp_path):
    done = compare("true", options=["-n", "1", "--no-warm-up", "--out", tmp_path])
    assert done.code == 0 and "No benefit" in done.out
    assert figures(tmp_path)["allocators"]["lowtide"]["peak_rss"]["median"] > 0


def test_huge_output_is_hashed_and_dropped():
    done = compare("head", "-c", "400000000", "/dev/zero")
    assert done.code == 0 and "identical (400,000,000 bytes)" in done.out


def test_output_that_differs(tmp_path):
    done = compare("sh", "-c", "echo ${LD_PRELOAD:-none}")
    assert done.code == 1 and "stdout: differs" in done.out
    done = compare("sh", "-c", "date +%N", options=["-n", "2", "--no-warm-up"])
    assert done.code == 0 and "from run to run" in done.out


@pytest.mark.parametrize("kind", ["pipe", "file"])
def test_every_run_reads_the_same_stdin(tmp_path, kind):
    text = "line\n" * 1000
    if kind == "pipe":
        done = compare("wc", "-c", text=text)
    else:
        (tmp_path / "input").write_text(text)
        with open(tmp_path / "input") as file:
            done = compare("sh", "-c", "cat", stdin=file)
    assert done.code == 0 and "identical" in done.out
    assert f"({len(str(len(text))) + 1 if kind == 'pipe' else len(text):,} bytes)" in done.out


def test_no_benefit_when_memory_is_not_heap():
    job = "import mmap, time; m = mmap.mmap(-1, 80 << 20); [m.write(bytes(65536)) for _ in range(1280)]; time.sleep(.5)"
    done = compare(PYTHON, "-c", job)
    assert "No benefit:" in done.out and "of RSS is not heap" in done.out


def test_not_active_is_told(programs):
    done = compare(programs / "static")
    assert done.code == 1 and "No benefit: lowtide is not active in static: static" in done.out


def test_failing_job_is_told():
    done = compare("sh", "-c", "echo broken >&2; exit 3")
    assert "every run: exit code 3" in done.out and "broken" in done.err


def test_different_ends_are_told():
    done = compare("sh", "-c", 'test -z "$LD_PRELOAD" || exit 4')
    assert done.code == 1 and "exit code 4" in done.out and "Look at how the runs ended" in done.out


def test_fail_above():
    done = compare("sleep", "0.1", options=["-n", "1", "--no-warm-up", "--fail-above", "0.01"])
    assert done.code == 3 and "above 0.01: wall time is" in done.err
    assert compare("sleep", "0.1", options=["-n", "1", "--no-warm-up", "--fail-above", "100"]).code == 0


def test_timeout():
    done = compare("sleep", "60", options=["-n", "1", "--no-warm-up", "--timeout", "0.5", "--with", "glibc"])
    assert "ended after the 0.5 s" in done.out


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_keeps_what_was_measured(tmp_path, number):
    child = begin("compare", "-n", "50", "--no-warm-up", "--out", str(tmp_path), "--", "sleep", "0.4")
    while "run 2" not in child.stderr.readline():
        pass
    time.sleep(0.15)
    child.send_signal(number)
    out, _ = child.communicate(timeout=20)
    assert child.returncode == 128 + number
    assert "glibc" in out and "lowtide" in out and "interrupted" in out
    assert figures(tmp_path)["interrupted"] and (tmp_path / "report.html").exists()
    assert not subprocess.run(["pgrep", "-P", str(child.pid)], stdout=subprocess.PIPE).stdout


def test_interrupted_before_anything():
    child = begin("compare", "--", "sleep", "30")
    time.sleep(0.8)
    child.send_signal(signal.SIGINT)
    _, err = child.communicate(timeout=20)
    assert child.returncode == 130 and "interrupted before a run was done" in err


def test_a_command_that_vanishes_keeps_what_was_measured(tmp_path):
    script = tmp_path / "once"
    script.write_text("#!/bin/sh\nsleep .1\nrm \"$0\"\n")
    script.chmod(0o755)
    done = compare(script, options=["-n", "2", "--no-warm-up", "--out", tmp_path / "out"])
    assert done.code == 1 and "a run could not be made" in done.out and "no such command" in done.out
    assert len(figures(tmp_path / "out")["runs"]["glibc"]) == 1


def test_python_that_is_not_served_is_told():
    done = compare(PYTHON, "-I", "-X", "dev", "-c", "import time; time.sleep(.2)")
    assert "Python's small objects are not lowtide's: pymalloc, since -X dev with -I or -E" in done.out


def test_directory_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    done = compare("true", options=["--out", tmp_path / "file" / "out"])
    assert done.code == 1 and len(done.err.splitlines()) == 1 and "cannot write there" in done.err


def test_unreadable_proc():
    inner = " ".join(shlex.quote(word) for word in [PYTHON, os.path.abspath(__file__).rsplit("/test/", 1)[0] + "/scripts/lowtide",
                                                    "compare", "--", "true"])
    done = subprocess.run(["unshare", "-m", "sh", "-c", f"mount -t tmpfs none /proc && {inner}"], env=environment(),
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if "unshare" in done.stderr or "mount:" in done.stderr:
        pytest.skip("mount namespaces need root")
    assert done.returncode == 1 and done.stderr == "lowtide: /proc cannot be read: without it memory cannot be measured\n"


@pytest.mark.parametrize("arguments, code, text", [
    ([], 2, "no command"),
    (["--", "no-such-command"], 127, "no such command"),
    (["-n", "0", "--", "true"], 2, "at least one run"),
    (["-n", "many", "--", "true"], 2, "invalid int value: 'many'"),
    (["--out"], 2, "expected one argument"),
    (["--with", "nonsense", "--", "true"], 2, "give some of glibc"),
    (["--idle", "-1", "--", "true"], 2, "above 0"),
    (["--fail-above", "0", "--", "true"], 2, "ratio above 0"),
])
def test_one_line(arguments, code, text):
    done = call("compare", *arguments)
    assert done.code == code and len(done.err.splitlines()) == 1 and text in done.err


def test_colour_only_where_it_is_wanted():
    assert "\x1b" not in compare("true").out
