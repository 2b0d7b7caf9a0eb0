"""`lowtide top`, `lowtide stats PID` and `lowtide trim PID`: the live numbers of preloaded processes.

Each command is a function that takes its arguments and returns the exit code: 0 well, 1 a Problem (one line on stderr), 2 wrong
arguments, 3 a trim that the process has not answered yet.
"""
import argparse
import contextlib
import itertools
import json
import os
import signal
import sys
import time

from . import pages, text
from .watch import History, Watch, of_process

PENDING = 3
POLL_S = 0.01


def positive(word):
    value = float(word)
    if not 0 < value < 1e6:
        raise argparse.ArgumentTypeError("must be above 0")
    return value


def say(lines):
    print("\n".join(lines), flush=True)


def guarded(command):
    """Problems in one line; a reader that went away, and Ctrl-C, are no failures."""
    def run(argv):
        try:
            return command(argv)
        except pages.Problem as problem:
            print(f"lowtide: {problem}", file=sys.stderr)
            return 1
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            return 0
        except KeyboardInterrupt:
            return 128 + signal.SIGINT
    run.__doc__, run.__name__ = command.__doc__, command.__name__
    return run


# ---- top ----

def top_arguments(argv):
    parser = argparse.ArgumentParser(prog="lowtide top", description=top.__doc__)
    parser.add_argument("--once", action="store_true", help="one refresh, as text")
    parser.add_argument("--interval", type=positive, default=2.0, metavar="S", help="seconds between refreshes (2)")
    parser.add_argument("--count", type=int, metavar="N", help="so many refreshes")
    parser.add_argument("--sort", choices=text.SORTS, default="rss", help="by which column (rss)")
    parser.add_argument("--all", action="store_true", help="of all users (root)")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="one object a refresh")
    form.add_argument("--prometheus", action="store_true", help="text for a node exporter's textfile collector, once")
    options = parser.parse_args(argv)
    if options.once or options.prometheus:
        options.count = 1
    if options.count is not None and options.count < 1:
        parser.error("--count must be above 0")
    return options


def print_refresh(options, watch, rows):
    if options.prometheus:
        say(text.prometheus(rows, watch.texts))
    elif options.json:
        say([json.dumps({"time": round(time.time(), 3), "silent": watch.silent, "processes": rows})])
    else:
        say(text.table(rows, watch.silent))


@guarded
def top(argv):
    """The user's preloaded processes, live: what the program holds, what lowtide retains, RSS, and why RSS rises."""
    options = top_arguments(argv)
    me = os.geteuid()
    if options.all and me:
        raise pages.Problem("--all is for root: other users' pages are their own")
    pages.directory(me)  # says what is wrong with it
    watch = Watch(pages.users_with_pages if options.all else lambda: [me])
    if sys.stdout.isatty() and not (options.once or options.json or options.prometheus):
        from . import live_view
        live_view.run(watch, options.interval, options.sort, options.count)
        return 0
    with contextlib.suppress(KeyboardInterrupt):
        for refreshes in itertools.count(1):
            print_refresh(options, watch, text.sort_rows(watch.rows(), options.sort))
            if refreshes == options.count:
                break
            time.sleep(options.interval)
    return 0


# ---- stats ----

def row_of(pid):
    _, page = pages.page_of(pid)
    row = of_process(page)
    if row is None:
        raise pages.Problem(f"no process {pid}")
    return page, row


def watch_process(options, row):
    """A line an interval until Ctrl-C, the count, or the end of the process; then the verdict."""
    history = History()
    with contextlib.suppress(KeyboardInterrupt):
        for shown in itertools.count(1):
            row = history.add(row, time.monotonic())
            say([json.dumps(row) if options.json else text.watch_line(row)])
            if shown == options.count:
                break
            time.sleep(options.watch)
            try:
                _, row = row_of(options.pid)
            except pages.Problem as problem:
                print(f"lowtide: {problem}", file=sys.stderr)
                break
    said = history.verdict()
    if options.json:
        say([json.dumps({"pid": options.pid, "verdict": said.word, "text": said.text, "rss_growth_per_s": round(said.rss_per_s),
                         "grown_bytes": {name: round(bytes_) for name, bytes_ in said.parts.items()}})])
    else:
        say(text.verdict_lines(said))
    return 0


