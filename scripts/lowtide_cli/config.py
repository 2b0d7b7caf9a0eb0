"""The configuration files that `lowtide run` reads: KEY=VALUE lines, # begins a comment.

A key is an option's variable (LOWTIDE_PROFILE) or its short name (profile). The system's file
comes first, then the user's, which wins; the environment wins over both. A line that is not
understood is said once, with its file and number, and passed over.
"""
import os

from . import say

NAME = "lowtide.conf"


def files():
    """The paths, weakest first. Without HOME there is only the system's."""
    yield os.environ.get("LOWTIDE_SYSTEM_CONF") or f"/etc/{NAME}"
    home = os.environ.get("XDG_CONFIG_HOME") or (os.environ.get("HOME") and os.path.join(os.environ["HOME"], ".config"))
    if home:
        yield os.path.join(home, NAME)


def variable_of(key):
    key = key.strip().upper().replace("-", "_").replace(".", "_")
    return key if key.startswith("LOWTIDE_") else f"LOWTIDE_{key}"


def value_of(text):
    """Without the blanks around it, and without one pair of quotes."""
    text = text.strip()
    if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'":
        return text[1:-1]
    return text


def read_file(path, known, warn):
    """{variable: (value, "file:line")} of one file."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            lines = file.read().splitlines()
    except FileNotFoundError:
        return {}
    except OSError as reason:
        warn(f"{path}: {reason.strerror}; the file is not used")
        return {}
    found = {}
    for number, line in enumerate(lines, 1):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        key, equals, value = line.partition("=")
        if not equals:
            warn(f"{path}:{number}: not KEY=VALUE: {line[:60]}")
        elif variable_of(key) not in known:
            warn(f"{path}:{number}: no such option: {key.strip()[:60]}")
        else:
            found[variable_of(key)] = (value_of(value), f"{path}:{number}")
    return found


def read(known, warn=say.note):
    """{variable: (value, where)} of all files; `known` are the options' variables."""
    found = {}
    for path in files():
        found.update(read_file(path, known, warn))
    return found


def apply(environment, known, warn=say.note):
    """A copy of the environment with what the files say and it does not."""
    settings = {variable: value for variable, (value, _) in read(known, warn).items()}
    return {**settings, **environment}


def any_exists():
    return any(os.path.exists(path) for path in files())
