"""`lowtide options`, `version` and `doctor`, the configuration files, help, manual and completion."""
import ast
import json
import pathlib
import re
import shutil
import subprocess

import pytest
from conftest import LIBRARY, PYTHON, REPO, call, environment
from lowtide_cli import main

ROWS = re.findall(r'"(LOWTIDE_[A-Z_]+)"', (REPO / "trim-policy" / "options.def").read_text())


def options(**variables):
    done = call("options", "--json", env=environment(**variables))
    assert done.code == 0, done.err
    return {row["variable"]: row for row in json.loads(done.out)}, done


@pytest.fixture
def files(tmp_path):
    """(system's file, user's file, the environment that finds them)"""
    system, user = tmp_path / "system.conf", tmp_path / "user" / "lowtide.conf"
    user.parent.mkdir()
    return system, user, {"LOWTIDE_SYSTEM_CONF": str(system), "XDG_CONFIG_HOME": str(user.parent)}


def test_every_option_of_the_table():
    found, _ = options()
    assert sorted(found) == sorted(ROWS)
    assert found["LOWTIDE_PROFILE"]["values"] == "tight|balanced|throughput"
    assert found["LOWTIDE_PROFILE"]["default"] == found["LOWTIDE_PROFILE"]["value"] == "balanced"


def test_where_values_come_from(files):
    system, user, variables = files
    system.write_text("# the site's\nprofile = tight\nLOWTIDE_THP=keep\nstats='/tmp/s %p'\n")
    user.write_text("\nthp=never\n")
    found, _ = options(LOWTIDE_CHECK="0", **variables)
    assert (found["LOWTIDE_PROFILE"]["value"], found["LOWTIDE_PROFILE"]["from"]) == ("tight", f"{system}:2")
    assert (found["LOWTIDE_THP"]["value"], found["LOWTIDE_THP"]["from"]) == ("never", f"{user}:2")
    assert (found["LOWTIDE_CHECK"]["value"], found["LOWTIDE_CHECK"]["from"]) == ("0", "environment")
    assert found["LOWTIDE_STATS"]["value"] == "/tmp/s %p"
    assert found["LOWTIDE_RETURN"]["from"] == "default"


def test_run_reads_the_files(files):
    system, _, variables = files
    system.write_text("profile=tight\nthp=keep\n")
    shown = call("run", "--quiet", "--", "sh", "-c", "echo $LOWTIDE_PROFILE $LOWTIDE_THP",
                 env=environment(LOWTIDE_THP="never", **variables))
    assert shown.out == "tight never\n"
    shown = call("run", "--quiet", "--no-config", "--", "sh", "-c", "echo $LOWTIDE_PROFILE", env=environment(**variables))
    assert shown.out == "\n"


@pytest.mark.parametrize("line, text", [("nonsense", "not KEY=VALUE: nonsense"), ("nonsense=1", "no such option: nonsense")])
def test_bad_lines(files, line, text):
    system, _, variables = files
    system.write_text(f"\n{line}\nprofile=tight\n")
    shown = call("run", "--quiet", "--", "sh", "-c", "echo $LOWTIDE_PROFILE", env=environment(**variables))
    assert shown.code == 0 and shown.out == "tight\n" and shown.err == f"lowtide: {system}:2: {text}\n"


def test_file_that_is_a_directory(files):
    system, _, variables = files
    system.mkdir()
    done = call("run", "--quiet", "--", "true", env=environment(**variables))
    assert done.code == 0 and len(done.err.splitlines()) == 1 and "not used" in done.err


def test_version():
    done = call("version")
    assert done.code == 0 and LIBRARY in done.out and re.match(r"lowtide \d+\.\d+\.\d+\n", done.out)
    assert call("--version").out == done.out


# --- doctor -----------------------------------------------------------------------------------

def test_doctor():
    done = call("doctor")
    for word in ("library", "level", "page size", "huge pages", "overcommit", "max_map_count", "RLIMIT_AS", "cgroup", "swap",
                 "pressure", "preloads"):
        assert re.search(f"^(ok|note|bad) +{word} ", done.out, re.M), word
    assert done.code == 0


def test_doctor_of_programs(programs):
    done = call("doctor", "--", PYTHON, "x.py")
    assert done.code == 0 and "would be served" in done.out and "objects: malloc, so lowtide" in done.out
    assert "pymalloc, since -X dev with -I" in call("doctor", "--", PYTHON, "-I", "-Xdev", "x.py").out
    assert "malloc, so lowtide" in call("doctor", "--", PYTHON, "-I", "x.py").out
    for name in ("static", "musl", "own", "sanitized", "other"):
        done = call("doctor", "--", programs / name)
        assert done.code == 1 and re.search("^bad +program ", done.out, re.M), name


