"""The groups of figures.py that are about memory."""
import functools

from allocators import HERE, PYTHON, program, python_environments
from compare import (Group, after_rows, compare, compare_program, measure_once, python_columns, ratio_row, row, scaled)
from tables import COUNT, MEGABYTES, MEMORY, MILLISECONDS, PLAIN, SECONDS, Cell


# --- peaks ------------------------------------------------------------------------------------

def live_of(results):
    live = next((found["live_bytes"] for found in results.values() if found), 0)
    return f"{live / 1e6:.1f} MB live"


def peak_rows(name, count, what, percents):
    for percent in percents:
        results = compare_program(name, percent, scaled(count))
        label = f"{scaled(count):,} {what}, {percent} % freed ({live_of(results)})"
        yield row(f"{label}: peak", results, "peak_bytes", MEMORY)
        yield from after_rows(label, results)
        yield row(f"{label}: allocate", results, "alloc_s", SECONDS)
        yield row(f"{label}: free", results, "free_s", SECONDS)


def objects():
    return peak_rows("objects", 2_000_000, "objects of 16..512 B", (100, 99, 90))


def buffers():
    return peak_rows("buffers", 20_000, "buffers of 1..64 KiB", (90, 100))


def ring():
    results = compare_program("ring", 8, scaled(200_000))
    yield from after_rows("8 threads, freed by the next, all ended", results)
    yield row("time", results, "run_s", SECONDS)


def rounds():
    for what, label, count in ((1, "1 MB of small objects", 3000), (10, "10 MB", 1000),
                               (100, "100 MB", 100), ("buffers", "64 buffers of 1..16 MB", 100)):
        results = compare_program("rounds", what, scaled(count, 6))
        yield row(f"{label}: a round, ms", results, "round_ms", Cell("ms", "{:.3f}".format))
        yield row(f"{label}: minor faults of a round", results, "round_faults", COUNT)
        yield from after_rows(label, results)


def threads():
    for count in (16, 256):
        results = compare_program("threads", count)
        yield row(f"{count} threads alive: above start", results, "alive_bytes", MEMORY)
        yield row(f"{count} threads alive: whole process", results, "total_bytes", MEMORY)


# --- packing, and what the allocators say of it -----------------------------------------------

TURNOVERS = (10, 30, 100)
PACKING = {
    "random": "sizes of 16..512 B, any block goes",
    "lognormal": "log-normal sizes and lifetimes",
    "shifting": "sizes from a window that moves through 16..512 B, any block goes",
}


@functools.lru_cache(None)
def packing_results(kind):
    """Smaller in the number of turnovers: of less memory, what an allocator holds in any case would be a large part."""
    return compare_program("packing", kind, 64, scaled(max(TURNOVERS), min(TURNOVERS)))


def packing():
    for kind, what in PACKING.items():
        for turnover in TURNOVERS:
            yield row(f"{what}: after {turnover} turnovers", packing_results(kind), f"ratio_{turnover}", PLAIN)


def statistics():
    for kind, what in PACKING.items():
        results = packing_results(kind)
        yield row(f"{what}: live, as the program counts", results, "live_bytes", MEGABYTES)
        for word in ("allocated", "active", "resident", "retained"):
            yield row(f"{kind}: {word}", results, f"said_{word}_bytes", MEGABYTES)
        yield row(f"{kind}: RSS above the start", results, "rss_bytes", MEGABYTES)
        yield ratio_row(f"{kind}: allocated / live", results, "said_allocated_bytes", "live_bytes", PLAIN)
        yield ratio_row(f"{kind}: active / allocated", results, "said_active_bytes", "said_allocated_bytes", PLAIN)
        yield ratio_row(f"{kind}: RSS / active", results, "rss_bytes", "said_active_bytes", PLAIN)


