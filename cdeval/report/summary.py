"""Scores and costs of one arm as flat numbers, and what a reader of them must know."""

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from cdeval.config.enums import SearchKind
from cdeval.metrics.stats import FEW, FEWEST
from cdeval.records import HUMAN_TEXTS, Estimate


def summary_of(texts: int, scores: Mapping[str, Estimate], costs: Mapping[str, float]) -> dict[str, float]:
    """Flatten everything into one mapping, name to number."""
    summary: dict[str, float] = {"texts": texts, **costs}
    for name, estimate in scores.items():
        summary[name] = estimate.value
        summary[f"{name}_low"] = estimate.low
        summary[f"{name}_high"] = estimate.high
    return summary


def notes_of(scores: Mapping[str, Mapping[str, Estimate]]) -> list[str]:
    """Say how each metric was made, a line for all that share it, and which metrics have no value.

    Notes that differ in a spread between k-means seeds alone are one line with the least and the most.
    """
    named: dict[str, dict[str, None]] = {}
    spreads: dict[str, list[str]] = {}
    for of_arm in scores.values():
        for name, estimate in of_arm.items():
            if estimate.note and not math.isnan(estimate.value):
                general = _SPREAD.sub("(sd {})", _FEW.sub("", estimate.note))
                if not general:
                    continue
                named.setdefault(general, {})[name] = None
                spreads.setdefault(general, []).extend(_SPREAD.findall(estimate.note))
    notes = [f"{', '.join(names)}: {_with_spread(note, spreads[note])}" for note, names in named.items()]
    return notes + _without_value(scores) + _missing(scores) + _too_few(scores)


_FEW = re.compile(rf"(; )?{re.escape(FEW)}")
_SPREAD = re.compile(r"\(sd ([\d.]+)\)")
_DISTURBING = 0.1  # share of the processors' time that others may take while arms are timed
DISTURBED = "timed while"  # how the note on disturbed latencies begins
FLATTERED = "the lens was trained on the texts of"  # how the note begins on prompts that a lens knows
HUMAN = "human"  # label of the references' own row
_NAMED = 3  # arms without a value that are named; of more the table says how many


def _with_spread(note: str, spreads: list[str]) -> str:
    if not spreads:
        return note
    least, most = min(spreads, key=float), max(spreads, key=float)
    return note.replace("(sd {})", f"(sd {least})" if least == most else f"(sd {least} to {most})")


def _without_value(scores: Mapping[str, Mapping[str, Estimate]]) -> list[str]:
    """Why metrics of decoded or given texts have no value at all, a line a reason."""
    reasons: dict[str, tuple[dict[str, None], dict[str, None]]] = {}
    for label, of_arm in scores.items():
        for name, estimate in of_arm.items():
            if math.isnan(estimate.value) and estimate.note and not _expected(label, estimate):
                names, labels = reasons.setdefault(estimate.note, ({}, {}))
                names[name] = labels[label] = None
    return [
        f"{', '.join(names)}: no value for {_arms(list(labels))}: {reason}"
        for reason, (names, labels) in reasons.items()
    ]


def _expected(label: str, estimate: Estimate) -> bool:
    """Whether every reader knows why: the human texts are not compared with themselves."""
    return label == HUMAN and estimate.note == HUMAN_TEXTS


def _missing(scores: Mapping[str, Mapping[str, Estimate]]) -> list[str]:
    """A line a metric with missing values."""
    lacking: dict[str, dict[str, int]] = {}
    for label, of_arm in scores.items():
        for name, estimate in of_arm.items():
            if estimate.missing and not (math.isnan(estimate.value) and estimate.note):
                lacking.setdefault(name, {})[label] = estimate.missing
    lines = []
    for name, counts in lacking.items():
        if len(counts) <= _NAMED:
            whose = ", ".join(f"{count} of '{label}'" for label, count in counts.items())
        else:
            whose = f"{min(counts.values())} to {max(counts.values())} of {len(counts)} arms (metrics.json)"
        lines.append(f"{name}: texts without a value: {whose}")
    return lines


