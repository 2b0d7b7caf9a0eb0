"""`lowtide doctor`: what of this machine matters to an allocator, and whether a program would be
served. One line each: a word (ok, note, bad), what was found, and what to do."""
import os
import resource

from . import cgroup, interpreter, library, peers, procfs, program, say

OK, NOTE, BAD = "ok", "note", "bad"


def arguments_doctor(parser):
    parser.epilog = """\
The exit code is 1 when something prevents lowtide from working, or the program would not be served.

examples:
  lowtide doctor
  lowtide doctor -- python3 service.py
"""


def check_library():
    path = library.find()
    found = library.machine(path)
    if not found:
        return BAD, "library", f"{path} cannot be loaded: {library.why_not_loaded(path)}"
    return OK, "library", f"{path}, version {found['version']}"


def check_pages():
    size = os.sysconf("SC_PAGE_SIZE")
    if size == 4096:
        return OK, "page size", "4 KiB"
    return NOTE, "page size", f"{size >> 10} KiB: pages with one survivor are larger, so less goes back than with 4 KiB"


def check_huge_pages():
    mode = peers.huge_pages()
    if mode == "always":
        return OK, "huge pages", "always; lowtide's heap does without (LOWTIDE_THP=keep: as the system has them)"
    return OK, "huge pages", mode


def read_number(path):
    text = procfs.read_text(path)
    return int(text) if text and text.strip().lstrip("-").isdigit() else None


def check_overcommit():
    mode = read_number("sys/vm/overcommit_memory")
    if mode == 2:
        return NOTE, "overcommit", "2 (strict): address space counts; set vm.overcommit_memory=0 if programs cannot start"
    return OK, "overcommit", "unknown" if mode is None else f"{mode}"


def check_maps():
    most = read_number("sys/vm/max_map_count")
    if most is not None and most < 65530:
        return NOTE, "max_map_count", f"{most:,}: large heaps may stay resident; sysctl vm.max_map_count=65530 or more"
    return OK, "max_map_count", "unknown" if most is None else f"{most:,}"


def check_limits():
    for name in ("RLIMIT_AS", "RLIMIT_DATA"):
        limit = resource.getrlimit(getattr(resource, name))[0]
        if limit == resource.RLIM_INFINITY:
            yield OK, name, "unlimited"
        else:
            yield NOTE, name, f"{say.memory(limit)}: counts address space, not memory; prefer a cgroup limit"


def check_cgroup():
    levels = cgroup.levels()
    if not levels:
        yield NOTE, "cgroup", "no memory limits can be read here; lowtide goes by the machine's memory"
        return
    limited = [level for level in levels if level.limit or level.soft]
    if not limited:
        yield OK, "cgroup", f"{levels[0].path}: no limit at any of {len(levels)} levels"
    for level in limited:
        limit = min(value for value in (level.limit, level.soft) if value)
        used = level.used or 0
        word = NOTE if used > 0.9 * limit else OK
        text = f"{level.path}: {say.memory(used)} of {say.memory(limit)} used"
        yield word, "cgroup", text + ("; raise the limit, or run fewer jobs" if word == NOTE else "")


def check_swap():
    found = procfs.meminfo()
    total, free = found.get("SwapTotal", 0), found.get("SwapFree", 0)
    if total and free < total / 2:
        return NOTE, "swap", f"{say.memory(total - free)} of {say.memory(total)} used: lowtide retains less while it grows"
    return OK, "swap", f"{say.memory(total - free)} of {say.memory(total)} used" if total else "none"


def check_pressure():
    text = procfs.read_text("pressure/memory")
    if text is None:
        return OK, "pressure", "the kernel does not tell (PSI is off): levels go by available memory"
    averages = dict(item.split("=") for item in text.split("\n")[0].split()[1:] if "=" in item)
    stalled = float(averages.get("avg10", 0))
    if stalled > 1:
        return NOTE, "pressure", f"{stalled:g} % of the last 10 s were spent waiting for memory: run less here"
    return OK, "pressure", f"{stalled:g} % of the last 10 s"


def check_preloads():
    others = [item for item in library.preload_list(os.environ.get("LD_PRELOAD")) if not library.is_ours(item)]
    try:
        with open("/etc/ld.so.preload") as file:
            others += library.preload_list(file.read().replace("\n", " "))
    except OSError:
        pass
    rivals = [item for item in others if peers.OTHERS.search(item) and not library.is_ours(item)]
    if rivals:
        return BAD, "preloads", f"{' '.join(rivals)} is an allocator, too: take it out of LD_PRELOAD or /etc/ld.so.preload"
    return OK, "preloads", " ".join(others) or "none besides"


def check_level():
    found = library.machine(library.find())
    if not found:
        return NOTE, "level", "unknown"
    name = library.level_name(found["level"])
    text = f"{name}: {say.memory(found['available_bytes'])} available of {say.memory(found['limit_bytes'])}"
    if found["level"] >= 2:
        return NOTE, "level", f"{text}; memory is short, and lowtide retains next to nothing"
    return OK, "level", text


def check_program(command):
    seen = program.look_at(command, library.find())
    for script in seen.through:
        yield OK, "script", script
    if seen.problem:
        yield BAD, "program", f"{seen.path}: {seen.problem}" + (f"; {seen.advice}" if seen.advice else "")
        return
    loads = program.loader_loads(seen.path, library.find())
    if loads is False:
        yield BAD, "program", f"{seen.path}: its loader does not load the library; see `lowtide run --require`"
    else:
        yield OK, "program", f"{seen.path}: would be served"
    if seen.remark:
        yield NOTE, "program", seen.remark
    python = interpreter.objects(seen.path, command[1:], os.environ, not seen.through)
    if python:
        served, words = python
        yield (OK if served else NOTE), "Python", f"objects: {words}" + ("" if served else "; only larger blocks are served")


def findings(command):
    for check in (check_library, check_level, check_pages, check_huge_pages, check_overcommit, check_maps):
        yield check()
    yield from check_limits()
    yield from check_cgroup()
    yield check_swap()
    yield check_pressure()
    yield check_preloads()
    if command:
        yield from check_program(command)


def command_doctor(options):
    found = list(findings(options.command))
    width = max(len(name) for _, name, _ in found)
    paint = {OK: say.good, NOTE: lambda text: say.colour(text, "33"), BAD: say.bad}
    for word, name, text in found:
        print(f"{paint[word](word.ljust(4))}  {name.ljust(width)}  {text}")
    return 1 if any(word == BAD for word, _, _ in found) else 0
