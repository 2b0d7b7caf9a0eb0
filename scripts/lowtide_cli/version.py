"""`lowtide version`."""
import platform

from . import library


def arguments_version(parser):
    parser.epilog = "example:\n  lowtide version\n"


def command_version(options):
    path = library.find()
    found = library.machine(path)
    if not found:
        print(f"lowtide: {path} cannot be loaded: {library.why_not_loaded(path)}")
        return 1
    print(f"lowtide {found['version']}\nlibrary {path}\nPython  {platform.python_version()}")
    return 0
