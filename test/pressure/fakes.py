"""Roots of /proc and /sys for LOWTIDE_ROOT: a container with a limit in v2, or a machine without groups.

Files are replaced by rename, as the kernel's change: whoever reads gets the old text or the new one. FakeRoot.spoil is
the exception, and means it.
"""
import os
import shutil

MIB = 1 << 20
GROUP = "sys/fs/cgroup/job.scope"

MEMINFO = """MemTotal:       {total} kB
MemFree:        {free} kB
MemAvailable:   {available} kB
Buffers:               0 kB
Cached:           100000 kB
Active(file):      50000 kB
Inactive(file):    50000 kB
SwapTotal:             0 kB
SwapFree:              0 kB
SReclaimable:      10000 kB
"""
STALLS = "some avg10=0.00 avg60=0.00 avg300=0.00 total={some}\nfull avg10=0.00 avg60=0.00 avg300=0.00 total={full}\n"
MOUNTS = """22 28 0:21 / /sys rw,nosuid,nodev,noexec,relatime shared:7 - sysfs sysfs rw
23 28 0:22 / /proc rw,nosuid,nodev,noexec,relatime shared:14 - proc proc rw
28 1 259:2 / / rw,relatime shared:1 - ext4 /dev/nvme0n1p2 rw,errors=remount-ro
"""
UNIFIED = "31 22 0:26 / /sys/fs/cgroup rw,nosuid,nodev,noexec,relatime shared:9 - cgroup2 cgroup2 rw,nsdelegate\n"


class FakeRoot:
    def __init__(self, directory, total, available, is_container):
        self.directory, self.total, self.is_container = directory, total, is_container
        self.put("proc/pressure/memory", STALLS.format(some=0, full=0))
        self.put("proc/self/status", "Name:\tjob\nVmData:\t  102400 kB\nVmRSS:\t   24400 kB\n")
        self.put("proc/self/statm", "51200 6100 1800 700 0 25600 0\n")
        self.put("proc/self/mountinfo", MOUNTS + UNIFIED * is_container)
        self.put("proc/self/cgroup", "0::/job.scope\n" if is_container else "")
        if is_container:
            self.put_meminfo(16384 * MIB, 12288 * MIB)
            self.put(f"{GROUP}/memory.stat", "anon 90000000\nfile 2000000\ninactive_file 0\nactive_file 2000000\n")
            self.put(f"{GROUP}/memory.high", "max\n")
            self.put(f"{GROUP}/memory.swap.current", "0\n")
            self.put_stalls(0, 0)
            self.put_limit(total)
        self.put_available(available)

    def put(self, name, text):
        path = os.path.join(self.directory, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path + ".new", "w") as f:
            f.write(text)
        os.rename(path + ".new", path)

    def put_meminfo(self, total, available):
        self.put("proc/meminfo", MEMINFO.format(total=total >> 10, free=available >> 11, available=available >> 10))

    def put_limit(self, limit):
        self.put(f"{GROUP}/memory.max", f"{limit}\n")

    def put_stalls(self, some_us, full_us):
        self.put(f"{GROUP}/memory.pressure", STALLS.format(some=some_us, full=full_us))

    def put_available(self, available):
        if self.is_container:
            self.put(f"{GROUP}/memory.current", f"{self.total - available}\n")
        else:
            self.put_meminfo(self.total, available)

    # ---- what the kernel never does ----

    def files(self):
        for directory, _, names in os.walk(self.directory):
            for name in names:
                yield os.path.join(directory, name)

    def keep(self):
        """Remembers all files, for spoil and mend."""
        self.whole = {}
        for path in self.files():
            with open(path, "rb") as f:
                self.whole[path] = f.read()

    def mend(self):
        for path, text in self.whole.items():
            self.replace(path, text)

    @staticmethod
    def replace(path, text):
        """In place, so that a reader may see half of it."""
        if os.path.isdir(path):
            shutil.rmtree(path)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as f:
            f.write(text)

    def spoil(self, rng):
        """Some files or all, each in one of many ways; or all is well and memory is what it likes."""
        if rng.random() < 0.2:
            self.mend()
            self.put_available(rng.randrange(self.total))
            return
        for name in rng.sample(sorted(self.whole), rng.choice((1, 1, 2, len(self.whole)))):
            self.spoil_one(name, self.whole[name], rng)

    def spoil_one(self, path, text, rng):
        way = rng.randrange(9)
        if way < 2:
            if os.path.isfile(path):
                os.unlink(path)
            if way == 0:
                os.makedirs(path, exist_ok=True)
            return
        self.replace(path, (
            text,
            text[:rng.randrange(len(text) + 1)],
            bytes(rng.randrange(256) for _ in range(rng.randrange(5000))),
            text + b"9" * rng.randrange(5000) + b"\n",
            bytes(rng.randrange(48, 58) if 48 <= c < 58 and rng.random() < 0.5 else c for c in text),
            text.replace(b" ", rng.choice((b"", b" -", b"\t", b"\0", b"\n"))),
            text * rng.randrange(200),
        )[way - 2])
