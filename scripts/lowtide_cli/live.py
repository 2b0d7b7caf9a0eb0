"""`lowtide top`, `lowtide stats PID` and `lowtide trim PID`: the live numbers of preloaded processes.

Exit codes: 0, 1 for a Problem (one line on stderr), 2 for wrong arguments, 3 for a trim that the process has not
answered yet.
"""
import argparse
import contextlib
import itertools
import json
import os
import sys
import time

from . import pages, say, text
from .watch import History, Watch, of_process

PENDING = 3
POLL_S = 0.01


def positive(word):
    value = float(word)
    if not 0 < value < 1e6:
        raise argparse.ArgumentTypeError("must be above 0")
    return value


def at_least_one(word):
    value = int(word)
    if value < 1:
        raise argparse.ArgumentTypeError("must be above 0")
    return value


def put(lines):
    print("\n".join(lines), flush=True)


# ---- top ----

def arguments_top(parser):
    parser.add_argument("--once", action="store_true", help="one refresh, as text")
    parser.add_argument("--interval", type=positive, default=2.0, metavar="S", help="seconds between refreshes (2)")
    parser.add_argument("--count", type=at_least_one, metavar="N", help="so many refreshes")
    parser.add_argument("--sort", choices=text.SORTS, default="rss", help="by which column (rss)")
    parser.add_argument("--all", action="store_true", help="of all users (root)")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="one object a refresh")
    form.add_argument("--prometheus", action="store_true", help="text for a node exporter's textfile collector, once")
    parser.epilog = """\
examples:
  lowtide top                                  in a terminal: q ends, r s l n sort, see its first line
  lowtide top --once --sort retained           once, as text
  lowtide top --prometheus > lowtide.prom      for a node exporter

The verdict: "program" = what it holds rises with RSS; "allocator" = what it holds is flat and retained memory
rises; "outside malloc" = both are flat and RSS rises."""


def print_refresh(options, watch, rows):
    if options.prometheus:
        put(text.prometheus(rows, watch.texts))
    elif options.json:
        put([json.dumps({"time": round(time.time(), 3), "silent": watch.silent, "processes": rows})])
    else:
        put(text.table(rows, watch.silent))


def command_top(options):
    """The user's preloaded processes, live: what the program holds, what lowtide retains, RSS, and why RSS rises."""
    if options.once or options.prometheus:
        options.count = 1
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
            put([json.dumps(row) if options.json else text.watch_line(row)])
            if shown == options.count:
                break
            time.sleep(options.watch)
            try:
                _, row = row_of(options.pid)
            except pages.Problem as problem:
                say.note(str(problem))
                break
    said = history.verdict()
    if options.json:
        put([json.dumps({"pid": options.pid, "verdict": said.word, "text": said.text, "rss_growth_per_s": round(said.rss_per_s),
                         "grown_bytes": {name: round(bytes_) for name, bytes_ in said.parts.items()}})])
    else:
        put(text.verdict_lines(said))
    return 0


def arguments_stats(parser):
    parser.add_argument("pid", type=int, metavar="PID")
    parser.add_argument("--json", action="store_true", help="one object; null = not known while the process runs")
    parser.add_argument("--watch", type=positive, metavar="S", help="a line every S seconds, the verdict at the end")
    parser.add_argument("--count", type=at_least_one, metavar="N", help="so many lines")
    parser.usage = "lowtide stats [options] PID"
    parser.epilog = """\
examples:
  lowtide stats 4711
  lowtide stats 4711 --watch 1 --count 60      a minute, then whether it is a leak or the allocator"""


def command_stats(options):
    """All live numbers of one process; with --watch a line an interval, and whether it is a leak or the allocator."""
    page, row = row_of(options.pid)
    if options.watch:
        return watch_process(options, row)
    put([json.dumps(row)] if options.json else text.list_of(row, page.texts))
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
           f"back anyway; the {say.memory(page['retained_bytes'])} that it retains go when it next allocates"


def arguments_trim(parser):
    parser.add_argument("pid", type=int, metavar="PID")
    parser.add_argument("--wait", type=positive, default=2.0, metavar="S", help="seconds to wait for its answer (2)")
    parser.add_argument("--json", action="store_true", help="one object")
    parser.usage = "lowtide trim [options] PID"
    parser.epilog = """\
examples:
  lowtide trim 4711
  lowtide trim 4711 --wait 10

No signal is sent and no system call of the process is interrupted. A sleeping process answers at once where it was
started with LOWTIDE_HOUSEKEEP=thread; else when it wakes up, and the exit code is 3 until then."""


def command_trim(options):
    """Asks a running process to give everything back that it retains."""
    found, page = pages.page_of(options.pid)
    before = of_process(page)
    page, is_done = wait_for_answer(found, options.pid, pages.ask_for_trim(page, found.user), options.wait)
    after = of_process(page)
    if before is None or after is None:
        raise pages.Problem(f"process {options.pid} ended before it answered")
    released = page.trim_bytes if is_done else None
    if options.json:
        keys = ("live_bytes", "retained_bytes", "rss_bytes")
        put([json.dumps({"pid": options.pid, "done": is_done, "released_bytes": released, "keeper": bool(page.has_keeper),
                         "before": {k: before[k] for k in keys}, "after": {k: after[k] for k in keys}})])
        return 0 if is_done else PENDING
    who = f"process {options.pid} ({before['name']})"
    sizes = ", ".join(f"{name} {say.memory(before[key])} -> {say.memory(after[key])}" for name, key in (("retained", "retained_bytes"), ("RSS", "rss_bytes")))
    put([f"{who}: released {say.memory(released)}; {sizes}" if is_done else f"{who}: pending: {why_pending(page)}; {sizes}"])
    return 0 if is_done else PENDING

