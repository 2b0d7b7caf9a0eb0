"""The kernel's files about processes. What is gone or forbidden is None, never an exception,
unless the function says so. ROOT is elsewhere in tests."""
import os

ROOT = "/proc"
PAGE = os.sysconf("SC_PAGE_SIZE")
TICK = os.sysconf("SC_CLK_TCK")
ROLLUP_KEYS = {b"Rss": "rss", b"Pss": "pss", b"Private_Clean": "uss", b"Private_Dirty": "uss", b"Anonymous": "anon",
               b"Swap": "swap"}
ROLLUP_FIELDS = ("rss", "pss", "uss", "anon", "swap")


def read(path):
    """Bytes of a file below ROOT."""
    try:
        with open(f"{ROOT}/{path}", "rb") as file:
            return file.read()
    except OSError:
        return None


def read_text(path):
    data = read(path)
    return None if data is None else data.decode(errors="replace")


class Stat:
    """The fields of /proc/PID/stat that are used here."""
    __slots__ = ("state", "parent", "cpu", "started")

    def __init__(self, text):
        fields = text[text.rindex(b")") + 2:].split()
        self.state = fields[0].decode()
        self.parent = int(fields[1])
        self.cpu = (int(fields[11]) + int(fields[12])) / TICK
        self.started = int(fields[19])


def stat(pid):
    text = read(f"{pid}/stat")
    try:
        return Stat(text) if text else None
    except (ValueError, IndexError):
        return None


def resident(pid):
    """Bytes, by the kernel's own counter: cheap, no page is looked at."""
    text = read(f"{pid}/statm")
    try:
        return int(text.split()[1]) * PAGE if text else None
    except (ValueError, IndexError):
        return None


def rollup(pid):
    """{rss, pss, uss, anon, swap} in bytes; the kernel walks the page tables for it."""
    text = read(f"{pid}/smaps_rollup")
    if not text:
        return None
    found = dict.fromkeys(ROLLUP_FIELDS, 0)
    for line in text.splitlines():
        key, _, rest = line.partition(b":")
        name = ROLLUP_KEYS.get(key)
        if name:
            found[name] += int(rest.split()[0]) * 1024
    return found


def peak_resident(pid):
    """VmHWM: the largest resident set since exec."""
    text = read(f"{pid}/status")
    if text:
        for line in text.splitlines():
            if line.startswith(b"VmHWM:"):
                return int(line.split()[1]) * 1024
    return None


def lowtide_heap(pid):
    """Resident bytes of the mappings that are lowtide's: anonymous, and marked as never to have
    huge pages, which hardly anybody else does. Costs as much as smaps does."""
    text = read(f"{pid}/smaps")
    if not text:
        return None
    total = rss = 0
    anonymous = False
    for line in text.splitlines():
        if line.startswith(b"Rss:"):
            rss = int(line.split()[1]) * 1024
        elif line.startswith(b"VmFlags:"):
            total += rss if anonymous and b" nh" in line else 0
        elif line[:1] in b"0123456789abcdef" and b"-" in line[:24]:
            anonymous = len(line.split()) < 6
    return total


def mapped_files(pid):
    """The set of files a process has mapped; OSError when it is gone."""
    with open(f"{ROOT}/{pid}/maps", "rb") as file:
        lines = file.read().splitlines()
    return {line.split(None, 5)[5].decode(errors="replace") for line in lines if b" /" in line}


def pids():
    return {int(name) for name in os.listdir(ROOT) if name.isdigit()}


def is_readable():
    """Whether /proc tells of processes at all."""
    return stat(os.getpid()) is not None or stat("self") is not None


def key_values(path):
    """A file like meminfo or status: {name: text}."""
    text = read_text(path) or ""
    return {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in text.splitlines()) if value}


def meminfo():
    """{name: bytes}"""
    found = {}
    for key, value in key_values("meminfo").items():
        words = value.split()
        if words and words[0].isdigit():
            found[key] = int(words[0]) * (1024 if words[-1] == "kB" else 1)
    return found
