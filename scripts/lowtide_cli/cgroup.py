"""The memory limits of this process's control groups, of every level, version 1 and 2."""
import os

from . import procfs

UNLIMITED = 1 << 60     # version 1 says "no limit" with a number of this size


class Level:
    """`path` within the hierarchy; `limit` and `soft` (memory.high) in bytes or None."""

    def __init__(self, directory, path, is_v2):
        self.path = path
        self.limit = read_bytes(directory, "memory.max" if is_v2 else "memory.limit_in_bytes")
        self.soft = read_bytes(directory, "memory.high") if is_v2 else None
        self.used = read_bytes(directory, "memory.current" if is_v2 else "memory.usage_in_bytes")


def read_bytes(directory, name):
    try:
        with open(os.path.join(directory, name)) as file:
            text = file.read().strip()
    except OSError:
        return None
    return int(text) if text.isdigit() and int(text) < UNLIMITED else None


def mounts():
    """(mount point, root within the hierarchy, is version 2) of the memory hierarchies."""
    for line in (procfs.read_text("self/mountinfo") or "").splitlines():
        before, _, after = line.partition(" - ")
        fields, kind = before.split(), after.split()
        if len(fields) > 4 and kind and kind[0] == "cgroup2":
            yield fields[4], fields[3], True
        elif len(fields) > 4 and len(kind) > 2 and kind[0] == "cgroup" and "memory" in kind[2].split(","):
            yield fields[4], fields[3], False


def own_paths():
    """(path in version 2, path in version 1's memory hierarchy), None where there is none."""
    unified = memory = None
    for line in (procfs.read_text("self/cgroup") or "").splitlines():
        number, controllers, path = (line.split(":", 2) + ["", ""])[:3]
        if number == "0":
            unified = path
        elif "memory" in controllers.split(","):
            memory = path
    return unified, memory


def levels():
    """[Level] from the process's own group up to the root, of the hierarchy that has memory."""
    unified, memory = own_paths()
    found = []
    for point, root, is_v2 in mounts():
        path = unified if is_v2 else memory
        if path is None or (is_v2 and memory is not None):
            continue
        inside = os.path.relpath(path, root) if path.startswith(root) else path.strip("/")
        inside = "" if inside == "." else inside
        while True:
            directory = os.path.join(point, inside)
            if os.path.isdir(directory):
                found.append(Level(directory, "/" + inside, is_v2))
            if not inside:
                break
            inside = os.path.dirname(inside)
    return found
