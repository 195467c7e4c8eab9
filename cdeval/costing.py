"""What the arms of a study cost: timed in turn, priced, and kept for as long as the same arms are asked for."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch

from cdeval.cast import Cast, OpenedCast
from cdeval.config import RunConfig
from cdeval.cost.latency import Latency
from cdeval.cost.price import NOT_TIMED, Arm, Text, price_arms
from cdeval.generating import Texts
from cdeval.points import Point
from cdeval.prompts import PromptSet
from cdeval.records import Generation
from cdeval.store import RunFolder, replace_file
from cdeval.strictjson import to_page
from cdeval.timing import Timing, time_apart, time_here, time_loaded

TIMED = "timed.json"  # of a study: its last timing, whose costs are kept while the same arms are asked for


class Costly(NamedTuple):
    """What costs are measured of, and how."""

    cast: Cast
    opened: Sequence[OpenedCast]
    prompts: PromptSet
    config: RunConfig


def costs_of(
    folders: Mapping[Point, RunFolder], texts: Texts, of: Costly, say: Callable[[str], None]
) -> dict[Point, dict[str, float]]:
    """Price every arm, after timing them in turn; the times of single tokens are stored, too (`latency.json`)."""
    arms = {
        point.label: Arm(point.setting, [_text(text) for text in found])
        for point, found in texts.items()
        if point.setting is not None and found
    }
    priced, latency = price_and_time(arms, of, say)
    for point, folder in folders.items():
        if point.label in latency:
            folder.write_json("latency.json", latency[point.label])
    return {point: priced.get(point.label, {}) for point in texts}


def price_and_time(
    arms: Mapping[str, Arm], of: Costly, say: Callable[[str], None]
) -> tuple[dict[str, dict[str, float]], Mapping[str, Latency]]:
    """Costs by arm, and the passes behind them.

    Raises: CdevalError: as `timing.time_apart`.
    """
    config, timed = of.config, NOT_TIMED
    repeats = config.cost.latency_repeats
    if repeats:
        say(f"timing {len(arms)} arms in turn, {repeats} passes each after a warm-up")
        settings = {label: arm.setting for label, arm in arms.items()}
        every, threads = config.execution.compact_every, torch.get_num_threads()
        timing = Timing(tuple(of.opened), of.prompts, settings, repeats, every, threads)
        if config.cost.isolated:
            timed = time_apart(timing)
        else:
            on_paper = of.cast.expert.device.type == "meta"
            timed = time_loaded(timing) if on_paper else time_here(of.cast, timing)
    priced = price_arms(of.cast.expert, arms, timed, of.cast.seconds, config.metrics.confidence)
    return priced, timed.latency


def _text(made: Generation) -> Text:
    return Text(len(made.prompt_token_ids), len(made.token_ids), made.exit_layers)


def kept_costs(
    folders: Mapping[Point, RunFolder], config: RunConfig, root: Path
) -> dict[Point, dict[str, float]] | None:
    """What these arms cost when they were last timed; None where they were never timed together, or otherwise."""
    if not all(folder.done for folder in folders.values()) or not (root / TIMED).is_file():
        return None
    try:
        timed = json.loads((root / TIMED).read_bytes())
    except ValueError:
        return None
    if timed != _timing(folders, config):
        return None
    return {point: folder.numbers("costs.json") for point, folder in folders.items()}


def keep_costs(points: Iterable[Point], config: RunConfig, root: Path) -> None:
    """Remember which arms the costs in their folders were measured beside."""
    replace_file(root / TIMED, to_page(_timing(points, config)))


def _timing(points: Iterable[Point], config: RunConfig) -> dict[str, object]:
    """Which arms were timed in turn, and how."""
    return {"points": [point.digest for point in points], "repeats": config.cost.latency_repeats}
