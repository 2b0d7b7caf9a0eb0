"""Would a program be served by a preloaded malloc, and if not, why?

`look_at(command)` follows scripts to their interpreters and judges the executable by its file;
`loader_loads` asks the loader itself, without running the program. What then really happened in a
process is judged by `judge_process`, from what it has mapped.
"""
import functools
import os
import re
import shutil
import stat
import subprocess

from . import procfs, say
from .elf import Elf, NotElf

MOST_SCRIPTS = 4        # a script whose interpreter is a script
CHECKERS = ("valgrind", "heaptrack")
# Allocators that are part of a program under names of their own: malloc stays where it was.
BUNDLED = (
    ("_rjem_malloc", "Rust's jemalloc"), ("je_malloc", "jemalloc"), ("mi_malloc", "mimalloc"), ("tc_malloc", "tcmalloc"),
    ("_ZN2v87Isolate3NewERKNS0_12CreateParamsE", "V8's heap"),
)
LINKED = (
    ("AddressSanitizer", ("__asan_init",)), ("jemalloc's, linked statically", ("mallctl", "je_malloc")),
    ("mimalloc's, linked statically", ("mi_malloc",)), ("tcmalloc's, linked statically", ("tc_malloc",)),
)
SANITIZERS = (("__asan_init", "AddressSanitizer"), ("__tsan_init", "ThreadSanitizer"), ("__msan_init", "MemorySanitizer"),
              ("__hwasan_init", "HWAddressSanitizer"), ("__lsan_init", "LeakSanitizer"))


class Program:
    """`path` is the executable that runs in the end, `problem` why it is not served (None when it
    is), `advice` what may be done about it, `remark` what is worth knowing when it is served."""

    def __init__(self, path, problem=None, advice=None, remark=None, through=()):
        self.path, self.problem, self.advice, self.remark = path, problem, advice, remark
        self.through = through

    @property
    def name(self):
        return os.path.basename(self.path)


def resolve(name, path=None):
    """The file that execvp would run; one clear line when there is none."""
    if not name:
        raise say.CliError("the command is empty", say.NOT_FOUND)
    found = shutil.which(name, path=path)
    if found:
        return os.path.abspath(found)
    if os.path.isdir(name):
        raise say.CliError(f"{name}: is a directory", say.CANNOT_EXECUTE)
    if "/" in name and os.path.exists(name):
        raise say.CliError(f"{name}: not executable", say.CANNOT_EXECUTE)
    raise say.CliError(f"{name}: no such command", say.NOT_FOUND)


def shebang(path):
    """The interpreter's command of a script, or None."""
    try:
        with open(path, "rb") as file:
            line = file.readline(256)
    except OSError:
        return None
    return line[2:].decode(errors="replace").split() if line.startswith(b"#!") else None


def follow_scripts(path):
    """(executable, scripts on the way to it)"""
    through = []
    for _ in range(MOST_SCRIPTS):
        words = shebang(path)
        if not words:
            break
        through.append(path)
        if os.path.basename(words[0]) == "env":
            words = [word for word in words[1:] if not word.startswith("-") and "=" not in word]
        found = shutil.which(words[0]) if words else None
        if not found:
            break
        path = found
    return os.path.realpath(path), tuple(through)


def is_privileged(path):
    """Whether the loader runs it in secure mode, which ignores a preload by path: when it gets
    another user, another group or a capability by being run."""
    try:
        file = os.stat(path)
        if file.st_mode & stat.S_ISUID and file.st_uid != os.getuid():
            return True
        if file.st_mode & stat.S_ISGID and file.st_mode & stat.S_IXGRP and file.st_gid != os.getgid():
            return True
        return os.getuid() != 0 and "security.capability" in os.listxattr(path)
    except OSError:
        return False


def own_malloc(elf):
    """Whose malloc an executable has that defines the function itself: it comes before a preload."""
    if not elf.defines("malloc"):
        return None
    return next((whose for whose, names in LINKED if elf.knows(*names)), "its own")


def sanitizer_of(elf):
    for library in elf.needed:
        if re.match(r"lib(asan|tsan|hwasan|lsan)\.so", library):
            return library.split(".")[0]
    return next((name for symbol, name in SANITIZERS if elf.knows(symbol)), None)


def runtime_of(elf):
    """Another allocator inside that malloc's preload does not reach, or None."""
    if elf.section_names & {".go.buildinfo", ".note.go.buildid"}:
        return "Go's runtime"
    if any(library.startswith(("libjli.so", "libjvm.so")) for library in elf.needed):
        return "the Java heap"
    return next((name for symbol, name in BUNDLED if elf.knows(symbol)), None)


