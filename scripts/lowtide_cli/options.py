"""`lowtide options`: the library's own table, with the values that `lowtide run` would use."""
import json
import os
import textwrap

from . import config, library, say


def arguments_options(parser):
    parser.add_argument("--json", action="store_true", help="as JSON, for programs")
    parser.epilog = "examples:\n  lowtide options\n  LOWTIDE_PROFILE=tight lowtide options\n"


def effective(path):
    """[{variable, values, default, value, from, help}]"""
    table = library.option_table(path)
    settings = config.read([row[0] for row in table])
    rows = []
    for variable, values, standard, text in table:
        value, origin = standard, "default"
        if variable in settings:
            value, origin = settings[variable]
        if variable in os.environ:
            value, origin = os.environ[variable], "environment"
        rows.append({"variable": variable, "values": values, "default": standard, "value": value, "from": origin,
                     "help": text})
    return rows


def command_options(options):
    rows = effective(library.find())
    if options.json:
        print(json.dumps(rows, indent=1))
        return 0
    table = [("option", "value", "from")]
    table += [(row["variable"], row["value"], row["from"]) for row in rows]
    lines = list(say.table(table, left=3))
    print(lines[0])
    for line, row in zip(lines[1:], rows):
        print(say.good(line) if row["from"] != "default" else line)
        text = f"{row['values']}: {row['help']} (default {row['default']})"
        for part in textwrap.wrap(text, 92):
            print(say.faint("    " + part))
    return 0
