"""Parts of the command that need no program: processes that are gone, units, verdicts, pictures."""
import os
import subprocess
import time
import types

import pytest
from conftest import PYTHON
from lowtide_cli import chart, figures, interpreter, procfs, sampling, say
from lowtide_cli.job import Quiet
from lowtide_cli.tree import Tree

MIB = say.MIB


@pytest.fixture
def gone():
    child = subprocess.Popen(["true"])
    child.wait()
    return child.pid


def test_a_process_that_is_gone(gone):
    assert procfs.stat(gone) is procfs.resident(gone) is procfs.rollup(gone) is None
    assert procfs.peak_resident(gone) is procfs.lowtide_heap(gone) is None
    assert Tree(gone).alive() == []


def test_a_pid_that_was_used_again():
    """Told by its start time: the process is there, but not the one that was meant."""
    tree = Tree(os.getpid())
    tree.own = -1
    tree.members[os.getpid()] -= 1
    assert tree.alive() == [] and tree.members == {}


def test_tree_finds_children_and_grandchildren():
    child = subprocess.Popen(["sh", "-c", "sh -c 'sleep 5; :' & sleep 5; :"])
    tree = Tree(child.pid)
    try:
        limit = time.monotonic() + 5
        while len(tree.alive()) < 4 and time.monotonic() < limit:
            tree.update()
            time.sleep(0.01)
        assert len(tree.alive()) == 4
    finally:
        tree.end(child.poll)
        child.wait()
    assert tree.alive() == []


def test_numbers_of_this_process():
    found = procfs.rollup(os.getpid())
    assert found["rss"] >= found["pss"] > 0 and found["rss"] >= found["anon"] > MIB
    assert 0.5 < procfs.resident(os.getpid()) / found["rss"] < 2
    assert procfs.peak_resident(os.getpid()) >= found["rss"] * 0.9


def test_sampling_paces_itself():
    """What a sample costs decides when the next one is due."""
    pace = sampling.Pace(0.01, 0.005)
    pace.note(1.0, 0.000001)
    assert pace.due == 1.01
    pace.note(1.0, 0.002)
    assert pace.due == pytest.approx(1.4)


def sample(t, rss, **more):
    one = sampling.Sample(t, 1, rss)
    for key, value in more.items():
        setattr(one, key, value)
    return one


def test_mean_is_weighted_by_time():
    samples = [sample(0, 100), sample(1, 100), sample(1.001, 0), sample(3.001, 0)]
    assert sampling.mean_over_time(samples, "rss") == pytest.approx(33.3, abs=0.1)
    assert sampling.mean_over_time([], "rss") is None
    assert sampling.at_the_end([sample(0, 5), sample(1, 90), sample(1.01, 80), sample(1.02, 3)]) == 90


def test_quiet():
    quiet, cpu = Quiet(), 0.0
    for i in range(300):
        cpu += 0.01 if i < 100 else 0.0
        quiet.note(i / 100, cpu, 1)
    assert 0.9 < quiet.since < 1.3
    for i in range(300, 400):
        quiet.note(i / 100, cpu + (i - 300) / 100, 1)
    assert quiet.since is None


@pytest.mark.parametrize("value, text", [(0, "0 B"), (1023, "1023 B"), (1536, "1.50 KiB"), (48 * MIB, "48.0 MiB"),
                                         (590 * MIB, "590 MiB"), (3 << 30, "3.00 GiB"), (None, "-")])
def test_memory(value, text):
    assert say.memory(value) == text


@pytest.mark.parametrize("text, value", [("64G", 64 << 30), ("1536m", 1536 << 20), ("2TiB", 2 << 40), ("0.5G", 1 << 29), ("77", 77)])
def test_parse_memory(text, value):
    assert say.parse_memory(text) == value


@pytest.mark.parametrize("text", ["", "G", "-1G", "0", "1X", "1e99T", "nan", "inf"])
def test_parse_memory_refuses(text):
    with pytest.raises(say.CliError):
        say.parse_memory(text)


