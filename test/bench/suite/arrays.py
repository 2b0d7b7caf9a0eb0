"""Jobs in Python whose memory is in arrays: arrays.py numpy|pandas SCALE

They work in phases, each of which drops what the one before it made. Prints key=value lines as jobs.py does.
"""
import sys


def array_phases(scaled):
    import numpy
    source = numpy.random.default_rng(1)
    total = 0.0
    for phase in range(scaled(4)):
        matrix = source.random((1500, 1500))
        total += float((matrix * 2 + matrix.T - matrix.mean(axis=0)).sum())
        small = [source.random(source.integers(1, 200)) for _ in range(30_000)]
        total += float(numpy.concatenate(small[::3]).sum()) + len(small)
        del matrix
        parts = [numpy.sort(source.random(50_000 * (1 + i % 8))) for i in range(20)]
        total += float(sum(part[len(part) // 2] for part in parts))
        long = numpy.zeros(4_000_000 + 100_000 * phase)
        long[::64] = 1
        total += float(numpy.cumsum(long)[-1])
    return int(total)


def table_phases(scaled):
    import numpy
    import pandas
    source = numpy.random.default_rng(2)
    total = 0.0
    for _ in range(scaled(5)):
        rows = 200_000
        table = pandas.DataFrame({"key": source.integers(0, 2000, rows), "value": source.random(rows),
                                  "name": source.choice(["north", "south", "east", "west"], rows)})
        grouped = table.groupby(["key", "name"])["value"].agg(["sum", "mean", "max"]).reset_index()
        joined = table.merge(grouped, on=["key", "name"])
        total += float(joined.sort_values("value")["sum"].head(1000).sum())
        texts = joined["name"] + "-" + joined["key"].astype(str)
        total += texts.str.len().sum() + texts.nunique()
    return int(total)


JOBS = {"numpy": array_phases, "pandas": table_phases}


def main():
    job, scale = JOBS[sys.argv[1]], int(sys.argv[2])
    print(f"check={job(lambda full: max(1, full * scale // 100))}")
    print(f"pymalloc_blocks={sys.getallocatedblocks()}")


main()