def judge_file(elf, path, library):
    """(problem, advice) of an executable, or (None, None)."""
    try:
        own = Elf(library)
    except (NotElf, ValueError):
        return f"the library is damaged: {library}", "build it again"
    if (elf.machine, elf.bits) != (own.machine, own.bits):
        return (f"other architecture: the program is {elf.architecture()}, the library {own.architecture()}",
                "build the library for the program's architecture" if elf.bits == 64 else "32-bit programs are not supported")
    if not elf.interpreter:
        runtime = runtime_of(elf)
        return "static: nothing can be preloaded" + (f" ({runtime})" if runtime else ""), "link it dynamically"
    if "musl" in elf.interpreter:
        return f"other libc: it runs on musl ({elf.interpreter})", "use the glibc build of the program or of its image"
    if is_privileged(path):
        return ("setuid or with capabilities: the loader ignores a preload",
                "run it as the user who has the rights, without the bit")
    sanitizer = sanitizer_of(elf)
    if sanitizer:
        return f"sanitizer: {sanitizer} has an allocator of its own", "measure a build without the sanitizer"
    if os.path.basename(path) in CHECKERS or "valgrind" in path:
        return "a memory checker replaces malloc itself", "run the program without it"
    malloc = own_malloc(elf)
    if malloc:
        return f"own allocator: the executable defines malloc ({malloc})", "build the program without it"
    return None, None


@functools.lru_cache(None)
def look_at_file(path, library):
    try:
        elf = Elf(path)
    except (NotElf, ValueError):
        return Program(path, "no executable the loader knows", "name the program itself")
    except OSError as reason:
        return Program(path, f"its file cannot be read: {reason.strerror}", "make it readable")
    problem, advice = judge_file(elf, path, library)
    runtime = None if problem else runtime_of(elf)
    remark = f"most of its memory may be in {runtime}, which lowtide does not see" if runtime else None
    return Program(path, problem, advice, remark)


def look_at(command, library, path=None):
    """A Program for the command, without running it."""
    executable, through = follow_scripts(resolve(command[0], path))
    seen = look_at_file(executable, library)
    return Program(seen.path, seen.problem, seen.advice, seen.remark, through)


def loader_loads(path, library):
    """Asks the program's own loader, which lists what it would map and runs nothing: True, False or
    None when it cannot be asked."""
    try:
        interpreter = Elf(path).interpreter
        done = subprocess.run([interpreter, "--list", path], env={"LD_PRELOAD": library}, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=20)
    except (NotElf, OSError, ValueError, TypeError, subprocess.TimeoutExpired):
        return None
    return library in done.stdout.decode(errors="replace")


# --- a process --------------------------------------------------------------------------------

STARTING, ACTIVE, NOT_ACTIVE, GONE = "starting", "active", "not active", "gone"


def judge_process(pid, library):
    """What a process really is, once it has called exec: (state, Program)."""
    try:
        path = os.readlink(f"{procfs.ROOT}/{pid}/exe")
        mapped = procfs.mapped_files(pid)
    except OSError:
        return GONE, None
    seen = look_at_file(path, library)
    if library in mapped:
        if seen.problem and seen.problem.startswith(("own allocator", "sanitizer")):
            return NOT_ACTIVE, seen
        other = next((file for file in mapped if re.match(r"lib(asan|tsan)\.so|vgpreload", os.path.basename(file))), None)
        if other:
            return NOT_ACTIVE, Program(path, f"{os.path.basename(other)} replaces malloc itself")
        return ACTIVE, seen
    if seen.problem:
        return NOT_ACTIVE, seen
    if not any(re.match(r"libc\.so|libc-", os.path.basename(file)) for file in mapped):
        return STARTING, seen           # preloads are mapped before libc
    return NOT_ACTIVE, Program(path, *why_not_mapped(pid, library))


def why_not_mapped(pid, library):
    """(problem, advice) for a process that the loader could have served."""
    environment = procfs.read(f"{pid}/environ")
    entries = [entry for entry in (environment or b"").split(b"\0") if entry.startswith(b"LD_PRELOAD=")]
    if environment and not any(library.encode() in entry for entry in entries):
        return ("LD_PRELOAD was taken out of its environment on the way",
                "by sudo, env -i or LOWTIDE_CHILDREN=0: put `lowtide run` behind that")
    return "the loader did not map the library", "see its message; is the file readable for this user?"
