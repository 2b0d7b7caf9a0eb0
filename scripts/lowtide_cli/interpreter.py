"""Which Python a program is, and whose its objects will be; the rules are those of
preload/python.c."""
import re

from .elf import Elf, NotElf

NAME = re.compile(r"python[0-9.]*(d|t|td|-dbg)?$")


def is_python(path):
    return bool(NAME.match(path.rsplit("/", 1)[-1]))


def is_free_threaded(path):
    try:
        elf = Elf(path)
    except (NotElf, OSError, ValueError):
        return False
    if elf.defines("_Py_MergeZeroLocalRefcount"):
        return True
    return any(re.match(r"libpython3\.\d+t\.so", library) for library in elf.needed)


def own_options(arguments):
    """(ignores the environment, development mode): -I or -E, and -X dev, among the interpreter's
    own options."""
    ignores = development = False
    i = 0
    while i < len(arguments) and re.match(r"-[^-]", arguments[i]):
        for position, letter in enumerate(arguments[i][1:], 1):
            if letter in "IE":
                ignores = True
            if letter in "cm":
                return ignores, development
            if letter in "WX":
                value = arguments[i][position + 1:]
                if not value:
                    i += 1
                    value = arguments[i] if i < len(arguments) else ""
                if letter == "X" and re.match(r"dev(=|$)", value):
                    development = True
                break
        i += 1
    return ignores, development


def objects(path, arguments, environment, is_direct=True):
    """(is served, words) for a Python interpreter, or None for another program. `arguments` are its
    own only when the command names it directly."""
    if not is_python(path):
        return None
    if environment.get("LOWTIDE_PYTHON") == "off":
        return False, "pymalloc, since LOWTIDE_PYTHON=off"
    chosen = environment.get("PYTHONMALLOC")
    if chosen:      # an empty one is no choice
        return chosen == "malloc", f"PYTHONMALLOC={chosen} is set"
    if is_free_threaded(path):
        return False, "mimalloc of its own: a free-threaded build"
    ignores, development = own_options(arguments) if is_direct else (False, False)
    if ignores and development:
        return False, "pymalloc, since -X dev with -I or -E"
    return True, "malloc, so lowtide"
