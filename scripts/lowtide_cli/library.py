"""The shared library: where it is, and what it says of itself and of the machine."""
import functools
import glob
import json
import os
import re
import subprocess

from . import say

NAME = "liblowtide.so"
LEVELS = ("low", "moderate", "high", "extreme", "oom")
HERE = os.path.dirname(os.path.realpath(__file__))


def candidates():
    """Beside the script in the repository, or where `make install` puts it."""
    place = os.path.dirname(os.path.dirname(HERE))      # the repository, or PREFIX/lib
    yield os.path.join(place, "build", NAME)
    prefix = os.path.dirname(place)
    for directory in (place, *glob.glob(f"{prefix}/lib/*-linux-gnu"), f"{prefix}/lib64", "/usr/local/lib", "/usr/lib64",
                      "/usr/lib"):
        yield os.path.join(directory, NAME)


def find():
    """The absolute path; LOWTIDE_LIB comes first."""
    named = os.environ.get("LOWTIDE_LIB")
    if named:
        if not os.path.isfile(named):
            raise say.CliError(f"LOWTIDE_LIB={named} does not exist")
        return os.path.realpath(named)
    for path in candidates():
        if os.path.isfile(path):
            return os.path.realpath(path)
    raise say.CliError(f"{NAME} is not built: run make, or set LOWTIDE_LIB")


def is_ours(path):
    return os.path.basename(path).startswith("liblowtide")


def preload_list(text):
    return [item for item in re.split("[ :]+", text or "") if item]


def with_preload(environment, library):
    """A copy of the environment in which the library is preloaded, before whatever else is."""
    others = [item for item in preload_list(environment.get("LD_PRELOAD")) if not is_ours(item)]
    return {**environment, "LD_PRELOAD": " ".join([library, *others])}


def probe(library, **variables):
    """What the library writes to stderr in a program that does nothing."""
    kept = {key: value for key, value in os.environ.items()
            if key.startswith("LOWTIDE_") or key in ("PATH", "LANG")}
    for program in ("/bin/true", "/usr/bin/true", "/usr/bin/env"):
        if os.path.exists(program):
            break
    environment = {**kept, "LOWTIDE_CHILDREN": "1", "LOWTIDE_HELP": "0", "LOWTIDE_VERBOSE": "0",
                   "LOWTIDE_STATS": "", **variables, "LD_PRELOAD": library}
    try:
        done = subprocess.run([program], env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                              stderr=subprocess.PIPE, timeout=20)
    except (OSError, subprocess.TimeoutExpired) as reason:
        raise say.CliError(f"{library} could not be tried: {reason}") from None
    return done.stderr.decode(errors="replace")


@functools.lru_cache(None)
def machine(library, *settings):
    """Statistics of a program that does nothing, under these settings (VARIABLE=VALUE): version,
    level, limit. An empty dict where the library cannot be loaded."""
    text = probe(library, **dict(setting.split("=", 1) for setting in settings), LOWTIDE_STATS="1")
    for line in text.splitlines():
        if line.startswith("{"):
            return json.loads(line)
    return {}


def why_not_loaded(library):
    """The loader's own words, when the library cannot be preloaded here."""
    lines = [line for line in probe(library).splitlines() if "ERROR" in line]
    return lines[0] if lines else "programs do not run with it preloaded"


def level_name(number):
    return LEVELS[number] if isinstance(number, int) and 0 <= number < len(LEVELS) else str(number)


def option_table(library):
    """[(variable, values, default, help)], as the library itself lists them."""
    rows, variable = [], None
    for line in probe(library, LOWTIDE_HELP="1").splitlines():
        head = re.match(r"(LOWTIDE_[A-Z_]+)\s+(.*)$", line)
        if head:
            variable, values = head.groups()
            continue
        body = re.match(r"\s+(.*) \(default: (.*)\)$", line)
        if body and variable:
            rows.append((variable, values, body.group(2), body.group(1)))
            variable = None
    if not rows:
        raise say.CliError(f"{library} does not list its options: {why_not_loaded(library)}")
    return rows