STATISTICS_NOTE = """\
At the end of the programs of the group packing. *Allocated* is what the allocator takes the program to hold (glibc and jemalloc:
and what waits in thread caches), *active* the pages that hold some of it, *resident* what it takes to be in memory, *retained*
address space it keeps without memory. jemalloc: mallctl `stats.allocated`, `stats.active`, `stats.resident`, `stats.retained`.
tcmalloc: `generic.current_allocated_bytes`, `generic.heap_size` less `tcmalloc.pageheap_free_bytes` and
`tcmalloc.pageheap_unmapped_bytes`, the heap less the unmapped, the unmapped. glibc and lowtide: mallinfo2 `uordblks + hblkhd`,
`arena - keepcost + hblkhd`, `arena + hblkhd`, where keepcost is the top of glibc's main heap and all free pages of lowtide's.
mimalloc 2.0 tells what it has committed (`mi_process_info`), here as resident, and no more. Live bytes and RSS are the program's
own count and the kernel's (smaps_rollup)."""


# --- fork -------------------------------------------------------------------------------------

def fork_rows(label, results, work, key):
    yield row(f"{label}: PSS of 8 workers, MB", results, "workers_pss_bytes", MEGABYTES)
    yield row(f"{label}: PSS of the parent, MB", results, "parent_pss_bytes", MEGABYTES)
    yield row(f"{label}: a fork", results, "fork_s", MILLISECONDS)
    yield row(f"{label}: {work}", results, key, MILLISECONDS)


def fork():
    blocks, objects_ = scaled(400_000), scaled(200_000)
    results = compare_program("forked", 8, blocks)
    yield from fork_rows(f"C, {blocks:,} blocks of 16..512 B ({live_of(results)}), each worker frees a random half", results,
                         "the frees of a worker", "free_s")
    results = compare("pyforked", python_environments(),
                      lambda env: measure_once([PYTHON, HERE / "pyforked.py", 8, objects_], env))
    yield from fork_rows(f"Python, {objects_:,} dicts, each worker replaces a random tenth", results,
                         "the replacements of a worker", "work_s")


# --- Python -----------------------------------------------------------------------------------

def python():
    for job, label in (("sparse", "600,000 bytes(40), 1 in 1,000 kept"),
                       ("mixed", "3,000,000 mixed objects, all dropped")):
        results = compare(f"python {job}", python_environments(),
                          lambda env: measure_once([PYTHON, HERE / "pyheap.py", job], env))
        yield row(f"{label}: peak", results, "peak_bytes", MEMORY)
        yield from after_rows(label, results)
        yield row(f"{label}: build", results, "build_s", SECONDS)
        yield row(f"{label}: drop", results, "drop_s", SECONDS)


def address_space():
    results = compare("address space", python_environments(),
                      lambda env: measure_once([PYTHON, HERE / "pyheap.py", "address-space"], env))
    yield row("bare interpreter: VmPeak", results, "peak_bytes", MEMORY)
    yield row("bare interpreter: VmSize", results, "size_bytes", MEMORY)


GROUPS = {
    "objects": Group("Small objects: resident MB (MiB) above the start", objects),
    "buffers": Group("Buffers: resident MB (MiB) above the start", buffers),
    "ring": Group("Freed by another thread: resident MB (MiB) above the start", ring),
    "rounds": Group("Built and dropped in a loop: from the third round on; resident MB (MiB) above the start", rounds),
    "threads": Group("Threads that used every size: resident MB (MiB)", threads),
    "packing": Group("Packing: RSS above the start as a multiple of 64 MB live", packing,
                     "A turnover is 64 MB allocated."),
    "statistics": Group("What the allocators say of themselves, MB", statistics, STATISTICS_NOTE),
    "fork": Group("Forked workers; peers in Python with PYTHONMALLOC=malloc", fork,
                  "PSS: a page that processes share counts for each by its part.", python_columns),
    "python": Group("Python heap: resident MB (MiB) above the start; peers with PYTHONMALLOC=malloc", python,
                    columns=python_columns),
    "address-space": Group("Python's address space, MB (MiB)", address_space, columns=python_columns),
}
