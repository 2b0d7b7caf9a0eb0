"""numpy and pandas: arrays that grow and shrink, strings as objects, group, join, sort."""
import hashlib
import io

import numpy
import pandas


def digest(array):
    return hashlib.sha256(numpy.ascontiguousarray(array).tobytes()).hexdigest()[:16]


def arrays():
    rng = numpy.random.default_rng(1)
    matrix = rng.integers(0, 1000, (1500, 1500))
    print("matrix", digest(matrix), digest(matrix.T @ matrix[:, :50]), digest(numpy.sort(matrix, axis=1)))
    parts = [numpy.arange(n, dtype="i8") * n for n in range(1, 3000)]
    print("parts", digest(numpy.concatenate(parts)))
    grown = numpy.zeros(10)
    for n in range(1, 200):
        grown = numpy.resize(grown, n * 5000) + n
    print("grown", digest(grown), digest(numpy.unique(matrix)))
    print("transformed", digest(numpy.fft.fft(grown[:4096]).real.round(3)))
    print("solved", numpy.linalg.solve(numpy.eye(300) * 2, numpy.ones(300)).sum())


def frames():
    n = 200_000
    frame = pandas.DataFrame({
        "id": numpy.arange(n),
        "key": [f"key{i * 7919 % 997}" for i in range(n)],
        "value": (numpy.arange(n) * 31 % 1000) / 8,
    })
    grouped = frame.groupby("key")["value"].agg(["sum", "mean", "count"])
    print("grouped", digest(grouped.to_numpy()), len(grouped))
    joined = frame.merge(grouped.reset_index(), on="key").sort_values(["key", "id"])
    print("joined", joined.shape, digest(joined["id"].to_numpy()))
    text = frame.head(50_000).to_csv(index=False)
    again = pandas.read_csv(io.StringIO(text))
    print("csv", hashlib.sha256(text.encode()).hexdigest()[:16], again.equals(frame.head(50_000)))
    frame["month"] = pandas.date_range("2020-01-01", periods=n, freq="min").month
    pivot = frame.pivot_table(index="month", columns=frame["id"] % 5, values="value", aggfunc="sum")
    print("pivot", digest(pivot.to_numpy()))
    print("upper", digest(frame["key"].str.upper().str.len().to_numpy()))


for _ in range(2):
    arrays()
    frames()
