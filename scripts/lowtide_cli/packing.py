"""How many jobs fit on a node when their peaks do not coincide; pure arithmetic.

A job's memory over time is a *profile*: STEPS equal steps, each the largest value in it. On a node
k jobs run all the time, each at a random point of its course: what the node needs at a step is the
sum of k profiles, each shifted by a random number of steps, around a circle. With the number of
jobs that begin at each step as `counts`, that sum is the circular convolution of counts and
profile. It is computed as one product of two large integers whose 64-bit digits are the two lists
(Kronecker's substitution), which Python multiplies in C: some 30 us a node, so that 10,000 nodes
with 1,000,000 jobs take seconds.
"""
import math
import random
from array import array
from operator import add

STEPS = 128
DIGIT_BYTES = 8
MOST_DRAWN = 16 * STEPS     # beyond, the number of jobs that begin at a step is drawn as a normal one


def profile(points, steps=STEPS):
    """The largest value in each of `steps` parts of [(time, bytes)]; a part without a point has the
    larger of its neighbours in time."""
    begin, end = points[0][0], points[-1][0]
    if end <= begin:
        return [max(count for _, count in points)] * steps
    found = [0] * steps
    place = 0
    for (t, count), (later, next_count) in zip(points, points[1:]):
        first = int((t - begin) / (end - begin) * steps)
        last = min(int((later - begin) / (end - begin) * steps), steps - 1)
        for place in range(first, last + 1):
            found[place] = max(found[place], count, next_count)
    return [int(value) for value in found]


def as_integer(values):
    return int.from_bytes(array("Q", values).tobytes(), "little")


def draw_counts(jobs, steps, rng):
    """How many of the jobs begin at each step."""
    counts = array("Q", bytes(DIGIT_BYTES * steps))
    if jobs <= MOST_DRAWN:
        for start in rng.choices(range(steps), k=jobs):
            counts[start] += 1
        return counts
    mean = jobs / steps
    for i in range(steps):
        counts[i] = max(0, round(rng.gauss(mean, math.sqrt(mean))))
    return counts


class Packer:
    """For one job: its profiles (one a run, of which each job takes one at random)."""

    def __init__(self, profiles, seed=1):
        self.profiles = profiles
        self.steps = len(profiles[0])
        self.integers = [as_integer(values) for values in profiles]
        self.peak = max(max(values) for values in profiles)
        self.rng = random.Random(seed)

    def node_peak(self, jobs):
        """The most that one node with so many jobs needs at any step of a job's course."""
        if jobs <= 0:
            return 0
        if jobs * self.peak >= 1 << 62:
            return jobs * self.peak
        total, left = 0, jobs
        for i, integer in enumerate(self.integers):
            part = self.part(left, len(self.integers) - i)
            left -= part
            if part:
                total += int.from_bytes(draw_counts(part, self.steps, self.rng).tobytes(), "little") * integer
        digits = memoryview(total.to_bytes(2 * self.steps * DIGIT_BYTES, "little")).cast("Q")
        return max(map(add, digits[:self.steps], digits[self.steps:]))

    def part(self, left, shares):
        """How many of the jobs left take the next of so many profiles."""
        if shares == 1:
            return left
        spread = math.sqrt(left * (shares - 1)) / shares
        return min(left, max(0, round(self.rng.gauss(left / shares, spread))))

    def crossing(self, jobs, limit, nodes):
        """The part of so many nodes that need more than the limit at some step."""
        if jobs * self.peak <= limit:
            return 0.0
        return sum(self.node_peak(jobs) > limit for _ in range(nodes)) / nodes

    def is_safe_enough(self, jobs, limit, allowed, nodes):
        """The same question, but given up as soon as too many nodes have crossed."""
        left = allowed * nodes
        for _ in range(nodes):
            left -= self.node_peak(jobs) > limit
            if left < 0:
                return False
        return True

    def safe(self, limit):
        """Jobs that fit even when all peak at once."""
        return int(limit // self.peak) if self.peak else 0

    def fits(self, limit, allowed, nodes=1000):
        """The largest number of jobs with which at most `allowed` of the nodes cross the limit."""
        least = self.safe(limit)
        mean = min(sum(values) / len(values) for values in self.profiles)
        most = max(least + 1, int(limit / max(mean, 1)) + 1)
        while most - least > 1:
            middle = (least + most) // 2
            if self.is_safe_enough(middle, limit, allowed, nodes):
                least = middle
            else:
                most = middle
        return least


def spread_jobs(jobs, nodes):
    """Jobs on each of [(number, bytes)] kinds of nodes, in proportion to their memory; whole jobs."""
    total = sum(number * size for number, size in nodes)
    return [jobs * size / total for _, size in nodes]
