"""The parts of the soak. A command's words may hold {seconds}, {seed}, {library} and {programs}; it ends by itself after those
seconds or a little later, with exit code 0 when all was well, and prints what it did as lines key=number."""
import collections
import sys

# share: of the time, in minutes of 120; least_s and turn_s: the shortest and the longest turn, in seconds.
Part = collections.namedtuple("Part", "name share least_s turn_s text command")

PARTS = [
    Part("tide", 30, 15, 1800, "a server with a tide of load for half an hour; what is resident may drift by 1 %",
         [sys.executable, "test/soak/tide.py", "--library", "{library}", "--server", "{programs}/../bench/suite/server", "--seconds", "{seconds}"]),
]