def test_doctor_finds_rivals():
    done = call("doctor", env=environment(LD_PRELOAD="/nonexistent/libjemalloc.so.2"))
    assert done.code == 1 and "is an allocator, too" in done.out


def test_doctor_of_nothing():
    done = call("doctor", "--", "no-such-command")
    assert done.code == 127 and done.err == "lowtide: no-such-command: no such command\n"


# --- help, manual, completion -----------------------------------------------------------------

def flags(name):
    row = next(row for row in main.COMMANDS if row[0] == name)
    return {flag for action in main.make_parser(row)._actions for flag in action.option_strings} - {"-h", "--help"}


@pytest.mark.parametrize("row", main.COMMANDS, ids=lambda row: row[0])
def test_help_has_examples(row):
    done = call(row[0], "--help")
    assert done.code == 0 and re.search("examples?:\n  ", done.out) and f"lowtide {row[0]}" in done.out


def test_help():
    done = call("--help")
    assert done.code == 0 and all(f"  {row[0]} " in done.out for row in main.COMMANDS)
    assert call().code == 2


@pytest.mark.parametrize("name", ["run", "compare", "size", "options"])
def test_manual_has_every_flag(name):
    text = (REPO / "man" / "lowtide.1").read_text().replace("\\-", "-")
    assert [flag for flag in flags(name) if flag not in text] == []


def test_manual_is_up_to_date():
    assert subprocess.run([PYTHON, str(REPO / "scripts" / "make-man"), "--check"], env=environment()).returncode == 0


@pytest.mark.parametrize("page", ["lowtide.1", "liblowtide.7"])
def test_manual_is_well_formed(page):
    if not shutil.which("man"):
        pytest.skip("no man")
    done = subprocess.run(["man", "-l", "--warnings=w", str(REPO / "man" / page)], stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, env=environment(MANWIDTH="100", LC_ALL="C.UTF-8"))
    assert done.stderr == "" and len(done.stdout.splitlines()) > 50


def complete(*words):
    script = (f"source {REPO}/completion/lowtide.bash; PATH={REPO}/scripts:$PATH; COMP_WORDS=({' '.join(words)} ''); "
              "COMP_CWORD=$(( ${#COMP_WORDS[@]} - 1 )); _lowtide 2>/dev/null; printf '%s\\n' \"${COMPREPLY[@]}\"")
    return subprocess.run(["bash", "-c", script], env=environment(), stdout=subprocess.PIPE, text=True).stdout.split()


def test_completion():
    assert set(complete("lowtide")) == {row[0] for row in main.COMMANDS}
    for name in ("run", "compare", "size"):
        assert flags(name) <= set(complete("lowtide", name))
    assert "jemalloc" in complete("lowtide", "compare", "--with")
    assert "profile=" in complete("lowtide", "run", "--set")
    assert "bash" in complete("lowtide", "run", "--")


def test_zsh_completion_parses():
    if not shutil.which("zsh"):
        pytest.skip("no zsh")
    assert subprocess.run(["zsh", "-n", str(REPO / "completion" / "_lowtide")]).returncode == 0


# --- installed, and written for old Pythons ---------------------------------------------------

def test_install(tmp_path):
    def make(target):
        subprocess.run(["make", "-s", "-C", str(REPO), target, f"DESTDIR={tmp_path}", "PREFIX=/usr"], check=True,
                       stdout=subprocess.DEVNULL)

    make("install")
    command = tmp_path / "usr" / "bin" / "lowtide"
    done = subprocess.run([str(command), "version"], env=environment(LOWTIDE_LIB=None), stdout=subprocess.PIPE, text=True, cwd="/")
    assert done.returncode == 0 and str(tmp_path / "usr" / "lib" / "liblowtide.so") in done.stdout
    link = tmp_path / "linked"
    link.symlink_to(command)
    assert subprocess.run([str(link), "run", "--quiet", "--", "true"], env=environment(LOWTIDE_LIB=None)).returncode == 0
    make("uninstall")
    left = [path for path in (tmp_path / "usr").rglob("*") if path.is_file()]
    assert left == []


SOURCES = sorted(pathlib.Path(REPO, "scripts", "lowtide_cli").glob("*.py")) + [REPO / "scripts" / "lowtide"]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_source(path):
    """Syntax of Python 3.9, files under 500 lines, functions under 60."""
    text = path.read_text()
    assert len(text.splitlines()) < 500
    for node in ast.walk(ast.parse(text, feature_version=(3, 9))):
        if isinstance(node, ast.FunctionDef):
            assert node.end_lineno - node.lineno < 60, node.name
