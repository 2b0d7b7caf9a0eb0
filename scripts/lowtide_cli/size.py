"""`lowtide size`: how many of a job fit on a node, and which limit to ask for."""
import json
import math
import os
import tempfile

from . import cgroup, compare, figures, packing, peers, procfs, sampling, say

EPILOG = """\
The job is run as by `lowtide compare`. Its proportional set size (PSS: shared pages count once) is
what it adds to a node. The limit to ask for is the largest peak seen plus the margin, rounded up to
16 MiB; page cache is not in it, since the kernel takes that back.

Two numbers of jobs are given for a node: `all at once` fits when every job peaks at the same moment;
`spread` is for jobs that run all the time and started at random moments, so that their peaks seldom
coincide: with it less than --risk percent of the nodes need more than they have at any moment of
one job's course. It needs limits that are above a job's share of the node.

--nodes gives kinds of nodes, --jobs puts so many jobs on them in proportion to their memory, and
says how likely a node is to cross its limit.

examples:
  lowtide size -- python3 job.py
  lowtide size --with glibc,lowtide --node 256G -- ./simulate input.dat
  lowtide size --nodes 9000x64G,1000x256G --jobs 1000000 -- python3 job.py
"""


def arguments_size(parser):
    parser.add_argument("-n", type=int, default=2, metavar="N", help="runs under each allocator (2)")
    parser.add_argument("--with", dest="allocators", default="glibc,lowtide", metavar="LIST",
                        help="allocators, as for compare, or all (glibc,lowtide)")
    parser.add_argument("--idle", type=float, default=0.0, metavar="S", help="the job stays alive, as for compare")
    parser.add_argument("--timeout", type=float, metavar="S", help="end a run that takes longer")
    parser.add_argument("--margin", type=float, default=10.0, metavar="PERCENT", help="added to the peak (10)")
    parser.add_argument("--risk", type=float, default=1.0, metavar="PERCENT", help="of nodes that may cross (1)")
    parser.add_argument("--node", metavar="SIZE", help="memory of a node; what this one or its cgroup has")
    parser.add_argument("--reserve", metavar="SIZE", help="kept for the system on each node (5 %%, at most 4G)")
    parser.add_argument("--nodes", metavar="LIST", help="kinds of nodes to fill: 100x64G,20x256G")
    parser.add_argument("--jobs", type=int, metavar="N", help="jobs to put on --nodes")
    parser.add_argument("--json", action="store_true", help="as JSON, for programs")
    parser.epilog = EPILOG


def parse_nodes(text):
    """[(number, bytes)] of `100x64G,256G`."""
    found = []
    for item in text.split(","):
        number, times, size = item.strip().rpartition("x")
        if times and not (number.isdigit() and int(number) > 0):
            raise say.CliError(f"--nodes {item}: give NUMBERxSIZE, such as 100x64G", say.USAGE)
        found.append((int(number) if times else 1, say.parse_memory(size)))
    return found


def check_arguments(options):
    if options.margin < 0 or not 0 < options.risk < 100:
        raise say.CliError("size: --margin is a percentage from 0, --risk one between 0 and 100", say.USAGE)
    if options.jobs is not None and (options.jobs < 1 or not options.nodes):
        raise say.CliError("size: --jobs takes a number above 0, and needs --nodes", say.USAGE)
    options.fail_above, options.no_warm_up = None, True
    options.kinds = parse_nodes(options.nodes) if options.nodes else []
    options.node_bytes = say.parse_memory(options.node) if options.node else own_node()
    options.reserved = say.parse_memory(options.reserve) if options.reserve else None
    compare.check_arguments(options)


def own_node():
    total = procfs.meminfo().get("MemTotal")
    limits = [level.limit for level in cgroup.levels() if level.limit]
    found = min([total, *limits] if total else limits, default=None)
    if not found:
        raise say.CliError("this node's memory is not known: give --node SIZE", say.USAGE)
    return found


