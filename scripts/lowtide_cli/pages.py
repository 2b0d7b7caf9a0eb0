"""The pages of live statistics in /dev/shm/lowtide-UID: found, read, written to for a trim, and swept.

The layout is trim-policy/live.h's; a page says itself which values it has. A page counts as its process's when pid namespace,
pid and start time fit and the process maps the file; what does not is removed. Nothing here stops, signals or traces a process.

LOWTIDE_ROOT, for tests, goes in front of /dev/shm. Functions raise Problem with one line for the user.
"""
import ctypes
import mmap
import os
import platform
import re
import stat
import struct
import sys
import time

from . import procfs, say

LAYOUT = 1
MAGIC = int.from_bytes(b"low-tide", "little")
HEADER = struct.Struct("=QIIIIiIQQ16s32sIIIIqQq")
FIELDS = ("magic", "layout", "header_bytes", "values", "text_bytes", "pid", "unused", "started", "pid_namespace", "version",
          "program", "trim_asked", "bell", "trim_served", "has_keeper", "trim_bytes", "sequence", "written_ms")
TRIM_ASKED_AT, BELL_AT, SEQUENCE_AT = 96, 100, 120
PAGE_BYTES = 4096
UNKNOWN = -2 ** 63
LEVELS = ("low", "moderate", "high", "extreme", "oom")

NAME = re.compile(r"([0-9]+)\.([0-9]+)\Z")
INITIAL_PID_NAMESPACE = 0xeffffffc  # from it, every process is seen
# A file this young may not be mapped yet.
YOUNG_S = 2
# A process this young need not have come by housekeeping.
YOUNG_PROCESS_S = 0.25
READ_TRIES = 2000

FUTEX_WAKE = 1
FUTEX_CALLS = {"x86_64": 202, "i686": 240, "aarch64": 98, "riscv64": 98, "ppc64le": 221, "s390x": 238}


class Problem(say.CliError):
    """What the user is told, in one line; the command fails."""


def clean(text):
    """Of other programs' making; is printed on terminals."""
    return "".join(c if c.isprintable() else "?" for c in text)


# ---- processes ----

def start_time(pid):
    """In clock ticks since boot; None when there is no such process, or nobody has waited for it yet."""
    found = procfs.stat(pid)
    return found.started if found and found.state not in ("Z", "X") else None


def age_s(pid):
    started = start_time(pid)
    return 0.0 if started is None else time.clock_gettime(time.CLOCK_BOOTTIME) - started / procfs.TICK


def process_state(pid):
    """The letter: S, R, T..."""
    found = procfs.stat(pid)
    return found.state if found else ""


def status(pid):
    """The lines of /proc/PID/status."""
    text = procfs.read(f"{pid}/status")
    return dict(line.split(":\t", 1) for line in text.decode(errors="replace").splitlines() if ":\t" in line) if text else {}


def effective_user(pid):
    uids = status(pid).get("Uid", "").split()
    return int(uids[1]) if len(uids) > 1 else None


def process_name(pid):
    return clean((procfs.read(f"{pid}/comm") or b"").decode(errors="replace").strip())


def memory(pid):
    """(RSS, PSS) in bytes, counted by the kernel page by page; the sums it keeps where that may not be read."""
    found = procfs.rollup(pid)
    return (found["rss"], found["pss"]) if found else (procfs.resident(pid), None)


def is_preloaded(pid):
    """None = cannot be told."""
    maps = procfs.read(f"{pid}/maps")
    return (b"/liblowtide" in maps) if maps else None


def own_pid_namespace():
    try:
        return os.stat("/proc/self/ns/pid").st_ino
    except OSError:
        raise Problem("no /proc here")


def preloaded_processes():
    """Pids of this user's, of which that can be told."""
    me = os.geteuid()
    return [pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if effective_user(pid) == me and is_preloaded(pid)]


# ---- a page ----

