"""The allocators a job can be run under, and the environment each needs."""
import glob
import os
import re

from . import config, library, procfs, say

# As much as glibc can be told to give back, by its manual: one arena, and thresholds that stay.
TUNED = {"MALLOC_ARENA_MAX": "1", "MALLOC_TRIM_THRESHOLD_": "131072", "MALLOC_MMAP_THRESHOLD_": "131072",
         "MALLOC_TOP_PAD_": "0"}
PEERS = {
    "jemalloc": ("libjemalloc.so.2", "libjemalloc.so"),
    "mimalloc": ("libmimalloc.so.*", "libmimalloc.so"),
    "tcmalloc": ("libtcmalloc_minimal.so.4", "libtcmalloc_minimal.so", "libtcmalloc.so.*"),
}
NAMES = ("glibc", "glibc-tuned", *PEERS, "lowtide")
STOCK, OURS = "glibc", "lowtide"
OTHERS = re.compile(r"lib(lowtide|jemalloc|mimalloc|tcmalloc|snmalloc|hardened_malloc|rpmalloc)")


def find_peer(name):
    """The newest library of that name where distributions and `make install` put them, or None."""
    places = ["/usr/local/lib", "/usr/lib64", "/usr/lib", *sorted(glob.glob("/usr/lib/*-linux-gnu"))]
    for pattern in PEERS[name]:
        found = [path for place in places for path in glob.glob(os.path.join(place, pattern))]
        if found:
            return os.path.realpath(sorted(found)[-1])
    return None


def base_environment():
    """The user's, without the allocator that may be preloaded into this command; what else is
    preloaded stays."""
    kept = dict(os.environ)
    others = [item for item in library.preload_list(kept.pop("LD_PRELOAD", "")) if not OTHERS.search(item)]
    if others:
        kept["LD_PRELOAD"] = " ".join(others)
    return kept


class Allocator:
    """`preload` is what a process must have mapped when it is active; None for glibc."""

    def __init__(self, name, preload, environment):
        self.name, self.preload, self.environment = name, preload, environment


def make(name):
    environment = base_environment()
    if name in PEERS:
        path = find_peer(name)
        if not path:
            return None
        return Allocator(name, path, library.with_preload(environment, path))
    if name == OURS:
        path = library.find()
        known = [row[0] for row in library.option_table(path)] if config.any_exists() else []
        environment = config.apply(environment, known)
        environment.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
        return Allocator(name, path, library.with_preload(environment, path))
    if name == "glibc-tuned":
        environment.update(TUNED)
    return Allocator(name, None, environment)


def choose(text, tell):
    """The allocators of a list like `glibc,lowtide`, or of `all`; those that are not installed are
    told and left out."""
    wanted = NAMES if text == "all" else [name.strip() for name in text.split(",") if name.strip()]
    unknown = [name for name in wanted if name not in NAMES]
    if unknown or not wanted:
        raise say.CliError(f"--with {text}: give some of {', '.join(NAMES)}, or all", say.USAGE)
    found = []
    for name in dict.fromkeys(wanted):
        allocator = make(name)
        if allocator:
            found.append(allocator)
        else:
            tell(f"{name} is not installed here, and left out")
    if not found:
        raise say.CliError("none of these allocators is installed here")
    return found


def glibc_version():
    try:
        return os.confstr("CS_GNU_LIBC_VERSION") or "glibc"
    except (OSError, ValueError):
        return "another libc"


def describe_machine():
    """[(what, text)] of what a reader of results needs to know."""
    cpu = procfs.key_values("cpuinfo").get("model name", os.uname().machine)
    total = procfs.meminfo().get("MemTotal")
    system = "Linux"
    try:
        with open("/etc/os-release") as file:
            system = re.search(r'^PRETTY_NAME="?([^"\n]*)', file.read(), re.M).group(1)
    except (OSError, AttributeError):
        pass
    cores = len(os.sched_getaffinity(0))
    return [("cores", f"{cores} x {cpu}"), ("memory", say.memory(total)), ("system", system),
            ("kernel", os.uname().release), ("libc", glibc_version()), ("huge pages", huge_pages())]


def huge_pages():
    try:
        with open("/sys/kernel/mm/transparent_hugepage/enabled") as file:
            return re.search(r"\[(\w+)\]", file.read()).group(1)
    except (OSError, AttributeError):
        return "unknown"
