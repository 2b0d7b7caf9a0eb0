"""The parts of the soak. A command's words may hold {seconds}, {seed}, {turn} (1, 2, ... of the part), {library} and {programs}; it
ends by itself after those seconds or a little later, with exit code 0 when all was well, and prints what it did as lines key=number."""
import collections
import sys

# share: of the time, in minutes of 120; least_s and turn_s: the shortest and the longest turn, in seconds.
Part = collections.namedtuple("Part", "name share least_s turn_s text command")

LIBRARY = ["--library", "{library}"]
PYTHON = sys.executable

PARTS = [
    Part("tide", 30, 15, 1800, "a server with a tide of load for half an hour; what is resident may drift by 1 %",
         [PYTHON, "test/soak/tide.py", *LIBRARY, "--server", "{programs}/../bench/suite/server", "--seconds", "{seconds}"]),
    Part("random", 38, 5, 300, "random operations against a model of every block, 1 to 5 threads, with forked children",
         ["test/stress/soak.sh", "{programs}/model", "-T", "{seconds}", "-s", "{seed}"]),
    Part("storms", 35, 60, 300, "forks, threads, exits and signals among threads that allocate",
         [PYTHON, "test/storms/storms.py", *LIBRARY, "--programs", "{programs}/storms", "--seconds", "{seconds}", "--seed", "{seed}"]),
    Part("calls", 10, 5, 300, "sequences of all calls under libFuzzer, while the kernel refuses what the input says",
         ["test/fuzz/run.sh", "{programs}/fuzz", "-max_total_time={seconds}", "calls"]),
    Part("inject", 7, 60, 60, "the kernel refuses memory calls: one of 200 parts of all places and errors",
         [PYTHON, "test/inject/inject.py", *LIBRARY, "--programs", "{programs}/inject", "--most", "1000000", "--share", "{turn}", "--shares", "200"]),
]