def test_colour(monkeypatch):
    terminal, file = types.SimpleNamespace(isatty=lambda: True), types.SimpleNamespace(isatty=lambda: False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert "\x1b" in say.colour("x", "1", terminal) and say.colour("x", "1", file) == "x"
    monkeypatch.setenv("NO_COLOR", "1")
    assert say.colour("x", "1", terminal) == "x"


@pytest.mark.parametrize("arguments, expected", [
    (["-I", "x.py"], (True, False)), (["-uE"], (True, False)), (["x.py", "-I"], (False, False)), (["-c", "-I"], (False, False)),
    (["-W", "ignore", "-I"], (True, False)), (["-Xdev", "-I"], (True, True)), (["-I", "-X", "dev=1"], (True, True)),
    (["-IX", "device"], (True, False)), (["-mIE"], (False, False)), (["-X"], (False, False)), ([], (False, False))])
def test_options_of_the_interpreter(arguments, expected):
    assert interpreter.own_options(arguments) == expected


@pytest.mark.parametrize("name, expected", [("python3.11", True), ("python", True), ("python3.13t", True), ("python3-config", False),
                                            ("pythonw", False), ("ipython", False)])
def test_python_names(name, expected):
    assert interpreter.is_python("/usr/bin/" + name) is expected
    assert interpreter.is_python(PYTHON)


# --- verdicts ---------------------------------------------------------------------------------

def run(peak, mean, wall, heap=None, spread=0.0, **more):
    samples = [sample(0.0, peak * MIB), sample(wall, mean * MIB)]
    return {"wall_s": wall, "cpu_s": wall, "peak_rss": peak * MIB, "mean_rss": mean * MIB, "last_rss": mean * MIB,
            "heap_share": heap, "idle": {}, "stdout_hash": "a", "stdout_bytes": 3, "ended": "exit code 0", "active": True,
            "why_not": None, "notes": [], "samples": samples, **more}


@pytest.mark.parametrize("stock, ours, expected", [
    (run(500, 400, 10), run(500, 160, 10.1, 0.9), "lowtide saves 60 % of mean memory at the same speed; the peak is live"),
    (run(500, 400, 10), run(300, 160, 11, 0.9), "saves 60 % of mean and 40 % of peak memory, 10 % slower"),
    (run(500, 400, 10), run(500, 398, 10, 0.06), "No benefit: 94 % of RSS is not heap"),
    (run(500, 400, 10), run(500, 398, 10, 0.9), "No benefit: the job peaks in live memory"),
    (run(500, 490, 10), run(500, 490, 8, 0.9), "No benefit: the job's memory is live nearly all the time, 20 % faster"),
    (run(9, 9, 1), run(10, 10, 1), "No benefit: the job is small"),
    (run(100, 90, 10), run(150, 140, 10, 0.9), "costs 56 % more mean memory"),
    (run(500, 400, 10), run(500, 400, 10, active=False, why_not="x: static"), "No benefit: lowtide is not active in x: static"),
])
def test_verdict(stock, ours, expected):
    runs = {"glibc": [stock], "lowtide": [ours]}
    all_figures = {name: figures.of_runs(found) for name, found in runs.items()}
    assert expected in " ".join(figures.verdict(all_figures, runs))


def test_above():
    runs = {"glibc": [run(100, 100, 10)], "lowtide": [run(120, 90, 10)]}
    found = figures.above({name: figures.of_runs(entry) for name, entry in runs.items()}, 1.1)
    assert found == ["peak RSS is 1.20 x glibc's"]


def test_a_difference_within_the_spread_is_none():
    runs = {"glibc": [run(500, 400, 10), run(500, 400, 14)], "lowtide": [run(500, 100, 11), run(500, 100, 14)]}
    all_figures = {name: figures.of_runs(entry) for name, entry in runs.items()}
    assert "at the same speed" in figures.verdict(all_figures, runs)[0]


# --- pictures ---------------------------------------------------------------------------------

@pytest.mark.parametrize("most, wanted, step", [(146, 5, 50), (10, 5, 2), (0.3, 5, 0.1), (1, 3, 0.5), (7e-3, 4, 2e-3)])
def test_ticks(most, wanted, step):
    assert chart.nice_step(most, wanted) == pytest.approx(step)


def test_thinning_keeps_peaks():
    points = [(i, 1) for i in range(100000)]
    points[54321] = (54321, 99)
    thin = chart.thin_out(points)
    assert len(thin) <= chart.MOST_POINTS + 4 and (54321, 99) in thin
    assert [t for t, _ in thin] == sorted(t for t, _ in thin)
