"""`lowtide top` on a terminal: the table, refreshed in place. q quits, s sorts by the next column."""
import curses
import time

from . import text

KEYS_HELP = "q quit, s sort"


def show(screen, lines):
    height, width = screen.getmaxyx()
    screen.erase()
    for y, line in enumerate(lines[:height]):
        try:
            screen.addnstr(y, 0, line.ljust(width - 1) if y == 1 else line, width - 1, curses.A_REVERSE if y == 1 else curses.A_NORMAL)
        except curses.error:    # the terminal became smaller meanwhile
            pass
    screen.refresh()


def run(watch, interval_s, sort_by, count):
    """Until q or Ctrl-C, or after `count` refreshes (None: no end)."""
    def loop(screen):
        nonlocal sort_by
        try:
            curses.curs_set(0)
        except curses.error:    # a terminal that cannot
            pass
        orders, refreshes = list(text.SORTS), 0
        while count is None or refreshes < count:
            rows, next_s = watch.rows(), time.monotonic() + interval_s
            refreshes += 1
            while True:
                lines = text.table(text.sort_rows(rows, sort_by), watch.silent)
                lines[0] = f"[by {sort_by}; {KEYS_HELP}] {lines[0]}"     # first, where it is not cut off
                show(screen, lines)
                left_s = next_s - time.monotonic()
                if left_s <= 0:
                    break
                screen.timeout(max(1, int(left_s * 1000)))
                key = screen.getch()
                if key in (ord("q"), 27):
                    return
                if key == ord("s"):
                    sort_by = orders[(orders.index(sort_by) + 1) % len(orders)]
    try:
        curses.wrapper(loop)
    except KeyboardInterrupt:
        pass
