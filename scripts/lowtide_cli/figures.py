"""From runs to figures: medians, spreads, ratios, and the verdict in words."""
import statistics

from . import say
from .peers import OURS, STOCK

FIGURES = ("wall_s", "cpu_s", "user_s", "system_s", "minor_faults", "peak_rss", "mean_rss", "last_rss", "peak_pss",
           "mean_pss", "peak_swap", "heap_share", "anon_share", "processes", "sampling_s")
RATIOS = (("peak_rss", "peak RSS"), ("mean_rss", "mean RSS"), ("wall_s", "wall time"))
SMALL = 0.05            # what is less is said to be the same
LEAST_BYTES = 2 << 20   # so are differences of less memory: an allocator's own size


def summarize(values):
    values = [value for value in values if value is not None]
    if not values:
        return None
    middle = statistics.median(values)
    return {"median": middle, "spread": (max(values) - min(values)) / middle if middle else 0.0, "values": values}


def of_runs(runs):
    """The figures of one allocator: each with median, spread and values; `idle` by second."""
    found = {key: summarize([run.get(key) for run in runs]) for key in FIGURES}
    moments = sorted({moment for run in runs for moment in run["idle"]}, key=int)
    found["idle"] = {moment: summarize([run["idle"].get(moment) for run in runs]) for moment in moments}
    return found


def median(figures, key):
    entry = figures.get(key)
    return entry["median"] if entry else None


def ratio(all_figures, key, name=OURS, to=STOCK):
    own, other = (median(all_figures.get(which, {}), key) for which in (name, to))
    return own / other if own is not None and other else None


def idle_ratio(all_figures):
    """At the last moment of idleness that both have: (seconds, ratio), or None."""
    own, other = (all_figures.get(which, {}).get("idle", {}) for which in (OURS, STOCK))
    both = sorted(set(own) & set(other), key=int)
    if not both or not other[both[-1]]["median"]:
        return None
    return int(both[-1]), own[both[-1]]["median"] / other[both[-1]]["median"]


# --- what the job did -------------------------------------------------------------------------

def outputs(runs_by_name):
    """(word, text) on whether stdout was the same: same, differs, varies (under glibc alone as
    well), empty or unknown."""
    seen = {name: {run["stdout_hash"] for run in runs} for name, runs in runs_by_name.items() if runs}
    everything = set().union(*seen.values()) if seen else set()
    if len(seen) < 2 and len(everything) < 2:
        return "unknown", "stdout: nothing to compare with"
    if len(everything) == 1:
        count = next(run["stdout_bytes"] for runs in runs_by_name.values() for run in runs)
        return ("same", f"stdout: identical ({count:,} bytes)") if count else ("empty", "stdout: empty in all runs")
    varying = sorted(name for name, hashes in seen.items() if len(hashes) > 1)
    if varying:
        return "varies", f"stdout: differs from run to run (under {', '.join(varying)} alone, too), so it says nothing"
    usual = seen.get(STOCK) or next(iter(seen.values()))
    other = sorted(name for name, hashes in seen.items() if hashes != usual)
    if all(len(runs) == 1 for runs in runs_by_name.values() if runs):
        return "differs", f"stdout: differs under {', '.join(other)}; with one run each it cannot be told why"
    return "differs", f"stdout: differs under {', '.join(other)}"


def endings(runs_by_name):
    """Text when runs ended differently, or with an error; else None."""
    seen = {name: sorted({run["ended"] for run in runs}) for name, runs in runs_by_name.items() if runs}
    words = {word for words in seen.values() for word in words}
    if words <= {"exit code 0"} or words <= {"ended by this command"}:
        return None
    if len(words) == 1:
        return f"every run: {words.pop()}"
    return "; ".join(f"{name}: {', '.join(words)}" for name, words in seen.items())


def inactive(runs_by_name):
    """{allocator: why} of those that did not serve the job."""
    found = {}
    for name, runs in runs_by_name.items():
        reasons = [run["why_not"] for run in runs if run["active"] is False]
        if reasons:
            found[name] = reasons[0]
    return found


# --- the verdict ------------------------------------------------------------------------------

def is_same(all_figures, key):
    """Whether a difference is next to nothing, or within what the runs spread."""
    spread = sum(all_figures[name][key]["spread"] for name in (OURS, STOCK)) / 2
    return abs(ratio(all_figures, key) - 1) < max(0.03, spread)


