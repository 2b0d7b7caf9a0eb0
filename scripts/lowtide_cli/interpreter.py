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


def ignores_environment(arguments):
    """-I or -E among the interpreter's own options."""
    i = 0
    while i < len(arguments) and re.match(r"-[^-]", arguments[i]):
        for position, letter in enumerate(arguments[i][1:], 1):
            if letter in "IE":
                return True
            if letter in "cm":
                return False
            if letter in "WX":
                i += position == len(arguments[i]) - 1
                break
        i += 1
    return False


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
    if is_direct and ignores_environment(arguments):
        return False, "pymalloc, since -I or -E"
    return True, "malloc, so lowtide"