def usable(size, options):
    reserved = min(size // 20, 4 * say.GIB) if options.reserved is None else options.reserved
    return max(0, size - reserved)


def course(run):
    """[(time, bytes of PSS)]: every sample's RSS, less what was shared at the full sample before it;
    and the peak, which may have been between two samples."""
    samples = run["samples"]
    if not samples:
        return [(0.0, run["peak_pss"])]
    shared = next((s.rss - s.pss for s in samples if s.pss is not None), 0)
    points = []
    for sample in samples:
        if sample.pss is not None:
            shared = sample.rss - sample.pss
        points.append((sample.t, max(0, sample.rss - shared)))
    highest = max(range(len(points)), key=lambda i: points[i][1])
    points[highest] = (points[highest][0], max(points[highest][1], run["peak_pss"]))
    return points


class Sizing:
    """What one allocator needs."""

    def __init__(self, runs, options):
        self.peak = max(run["peak_pss"] for run in runs)
        courses = [course(run) for run in runs]
        self.mean = figures.summarize([sampling.mean_of(points) for points in courses])["median"]
        step = 16 * say.MIB
        self.ask = math.ceil(self.peak * (1 + options.margin / 100) / step) * step
        self.packer = packing.Packer([packing.profile(points) for points in courses])
        self.wall = figures.summarize([run["wall_s"] for run in runs])["median"]
        limit = usable(options.node_bytes, options)
        self.at_once = int(limit // self.ask)
        self.spread = max(self.at_once, self.packer.fits(limit, options.risk / 100))
        self.kinds = [self.fill(number, size, jobs, options) for (number, size), jobs in self.shares(options)]

    def shares(self, options):
        if not options.kinds:
            return []
        jobs = packing.spread_jobs(options.jobs, options.kinds) if options.jobs else [None] * len(options.kinds)
        return list(zip(options.kinds, jobs))

    def fill(self, number, size, share, options):
        """One kind of node: how many jobs fit, and what happens with its share of the jobs."""
        limit = usable(size, options)
        fits = max(int(limit // self.ask), self.packer.fits(limit, options.risk / 100))
        found = {"nodes": number, "bytes": size, "at_once": int(limit // self.ask), "spread": fits}
        jobs = fits if share is None else min(fits, math.ceil(share))
        found["jobs"] = jobs
        found["waves"] = 1 if share is None or not fits else math.ceil(share / fits)
        found["crossing"] = self.packer.crossing(jobs, limit, max(number, 1000) if number < 10000 else 10000)
        return found

    def as_dict(self):
        return {"peak_pss": self.peak, "mean_pss": self.mean, "ask": self.ask, "at_once": self.at_once,
                "spread": self.spread, "wall_s": self.wall, "nodes": self.kinds}


def probability(value):
    return "0" if value == 0 else "< 0.1 %" if value < 0.001 else f"{value * 100:.1f} %"


def lines(sizings, options):
    rows = [["", "peak PSS", "mean PSS", "ask for", "all at once", "spread"]]
    for name, s in sizings.items():
        rows.append([name, say.memory(s.peak), say.memory(s.mean), f"{s.ask // say.MIB} MiB", say.count(s.at_once),
                     say.count(s.spread)])
    yield from say.table(rows)
    limit = usable(options.node_bytes, options)
    yield say.faint(f"jobs on a node of {say.memory(options.node_bytes)}, of which {say.memory(options.node_bytes - limit)} "
                    f"is reserved; by memory alone ({len(os.sched_getaffinity(0))} cores here)")
    yield say.faint(f"ask for = largest peak of {options.n} run{'s' * (options.n > 1)} + {options.margin:g} %, rounded up "
                    f"to 16 MiB; spread = random starts, at most {options.risk:g} % of the nodes cross")
    name, best = min(sizings.items(), key=lambda item: item[1].ask)
    mib = best.ask // say.MIB
    yield ""
    yield say.bold(f"With {name}, write")
    yield f"  Slurm       --mem={mib}M"
    yield f"  Kubernetes  resources.limits.memory: {mib}Mi"
    yield f"  PBS         -l mem={mib}mb"
    if any(s.kinds for s in sizings.values()):
        yield ""
        yield from node_lines(sizings, options)


def node_lines(sizings, options):
    rows = [["nodes", "allocator", "fit at once", "fit spread", "jobs on each", "waves", "a node crosses"]]
    for i, (number, size) in enumerate(options.kinds):
        for name, s in sizings.items():
            kind = s.kinds[i]
            rows.append([f"{number:,} x {say.memory(size)}", name, say.count(kind["at_once"]), say.count(kind["spread"]),
                         say.count(kind["jobs"]), say.count(kind["waves"]), probability(kind["crossing"])])
    yield from say.table(rows, left=2)
    if options.jobs:
        yield say.faint(f"{options.jobs:,} jobs in proportion to memory; more than fit wait for the next wave")


def command_size(options):
    check_arguments(options)
    allocators = peers.choose(options.allocators, say.note)
    with tempfile.TemporaryDirectory(prefix="lowtide-size-") as scratch:
        measuring = compare.Measuring(options, allocators, compare.Stdin(scratch).path, None)
        measuring.run_all()
    runs = {name: found for name, found in measuring.runs.items() if found}
    if not runs:
        raise say.CliError("interrupted before a run was done", 130)
    for name, why in figures.inactive(runs).items():
        say.note(f"{name} was not active in {why}")
    ended = figures.endings(runs)
    if ended:
        say.note(f"look at how it ended: {ended}")
    sizings = {name: Sizing(found, options) for name, found in runs.items()}
    if options.json:
        print(json.dumps({"node": options.node_bytes, "usable": usable(options.node_bytes, options),
                          "margin_percent": options.margin, "risk_percent": options.risk,
                          "allocators": {name: s.as_dict() for name, s in sizings.items()}}, indent=1))
    else:
        print("\n".join(lines(sizings, options)))
    if measuring.failed:
        say.note(f"a run could not be made, these figures are from those before it: {measuring.failed}")
    if measuring.interrupted:
        return 128 + measuring.interrupted
    return 1 if measuring.failed or figures.inactive(runs) else 0