@guarded
def stats(argv):
    """All live numbers of one process; with --watch a line an interval, and whether it is a leak or the allocator."""
    parser = argparse.ArgumentParser(prog="lowtide stats", description=stats.__doc__)
    parser.add_argument("pid", type=int)
    parser.add_argument("--json", action="store_true", help="one object; null = not known while the process runs")
    parser.add_argument("--watch", type=positive, metavar="S", help="a line every S seconds, the verdict at the end")
    parser.add_argument("--count", type=int, metavar="N", help="so many lines")
    options = parser.parse_args(argv)
    page, row = row_of(options.pid)
    if options.watch:
        return watch_process(options, row)
    say([json.dumps(row)] if options.json else text.list_of(row, page.texts))
    return 0


# ---- trim ----

def wait_for_answer(found, pid, number, seconds):
    """The page with the answer; else the page as it is now."""
    end = time.monotonic() + seconds
    while True:
        page = found.find_process(pid)
        if page is None:
            raise pages.Problem(f"process {pid} ended before it answered")
        if page.trim_served == number or time.monotonic() >= end:
            return page, page.trim_served == number
        time.sleep(POLL_S)


def why_pending(page):
    if pages.process_state(page.pid) in ("T", "t"):
        return "it is stopped, and will do it when it goes on"
    if page.has_keeper:
        return "its keeper has not come to it yet"
    return f"it sleeps, or computes without allocating, and has no keeper (LOWTIDE_HOUSEKEEP=thread). Before a sleep all above the soft target goes " \
           f"back anyway; the {text.size(page['retained_bytes'])} that it retains go when it next allocates"


@guarded
def trim(argv):
    """Asks a running process to give everything back that it retains; exit code 3 when it has not done so yet."""
    parser = argparse.ArgumentParser(prog="lowtide trim", description=trim.__doc__)
    parser.add_argument("pid", type=int)
    parser.add_argument("--wait", type=positive, default=2.0, metavar="S", help="seconds to wait for its answer (2)")
    parser.add_argument("--json", action="store_true", help="one object")
    options = parser.parse_args(argv)
    found, page = pages.page_of(options.pid)
    before = of_process(page)
    page, is_done = wait_for_answer(found, options.pid, pages.ask_for_trim(page, found.user), options.wait)
    after = of_process(page)
    if before is None or after is None:
        raise pages.Problem(f"process {options.pid} ended before it answered")
    released = page.trim_bytes if is_done else None
    if options.json:
        keys = ("live_bytes", "retained_bytes", "rss_bytes")
        say([json.dumps({"pid": options.pid, "done": is_done, "released_bytes": released, "keeper": bool(page.has_keeper),
                         "before": {k: before[k] for k in keys}, "after": {k: after[k] for k in keys}})])
        return 0 if is_done else PENDING
    who = f"process {options.pid} ({before['name']})"
    sizes = ", ".join(f"{name} {text.size(before[key])} -> {text.size(after[key])}" for name, key in (("retained", "retained_bytes"), ("RSS", "rss_bytes")))
    say([f"{who}: released {text.size(released)}; {sizes}" if is_done else f"{who}: pending: {why_pending(page)}; {sizes}"])
    return 0 if is_done else PENDING


COMMANDS = {"top": top, "stats": stats, "trim": trim}


def main(argv):
    if not argv or argv[0] not in COMMANDS:
        print(f"usage: lowtide {'|'.join(COMMANDS)} ...", file=sys.stderr)
        return 2
    return COMMANDS[argv[0]](argv[1:])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
