"""Memory control groups of our own below the one we are in, v1 or v2, and what they tell.

`find_parent` says where groups can be made, or raises NoGroups with the reason. Whoever makes a Group removes it;
`remove` ends what still runs in it. A group that a killed run left behind is removed by the next one.
"""
import os
import re
import signal
import time

PREFIX = "lowtide-pressure."


class NoGroups(Exception):
    pass


def read(*path):
    try:
        with open(os.path.join(*path)) as f:
            return f.read()
    except OSError:
        return ""


def write(text, *path):
    with open(os.path.join(*path), "w") as f:
        f.write(text)


def number(text, key=""):
    """Of a file that is a number, or of the line `key number` in one that is a table; None when it is not there."""
    found = re.search(rf"^{re.escape(key)} *(\d+)$", text, re.M)
    return int(found.group(1)) if found else None


def decode(path):
    return re.sub(r"\\([0-7]{3})", lambda m: chr(int(m.group(1), 8)), path)


def own_directories():
    """(version, mount point, own group's directory) for each hierarchy that may have the memory controller."""
    names = {}
    for line in read("/proc/self/cgroup").splitlines():
        _, controllers, name = line.split(":", 2)
        if not controllers or "memory" in controllers.split(","):
            names[2 if not controllers else 1] = name
    for line in read("/proc/self/mountinfo").splitlines():
        columns, _, rest = line.partition(" - ")
        kind, _, options = rest.split(" ", 2)
        version = {"cgroup": 1, "cgroup2": 2}.get(kind)
        if version not in names or (version == 1 and "memory" not in options.split(",")):
            continue
        root, point = map(decode, columns.split()[3:5])
        name = names[version]
        below = name if root == "/" else name[len(root):] if (name + "/").startswith(root + "/") else ""
        yield version, point, (point + below).rstrip("/")


def is_alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def sweep(parent):
    """What a run left that was killed. rmdir refuses a group that somebody uses."""
    for name in os.listdir(parent):
        if name.startswith(PREFIX) and name.split(".")[1].isdigit() and not is_alive(int(name.split(".")[1])):
            try:
                os.rmdir(os.path.join(parent, name))
            except OSError:
                pass


enabled = []


def enable(directory):
    """Asks v2 to give children of `directory` the memory controller; refused (EBUSY) while it has processes itself."""
    if "memory" not in read(directory, "cgroup.subtree_control").split():
        write("+memory", directory, "cgroup.subtree_control")
        enabled.append(directory)


def restore():
    """When all groups are removed: controllers are as they were."""
    while enabled:
        write("-memory", enabled.pop(), "cgroup.subtree_control")


def is_usable(version, directory):
    """Tries it: a group is made, must have a limit that can be set, and goes again. Returns "" or the reason."""
    trial = os.path.join(directory, f"{PREFIX}{os.getpid()}.trial")
    limit = os.path.join(trial, "memory.max" if version == 2 else "memory.limit_in_bytes")
    try:
        if version == 2:
            enable(directory)
        os.mkdir(trial)
    except OSError as e:
        return f"{e.strerror}: {directory}"
    try:
        with open(limit, "r+") as f:
            f.write(str(64 << 20))
        return ""
    except OSError as e:
        return f"{e.strerror}: {limit}"
    finally:
        os.rmdir(trial)


def find_parent():
    """(version, directory) below which groups with a memory limit can be made. In v2 our own group has processes, so
    its children cannot have controllers; a group above it may."""
    reasons = []
    for version, point, directory in own_directories():
        while directory.startswith(point):
            reason = is_usable(version, directory)
            if not reason:
                sweep(directory)
                return version, directory
            reasons.append(reason)
            if version == 1 or directory == point:
                break
            directory = os.path.dirname(directory)
    raise NoGroups(reasons[0] if reasons else "no memory controller is mounted")


def stalled_us():
    """How long tasks of this machine have waited for memory, ever."""
    found = re.search(r"^some .*total=(\d+)$", read("/proc/pressure/memory"), re.M)
    return int(found.group(1)) if found else 0


def room():
    """What the machine and the groups around us have left, in bytes."""
    left = [number(read("/proc/meminfo").replace(":", " ").replace(" kB", ""), "MemAvailable") * 1024]
    for version, point, directory in own_directories():
        limit, usage = (("memory.max", "memory.current") if version == 2 else
                        ("memory.limit_in_bytes", "memory.usage_in_bytes"))
        while directory.startswith(point):
            most, used = number(read(directory, limit)), number(read(directory, usage))
            if most is not None and used is not None:
                left.append(most - used)
            directory = os.path.dirname(directory)
    return min(left)


class Group:
    """One group. Without swap, so that what does not fit has nowhere to go."""
    made = 0

    def __init__(self, parent, limit_bytes=None):
        self.version, directory = parent
        Group.made += 1
        self.directory = os.path.join(directory, f"{PREFIX}{os.getpid()}.{Group.made}")
        os.mkdir(self.directory)
        if limit_bytes:
            self.set_limit(limit_bytes)

    def set_limit(self, limit_bytes):
        if self.version == 2:
            write(str(limit_bytes), self.directory, "memory.max")
            self.try_write("0", "memory.swap.max")
            return
        write(str(limit_bytes), self.directory, "memory.limit_in_bytes")
        # A little more, or this limit would be hit first, which some kernels do not count.
        self.try_write(str(limit_bytes + (1 << 20)), "memory.memsw.limit_in_bytes")
        self.try_write("0", "memory.swappiness")

    def try_write(self, text, name):
        try:
            write(text, self.directory, name)
        except OSError:
            pass

    def command(self, command):
        """The shell joins the group before it becomes the command, so nothing is charged elsewhere."""
        return ["/bin/sh", "-c", 'echo $$ >"$1" && shift && exec "$@"', "sh", os.path.join(self.directory, "cgroup.procs"), *command]

    def peak(self):
        """In bytes, of all there ever was in the group; None where the kernel does not say (v2 before 5.19)."""
        return number(read(self.directory, "memory.peak" if self.version == 2 else "memory.max_usage_in_bytes"))

    def kills(self):
        """By the kernel for want of memory."""
        return number(read(self.directory, "memory.events" if self.version == 2 else "memory.oom_control"), "oom_kill")

    def refusals(self):
        """How often the limit was hit."""
        return number(read(self.directory, "memory.events"), "max") if self.version == 2 else number(read(self.directory, "memory.failcnt"))

    def working_bytes(self):
        """What is used less inactive file cache, of a group without children."""
        usage = number(read(self.directory, "memory.current" if self.version == 2 else "memory.usage_in_bytes"))
        return usage - number(read(self.directory, "memory.stat"), "inactive_file" if self.version == 2 else "total_inactive_file")

    def remove(self):
        for _ in range(100):
            for pid in read(self.directory, "cgroup.procs").split():
                try:
                    os.kill(int(pid), signal.SIGKILL)
                except ProcessLookupError:
                    pass
            try:
                os.rmdir(self.directory)
                return
            except FileNotFoundError:
                return
            except OSError:
                time.sleep(0.05)
        raise RuntimeError(f"cannot remove {self.directory}")
