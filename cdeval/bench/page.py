"""What `bench.json` holds: every sample, and what the tables show of them."""

from collections.abc import Mapping, Sequence

from cdeval.bench.goals import Goal
from cdeval.bench.plan import GroupResult

_SAMPLES = ("texts", "new_tokens", "batches", "seconds", "peak_slots", "twin", "same_tokens", "same_texts")


def numbers(results: Mapping[str, GroupResult], goals: Sequence[Goal]) -> dict[str, object]:
    """Groups by name, arms by label, goals in their order."""
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
        }
        for name, timing in result.timings.items()
    }
    return {"title": result.title, "reference": result.reference, "per_token": result.per_token, "arms": arms}
