"""The verdict of "leak or allocator?" on rows of samples that were made up. On the path: scripts."""
from cases import MIB
from lowtide_cli import verdict


def verdicts():
    """[(line, is well)]."""
    def row(rss, live=0, pages_=None, retained=0, n=12):
        return [verdict.Sample(i, *(int(f(i) * MIB) for f in (live_of(live), live_of(live if pages_ is None else pages_), live_of(retained), live_of(rss))))
                for i in range(n)]

    def live_of(value):
        return value if callable(value) else lambda i: value
    table = (
        ("a leak", row(lambda i: 100 + i, live=lambda i: 50 + i), "program"),
        ("retained", row(lambda i: 100 + i, live=50, retained=lambda i: i), "allocator"),
        ("survivors", row(lambda i: 100 + i, live=50, pages_=lambda i: 50 + i), "fragmentation"),
        ("mmap", row(lambda i: 100 + i, live=50), "outside"),
        ("nothing", row(100, live=50), "steady"),
        ("live rises into what was retained", row(100, live=lambda i: 50 + i, retained=lambda i: 20 - i), "steady"),
        ("a peak that passed", row(lambda i: 100 + 50 * (i == 5), live=lambda i: 50 + 50 * (i == 5)), "steady"),
        ("a sixty-fourth is noise", row(lambda i: 10000 + i), "steady"),
        ("falls", row(lambda i: 100 - i, live=lambda i: 50 - i), "falling"),
        ("two samples", row(lambda i: 100 + i, n=2), "unknown"),
        ("no time passed", [verdict.Sample(0, 0, 0, 0, i * MIB) for i in range(9)], "unknown"),
    )
    return [(f"verdict, arithmetic: {name}", verdict.judge(samples).word == wanted) for name, samples, wanted in table]
