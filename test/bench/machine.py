"""The machine that measured."""
import datetime
import os
import pathlib
import platform
import subprocess

import allocators


def value_of(file, key):
    """The first value of `key: value` in a file of the kernel's."""
    try:
        for line in pathlib.Path(file).read_text().splitlines():
            name, _, value = line.partition(":")
            if name.strip() == key:
                return value.strip()
    except OSError:
        pass
    return "unknown"


def transparent_huge_pages():
    try:
        return pathlib.Path("/sys/kernel/mm/transparent_hugepage/enabled").read_text().strip()
    except OSError:
        return "unknown"


def machine():
    python = subprocess.run([allocators.PYTHON, "-V"], stdout=subprocess.PIPE, text=True).stdout.strip()
    return {
        "date": datetime.datetime.now().isoformat(timespec="seconds"),
        "cores": os.cpu_count(),
        "processor": value_of("/proc/cpuinfo", "model name"),
        "memory": value_of("/proc/meminfo", "MemTotal"),
        "kernel": platform.release(),
        "libc": " ".join(platform.libc_ver()),
        "python": python,
        "transparent_huge_pages": transparent_huge_pages(),
        "load_at_start": os.getloadavg()[0],
        "allocators": allocators.find_allocators(),
        "lowtide_options": {key: value for key, value in os.environ.items()
                            if key.startswith("LOWTIDE_") and not key.startswith(("LOWTIDE_BENCH_", "LOWTIDE_LIB"))},
    }


def lines(found):
    """What machine() found, in words."""
    yield (f"{found['cores']} cores ({found['processor']}), {found['memory']}, kernel {found['kernel']}, "
           f"{found['libc']}, {found['python']}; {found['date']}.")
    if found["lowtide_options"]:
        yield "Options: " + " ".join(f"{key}={value}" for key, value in found["lowtide_options"].items())
