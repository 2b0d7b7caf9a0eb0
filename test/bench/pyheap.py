"""A Python heap after its peak: pyheap.py sparse|mixed|address-space

sparse          600,000 bytes objects of 40 bytes, one in a thousand kept
mixed           3,000,000 mixed objects, all dropped
address-space   what the bare interpreter maps

Prints key=value lines as the C programs beside it do.
"""
import ctypes
import gc
import sys
import time


def kernel_bytes(file, key):
    """A value that the kernel prints in kB."""
    with open(f"/proc/self/{file}") as lines:
        for line in lines:
            if line.startswith(key + ":"):
                return int(line.split()[1]) * 1024
    raise KeyError(key)


def resident_bytes():
    return kernel_bytes("smaps_rollup", "Rss")


def make_sparse():
    return [bytes(40) for _ in range(600_000)]


def make_mixed():
    kinds = (
        lambda i: (i, str(i)),
        lambda i: f"a string, number {i}",
        lambda i: {"id": i},
        lambda i: b"%d" % i * (1 + i % 9),
        lambda i: [i, i + 1],
    )
    return [kinds[i % 5](i) for i in range(3_000_000)]


def measure(make, keep_one_in):
    base = resident_bytes()
    start = time.perf_counter()
    objects = make()
    build_s = time.perf_counter() - start
    peak = resident_bytes() - base
    start = time.perf_counter()
    kept = objects[::keep_one_in] if keep_one_in else []
    del objects
    gc.collect()
    drop_s = time.perf_counter() - start
    at_once = resident_bytes() - base
    time.sleep(0.3)
    asleep = resident_bytes() - base
    ctypes.CDLL(None).malloc_trim(0)
    trimmed = resident_bytes() - base
    return dict(kept=len(kept), peak_bytes=peak, build_s=build_s, drop_s=drop_s,
                at_once_bytes=at_once, asleep_bytes=asleep, trimmed_bytes=trimmed)


def main():
    job = sys.argv[1]
    if job == "sparse":
        figures = measure(make_sparse, 1000)
    elif job == "mixed":
        figures = measure(make_mixed, 0)
    else:
        figures = dict(peak_bytes=kernel_bytes("status", "VmPeak"),
                       size_bytes=kernel_bytes("status", "VmSize"))
    for key, value in figures.items():
        print(f"{key}={value}")


main()