def _too_few(scores: Mapping[str, Mapping[str, Estimate]]) -> list[str]:
    """Name in one line the metrics without an interval, and their arms where others have one."""
    lacking: dict[str, list[str]] = {}
    present: Counter[str] = Counter()
    for label, of_arm in scores.items():
        for name, estimate in of_arm.items():
            present[name] += not math.isnan(estimate.value)
            if FEW in estimate.note and not math.isnan(estimate.value):
                lacking.setdefault(name, []).append(label)
    if not lacking:
        return []
    whose = [name if len(labels) == present[name] else f"{name} of {_arms(labels)}" for name, labels in lacking.items()]
    return [f"no interval and no p-value where fewer than {FEWEST} prompts have a value: {', '.join(whose)}"]


def _arms(labels: Sequence[str]) -> str:
    if len(labels) > _NAMED:
        return f"{len(labels)} arms (metrics.json)"
    return ", ".join(f"'{label}'" for label in labels)


def sample_notes(samples: int) -> list[str]:
    """Say how prompts with several continuations were scored."""
    if samples == 1:
        return []
    return [f"{samples} samples a prompt, one unit of the intervals; MAUVE reads the first of each"]


def exit_notes(costs: Mapping[str, Mapping[str, float]]) -> list[str]:
    """Say how early the expert exited, a line an arm in which it may; `costs` by label, as `cost.price` makes them."""
    return [
        f"'{label}': {of_arm['exit_share']:.0%} of the tokens read after the prompt exited early, and a token went "
        f"through {of_arm['exit_layer']:.1f} blocks on average; FLOPs are counted as if each row stopped by itself"
        for label, of_arm in costs.items()
        if math.isfinite(of_arm.get("exit_layer", math.nan))
    ]


def flops_unknown(setting: Mapping[str, Any], costs: Mapping[str, float]) -> str:
    """Say why an arm's FLOPs are not known; empty where they are, or were not asked for.

    Args:
        setting: of the arm, as its files have it.
        costs: of the arm, as `cost.price` makes them.
    """
    if not setting or not math.isnan(costs.get("flops_per_token", 0.0)):
        return ""
    if setting.get("search") == SearchKind.hf.value:
        return "FLOPs unknown: what generate of transformers computes is not counted"
    return "FLOPs unknown: the amateur's plug-in does not declare them (amateur(..., flops=…, traffic=…))"


def flops_notes(
    settings: Mapping[str, Mapping[str, Any] | None], costs: Mapping[str, Mapping[str, float]]
) -> list[str]:
    """Say why FLOPs are not known, a line a reason; both by label."""
    reasons: dict[str, list[str]] = {}
    for label, setting in settings.items():
        if reason := flops_unknown(setting or {}, costs.get(label, {})):
            reasons.setdefault(reason, []).append(label)
    return [f"{_arms(labels)}: {reason}" for reason, labels in reasons.items()]


def tried_notes(settings_tried: Iterable[float]) -> list[str]:
    """Say what the numbers of settings tried are, where an arm has one."""
    if not any(math.isfinite(one) for one in settings_tried):
        return []
    return ["settings tried: on the tuning split, before an arm was chosen (cdeval.tune); without a number: not known"]


def cost_notes(costs: Mapping[str, Mapping[str, float]]) -> list[str]:
    """Say how costs were timed; `costs` by label, as `cost.price` makes them."""
    timed = [one for one in costs.values() if math.isfinite(one.get("decode_seconds_per_token", math.nan))]
    if not timed:
        return []
    notes = []
    load = max(one.get("other_load", math.nan) for one in timed)
    if load > _DISTURBING:
        notes.append(
            f"{DISTURBED} other programs took {load:.0%} of the processors: the latencies are disturbed, time again"
        )
    if not any(math.isfinite(one.get("joules_per_token", math.nan)) for one in timed):
        notes.append("energy: unavailable, there is no counter that may be read here")
    return notes
