"""What the tests reach, as a page: lines and branches of each file, and each line that no test reaches with the reason why.

usage: coverage.py DIRECTORY OBJECT...     DIRECTORY/raw holds the counters of all runs

The reasons are in reasons.txt, `FILE: the line's text | why`, by hand; a line without one is said to be open, and a reason whose line is
no more ends this with an error.
"""
import pathlib
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
FOLDERS = ("core", "trim-policy", "preload")


def export(directory, objects):
    """llvm-cov's lcov records of everything that was run."""
    profile = directory / "all.profdata"
    subprocess.run(["llvm-profdata", "merge", "-o", profile, *sorted((directory / "raw").glob("*.profraw"))], check=True)
    more = [argument for name in objects[1:] for argument in ("-object", name)]
    done = subprocess.run(["llvm-cov", "export", "-format=lcov", f"-instr-profile={profile}", objects[0], *more],
                          check=True, stdout=subprocess.PIPE, text=True)
    return done.stdout.splitlines()


def parse(records):
    """{file: ({line: times reached}, [times taken of each branch])} of our folders."""
    files, name = {}, None
    for record in records:
        kind, _, rest = record.partition(":")
        if kind == "SF":
            path = pathlib.Path(rest)
            path = path if path.is_absolute() else ROOT / path
            inside = path.resolve().relative_to(ROOT).as_posix() if ROOT in path.resolve().parents else ""
            name = inside if inside.split("/")[0] in FOLDERS else None
            if name:
                files.setdefault(name, ({}, []))
        elif name and kind == "DA":
            line, count = map(int, rest.split(",")[:2])
            lines = files[name][0]
            lines[line] = lines.get(line, 0) + count
        elif name and kind == "BRDA":
            taken = rest.split(",")[3]
            files[name][1].append(0 if taken == "-" else int(taken))
    return files


def percent(reached, of):
    return f"{reached} of {of}" + (f" ({100 * reached / of:.1f} %)" if of else "")


ANY_LINE = "*"    # of a file, in reasons.txt


def read_reasons():
    reasons = {}
    for line in (HERE / "reasons.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            where, why = line.rsplit(" | ", 1)
            name, text = where.split(": ", 1)
            reasons[name, text.strip()] = why
    return reasons


def is_code(text):
    return text.strip() not in ("", "{", "}", "};", "} else {", "} else")


def main():
    directory, objects = pathlib.Path(sys.argv[1]), sys.argv[2:]
    files, reasons, unreached, is_open = parse(export(directory, objects)), read_reasons(), [], 0
    print("# What the tests reach\n")
    print("Made by `make coverage`: unit tests, the model-based test, and the suites that preload the library, with clang's counters.\n")
    print("| file | lines | branches |\n|---|---|---|")
    for name, (lines, branches) in sorted(files.items()):
        print(f"| {name} | {percent(sum(n > 0 for n in lines.values()), len(lines))} | {percent(sum(n > 0 for n in branches), len(branches))} |")
        source = (ROOT / name).read_text().splitlines()
        unreached += [(name, line, source[line - 1].strip()) for line in sorted(lines) if not lines[line] and is_code(source[line - 1])]
    print("\n## Lines that no test reaches\n")
    print("| line | text | why |\n|---|---|---|")
    for name, line, text in unreached:
        why = reasons.get((name, text), reasons.get((name, ANY_LINE)))
        is_open += why is None
        shown = text.replace("|", "\\|")
        print(f"| {name}:{line} | `{shown}` | {why or '**open**'} |")
    print(f"\n{len(unreached)} lines, {is_open} of them open.")
    stale = [f"{name}: {text}" for name, text in reasons if text != ANY_LINE and text not in map(str.strip, (ROOT / name).read_text().splitlines())]
    for line in stale:
        print("reasons.txt: no such line:", line, file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
