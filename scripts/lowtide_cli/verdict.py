"""Leak or allocator? Why the RSS of a process rises, from a row of samples. Pure: no clock, no files.

RSS = live + fragments + retained + outside, where
  live       the program holds it: blocks that it did not free
  fragments  free blocks in pages that hold a block; no allocator can return those without moving blocks
  retained   whole pages that the allocator keeps for reuse
  outside    what does not come from malloc: mmap, stacks, files, code; lowtide's own tables
"""
from collections import namedtuple

Sample = namedtuple("Sample", "time_s live pages retained rss")   # bytes; pages = live pages: live + fragments

LEAST_SAMPLES = 3
# Less than this is no change: in bytes, and as a share of RSS.
NOISE_BYTES, NOISE_SHARE = 1 << 20, 1 / 64

PARTS = {
    "program": (lambda s: s.live, "the program holds more and more: look there"),
    "fragmentation": (lambda s: s.pages - s.live, "free blocks lie between live ones: the program's few survivors keep whole pages"),
    "allocator": (lambda s: s.retained, "the allocator retains more and more: lowtide trim gives it back, LOWTIDE_PROFILE=tight keeps less"),
    "outside": (lambda s: s.rss - s.pages - s.retained, "it does not come from malloc: mmap, stacks, files"),
}

Verdict = namedtuple("Verdict", "word text rss_per_s parts")  # parts: bytes by which each has grown


def mean(samples, part):
    return sum(map(part, samples)) / len(samples)


def grown(samples, part):
    """By how many bytes from the first third to the last: one peak in between does not count."""
    third = max(1, len(samples) // 3)
    return mean(samples[-third:], part) - mean(samples[:third], part)


def seconds(samples):
    """Between the middles of the thirds."""
    return grown(samples, lambda s: s.time_s)


def judge(samples):
    """The verdict; its word is unknown, steady, falling, or a part's name."""
    if len(samples) < LEAST_SAMPLES or seconds(samples) <= 0:
        return Verdict("unknown", "too few samples to tell", 0.0, {})
    rss, parts = grown(samples, lambda s: s.rss), {name: grown(samples, part) for name, (part, _) in PARTS.items()}
    rate, noise = rss / seconds(samples), max(NOISE_BYTES, NOISE_SHARE * mean(samples, lambda s: s.rss))
    if rss < -noise:
        return Verdict("falling", "RSS falls", rate, parts)
    if rss <= noise:
        return Verdict("steady", "RSS does not rise", rate, parts)
    word = max(parts, key=parts.get)
    return Verdict(word, f"RSS rises and so does this part: {PARTS[word][1]}", rate, parts)
