"""`lowtide size`: measured peaks, limits, and the packing of jobs."""
import json
import random
import time

import pytest
from conftest import PYTHON, call
from lowtide_cli import packing, say, size

MIB, GIB = say.MIB, say.GIB


def spiky(steps=packing.STEPS):
    """10 MiB, and for a sixth of the time 110."""
    return [(110 if 20 < i < 41 else 10) * MIB for i in range(steps)]


def test_a_real_job():
    job = "x = b'x' * (100 << 20); import time; time.sleep(.2); del x; time.sleep(.6)"
    done = call("size", "-n", "1", "--node", "10G", "--with", "glibc,lowtide", "--json", "--", PYTHON, "-c", job)
    assert done.code == 0, done.err
    found = json.loads(done.out)
    assert found["usable"] == 10 * GIB - 10 * GIB // 20
    for entry in found["allocators"].values():
        assert 100 * MIB < entry["peak_pss"] < 125 * MIB
        assert entry["ask"] % (16 * MIB) == 0 and entry["ask"] >= entry["peak_pss"] * 1.1
        assert entry["at_once"] == found["usable"] // entry["ask"]
        assert entry["spread"] > entry["at_once"]


def test_text():
    done = call("size", "-n", "1", "--node", "64G", "--nodes", "100x64G,10x256G", "--jobs", "50000", "--with", "lowtide", "--",
                PYTHON, "-c", "import time; time.sleep(.3)")
    assert done.code == 0
    for word in ("--mem=16M", "resources.limits.memory: 16Mi", "mem=16mb", "+ 10 %", "100 x 64.0 GiB", "a node crosses"):
        assert word in done.out, word


@pytest.mark.parametrize("arguments, text", [
    (["--node", "many", "--", "true"], "not an amount of memory"),
    (["--nodes", "0x64G", "--", "true"], "NUMBERxSIZE"),
    (["--jobs", "5", "--", "true"], "needs --nodes"),
    (["--margin", "-1", "--", "true"], "--margin"),
    ([], "no command"),
])
def test_one_line(arguments, text):
    done = call("size", *arguments)
    assert done.code == 2 and len(done.err.splitlines()) == 1 and text in done.err


# --- arithmetic -------------------------------------------------------------------------------

def test_profile_keeps_the_peak():
    points = [(i / 100, 5) for i in range(1000)]
    points[333] = (3.33, 900)
    found = packing.profile(points)
    assert len(found) == packing.STEPS and max(found) == 900 and min(found) == 5
    assert found.count(900) <= 2
    assert packing.profile([(0.0, 7)]) == [7] * packing.STEPS


def test_sum_of_shifted_profiles_is_exact():
    """Against the sum computed step by step."""
    profile, packer = spiky(), packing.Packer([spiky()], seed=5)
    counts = packing.draw_counts(50, packing.STEPS, random.Random(5))
    plain = max(sum(count * profile[(t - start) % packing.STEPS] for start, count in enumerate(counts))
                for t in range(packing.STEPS))
    assert packer.node_peak(50) == plain


def test_packing_is_between_all_at_once_and_the_mean():
    packer, limit = packing.Packer([spiky(), spiky()]), 64 * GIB
    at_once, spread = packer.safe(limit), packer.fits(limit, 0.01)
    mean = sum(spiky()) / packing.STEPS
    assert at_once == limit // (110 * MIB) and 2 * at_once < spread < limit / mean
    assert packer.crossing(spread, limit, 2000) < 0.03 < packer.crossing(int(spread * 1.1), limit, 500)


def test_flat_profiles_gain_nothing():
    packer = packing.Packer([[100 * MIB] * packing.STEPS])
    assert packer.fits(GIB, 0.01) == packer.safe(GIB) == 10
    assert packer.fits(50 * MIB, 0.01) == 0


def test_a_million_jobs_on_ten_thousand_nodes_take_seconds():
    packer = packing.Packer([spiky(), spiky(), spiky()])
    began = time.monotonic()
    assert 0 < packer.crossing(100, 4 * GIB, 10000) < 1
    assert time.monotonic() - began < 15


def test_nodes():
    assert size.parse_nodes("9000x64G, 2x1T,512M") == [(9000, 64 * GIB), (2, 1024 * GIB), (1, 512 * MIB)]
    assert packing.spread_jobs(300, [(1, GIB), (1, 2 * GIB)]) == [100, 200]
