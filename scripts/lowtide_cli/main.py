"""Subcommands, and how each is called.

A row of COMMANDS names a subcommand, its module and what it does. The module has a function
`arguments_NAME(parser)`, which declares its options and may set `description` and `epilog`, and
`command_NAME(options)`, which returns the exit code. Modules are imported when they are needed.
"""
import argparse
import importlib
import os
import sys

from . import say

COMMANDS = (
    # name, module, takes a command after --, help
    ("run", "run", True, "run a program under lowtide, and say whether it is served"),
    ("compare", "compare", True, "run a job under several allocators, and say what each costs"),
    ("size", "size", True, "how many of a job fit on a node, and what limit to ask for"),
    ("doctor", "doctor", True, "look at this machine, and at a program"),
    ("top", "live", False, "the preloaded processes, live"),
    ("stats", "live", False, "the live numbers of one process; leak or allocator?"),
    ("trim", "live", False, "ask a process to give back what it retains"),
    ("options", "options", False, "the library's options, their values and where those came from"),
    ("version", "version", False, "versions of the command and of the library"),
)
EXAMPLES = """\
examples:
  lowtide run -- python3 service.py
  lowtide compare -n 3 --out report -- python3 job.py
  lowtide size -- ./simulate input.dat
  lowtide doctor -- python3 service.py
  lowtide top

`lowtide COMMAND --help` says more. The library's options are environment variables:
`lowtide options` lists them. Messages go to stderr, results to stdout.
"""


def module_of(row):
    return importlib.import_module(f".{row[1]}", __package__)


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line."""

    def error(self, message):
        raise say.CliError(f"{self.prog.split()[-1]}: {message}; see {self.prog} --help", say.USAGE)


def make_parser(row):
    """The parser of one subcommand."""
    name, _, takes_command, help_text = row
    parser = Parser(
        prog=f"lowtide {name}", description=help_text[0].upper() + help_text[1:] + ".",
        formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False,
        usage=f"lowtide {name} [options]" + (" -- COMMAND [ARGUMENT...]" if takes_command else ""))
    getattr(module_of(row), f"arguments_{name}")(parser)
    return parser


def print_help(stream):
    print("lowtide: a malloc that gives memory back\n\nusage: lowtide COMMAND [options] [-- PROGRAM [ARGUMENT...]]\n",
          file=stream)
    width = max(len(row[0]) for row in COMMANDS)
    for name, _, _, help_text in COMMANDS:
        print(f"  {name.ljust(width)}  {help_text}", file=stream)
    print("\n" + EXAMPLES, end="", file=stream)


def split_at_dashes(arguments):
    """(options, command); the command is everything behind the first --."""
    if "--" not in arguments:
        return arguments, None
    at = arguments.index("--")
    return arguments[:at], arguments[at + 1:]


def parse(row, arguments):
    """The options of a subcommand, with its command in `command`. One that does not begin with a
    dash may also follow without `--`."""
    parser = make_parser(row)
    if not row[2]:
        return parser.parse_args(arguments)
    own, command = split_at_dashes(arguments)
    options, rest = parser.parse_known_args(own)
    if rest and command is None and not rest[0].startswith("-"):
        at = own.index(rest[0])
        options, rest = parser.parse_known_args(own[:at])
        command, rest = own[at:], rest
    if rest:
        raise say.CliError(f"unknown option {rest[0]}; see lowtide {row[0]} --help", say.USAGE)
    options.command = command or []
    return options


def call(arguments):
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print_help(sys.stdout if arguments else sys.stderr)
        return 0 if arguments else say.USAGE
    if arguments[0] == "--version":
        arguments = ["version"]
    for row in COMMANDS:
        if row[0] == arguments[0]:
            options = parse(row, arguments[1:])
            return getattr(module_of(row), f"command_{row[0]}")(options)
    raise say.CliError(f"unknown command {arguments[0]}; lowtide --help lists them", say.USAGE)


def open_streams():
    """What is printed goes nowhere where stdout or stderr was closed by whoever started this."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w"))


def main(arguments):
    """Exit code; whatever goes wrong is told in one line."""
    open_streams()
    try:
        code = call(arguments)
        sys.stdout.flush()
        return code
    except say.CliError as reason:
        say.note(str(reason))
        return reason.code
    except KeyboardInterrupt:
        say.note("interrupted")
        return 130
    except BrokenPipeError:     # `lowtide options | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except OSError as reason:
        say.note(f"{reason.filename}: {reason.strerror}" if reason.filename else str(reason))
        return 1