class Page:
    """A snapshot: the header's fields as attributes, `numbers` by key (None = not known without a walk), `texts` by key."""

    def __init__(self, path, data, file):
        self.path = path
        for field, value in zip(FIELDS, HEADER.unpack_from(data)):
            setattr(self, field, value)
        self.version, self.program = (clean(t.split(b"\0")[0].decode(errors="replace")) for t in (self.version, self.program))
        self.inode, self.written_to = file.st_ino, file.st_mtime
        text_at = self.header_bytes + 8 * self.values
        if text_at + self.text_bytes > len(data):
            raise ValueError("a page that is cut")
        numbers = struct.unpack_from(f"={self.values}q", data, self.header_bytes)
        lines = [line.split("\t", 1) for line in data[text_at:text_at + self.text_bytes].decode().splitlines()]
        self.texts = {key: text for key, text in lines}
        self.numbers = {key: None if number == UNKNOWN else number for (key, _), number in zip(lines, numbers)}

    def __getitem__(self, key):
        return self.numbers.get(key)

    @property
    def age_s(self):
        return max(0.0, time.clock_gettime(time.CLOCK_MONOTONIC) - self.written_ms / 1000)


def open_page(path, user, flags):
    """A descriptor, and what the file is; OSError or ValueError when it is not a page of that user's."""
    fd = os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    file = os.fstat(fd)
    if not stat.S_ISREG(file.st_mode) or file.st_uid != user or file.st_size < PAGE_BYTES:
        os.close(fd)
        raise ValueError("no page")
    return fd, file


def read_page(path, user):
    """None when there is none, or nobody has finished it. Reads, rather than maps, so that it cannot be cut under our hands."""
    try:
        fd, file = open_page(path, user, os.O_RDONLY)
    except (OSError, ValueError):
        return None
    try:
        for _ in range(READ_TRIES):
            before = os.pread(fd, 8, SEQUENCE_AT)
            data = os.pread(fd, PAGE_BYTES, 0)
            if before == os.pread(fd, 8, SEQUENCE_AT) and not before[0 if sys.byteorder == "little" else 7] & 1:
                magic, layout = struct.unpack_from("=QI", data)
                return Page(path, data, file) if (magic, layout) == (MAGIC, LAYOUT) else None
            time.sleep(0.0001)
    except (OSError, ValueError, struct.error, UnicodeDecodeError):
        pass
    finally:
        os.close(fd)
    return None


def wake(address):
    """One waiter on the futex at that address of ours. False where the number of the call is not known."""
    number = FUTEX_CALLS.get(platform.machine())
    if number is None:
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall(ctypes.c_long(number), ctypes.c_void_p(address), ctypes.c_long(FUTEX_WAKE), ctypes.c_long(1), None, None, ctypes.c_long(0))
    return True


def ask_for_trim(page, user):
    """Returns the number that the answer will have."""
    try:
        fd, _ = open_page(page.path, user, os.O_RDWR)
    except (OSError, ValueError):
        raise Problem(f"process {page.pid} is gone")
    with mmap.mmap(fd, PAGE_BYTES) as mapped:
        os.close(fd)
        asked = ctypes.c_uint32.from_buffer(mapped, TRIM_ASKED_AT)
        bell = ctypes.c_uint32.from_buffer(mapped, BELL_AT)
        number = asked.value = (asked.value + 1) & 0xffffffff
        bell.value = 1
        wake(ctypes.addressof(bell))
        del asked, bell     # or the mapping could not be closed
    return number


# ---- the directory ----

def shared_memory():
    return os.environ.get("LOWTIDE_ROOT", "") + "/dev/shm"


def directory(user):
    """Where that user's pages are; it may not be there. Problem when it is not to be trusted."""
    if not os.path.isdir(shared_memory()):
        raise Problem(f"no {shared_memory()} here, so that programs cannot publish anything")
    path = f"{shared_memory()}/lowtide-{user}"
    try:
        is_ = os.lstat(path)
    except FileNotFoundError:
        return path
    if not stat.S_ISDIR(is_.st_mode) or is_.st_uid != user or is_.st_mode & 0o077:
        raise Problem(f"{path} is not a directory that user {user} alone can use: nothing is published there")
    return path


def users_with_pages():
    names = os.listdir(shared_memory()) if os.path.isdir(shared_memory()) else []
    return sorted(int(n[8:]) for n in names if n.startswith("lowtide-") and n[8:].isdigit())


def maps_page(pid, page):
    """Whether the process maps the file; None = cannot be told."""
    maps = procfs.read(f"{pid}/maps")
    if not maps:
        return None
    inode, name = str(page.inode).encode(), os.path.basename(page.path).encode()
    for line in maps.splitlines():
        words = line.split(None, 5)
        if len(words) == 6 and words[4] == inode and os.path.basename(words[5]) == name:
            return True
    return False


