"""The files of a bench: `bench.json` with every sample, and `bench.png` with a panel a group."""

from collections.abc import Mapping, Sequence

from cdeval.bench.arms import OURS
from cdeval.bench.goals import Goal
from cdeval.bench.plan import BenchTiming, GroupResult
from cdeval.bench.table import series_of
from cdeval.report.charts import BLUE, ORANGE, Chart, Series
from cdeval.report.stills import picture
from cdeval.store.private import masked

_SAMPLES = ("texts", "new_tokens", "batches", "seconds", "peak_slots", "twin", "same_tokens", "same_texts")


def numbers(results: Mapping[str, GroupResult], goals: Sequence[Goal]) -> dict[str, object]:
    """Build what `bench.json` holds: groups by name with their arms by label, and goals in their order."""
    return {
        "groups": {name: _group(result) for name, result in results.items()},
        "goals": [{**goal._asdict(), "met": goal.met} for goal in goals],
    }


def _group(result: GroupResult) -> dict[str, object]:
    arms = {
        name: {
            **{sample: getattr(timing, sample) for sample in _SAMPLES},
            "median_seconds": timing.median,
            "ms_per_step": timing.ms_per_step,
            "tokens_per_second": timing.tokens_per_second,
            "ratio": result.ratio(name),
            "least_seconds": timing.least,
            "share_of_limit": timing.of_limit,
        }
        for name, timing in result.timings.items()
    }
    return {"title": result.title, "reference": result.reference, "per_token": result.per_token, "arms": arms}


def to_png(results: Sequence[GroupResult], title: str) -> bytes:
    """Draw all groups: bars of milliseconds a token, or lines where something grows."""
    return picture([_growth(one) if one.axis else _bars(one) for one in results], columns=2, title=masked(title))["png"]


def _bars(result: GroupResult) -> Chart:
    """Milliseconds a token, in the order of the table, whiskers from the fastest pass to the slowest."""
    bars = [_bar(timing) for timing in reversed(list(result.timings.values()))]
    x_title = "ms a token (median, fastest to slowest pass)"
    return Chart(result.name, f"{result.name}: {result.title}", "bars", x_title, "", bars)


def _bar(timing: BenchTiming) -> Series:
    scale = 1e3 / (timing.texts * timing.new_tokens)
    low, middle, high = (scale * seconds for seconds in (min(timing.seconds), timing.median, max(timing.seconds)))
    return Series("", [middle], [timing.label], [low], [high], _color(timing.label))


def _growth(result: GroupResult) -> Chart:
    """Seconds a pass, both axes logarithmic: a line that climbs one decade a decade is linear growth."""
    lines = [
        Series(name, [one.x or 0 for one in timings], [one.median for one in timings], color=_color(name))
        for name, timings in series_of(result).items()
    ]
    return Chart(
        result.name, f"{result.name}: {result.title}", "lines", result.axis, "seconds", lines, logarithmic=True
    )


def _color(name: str) -> str:
    return BLUE if name.startswith(f"{OURS} ") else ORANGE