def speed_words(all_figures):
    """Of a job that ends, its wall time; of one that stays alive, the CPU it used. A difference
    within what the runs spread is none."""
    stays = any(entry["idle"] for entry in all_figures.values())
    key, slower, faster = ("cpu_s", "more CPU", "less CPU") if stays else ("wall_s", "slower", "faster")
    value = ratio(all_figures, key)
    if value is None:
        return ""
    if is_same(all_figures, key):
        return " for the same CPU time" if stays else " at the same speed"
    return f", {say.percent(abs(value - 1))} {slower if value > 1 else faster}"


def is_saving(all_figures, key):
    """Whether a figure of memory is smaller by more than nothing."""
    value = ratio(all_figures, key)
    if value is None:
        return False
    saved = median(all_figures[STOCK], key) - median(all_figures[OURS], key)
    return value < 1 - SMALL and saved > LEAST_BYTES


def why_no_benefit(all_figures):
    heap = median(all_figures[OURS], "heap_share")
    if heap is not None and heap < 0.4:
        return f"{say.percent(1 - heap)} of RSS is not heap"
    mean, peak = (median(all_figures[STOCK], key) for key in ("mean_rss", "peak_rss"))
    if peak and peak < 20 << 20:
        return f"the job is small ({say.memory(peak)}), and an allocator's own size counts"
    if mean and peak and mean > 0.85 * peak:
        return "the job's memory is live nearly all the time"
    return "the job peaks in live memory, and stock glibc already gives back what it frees"


def verdict(all_figures, runs_by_name):
    """Plain sentences, the most important first."""
    if not (all_figures.get(STOCK) and all_figures.get(OURS)):
        return ["No verdict: it needs runs under both glibc and lowtide."]
    unserved = inactive(runs_by_name).get(OURS)
    if unserved:
        return [f"No benefit: lowtide is not active in {unserved}."]
    said = [main_sentence(all_figures)]
    idle = idle_ratio(all_figures)
    if idle and abs(1 - idle[1]) >= SMALL:
        said.append(f"After {idle[0]} s of idleness it holds {say.percent(abs(1 - idle[1]))} "
                    f"{'less' if idle[1] < 1 else 'more'}.")
    if outputs(runs_by_name)[0] == "differs":
        said.append("Look at the output: it was not the same under every allocator.")
    if endings(runs_by_name) and len({run["ended"] for runs in runs_by_name.values() for run in runs}) > 1:
        said.append("Look at how the runs ended: it was not the same under every allocator.")
    return said


def main_sentence(all_figures):
    speed = speed_words(all_figures)
    mean, peak = ratio(all_figures, "mean_rss"), ratio(all_figures, "peak_rss")
    saves_mean, saves_peak = is_saving(all_figures, "mean_rss"), is_saving(all_figures, "peak_rss")
    if saves_mean and saves_peak:
        return (f"lowtide saves {say.percent(1 - mean)} of mean and {say.percent(1 - peak)} of peak memory"
                f"{speed}.")
    if saves_mean:
        return (f"lowtide saves {say.percent(1 - mean)} of mean memory{speed}; "
                "the peak is live memory, which no allocator can save.")
    if saves_peak:
        return f"lowtide saves {say.percent(1 - peak)} of peak memory{speed}."
    if mean is not None and mean > 1 + SMALL and median(all_figures[OURS], "mean_rss") > \
            median(all_figures[STOCK], "mean_rss") + LEAST_BYTES * 4:
        return f"lowtide costs {say.percent(mean - 1)} more mean memory here{speed}: stay with glibc."
    return f"No benefit: {why_no_benefit(all_figures)}{speed.replace(' at', '; it runs at').replace(' for', '; it runs for')}."


def above(all_figures, limit):
    """What of peak RSS, mean RSS and wall time is above `limit` times glibc's, as texts."""
    found = [(text, ratio(all_figures, key)) for key, text in RATIOS]
    return [f"{text} is {value:.2f} x glibc's" for text, value in found if value is not None and value > limit]


def representative(runs):
    """The run that is nearest to the medians of mean RSS and wall time: its curve stands for all."""
    middle = {key: statistics.median(run[key] for run in runs) or 1 for key in ("mean_rss", "wall_s")}
    return min(runs, key=lambda run: sum(abs(run[key] / middle[key] - 1) for key in middle))