def live_pid_namespaces():
    """None when some process cannot be looked at."""
    found = set()
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            found.add(os.stat(f"/proc/{pid}/ns/pid").st_ino)
        except FileNotFoundError:
            pass
        except OSError:
            return None
    return found


def remove(path):
    try:
        os.unlink(path)
    except OSError:
        pass


class Pages:
    """The pages of one user. find() reads those of the processes that there are and sweeps the rest."""

    def __init__(self, user=None):
        self.user = os.geteuid() if user is None else user
        self.directory = directory(self.user)
        self.namespace = own_pid_namespace()
        self.seen = {}  # path -> sequence at which the page was known to be its process's

    def find(self):
        try:
            names = os.listdir(self.directory)
        except FileNotFoundError:
            return []
        except PermissionError:
            raise Problem(f"{self.directory} is another user's")
        self.seen = {path: sequence for path, sequence in self.seen.items() if os.path.basename(path) in names}
        pages = [self.look(name) for name in names]
        if not any(pages):
            try:
                os.rmdir(self.directory)    # only when it is empty
            except OSError:
                pass
        return [page for page in pages if page]

    def find_process(self, pid):
        return self.look(f"{pid}.{self.namespace}")

    def look(self, name):
        """The page of that name, or None."""
        match, path = NAME.match(name), os.path.join(self.directory, name)
        if not match:
            return None
        pid, namespace = map(int, match.groups())
        if namespace not in (self.namespace, 0):
            self.sweep_namespace(path, namespace)
            return None
        started = start_time(pid)
        if started is None:
            remove(path)
            return None
        page = read_page(path, self.user)
        if page and self.is_of(page, pid, started):
            return page
        return None

    def is_of(self, page, pid, started):
        if self.seen.get(page.path, page.sequence) != page.sequence:    # somebody writes to it
            self.seen[page.path] = page.sequence
            return True
        is_other = page.started not in (0, started) or page.pid != pid
        if not is_other and maps_page(pid, page) is not False:
            self.seen[page.path] = page.sequence
            return True
        if is_other or time.time() - page.written_to > YOUNG_S:
            remove(page.path)
        return False

    def sweep_namespace(self, path, namespace):
        """A container's: it is gone when nobody lives in it."""
        if self.namespace != INITIAL_PID_NAMESPACE:
            return
        living = live_pid_namespaces()
        if living is not None and namespace not in living:
            remove(path)


def is_elsewhere(pid, kind):
    """In another namespace of that kind than we are."""
    try:
        return os.stat(f"/proc/{pid}/ns/{kind}").st_ino != os.stat(f"/proc/self/ns/{kind}").st_ino
    except OSError:
        return False


def explain_absence(pid):
    """Why that process of ours has no page; a line for the user."""
    who = f"process {pid} ({process_name(pid)})"
    preloaded = is_preloaded(pid)
    if preloaded and any(is_elsewhere(pid, kind) for kind in ("pid", "mnt")):
        return f"{who} runs in a container of its own: ask there"
    if preloaded is None:
        return f"{who} may not be looked at, and has published nothing"
    if not preloaded:
        return f"{who} is not preloaded with lowtide"
    if b"LOWTIDE_LIVE=0" in (procfs.read(f"{pid}/environ") or b"").split(b"\0"):
        return f"{who} runs with LOWTIDE_LIVE=0: it publishes nothing"
    says = status(pid)
    filters = ("Seccomp", "Seccomp_filters", "NoNewPrivs")     # a container's are ours, too
    has_more = [says.get(key) for key in filters] != [status("self").get(key) for key in filters]
    filter_ = ", or has locked itself in (seccomp), after which it makes no files" if has_more else ""
    if age_s(pid) < YOUNG_PROCESS_S:
        return f"{who} has published nothing yet: it is younger than 100 ms, or just was"
    return f"{who} has published nothing yet: it holds less than a MiB, or has not allocated much since it was 100 ms old{filter_}; or {shared_memory()} is full or read-only"


def page_of(pid):
    """The Pages and Page of a process, or a Problem that says why there is none."""
    user = effective_user(pid)
    if user is None or start_time(pid) is None:
        raise Problem(f"no process {pid}")
    if user != os.geteuid() and os.geteuid() != 0:
        raise Problem(f"process {pid} ({process_name(pid)}) is another user's (uid {user})")
    pages = Pages(user)
    page = pages.find_process(pid)
    if page is None:
        raise Problem(explain_absence(pid))
    return pages, page
